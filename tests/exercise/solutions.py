"""Right answers as somebody writes them who has NumPy and the page. `planted.py` has changes of these."""

from __future__ import annotations

SIGMOID = """
def sigmoid(x):
    return 1 / (1 + np.exp(-x))

"""

PADDING = """
def padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2

"""

SOLUTIONS: dict[str, str] = {
    "swish": SIGMOID + """
def backward(dy, saved):
    (x,) = saved
    s = sigmoid(x)
    ds = s * (1 - s)
    return (dy * (s + x * ds),)
""",
    "eswish": SIGMOID + """
def backward(dy, saved, *, beta=1.25):
    (x,) = saved
    s = sigmoid(x)
    dx = beta * dy * s
    dx = dx + beta * dy * x * s * (1 - s)
    return (dx,)
""",
    "sigmoid": """
def backward(dy, saved):
    (y,) = saved
    return (dy * y * (1 - y),)
""",
    "relu": """
def backward(dy, saved, *, maximum=None):
    (y,) = saved
    dx = dy.copy()
    dx[y <= 0] = 0
    if maximum is not None:
        dx[y >= maximum] = 0
    return (dx,)
""",
    "prelu": """
def backward(dy, saved):
    x, alpha = saved
    negative = x <= 0
    dx = dy.copy()
    dx[negative] = (dy * alpha)[negative]
    dalpha = (dy * x * negative).sum(axis=(0, 1, 2))
    return dx, dalpha
""",
    "add": """
def backward(dy, saved):
    da = dy.copy()
    db = dy.copy()
    return da, db
""",
    "multiply": """
def fold(gradient, shape):
    while gradient.ndim > len(shape):
        gradient = gradient.sum(axis=0)
    for axis, n in enumerate(shape):
        if n == 1:
            gradient = gradient.sum(axis=axis, keepdims=True)
    return gradient


def backward(dy, saved):
    a, b = saved
    da = fold(dy * b, a.shape)
    db = fold(dy * a, b.shape)
    return da, db
""",
    "concat": """
def backward(dy, saved):
    ends = np.cumsum(saved)
    return tuple(dy[..., end - count : end] for end, count in zip(ends, saved))
""",
    "global_mean": """
def backward(dy, saved):
    (shape,) = saved
    N, H, W, C = shape
    dx = np.zeros(shape)
    for h in range(H):
        for k in range(W):
            dx[:, h, k] = dy[:, 0, 0] / (H * W)
    return (dx,)
""",
    "avg_pool": """
def backward(dy, saved, *, size=2):
    (shape,) = saved
    dx = np.zeros(shape)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            window = dx[:, i * size : (i + 1) * size, j * size : (j + 1) * size]
            window += dy[:, i : i + 1, j : j + 1] / size**2
    return (dx,)
""",
    "max_pool": PADDING + """
def backward(dy, saved, *, size=2, stride=2):
    argmax, shape = saved
    N, H, W, C = shape
    top, _ = padding(H, size, stride)
    left, _ = padding(W, size, stride)
    dx = np.zeros(shape)
    for n, i, j, c in np.ndindex(*dy.shape):
        u, v = divmod(int(argmax[n, i, j, c]), size)
        h = i * stride + u - top
        k = j * stride + v - left
        dx[n, h, k, c] += dy[n, i, j, c]
    return (dx,)
""",
    "mse": """
def backward(dy, saved, *, reduction="mean"):
    prediction, target, mask = saved
    d = 2 * (prediction - target) * dy
    if mask is not None:
        d = d * mask
    if reduction == "mean":
        d = d / prediction.size
    return d, None, None
""",
    "drop_connect": """
def backward(dy, saved, *, rate):
    (mask,) = saved
    keep = 1 - rate
    return dy * mask / keep, None
""",
    "batch_norm": """
def backward(dy, saved, *, epsilon=1e-3, training=False, reduce=None):
    x, gamma, mean, variance = saved
    N, H, W, C = x.shape
    M = N * H * W
    std = np.sqrt(variance + epsilon)
    z = (x - mean) / std
    dbeta = dy.sum(axis=(0, 1, 2))
    dgamma = (dy * z).sum(axis=(0, 1, 2))
    dz = dy * gamma
    dx = dz / std
    if training:
        dvariance = (dz * (x - mean)).sum(axis=(0, 1, 2)) * -0.5 / std**3
        dmean = -dz.sum(axis=(0, 1, 2)) / std
        dx = dx + dvariance * 2 * (x - mean) / M
        dx = dx + dmean / M
    return dx, dgamma, dbeta, None, None
""",
    "squeeze_excite": SIGMOID + """
def slope(t, activation):
    s = sigmoid(t)
    if activation == "relu":
        return t, np.where(t > 0, 1.0, 0.0)
    beta = 1.25 if activation == "eswish" else 1.0
    return beta, beta * s * (1 + t * (1 - s))


def hidden(t, activation):
    if activation == "relu":
        return np.maximum(t, 0)
    return (1.25 if activation == "eswish" else 1.0) * t * sigmoid(t)


def backward(dy, saved, *, activation="swish"):
    x, w_reduce, w_expand, m, t, g = saved
    N, H, W, C = x.shape
    wr, we = w_reduce[0, 0], w_expand[0, 0]
    a = hidden(t, activation)
    dx = dy * g[:, None, None, :]
    dg = (dy * x).sum(axis=(1, 2))
    du = dg * g * (1 - g)
    dwe = a.T @ du
    dbe = du.sum(axis=0)
    da = du @ we.T
    dt = da * slope(t, activation)[1]
    dwr = m.T @ dt
    dbr = dt.sum(axis=0)
    dm = dt @ wr.T
    dx = dx + dm[:, None, None, :] / (H * W)
    return dx, dwr[None, None], dbr, dwe[None, None], dbe
""",
    "conv2d": PADDING + """
def backward(dy, saved, *, stride=1, needs=None):
    x, w, has_bias = saved
    N, H, W, _ = x.shape
    kh, kw = w.shape[:2]
    top, bottom = padding(H, kh, stride)
    left, right = padding(W, kw, stride)
    xp = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    dxp = np.zeros(xp.shape)
    dw = np.zeros(w.shape)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            rows = slice(i * stride, i * stride + kh)
            columns = slice(j * stride, j * stride + kw)
            window = xp[:, rows, columns, :]
            dw += np.einsum("nuvc,no->uvco", window, dy[:, i, j])
            dxp[:, rows, columns, :] += np.einsum("uvco,no->nuvc", w, dy[:, i, j])
    dx = dxp[:, top : top + H, left : left + W, :]
    db = dy.sum(axis=(0, 1, 2)) if has_bias else None
    return dx, dw, db
""",
    "depthwise_conv2d": PADDING + """
def backward(dy, saved, *, stride=1, needs=None):
    x, w = saved
    N, H, W, C = x.shape
    kh, kw, _ = w.shape
    p, _ = padding(H, kh, stride)
    q, _ = padding(W, kw, stride)
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    for i in range(dy.shape[1]):
        for j in range(dy.shape[2]):
            for u in range(kh):
                for v in range(kw):
                    h = i * stride + u - p
                    k = j * stride + v - q
                    if 0 <= h < H and 0 <= k < W:
                        dw[u, v] += (x[:, h, k] * dy[:, i, j]).sum(axis=0)
                        dx[:, h, k] += w[u, v] * dy[:, i, j]
    return dx, dw
""",
    "conv_transpose2d": """
def backward(dy, saved, *, stride=2, needs=None):
    x, w, has_bias = saved
    N, H, W, _ = x.shape
    kh, kw = w.shape[:2]
    p = max(kh - stride, 0) // 2
    q = max(kw - stride, 0) // 2
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    for i in range(H):
        for j in range(W):
            for u in range(kh):
                for v in range(kw):
                    h = i * stride + u - p
                    k = j * stride + v - q
                    if 0 <= h < dy.shape[1] and 0 <= k < dy.shape[2]:
                        dx[:, i, j] += dy[:, h, k] @ w[u, v]
                        dw[u, v] += dy[:, h, k].T @ x[:, i, j]
    db = dy.sum(axis=(0, 1, 2)) if has_bias else None
    return dx, dw, db
""",
}  # fmt: skip


def solution(op: str) -> str:
    """Source of a right answer."""
    return "import numpy as np\n\n" + SOLUTIONS[op]
