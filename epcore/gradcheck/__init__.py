"""Gradient checks: every hand-written backward against numerical derivatives of its forward, in double."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from epcore.gradcheck.cases import Case, cases
from epcore.gradcheck.networks import NetworkCheck, networks
from epcore.gradcheck.numeric import directional_error, jacobian_error
from epcore.op import Op
from epcore.ops import OPS

OPERATOR_BOUND = 1e-7
SMOOTH_BOUND = 1e-8
NETWORK_BOUND = 1e-6

__all__ = ["NETWORK_BOUND", "Case", "NetworkCheck", "Result", "bound", "cases", "check_case", "check_operators", "networks"]


@dataclass(frozen=True)
class Result:
    """Relative error of the gradient of one input in one case; passed means within the bound."""

    op: str
    label: str
    input: int
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # False for NaN


def bound(op: str) -> float:
    return SMOOTH_BOUND if OPS[op].exponential else OPERATOR_BOUND


def check_case(case: Case, op: Op | None = None, seed: int = 1) -> Iterator[Result]:
    """Every gradient of one case; `op` may replace the operator (someone's own backward)."""
    op = op or OPS[case.op]
    for index in case.checked:
        if case.tiny:
            error = jacobian_error(op, case.arrays, index, **case.attributes)
        else:
            error = directional_error(op, case.arrays, index, np.random.default_rng(seed), **case.attributes)
        yield Result(case.op, case.label, index, error, bound(case.op))


def check_operators() -> Iterator[Result]:
    """Every gradient of every case of every operator."""
    for case in cases():
        yield from check_case(case)
