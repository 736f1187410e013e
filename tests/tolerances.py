"""What floating point may err by, derived from what flows through: the one place tests take their tolerances from.

A sum of K terms t in one chain is rounded K times, each time by at most half an epsilon of a partial sum. Two sizes stand for
the partial sums; neither vanishes where the terms cancel, as the sum itself does:

    S = sum |t|             no partial sum is larger: what a flat area, where every rounding goes the same way, is held to
    Q = sqrt(sum t^2)       the size of a sum of such terms with random signs

`output_flow` and `gradient_flows` give both for every operator: its formulas run on |t|^power, so power 1 gives S and the root
of power 2 gives Q. An operator held to `epsilons(K)` of S, or on noise of its largest value and Q, is right whatever the
processor's vector width, fused multiply-adds and order of summation, and a chain that is too long is not.

A network has no such formula. `Rounding` is a tape that runs it in double and adds to every result the noise its roundings are:
in a chain from 0 to y over K terms of random order, partial sums squared are y^2 / 3 + Q^2 / 6 on average, and a rounding has
the variance (eps / 2)^2 / 3 of that. How far the outputs, or the gradients, of such a run come from the run without noise
says how far rounding carries here, in whichever order a program rounds. Measured, right programs are at 0.1 to 1.4 times it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from math import prod, sqrt
from typing import Any

import numpy as np

from epcore.backend import use_backend
from epcore.network import Network
from epcore.ops import OPS
from epcore.ops.sigmoid import sigmoid
from epcore.ops.squeeze_excite import ACTIVATIONS
from epcore.tape import Tape

EPS = float(np.finfo(np.float32).eps)
PIXELS = (0, 1, 2)
Arrays = list[np.ndarray]


def epsilons(terms: int) -> float:
    """Allowed error in epsilons: 8 for a handful of roundings in a row, 2 sqrt(K) for K of them."""
    return max(8.0, 2 * sqrt(terms))


def terms(op: str, shapes: list[tuple[int, ...] | None], attributes: dict[str, Any]) -> list[int]:
    """Summed terms of the output and of the gradient of every input; 1 where nothing is summed."""
    x, y = shapes[0], OPS[op].output_shape(*shapes, **attributes)
    assert x is not None
    w = shapes[1] if len(shapes) > 1 else None
    out, pixels = prod(y[:3]), prod(x[:3])
    match op:
        case "conv2d":
            return [prod(w[:3]), w[0] * w[1] * w[3], out, out]
        case "depthwise_conv2d":
            return [w[0] * w[1], w[0] * w[1], out]
        case "conv_transpose2d":
            return [w[0] * w[1] * w[3], prod(w[:3]), pixels, out]
        case "batch_norm":
            return [pixels] * 5 if attributes.get("training") else [1, 1, pixels, pixels, 1]
        case "squeeze_excite":
            return [x[0] + x[1] * x[2] + x[3] + w[3]] * 6
        case "avg_pool" | "max_pool":
            return [attributes.get("size", 2) ** 2] * 2
        case "concat":  # one channel stretches to nothing
            return [1] * (1 + len(shapes))
    if OPS[op].cost(*shapes, **attributes).macs:
        raise KeyError(f"{op}: nobody has written down how many products it sums")
    # Without products: a smaller y sums x's elements; an array that was stretched is used that often.
    used = [1 if shape is None or not stretches(shape, y) else prod(y) // prod(shape) for shape in shapes]
    return [max(1, prod(x) // prod(y)), *used]


def stretches(shape: tuple[int, ...], y: tuple[int, ...]) -> bool:
    """Whether an array of this shape is broadcast to y's."""
    return len(shape) <= len(y) and all(n in (1, m) for n, m in zip(shape[::-1], y[::-1], strict=False))


def output_flow(op: str, arrays: Arrays, saved: tuple[Any, ...], y: np.ndarray, attributes: dict[str, Any], power: int) -> Any:
    """The sum of |terms|^power behind every element of y. arrays, saved, y: in double, as the reference has them."""
    size = [None if a is None else np.abs(a) ** power for a in arrays]
    match op:
        case "conv2d" | "depthwise_conv2d" | "conv_transpose2d":
            return OPS[op].forward(*size, **attributes)[0]
        case "global_mean" | "avg_pool":
            window = attributes.get("size", 2) ** 2 if op == "avg_pool" else prod(arrays[0].shape[1:3])
            return OPS[op].forward(size[0], **attributes)[0] / window ** (power - 1)
        case "batch_norm":
            _, gamma, mean, variance = saved
            factor = np.abs(gamma / np.sqrt(variance + attributes.get("epsilon", 1e-3))) ** power
            return (size[0] + np.abs(mean) ** power) * factor + size[2]
        case "squeeze_excite":
            _, w_reduce, w_expand, _, _, gate = saved
            # An error of the hidden sums reaches the gate through at most 1.25 * 1.1, the steepest slope of an E-swish.
            mean = size[0].sum(axis=(1, 2)) / prod(arrays[0].shape[1:3]) ** power
            hidden = 1.375**power * (mean @ np.abs(w_reduce[0, 0]) ** power + size[2])
            through = hidden @ np.abs(w_expand[0, 0]) ** power + size[4]
            gates = gate**power + (gate * (1 - gate)) ** power * through
            return size[0] * gates[:, None, None]
        case "mse":
            difference = np.abs(arrays[0] - arrays[1]) ** (2 * power) * (1 if arrays[2] is None else size[2])
            return difference.sum() / (arrays[0].size if attributes.get("reduction", "mean") == "mean" else 1) ** power
    return np.abs(y) ** power


