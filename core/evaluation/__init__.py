"""How metrics of pictures behave: on clouds whose distance is known, on training pictures that are damaged, and on the model.

    clouds      two Gaussians in the plane: both parts of their Frechet distance, exact and measured
    critics     whose features and classes they are, our own networks' or Inception-v3's, and what the numbers are called
    gallery     training pictures in two halves, with what a critic says of each
    classes     what a classifier says of one picture and of all, and the inception score between them
    damage      blur, noise, copies, missing classes, one picture for each class; and every metric before and after
    bias        what the number of pictures itself does to a distance
    losses      the loss against t, under captions and without them
    settings    what guidance scale, sampler and number of steps do to the model's own pictures
    headlines   the source's claims of few calls as rows, and the differences between rows that share their noise
"""
