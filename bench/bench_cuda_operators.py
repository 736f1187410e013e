"""Everything but convolutions on a GPU: bytes moved against the bandwidth of a copy, beside PyTorch's operator.

pytest bench/bench_cuda_operators.py -m gpu
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from math import prod
from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from cuda_timing import Call, cupy_or_skip, fill_book, time_calls, torch_or_none

from epcore.kernels.cuda import bilinear, targets
from epcore.kernels.cuda.sgd import SgdMomentum
from epcore.pose.skeleton import LIMBS

pytestmark = pytest.mark.gpu
X = (64, 112, 112, 96)  # RT's largest map, 308 MB
C = X[3]

# operator -> (further shapes, attributes, passes over the large tensor forward and backward)
OPERATORS: dict[str, tuple[list[tuple[int, ...]], dict[str, Any], int, int]] = {
    "swish": ([], {}, 2, 3),
    "eswish": ([], {}, 2, 3),
    "sigmoid": ([], {}, 2, 3),
    "relu": ([], {}, 2, 3),
    "prelu": ([(C,)], {}, 2, 3),
    "add": ([X], {}, 3, 0),
    "drop_connect": ([(X[0], 1, 1, 1)], {"rate": 0.2}, 2, 2),
    "batch_norm": ([(C,)] * 4, {"training": True}, 3, 5),
    "global_mean": ([], {}, 1, 1),
    "squeeze_excite": ([(1, 1, C, 4), (4,), (1, 1, 4, C), (C,)], {}, 3, 4),
    "concat": ([X], {}, 4, 4),
    "mse": ([X], {}, 2, 3),
}


@pytest.fixture(scope="module")
def gpu(pytestconfig: pytest.Config) -> Iterator[Book]:
    yield from fill_book(pytestconfig)


@pytest.mark.parametrize("op", OPERATORS)
def bench_operator(op: str, gpu: Book) -> None:
    cupy = cupy_or_skip()
    shapes, attributes, reads_forward, reads_backward = OPERATORS[op]
    rng = cupy.random.default_rng(0)
    arrays = [rng.random(shape, dtype=np.float32) for shape in (X, *shapes)]
    module = import_module(f"epcore.kernels.cuda.{op}")
    y, saved = module.forward(*arrays, **attributes)
    dy = cupy.ones_like(y)
    torch = torch_or_none()
    theirs = torch_calls(torch, op, arrays) if torch is not None else None
    for name, passes, call in (
        ("forward", reads_forward, lambda: module.forward(*arrays, **attributes)),
        ("backward", reads_backward, lambda: module.backward(dy, saved, **attributes)),
    ):
        if not passes:
            continue
        contenders: dict[str, Call] = {"epcore": call} | ({"PyTorch": theirs[name]} if theirs else {})
        add_rows(gpu, f"{op} {name}", contenders, passes * 4 * prod(X))


def bench_bilinear(gpu: Book) -> None:
    cupy = cupy_or_skip()
    x = cupy.ones((64, 112, 112, 16), np.float32)
    y = bilinear.forward(x)
    add_rows(gpu, "bilinear forward", {"epcore": lambda: bilinear.forward(x)}, x.nbytes + y.nbytes)
    add_rows(gpu, "bilinear backward", {"epcore": lambda: bilinear.backward(y)}, x.nbytes + y.nbytes)


def bench_sgd(gpu: Book) -> None:
    """RT's parameters (launch-bound) and as many as fill memory's bandwidth."""
    import epcore

    cupy = cupy_or_skip()
    shapes = [spec.shape for spec in epcore.EfficientPose("RT").graph.parameters.values()]
    torch = torch_or_none()
    for label, sizes in (("RT", shapes), ("64 x 1 M", [(2**20,)] * 64)):
        parameters, velocities, gradients = ([cupy.ones(shape, np.float32) for shape in sizes] for _ in range(3))
        optimizer = SgdMomentum(parameters, velocities)
        contenders: dict[str, Call] = {"epcore": partial(optimizer.step, gradients, rate=1e-6, momentum=0.9)}
        if torch is not None:
            tensors = [torch.from_dlpack(array.copy()) for array in parameters]
            for tensor, gradient in zip(tensors, gradients, strict=True):
                tensor.grad = torch.from_dlpack(gradient)
            contenders["PyTorch"] = torch.optim.SGD(tensors, 1e-6, momentum=0.9, fused=True).step
        add_rows(gpu, f"sgd {label}", contenders, 5 * 4 * sum(prod(shape) for shape in sizes))


def bench_targets(gpu: Book) -> None:
    cupy = cupy_or_skip()
    points = cupy.random.default_rng(0).uniform(0, 224, (20, 1, 16, 2))
    known = cupy.ones((20, 1, 16), np.bool_)
    limbs = cupy.asarray(np.array(LIMBS, np.int32))
    maps = 4 * 20 * 224 * 224 * 16
    add_rows(gpu, "confidence maps 224", {"epcore": lambda: targets.confidence_maps(points, known, 224, 8.0)}, maps)
    fields = 4 * 20 * 28 * 28 * 28
    add_rows(gpu, "affinity fields 28", {"epcore": lambda: targets.affinity_fields(points, known, limbs, 28, 2.0)}, fields)


def add_rows(book: Book, case: str, contenders: dict[str, Call], traffic: int) -> None:
    samples = time_calls(contenders)
    for name, sample in samples.items():
        ratio = sample.median / samples["PyTorch"].median if name == "epcore" and "PyTorch" in samples else None
        book.add(Row("CUDA operators", case, name, sample.median * 1e3, sample.spread, 0, traffic, ratio=ratio))


def torch_calls(torch: Any, op: str, arrays: list[Any]) -> dict[str, Call] | None:
    """PyTorch's forward and backward of the same operator, channels-last; None where it has none."""
    F = torch.nn.functional
    x, *rest = (torch.from_dlpack(array) for array in arrays)
    x = x.permute(0, 3, 1, 2).requires_grad_()
    functions: dict[str, Callable[[], Any]] = {
        "swish": lambda: F.silu(x),
        "eswish": lambda: 1.25 * F.silu(x),
        "sigmoid": lambda: torch.sigmoid(x),
        "relu": lambda: F.relu(x),
        "prelu": lambda: F.prelu(x, rest[0]),
        "add": lambda: x + rest[0].permute(0, 3, 1, 2),
        "batch_norm": lambda: F.batch_norm(x, rest[2], rest[3], rest[0], rest[1], True, 0.01, 1e-3),
        "global_mean": lambda: x.mean((2, 3), keepdim=True),
        "concat": lambda: torch.cat([x, rest[0].permute(0, 3, 1, 2)], 1),
        "mse": lambda: F.mse_loss(x, rest[0].permute(0, 3, 1, 2)),
    }
    if op not in functions:
        return None
    forward = functions[op]
    y = forward()
    dy = torch.ones_like(y)
    return {"forward": forward, "backward": lambda: torch.autograd.grad(y, x, dy, retain_graph=True)}
