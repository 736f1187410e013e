"""Every operator in float32 against itself in double, on noise and on flat areas, where roundings do not average out.

The error of each element is measured in epsilons of the magnitudes that were summed for it (tests/tolerances.py). The reference
may err by `epsilons` of the float32 sums it has, those over channels and taps; the kernels by `epsilons` of all terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from cuda_on_host.devices import Device
from tolerances import EPS, epsilons, gradient_flows, output_flow, terms

from epcore import sums
from epcore.backend import kernel_module
from epcore.ops import OPS

H, W, C = 150, 130, 24
MAP, SMALL = (1, H, W, C), (2, 40, 50, C)
# operator -> calls of it: shapes of its arrays, attributes. A shape of four whose first is a batch is a map.
CALLS: dict[str, list[tuple[list[tuple[int, ...] | None], dict[str, Any]]]] = {
    "conv2d": [
        ([MAP, (1, 1, C, 16), (16,)], {}),
        ([(1, H, W, 3), (3, 3, 3, 32), (32,)], {"stride": 2}),
        ([SMALL, (3, 3, C, 20), None], {}),
        ([(1, 21, 23, 96), (1, 1, 96, 40), None], {}),
    ],
    "depthwise_conv2d": [([MAP, (3, 3, C)], {"stride": 1}), ([MAP, (5, 5, C)], {"stride": 2}), ([SMALL, (5, 5, C)], {})],
    "conv_transpose2d": [([SMALL, (4, 4, 16, C), (16,)], {}), ([MAP, (4, 4, 8, C), (8,)], {})],
    "batch_norm": [([MAP, *[(C,)] * 4], {"training": True}), ([MAP, *[(C,)] * 4], {"training": False})],
    "squeeze_excite": [
        ([shape, (1, 1, C, 6), (6,), (1, 1, 6, C), (C,)], {"activation": activation})
        for shape, activation in ((MAP, "swish"), (SMALL, "eswish"))
    ],
    "global_mean": [([MAP], {}), ([SMALL], {})],
    "avg_pool": [([MAP], {}), ([MAP], {"size": 3})],
    "max_pool": [([MAP], {}), ([SMALL], {"size": 3})],
    "prelu": [([MAP, (C,)], {})],
    "multiply": [([MAP, (1, 1, 1, C)], {}), ([SMALL, (2, 40, 50, 1)], {}), ([(1, 1, W, 1), MAP], {})],
    "mse": [([MAP, MAP, None], {}), ([SMALL, SMALL, (2, 1, 1, C)], {"reduction": "sum"})],
    "drop_connect": [([SMALL, (2, 1, 1, 1)], {"rate": 0.2})],
    "add": [([MAP, MAP], {})],
    "concat": [([MAP, (1, H, W, 8)], {})],
    "relu": [([MAP], {}), ([MAP], {"maximum": 1.0})],
    **{op: [([MAP], {})] for op in ("swish", "eswish", "sigmoid")},
}
IDS = [(op, i) for op in OPS for i in range(len(CALLS.get(op, [0])))]


def picture(shape: tuple[int, ...], content: str, rng: np.random.Generator) -> np.ndarray:
    """Noise; or one level a channel, none of them a short binary fraction, with a few objects of other levels."""
    if content == "noise":
        return rng.standard_normal(shape, np.float32)
    x = np.empty(shape, np.float32)
    x[:] = rng.uniform(-2, 2, shape[-1])
    for _ in range(3 if min(shape[1:3]) > 20 else 0):
        top, left = (int(rng.integers(n // 2)) for n in shape[1:3])
        x[:, top : top + shape[1] // 6, left : left + shape[2] // 6] = rng.uniform(-2, 2, shape[-1])
    return x


def inputs(op: str, shapes: list[tuple[int, ...] | None], content: str, rng: np.random.Generator) -> list[np.ndarray | None]:
    arrays: list[np.ndarray | None] = []
    for position, shape in enumerate(shapes):
        if shape is None:
            arrays.append(None)
        elif len(shape) == 4 and (position == 0 or op in ("add", "concat", "mse", "multiply")):
            arrays.append(picture(shape, content, rng))
        else:
            arrays.append(rng.standard_normal(shape).astype(np.float32))
    if OPS[op].batch_statistics:
        arrays[4] = np.abs(arrays[4]) + np.float32(0.1)
    elif "mask" in OPS[op].data and arrays[-1] is not None:
        arrays[-1] = (arrays[-1] > 0).astype(np.float32)
    return arrays


def double(array: Any) -> Any:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype == np.float32 else array


@cache
def errors(op: str, number: int, content: str, backend: str) -> list[tuple[str, float]]:
    """(result, largest error in epsilons of the magnitudes behind it): y and every gradient."""
    shapes, attributes = CALLS[op][number]
    rng = np.random.default_rng([number, len(content)])
    arrays = inputs(op, shapes, content, rng)
    names = ["y", *(f"d{name}" for name in OPS[op].array_names(len(arrays)))]
    module = kernel_module(op, backend) if backend in ("cpu", "cuda") else OPS[op]
    place = Device("gpu" if backend == "cuda" else "cpu")
    y, saved = module.forward(*place.put(arrays), **attributes)
    wide = [double(a) for a in arrays]
    exact_y, exact_saved = OPS[op].forward(*wide, **attributes)
    dy = np.asarray(picture(exact_y.shape, content, rng) if exact_y.ndim == 4 else 1, np.float32)
    # Backward is judged for what it does with what its own forward saved.
    found = place.get(module.backward(place.put(dy), saved, **attributes))
    kept = tuple(map(double, place.get(saved)))
    exact = OPS[op].backward(double(dy), kept, **attributes)
    flows = [
        output_flow(op, wide, exact_saved, exact_y, attributes, 1),
        *gradient_flows(op, kept, double(dy), exact, attributes, 1),
    ]
    rows = []
    for name, got, want, flow in zip(names, (place.get(y), *found), (exact_y, *exact), flows, strict=False):
        if want is not None:
            error = np.abs(got - want)
            assert not error[flow == 0].any(), f"{name} is not zero where nothing flows"
            rows.append((name, float(np.max(error[flow > 0] / flow[flow > 0], initial=0)) / EPS))
    return rows


def chained(op: str, number: int) -> Iterator[float]:
    """What the reference may err by: it has sums over channels and taps in float32, and those over pixels in double."""
    shapes, attributes = CALLS[op][number]
    for position, count in enumerate(terms(op, shapes, attributes)):
        products = op in ("conv2d", "depthwise_conv2d", "conv_transpose2d") and position < 2
        yield epsilons(count if products or op in ("avg_pool", "max_pool") else 1)


def test_every_operator_is_called() -> None:
    assert CALLS.keys() == OPS.keys()


@pytest.mark.parametrize("content", ["flat", "noise"])
@pytest.mark.parametrize(("op", "number"), IDS)
def test_reference_sums_pixels_exactly(op: str, number: int, content: str) -> None:
    for (name, error), allowed in zip(errors(op, number, content, "reference"), chained(op, number), strict=False):
        assert error <= allowed, name


@pytest.mark.parametrize("content", ["flat", "noise"])
@pytest.mark.parametrize("backend", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("op", "number"), IDS)
def test_kernels_on_flat_areas(op: str, number: int, backend: str, content: str) -> None:
    """No sum of a kernel is one long chain either."""
    shapes, attributes = CALLS[op][number]
    for (name, error), count in zip(errors(op, number, content, backend), terms(op, shapes, attributes), strict=False):
        assert error <= epsilons(count), name


CHAINS = ("conv2d", "depthwise_conv2d", "conv_transpose2d", "squeeze_excite", "global_mean", "prelu", "multiply")


@pytest.mark.parametrize("op", CHAINS)
def test_a_chain_is_noticed(op: str) -> None:
    """The reference with its sums over pixels in one float32 chain is not as exact as that."""
    beyond = []
    for number in range(len(CALLS[op])):
        with sums.in_one_chain():
            found = errors.__wrapped__(op, number, "flat", "reference")
        beyond += [error > allowed for (_, error), allowed in zip(found, chained(op, number), strict=False)]
    assert any(beyond)
