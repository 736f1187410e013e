"""A process that runs one command again and again in forked children, each of which ends otherwise: at the first, second, ...
of its dealings with files of a folder by a signal, or on a disk that has room for so many bytes. See `test_endings.py`.

Its argument is JSON: arguments (of the command, in them FOLDER), signals, rooms. It prints JSON: one object for each child.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

OLD = b"what was there before"
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")
MOST = 60  # of one command


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file, "" for folders, by place."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def prepare(folder: Path, old: list[str]) -> None:
    """Empty but for files that were there before."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for name in old:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(OLD)


def child(arguments: list[str], folder: Path, *, number: int = 0, at: int = 0, room: int | None = None) -> tuple[int, str]:
    """The exit code of the command in a forked child, negative for a signal that killed it, and what it said."""
    ours, output = os.pipe()
    process = os.fork()
    if process:
        os.close(output)
        with os.fdopen(ours, errors="replace") as said:
            text = said.read()
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        count = 0

        def hook(event: str, values: tuple[Any, ...]) -> None:
            nonlocal count
            if event not in EVENTS or not str(values[0]).startswith(str(folder)):
                return
            if event == "open" and not (values[2] or 0) & (os.O_WRONLY | os.O_RDWR):
                return
            count += 1
            if count == at:
                os.kill(os.getpid(), number)

        sys.addaudithook(hook)
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        from epcore.cli import main

        code = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(job: dict[str, Any]) -> None:
    from epcore.cli import main

    warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads
    root = Path(tempfile.mkdtemp(dir=job["place"]))
    folder = root / "out"
    folder.mkdir()
    real = os.dup(1)
    os.dup2(2, 1)

    def arguments(where: Path) -> list[str]:
        return [each.replace("FOLDER", str(where)) for each in job["arguments"]]

    def report(**values: Any) -> None:
        os.write(real, (json.dumps(values) + "\n").encode())

    (root / "warm").mkdir()
    assert main(arguments(root / "warm")) == 0
    report(how="whole", files=snapshot(root / "warm"))
    for number in job["signals"]:
        for at in range(1, MOST):
            prepare(folder, job["old"])
            code, said = child(arguments(folder), folder, number=number, at=at)
            files, again = snapshot(folder), 0
            if any(".epcore-" in name for name in files):
                again, _ = child(arguments(folder), folder)
            report(how="signal", number=number, at=at, code=code, files=files, said=said, again=again, after=snapshot(folder))
            if code == 0:
                break
    for room in job["rooms"]:
        prepare(folder, job["old"])
        code, said = child(arguments(folder), folder, room=room)
        report(how="room", room=room, code=code, files=snapshot(folder), said=said)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
