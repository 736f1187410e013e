"""What is checked of every operator: all its variants at shapes that show borders, and a tiny shape for the full Jacobian.

An operator whose other arrays are as x, or have one value a channel, and whose attributes have defaults needs no entry here.

Inputs keep away from kinks and ties by more than the numerical derivative moves them, so that every derivative exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from epcore.op import Op
from epcore.ops import OPS, eswish, relu
from epcore.shapes import Shape


@dataclass(frozen=True)
class Case:
    """arrays: what forward takes; tiny: small enough for the full Jacobian."""

    op: str
    label: str
    arrays: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    tiny: bool = False

    @property
    def checked(self) -> tuple[int, ...]:
        """Positions of the inputs that have a gradient."""
        return tuple(i for i in OPS[self.op].differentiable(len(self.arrays)) if self.arrays[i] is not None)


def cases(seed: int = 0) -> Iterator[Case]:
    """All cases; the same seed gives the same arrays."""
    rng = np.random.default_rng(seed)
    for name, op in OPS.items():
        yield from _CASES[name](rng) if name in _CASES else _standard(op, rng)


def away_from(values: tuple[float, ...], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal numbers, pushed 0.05 away from each of `values`."""
    x = rng.normal(0, 3, shape)
    for value in values:
        x += 0.05 * np.where(x >= value, 1, -1)
    return x


def _convolutions(rng: np.random.Generator) -> Iterator[Case]:
    for kernel, stride, bias, (H, W) in (
        (1, 1, True, (4, 5)),
        (3, 1, False, (6, 5)),
        (3, 2, True, (7, 6)),
        (3, 2, False, (6, 6)),
    ):
        arrays = (rng.normal(size=(2, H, W, 3)), rng.normal(size=(kernel, kernel, 3, 4)), rng.normal(size=4) if bias else None)
        yield Case("conv2d", f"{kernel}x{kernel} stride {stride}, {H}x{W}", arrays, {"stride": stride})
    tiny = (rng.normal(size=(1, 3, 2, 2)), rng.normal(size=(3, 3, 2, 2)), rng.normal(size=2))
    yield Case("conv2d", "3x3 stride 2, full Jacobian", tiny, {"stride": 2}, tiny=True)


def _depthwise(rng: np.random.Generator) -> Iterator[Case]:
    for kernel, stride, (H, W) in (
        (3, 1, (5, 6)),
        (3, 2, (6, 8)),
        (3, 2, (7, 5)),
        (5, 1, (6, 7)),
        (5, 2, (8, 6)),
        (5, 2, (7, 9)),
        (5, 1, (1, 1)),
    ):
        arrays = (rng.normal(size=(2, H, W, 3)), rng.normal(size=(kernel, kernel, 3)))
        yield Case("depthwise_conv2d", f"{kernel}x{kernel} stride {stride}, {H}x{W}", arrays, {"stride": stride})
    tiny = (rng.normal(size=(1, 4, 3, 2)), rng.normal(size=(5, 5, 2)))
    yield Case("depthwise_conv2d", "5x5 stride 2, full Jacobian", tiny, {"stride": 2}, tiny=True)


def _transposed(rng: np.random.Generator) -> Iterator[Case]:
    for kernel, bias, (H, W) in ((4, True, (3, 4)), (4, False, (1, 1)), (3, True, (4, 3)), (1, False, (2, 3))):
        arrays = (rng.normal(size=(2, H, W, 3)), rng.normal(size=(kernel, kernel, 2, 3)), rng.normal(size=2) if bias else None)
        yield Case("conv_transpose2d", f"{kernel}x{kernel} stride 2, {H}x{W}", arrays, {"stride": 2})
    tiny = (rng.normal(size=(1, 2, 2, 2)), rng.normal(size=(4, 4, 2, 2)), rng.normal(size=2))
    yield Case("conv_transpose2d", "4x4 stride 2, full Jacobian", tiny, {"stride": 2}, tiny=True)