def gradient_flows(
    op: str, saved: tuple[Any, ...], dy: np.ndarray, gradients: tuple[Any, ...], attributes: dict[str, Any], power: int
) -> list[Any]:
    """The sums of |terms|^power behind every element of every gradient; None where there is none."""
    d = np.abs(dy) ** power
    found = [None if g is None else np.abs(g) ** power for g in gradients]
    match op:
        case "conv2d" | "depthwise_conv2d" | "conv_transpose2d" | "max_pool":
            size = tuple(np.abs(s) ** power if isinstance(s, np.ndarray) and s.dtype.kind == "f" else s for s in saved)
            return list(OPS[op].backward(d, size, **attributes))
        case "multiply":
            return list(OPS[op].backward(d, tuple(np.abs(s) ** power for s in saved)))
        case "swish" | "eswish":
            (x,), s = saved, sigmoid(saved[0])
            beta = attributes.get("beta", 1.25) if op == "eswish" else 1
            return [d * (beta * s) ** power * (1 + np.abs(x * (1 - s)) ** power)]
        case "prelu":
            return [found[0], (d * np.abs(np.minimum(saved[0], 0)) ** power).sum(axis=PIXELS)]
        case "batch_norm":
            x, gamma, mean, variance = saved
            r, M = 1 / np.sqrt(variance + attributes.get("epsilon", 1e-3)), prod(x.shape[:3])
            z = np.abs((x - mean) * r) ** power
            dbeta, dgamma = d.sum(axis=PIXELS), (d * z).sum(axis=PIXELS)
            # In training the two sums over the batch come back divided by M.
            back = (dbeta + z * dgamma) / M**power if attributes.get("training") else 0
            return [np.abs(gamma * r) ** power * (d + back), dgamma, dbeta, None, None]
        case "squeeze_excite":
            x, w_reduce, w_expand, mean, reduced, gate = saved
            activation = ACTIVATIONS[attributes.get("activation", "swish")]
            hidden, kept = activation.forward(reduced)
            du = (d * np.abs(x) ** power).sum(axis=(1, 2)) * (gate * (1 - gate)) ** power
            dhidden = du @ np.abs(w_expand[0, 0].T) ** power
            slope = gradient_flows(activation.OP.name, kept, np.ones_like(reduced), (np.ones_like(reduced),), {}, power)[0]
            dreduced = dhidden * slope
            dmean = dreduced @ np.abs(w_reduce[0, 0].T) ** power / prod(x.shape[1:3]) ** power
            return [
                d * gate[:, None, None] ** power + dmean[:, None, None],
                (np.abs(mean.T) ** power @ dreduced)[None, None],
                dreduced.sum(axis=0),
                (np.abs(hidden.T) ** power @ du)[None, None],
                du.sum(axis=0),
            ]
    return found


