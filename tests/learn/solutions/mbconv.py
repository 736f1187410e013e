STATISTICS = ("gamma", "beta", "moving_mean", "moving_variance")


def batch_norm(call, x, p, name, training):
    return call("batch_norm", x, *(p[f"{name}/{part}"] for part in STATISTICS), training=training)


def mbconv(call, x, p, name, *, stride, activation, residual, training):
    y = x
    if f"{name}.expand_conv/kernel" in p:
        y = call("conv2d", y, p[f"{name}.expand_conv/kernel"], None, stride=1)
        y = call(activation, batch_norm(call, y, p, f"{name}.expand_bn", training))
    y = call("depthwise_conv2d", y, p[f"{name}.dwconv/kernel"], stride=stride)
    y = call(activation, batch_norm(call, y, p, f"{name}.bn", training))
    gate = [p[f"{name}.se_{step}/{part}"] for step in ("reduce", "expand") for part in ("kernel", "bias")]
    y = call("squeeze_excite", y, *gate, activation=activation)
    y = call("conv2d", y, p[f"{name}.project_conv/kernel"], None, stride=1)
    y = batch_norm(call, y, p, f"{name}.project_bn", training)
    return call("add", y, x) if residual else y
