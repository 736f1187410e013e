"""What every operator is tried on: one call with enough pixels that threads share the work, and the gradient check's cases.

45 channels are no multiple of any vector width, so every kernel has a tail; the gradient check's cases are small, and bring the
other kernel sizes, strides and switches. The tests of the CPU kernels take the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from epcore.gradcheck.cases import Case, cases
from epcore.op import Op
from epcore.ops import OPS

Arrays = list[np.ndarray | None]

N, H, W, C = 3, 37, 29, 45


class Example(NamedTuple):
    """make() gives what forward takes, float32."""

    make: Callable[[], Arrays]
    attributes: dict[str, Any]


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float32; the same seed and shape give the same numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


# Of operators that take other arrays than `Op.fitting_shapes` says, or attributes.
_SPECIAL: dict[str, Example] = {
    "conv2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 1, 1, C, 24), normal(0, 24)], {}),
    "depthwise_conv2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 5, 5, C)], {"stride": 2}),
    "conv_transpose2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 4, 4, 16, C), normal(0, 16)], {}),
    "batch_norm": Example(lambda: [normal(0, N, H, W, C), *(np.abs(normal(i, C)) for i in range(4))], {"training": True}),
    "squeeze_excite": Example(
        lambda: [normal(0, N, H, W, C), normal(0, 1, 1, C, 10), normal(0, 10), normal(0, 1, 1, 10, C), normal(1, C)], {}
    ),
    "concat": Example(lambda: [normal(0, N, H, W, C), normal(0, N, H, W, 24)], {}),
    "drop_connect": Example(lambda: [normal(0, N, H, W, C), np.ones((N, 1, 1, 1), np.float32)], {"rate": 0.2}),
}


def example(op: str) -> Example:
    """Of one operator. Raises ValueError for one that takes what nobody has written down."""
    return _SPECIAL[op] if op in _SPECIAL else Example(partial(_standard, OPS[op]), {})


def _standard(op: Op) -> Arrays:
    arrays: Arrays = []
    for shape in op.fitting_shapes((N, H, W, C)):
        same = sum(array is not None and array.shape == shape for array in arrays)
        arrays.append(None if shape is None else normal(same, *shape))  # arrays of one shape differ
    return arrays


EXAMPLES: dict[str, Example] = {name: example(name) for name in OPS}


# (kernel, stride): every pair is compiled by itself, and all four would take as long as half of the other operators.
DEPTHWISE = ((3, 1), (5, 2))


def _pair(case: Case) -> tuple[int, int]:
    return case.arrays[1].shape[0], case.attributes["stride"]


def examples(op: str) -> Iterator[tuple[str, Arrays, dict[str, Any]]]:
    """(what it is, arrays, attributes) of every call: the example above, then the gradient check's cases in float32.

    The gradient check's tiny cases are left out: their values can cancel to nothing, which leaves nothing to measure by.
    """
    make, attributes = example(op)
    yield f"{N}x{H}x{W}x{C}", make(), attributes
    axes = OPS[op].kernel_axes
    for case in cases():
        if case.op == op and not case.tiny and not (axes and axes.depthwise and _pair(case) not in DEPTHWISE):
            yield case.label, [None if array is None else array.astype(np.float32) for array in case.arrays], case.attributes
