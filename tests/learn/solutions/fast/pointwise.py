import numba
import numpy as np


@numba.njit(fastmath=True)
def kernel(x, w, y):
    pixels, channels = x.shape
    for m in range(pixels):
        row = y[m]
        row[:] = np.float32(0)
        for c in range(channels):
            factor = x[m, c]
            for o in range(w.shape[1]):
                row[o] += factor * w[c, o]


def forward(x, w):
    y = np.empty((*x.shape[:3], w.shape[1]), np.float32)
    kernel(x.reshape(-1, x.shape[3]), w, y.reshape(-1, w.shape[1]))
    return y
