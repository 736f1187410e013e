import numpy as np


def forward(x, *, size=2):
    N, H, W, C = x.shape
    OH, OW = H // size, W // size
    return x[:, : OH * size, : OW * size].reshape(N, OH, size, OW, size, C).mean((2, 4)), (x.shape,)


def backward(dy, saved, *, size=2):
    (shape,) = saved
    dx = np.zeros(shape, dy.dtype)
    spread = dy.repeat(size, axis=1).repeat(size, axis=2) / size**2
    dx[:, : spread.shape[1], : spread.shape[2]] = spread
    return (dx,)
