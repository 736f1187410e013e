"""A port to PyTorch, compared with epcore layer by layer: docs/porting.md tells the story. Needs numpy and torch only.

epcore vectors --output vectors.npz --layout NCHW
epcore weights export epcore/models/synthetic_rt.h5 --model RT --layout NCHW --output weights.npz
python docs/examples/port_to_torch.py vectors.npz weights.npz port.npz --first-try
epcore diff port.npz --vectors vectors.npz
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812


def same(n: int, kernel: int, stride: int) -> tuple[int, int]:
    """Keras' SAME padding: the smaller half comes first, so at stride 2 it is not kernel // 2 on both sides."""
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


def convolve(x, w, b, stride, first_try):
    k, groups = w.shape[-1], x.shape[1] // w.shape[1]
    if first_try:
        return F.conv2d(x, w, b, stride, padding=k // 2, groups=groups)
    (top, bottom), (left, right) = same(x.shape[2], k, stride), same(x.shape[3], k, stride)
    return F.conv2d(F.pad(x, (left, right, top, bottom)), w, b, stride, groups=groups)


def layer(op, inputs, weights, attributes, first_try):
    """One layer in PyTorch; with first_try as one writes it before reading how Keras does it."""
    x = inputs[0]
    match op:
        case "conv2d" | "depthwise_conv2d":
            return convolve(x, weights[0], weights[1] if len(weights) > 1 else None, attributes["stride"], first_try)
        case "batch_norm":
            gamma, beta, mean, variance = weights
            return F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5 if first_try else attributes["epsilon"])
        case "swish":
            return F.silu(x)
        case "eswish":
            return F.silu(x) if first_try else 1.25 * F.silu(x)
        case "squeeze_excite":
            hidden = F.silu(F.conv2d(x.mean((2, 3), keepdim=True), *weights[:2]))
            factor = 1.25 if attributes["activation"] == "eswish" and not first_try else 1
            return x * torch.sigmoid(F.conv2d(factor * hidden, *weights[2:]))
        case "drop_connect":
            return x
        case "add":
            return x + inputs[1]
        case "concat":
            return torch.cat(inputs, 1)
        case "avg_pool":
            return F.avg_pool2d(x, attributes["size"])
        case "conv_transpose2d":
            if first_try:
                return F.interpolate(x, scale_factor=2, mode="bilinear")
            return F.conv_transpose2d(x, *weights, stride=2, padding=1)
    raise ValueError(op)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("vectors")
    parser.add_argument("weights")
    parser.add_argument("port")
    parser.add_argument("--first-try", action="store_true")
    options = parser.parse_args()
    vectors, file = np.load(options.vectors), np.load(options.weights)
    manifest = json.loads(str(vectors["epcore"]))
    weights = {name: torch.from_numpy(file[name]) for name in file.files if name != "epcore"}
    for name, tensor in weights.items():
        tensor.requires_grad_("moving" not in name)  # running statistics are no variables
    values = {"input": torch.from_numpy(vectors["input"]).requires_grad_()}
    for entry in manifest["layers"]:
        arrays = [weights[name] for name in entry["parameters"] if name is not None]
        inputs = [values[name] for name in entry["inputs"]]
        values[entry["name"]] = layer(entry["op"], inputs, arrays, entry["attributes"], options.first_try)
        values[entry["name"]].retain_grad()

    outputs = manifest["outputs"]
    directions = [torch.from_numpy(vectors[f"directions/{label}"]) for label in outputs]
    torch.autograd.backward([values[name] for name in outputs.values()], directions)

    layers = {name: tensor for name, tensor in values.items() if name != "input"}
    port = {f"layers/{name}": tensor.detach().numpy() for name, tensor in layers.items()}
    port |= {f"layer_gradients/{name}": tensor.grad.numpy() for name, tensor in layers.items() if tensor.grad is not None}
    port |= {f"parameter_gradients/{name}": tensor.grad.numpy() for name, tensor in weights.items() if tensor.grad is not None}
    np.savez(options.port, **port, input_gradient=values["input"].grad.numpy())


if __name__ == "__main__":
    main()
