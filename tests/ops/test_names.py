"""Nobody outside `epcore/ops` and the kernels asks an operator for its name: what others need to know, its `Op` says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import epcore
from epcore.ops import OPS

PACKAGE = Path(epcore.__file__).parent
EXEMPT = ("ops", "kernels")
ALLOWED = {
    "exercise/cases.py": 3,  # cases of single operators, beside what every Op says of itself
    "learn/cuda/exercises.py": 3,  # an exercise is one operator's kernel
    "initializers.py": 1,  # "prelu" is the name of an initializer there
    "inference/fuse.py": 3,  # plans run the activations that their steps end with: by name, and one by one
    "inference/fused_network.py": 3,
    "inference/steps/elementwise.py": 1,
}


def names(node: ast.AST) -> list[str]:
    """Names of operators that are constants in an expression, alone or in a list of alternatives."""
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return [name for element in node.elts for name in names(element)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPS else []


def asked(source: str) -> Iterator[int]:
    """Lines of comparisons, cases of a match and look-ups by an operator's name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare():
                if any(names(side) for side in (node.left, *node.comparators)):
                    yield node.lineno
            case ast.match_case():
                if any(names(part) for part in ast.walk(node.pattern)):
                    yield node.pattern.lineno
            case ast.Subscript():
                if names(node.slice):
                    yield node.lineno


def test_nobody_asks() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        lines = list(asked(path.read_text(encoding="utf-8")))
        if place.parts[0] not in EXEMPT and len(lines) > ALLOWED.get(place.as_posix(), 0):
            found[place.as_posix()] = lines
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "if node.op == 'conv2d': pass",
        "if node.op in ('add', 'x'): pass",
        "match op:\n    case 'relu' | 'y': pass",
        "match op, a:\n    case 'mse', [b]: pass",
        "cost = OPS['mse'].cost",
    ],
)
def test_it_would_be_found(source: str) -> None:
    assert list(asked(source))
    assert not list(asked(source.replace("conv2d", "z").replace("add", "z").replace("relu", "z").replace("mse", "z")))