def _batch_norm(rng: np.random.Generator) -> Iterator[Case]:
    def arrays(shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        C = shape[-1]
        small = [rng.normal(size=C) for _ in range(3)]
        return (rng.normal(0.5, 2, shape), *small, rng.uniform(0.5, 2, C))

    for training in (True, False):
        mode = "training" if training else "inference"
        yield Case("batch_norm", mode, arrays((2, 4, 3, 5)), {"training": training})
        yield Case("batch_norm", f"{mode}, full Jacobian", arrays((2, 2, 1, 2)), {"training": training}, tiny=True)


def _standard(op: Op, rng: np.random.Generator, kinks: tuple[float, ...] = (), **attributes: Any) -> Iterator[Case]:
    """kinks: besides those of the operator, because of its attributes."""

    def arrays(x: Shape) -> tuple[np.ndarray | None, ...]:
        shapes = op.fitting_shapes(x)
        return tuple(None if shape is None else away_from((*op.kinks, *kinks), shape, rng) for shape in shapes)

    label = ", ".join(f"{key} {value}" for key, value in attributes.items()) or "(2,4,3,5)"
    yield Case(op.name, label, arrays((2, 4, 3, 5)), attributes)
    yield Case(op.name, f"{label}, full Jacobian", arrays((1, 2, 2, 2)), attributes, tiny=True)


def _relu(rng: np.random.Generator) -> Iterator[Case]:
    yield from _standard(relu.OP, rng)
    yield from _standard(relu.OP, rng, kinks=(6.0,), maximum=6.0)


def _eswish(rng: np.random.Generator) -> Iterator[Case]:
    yield from _standard(eswish.OP, rng)
    yield from _standard(eswish.OP, rng, beta=1.75)


def _prelu(rng: np.random.Generator) -> Iterator[Case]:
    yield Case("prelu", "(2,4,3,5)", (away_from((0.0,), (2, 4, 3, 5), rng), rng.normal(size=5)))
    tiny = (away_from((0.0,), (1, 2, 2, 3), rng), rng.normal(size=3))
    yield Case("prelu", "full Jacobian", tiny, tiny=True)


def _max_pool(rng: np.random.Generator) -> Iterator[Case]:
    for size, stride, shape in ((2, 2, (2, 4, 6, 3)), (2, 2, (2, 5, 3, 3)), (3, 2, (1, 6, 5, 2)), (3, 1, (1, 4, 4, 2))):
        distinct = 0.05 * rng.permutation(int(np.prod(shape))).reshape(shape)  # no ties within any window
        yield Case(
            "max_pool",
            f"{size}x{size} stride {stride}, {shape[1]}x{shape[2]}",
            (distinct,),
            {"size": size, "stride": stride},
        )
    distinct = 0.05 * rng.permutation(18).reshape(1, 3, 3, 2)
    yield Case("max_pool", "3x3 stride 2, full Jacobian", (distinct,), {"size": 3, "stride": 2}, tiny=True)


def _avg_pool(rng: np.random.Generator) -> Iterator[Case]:
    yield Case("avg_pool", "2x2, 4x6", (rng.normal(size=(2, 4, 6, 3)),), {"size": 2})
    yield Case("avg_pool", "2x2, 5x7", (rng.normal(size=(2, 5, 7, 3)),), {"size": 2})
    yield Case("avg_pool", "2x2, full Jacobian", (rng.normal(size=(1, 3, 2, 2)),), {"size": 2}, tiny=True)


def _global_mean(rng: np.random.Generator) -> Iterator[Case]:
    yield Case("global_mean", "(2,4,3,5)", (rng.normal(size=(2, 4, 3, 5)),))
    yield Case("global_mean", "full Jacobian", (rng.normal(size=(2, 2, 2, 2)),), tiny=True)


def _squeeze_excite(rng: np.random.Generator) -> Iterator[Case]:
    def arrays(N: int, H: int, W: int, C: int, R: int) -> tuple[np.ndarray, ...]:
        shapes: tuple[tuple[int, ...], ...] = ((N, H, W, C), (1, 1, C, R), (R,), (1, 1, R, C), (C,))
        return tuple(rng.normal(size=shape) for shape in shapes)

    for activation in ("swish", "eswish"):
        yield Case("squeeze_excite", activation, arrays(2, 3, 4, 6, 2), {"activation": activation})
    yield Case("squeeze_excite", "1x1 map, one hidden", arrays(2, 1, 1, 3, 1), {"activation": "swish"})
    yield Case("squeeze_excite", "full Jacobian", arrays(1, 2, 2, 3, 2), {"activation": "eswish"}, tiny=True)


def _add(rng: np.random.Generator) -> Iterator[Case]:
    yield Case("add", "(2,4,3,5)", (rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 4, 3, 5))))


def _multiply(rng: np.random.Generator) -> Iterator[Case]:
    x = rng.normal(size=(2, 4, 3, 5))
    yield Case("multiply", "same shapes", (x, rng.normal(size=(2, 4, 3, 5))))
    yield Case("multiply", "(N,1,1,C)", (x, rng.normal(size=(2, 1, 1, 5))))
    yield Case("multiply", "(C,), full Jacobian", (rng.normal(size=(1, 2, 2, 2)), rng.normal(size=2)), tiny=True)


def _concat(rng: np.random.Generator) -> Iterator[Case]:
    yield Case("concat", "three", tuple(rng.normal(size=(2, 3, 2, C)) for C in (1, 4, 2)))


def _drop_connect(rng: np.random.Generator) -> Iterator[Case]:
    mask = np.array([1.0, 0.0, 1.0]).reshape(3, 1, 1, 1)
    yield Case("drop_connect", "rate 0.3", (rng.normal(size=(3, 2, 2, 4)), mask), {"rate": 0.3})


def _mse(rng: np.random.Generator) -> Iterator[Case]:
    shape = (2, 3, 4, 5)
    for reduction in ("mean", "sum"):
        pair = (rng.normal(size=shape), rng.normal(size=shape))
        yield Case("mse", reduction, (*pair, None), {"reduction": reduction})
        mask = (rng.random((2, 1, 1, 5)) < 0.7).astype(float)
        yield Case("mse", f"{reduction}, masked", (*pair, mask), {"reduction": reduction})


_CASES: dict[str, Callable[[np.random.Generator], Iterator[Case]]] = {
    "conv2d": _convolutions,
    "depthwise_conv2d": _depthwise,
    "conv_transpose2d": _transposed,
    "batch_norm": _batch_norm,
    "eswish": _eswish,
    "relu": _relu,
    "prelu": _prelu,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "global_mean": _global_mean,
    "squeeze_excite": _squeeze_excite,
    "add": _add,
    "multiply": _multiply,
    "concat": _concat,
    "drop_connect": _drop_connect,
    "mse": _mse,
}
