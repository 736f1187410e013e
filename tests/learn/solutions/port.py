"""A port of EfficientPose RT, from the manifest of its vectors. Mended."""

import json
import sys

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def pad(x, kernel, stride):
    """x with zeros around it, so that every pixel has its window."""
    return np.pad(x, ((0, 0), same(x.shape[1], kernel, stride), same(x.shape[2], kernel, stride), (0, 0)))


def same(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def windows(x, kernel, stride):
    """(u, v, what tap (u,v) of all windows meets)"""
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    padded = pad(x, kernel, stride)
    for u in range(kernel):
        for v in range(kernel):
            yield u, v, padded[:, u : u + (rows - 1) * stride + 1 : stride, v : v + (columns - 1) * stride + 1 : stride]


def convolve(x, kernel, bias, stride):
    y = sum(tap @ kernel[u, v] for u, v, tap in windows(x, kernel.shape[0], stride))
    return y if bias is None else y + bias


def depthwise(x, kernel, stride):
    return sum(tap * kernel[u, v] for u, v, tap in windows(x, kernel.shape[0], stride))


def norm(x, gamma, beta, mean, variance, attributes):
    return (x - mean) / np.sqrt(variance + attributes["epsilon"]) * gamma + beta


def excite(x, reduce, reduce_bias, expand, expand_bias, activation):
    hidden = x.mean((1, 2)) @ reduce[0, 0] + reduce_bias
    hidden = (1.25 if activation == "eswish" else 1.0) * hidden * sigmoid(hidden)
    return x * sigmoid(hidden @ expand[0, 0] + expand_bias)[:, None, None, :]


def upscale(x, kernel, bias):
    """4x4, stride 2: twice the size."""
    N, H, W, _ = x.shape
    full = np.zeros((N, 2 * H + 2, 2 * W + 2, kernel.shape[2]), x.dtype)
    for u in range(4):
        for v in range(4):
            full[:, u : u + 2 * H - 1 : 2, v : v + 2 * W - 1 : 2] += x @ kernel[u, v].T
    return full[:, 1 : 1 + 2 * H, 1 : 1 + 2 * W] + bias


def layer(op, inputs, weights, attributes):
    x = inputs[0]
    match op:
        case "conv2d":
            return convolve(x, weights[0], weights[1], attributes["stride"])
        case "depthwise_conv2d":
            return depthwise(x, weights[0], attributes["stride"])
        case "batch_norm":
            return norm(x, *weights, attributes)
        case "swish":
            return x * sigmoid(x)
        case "eswish":
            return x * sigmoid(x) * x.dtype.type(1.25)
        case "squeeze_excite":
            return excite(x, *weights, attributes["activation"])
        case "drop_connect":
            return x
        case "add":
            return x + inputs[1]
        case "concat":
            return np.concatenate(inputs, axis=-1)
        case "conv_transpose2d":
            return upscale(x, *weights)
    raise ValueError(op)


def layers(entries, weights, x):
    """Every layer's map by name. entries: of the manifest; weights: arrays by name; x (N,H,W,3)."""
    maps = {"input": x}
    for entry in entries:
        arrays = [None if name is None else weights[name] for name in entry["parameters"]]
        maps[entry["name"]] = layer(entry["op"], [maps[name] for name in entry["inputs"]], arrays, entry["attributes"])
    return {name: array for name, array in maps.items() if name != "input"}


if __name__ == "__main__":
    vectors, file = np.load(sys.argv[1]), np.load(sys.argv[2])
    entries = json.loads(str(vectors["epcore"]))["layers"]
    weights = {name: file[name] for name in file.files if name != "epcore"}
    np.savez(sys.argv[3], **layers(entries, weights, vectors["input"]))
