"""The five exercises: what a kernel is called and given, how it is launched, on which cases, and what is right.

A case's expected values are the reference operators' in double. Bounds are of sums in float32 in any order: n products and
additions of terms that add up to `size` in absolute value are off by at most (n + 2) * eps * size (Higham, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epcore.kernels.cuda import conv2d as our_convolution
from epcore.kernels.cuda import depthwise_conv2d as our_depthwise
from epcore.kernels.cuda import swish as our_swish
from epcore.learn.cuda.counts import Counts
from epcore.learn.cuda.ours import count
from epcore.learn.cuda.program import Launch
from epcore.ops import OPS
from epcore.shapes import Window

EPS = float(np.finfo(np.float32).eps)
TEXTS = Path(__file__).parent / "exercises"
K = 3  # the side of the depthwise filters


@dataclass(frozen=True)
class Case:
    """launch: with one output, NaN before; expected, bound: of its values, float64."""

    label: str
    launch: Launch
    expected: np.ndarray
    bound: np.ndarray
    ours: Callable[[], Counts]


@dataclass(frozen=True)
class Exercise:
    """names: of the array arguments, the output's last; signature: types of all parameters; the last case is counted."""

    name: str
    kernel: str
    names: tuple[str, ...]
    signature: tuple[str, ...]
    cases: Callable[[], list[Case]]

    def starter(self) -> str:
        """The file a student begins with: the task and an empty kernel."""
        return (TEXTS / f"{self.name}.cu").read_text(encoding="utf-8")

    def solution(self) -> str:
        return (TEXTS / f"{self.name}_solution.cu").read_text(encoding="utf-8")


def _normal(*shape: int) -> np.ndarray:
    """Never the same twice in one array, the same in every run."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _swish() -> list[Case]:
    return [_swish_case(n) for n in (1, 1003, 20000)]


def _swish_case(n: int) -> Case:
    x = 3 * _normal(n)
    expected = OPS["swish"].forward(x.astype(np.float64))[0]
    launch = Launch((_ceil(n, 1024),), (256,), (x, np.empty(n, np.float32), np.int32(n)), outputs=(1,))
    # exp, an addition, a division and a product; the rounded argument of exp counts |x| times
    bound = (8 + np.abs(x)) * EPS * np.abs(expected)
    return Case(f"n = {n:,}", launch, expected, bound, lambda: count(lambda: our_swish.forward(x), [x]))


# (N, H, W, C), stride; the last is counted
SHAPES = (((1, 4, 5, 3), 1), ((2, 7, 6, 40), 2), ((1, 14, 14, 32), 1))


def _depthwise(kind: str) -> Callable[[], list[Case]]:
    return lambda: [_depthwise_case(kind, shape, stride) for shape, stride in SHAPES]


def _depthwise_case(kind: str, shape: tuple[int, int, int, int], stride: int) -> Case:
    N, H, W, C = shape
    x, w = _normal(*shape), _normal(K, K, C)
    op = OPS["depthwise_conv2d"]
    y, saved = op.forward(x.astype(np.float64), w.astype(np.float64), stride=stride)
    _, OH, OW, _ = y.shape
    dy = _normal(*y.shape)
    sizes = tuple(np.int32(value) for value in (H, W, C, OH, OW, stride, *Window(shape, (K, K), stride).start))
    absolute = op.forward(abs(x).astype(np.float64), abs(w).astype(np.float64), stride=stride)
    gradients = op.backward(dy.astype(np.float64), saved, stride=stride)
    sizes_of = op.backward(abs(dy).astype(np.float64), absolute[1], stride=stride)
    label = f"x ({N},{H},{W},{C}), stride {stride}"

    def backward(*needs: bool) -> Counts:
        return count(lambda: our_depthwise.backward(dy, (x, w), stride=stride, needs=needs), [x, w, dy])

    match kind:
        case "forward":
            launch = Launch((_ceil(OW * C, 256), OH, N), (256,), (x, w, np.empty(y.shape, np.float32), *sizes), outputs=(2,))
            ours = lambda: count(lambda: our_depthwise.forward(x, w, stride=stride), [x, w])  # noqa: E731
            return Case(label, launch, y, (K * K + 2) * EPS * absolute[0], ours)
        case "data":
            launch = Launch((_ceil(W * C, 256), H, N), (256,), (dy, w, np.empty(shape, np.float32), *sizes), outputs=(2,))
            return Case(label, launch, gradients[0], (K * K + 2) * EPS * sizes_of[0], lambda: backward(True, False))
        case _:
            arguments = (x, dy, np.empty(w.shape, np.float32), np.int32(N), *sizes)
            launch = Launch((_ceil(C, 32), K, K), (32, 8), arguments, outputs=(2,))
            bound = (N * OH * OW + 2) * EPS * sizes_of[1]
            return Case(label, launch, gradients[1], bound, lambda: backward(False, True))


def _sums() -> list[Case]:
    return [_sums_case(rows, C) for rows, C in ((1, 1), (77, 40), (500, 64))]


def _sums_case(rows: int, C: int) -> Case:
    a = _normal(rows, C)
    launch = Launch((_ceil(C, 32),), (32, 8), (a, np.empty(C, np.float32), np.int32(rows), np.int32(C)), outputs=(1,))
    bound = (rows + 2) * EPS * np.abs(a).sum(0, dtype=np.float64)
    ours = lambda: count(lambda: our_convolution.bias_gradient(a), [a])  # noqa: E731
    return Case(f"a ({rows},{C})", launch, a.sum(0, dtype=np.float64), bound, ours)


_SIZES = ("int",) * 8
EXERCISES = {
    exercise.name: exercise
    for exercise in (
        Exercise("swish", "swish", ("x", "y"), ("const float*", "float*", "int"), _swish),
        Exercise("depthwise_forward", "depthwise_forward", ("x", "w", "y"), ("const float*", "const float*", "float*", *_SIZES),
                 _depthwise("forward")),
        Exercise("depthwise_backward_data", "depthwise_backward_data", ("dy", "w", "dx"),
                 ("const float*", "const float*", "float*", *_SIZES), _depthwise("data")),
        Exercise("depthwise_backward_filter", "depthwise_backward_filter", ("x", "dy", "dw"),
                 ("const float*", "const float*", "float*", "int", *_SIZES), _depthwise("filter")),
        Exercise("column_sums", "column_sums", ("a", "out"), ("const float*", "float*", "int", "int"), _sums),
    )
}  # fmt: skip
