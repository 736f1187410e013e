"""What an `Op` says of itself is what its functions do."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import pytest

from epcore.gradcheck import Case, cases
from epcore.op import Kept, Op
from epcore.ops import OPS
from epcore.shapes import output_size

ALL = list(cases())
every_case = pytest.mark.parametrize("case", ALL, ids=[f"{case.op}-{case.label}" for case in ALL])
every_operator = pytest.mark.parametrize("op", OPS.values(), ids=OPS)


def shapes(case: Case) -> list[tuple[int, ...] | None]:
    return [None if array is None else array.shape for array in case.arrays]


@every_case
def test_data_has_no_gradient_and_all_else_has(case: Case) -> None:
    op = OPS[case.op]
    y, saved = op.forward(*case.arrays, **case.attributes)
    gradients = op.backward(np.ones(np.shape(y)), saved, **case.attributes)
    assert tuple(i for i, gradient in enumerate(gradients) if gradient is not None) == case.checked
    assert set(op.data) <= set(op.array_names(len(gradients)))


@every_case
def test_keeps_what_forward_makes(case: Case) -> None:
    """Arrays among what is saved that are neither arguments nor y, with their sizes in float32."""
    op = OPS[case.op]
    arrays = [None if array is None else array.astype(np.float32) for array in case.arrays]
    y, saved = op.forward(*arrays, **case.attributes)
    held = [array for array in (*arrays, y) if array is not None]
    made = [array for array in saved if isinstance(array, np.ndarray) and not any(array is each for each in held)]
    kept = op.keeps(*shapes(case), **case.attributes)
    assert [(array.shape, array.itemsize) for array in made] == [(each.shape, each.itemsize or 4) for each in kept]


@every_case
def test_y_reads_x_through_its_windows(case: Case) -> None:
    """Line h of x changes the lines i of y with i*s + u - p = h for some u, and no others: rows and columns."""
    op, (x, *rest) = OPS[case.op], case.arrays
    window = op.window(*shapes(case), **case.attributes)
    if window is None:
        return
    y, _ = op.forward(x, *rest, **case.attributes)
    assert y.shape[1:3] == tuple(output_size(n, window.stride) for n in window.x[1:3])
    for axis, kernel, start in zip((1, 2), window.kernel, window.start, strict=True):
        for h in range(x.shape[axis]):
            louder = x.copy()
            np.moveaxis(louder, axis, 0)[h] += 100
            changed = (op.forward(louder, *rest, **case.attributes)[0] != y).any(tuple({0, 1, 2, 3} - {axis}))
            reached = [h < window.x[axis] and 0 <= h + start - i * window.stride < kernel for i in range(y.shape[axis])]
            assert changed.tolist() == reached


@every_operator
def test_batch_statistics_are_those_with_a_training_mode(op: Op) -> None:
    for function in (op.forward, op.backward):
        assert op.batch_statistics == ("training" in signature(function).parameters)


def test_identity_at_inference(rng: np.random.Generator) -> None:
    """With nothing dropped x comes back; the mask is the second array, (N,1,1,1), and data."""
    found = [op for op in OPS.values() if op.identity_at_inference]
    assert found
    x = rng.normal(size=(2, 3, 3, 4))
    for op in found:
        y, _ = op.forward(x, np.ones((2, 1, 1, 1)), rate=0.0)
        assert np.array_equal(y, x)
        assert op.data == (op.array_names(2)[1],)


@every_operator
def test_exponentials_overflow_or_saturate(op: Op) -> None:
    """An exponential makes an operator of one array reach its limit, y = 0, far below zero but not near it."""
    if op.arity != 1:
        assert not op.exponential
        return
    x: Any = np.full((1, 2, 2, 1), -1.0)
    near, far = (op.forward(x * scale)[0] for scale in (1, 1000))
    assert op.exponential == bool(near.any() and not far.any())


def test_kinks(rng: np.random.Generator) -> None:
    """Elementwise operators: one-sided slopes at 0 differ where there is a kink."""
    x, step = np.zeros((1, 2, 2, 1)), 1e-6
    for op in OPS.values():
        if op.arity == 1 and op.output_shape(x.shape) == x.shape and op.window(x.shape) is None:
            y, right, left = (op.forward(x + move)[0] for move in (0.0, step, -step))
            assert op.kinked == bool((abs((right - y) - (y - left)) > 0.1 * step).all()), op.name


def test_nothing_special_is_the_default() -> None:
    add = OPS["add"]
    assert add.differentiable(2) == (0, 1)
    assert add.keeps((1, 2), (1, 2)) == ()
    assert add.window((1, 2), (1, 2)) is None
    assert Kept((3,)).itemsize is None
