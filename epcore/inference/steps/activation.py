"""How a step ends: the activation of the sums it has in registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numba import njit

from epcore.inference.step import Activation
from epcore.kernels.cpu.simd import splat, swish, where_greater

if TYPE_CHECKING:
    from epcore.inference.encode import Encoder

LINEAR, SWISH, RELU, PRELU = range(4)
_CODES = {"": LINEAR, "swish": SWISH, "eswish": SWISH, "relu": RELU, "prelu": PRELU}


def encode_activation(activation: Activation, encoder: Encoder) -> tuple[int, float, int]:
    """Its record: kind, parameter, where PReLU's slopes are."""
    alpha = -1 if activation.alpha is None else encoder.constant(activation.alpha)
    return _CODES[activation.kind], activation.parameter, alpha


@njit(error_model="numpy")
def finish(sums, kind, parameter):  # type: ignore[no-untyped-def]  # register blocks have no Python type
    """The activation of a block of sums; parameter (float32) is the factor of (E-)swish or the cap of ReLU."""
    if kind == SWISH:
        return swish(sums) * parameter
    if kind == RELU:
        positive = where_greater(splat(0.0, 1), sums, splat(0.0, 1), sums)  # NaN is not greater, so it passes
        cap = splat(parameter, 1)
        return where_greater(positive, cap, cap, positive)
    return sums


@njit(error_model="numpy")
def finish_by_channel(sums, kind, parameter, slopes):  # type: ignore[no-untyped-def]
    """The same, or PReLU with a slope for every sum."""
    if kind == PRELU:
        return where_greater(sums, splat(0.0, 1), sums, sums * slopes)
    return finish(sums, kind, parameter)
