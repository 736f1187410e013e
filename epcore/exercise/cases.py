"""What a student's backward is tried on: every variant of an operator, at sizes from which a factor can be told.

The gradient check's cases (`epcore.gradcheck.cases`) would do to see that something is wrong. To say what, a factor of 2 must
not be the batch as well as the stride: here N, rows, columns, channels and kernel of a case share no factor, as far as even
sizes for strides allow it, and all differ from case to case. Batches of 1, odd and even sizes and each stride are there to be
told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count as numbers_from
from math import gcd
from typing import Any

import numpy as np

from epcore.gradcheck.cases import Case, away_from
from epcore.op import Op
from epcore.ops import OPS
from epcore.shapes import Shape

# (N,H,W,C), coprime in each.
MAPS: tuple[Shape, ...] = ((3, 5, 4, 7), (1, 7, 3, 5), (5, 4, 7, 3))
# (H, W, Cin, Cout): all parities of H and W that a stride of 2 tells apart. The second is a batch of 1.
WINDOWS: tuple[Shape, ...] = ((5, 7, 3, 11), (4, 13, 11, 5), (6, 7, 2, 3), (9, 8, 5, 2), (10, 6, 7, 3))


def exercise_cases(op: str, seed: int = 0) -> list[Case]:
    """Of one operator, in double; the same seed gives the same arrays. Labels are unique."""
    rng = np.random.default_rng([seed, *op.encode()])
    return list(_CASES[op](rng) if op in _CASES else _standard(OPS[op], rng))


def batch(*sizes: int) -> int:
    """The smallest above 1 that shares no factor with any of these."""
    return next(n for n in numbers_from(2) if all(gcd(n, size) == 1 for size in sizes))


def _windows(kernels: Iterable[tuple[int, int]]) -> Iterator[tuple[Shape, int]]:
    """(N,H,W,Cin) and Cout of a case for each (kernel, stride)."""
    for number, ((H, W, Cin, Cout), (kernel, stride)) in enumerate(zip(WINDOWS, kernels, strict=True)):
        yield (1 if number == 1 else batch(H, W, Cin, Cout, kernel, stride), H, W, Cin), Cout


def _label(attributes: dict[str, Any], *sizes: object) -> str:
    return ", ".join([*(f"{key} {value}" for key, value in attributes.items()), *map(str, sizes)])


def _size(shape: Shape) -> str:
    return "(" + ",".join(map(str, shape)) + ")"


def _standard(op: Op, rng: np.random.Generator, kinks: tuple[float, ...] = (), **attributes: Any) -> Iterator[Case]:
    """x and what `Op.fitting_shapes` puts beside it. kinks: besides those of the operator, because of its attributes."""
    for shape in MAPS:
        shapes = op.fitting_shapes(shape)
        arrays = tuple(None if each is None else away_from((*op.kinks, *kinks), each, rng) for each in shapes)
        yield Case(op.name, _label(attributes, _size(shape)), arrays, attributes)


def _relu(rng: np.random.Generator) -> Iterator[Case]:
    yield from _standard(OPS["relu"], rng)
    yield from _standard(OPS["relu"], rng, kinks=(3.0,), maximum=3.0)


def _eswish(rng: np.random.Generator) -> Iterator[Case]:
    for beta in (1.25, 1.75):
        yield from _standard(OPS["eswish"], rng, beta=beta)


def _prelu(rng: np.random.Generator) -> Iterator[Case]:
    for shape in MAPS:
        yield Case("prelu", _size(shape), (away_from((0.0,), shape, rng), rng.normal(size=shape[-1])))


def _convolutions(rng: np.random.Generator) -> Iterator[Case]:
    kernels = ((1, 1), (3, 1), (3, 2), (3, 2), (5, 2))
    biases = (True, False, True, False, True)
    for (kernel, stride), bias, (x, Cout) in zip(kernels, biases, _windows(kernels), strict=True):
        arrays = rng.normal(size=x), rng.normal(size=(kernel, kernel, x[3], Cout)), rng.normal(size=Cout)
        label = f"{kernel}x{kernel} stride {stride}, {_size(x)}"
        yield Case("conv2d", label, arrays if bias else (*arrays[:2], None), {"stride": stride})


def _depthwise(rng: np.random.Generator) -> Iterator[Case]:
    kernels = ((3, 1), (5, 1), (3, 2), (3, 2), (5, 2))
    for (kernel, stride), (x, _) in zip(kernels, _windows(kernels), strict=True):
        arrays = rng.normal(size=x), rng.normal(size=(kernel, kernel, x[3]))
        yield Case("depthwise_conv2d", f"{kernel}x{kernel} stride {stride}, {_size(x)}", arrays, {"stride": stride})


def _transposed(rng: np.random.Generator) -> Iterator[Case]:
    kernels = ((4, 2), (4, 2), (3, 2), (1, 2), (3, 2))
    biases = (True, False, True, False, False)
    for (kernel, stride), bias, (x, Cout) in zip(kernels, biases, _windows(kernels), strict=True):
        arrays = rng.normal(size=x), rng.normal(size=(kernel, kernel, Cout, x[3])), rng.normal(size=Cout)
        label = f"{kernel}x{kernel} stride {stride}, {_size(x)}"
        yield Case("conv_transpose2d", label, arrays if bias else (*arrays[:2], None), {"stride": stride})


def _batch_norm(rng: np.random.Generator) -> Iterator[Case]:
    for training in (True, False):
        for shape in MAPS:
            C = shape[-1]
            x, small = rng.normal(0.5, 2, shape), [rng.normal(size=C) for _ in range(3)]
            label = f"{'training' if training else 'inference'}, {_size(shape)}"
            yield Case("batch_norm", label, (x, *small, rng.uniform(0.5, 2, C)), {"training": training})


def _max_pool(rng: np.random.Generator) -> Iterator[Case]:
    windows = ((2, 2, (3, 5, 4, 7)), (2, 2, (5, 4, 14, 3)), (3, 2, (1, 6, 5, 7)), (3, 1, (5, 4, 7, 2)), (3, 2, (5, 7, 4, 2)))
    for size, stride, shape in windows:
        distinct = 0.05 * rng.permutation(int(np.prod(shape))).reshape(shape)  # no ties within any window
        attributes = {"size": size, "stride": stride}
        yield Case("max_pool", f"{size}x{size} stride {stride}, {_size(shape)}", (distinct,), attributes)


def _avg_pool(rng: np.random.Generator) -> Iterator[Case]:
    for size, shape in ((2, (3, 7, 4, 5)), (2, (1, 8, 6, 3)), (3, (2, 7, 9, 5)), (2, (5, 6, 7, 3))):
        yield Case("avg_pool", f"{size}x{size}, {_size(shape)}", (rng.normal(size=shape),), {"size": size})


def _squeeze_excite(rng: np.random.Generator) -> Iterator[Case]:
    variants = (
        ("swish", (3, 5, 4, 7), 2),
        ("eswish", (5, 4, 7, 3), 2),
        ("relu", (2, 7, 3, 5), 11),
        ("swish", (1, 7, 3, 11), 4),
    )
    for activation, (N, H, W, C), R in variants:
        shapes: tuple[Shape, ...] = ((N, H, W, C), (1, 1, C, R), (R,), (1, 1, R, C), (C,))
        arrays = tuple(rng.normal(size=shape) for shape in shapes)
        attributes = {"activation": activation}
        yield Case("squeeze_excite", f"{activation}, {_size((N, H, W, C))}, {R} hidden", arrays, attributes)


def _multiply(rng: np.random.Generator) -> Iterator[Case]:
    for shape in MAPS[:2]:
        yield Case("multiply", f"{_size(shape)} and as large", (rng.normal(size=shape), rng.normal(size=shape)))
    for N, H, W, C in MAPS:
        for other in ((N, 1, 1, C), (C,)):
            arrays = rng.normal(size=(N, H, W, C)), rng.normal(size=other)
            yield Case("multiply", f"{_size((N, H, W, C))} and {_size(other)}", arrays)


def _concat(rng: np.random.Generator) -> Iterator[Case]:
    for (N, H, W, _), channels in zip(MAPS, ((1, 4, 2), (3, 2), (2, 5, 3, 4)), strict=True):
        arrays = tuple(rng.normal(size=(N, H, W, C)) for C in channels)
        yield Case("concat", f"({N},{H},{W}) with {', '.join(map(str, channels))} channels", arrays)


def _drop_connect(rng: np.random.Generator) -> Iterator[Case]:
    for rate, (N, H, W, C), kept in zip((0.3, 0.4, 0.2), MAPS, ((1, 0, 1), (1,), (0, 1, 1, 1, 0)), strict=True):
        mask = np.array(kept, float).reshape(N, 1, 1, 1)
        yield Case("drop_connect", f"rate {rate}, {_size((N, H, W, C))}", (rng.normal(size=(N, H, W, C)), mask), {"rate": rate})


def _mse(rng: np.random.Generator) -> Iterator[Case]:
    for reduction in ("mean", "sum"):
        for shape in MAPS:
            pair = rng.normal(size=shape), rng.normal(size=shape)
            attributes = {"reduction": reduction}
            yield Case("mse", f"{reduction}, {_size(shape)}", (*pair, None), attributes)
            mask = np.ones((shape[0], 1, 1, shape[3]))
            mask.ravel()[::3] = 0
            yield Case("mse", f"{reduction}, masked, {_size(shape)}", (*pair, mask), attributes)


_CASES: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    "relu": _relu,
    "eswish": _eswish,
    "prelu": _prelu,
    "conv2d": _convolutions,
    "depthwise_conv2d": _depthwise,
    "conv_transpose2d": _transposed,
    "batch_norm": _batch_norm,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "squeeze_excite": _squeeze_excite,
    "multiply": _multiply,
    "concat": _concat,
    "drop_connect": _drop_connect,
    "mse": _mse,
}
