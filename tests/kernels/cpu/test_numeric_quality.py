"""Rounding: every CPU kernel against the same computation in double, beside PyTorch's float32 on the same numbers."""

from __future__ import annotations

import sys
from math import prod, sqrt

import pytest
from places import BENCH

pytest.importorskip("torch", reason="the comparison is with PyTorch: install the extra `bench`")
sys.path.append(str(BENCH))

from cases import Case, cases
from quality import measure

CASES = cases(("RT", "II"), resolution=64)
OPERATORS = sorted({case.node.op for case in CASES})


def explained(case: Case, size: int) -> float:
    """What one float32 evaluation may err, in units of epsilon times the largest value, when PyTorch happens to err less.

    Half a unit for each rounding in a row: three (an exponential, a product, a result), seven back through the two layers of
    squeeze-and-excitation. sqrt(K) / 2: the kernels sum the K products of a result in one chain, for one fixed order on any
    number of threads; each step rounds by at most half an epsilon, in a random direction. PyTorch adds several shorter chains.
    """
    in_a_row = 7 if case.node.op == "squeeze_excite" else 3
    return max(in_a_row / 2, sqrt(case.cost.macs / size) / 2)


@pytest.mark.parametrize("op", OPERATORS)
def test_errors_are_no_larger_than_pytorchs_or_explained(op: str) -> None:
    for case in (case for case in CASES if case.node.op == op):
        sizes = [prod(case.output_shape), *(prod(shape) for shape in case.shapes if shape is not None)]
        for quality, size in zip(measure(case), sizes, strict=False):  # running statistics and masks have no gradient
            assert quality.epcore <= max(quality.torch, explained(case, size)), quality


def test_an_error_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that loses half of float32's digits is not within what is explained."""
    case = next(case for case in CASES if case.node.op == "swish")
    forward, backward = case.functions("cpu")
    real = Case.functions

    def coarse(self: Case, backend: str):  # type: ignore[no-untyped-def]
        if backend != "cpu":
            return real(self, backend)
        return lambda arguments: ((forward(arguments)[0].round(3)), forward(arguments)[1]), backward

    monkeypatch.setattr(Case, "functions", coarse)
    output = measure(case)[0]
    assert output.epcore > max(output.torch, explained(case, prod(case.output_shape)))
