"""What epcore makes of one file: through the library, and now and then through the command line."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from epcore.base.notices import Notice

RIGHT, REFUSED, TRACEBACK, PARTIAL = "right", "refused", "traceback", "partial file"
Outcome = tuple[str, str]  # and what was said


def by_library(kind: str, path: Path) -> Outcome:
    """Anything but ValueError and OSError of one line is a traceback. A result has to be what the function promises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", Notice)  # what is said beside results
            _READERS[kind](path)
    except (ValueError, OSError) as error:
        if type(error) is UnicodeDecodeError or type(error) is UnicodeEncodeError:
            return TRACEBACK, traceback.format_exc()
        said = str(error)
        return (REFUSED, said) if said and "\n" not in said else (TRACEBACK, f"not one line: {said!r}")
    except BaseException:
        return TRACEBACK, traceback.format_exc()
    return RIGHT, ""


def _weights(path: Path) -> None:
    import epcore
    from campaign.seeds import network
    from epcore.weights_tools.read import read_weights

    file = read_weights(path)
    assert all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in file.arrays.values())
    model = network()
    before = dict(model.parameters)
    try:
        manifest = epcore.load_weights(model, path, strict=False)
        assert manifest.matched and all(np.isfinite(array).all() for array in model.parameters.values())
    except ValueError:
        assert all(model.parameters[name] is array for name, array in before.items()), "not all or nothing"
        raise
    finally:
        model.parameters.update(before)


def _vectors(path: Path) -> None:
    from epcore.port.store import read_vectors

    vectors = read_vectors(path)
    assert isinstance(vectors.manifest, dict) and all(array.dtype.kind in "fiub" for array in vectors.arrays.values())


def _checkpoint(path: Path) -> None:
    from campaign.seeds import network
    from epcore.train.checkpoint import Checkpoint, is_checkpoint
    from epcore.train.config import TrainConfig

    if not is_checkpoint(path):
        raise ValueError(f"{path} is not a checkpoint")
    checkpoint = Checkpoint.load(path)
    model = network()
    before = dict(model.parameters)
    try:
        checkpoint.restore(model, path, evaluated=True)
        TrainConfig.from_mapping(checkpoint.config)
    finally:
        model.parameters.update(before)


def _tensor(path: Path) -> None:
    from epcore.port.store import read_tensor

    try:
        assert read_tensor(str(path)).dtype == np.float32
    except TypeError as error:  # documented for other dtypes
        raise ValueError(str(error)) from None


def _picture(path: Path) -> None:
    from epcore.pose.picture import read_picture

    pixels = read_picture(path)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def _mpii(path: Path) -> None:
    from epcore.data.mpii_annotations import read_annotations

    found = read_annotations(path, path.parent)
    assert all(record.image.parent == path.parent for record in found.records)  # type: ignore[union-attr]


def _log(path: Path) -> None:
    from epcore.commands.plot import read_history
    from epcore.train.log import RunLog

    assert path.name == "log.jsonl"
    read_history(path.parent)
    RunLog(path).rewind(2)


def _config(path: Path) -> None:
    from epcore.train.config import TrainConfig

    TrainConfig.from_toml(path)


def _split(path: Path) -> None:
    from epcore.data.mpii_splits import read_split

    assert read_split(path)


_READERS: dict[str, Callable[[Path], None]] = {
    "weights": _weights,
    "vectors": _vectors,
    "checkpoint": _checkpoint,
    "tensor": _tensor,
    "picture": _picture,
    "mpii": _mpii,
    "log": _log,
    "config": _config,
    "split": _split,
}


def command(kind: str, path: Path, out: Path) -> list[list[str]]:
    """Command lines that read such a file, their outputs in `out`."""
    name = str(path)
    return {
        "weights": [
            ["weights", "inspect", name, "--json", str(out / "inspect.json")],
            ["weights", "import", name, "--model", "B0", "--no-strict", "--output", str(out / "w.npz"),
             "--manifest", str(out / "manifest.json")],
        ],
        "vectors": [["diff", name, "--vectors", name, "--json", str(out / "diff.json")]],
        "checkpoint": [["evaluate", "--run", name]],
        "tensor": [["run", "--input", name, "--output", str(out / "y.npz")]],
        "picture": [
            ["vectors", "--image", name, "--size", "32", "--no-gradients", "--output", str(out / "vectors.npz")]
        ],
        "mpii": [["data", "split", name, str(out / "train.txt"), str(out / "validation.txt")]],
        "log": [["plot", str(path.parent), "--output", str(out / "curves.svg")]],
        "config": [["train", "--config", name, "--resume", "--output", str(out / "none")]],
        "split": [],
    }[kind]  # fmt: skip


def by_command(arguments: list[str], out: Path) -> Outcome:
    """An exit code of 0, 1 or 2; with 2 one line on standard error and nothing written."""
    from epcore.cli import main

    out.mkdir(exist_ok=True)
    said, printed = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            code = main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 2
        if code == 2:
            return REFUSED, said.getvalue()
    except BaseException:
        return TRACEBACK, f"{arguments}\n{traceback.format_exc()}"
    errors = [line for line in said.getvalue().splitlines() if line.startswith("epcore: error: ")]
    written = sorted(file.name for file in out.rglob("*") if file.is_file())
    if any(name.startswith(".") or name.endswith(".tmp") for name in written) or (code == 2 and written):
        return PARTIAL, f"{arguments}: exit code {code}, {written}"
    if code == 2 and len(errors) == 1 and "Traceback" not in said.getvalue():
        text = said.getvalue() + printed.getvalue()
        if any(ord(letter) < 32 and letter != "\n" for letter in text):
            return TRACEBACK, f"control characters are printed: {text!r}"
        return REFUSED, errors[0]
    return (RIGHT, "") if code in (0, 1) else (TRACEBACK, f"{arguments}: exit code {code}, {said.getvalue()}")


def quiet() -> None:
    """What C libraries print on standard error is not the campaign's."""
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def attempt(kind: str, path: Path, through: str) -> Outcome:
    """through: "library" or "command"."""
    outcomes = [by_library(kind, path)] if through == "library" else []
    if through == "command":
        for number, arguments in enumerate(command(kind, path, path.parent / "out")):
            outcomes.append(by_command(arguments, path.parent / f"out{number}" if number else path.parent / "out"))
    for bad in (TRACEBACK, PARTIAL, REFUSED):
        for outcome in outcomes:
            if outcome[0] == bad:
                return outcome
    return RIGHT, ""


def describe(outcome: Outcome) -> dict[str, Any]:
    return {"outcome": outcome[0], "said": outcome[1][-3000:]}
