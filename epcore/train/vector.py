"""All trainable parameters as one vector, so that a step is a few passes over memory and one message between processes.

The network's parameters become views of the vector: the optimizer changes the vector, the network sees it. Every view starts
at a multiple of ALIGNMENT elements, because kernels read several at a time; the gaps are zeros, and without a gradient stay so.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from epcore.base.arrays import Array, array_module
from epcore.network import Network
from epcore.tape import Tape, Tensor

ALIGNMENT = 16  # elements: 64 bytes of float32


class ParameterVector:
    """values, gradient: (P,) arrays on the parameters' device, in the order of `network.trainable()`.

    Raises ValueError where everything is frozen.
    """

    def __init__(self, network: Network) -> None:
        self.names = network.trainable()
        if not self.names:
            raise ValueError(f"{network.name} has nothing to train: every parameter is frozen")
        arrays = {name: network.parameters[name] for name in self.names}
        self.shapes = [array.shape for array in arrays.values()]
        self.starts, size = [], 0
        for shape in self.shapes:
            self.starts.append(size)
            size += -(-prod(shape) // ALIGNMENT) * ALIGNMENT
        self.values = array_module(*arrays.values()).zeros(size, network.dtype)
        self.gradient = array_module(self.values).zeros_like(self.values)
        views = self.split(self.values)
        for name, array in arrays.items():
            views[name][...] = array
        network.parameters.update(views)
        self._gradients = self.split(self.gradient)

    def split(self, vector: Array) -> dict[str, Array]:
        """Views of a (P,) vector by parameter name."""
        return {
            name: vector[start : start + prod(shape)].reshape(shape)
            for name, shape, start in zip(self.names, self.shapes, self.starts, strict=True)
        }

    def gather(self, tape: Tape, watched: Mapping[str, Tensor]) -> None:
        """Copy the gradients of a tape that was walked back; 0 where the loss does not depend on a parameter."""
        for name, place in self._gradients.items():
            gradient = tape.gradient(watched[name])
            place[...] = 0 if gradient is None else gradient

    def first_not_finite(self) -> str | None:
        """The last parameter of the network, where backward begins, whose gradient is NaN or infinite."""
        xp = array_module(self.gradient)
        return next((name for name in reversed(self.names) if not bool(xp.isfinite(self._gradients[name]).all())), None)
