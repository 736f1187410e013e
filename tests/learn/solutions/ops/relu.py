import numpy as np


def forward(x, *, maximum=None):
    y = np.maximum(x, 0)
    if maximum is not None:
        y = np.minimum(y, x.dtype.type(maximum))
    return y, (y,)


def backward(dy, saved, *, maximum=None):
    (y,) = saved
    free = y > 0
    if maximum is not None:
        free &= y < maximum
    return (dy * free,)
