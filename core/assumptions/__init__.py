"""The six assumptions of the framework, each with what justifies it and what limits it, as curves that are measured.

    line            the exact law of a mixture on a line at any level, and distances from it
    forward         1: Gaussian noise has closed-form marginals; with few steps, discrete data are missed
    moves           2 and 4: how far an exact reverse move is from a Gaussian, and what Gaussian moves leave of the data
    walks           3: the same marginals by a Markov chain and by one that is none
    likelihood      3: what the chain is for: the bound on the likelihood is a sum over its steps
    approximation   5: small networks of several widths, trained on several amounts of data, against the exact eps
    closed_world    6: a model among what it was trained on, and outside
"""
