"""The terms of each operator's gradients, as its page derives them: which paths there are, and what is multiplied on each.

An operator without an entry has one term a gradient, its whole backward (`scope.reference`): that will do where there is one
path. What is derived has the page's names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from epcore.exercise.problem import Problem
from epcore.exercise.scope import Recipe, Scope, Term, Value, reference
from epcore.ops import OPS
from epcore.ops.sigmoid import sigmoid
from epcore.ops.squeeze_excite import ACTIVATIONS

PIXELS = (0, 1, 2)


def recipe_of(problem: Problem) -> Recipe:
    """What the gradients of this case are made of: terms for every input that has one."""
    declared = _RECIPES.get(problem.case.op, Recipe())
    terms = {
        problem.names[index]: declared.terms.get(problem.names[index], (Term("the gradient", reference(index)),))
        for index in problem.checked
    }
    return Recipe(declared.derived, terms)


def product(*names: str, summed: tuple[int, ...] = (), sign: int = 1) -> Value:
    """The product of ingredients, summed over axes."""

    def value(scope: Scope) -> Any:
        found: Any = sign
        for name in names:
            found = found * scope[name]
        return found.sum(axis=summed) if summed else found

    return value


# ---- element by element

_S = {"s": lambda i: sigmoid(i["x"]), "1 - s": lambda i: 1 - i["s"]}
_SWISH = Recipe(
    _S,
    {"x": (Term("of x as a factor", product("dy", "s")), Term("of the sigmoid", product("dy", "x", "s", "1 - s")))},
)
_ESWISH = Recipe(
    _S,
    {
        "x": (
            Term("of x as a factor", product("beta", "dy", "s")),
            Term("of the sigmoid", product("beta", "dy", "x", "s", "1 - s")),
        )
    },
)
_SIGMOID = Recipe({"1 - y": lambda i: 1 - i["y"]}, {"x": (Term("the gradient", product("dy", "y", "1 - y")),)})
_RELU = Recipe(
    {
        "[y > 0]": lambda i: (i["y"] > 0).astype(float),
        "[y < maximum]": lambda i: (i["y"] < (np.inf if i["maximum"] is None else i["maximum"])).astype(float),
    },
    {"x": (Term("the gradient", product("dy", "[y > 0]", "[y < maximum]")),)},
)
_PRELU = Recipe(
    {"[x > 0]": lambda i: (i["x"] > 0).astype(float), "[x <= 0]": lambda i: 1 - i["[x > 0]"]},
    {
        "x": (
            Term("where x > 0", product("dy", "[x > 0]")),
            Term("where x <= 0", product("dy", "alpha", "[x <= 0]")),
        ),
        "alpha": (Term("the gradient", product("dy", "x", "[x <= 0]", summed=PIXELS)),),
    },
)


def _folded(other: str, own: str) -> Value:
    """dy * other, summed to the shape that the input `own` has."""

    def value(scope: Scope) -> Any:
        shape = scope.problem.ingredients[own].shape
        full = scope["dy"] * scope[other]
        full = full.sum(axis=tuple(range(full.ndim - len(shape))))
        stretched = tuple(axis for axis, n in enumerate(shape) if n == 1)
        return full.sum(axis=stretched, keepdims=True) if stretched else full

    return value


_MULTIPLY = Recipe({}, {"a": (Term("the gradient", _folded("b", "a")),), "b": (Term("the gradient", _folded("a", "b")),)})


def _mask(scope: Scope) -> Any:
    found = scope.problem.saved[2]
    return 1.0 if found is None else found


_MSE = Recipe(
    {
        "prediction - target": lambda i: i["prediction"] - i["target"],
        "1 / elements": lambda i: 1 / i["prediction"].size if i["reduction"] == "mean" else 1.0,
        "the mask": _mask,
    },
    {"prediction": (Term("the gradient", lambda i: 2 * product("prediction - target", "dy", "the mask", "1 / elements")(i)),)},
)
_DROP_CONNECT = Recipe(
    {"1 - rate": lambda i: 1 - i["rate"]}, {"x": (Term("the gradient", lambda i: i["dy"] * i["mask"] / i["1 - rate"]),)}
)

# ---- batch norm


def _count(scope: Scope) -> float:
    return float(scope["x"].size // scope["x"].shape[-1])


def _of_batch(value: Value) -> Value:
    """A path that there is in training only."""
    return lambda scope: value(scope) if scope["training"] else 0.0


_BATCH_NORM = Recipe(
    {
        "r": lambda i: 1 / np.sqrt(i["variance"] + i["epsilon"]),
        "x - mean": lambda i: i["x"] - i["mean"],
        "z": lambda i: i["x - mean"] * i["r"],
        "the mean of dy": lambda i: i["dy"].sum(axis=PIXELS) / _count(i),
        "the mean of dy * z": lambda i: (i["dy"] * i["z"]).sum(axis=PIXELS) / _count(i),
    },
    {
        "x": (
            Term("of x itself", product("gamma", "r", "dy")),
            Term("through the mean of the batch", _of_batch(product("gamma", "r", "the mean of dy", sign=-1))),
            Term("through the variance of the batch", _of_batch(product("gamma", "r", "z", "the mean of dy * z", sign=-1))),
        ),
        "gamma": (Term("the gradient", product("dy", "z", summed=PIXELS)),),
        "beta": (Term("the gradient", product("dy", summed=PIXELS)),),
    },
)

# ---- squeeze-and-excitation: the chain of its page, link by link


def _slope(scope: Scope) -> Any:
    """Of the hidden activation at t."""
    module = ACTIVATIONS[scope["activation"]]
    _, saved = module.forward(scope["t"])
    return module.backward(np.ones_like(scope["t"]), saved)[0]


_SQUEEZE_EXCITE = Recipe(
    {
        "a": lambda i: ACTIVATIONS[i["activation"]].forward(i["t"])[0],
        "dg": lambda i: (i["dy"] * i["x"]).sum(axis=(1, 2)),
        "the slope of the gate": lambda i: i["g"] * (1 - i["g"]),
        "du": lambda i: i["dg"] * i["the slope of the gate"],
        "da": lambda i: i["du"] @ i["w_expand"][0, 0].T,
        "the slope of the hidden activation": _slope,
        "dt": lambda i: i["da"] * i["the slope of the hidden activation"],
        "dm": lambda i: i["dt"] @ i["w_reduce"][0, 0].T,
        "1 / (H*W)": lambda i: 1.0 / (i["x"].shape[1] * i["x"].shape[2]),
    },
    {
        "x": (
            Term("of x, which is scaled", lambda i: i["dy"] * i["g"][:, None, None, :]),
            Term(
                "through the gate",
                lambda i: np.broadcast_to((i["dm"] * i["1 / (H*W)"])[:, None, None, :], i["x"].shape),
            ),
        ),
        "w_reduce": (Term("the gradient", lambda i: (i["m"].T @ i["dt"])[None, None]),),
        "b_reduce": (Term("the gradient", lambda i: i["dt"].sum(axis=0)),),
        "w_expand": (Term("the gradient", lambda i: (i["a"].T @ i["du"])[None, None]),),
        "b_expand": (Term("the gradient", lambda i: i["du"].sum(axis=0)),),
    },
)

_RECIPES: dict[str, Recipe] = {
    "swish": _SWISH,
    "eswish": _ESWISH,
    "sigmoid": _SIGMOID,
    "relu": _RELU,
    "prelu": _PRELU,
    "multiply": _MULTIPLY,
    "mse": _MSE,
    "drop_connect": _DROP_CONNECT,
    "batch_norm": _BATCH_NORM,
    "squeeze_excite": _SQUEEZE_EXCITE,
}
assert set(_RECIPES) <= set(OPS)
