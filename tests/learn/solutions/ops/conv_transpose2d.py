import numpy as np


def setting(x, w, s):
    """Shape of the full output without channels, rows and columns to cut off, and the slice that each tap writes."""
    H, W = x.shape[1:3]
    kh, kw = w.shape[:2]
    crop = max(kh - s, 0) // 2, max(kw - s, 0) // 2
    size = max((H - 1) * s + kh, H * s + crop[0]), max((W - 1) * s + kw, W * s + crop[1])
    taps = [
        (u, v, (slice(None), slice(u, u + (H - 1) * s + 1, s), slice(v, v + (W - 1) * s + 1, s)))
        for u in range(kh)
        for v in range(kw)
    ]
    return size, crop, taps


def forward(x, w, b=None, *, stride=2):
    size, (p, q), taps = setting(x, w, stride)
    full = np.zeros((x.shape[0], *size, w.shape[2]), x.dtype)
    for u, v, where in taps:
        full[where] += x @ w[u, v].T
    y = full[:, p : p + x.shape[1] * stride, q : q + x.shape[2] * stride]
    return y if b is None else y + b, (x, w, b is not None)


def backward(dy, saved, *, stride=2):
    x, w, has_bias = saved
    size, (p, q), taps = setting(x, w, stride)
    full = np.zeros((x.shape[0], *size, w.shape[2]), dy.dtype)
    full[:, p : p + dy.shape[1], q : q + dy.shape[2]] = dy
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for u, v, where in taps:
        dx += full[where] @ w[u, v]
        dw[u, v] = np.tensordot(full[where], x, ((0, 1, 2), (0, 1, 2)))
    return dx, dw, dy.sum((0, 1, 2)) if has_bias else None
