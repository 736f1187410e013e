"""A port of the networks that shares nothing with epcore but the graph: NCHW, windows and einsum, with mistakes to order."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from epcore.graph import INPUT
from epcore.network import Network


@dataclass
class Port:
    """mistakes: any of those asked for below; only: the layers they are made in (all, if empty)."""

    model: Network
    mistakes: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    values: dict[str, np.ndarray] = field(default_factory=dict)

    def makes(self, mistake: str, layer: str) -> bool:
        return mistake in self.mistakes and (not self.only or layer in self.only)

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """x (N,H,W,3) float32 -> every layer, (N,C,H,W) float32."""
        x = x.astype(np.float64).transpose(0, 3, 1, 2)
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        pixels = x * std[:, None, None] + mean[:, None, None]
        if "tf preprocessing" in self.mistakes:
            x = pixels * 2 - 1
        if "bgr" in self.mistakes:
            x = x[:, ::-1]
        self.values = {INPUT: x}
        for node in self.model.graph.nodes.values():
            name = node.name
            arrays = [self.values[self.tapped(name, each)] for each in node.inputs]
            weights = [None if each is None else self.model.parameters[each].astype(np.float64) for each in node.parameters]
            y = getattr(self, node.op)(name, *arrays, *weights, **node.attributes)
            if self.makes("channels rolled", name):
                y = np.roll(y, 3, axis=1)
            if self.makes("half precision", name):
                y = y.astype(np.float16).astype(np.float64)
            self.values[name] = y
        return {name: y.astype(np.float32) for name, y in self.values.items()}

    def tapped(self, reader: str, name: str) -> str:
        """The low branch after an add of its own making."""
        if (
            "low add" in self.mistakes
            and name.startswith("low.")
            and name.endswith("project_bn")
            and not reader.startswith("low")
        ):
            block = name.removesuffix("project_bn")
            first = next(node for node in self.model.graph.nodes.values() if node.name.startswith(block))
            self.values[f"{block}own_add"] = self.values[name] + self.values[first.inputs[0]]
            return f"{block}own_add"
        return name

    def conv2d(self, name: str, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None, *, stride: int = 1) -> np.ndarray:
        y = np.einsum("nchwuv,uvco->nohw", self.windows(name, x, w.shape[0], stride), w, optimize=True)
        return y if b is None else y + b[:, None, None]

    def depthwise_conv2d(self, name: str, x: np.ndarray, w: np.ndarray, *, stride: int = 1) -> np.ndarray:
        if self.makes("kernel turned", name):
            w = w[::-1, ::-1]
        return np.einsum("nchwuv,uvc->nchw", self.windows(name, x, w.shape[0], stride), w, optimize=True)

    def windows(self, name: str, x: np.ndarray, k: int, stride: int) -> np.ndarray:
        """As PyTorch would be told to: padding=k // 2 is right at stride 1, and wrong at stride 2 and even sizes."""
        pads = []
        for n in x.shape[2:]:
            total = max((-(-n // stride) - 1) * stride + k - n, 0)
            before = k // 2 if self.makes("padding", name) else total // 2
            pads.append((before, max(total - before, 0)))
        padded = np.pad(x, [(0, 0), (0, 0), *pads])
        return sliding_window_view(padded, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]

    def conv_transpose2d(self, name: str, x: np.ndarray, w: np.ndarray, b: np.ndarray, *, stride: int = 2) -> np.ndarray:
        N, _, H, W = x.shape
        if self.makes("edge", name):
            wide = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)], mode="edge")
            rows = self._upsampled(wide, 2)
            return self._upsampled(rows, 3)[:, :, 2:-2, 2:-2] + b[:, None, None]
        full = np.zeros((N, w.shape[2], 2 * H + 2, 2 * W + 2))
        for u in range(4):
            for v in range(4):
                full[:, :, u : u + 2 * H : 2, v : v + 2 * W : 2] += np.einsum("nchw,oc->nohw", x, w[u, v])
        crop = 0 if self.makes("crop", name) else 1
        return full[:, :, crop : crop + 2 * H, crop : crop + 2 * W] + b[:, None, None]

    @staticmethod
    def _upsampled(x: np.ndarray, axis: int) -> np.ndarray:
        before, after = np.roll(x, 1, axis), np.roll(x, -1, axis)
        return np.stack([0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after], axis + 1).reshape(
            *x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :]
        )

    def batch_norm(self, name: str, x: np.ndarray, *arrays: np.ndarray, epsilon: float = 1e-3) -> np.ndarray:
        gamma, beta, mean, variance = (array[:, None, None] for array in arrays)
        if self.makes("epsilon", name):
            epsilon = 1e-5
        return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta

    def swish(self, name: str, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    def eswish(self, name: str, x: np.ndarray, *, beta: float = 1.25) -> np.ndarray:
        if self.makes("swish inside", name):
            return x / (1 + np.exp(-1.25 * x))
        return self.swish(name, x) * (1 if self.makes("swish", name) else beta)

    def squeeze_excite(self, name: str, x: np.ndarray, *weights: np.ndarray, activation: str) -> np.ndarray:
        w_reduce, b_reduce, w_expand, b_expand = weights
        hidden = x.mean((2, 3)) @ w_reduce[0, 0] + b_reduce
        hidden = self.swish(name, hidden) * (1.25 if activation == "eswish" and not self.makes("swish in se", name) else 1)
        gate = 1 / (1 + np.exp(-(hidden @ w_expand[0, 0] + b_expand)))
        return x * gate[:, :, None, None]

    def drop_connect(self, name: str, x: np.ndarray, *, rate: float) -> np.ndarray:
        return x * (1 - rate) if self.makes("drop scaling", name) else x

    def add(self, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a if self.makes("no add", name) else a + b

    def concat(self, name: str, *xs: np.ndarray) -> np.ndarray:
        return np.concatenate(xs[::-1] if self.makes("concat", name) else xs, axis=1)

    def avg_pool(self, name: str, x: np.ndarray, *, size: int) -> np.ndarray:
        parts = [x[:, :, i::size, j::size] for i in range(size) for j in range(size)]
        return sum(parts[1:], start=parts[0]) / size**2


def randomized(model: Network, x: np.ndarray, seed: int = 0) -> Network:
    """Scales, shifts and biases away from their start, running statistics those of x: a mistake in any of them shows."""
    rng = np.random.default_rng(seed)
    for name, array in model.parameters.items():
        kind = name.rpartition("/")[2]
        if kind == "gamma":
            model.parameters[name] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif kind in ("beta", "bias"):
            model.parameters[name] = rng.normal(0, 0.2, array.shape).astype(np.float32)
    model.momentum, model.drop_connect = 0.0, False
    model.train().run(x)
    return model.eval()
