"""docs/architecture.md is true: its walks are the order in which the code runs, its rule holds for every import."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import DOCS, ROOT
from train_helpers import tiny

import epcore
from epcore.cli import main
from epcore.train.trainer import Trainer

PAGE = (DOCS / "architecture.md").read_text(encoding="utf-8")
STOP = re.compile(r"^\d+\. `(epcore/\S+\.py)` `(\S+)`: ", re.MULTILINE)
TREES = {"kernels": "epcore/kernels", "weights_tools": "epcore/weights_tools"}


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def order_of_calls(call: Callable[[], object]) -> list[tuple[str, str]]:
    """(file, function) of epcore in the order in which each is called for the first time."""
    calls: dict[tuple[str, str], None] = {}

    def note(frame: object, event: str, _: object) -> None:
        if event == "call":
            code = frame.f_code  # type: ignore[attr-defined]
            place = code.co_filename.replace("\\", "/")
            if "/epcore/" in place:
                calls.setdefault(("epcore/" + place.rpartition("/epcore/")[2], code.co_qualname))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(calls)


def check_walk(title: str, call: Callable[[], object], most: int) -> None:
    stops = STOP.findall(section(title))
    assert 5 < len(stops) <= most
    seen = order_of_calls(call)
    assert not [stop for stop in stops if stop not in seen]
    assert [seen.index(stop) for stop in stops] == sorted(seen.index(stop) for stop in stops)


def test_the_walk_of_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(photo)
    codes: list[int] = []
    check_walk("A walk: `epcore predict photo.jpg`", lambda: codes.append(main(["predict", str(photo)])), 12)
    assert codes == [0]
    assert "head_top" in capsys.readouterr().out


def test_the_walk_of_a_training_step(tmp_path: Path) -> None:
    with Trainer(tiny(optimizer="sgd"), tmp_path / "run") as trainer:
        check_walk("A walk: one training step", trainer.run, 12)


# ---- who may import whom


def floors() -> dict[str, int]:
    """Room -> its floor, the lowest 0."""
    block = re.findall(r"^    (.+)$", section("Who may import whom"), re.MULTILINE)
    return {room: height for height, rooms in enumerate(reversed(block)) for room in rooms.split(", ")}


def room_of(module: str) -> str | None:
    """epcore.pose.decode -> pose; None for modules that are not epcore's, "" for the package itself."""
    head, _, rest = module.partition(".")
    return rest.partition(".")[0] if head == "epcore" else None


def imports(path: Path, module: str) -> list[tuple[int, str]]:
    """(line, module) of all imports of a file, within functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative imports hide where they go"
            whole = node.module == "epcore"
            found += [(node.lineno, f"epcore.{alias.name}" if whole else str(node.module)) for alias in node.names]
    return found


def modules() -> dict[str, Path]:
    """Every module of the package by name, once."""
    files = [path for path in (ROOT / "epcore").rglob("*.py") if not any(tree in path.as_posix() for tree in TREES.values())]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files}
    for folder in TREES:
        for path in (ROOT / folder).rglob("*.py"):
            names[".".join(("epcore", *path.relative_to(ROOT).with_suffix("").parts))] = path
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


def forbidden(module: str, imported: str, heights: dict[str, int]) -> bool:
    mine, other = room_of(module), room_of(imported)
    if other is None or mine in ("", "__main__", other):
        return False
    return mine not in heights or other not in heights or heights[other] >= heights[str(mine)]


def test_nobody_imports_from_above() -> None:
    heights = floors()
    names = modules()
    assert len(names) > 200
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for module, path in names.items()
        for line, imported in imports(path, module)
        if forbidden(module, imported, heights)
    ]
    assert not wrong


def test_every_room_has_a_floor() -> None:
    rooms = {room_of(module) for module in modules()} - {"", "__main__"}
    assert rooms == set(floors())


def test_the_rule_tells_right_from_wrong() -> None:
    heights = floors()
    assert forbidden("epcore.pose.decode", "epcore.commands.console", heights)
    assert forbidden("epcore.data.loader", "epcore.export.onnx", heights), "rooms of one floor"
    assert forbidden("epcore.train.trainer", "epcore", heights), "the package itself"
    assert not forbidden("epcore.commands.predict", "epcore.pose.decode", heights)
    assert not forbidden("epcore.pose.decode", "numpy", heights)
    assert epcore.__name__ == "epcore"
