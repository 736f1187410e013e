"""SGD with momentum over all parameters in one launch.

velocity = momentum * velocity - rate * gradient
parameter += velocity                                   both in place
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from epcore.base.arrays import Array, array_module
from epcore.kernels.cuda.launch import address, check, check_shape, launch
from epcore.kernels.cuda.loader import Source

SOURCE = Source("sgd", ("sgd_momentum<{T}>",))
CHUNK = 4096  # elements a block updates


class SgdMomentum:
    """The update of fixed arrays: their addresses and how they are cut into blocks are put on the GPU once.

    parameters, velocities: arrays of one dtype, pairwise of one shape; both are updated in place. Raises TypeError or
    ValueError, naming the array, for others.
    """

    def __init__(self, parameters: Sequence[Array], velocities: Sequence[Array]) -> None:
        if len(parameters) != len(velocities) or not parameters:
            raise ValueError(f"sgd: {len(parameters)} parameters and {len(velocities)} velocities, expected as many")
        self.T = check("sgd", **_named("parameter", parameters), **_named("velocity", velocities))
        for i, (parameter, velocity) in enumerate(zip(parameters, velocities, strict=True)):
            check_shape("sgd", f"velocity {i}", velocity, parameter.shape)
        self.parameters, self.velocities = list(parameters), list(velocities)  # keeps them alive: kernels know addresses only
        sizes = [parameter.size for parameter in parameters]
        chunks = [(tensor, start) for tensor, size in enumerate(sizes) for start in range(0, size, CHUNK)]
        self._xp = array_module(parameters[0])
        self._fixed = [self._table(parameters), self._table(velocities)]
        self._sizes, self._tensors, self._starts = (
            self._xp.asarray(np.array(values, np.int32)) for values in (sizes, *zip(*chunks, strict=True))
        )

    def step(self, gradients: Sequence[Array], *, rate: float, momentum: float) -> None:
        """One update. gradients: as the parameters, in their order."""
        if len(gradients) != len(self.parameters):
            raise ValueError(f"sgd: {len(gradients)} gradients for {len(self.parameters)} parameters")
        check("sgd", parameter=self.parameters[0], **_named("gradient", gradients))
        for i, (parameter, gradient) in enumerate(zip(self.parameters, gradients, strict=True)):
            check_shape("sgd", f"gradient {i}", gradient, parameter.shape)
        scalar = self.parameters[0].dtype.type
        parameters, velocities = self._fixed
        launch(
            SOURCE, self.T, f"sgd_momentum<{self.T}>", ((self._tensors.size,), (256,)),
            parameters, self._table(gradients), velocities, self._sizes, self._tensors, self._starts, CHUNK,
            scalar(rate), scalar(momentum),
        )  # fmt: skip

    def _table(self, arrays: Sequence[Array]) -> Array:
        table: Array = self._xp.asarray(np.array([address(array) for array in arrays], np.uint64))
        return table


def _named(kind: str, arrays: Sequence[Array]) -> dict[str, Array]:
    return {f"{kind} {i}": array for i, array in enumerate(arrays)}
