import numba
import numpy as np


def before(n, k, s):
    return max((-(-n // s) - 1) * s + k - n, 0) // 2


@numba.njit(fastmath=True)
def kernel(x, w, y, stride, p, q):
    N, OH, OW, C = y.shape
    H, W = x.shape[1:3]
    k = w.shape[0]
    row = np.empty(C, np.float32)
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                row[:] = np.float32(0)
                for u in range(k):
                    h = i * stride + u - p
                    if 0 <= h < H:
                        for v in range(k):
                            g = j * stride + v - q
                            if 0 <= g < W:
                                for c in range(C):
                                    row[c] += x[n, h, g, c] * w[u, v, c]
                y[n, i, j] = row


def forward(x, w, stride):
    N, H, W, C = x.shape
    y = np.empty((N, -(-H // stride), -(-W // stride), C), np.float32)
    kernel(x, w, y, stride, before(H, w.shape[0], stride), before(W, w.shape[1], stride))
    return y
