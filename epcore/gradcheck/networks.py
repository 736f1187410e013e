"""Gradient checks of whole networks in training mode: batch statistics, drop-connect and all.

The loss is a sum of squared errors between every output and random targets. Its slope along a random direction of all
trainable parameters together, or of one at a time, is compared with what backward says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np

from epcore.backend import use_backend
from epcore.gradcheck.numeric import relative_error, slope
from epcore.network import Network
from epcore.ops import OPS
from epcore.tape import Tape, Tensor

# Length of the step through parameter space. Four evaluations cancel the error of third order where the network is smooth;
# where it has kinks (PReLU, max pooling), the shorter the step, the fewer activations cross one, until all is rounding.
SMOOTH_LENGTH = 3e-3
KINKED_LENGTH = 1e-5


class NetworkCheck:
    """One network in double, one batch, one set of targets; the same drop-connect masks at every evaluation."""

    def __init__(self, model: Network, resolution: int, *, batch: int = 2, seed: int = 0) -> None:
        self.model = model.astype(np.float64).train()
        self.rng = np.random.default_rng(seed)
        self.x = self.rng.normal(size=(batch, resolution, resolution, model.graph.input_shape[2]))
        shapes = model.graph.shapes(batch, self.x.shape[1:])
        self.targets = {label: self.rng.normal(size=shapes[name]) for label, name in model.graph.outputs.items()}
        self.kinked = any(OPS[node.op].kinked for node in model.graph.nodes.values())
        self.gradients = self._gradients()

    def _loss(self, outputs: dict[str, Tensor], tape: Tape) -> Tensor:
        total: Tensor | None = None
        for label, target in self.targets.items():
            term = tape.apply("mse", outputs[label], target)
            total = term if total is None else tape.apply("add", total, term)
        assert total is not None
        return total

    def _gradients(self) -> dict[str, np.ndarray]:
        self.model.seed_drop_connect(1)
        tape = Tape()
        with use_backend("reference"):
            outputs, watched = self.model.record(self.x, tape)
            tape.backward(self._loss(outputs, tape))
        return {
            name: np.zeros_like(tensor.data) if (gradient := tape.gradient(tensor)) is None else gradient
            for name, tensor in watched.items()
        }

    def loss_at(self, moved: dict[str, np.ndarray]) -> float:
        """The loss with some parameters replaced; the model is left as it was (batch norms follow no batch of a check)."""
        kept = dict(self.model.parameters)
        try:
            self.model.parameters.update(moved)
            self.model.seed_drop_connect(1)
            with use_backend("reference"):
                outputs = self.model.run(self.x)
            return float(sum(np.mean(np.square(outputs[label] - target)) for label, target in self.targets.items()))
        finally:
            self.model.parameters = kept

    def slope_along(self, directions: dict[str, np.ndarray]) -> float:
        """Slope of the loss along directions of entries -1 and 1."""

        def at(t: float) -> float:
            return self.loss_at({name: self.model.parameters[name] + t * v for name, v in directions.items()})

        h = self._step(sum(v.size for v in directions.values()))
        if self.kinked:
            return (at(h) - at(-h)) / (2 * h)
        return slope(at, h)

    def _step(self, size: int) -> float:
        return (KINKED_LENGTH if self.kinked else SMOOTH_LENGTH) / sqrt(size)

    def together(self) -> float:
        """Relative error of the slope along one random direction of all trainable parameters."""
        directions = {name: self.rng.choice([-1.0, 1.0], gradient.shape) for name, gradient in self.gradients.items()}
        exact = sum(float((gradient * directions[name]).sum()) for name, gradient in self.gradients.items())
        return relative_error(exact, self.slope_along(directions))

    def each(self, names: list[str] | None = None) -> Iterator[tuple[str, float]]:
        """(parameter, relative error) of one random direction each.

        A slope too small to be seen in the loss cannot be compared with its own size: then the error is over the smallest
        slope that can, which is the rounding of the loss over the step, 10^6 times (the bound is 10^-6).
        """
        loss = abs(self.loss_at({}))
        for name in names or list(self.gradients):
            v = self.rng.choice([-1.0, 1.0], self.gradients[name].shape)
            exact, numeric = float((self.gradients[name] * v).sum()), self.slope_along({name: v})
            visible = 1e6 * np.finfo(np.float64).eps * loss / self._step(v.size)
            yield name, abs(exact - numeric) / max(abs(exact), abs(numeric), visible)


def networks() -> dict[str, Callable[[], NetworkCheck]]:
    """The networks that `epcore gradcheck` covers, at full depth and reduced resolution."""
    from epcore.models import EfficientPose, OpenPose

    checks: dict[str, Callable[[], NetworkCheck]] = {}
    for variant in ("RT", "I", "II"):
        checks[f"EfficientPose {variant}"] = lambda variant=variant: NetworkCheck(EfficientPose(variant), 64)  # type: ignore[misc]
    checks["OpenPose"] = lambda: NetworkCheck(OpenPose(), 32)
    return checks
