"""Exercises about operators, from their pages: what to read, what to write, hints, and the file to start with.

One file serves both stages: it holds a forward and a backward, each to be written.
"""

from __future__ import annotations

from textwrap import indent
from typing import Any

from epcore.exercise.stub import gradients, plain_signature, saved_tuple
from epcore.op import Op
from epcore.ops import OPS


def completed(given: list[dict[str, Any]], stage: str) -> list[dict[str, Any]]:
    """Exercises with name and hints, in the order given -> with everything; operators that are not among them come last."""
    named = [each["name"] for each in given]
    rest = [{"name": name, "hints": []} for name in OPS if name not in named]
    return [_forward(each) if stage == "forward" else _backward(each) for each in (*given, *rest)]


def _forward(given: dict[str, Any]) -> dict[str, Any]:
    op = OPS[given["name"]]
    page = op.page
    equation = indent(page.equation, "    ")
    write = f"`forward`: {page.title}\n\n{equation}\n\nIt returns y and the tuple {saved_tuple(op.forward)}."
    return {**_common(op, "Equation, Symbols"), "write": write, **given}


def _backward(given: dict[str, Any]) -> dict[str, Any]:
    """The hints are the derivation, line by line as far as it goes on; a stage's own hints come first."""
    op = OPS[given["name"]]
    write = (
        f"`backward`: from dy, in the shape of y, and from what forward saved, {saved_tuple(op.forward)}, the gradients "
        f"{gradients(op)}. Derive them from the equation:\n\n{indent(op.page.equation, '    ')}"
    )
    derivation = [part.strip("\n") for part in op.page.derivation.split("\n\n") if part.strip()]
    return {**_common(op, "Equation, Symbols, Saved"), "write": write, **given, "hints": [*given["hints"], *derivation]}


def _common(op: Op, sections: str) -> dict[str, Any]:
    return {
        "file": f"ops/{op.name}.py",
        "read": [f"`epcore/ops/{op.name}.py`: {sections} (not further: below stands the solution)"],
        "starter": _starter(op),
    }


def _starter(op: Op) -> str:
    page = op.page
    sections = ((name, text) for name, text in (("Equation", page.equation), ("Symbols", page.symbols), ("Saved", page.saved)))
    described = "\n\n".join(f"{name}:\n{indent(text, '    ')}" for name, text in sections)
    return f'''"""{op.name}: {page.title}

{described}

`forward` returns y and the tuple {saved_tuple(op.forward)}; `backward` gets dy and that tuple and returns {gradients(op)}.
"""

import numpy as np


def forward{plain_signature(op.forward)}:
    raise NotImplementedError


def backward{plain_signature(op.backward)}:
    raise NotImplementedError
'''
