"""What every operator is tried on: one call with enough pixels that threads share the work, and the gradient check's cases.

45 channels are no multiple of any vector width, so every kernel has a tail; the gradient check's cases are small, and bring the
other kernel sizes, strides and switches. The tests of the CPU kernels take the same calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from epcore.gradcheck.cases import Case, cases

Arrays = list[np.ndarray | None]

N, H, W, C = 3, 37, 29, 45


class Example(NamedTuple):
    """make() gives what forward takes, float32."""

    make: Callable[[], Arrays]
    attributes: dict[str, Any]


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float32; the same seed and shape give the same numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


EXAMPLES: dict[str, Example] = {
    "conv2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 1, 1, C, 24), normal(0, 24)], {}),
    "depthwise_conv2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 5, 5, C)], {"stride": 2}),
    "conv_transpose2d": Example(lambda: [normal(0, N, H, W, C), normal(0, 4, 4, 16, C), normal(0, 16)], {}),
    "batch_norm": Example(lambda: [normal(0, N, H, W, C), *(np.abs(normal(i, C)) for i in range(4))], {"training": True}),
    "swish": Example(lambda: [normal(0, N, H, W, C)], {}),
    "eswish": Example(lambda: [normal(0, N, H, W, C)], {}),
    "sigmoid": Example(lambda: [normal(0, N, H, W, C)], {}),
    "relu": Example(lambda: [normal(0, N, H, W, C)], {}),
    "prelu": Example(lambda: [normal(0, N, H, W, C), normal(0, C)], {}),
    "max_pool": Example(lambda: [normal(0, N, H, W, C)], {}),
    "avg_pool": Example(lambda: [normal(0, N, H, W, C)], {}),
    "global_mean": Example(lambda: [normal(0, N, H, W, C)], {}),
    "squeeze_excite": Example(
        lambda: [normal(0, N, H, W, C), normal(0, 1, 1, C, 10), normal(0, 10), normal(0, 1, 1, 10, C), normal(1, C)], {}
    ),
    "add": Example(lambda: [normal(0, N, H, W, C), normal(1, N, H, W, C)], {}),
    "multiply": Example(lambda: [normal(0, N, H, W, C), normal(1, N, H, W, C)], {}),
    "concat": Example(lambda: [normal(0, N, H, W, C), normal(0, N, H, W, 24)], {}),
    "drop_connect": Example(lambda: [normal(0, N, H, W, C), np.ones((N, 1, 1, 1), np.float32)], {"rate": 0.2}),
    "mse": Example(lambda: [normal(0, N, H, W, C), normal(1, N, H, W, C)], {}),
}


# (kernel, stride): every pair is compiled by itself, and all four would take as long as half of the other operators.
DEPTHWISE = ((3, 1), (5, 2))


def _pair(case: Case) -> tuple[int, int]:
    return case.arrays[1].shape[0], case.attributes["stride"]


def examples(op: str) -> Iterator[tuple[str, Arrays, dict[str, Any]]]:
    """(what it is, arrays, attributes) of every call: the example above, then the gradient check's cases in float32.

    The gradient check's tiny cases are left out: their values can cancel to nothing, which leaves nothing to measure by.
    """
    example = EXAMPLES[op]
    yield f"{N}x{H}x{W}x{C}", example.make(), example.attributes
    for case in cases():
        if case.op == op and not case.tiny and not (op == "depthwise_conv2d" and _pair(case) not in DEPTHWISE):
            yield case.label, [None if array is None else array.astype(np.float32) for array in case.arrays], case.attributes
