"""How parameters start.

* he, he_depthwise: normal, standard deviation sqrt(2 / fan_in) (He et al. 2015)
* head: normal, 0.01, so that an untrained network predicts maps near zero, which most of a target map is
* bilinear: interpolation kernels of the upscaling layers (`epcore.ops.conv_transpose2d.bilinear_kernel`)
* prelu: 0.25 (He et al. 2015); zeros; ones
"""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from epcore.graph import Parameter
from epcore.ops.conv_transpose2d import bilinear_kernel


def initialize(parameter: Parameter, rng: np.random.Generator) -> np.ndarray:
    """A new float32 array for this parameter. Raises ValueError for an unknown initializer."""
    shape, kind = parameter.shape, parameter.initializer
    match kind:
        case "he":
            values = rng.normal(0, sqrt(2 / prod(shape[:3])), shape)
        case "he_depthwise":
            values = rng.normal(0, sqrt(2 / prod(shape[:2])), shape)
        case "head":
            values = rng.normal(0, 0.01, shape)
        case "bilinear":
            values = bilinear_kernel(shape[2], shape[0])
        case "prelu":
            values = np.full(shape, 0.25)
        case "zeros":
            values = np.zeros(shape)
        case "ones":
            values = np.ones(shape)
        case _:
            raise ValueError(f"unknown initializer {kind!r}")
    return values.astype(np.float32)
