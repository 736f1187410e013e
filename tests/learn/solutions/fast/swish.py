import numba
import numpy as np


@numba.njit(fastmath=True)
def kernel(x, y):
    one = np.float32(1)
    for i in range(x.size):
        y[i] = x[i] / (one + np.exp(-x[i]))


def forward(x):
    y = np.empty_like(x)
    kernel(x.reshape(-1), y.reshape(-1))
    return y
