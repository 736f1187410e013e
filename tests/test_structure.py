"""How code is built here: short files, few positional arguments, private names that stay private, absolute imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest
from places import ROOT

TREES = ("epcore", "kernels", "weights_tools")
LINES, POSITIONAL = 300, 8
# Where calls are counted too: compiled code, whose arguments of one type are easily exchanged. The launches of kernels/cuda are
# exempt: a CUDA kernel takes numbers and pointers one by one, and its launcher is the place that names them.
CALLS_COUNTED = ("epcore/inference", "kernels/cpu")


@cache
def sources() -> dict[str, str]:
    """Text of every file by its place below the root, each once: kernels and weights_tools are links within epcore."""
    paths = [path for tree in TREES for path in (ROOT / tree).rglob("*.py")]
    places = {path.relative_to(ROOT).as_posix(): path for path in paths}
    links = tuple(f"epcore/{tree}/" for tree in TREES)
    return {place: path.read_text(encoding="utf-8") for place, path in sorted(places.items()) if not place.startswith(links)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def is_module(name: str, places: dict[str, str]) -> bool:
    """Whether "epcore.pose.decode" is a module, or a package, of ours."""
    parts = name.split(".")
    path = "/".join(parts[1:] if len(parts) > 1 and parts[1] in TREES else parts)
    return f"{path}.py" in places or f"{path}/__init__.py" in places


def too_long(source: str) -> Iterator[str]:
    if (count := len(source.splitlines())) > LINES:
        yield f"{count} lines"


def too_many_parameters(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            count = len(node.args.posonlyargs) + len(node.args.args)
            if count > POSITIONAL:
                yield f"{node.lineno}: {getattr(node, 'name', 'lambda')} takes {count} positional arguments"


def too_many_arguments(source: str) -> Iterator[str]:
    """A starred argument counts once: how many it stands for is not in the text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and len(node.args) > POSITIONAL:
            yield f"{node.lineno}: {ast.unparse(node.func)} is given {len(node.args)} positional arguments"


def relative_imports(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{node.lineno}: {ast.unparse(node)}"


def foreign_privates(source: str, places: dict[str, str]) -> Iterator[str]:
    """Private names of epcore's modules that are imported, or reached through the module's name, and private modules."""
    tree = ast.parse(source)
    modules: dict[str, str] = {}  # what the file calls a module, dots included -> the module
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "epcore":
            for alias in node.names:
                if is_private(alias.name) or any(is_private(part) for part in node.module.split(".")):
                    yield f"{node.lineno}: {ast.unparse(node)}"
                if is_module(f"{node.module}.{alias.name}", places):
                    modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            name = ast.unparse(node.value)
            if modules.get(name, name).partition(".")[0] == "epcore":
                yield f"{node.lineno}: {ast.unparse(node)}"


def test_the_walk_finds_every_tree_once() -> None:
    found = sources()
    assert {"epcore/cli.py", "epcore/inference/steps/pointwise.py", "kernels/cpu/cache.py", "weights_tools/load.py"} <= set(
        found
    )
    assert len(found) > 250


def test_files_are_short() -> None:
    assert not [(place, found) for place, source in sources().items() for found in too_long(source)]


def test_functions_take_few_positional_arguments() -> None:
    assert not [f"{place}:{found}" for place, source in sources().items() for found in too_many_parameters(source)]


def test_plans_and_cpu_kernels_pass_few_positional_arguments() -> None:
    counted = {place: source for place, source in sources().items() if place.startswith(CALLS_COUNTED)}
    assert len(counted) > 50
    assert not [f"{place}:{found}" for place, source in counted.items() for found in too_many_arguments(source)]


def test_private_names_stay_in_their_module() -> None:
    found = sources()
    assert not [f"{place}:{use}" for place, source in found.items() for use in foreign_privates(source, found)]


def test_imports_are_absolute() -> None:
    assert not [f"{place}:{found}" for place, source in sources().items() for found in relative_imports(source)]


# ---- the checks tell right from wrong


def test_a_long_file_is_found() -> None:
    assert list(too_long("x = 1\n" * LINES)) == []
    assert list(too_long("x = 1\n" * (LINES + 1))) == [f"{LINES + 1} lines"]


NINE = "a, b, c, d, e, f, g, h, i"


@pytest.mark.parametrize(
    "source",
    [
        f"def run({NINE}): pass",
        f"async def run({NINE}): pass",
        f"run = lambda {NINE}: 0",
        "class A:\n  def run(a, b, /, c, d, e, f, g, h, i): pass",
    ],
)
def test_long_signatures_are_found(source: str) -> None:
    assert len(list(too_many_parameters(source))) == 1
    assert list(too_many_parameters(source.replace("h, i", "h, *, i"))) == []


@pytest.mark.parametrize(
    "source", [f"run({NINE})", f"def f():\n  return a.run({NINE}, k=1)", "run(a, b, c, d, e, f, g, h, *i)"]
)
def test_long_calls_are_found(source: str) -> None:
    assert len(list(too_many_arguments(source))) == 1
    assert list(too_many_arguments(source.replace(", h, ", ", h=h, i=").replace("=*i", "=i"))) == []


@pytest.mark.parametrize(
    "source", ["from . import decode", "def f():\n  from .decode import peaks", "from ..pose import decode"]
)
def test_relative_imports_are_found(source: str) -> None:
    assert len(list(relative_imports(source))) == 1


PLANTED = {"epcore/pose/decode.py": "", "epcore/pose/__init__.py": "", "epcore/__init__.py": "", "kernels/cpu/crew.py": ""}


@pytest.mark.parametrize(
    "source",
    [
        "from epcore.pose.decode import _peak",
        "def f():\n  from epcore.pose.decode import peak, _peak as peak_of",
        "from epcore.pose import _decode",
        "from epcore.pose._decode import peak",
        "from epcore.pose import decode\ndecode._peak(1)",
        "from epcore.pose import decode as d\nd._peak = 1",
        "import epcore.pose.decode\nepcore.pose.decode._peak(1)",
        "import epcore.pose.decode as d\nd._peak(1)",
        "def f():\n  from epcore.kernels.cpu import crew\n  return crew._count",
    ],
)
def test_private_names_of_others_are_found(source: str) -> None:
    assert len(list(foreign_privates(source, PLANTED))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from epcore.pose.decode import Peak\nPeak._fields",  # a class, not a module
        "from epcore.pose import decode\ndecode.__name__",
        "from __future__ import annotations\nself._peak = 1",
        "import numpy as np\nnp._core",  # not ours
    ],
)
def test_other_underscores_are_left_alone(source: str) -> None:
    assert list(foreign_privates(source, PLANTED)) == []
