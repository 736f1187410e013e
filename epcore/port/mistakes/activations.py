"""Another activation in a layer's place, and squeeze-excite, whose hidden layer and gate are activations, gone wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from epcore.port.mistakes.mistake import Mistake, correct
from epcore.port.setting import Forward
from epcore.shapes import Shape


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return correct("sigmoid", x)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "swish, x sigmoid(x)": lambda x: x * _sigmoid(x),
    "E-swish, 1.25 x sigmoid(x)": lambda x: 1.25 * x * _sigmoid(x),
    "x sigmoid(1.25 x)": lambda x: x * _sigmoid(1.25 * x),
    "1.5 x sigmoid(x)": lambda x: 1.5 * x * _sigmoid(x),
    "1.75 x sigmoid(x)": lambda x: 1.75 * x * _sigmoid(x),
    "hard swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "leaky ReLU of slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "none": lambda x: x,
}
_SAMPLES = np.linspace(-8, 8, 65)


def known(op: str, attributes: dict[str, Any]) -> str:
    """What `ACTIVATIONS` calls an elementwise operator; the operator's own name where it is none of them."""
    y = correct(op, _SAMPLES, **attributes)
    names = [name for name, function in ACTIVATIONS.items() if np.allclose(function(_SAMPLES), y, rtol=1e-9, atol=1e-9)]
    return names[0] if names else ", ".join([op, *(f"{key} {value}" for key, value in attributes.items())])


def other_activations(right: str) -> Iterator[Mistake]:
    """Every other activation. right: what is computed here."""
    for name, function in ACTIVATIONS.items():
        if name != right:
            hint = f"the activation here is {right}"
            yield Mistake(f"activation: {name}", hint, lambda x, *rest, _f=function, **a: _f(x))


def prelu(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Every activation that has no slopes to learn."""
    return other_activations("PReLU")


def squeeze_excite(shapes: list[Shape | None], attributes: dict[str, Any]) -> Iterator[Mistake]:
    """Its squeeze, its activation, its gate, its biases."""
    right = attributes.get("activation", "swish")

    def variant(
        squeeze: Callable[[np.ndarray], np.ndarray] = lambda x: x.mean((1, 2)),
        activation: Callable[[np.ndarray], np.ndarray] = lambda t: correct(right, t),
        gate: Callable[[np.ndarray], np.ndarray] = _sigmoid,
        biases: tuple[int, int] = (1, 1),
    ) -> Forward:
        def forward(x: Any, w_reduce: Any, b_reduce: Any, w_expand: Any, b_expand: Any, **a: Any) -> np.ndarray:
            hidden = activation(squeeze(x) @ w_reduce[0, 0] + biases[0] * b_reduce)
            y: np.ndarray = x * gate(hidden @ w_expand[0, 0] + biases[1] * b_expand)[:, None, None, :]
            return y

        return forward

    inside = known(right, {})
    for name, function in ACTIVATIONS.items():
        if name != inside:
            yield Mistake(f"inside squeeze-excite, activation: {name}", f"it is {inside}", variant(activation=function))
    yield Mistake("squeeze-excite left out", "this layer scales every channel by its gate", lambda x, *rest, **a: x)
    hard = variant(gate=lambda u: np.clip(u / 6 + 0.5, 0, 1))
    yield Mistake("squeeze-excite with a hard sigmoid, clip(u / 6 + 0.5)", "the gate is a sigmoid", hard)
    keras_hard = variant(gate=lambda u: np.clip(0.2 * u + 0.5, 0, 1))
    yield Mistake("squeeze-excite with a hard sigmoid, clip(0.2 u + 0.5)", "the gate is a sigmoid", keras_hard)
    yield Mistake("squeeze-excite without the sigmoid", "the gate is a sigmoid", variant(gate=lambda u: u))
    pooled = variant(squeeze=lambda x: x.max((1, 2)))
    yield Mistake("squeeze-excite of the maximum", "it takes the mean over the map", pooled)
    yield Mistake("squeeze-excite of the sum", "it takes the mean over the map", variant(squeeze=lambda x: x.sum((1, 2))))
    yield Mistake("squeeze-excite without biases", "both convolutions have a bias", variant(biases=(0, 0)))
    yield Mistake("squeeze-excite without its first bias", "both convolutions have a bias", variant(biases=(0, 1)))
    yield Mistake("squeeze-excite without its second bias", "both convolutions have a bias", variant(biases=(1, 0)))
