"""SGD with momentum, Adam and RMSProp on one flat vector, in place.

    sgd       v = m v - rate g               w = w + v                        (the paper's; m = 0.9)
    adam      m1 = b1 m1 + (1 - b1) g        m2 = b2 m2 + (1 - b2) g^2        (Kingma and Ba 2015)
              w = w - rate / (1 - b1^t) * m1 / (sqrt(m2 / (1 - b2^t)) + e)
    rmsprop   m2 = b2 m2 + (1 - b2) g^2      w = w - rate g / (sqrt(m2) + e)  (Hinton 2012)

SGD is in Keras' form: the rate is inside the velocity, so a change of the rate works its way in over the next steps.
b1 = 0.9; b2 = 0.999 for Adam and 0.9 for RMSProp; e = 1e-7 (Keras' defaults).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from epcore.base.arrays import Array, array_module, is_cupy

SGD_MOMENTUM = 0.9  # `TrainConfig.momentum` is batch norm's
BETA1, BETA2 = 0.9, 0.999
RHO = 0.9
EPSILON = 1e-7


class Optimizer:
    """Changes `values` in place. `state`: arrays like `values` that a checkpoint keeps, by name; `steps`: updates made."""

    slots: tuple[str, ...] = ()

    def __init__(self, values: Array) -> None:
        xp = array_module(values)
        self.values = values
        self.steps = 0
        self.state = {name: xp.zeros_like(values) for name in self.slots}
        self._scratch = xp.empty_like(values)

    def step(self, gradient: Array, rate: float) -> None:
        """One update. gradient: like `values`; it is not changed."""
        self.steps += 1
        self._update(gradient, rate)

    def _update(self, gradient: Array, rate: float) -> None:
        raise NotImplementedError

    def load_state(self, state: Mapping[str, Array], steps: int) -> None:
        """Continue from a state. Raises ValueError for one of another optimizer or network."""
        if set(state) != set(self.slots):
            raise ValueError(f"the optimizer's state has {sorted(state)}, expected {sorted(self.slots)}")
        for name, array in state.items():
            if array.shape != self.values.shape:
                raise ValueError(f"the optimizer's {name} has shape {array.shape}, expected {self.values.shape}")
            self.state[name][...] = array
        self.steps = steps


class SGD(Optimizer):
    slots = ("momentum",)

    def __init__(self, values: Array) -> None:
        super().__init__(values)
        self._on_gpu: Any = None
        if is_cupy(values):
            from epcore.kernels.cuda.sgd import SgdMomentum

            self._on_gpu = SgdMomentum([values], [self.state["momentum"]])

    def _update(self, gradient: Array, rate: float) -> None:
        if self._on_gpu is not None:  # the same in one launch
            self._on_gpu.step([gradient], rate=rate, momentum=SGD_MOMENTUM)
            return
        xp = array_module(gradient)
        velocity = self.state["momentum"]
        velocity *= SGD_MOMENTUM
        velocity -= xp.multiply(gradient, rate, out=self._scratch)
        self.values += velocity


class Adam(Optimizer):
    slots = ("mean", "square")

    def _update(self, gradient: Array, rate: float) -> None:
        xp = array_module(gradient)
        mean, square, scratch = self.state["mean"], self.state["square"], self._scratch
        mean *= BETA1
        mean += xp.multiply(gradient, 1 - BETA1, out=scratch)
        _update_square(square, gradient, BETA2, scratch)
        xp.sqrt(square, out=scratch)
        scratch /= sqrt(1 - BETA2**self.steps)
        scratch += EPSILON
        xp.divide(mean, scratch, out=scratch)
        scratch *= rate / (1 - BETA1**self.steps)
        self.values -= scratch


class RMSProp(Optimizer):
    slots = ("square",)

    def _update(self, gradient: Array, rate: float) -> None:
        xp = array_module(gradient)
        square, scratch = self.state["square"], self._scratch
        _update_square(square, gradient, RHO, scratch)
        xp.sqrt(square, out=scratch)
        scratch += EPSILON
        xp.divide(gradient, scratch, out=scratch)
        scratch *= rate
        self.values -= scratch


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam, "rmsprop": RMSProp}


def _update_square(square: Array, gradient: Array, decay: float, scratch: Array) -> None:
    xp = array_module(gradient)
    xp.multiply(gradient, gradient, out=scratch)
    scratch *= 1 - decay
    square *= decay
    square += scratch


def euclidean_norm(gradient: Array) -> float:
    """Of a (P,) vector. The squares are summed in double, so that a norm of 1e20 is still a number."""
    xp = array_module(gradient)
    return sqrt(float(xp.einsum("i,i->", gradient, gradient, dtype=xp.float64)))


def clip_by_norm(gradient: Array, norm: float, limit: float) -> None:
    """Scale a gradient down to the limit where its Euclidean norm exceeds that, in place (0: never)."""
    if limit > 0 and norm > limit:
        gradient *= limit / norm


class MovingAverage:
    """Exponential moving average of the parameters (Polyak), to evaluate and ship instead of the last ones.

    Early on it follows faster, by (1 + t) / (10 + t), so that it does not remember the start.
    """

    def __init__(self, values: Array, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"the moving average's decay is {decay!r}, expected a number between 0 and 1")
        self.values = values.copy()
        self.decay = decay
        self._scratch = array_module(values).empty_like(values)

    def follow(self, values: Array, steps: int) -> None:
        """steps: made so far, this one included."""
        xp = array_module(values)
        decay = min(self.decay, (1 + steps) / (10 + steps))
        xp.subtract(values, self.values, out=self._scratch)
        self._scratch *= 1 - decay
        self.values += self._scratch
