"""The file a student fills: the operator's page without its derivation, and an empty backward."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from textwrap import indent

from epcore.op import Op
from epcore.ops import OPS


def stub(op: str) -> str:
    """Source of the exercise. Raises ValueError for an unknown operator."""
    if op not in OPS:
        raise ValueError(f"unknown operator {op!r}: expected one of {', '.join(OPS)}")
    forward, page = OPS[op].forward, OPS[op].page
    parameters = inspect.signature(forward).parameters.values()
    inputs = ", ".join(str(p.replace(annotation=p.empty, default=p.empty)) for p in parameters if p.kind is not p.KEYWORD_ONLY)
    more = ", ..." if any(p.kind is p.KEYWORD_ONLY for p in parameters) else ""
    return f'''"""Exercise: the backward pass of {op}.

{page.title}

Equation:
{_indented(page.equation)}

Symbols:
{_indented(page.symbols)}

Saved:
{_indented(page.saved)}

Fill in `backward` and check it with

    epcore exercise {op} --check THIS_FILE

forward({inputs}{more}) saved {saved_tuple(forward)}

dy has the shape of y; return {gradients(OPS[op])}, each gradient in the shape of its input.
"""

import numpy as np


def backward{plain_signature(OPS[op].backward)}:
    raise NotImplementedError("write me")
'''


def plain_signature(function: Callable[..., object]) -> str:
    """Without annotations, and without what trainings alone hand over: which gradients they need, sums over machines."""
    parameters = inspect.signature(function).parameters.values()
    kept = [p.replace(annotation=p.empty) for p in parameters if p.name not in ("needs", "reduce")]
    return str(inspect.Signature(kept))


def gradients(op: Op) -> str:
    """The tuple that backward returns, None for data: (dx, dw)."""
    parameters = list(inspect.signature(op.forward).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        (name,) = (p.name for p in parameters if p.kind is p.VAR_POSITIONAL)
        return f"a tuple of one gradient for each of {name}"
    inputs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    wanted = ["None" if name in op.data else f"d{name}" for name in inputs]
    return f"({', '.join(wanted)}{',' if len(wanted) == 1 else ''})"


def _indented(text: str) -> str:
    return indent(text, "    ")


def saved_tuple(forward: Callable[..., object]) -> str:
    """The tuple that forward returns as saved, as its last line writes it."""
    returns = [node.value for node in ast.walk(ast.parse(inspect.getsource(forward))) if isinstance(node, ast.Return)]
    assert isinstance(returns[-1], ast.Tuple)
    return ast.unparse(returns[-1].elts[1])
