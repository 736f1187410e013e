import numpy as np


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def forward(x):
    y = sigmoid(x)
    return y, (y,)


def backward(dy, saved):
    (y,) = saved
    return (dy * y * (1 - y),)
