import numpy as np


def forward(*xs):
    return np.concatenate(xs, axis=-1), tuple(x.shape[-1] for x in xs)


def backward(dy, saved):
    return tuple(np.split(dy, np.cumsum(saved)[:-1], axis=-1))
