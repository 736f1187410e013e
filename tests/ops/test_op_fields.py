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


def test_kinks() -> None:
    """Elementwise operators: one-sided slopes differ at their kinks, and nowhere else."""
    step = 1e-6
    for op in OPS.values():
        if op.arity == 1 and op.output_shape((1, 2, 2, 1)) == (1, 2, 2, 1) and op.window((1, 2, 2, 1)) is None:
            for value in {0.0, *np.linspace(-8, 8, 65), *op.kinks}:
                x = np.full((1, 2, 2, 1), value)
                y, right, left = (op.forward(x + move)[0] for move in (0.0, step, -step))
                assert (value in op.kinks) == bool((abs((right - y) - (y - left)) > 0.1 * step).all()), (op.name, value)


def test_ties() -> None:
    """Where windows hold equal elements, a larger and a smaller value of the first move y by different amounts."""
    x, step = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4, 1))
    step[0, 0, 0, 0] = 1e-6
    for op in OPS.values():
        if op.arity == 1:
            y, right, left = (op.forward(x + move)[0] for move in (0.0, step, -step))
            differ = bool((abs((right - y) - (y - left)) > 1e-7).any())
            assert differ == (op.ties or 0.0 in op.kinks), op.name
            assert op.kinked == (op.ties or bool(op.kinks))


@every_case
def test_kernel_axes(case: Case) -> None:
    """y is linear in the kernel; a kernel with only one channel of x, or for one of y, is 0 elsewhere, in y or in dx."""
    op, axes = OPS[case.op], OPS[case.op].kernel_axes
    if axes is None:
        return
    x, w, *rest = case.arrays
    rest = [None] * len(rest)
    y, saved = op.forward(x, w, *rest, **case.attributes)
    np.testing.assert_allclose(op.forward(x, 2 * w, *rest, **case.attributes)[0], 2 * y)
    assert (w.shape[axes.x], w.shape[axes.y]) == (x.shape[3], y.shape[3])
    assert axes.depthwise == (w.ndim == 3)
    one = np.zeros_like(w)
    np.moveaxis(one, axes.y, 0)[0] = np.moveaxis(w, axes.y, 0)[0]
    only = op.forward(x, one, *rest, **case.attributes)[0]
    assert only[..., 0].any() and not only[..., 1:].any()
    one = np.zeros_like(w)
    np.moveaxis(one, axes.x, 0)[0] = np.moveaxis(w, axes.x, 0)[0]
    _, saved = op.forward(x, one, *rest, **case.attributes)
    dx = op.backward(np.ones_like(y), saved, **case.attributes)[0]
    assert dx[..., 0].any() and not dx[..., 1:].any()


@every_case
def test_y_is_written_through_its_windows(case: Case) -> None:
    """Line i of x changes the lines h of y with i*s + u - p = h for some u, and no others: rows and columns."""
    op, (x, *rest) = OPS[case.op], case.arrays
    spread = op.spread(*shapes(case), **case.attributes)
    assert (spread is None) or op.window(*shapes(case), **case.attributes) is None
    if spread is None:
        return
    y, _ = op.forward(x, *rest, **case.attributes)
    assert spread.x == y.shape
    for axis, kernel, start in zip((1, 2), spread.kernel, spread.start, strict=True):
        for i in range(x.shape[axis]):
            louder = x.copy()
            np.moveaxis(louder, axis, 0)[i] += 100
            changed = (op.forward(louder, *rest, **case.attributes)[0] != y).any(tuple({0, 1, 2, 3} - {axis}))
            reached = [0 <= h + start - i * spread.stride < kernel for h in range(y.shape[axis])]
            assert changed.tolist() == reached


@every_case
def test_averages_map(case: Case) -> None:
    op, x = OPS[case.op], case.arrays[0]
    y, _ = op.forward(*case.arrays, **case.attributes)
    mean = x.mean((1, 2), keepdims=True) if x.ndim == 4 else None
    assert op.averages_map == (mean is not None and np.shape(y) == mean.shape and np.allclose(y, mean))


@every_case
def test_steps_give_the_same(case: Case) -> None:
    """To the last bit but one: products of the same numbers, summed by another operator."""
    op = OPS[case.op]
    steps = op.steps(**case.attributes)
    if not steps:
        return
    values = dict(zip(op.array_names(len(case.arrays)), case.arrays, strict=True))
    for step in steps:
        values[step.name] = OPS[step.op].forward(*(values[name] for name in step.inputs), **step.attributes)[0]
    np.testing.assert_allclose(values["y"], op.forward(*case.arrays, **case.attributes)[0], rtol=1e-14, atol=0)


def test_fitting_shapes() -> None:
    x = (2, 4, 3, 5)
    assert OPS["swish"].fitting_shapes(x) == (x,)
    assert OPS["add"].fitting_shapes(x) == (x, x)
    assert OPS["prelu"].fitting_shapes(x) == (x, (5,))
    assert OPS["mse"].fitting_shapes(x) == (x, x, None)
    assert OPS["concat"].fitting_shapes(x) == (x, x)
    for name in ("conv2d", "drop_connect"):
        with pytest.raises(ValueError, match=f"{name}: there is no telling what it takes beside x"):
            OPS[name].fitting_shapes(x)


def test_nothing_special_is_the_default() -> None:
    add = OPS["add"]
    assert add.differentiable(2) == (0, 1)
    assert add.keeps((1, 2), (1, 2)) == ()
    assert add.window((1, 2), (1, 2)) is None
    assert Kept((3,)).itemsize is None
