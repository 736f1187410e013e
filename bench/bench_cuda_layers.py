"""Every convolution of the five networks on a GPU, forward and both gradients, against PyTorch (cuDNN, channels-last).

pytest bench/bench_cuda_layers.py -m gpu       prints a table, writes cuda.json to the --bench-output folder

The batch makes the input at least 256 MB, so that a depthwise layer is bound by memory and nothing by launching.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from cuda_timing import LARGE, Call, cupy_or_skip, fill_book, time_calls, torch_or_none

import epcore
from epcore.ops import OPS
from epcore.shapes import Shape, same_padding

pytestmark = pytest.mark.gpu
CONVOLUTIONS = ("depthwise_conv2d", "conv2d", "conv_transpose2d")
PASSES = ("forward", "backward data", "backward filter")


@dataclass(frozen=True)
class Layer:
    """One shape: x (1,H,W,C), w as epcore has it."""

    op: str
    x: Shape
    w: Shape
    stride: int

    @property
    def batch(self) -> int:
        return ceil(LARGE / (4 * prod(self.x)))

    def __str__(self) -> str:
        name = {"depthwise_conv2d": "depthwise", "conv2d": "conv", "conv_transpose2d": "transposed"}[self.op]
        return f"{name} {'x'.join(map(str, self.x[1:]))} w {'x'.join(map(str, self.w))} s{self.stride}"


@cache
def layers() -> list[Layer]:
    """The distinct shapes of all five networks."""
    found: dict[Layer, None] = {}
    for variant in ("RT", "I", "II", "III", "IV"):
        graph = epcore.EfficientPose(variant).graph
        shapes = graph.shapes()
        for node in graph.nodes.values():
            if node.op in CONVOLUTIONS:
                w = graph.parameters[str(node.parameters[0])].shape
                found[Layer(node.op, shapes[node.inputs[0]], w, node.attributes["stride"])] = None
    return list(found)


@pytest.fixture(scope="module")
def gpu(pytestconfig: pytest.Config) -> Iterator[Book]:
    yield from fill_book(pytestconfig)


@pytest.mark.parametrize("layer", layers(), ids=str)
def bench_layer(layer: Layer, gpu: Book) -> None:
    cupy = cupy_or_skip()
    rng = cupy.random.default_rng(0)
    x = rng.standard_normal((layer.batch, *layer.x[1:]), dtype=np.float32)
    w = rng.standard_normal(layer.w, dtype=np.float32)
    ours = epcore_calls(layer, x, w)
    theirs = torch_calls(layer, x, w)
    cost = OPS[layer.op].cost(x.shape, w.shape, stride=layer.stride)
    output = 4 * prod(OPS[layer.op].output_shape(x.shape, w.shape, stride=layer.stride))
    for name in PASSES:
        contenders = {"epcore": ours[name]} | ({"PyTorch": theirs[name]} if theirs else {})
        if theirs:
            compare(layer, name, ours[name](), theirs[name]())
        samples = time_calls(contenders)
        for contender, sample in samples.items():
            ratio = sample.median / samples["PyTorch"].median if contender == "epcore" and theirs else None
            case = f"{layer}, batch {layer.batch}"
            traffic = x.nbytes + output + w.nbytes
            gpu.add(
                Row(f"CUDA {name}", case, contender, sample.median * 1e3, sample.spread, 2 * cost.macs, traffic, ratio=ratio)
            )


def epcore_calls(layer: Layer, x: Any, w: Any) -> dict[str, Call]:
    module = import_module(f"epcore.kernels.cuda.{layer.op}")
    y, saved = module.forward(x, w, stride=layer.stride)
    bias = () if layer.op == "depthwise_conv2d" else (False,)
    return {
        "forward": lambda: module.forward(x, w, stride=layer.stride)[0],
        "backward data": lambda: module.backward(y, saved, stride=layer.stride, needs=(True, False, *bias))[0],
        "backward filter": lambda: module.backward(y, saved, stride=layer.stride, needs=(False, True, *bias))[1],
    }


def torch_calls(layer: Layer, x: Any, w: Any) -> dict[str, Call] | None:
    """The same three by cuDNN, NHWC in memory. Uneven padding is added before the clock starts: it costs PyTorch nothing."""
    torch = torch_or_none()
    if torch is None:
        return None
    a = torch.from_dlpack(x).permute(0, 3, 1, 2)
    kernel = torch.from_dlpack(w)
    transposed = layer.op == "conv_transpose2d"
    groups = a.shape[1] if layer.op == "depthwise_conv2d" else 1
    if layer.op == "depthwise_conv2d":
        kernel = kernel.permute(2, 0, 1)[:, None]
    else:
        kernel = kernel.permute(3, 2, 0, 1)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    if transposed:
        padding = [(layer.w[0] - layer.stride) // 2] * 2
    else:
        pads = [same_padding(n, k, layer.stride) for n, k in zip(layer.x[1:3], layer.w[:2], strict=True)]
        padding = [before for before, _ in pads]
        if any(before != after for before, after in pads):
            (top, bottom), (left, right) = pads
            a = torch.nn.functional.pad(a, (left, right, top, bottom)).contiguous(memory_format=torch.channels_last)
            padding = [0, 0]
    arguments = [layer.stride] * 2, padding, [1, 1], transposed, [0, 0], groups
    y = torch.ops.aten.convolution(a, kernel, None, *arguments)

    def backward(data: bool, filters: bool) -> Any:
        wanted = [data, filters, False]
        return torch.ops.aten.convolution_backward(y, a, kernel, None, *arguments, wanted)

    return {
        "forward": lambda: torch.ops.aten.convolution(a, kernel, None, *arguments),
        "backward data": lambda: backward(True, False)[0],
        "backward filter": lambda: backward(False, True)[1],
    }


def compare(layer: Layer, name: str, ours: Any, theirs: Any) -> None:
    """Both computed the same thing: outputs in full, gradients (whose padding differs) by a filter's elements."""
    if name == "backward data":
        return
    mine = ours.get() if hasattr(ours, "get") else ours
    other = theirs.permute(0, 2, 3, 1) if name == "forward" else theirs.permute(2, 3, 1, 0)
    if name == "backward filter" and layer.op == "depthwise_conv2d":
        other = other[:, :, 0]
    other = other.cpu().numpy()
    assert mine.shape == other.shape, (mine.shape, other.shape)
    length = prod(layer.w[:3]) if name == "forward" else layer.batch * prod(layer.x[1:3])
    assert np.abs(mine - other).max() <= 4 * np.finfo(np.float32).eps * length**0.5 * np.abs(other).max()
