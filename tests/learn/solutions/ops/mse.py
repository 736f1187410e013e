import numpy as np


def forward(prediction, target, mask=None, *, reduction="mean"):
    squares = (prediction - target) ** 2
    if mask is not None:
        squares = squares * mask
    y = squares.sum() if reduction == "sum" else squares.sum() / prediction.size
    return np.asarray(y, prediction.dtype), (prediction, target, mask)


def backward(dy, saved, *, reduction="mean"):
    prediction, target, mask = saved
    gradient = 2 * dy * (prediction - target)
    if mask is not None:
        gradient = gradient * mask
    return (gradient if reduction == "sum" else gradient / prediction.size), None, None
