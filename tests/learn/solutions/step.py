def step(tape, network, p, trainable, x, target, rate):
    tensors = {name: tape.watch(array) if name in trainable else array for name, array in p.items()}
    outputs = network(tape.apply, x, tensors, training=True)
    loss = tape.apply("mse", outputs["confs3"], target, reduction="sum")
    tape.backward(loss)
    moved = dict(p)
    for name in trainable:
        gradient = tape.gradient(tensors[name])
        if gradient is not None:
            moved[name] = p[name] - rate * gradient
    return float(loss.data), moved
