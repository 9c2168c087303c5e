"""Networks that are trained while one watches, small enough for two cores, each beside what a perfect one would answer.

    points      a diffusion of points that somebody drew: loss, samples, the learnt field beside the exact one
    pictures    a small U-Net on a handful of training pictures, with and without dropped captions

Both are generators that hand out what has been learnt so far after every slice of a fraction of a second, so that whoever
drives them can show it, let others have a turn, or stop.
"""
