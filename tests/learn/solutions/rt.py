from mbconv import batch_norm, mbconv


def densenet(call, x, p, name, training):
    def block(number, x):
        full = f"{name}.mbconv{number}"
        return mbconv(call, x, p, full, stride=1, activation="eswish", residual=False, training=training)

    out1 = block(1, x)
    out2 = block(2, out1)
    dense = call("concat", out2, out1)
    return call("concat", block(3, dense), dense)


def head(call, x, p, name):
    return call("conv2d", x, p[f"{name}/kernel"], p[f"{name}/bias"], stride=1)


def rt(call, x, p, training=False):
    x = call("conv2d", x, p["high.stem_conv/kernel"], None, stride=2)
    x = call("swish", batch_norm(call, x, p, "high.stem_bn", training))
    for name, stride, residual in (("1a", 1, False), ("2a", 2, False), ("2b", 1, True), ("3a", 2, False), ("3b", 1, True)):
        x = mbconv(call, x, p, f"high.block{name}", stride=stride, activation="swish", residual=residual, training=training)
    features = x
    x = densenet(call, features, p, "pass1.block1", training)
    outputs = {"pafs": head(call, x, p, "pass1.pafs")}
    for number in (2, 3):
        x = densenet(call, call("concat", x, features), p, f"pass{number}.block1", training)
        outputs[f"confs{number}"] = head(call, x, p, f"pass{number}.confs")
    y = outputs["confs3"]
    for step in (1, 2, 3):
        y = call("conv_transpose2d", y, p[f"upscale{step}/kernel"], p[f"upscale{step}/bias"], stride=2)
    return {**outputs, "upscaled": y}
