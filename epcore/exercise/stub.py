"""The file a student fills: the operator's page without its derivation, and an empty backward."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from textwrap import indent

from epcore.ops import OPS


def stub(op: str) -> str:
    """Source of the exercise. Raises ValueError for an unknown operator."""
    if op not in OPS:
        raise ValueError(f"unknown operator {op!r}: expected one of {', '.join(OPS)}")
    forward, page = OPS[op].forward, OPS[op].page
    signature = inspect.signature(OPS[op].backward)
    keywords = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name not in ("dy", "saved", "needs")]
    arguments = ", ".join(["dy", "saved", *(["*", *map(str, keywords)] if keywords else [])])
    inputs = [p.name for p in inspect.signature(forward).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    wanted = ", ".join("None" if name in OPS[op].data else f"d{name}" for name in inputs)
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

forward({", ".join(inputs)}{", ..." if keywords else ""}) saved {_tuple(forward)}

dy has the shape of y; return one gradient for each input, each of its input's shape: {wanted}.
"""

import numpy as np


def backward({arguments}):
    raise NotImplementedError("write me")
    return ({wanted},)
'''


def _indented(text: str) -> str:
    return indent(text, "    ")


def _tuple(forward: Callable[..., object]) -> str:
    """The tuple that forward returns as saved, as its last line writes it."""
    returns = [node.value for node in ast.walk(ast.parse(inspect.getsource(forward))) if isinstance(node, ast.Return)]
    assert isinstance(returns[-1], ast.Tuple)
    return ast.unparse(returns[-1].elts[1])
