"""The file a student fills: the operator's equation, what forward saved, and an empty backward."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module

from epcore.ops import OPS

_CUT = ("Derivative", "dy/dx", "d mean", "dx[", "da =", "dx_i", "dy *", "dprediction =", "That is", "that is:")


def stub(op: str) -> str:
    """Source of the exercise. Raises ValueError for an unknown operator."""
    if op not in OPS:
        raise ValueError(f"unknown operator {op!r}: expected one of {', '.join(OPS)}")
    module = import_module(f"epcore.ops.{op}")
    signature = inspect.signature(module.backward)
    keywords = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name not in ("dy", "saved", "needs")]
    arguments = ", ".join(["dy", "saved", *(["*", *map(str, keywords)] if keywords else [])])
    inputs = [p.name for p in inspect.signature(module.forward).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    wanted = ", ".join("None" if name in _data(op) else f"d{name}" for name in inputs)
    return f'''"""Exercise: the backward pass of {op}.

{_equation(module.__doc__ or "")}

Fill in `backward` and check it with

    epcore exercise {op} --check THIS_FILE

forward({", ".join(inputs)}{", ..." if keywords else ""}) saved {_tuple(module.forward)}

{_saved(module.__doc__ or "")}

dy has the shape of y; return one gradient for each input, each of its input's shape: {wanted}.
"""

import numpy as np


def backward({arguments}):
    raise NotImplementedError("write me")
    return ({wanted},)
'''


def _tuple(forward: Callable[..., object]) -> str:
    """The tuple that forward returns as saved, as its last line writes it."""
    last = [line for line in inspect.getsource(forward).splitlines() if line.strip().startswith("return")][-1]
    return last.partition(", ")[2] or last.strip()


def _data(op: str) -> tuple[str, ...]:
    """Inputs that are data or state, whose gradient is None."""
    return {
        "batch_norm": ("running_mean", "running_variance"),
        "drop_connect": ("mask",),
        "mse": ("target", "mask"),
    }.get(op, ())


def _equation(docstring: str) -> str:
    """The docstring up to where it would give the derivative away."""
    lines = []
    for line in docstring.strip().splitlines():
        at = min((line.find(mark) for mark in _CUT if mark in line), default=-1)
        if at == 0 or line.startswith("Saved"):
            break
        lines.append(line[:at].rstrip() if at > 0 else line)
    return "\n".join(lines).strip()


def _saved(docstring: str) -> str:
    start = docstring.rfind("Saved:")
    return "    " + " ".join(docstring[start:].removeprefix("Saved:").split()) if start >= 0 else "    see the operator's file"
