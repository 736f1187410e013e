import numpy as np


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def forward(x):
    return x * sigmoid(x), (x,)


def backward(dy, saved):
    (x,) = saved
    s = sigmoid(x)
    return (dy * s * (1 + x * (1 - s)),)
