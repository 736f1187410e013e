def forward(a, b):
    return a * b, (a, b)


def backward(dy, saved):
    a, b = saved
    return fold(dy * b, a.shape), fold(dy * a, b.shape)


def fold(gradient, shape):
    """Summed over the axes that broadcasting added or stretched."""
    added = gradient.ndim - len(shape)
    gradient = gradient.sum(tuple(range(added)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return gradient.sum(stretched, keepdims=True) if stretched else gradient
