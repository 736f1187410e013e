"""epcore's CUDA kernels with every access watched: no race, within blocks or between them, no stray, nothing read unwritten."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from cuda_on_host.devices import require_compiler
from test_cuda_parity import CASES, Case

from epcore.kernels.cuda import loader
from epcore.learn.cuda.ours import Watched


def first_and_last() -> list[Case]:
    """Of every operator's cases."""
    by_op: dict[str, list[Case]] = {}
    for case in CASES:
        if not case.crowded:
            by_op.setdefault(case.op, []).append(case)
    return [case for cases in by_op.values() for case in (cases[:1] if len(cases) == 1 else (cases[0], cases[-1]))]


@pytest.mark.parametrize("case", first_and_last(), ids=str)
def test_nothing_to_complain_of(case: Case, rng: np.random.Generator) -> None:
    require_compiler()
    operator = import_module(f"epcore.kernels.cuda.{case.op}")
    inputs = case.inputs(rng, "float32")
    watch = Watched({array.ctypes.data for array in inputs if array is not None}, ("forward", "reversed", "lockstep"))
    with loader.use_compiler(watch):
        y, saved = operator.forward(*inputs, **case.attributes)
        dy = rng.standard_normal(np.shape(y)).astype(np.float32)
        watch.given.add(dy.ctypes.data)
        operator.backward(dy, saved, **case.attributes)
    assert not [finding for finding in watch.findings if not finding.advice]
    assert watch.counts.sectors >= watch.counts.needed_sectors > 0
