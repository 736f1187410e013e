"""The five exercises: what a kernel is called and given, how it is launched, on which cases, and what is right.

A case's expected values are the reference operators' in double. Bounds are of sums in float32 in any order: n products and
additions of terms that add up to `size` in absolute value are off by at most (n + 2) * eps * size (Higham, section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from epcore.kernels.cuda import conv2d as our_convolution
from epcore.kernels.cuda import depthwise_conv2d as our_depthwise
from epcore.kernels.cuda import swish as our_swish
from epcore.learn.cuda.program import Launch
from epcore.ops import OPS
from epcore.shapes import Window

EPS = float(np.finfo(np.float32).eps)
TEXTS = Path(__file__).parent / "exercises"
K = 3  # the side of the depthwise filters


@dataclass(frozen=True)
class Problem:
    """launch: with one output, NaN before; ours(*inputs): epcore's kernel on the same arrays, NumPy's or CuPy's."""

    launch: Launch
    inputs: tuple[np.ndarray, ...]
    ours: Callable[..., object]


@dataclass(frozen=True)
class Case:
    """expected, bound: of the output's values, float64."""

    label: str
    problem: Problem
    expected: np.ndarray
    bound: np.ndarray


@dataclass(frozen=True)
class Exercise:
    """names: of the array arguments, the output's last; signature: types of all parameters. The last case is counted."""

    name: str
    kernel: str
    names: tuple[str, ...]
    signature: tuple[str, ...]
    cases: Callable[[], list[Case]]
    large: Callable[[], Problem]

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


def _swish_problem(n: int) -> Problem:
    x = 3 * _normal(n)
    launch = Launch((_ceil(n, 1024),), (256,), (x, np.empty(n, np.float32), np.int32(n)), outputs=(1,))
    return Problem(launch, (x,), our_swish.forward)


def _swish_case(n: int) -> Case:
    problem = _swish_problem(n)
    (x,) = problem.inputs
    expected = OPS["swish"].forward(x.astype(np.float64))[0]
    # exp, an addition, a division and a product; the rounded argument of exp counts |x| times
    bound = (8 + np.abs(x)) * EPS * np.abs(expected)
    return Case(f"n = {n:,}", problem, expected, bound)


# (N, H, W, C), stride; the last is counted
SHAPES = (((1, 4, 5, 3), 1), ((2, 7, 6, 40), 2), ((1, 14, 14, 32), 1))


def _depthwise(kind: str) -> Callable[[], list[Case]]:
    return lambda: [_depthwise_case(kind, shape, stride) for shape, stride in SHAPES]


def _depthwise_problem(kind: str, shape: tuple[int, int, int, int], stride: int) -> Problem:
    N, H, W, C = shape
    x, w = _normal(*shape), _normal(K, K, C)
    y_shape = OPS["depthwise_conv2d"].output_shape(shape, w.shape, stride=stride)
    _, OH, OW, _ = y_shape
    dy = _normal(*y_shape)
    sizes = tuple(np.int32(value) for value in (H, W, C, OH, OW, stride, *Window(shape, (K, K), stride).start))
    match kind:
        case "forward":
            launch = Launch((_ceil(OW * C, 256), OH, N), (256,), (x, w, np.empty(y_shape, np.float32), *sizes), outputs=(2,))
            return Problem(launch, (x, w), partial(our_depthwise.forward, stride=stride))
        case "data":
            launch = Launch((_ceil(W * C, 256), H, N), (256,), (dy, w, np.empty(shape, np.float32), *sizes), outputs=(2,))
            needs = (True, False)
        case _:
            arguments = (x, dy, np.empty(w.shape, np.float32), np.int32(N), *sizes)
            launch = Launch((_ceil(C, 32), K, K), (32, 8), arguments, outputs=(2,))
            needs = (False, True)
    return Problem(launch, (dy, x, w), lambda dy, x, w: our_depthwise.backward(dy, (x, w), stride=stride, needs=needs))


def _depthwise_case(kind: str, shape: tuple[int, int, int, int], stride: int) -> Case:
    problem = _depthwise_problem(kind, shape, stride)
    op, terms = OPS["depthwise_conv2d"], K * K
    *gradient, x, w = (array.astype(np.float64) for array in problem.inputs)
    y, saved = op.forward(x, w, stride=stride)
    sizes, absolute = op.forward(abs(x), abs(w), stride=stride)
    if kind != "forward":
        index = 0 if kind == "data" else 1
        terms = terms if kind == "data" else gradient[0].size // shape[3]
        y = op.backward(gradient[0], saved, stride=stride)[index]
        sizes = op.backward(abs(gradient[0]), absolute, stride=stride)[index]
    return Case(f"x {str(shape).replace(' ', '')}, stride {stride}", problem, y, (terms + 2) * EPS * sizes)


def _sums() -> list[Case]:
    return [_sums_case(rows, C) for rows, C in ((1, 1), (77, 40), (500, 64))]


def _sums_problem(rows: int, C: int) -> Problem:
    a = _normal(rows, C)
    launch = Launch((_ceil(C, 32),), (32, 8), (a, np.empty(C, np.float32), np.int32(rows), np.int32(C)), outputs=(1,))
    return Problem(launch, (a,), our_convolution.bias_gradient)


def _sums_case(rows: int, C: int) -> Case:
    problem = _sums_problem(rows, C)
    (a,) = problem.inputs
    bound = (rows + 2) * EPS * np.abs(a).sum(0, dtype=np.float64)
    return Case(f"a ({rows},{C})", problem, a.sum(0, dtype=np.float64), bound)


_SIZES = ("int",) * 8
_ARRAYS = ("const float*", "const float*", "float*")


def _exercises() -> Iterator[Exercise]:
    yield Exercise("swish", "swish", ("x", "y"), ("const float*", "float*", "int"), _swish, partial(_swish_problem, 1 << 24))
    for name, kind, names, count in (
        ("depthwise_forward", "forward", ("x", "w", "y"), ()),
        ("depthwise_backward_data", "data", ("dy", "w", "dx"), ()),
        ("depthwise_backward_filter", "filter", ("x", "dy", "dw"), ("int",)),
    ):
        large = partial(_depthwise_problem, kind, (8, 112, 112, 96), 1)
        yield Exercise(name, name, names, (*_ARRAYS, *count, *_SIZES), _depthwise(kind), large)
    signature = ("const float*", "float*", "int", "int")
    yield Exercise("column_sums", "column_sums", ("a", "out"), signature, _sums, partial(_sums_problem, 1 << 17, 96))


EXERCISES = {exercise.name: exercise for exercise in _exercises()}
