import numpy as np


def same(n, k, s):
    total = max((-(-n // s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


def setting(x, w, s):
    """Padding of x, output size, and the slice of the padded x that each tap meets."""
    H, W = x.shape[1:3]
    kh, kw = w.shape[:2]
    OH, OW = -(-H // s), -(-W // s)
    padding = ((0, 0), same(H, kh, s), same(W, kw, s), (0, 0))
    taps = [
        (u, v, (slice(None), slice(u, u + (OH - 1) * s + 1, s), slice(v, v + (OW - 1) * s + 1, s)))
        for u in range(kh)
        for v in range(kw)
    ]
    return padding, (OH, OW), taps


def forward(x, w, *, stride=1):
    padding, size, taps = setting(x, w, stride)
    padded = np.pad(x, padding)
    y = np.zeros((x.shape[0], *size, x.shape[3]), x.dtype)
    for u, v, where in taps:
        y += padded[where] * w[u, v]
    return y, (x, w)


def backward(dy, saved, *, stride=1):
    x, w = saved
    padding, _, taps = setting(x, w, stride)
    padded = np.pad(x, padding)
    dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
    for u, v, where in taps:
        dw[u, v] = (padded[where] * dy).sum((0, 1, 2))
        dpadded[where] += dy * w[u, v]
    p, q = padding[1][0], padding[2][0]
    return dpadded[:, p : p + x.shape[1], q : q + x.shape[2]], dw
