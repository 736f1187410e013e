"""What is wrong with a student's backward: each gradient is compared with the right one, and with what common mistakes give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from epcore.gradcheck import Case, bound, cases
from epcore.ops import OPS

Backward = Callable[..., Any]


@dataclass(frozen=True)
class Finding:
    """The first gradient that is wrong: in which case, of which input (by name), and what that looks like."""

    case: str
    input: str
    message: str


def diagnose(op: str, backward: Backward) -> Finding | None:
    """None if every gradient of every case is right."""
    for case in cases():
        if case.op == op:
            finding = _check(case, backward)
            if finding is not None:
                return finding
    return None


def _check(case: Case, backward: Backward) -> Finding | None:
    op = OPS[case.op]
    names = op.array_names(len(case.arrays))
    y, saved = op.forward(*case.arrays, **case.attributes)
    dy = np.random.default_rng(7).standard_normal(np.shape(y))
    right = op.backward(dy, saved, **case.attributes)
    before = [np.array(array, copy=True) for array in (*saved, dy) if isinstance(array, np.ndarray)]
    try:
        answer = backward(dy, saved, **case.attributes)
    except NotImplementedError:
        return Finding(case.label, "-", "backward is still to be written")
    except Exception as error:
        return Finding(case.label, "-", f"backward stopped with {type(error).__name__}: {error}")
    after = [array for array in (*saved, dy) if isinstance(array, np.ndarray)]
    if any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
        return Finding(case.label, "-", "backward changed dy or what forward saved: others still need it")
    if not isinstance(answer, tuple) or len(answer) != len(right):
        got = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
        return Finding(case.label, "-", f"backward returned {got}, expected a tuple of {len(right)}: {', '.join(names)}")
    for index in case.checked:
        message = _compare(case, index, answer[index], right[index], dy, saved)
        if message:
            return Finding(case.label, names[index], message)
    return None


def _compare(case: Case, index: int, got: Any, right: np.ndarray, dy: np.ndarray, saved: tuple[Any, ...]) -> str:
    """Empty if the gradient is right."""
    if not isinstance(got, (np.ndarray, np.generic)):
        return f"the gradient is {type(got).__name__}, expected an array of shape {right.shape}"
    got = np.asarray(got)
    if got.shape != right.shape:
        hint = ": sum over the axes along which the input was used many times" if got.size > right.size else ""
        return f"the gradient has shape {got.shape}, expected {right.shape}{hint}"
    if not np.isfinite(got).all():
        return "the gradient has values that are NaN or infinite"
    scale = np.abs(right).max()
    tolerance = bound(case.op) * max(scale, 1e-30)
    if np.abs(got - right).max() <= tolerance:
        return ""
    for explanation, wrong in _mistakes(case, index, right, dy, saved):
        if wrong.shape == right.shape and np.abs(got - wrong).max() <= 1e-7 * max(np.abs(wrong).max(), 1e-30):
            return explanation
    ratio = float((got * right).sum() / (right * right).sum()) if scale else 0.0
    if ratio and np.abs(got - ratio * right).max() <= 1e-6 * abs(ratio) * scale:
        return f"the gradient is {ratio:.6g} times the right one{_factor(ratio, case)}"
    wrong_at = np.unravel_index(int(np.abs(got - right).argmax()), right.shape)
    share = float((np.abs(got - right) > tolerance).mean())
    place = tuple(int(i) for i in wrong_at)
    return f"{share:.0%} of the entries are wrong, most at {place}: {got[wrong_at]:.6g}, expected {right[wrong_at]:.6g}"


def _mistakes(
    case: Case, index: int, right: np.ndarray, dy: np.ndarray, saved: tuple[Any, ...]
) -> Iterator[tuple[str, np.ndarray]]:
    """(explanation, gradient) of mistakes that are often made."""
    yield "the sign is wrong", -right
    if dy.shape == right.shape:
        yield "dy was passed on as it is: the operator's own derivative is missing", dy
        safe = np.where(dy == 0, 1, dy)
        yield "this is the operator's own derivative: the chain rule also multiplies by dy", right / safe
    for axis, name in ((0, "batch"), (1, "height"), (2, "width")):
        if right.ndim == 4 or (axis > 0 and right.ndim >= 3):
            for shift in (-1, 1):
                yield (
                    f"the gradient is shifted by one along the {name}: look at the padding, whose smaller half comes first",
                    np.roll(right, shift, axis=axis if right.ndim == 4 else axis - 1),
                )
    if right.ndim >= 3 and right.shape[0] == right.shape[1]:
        yield "height and width of the kernel are exchanged", right.swapaxes(0, 1)
        yield "the kernel's gradient is turned by 180 degrees", right[::-1, ::-1]
    if index == 0 and case.op in _PATHS:
        yield from _PATHS[case.op](case, right, dy, saved)


def _batch_norm(case: Case, right: np.ndarray, dy: np.ndarray, saved: tuple[Any, ...]) -> Iterator[tuple[str, np.ndarray]]:
    if not case.attributes["training"]:
        return
    x, gamma, mean, variance = saved
    r = 1 / np.sqrt(variance + 1e-3)
    z = (x - mean) * r
    M = x.size / x.shape[-1]
    through_mean = gamma * r * dy.sum((0, 1, 2)) / M
    through_variance = gamma * r * z * (dy * z).sum((0, 1, 2)) / M
    yield "x also moves the mean of the batch: that term is missing", right + through_mean
    yield "x also moves the variance of the batch: that term is missing", right + through_variance
    yield (
        "x also moves mean and variance of the batch: both terms are missing (this is inference)",
        right + through_mean + through_variance,
    )


def _squeeze_excite(case: Case, right: np.ndarray, dy: np.ndarray, saved: tuple[Any, ...]) -> Iterator[tuple[str, np.ndarray]]:
    gate = saved[5][:, None, None, :]
    yield "x also enters through its mean: the path through the gate is missing", dy * gate
    yield (
        "the gradient of the mean has to be divided by height * width",
        dy * gate + (right - dy * gate) * dy[0, :, :, 0].size,
    )


# Operators where x reaches the loss by several paths -> what the gradient is without one of them.
_PATHS: dict[str, Callable[..., Iterator[tuple[str, np.ndarray]]]] = {
    "batch_norm": _batch_norm,
    "squeeze_excite": _squeeze_excite,
}


def _factor(ratio: float, case: Case) -> str:
    """Where a constant factor may come from."""
    shape = np.shape(case.arrays[0])
    known = {"the batch size": shape[0] if shape else 1}
    if len(shape) == 4:
        known |= {
            "height * width": shape[1] * shape[2],
            "N * height * width": shape[0] * shape[1] * shape[2],
            "channels": shape[3],
        }
    known |= {"2": 2, "beta": case.attributes.get("beta", 1.25), "the window's area": case.attributes.get("size", 2) ** 2}
    if "rate" in case.attributes:
        known["1 - rate"] = 1 - case.attributes["rate"]
    for name, value in known.items():
        if value != 1 and np.isclose(ratio, value, rtol=1e-6):
            return f", {name}: a division by it is missing"
        if value != 1 and np.isclose(ratio, 1 / value, rtol=1e-6):
            return f", 1 / ({name}): a division by it too many, or a factor missing"
    return ""
