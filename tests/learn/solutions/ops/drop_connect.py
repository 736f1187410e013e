def forward(x, mask, *, rate):
    return x * (mask / x.dtype.type(1 - rate)), (mask,)


def backward(dy, saved, *, rate):
    (mask,) = saved
    return dy * (mask / dy.dtype.type(1 - rate)), None
