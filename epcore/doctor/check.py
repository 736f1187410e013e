"""The self-check: operators, a plan and a pose, each against what the float64 reference, or the truth, says.

A check returns a few words or raises: WrongError where a result is wrong, anything else where it could not be computed at all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from epcore.backend import has_kernel, kernel_module, use_backend
from epcore.base.arrays import not_finite, to_numpy
from epcore.doctor.bounds import EPS, allowed
from epcore.doctor.examples import Arrays, examples, normal
from epcore.doctor.figure import HEAD_BOX, KEYPOINTS, PICTURE
from epcore.models import EfficientPose
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.ops import OPS

BACKENDS = ("cpu", "cuda")
PLAN, FIGURE = "plan of RT", "figure decoded"
NETWORKS = (PLAN, FIGURE)
CHECKS = (*NETWORKS, *OPS)  # the plan first: it takes longest to compile

MAPS_BOUND = 1e-5  # of maps with values about 1: what every backend is held to on the published networks
HEAD = 0.5  # PCKh's usual threshold, in head sizes; RT finds all keypoints of the figure within 0.16
BRIGHT = 100
# Where exponentials overflow, saturate and round to nothing, and what is no number.
EDGES = (0.0, -0.0, 1e-45, 1e-38, 1.0, -1.0, 20.0, -20.0, 86.9, -86.9, 87.5, -87.5, 88.5, -88.5, 88.8, -88.8, 104.0, -104.0,
         1e3, -1e3, 1e30, -1e30, 2.5e38, -2.5e38, np.inf, -np.inf, np.nan)  # fmt: skip


class WrongError(Exception):
    """A result is wrong; the message says which and by how much."""


def run_check(backend: str, name: str) -> str:
    """One of CHECKS on one of BACKENDS; a few words about what was found right."""
    check: Callable[[str], str] = {PLAN: check_plan, FIGURE: check_figure}.get(name) or partial(check_operator, name)
    with np.errstate(all="ignore"):
        return check(backend)


# ---- operators


def check_operator(op: str, backend: str) -> str:
    """Forward and backward of every example in float32."""
    count, worst = 0, 0.0
    for label, arrays, attributes in examples(op):
        for name, got, right, bound in _results(op, backend, arrays, attributes):
            worst = max(worst, _judge(f"{name} of {label}", got, right, bound))
            count += 1
    if OPS[op].exponential:
        count += _check_edges(op, backend)
    by = "" if has_kernel(op, backend) else ", all of the reference: there is no kernel"
    return f"{count} results, the worst at {worst:.0%} of its bound{by}"


def _kernel(op: str, backend: str) -> ModuleType:
    """What runs by default: the reference where there is no kernel."""
    return kernel_module(op, backend if has_kernel(op, backend) else "reference")


def _results(
    op: str, backend: str, arrays: Arrays, attributes: dict[str, Any]
) -> list[tuple[str, np.ndarray, np.ndarray, float]]:
    """(name, what the kernel gives, what it should be, largest error) of y and every gradient."""
    double = [None if array is None else array.astype(np.float64) for array in arrays]
    y, saved = OPS[op].forward(*double, **attributes)
    dy = np.asarray(normal(7, *np.shape(y)), np.float32)
    right = [np.asarray(y), *OPS[op].backward(dy.astype(np.float64), saved, **attributes)]
    put = _put(backend)
    kernel = _kernel(op, backend)
    y, saved = kernel.forward(*map(put, arrays), **attributes)
    got = [y, *kernel.backward(put(dy), saved, **attributes)]
    names = OPS[op].array_names(len(arrays))
    bounds = allowed(op, arrays, attributes, dy, right)
    found = []
    for name, ours, wanted, bound in zip(["y", *(f"d{each}" for each in names)], got, right, bounds, strict=False):
        if (ours is None) != (wanted is None):
            raise WrongError(f"{name}: {'there is none' if ours is None else 'there is one'}, unlike the reference's")
        if wanted is not None:
            found.append((name, to_numpy(ours), wanted, bound))
    return found


def _judge(what: str, got: np.ndarray, right: np.ndarray, bound: float) -> float:
    """The largest error as a share of the bound. Raises WrongError beyond it."""
    if got.shape != right.shape or got.dtype != np.float32:
        raise WrongError(f"{what} is {got.dtype} {got.shape}, expected float32 {right.shape}")
    if count := not_finite(got):
        raise WrongError(f"{what}: {count} of {got.size} values are NaN or infinite")
    error = float(np.abs(got - right).max())
    if not error <= bound:
        raise WrongError(f"{what} is {error:.1e} away from the reference, {bound:.1e} is allowed")
    return error / bound if bound else 0.0


def _check_edges(op: str, backend: str) -> int:
    """Values where the exponential has no room left; NaN has to stay NaN. How many were looked at."""
    x = np.resize(np.array(EDGES, np.float32), 67)  # every value in a full vector and in a tail, whatever the width
    put, kernel = _put(backend), _kernel(op, backend)
    y, saved = kernel.forward(put(x.reshape(1, 1, 1, -1)))
    dx = kernel.backward(put(np.ones((1, 1, 1, x.size), np.float32)), saved)[0]
    double = x.astype(np.float64)
    right, kept = OPS[op].forward(double)
    slope = OPS[op].backward(np.ones(x.size), kept)[0]
    # Where the formula gives NaN, as -infinity times sigmoid's 0, the limit is right too; slopes there are not looked at.
    undefined = np.isinf(x) & np.isnan(slope)
    free = {"y": (x == -np.inf) & undefined, "dx": undefined}
    for name, got, wanted in (("y", to_numpy(y).ravel(), right), ("dx", to_numpy(dx).ravel(), slope)):
        close = np.abs(got - wanted) <= 8 * EPS * np.maximum(1, np.abs(wanted))
        fine = close | (got == wanted) | (np.isnan(got) & np.isnan(wanted)) | (free[name] & (np.isnan(got) | (got == 0)))
        if name == "dx":
            fine |= undefined
        if not fine.all():
            at = int(np.flatnonzero(~fine)[0])
            raise WrongError(f"{name} at x = {x[at]:g} is {got[at]:g}, expected {wanted[at]:g}")
    return len(EDGES)


def _put(backend: str) -> Callable[[Any], Any]:
    """Moves an array to where the kernels run."""
    if backend == "cuda":
        from epcore.kernels.cuda.loader import on_gpu, require_cupy

        if on_gpu():
            cupy = require_cupy()
            return lambda array: None if array is None else cupy.asarray(array)
    return lambda array: array


# ---- a network


def check_plan(backend: str) -> str:
    """All maps of RT with the weights that come with epcore, on a drawn figure, against the reference in double. Of the figure
    far too bright, where activations meet values like EDGES, they only have to be numbers."""
    from epcore.pose import preprocess

    model, plan = _network(backend)
    x, _ = preprocess(PICTURE, model.resolution)
    bright = to_numpy(plan(_put(backend)(x * np.float32(BRIGHT))).final)
    if count := not_finite(bright):
        raise WrongError(f"{count} of {bright.size} values are NaN or infinite on a picture {BRIGHT} times too bright")
    outputs = plan(_put(backend)(x))
    exact = _shipped().astype(np.float64)
    with use_backend("reference"):
        right = exact(x.astype(np.float64))
    worst = 0.0
    for label in ("pafs", "confs2", "confs3", "upscaled"):
        got, wanted = to_numpy(getattr(outputs, label)), getattr(right, label)
        worst = max(worst, _judge(label, got, wanted, MAPS_BOUND) * MAPS_BOUND)
    return f"maps within {worst:.1e} of the reference's"


def check_figure(backend: str) -> str:
    """Keypoints of the drawn figure where they are, as PCKh counts."""
    from epcore.evaluate.pckh import normalized_distances
    from epcore.pose import predict

    _, plan = _network(backend)
    with use_backend(backend):
        points = predict(PICTURE, plan).points
    known = np.ones((1, len(KEYPOINTS)), bool)
    distances = normalized_distances(points[None], np.array([KEYPOINTS]), known, np.array([HEAD_BOX]))
    hits = int((distances <= HEAD).sum())
    text = f"{hits} of {len(KEYPOINTS)} keypoints within half a head"
    if hits < len(KEYPOINTS):
        raise WrongError(text)
    return text


def _network(backend: str) -> tuple[Any, Any]:
    """RT with the shipped weights, and its plan on the backend."""
    model = _shipped()
    if backend == "cuda":
        from epcore.inference.cuda_graph import CudaGraphPlan

        return model, CudaGraphPlan(model.to("cuda"))
    from epcore.inference.compile import compile

    return model, compile(model)


def _shipped() -> Any:
    from epcore.weights_tools.load import load_weights

    model = EfficientPose("RT")
    load_weights(model, SHIPPED_WEIGHTS["RT"], trusted=True)
    return model
