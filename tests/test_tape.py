"""The tape: order, accumulation, memory, errors."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from epcore import Tape
from epcore.tape import Tensor


def test_chain_by_hand() -> None:
    """loss = sum((2 a)^2) with a = [1, 3]: d/da = 8 a."""
    tape = Tape()
    a = tape.watch(np.array([1.0, 3.0]))
    doubled = tape.apply("add", a, a)
    loss = tape.apply("mse", doubled, np.zeros(2), reduction="sum")
    tape.backward(loss)
    assert np.array_equal(tape.gradient(a), [8.0, 24.0])


def test_gradients_add_up_where_a_tensor_is_used_twice(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 3, 4))
    tape = Tape()
    a = tape.watch(x)
    y = tape.apply("add", tape.apply("swish", a), tape.apply("multiply", a, a))
    tape.backward(y, np.ones_like(x))
    s = 1 / (1 + np.exp(-x))
    assert np.allclose(tape.gradient(a), s * (1 + x * (1 - s)) + 2 * x, rtol=1e-14)


def test_one_gradient_given_to_two_inputs_is_not_shared(rng: np.random.Generator) -> None:
    """`add` hands the same array to both; adding to one of them must not change the other."""
    x = rng.normal(size=(1, 2, 2, 3))
    tape = Tape()
    a, b = tape.watch(x), tape.watch(x)
    y = tape.apply("add", tape.apply("add", a, b), a)
    tape.backward(y, np.ones_like(x))
    assert np.array_equal(tape.gradient(a), 2 * np.ones_like(x))
    assert np.array_equal(tape.gradient(b), np.ones_like(x))


def test_constants_get_no_gradient_and_cost_no_record(rng: np.random.Generator) -> None:
    tape = Tape()
    constant = tape.apply("swish", rng.normal(size=3))
    assert not constant.needs_gradient
    assert tape._records == []
    w = tape.watch(rng.normal(size=3))
    y = tape.apply("multiply", constant, w)
    tape.backward(y, np.ones(3))
    assert tape.gradient(constant) is None
    assert tape.gradient(w) is not None


def test_unused_watched_tensor(rng: np.random.Generator) -> None:
    tape = Tape()
    a, unused = tape.watch(rng.normal(size=3)), tape.watch(rng.normal(size=3))
    tape.backward(tape.apply("swish", a), np.ones(3))
    assert tape.gradient(unused) is None


def test_branch_that_does_not_reach_the_loss(rng: np.random.Generator) -> None:
    tape = Tape()
    a = tape.watch(rng.normal(size=3))
    y = tape.apply("swish", a)
    tape.apply("sigmoid", y)  # recorded after y, leads nowhere
    tape.backward(y, np.ones(3))
    assert tape.gradient(a) is not None


def test_optional_arrays_may_be_left_out(rng: np.random.Generator) -> None:
    tape = Tape()
    x, w = tape.watch(rng.normal(size=(1, 4, 4, 2))), tape.watch(rng.normal(size=(1, 1, 2, 3)))
    loss = tape.apply("mse", tape.apply("conv2d", x, w), np.zeros((1, 4, 4, 3)))
    tape.backward(loss)
    assert tape.gradient(x).shape == x.shape
    assert tape.gradient(w).shape == w.shape


def test_only_wanted_gradients_are_computed(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    from epcore.ops import conv2d

    asked = []
    right = conv2d.backward
    monkeypatch.setattr(conv2d, "backward", lambda *a, needs, **k: asked.append(needs) or right(*a, needs=needs, **k))
    tape = Tape()
    w = tape.watch(rng.normal(size=(3, 3, 2, 3)))
    tape.backward(tape.apply("conv2d", rng.normal(size=(1, 4, 4, 2)), w), np.ones((1, 4, 4, 3)))
    assert asked == [(False, True, False)]


def test_deep_chain_needs_no_recursion() -> None:
    tape = Tape()
    a = tape.watch(np.array([0.1]))
    y: Tensor = a
    for _ in range(5000):
        y = tape.apply("add", y, np.array([0.0]))
    tape.backward(y)
    assert tape.gradient(a) == 1


def test_memory_is_freed_while_walking_back(rng: np.random.Generator) -> None:
    """What an early record saved is gone when backward is done; only gradients of watched tensors remain."""
    tape = Tape()
    a = tape.watch(rng.normal(size=(4, 4)))
    middle = tape.apply("swish", a)
    kept = weakref.ref(middle.data)
    y = tape.apply("swish", middle)
    del middle
    assert kept() is not None
    tape.backward(y, np.ones((4, 4)))
    gc.collect()
    assert kept() is None
    assert len(tape._gradients) == 1


class TestErrors:
    def test_second_backward(self) -> None:
        tape = Tape()
        y = tape.apply("swish", tape.watch(np.ones(1)))
        tape.backward(y)
        with pytest.raises(RuntimeError, match="already called"):
            tape.backward(y)
        with pytest.raises(RuntimeError, match="new Tape"):
            tape.apply("swish", np.ones(1))

    def test_gradient_before_backward(self) -> None:
        tape = Tape()
        a = tape.watch(np.ones(1))
        with pytest.raises(RuntimeError, match="call backward first"):
            tape.gradient(a)

    def test_loss_that_is_no_scalar(self) -> None:
        tape = Tape()
        y = tape.apply("swish", tape.watch(np.ones(3)))
        with pytest.raises(ValueError, match=r"shape \(3,\).*give dloss"):
            tape.backward(y)
        with pytest.raises(ValueError, match=r"dloss has shape \(2,\), expected \(3,\)"):
            tape.backward(y, np.ones(2))

    def test_loss_without_watched_tensors(self) -> None:
        tape = Tape()
        with pytest.raises(ValueError, match="does not depend"):
            tape.backward(tape.apply("swish", np.ones(1)))

    def test_tensor_of_another_tape(self) -> None:
        with pytest.raises(ValueError, match=r"swish.*another tape"):
            Tape().apply("swish", Tape().watch(np.ones(1)))
