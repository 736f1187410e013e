"""Finding lambda_max, the highest learning rate that does not make the training diverge (Appendix B), by Smith's test (2017).

The rate grows exponentially, a little every step, until the loss explodes. Suggested is the rate at which the smoothed loss is
lowest, divided by 2: beyond it training already gets worse, and in the cycles the rate stays high for longer than here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from epcore.backend import use_backend
from epcore.pose.encode import LOW_STRIDE
from epcore.train.trainer import DivergedError, Trainer

SMOOTHING = 0.9  # of the loss, bias-corrected
EXPLODED = 3.0  # times the lowest smoothed loss: stop
MARGIN = 2.0


@dataclass(frozen=True)
class RangeTest:
    """rates and smoothed losses step by step. diverged_at: rate at which it was stopped, None if it never was."""

    rates: list[float]
    losses: list[float]
    diverged_at: float | None

    @property
    def suggestion(self) -> float:
        """lambda_max."""
        lowest = min(range(len(self.losses)), key=self.losses.__getitem__)
        return self.rates[lowest] / MARGIN


def range_test(
    trainer: Trainer,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> RangeTest:
    """Uses up the trainer: its weights end where they exploded. Raises ValueError for a range or number that makes no sense."""
    if not 0 < lowest < highest or steps < 10:
        raise ValueError(
            f"range is {lowest} to {highest} in {steps} steps: expected rising positive rates and at least 10 steps"
        )
    rates: list[float] = []
    losses: list[float] = []
    mean = 0.0
    numbers = iter(progress(range(steps)))
    epoch = 0
    with use_backend(trainer.config.backend):
        while True:
            for batch in trainer.loader.epoch(epoch, sigma=trainer.sigma(0) * LOW_STRIDE):
                number = next(numbers, None)
                if number is None:
                    return RangeTest(rates, losses, None)
                rate = lowest * (highest / lowest) ** (number / (steps - 1))
                try:
                    loss = trainer.step(batch, rate).loss
                except DivergedError:
                    return _stopped(rates, losses, rate)
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                smooth = mean / (1 - SMOOTHING ** (number + 1))
                rates.append(rate)
                losses.append(smooth)
                if not math.isfinite(smooth) or smooth > EXPLODED * min(losses):
                    return _stopped(rates, losses, rate)
            epoch += 1


def _stopped(rates: list[float], losses: list[float], rate: float) -> RangeTest:
    if not losses:
        raise DivergedError(f"training diverged at the very first rate, {rate:g}: start the range lower")
    return RangeTest(rates, losses, rate)
