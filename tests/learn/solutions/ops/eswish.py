import numpy as np


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def forward(x, *, beta=1.25):
    return x.dtype.type(beta) * x * sigmoid(x), (x,)


def backward(dy, saved, *, beta=1.25):
    (x,) = saved
    s = sigmoid(x)
    return (x.dtype.type(beta) * dy * s * (1 + x * (1 - s)),)
