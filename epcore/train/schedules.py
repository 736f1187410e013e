"""Learning rate and sigma as pure functions of the epoch (Appendix B).

The paper's learning rate is cyclical: triangles of 3 epochs between lambda_min = lambda_max / 3000 and lambda_max, whose bounds
both converge to

    lambda_inf = 10^((log10 lambda_max + log10 lambda_min) / 2) * 2^(sigma_0 - sigma_inf)           (Equation 5)

How they converge is shown only in a figure. Here, chosen so that the bounds meet in the middle of the logarithmic scale that
Equation 5 speaks of: with t = epoch / epochs,

    upper(t) = lambda_max^(1 - t) * lambda_inf^t            lower(t) = lambda_min^(1 - t) * lambda_inf^t

and between lower and upper the rate rises and falls linearly, from the lower bound at the start of a cycle to the upper one in
its middle and back.

Sigma, too, is shown only in a figure, for variant II: steps from sigma_0 down to sigma_inf. The schedules here are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

CYCLE = 3.0  # epochs
RATE_SPAN = 3000.0  # lambda_max / lambda_min

LEARNING_RATES = ("cyclical", "cosine", "constant")
SIGMAS = ("steps", "linear", "constant")
SIGMA_STEPS = 5  # of "steps": equally long and equally high
WARM_UP = 0.05  # share of the training in which "cosine" rises


def final_rate(maximum: float, sigma_start: float, sigma_end: float) -> float:
    """lambda_inf of Equation 5. sigma in pixels of the detection map (stride 8)."""
    minimum = maximum / RATE_SPAN
    return float(10 ** ((math.log10(maximum) + math.log10(minimum)) / 2) * 2 ** (sigma_start - sigma_end))


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of every moment of a training.

    kind: "cyclical" (the paper's); "cosine": a linear rise over the first 5 %, then half a cosine down to 0; "constant".
    maximum: lambda_max. epochs: of the whole training. final: lambda_inf, used by "cyclical" only. Raises ValueError.
    """

    kind: str
    maximum: float
    epochs: float
    final: float

    def __post_init__(self) -> None:
        _check_kind("learning rate schedule", self.kind, LEARNING_RATES)
        _check_positive("learning rate", self.maximum)
        _check_positive("epochs", self.epochs)
        _check_positive("final learning rate", self.final)

    def __call__(self, epoch: float) -> float:
        """epoch: fractional, 0 at the start."""
        t = epoch / self.epochs
        if self.kind == "cosine":
            return self.maximum * min(t / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * min(t, 1.0)))
        if self.kind == "constant":
            return self.maximum
        upper = self.maximum ** (1 - t) * self.final**t
        lower = (self.maximum / RATE_SPAN) ** (1 - t) * self.final**t
        height = 1 - abs(2 * (epoch % CYCLE) / CYCLE - 1)  # of the triangle: 0 at its ends, 1 in the middle
        rate: float = lower + (upper - lower) * height
        return rate


@dataclass(frozen=True)
class Sigma:
    """Sigma of the target confidence maps, pixels of the detection map (stride 8), constant within an epoch.

    kind: "steps": SIGMA_STEPS values from start to end, each for an equal share of the epochs; "linear": a little less every
    epoch; "constant": start. Raises ValueError.
    """

    kind: str
    start: float
    end: float
    epochs: int

    def __post_init__(self) -> None:
        _check_kind("sigma schedule", self.kind, SIGMAS)
        _check_positive("sigma_start", self.start)
        _check_positive("sigma_end", self.end)
        _check_positive("epochs", self.epochs)

    def __call__(self, epoch: float) -> float:
        if self.kind == "constant":
            return self.start
        levels = min(SIGMA_STEPS, self.epochs) if self.kind == "steps" else self.epochs
        level = min(math.floor(epoch) * levels // self.epochs, levels - 1)
        return self.start + (self.end - self.start) * level / max(1, levels - 1)


def _check_kind(what: str, kind: str, known: tuple[str, ...]) -> None:
    if kind not in known:
        raise ValueError(f"unknown {what} {kind!r}: expected one of {', '.join(known)}")


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}, expected a positive number")
