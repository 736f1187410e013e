"""The other side of `sandbox`: the process that a student's code runs in.

It is run as a file, as `epcore.base.guarded_child` is, without `epcore/__init__.py`. One line of JSON on standard input says
what to do, and is followed by the calls: 8 bytes of length (little-endian), their text and the bytes of their arrays. What it
has to say goes to what was standard output, one answer for the file and one for each call, in the same form; whatever the
student's code prints goes to standard error, as does, of a call that takes too long, where it was.
"""

from __future__ import annotations

import builtins
import faulthandler
import importlib
import io
import json
import linecache
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, BinaryIO

MODULE = "answer"  # what the student's file is called where it runs


def main() -> None:
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    start = json.loads(requests.readline())
    sys.path[:] = start["path"]
    package = ModuleType("epcore")
    package.__path__ = start["package"]
    sys.modules["epcore"] = package
    from epcore.base.child import bound
    from epcore.exercise.values import pack, unpack

    calls = unpack(_read(requests))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(os.dup(2), "wb", 0), "utf-8", "backslashreplace", write_through=True)
    driver = _driver(start["driver"])
    bound(start["memory"], start["seconds"] * (len(calls) + 1) + 10)
    _only(start["tools"])
    sys.path.insert(0, os.path.dirname(os.path.abspath(start["file"])))

    module = ModuleType(MODULE)
    answer = _timed(start, lambda: _load(module, start["file"]))
    _write(answers, pack(answer))
    if "failure" in answer:
        return
    for call in calls:
        function, arguments, keywords = call
        answer = _timed(start, lambda f=function, a=arguments, k=keywords: _call(driver, module, f, a, k))  # type: ignore[misc]
        _write(answers, pack({**answer, "arguments": arguments}))
    answers.flush()
    os._exit(0)  # whatever the file left to be done at the end, threads that wait among it, is nobody's concern


def _driver(name: str | None) -> Callable[..., object] | None:
    if name is None:
        return None
    module, _, function = name.partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module), function)
    return found


def _timed(start: Mapping[str, Any], work: Callable[[], object]) -> dict[str, Any]:
    """{"value": ...} or {"failure": ...}; the process ends where it takes too long, and says on standard error where it was."""
    faulthandler.dump_traceback_later(start["seconds"], exit=True, file=2)
    try:
        return {"value": work()}
    except BaseException as error:
        return {"failure": _description(error, start["file"])}
    finally:
        faulthandler.cancel_dump_traceback_later()


def _load(module: ModuleType, file: str) -> None:
    with open(file, "rb") as opened:
        source = opened.read()
    module.__file__ = file
    sys.modules[MODULE] = module
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)


def _call(
    driver: Callable[..., object] | None, module: ModuleType, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> object:
    if driver is not None:
        return driver(module, name, *arguments, **keywords)
    function = getattr(module, name, None)
    if not callable(function):
        raise LookupError(f"there is no function {name} in the file")
    return function(*arguments, **keywords)


def _only(tools: list[str]) -> None:
    """The student's code imports of epcore these modules only. A lock on the door, not a wall: who wants to cheat can."""
    usual = builtins.__import__

    def refuse(name: str, importer: str) -> None:
        if importer not in ("epcore", __name__) and name.partition(".")[0] == "epcore" and name not in tools:
            raise ImportError(f"{name} is epcore's own; what may be imported of it: {', '.join(tools)}")

    def guarded(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> ModuleType:
        importer = str((globals or {}).get("__name__", "")).partition(".")[0]
        if level == 0 and name not in tools:
            for each in fromlist or ("",):
                refuse(f"{name}.{each}".rstrip("."), importer)
        return usual(name, globals, locals, fromlist or (), level)

    usual_module = importlib.import_module

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if not name.startswith("."):
            refuse(name, str(sys._getframe(1).f_globals.get("__name__", "")).partition(".")[0])
        return usual_module(name, package)

    builtins.__import__ = importlib.__import__ = guarded  # type: ignore[assignment]
    importlib.import_module = import_module


def _description(error: BaseException, file: str) -> dict[str, Any]:
    """Of an error: its class, what it says, and where in the file it came from, None where it did not."""
    line, function = None, ""
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line, function = trace.tb_lineno, trace.tb_frame.f_code.co_name
        trace = trace.tb_next
    text = ""
    with suppress(Exception):  # str() of a student's own class
        text = str(error.msg if isinstance(error, SyntaxError) else error)
    return {
        "class": type(error).__name__,
        "classes": [each.__name__ for each in type(error).__mro__],
        "text": text[:2000],
        "line": line,
        "function": function,
        "source": linecache.getline(file, line).strip()[:200] if line else "",
    }


def _read(requests: BinaryIO) -> Any:
    from epcore.base.plain import decode

    def fill(buffer: memoryview) -> None:
        while buffer:
            count = requests.readinto(buffer)  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            buffer = buffer[count:]

    return decode(requests.read(int.from_bytes(requests.read(8), "little")), 1 << 62, fill)


def _write(answers: BinaryIO, packed: Any) -> None:
    from epcore.base.plain import encode

    text, arrays = encode(packed)
    answers.write(len(text).to_bytes(8, "little"))
    answers.write(text)
    for array in arrays:
        answers.write(array.tobytes())
    answers.flush()


if __name__ == "__main__":
    main()
