import numpy as np


def forward(x):
    return x.mean((1, 2), keepdims=True), (x.shape,)


def backward(dy, saved):
    (shape,) = saved
    return (np.broadcast_to(dy / (shape[1] * shape[2]), shape).copy(),)
