"""The operators, one a file. Each file holds equation, forward, backward, output shape and cost, in that order."""

from epcore.op import Op
from epcore.ops import (
    add,
    avg_pool,
    batch_norm,
    concat,
    conv2d,
    conv_transpose2d,
    depthwise_conv2d,
    drop_connect,
    eswish,
    global_mean,
    max_pool,
    mse,
    multiply,
    prelu,
    relu,
    sigmoid,
    squeeze_excite,
    swish,
)

_MODULES = (
    conv2d, depthwise_conv2d, conv_transpose2d, batch_norm, swish, eswish, sigmoid, relu, prelu, max_pool, avg_pool,
    global_mean, squeeze_excite, add, multiply, concat, drop_connect, mse,
)  # fmt: skip

OPS: dict[str, Op] = {module.OP.name: module.OP for module in _MODULES}
