def forward(a, b):
    return a + b, ()


def backward(dy, saved):
    return dy, dy