class Rounding(Tape):
    """Runs the reference in double and adds the noise that float32 roundings are (see above), drawn from `seed`."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def kernel(self, op: str, arrays: list[Any], attributes: dict[str, Any]) -> tuple[Any, Any]:
        reference = OPS[op]
        counts = terms(op, [None if a is None else a.shape for a in arrays], attributes)
        counts += [1] * (1 + len(arrays) - len(counts))  # data and state, which have no gradient

        def forward(*arrays: Any, **attributes: Any) -> tuple[Any, tuple[Any, ...]]:
            y, saved = reference.forward(*arrays, **attributes)
            if op == "squeeze_excite":
                return self._squeeze_excite(arrays, saved, attributes["activation"]), saved
            single = [None if a is None else a.astype(np.float32) for a in arrays]  # digits enough for the size of noise
            return self._rounded(y, output_flow(op, single, saved, y, attributes, 2), counts[0]), saved

        def backward(dy: Any, saved: Any, needs: Any = None, **attributes: Any) -> list[Any]:
            gradients = reference.backward(dy, saved, **attributes)
            squares = gradient_flows(op, saved, dy, gradients, attributes, 2)
            each = zip(gradients, squares, counts[1 : 1 + len(gradients)], strict=True)
            return [None if g is None else self._rounded(g, q, k) for g, q, k in each]

        return forward, backward

    def _rounded(self, y: Any, squares: Any, summed: int) -> Any:
        """y, a result of a chain of `summed` terms whose squares add up to `squares` (or of three roundings in a row)."""
        variance = summed * (np.square(y) / 3 + squares / 6) if summed > 3 else 3 * squares
        return y + self._rng.standard_normal(np.shape(y)) * np.sqrt(variance / 3) * (EPS / 2)

    def _squeeze_excite(self, arrays: tuple[Any, ...], saved: tuple[Any, ...], activation: str) -> Any:
        """Stage by stage: an error of a gate is the same for all pixels, and does not average out further on."""
        x, w_reduce, b_reduce, w_expand, b_expand = arrays
        pixels, C, R = prod(x.shape[1:3]), x.shape[3], w_reduce.shape[3]
        mean = self._rounded(saved[3], np.square(x).sum(axis=(1, 2)) / pixels**2, pixels)
        reduced = self._rounded(mean @ w_reduce[0, 0] + b_reduce, mean**2 @ w_reduce[0, 0] ** 2 + b_reduce**2, C)
        hidden = ACTIVATIONS[activation].forward(reduced)[0]
        hidden = self._rounded(hidden, hidden**2, 1)
        sums = self._rounded(hidden @ w_expand[0, 0] + b_expand, hidden**2 @ w_expand[0, 0] ** 2 + b_expand**2, R)
        gate = sigmoid(sums)
        y = x * self._rounded(gate, gate**2, 1)[:, None, None]
        return self._rounded(y, y**2, 1)


def settle(model: Network, *, seed: int = 1, gamma: tuple[float, float] = (0.5, 1.5)) -> Network:
    """Random scales and shifts, so that folding has something to fold, and the running statistics of random pictures, so that
    values keep their size from layer to layer as in a trained network (else float32 itself, not a program, is tested): eight of
    them, because the deepest maps are 8x8, and a channel whose variance is found too small is blown up from pass to pass.
    """
    rng = np.random.default_rng(seed)
    for name, array in model.parameters.items():
        if name.endswith("gamma"):
            model.parameters[name] = rng.uniform(*gamma, array.shape).astype(np.float32)
        elif name.endswith(("beta", "bias")):
            model.parameters[name] = rng.normal(0, 0.3, array.shape).astype(np.float32)
    momentum, model.momentum = model.momentum, 0.0
    model.train().run(rng.normal(size=(8, 64, 64, 3)).astype(np.float32))
    model.momentum = momentum
    return model.eval()


DRAWS = 1  # the largest of a map's deviations differs little from draw to draw
MARGIN = 5  # a program's own order of roundings is one more draw, and some of its roundings go the same way


def largest_deviation(
    model: Network, evaluate: Callable[[Network, Tape], dict[str, np.ndarray]], seeds: Iterable[int] = range(DRAWS)
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What `evaluate` gives in double, and how far float32 rounding moves each of it at most.

    The parameters are rounded as well: folding batch norms into kernels does that to them.
    """
    double = copy.deepcopy(model).astype(np.float64)
    parameters = dict(double.parameters)
    with use_backend("reference"):
        exact = evaluate(double, Tape())
    found = dict.fromkeys(exact, 0.0)
    for seed in seeds:
        rng = np.random.default_rng([seed, 1])
        double.parameters = {name: a * (1 + rng.uniform(-EPS, EPS, a.shape) / 2) for name, a in parameters.items()}
        for name, noisy in evaluate(double, Rounding(seed)).items():
            found[name] = max(found[name], float(np.abs(noisy - exact[name]).max()))
    return exact, found


def outputs_and_bounds(model: Network, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """The network's outputs for x in double, by label, and how far a float32 program may be from each."""

    def evaluate(double: Network, tape: Tape) -> dict[str, np.ndarray]:
        outputs, _ = double.record(x.astype(np.float64), tape)
        return {label: tensor.data for label, tensor in outputs.items()}

    exact, deviation = largest_deviation(model, evaluate)
    return exact, {label: MARGIN * each for label, each in deviation.items()}


def gradients_and_bounds(
    model: Network, step: Callable[[Network, Tape], dict[str, np.ndarray]]
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """What a training step gives in double (`step` -> loss and gradients by name), and how many epsilons of a dtype two
    programs that compute in it may be apart: both round. Where a gradient's terms cancel, the bound is that of the terms."""
    exact, deviation = largest_deviation(model, step)
    return exact, {name: 2 * MARGIN * each / EPS for name, each in deviation.items()}
