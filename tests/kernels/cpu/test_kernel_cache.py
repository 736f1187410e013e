"""Compiled kernels between processes: what is kept where, what is never used, and what is said."""

from __future__ import annotations

import errno
import importlib
import importlib.util
import inspect
import os
import platform
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numba import config

import epcore
from epcore.base.notices import as_lines
from epcore.inference.steps import kinds
from epcore.inference.steps.depthwise import depthwise_row
from epcore.inference.steps.pointwise import multiply
from epcore.kernels.cpu import cache, cache_folders
from epcore.kernels.cpu.cache_files import Folder
from epcore.kernels.cpu.cache_folders import INHERITED, CacheNotice
from epcore.kernels.cpu.launch import ParallelKernel

SOURCE = """
from epcore.kernels.cpu.cache import cached

def twice(x):
    return x + x

def thrice(x):
    return x + x + x

double, triple = cached(twice), cached(thrice)
"""
USE = """
import sys
sys.path.insert(0, sys.argv[1])
import tiny
assert tiny.double(2.5) == 5.0 and tiny.triple(2.0) == 6.0
print(sum(tiny.double.stats.cache_hits.values()), sum(tiny.triple.stats.cache_hits.values()))
"""
NO_FOLDERS = dict.fromkeys(("NUMBA_CACHE_DIR", INHERITED, "XDG_CACHE_HOME"))
_names = count()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a module of two small kernels."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tiny.py").write_text(SOURCE)
    return tmp_path / "source"


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that NUMBA_CACHE_DIR names."""
    folder = tmp_path / "kept"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder))
    monkeypatch.setattr(config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(cache_folders, "_said", set())
    return folder


def load(source: Path) -> ModuleType:
    """The module once more, as another process has it: nothing compiled."""
    specification = importlib.util.spec_from_file_location(f"load_{next(_names)}.tiny", source / "tiny.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def hits(dispatcher: Any) -> int:
    return sum(dispatcher.stats.cache_hits.values())


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def start(code: str, *arguments: str | Path, environment: dict[str, str | None] | None = None) -> subprocess.Popen[str]:
    variables = {**os.environ, **(environment or {})}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env={name: value for name, value in variables.items() if value is not None},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed, and on standard error. It has to end well within two minutes."""
    try:
        out, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    return out.strip(), err.strip()


def test_four_processes_compile_into_one_empty_folder(source: Path, tmp_path: Path) -> None:
    folder = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    wait = "import epcore.kernels.cpu.cache; print('ready', flush=True); input()\n"
    processes = [start(wait + USE, source, environment=folder) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert finish(process)[1] == ""
    assert len(files(tmp_path / "kept")) == 2
    assert finish(start(USE, source, environment=folder)) == ("1 1", "")


def test_two_that_save_different_types_at_once(source: Path, kept: Path) -> None:
    """Both look before either has saved: with an index of numbered files, both take the first number."""
    one, other = load(source), load(source)
    keys = {}
    for module, argument in ((one, 3), (other, 2.5)):
        kernel = module.double
        save, waiting = kernel._cache.save_overload, []
        kernel._cache.save_overload = lambda *result, waiting=waiting: waiting.append(result)
        assert kernel(argument) == 2 * argument
        keys[argument] = save, waiting[0]
    for argument in (2.5, 3):
        save, result = keys[argument]
        save(*result)
    for argument in (3, 2.5):
        kernel = load(source).double
        assert kernel(argument) == 2 * argument
        assert hits(kernel) == 1


def test_a_file_under_another_name_is_not_used(source: Path, kept: Path) -> None:
    load(source).double(3)
    (whole_number,) = files(kept)
    data = whole_number.read_bytes()
    whole_number.unlink()
    load(source).double(2.5)
    (real,) = files(kept)
    real.write_bytes(data)
    kernel = load(source).double
    assert kernel(2.5) == 5.0
    assert hits(kernel) == 0


def test_variants_of_one_function_are_kept_apart(source: Path, kept: Path) -> None:
    def twice(x: float) -> float:
        return x + x

    for expected in (0, 1):
        variants = [cache.cached(twice, **options) for options in ({}, {"fastmath": True}, {"nogil": True, "fastmath": True})]
        for kernel in variants:
            assert kernel(1.5) == 3.0
            assert hits(kernel) == expected
    assert len(files(kept)) == 3


def test_changed_sources(source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled anew, and the file that is of no use any more goes: that of the same kernel only."""
    module = load(source)
    module.double(2.5), module.triple(2.5)
    before = files(kept)
    monkeypatch.setattr(cache, "_DIGEST", "another simd.py")
    kernel = load(source).double
    assert kernel(2.5) == 5.0
    assert hits(kernel) == 0
    after = files(kept)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1
    cache._stamp.cache_clear()
    (source / "tiny.py").write_text(SOURCE.replace("return x + x\n", "return 10 * x\n"))
    assert load(source).double(2.5) == 25.0


@pytest.mark.parametrize("name", ["OPT", "BOUNDSCHECK"])
def test_settings_of_numba_are_part_of_the_key(source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kernel = load(source).double
    codegen = kernel.targetctx.codegen()
    key = kernel._cache.key((), codegen)
    assert key == kernel._cache.key((), codegen)
    monkeypatch.setattr(config, name, 1)
    assert key != kernel._cache.key((), codegen)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names a processor of the x86 family")
def test_another_processor(source: Path, tmp_path: Path) -> None:
    """A shared home: each processor its own machine code, in the same folder."""
    here = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    there = {**here, "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}
    for expected in ("0 0", "1 1"):
        assert finish(start(USE, source, environment=here)) == (expected, "")
        assert finish(start(USE, source, environment=there)) == (expected, "")
    assert len(files(tmp_path / "kept")) == 4


def _unpicklable(data: bytes) -> bytes:
    payload = b"cno_such_module\nNothing\n."
    return cache._MAGIC + sha256(payload).digest() + payload


DAMAGES = {
    "empty": lambda data: b"",
    "cut in the checksum": lambda data: data[:20],
    "without content": lambda data: data[: len(cache._MAGIC) + 32],
    "cut short": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    "zeros": lambda data: bytes(len(data)),
    "something else": lambda data: b"<html>" + data,
    "of classes that are not there": _unpicklable,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_compiled_anew(source: Path, kept: Path, damage: str) -> None:
    load(source).double(2.5)
    (file,) = files(kept)
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    kernel = load(source).double
    assert kernel(2.5) == 5.0
    assert hits(kernel) == 0
    kernel = load(source).double  # mended
    assert kernel(2.5) == 5.0
    assert hits(kernel) == 1


def test_a_folder_in_place_of_the_file(source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source).double(2.5)
    (file,) = files(kept)
    file.unlink()
    file.mkdir()
    with pytest.warns(CacheNotice, match="NUMBA_CACHE_DIR cannot be written"):
        assert load(source).double(2.5) == 5.0
    assert len(files(source / "__pycache__")) >= 1


def test_disk_full_while_saving(source: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel runs, nothing half-written stays, and it is said once, with the reason."""

    def full(source_name: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setenv(INHERITED, "")
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    monkeypatch.setattr(cache_folders.tempfile, "mkdtemp", lambda **options: full("", ""))
    module = load(source)
    with pytest.warns(CacheNotice, match=r"set NUMBA_CACHE_DIR .*No space left"):
        assert module.double(2.5) == 5.0
    assert module.triple(2.0) == 6.0  # says nothing: warnings are errors here
    assert files(kept) == []
    assert not list((source / "__pycache__").glob("tiny.twice*"))


def nowhere(source: Path, tmp_path: Path) -> dict[str, str | None]:
    """An environment in which no lasting folder can be written, whoever asks: files stand where folders should be."""
    (source / "__pycache__").touch()
    (tmp_path / "temporary").mkdir(exist_ok=True)
    return {**NO_FOLDERS, "HOME": str(tmp_path / "no such home"), "TMPDIR": str(tmp_path / "temporary")}


def test_no_folder_lasts(source: Path, tmp_path: Path) -> None:
    """Said once in a family of processes, which share a folder that is gone when the first of them ends."""
    family = """
import glob, os, subprocess, tempfile
use = {use!r}
exec(use)
for _ in range(2):  # they compile something of their own as well
    subprocess.run([sys.executable, "-c", use + "tiny.double(1j)", sys.argv[1]], check=True)
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        sys.exit()  # runs what is registered for the end, and must leave the folder
    os.waitpid(child, 0)
print([oct(os.stat(folder).st_mode & 0o777) for folder in glob.glob(os.path.join(tempfile.gettempdir(), "epcore-kernels-*"))])
"""
    out, err = finish(start(family.format(use=USE), source, environment=nowhere(source, tmp_path)))
    hit = sorted(line for line in out.splitlines() if line[0].isdigit())
    assert hit == ["0 0", "1 1", "1 1"]
    if os.name == "posix":
        assert "['0o700']" in out
    assert err.count("CacheNotice: compiled kernels cannot be kept") == 1
    assert "set NUMBA_CACHE_DIR" in err
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "no such home").exists()


def test_not_even_a_temporary_folder(source: Path, tmp_path: Path) -> None:
    code = "import subprocess, tempfile\ndef none(**options): raise FileNotFoundError(2, 'No usable temporary directory')\n"
    code += f"tempfile.mkdtemp = none\nuse = {USE!r}\nexec(use)\nexec(use)\n"
    code += "subprocess.run([sys.executable, '-c', use, sys.argv[1]], check=True)"
    environment = nowhere(source, tmp_path)
    out, err = finish(start(code, source, environment=environment))
    assert out.count("0 0") >= 2
    assert err.count("CacheNotice: compiled kernels cannot be kept") == 1
    assert "No usable temporary directory" in err


def test_a_named_folder_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "file" / "folder")}
    out, err = finish(start(USE, source, environment=environment))
    assert out == "0 0"
    assert err.count("CacheNotice: NUMBA_CACHE_DIR cannot be written (Not a directory)") == 1
    assert str(source / "__pycache__") in err
    assert finish(start(USE, source, environment=environment)) == ("1 1", "")  # nothing to say: nothing to compile


def test_no_home(source: Path, tmp_path: Path) -> None:
    """ "~" that stands for nobody's home never becomes a folder of that name."""
    environment = {**nowhere(source, tmp_path), "HOME": "~"}
    code = "import os; os.chdir(sys.argv[2])"
    (tmp_path / "here").mkdir()
    finish(start(f"import sys\n{code}\n{USE}", source, tmp_path / "here", environment=environment))
    assert list((tmp_path / "here").iterdir()) == []


def test_the_home_of_the_user(source: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    environment = {**nowhere(source, tmp_path), "HOME": str(tmp_path / "home")}
    if sys.platform != "linux":
        pytest.skip("where user folders lie is known here for Linux only")
    assert finish(start(USE, source, environment=environment)) == ("0 0", "")
    assert finish(start(USE, source, environment=environment)) == ("1 1", "")
    folder = files(tmp_path / "home" / ".cache" / "numba")[0].parent
    assert folder.stat().st_mode & 0o077 == 0
    if os.geteuid() == 0:  # what another user may have put there is not loaded
        os.chown(folder, 12345, 12345)
        out, err = finish(start(USE, source, environment=environment))
        assert out == "0 0"
        assert "it belongs to user 12345" in err


def test_folders_of_others_under_a_named_folder(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("gives a folder to another user, which takes an administrator")
    folder = Folder(tmp_path, frozenset({0}))
    folder.write("a", b"1")
    assert folder.read("a") == b"1"
    os.chown(tmp_path, 12345, 12345)
    assert folder.read("a") is None
    with pytest.raises(PermissionError, match="user 12345"):
        folder.write("b", b"2")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_folders_of_killed_processes_are_removed(source: Path, tmp_path: Path) -> None:
    if os.name != "posix":
        pytest.skip("locks of folders in use are POSIX's")
    environment = nowhere(source, tmp_path)
    stay = USE + "print('ready', flush=True); input()"
    killed, living = (start(stay, source, environment=environment) for _ in range(2))
    for process in (killed, living):
        assert process.stdout is not None
        while process.stdout.readline() != "ready\n":
            assert process.poll() is None
    temporary = tmp_path / "temporary"
    assert len(list(temporary.iterdir())) == 2
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=120)
    assert len(list(temporary.iterdir())) == 2
    finish(start(USE, source, environment=environment))
    assert len(list(temporary.iterdir())) == 1
    living.communicate("done\n", timeout=120)
    assert list(temporary.iterdir()) == []


def test_the_command_line_says_it_in_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[object] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *shown: others.append(shown[0]))
    with as_lines():
        warnings.showwarning(CacheNotice("kernels are not kept"), CacheNotice, "file.py", 1)
        warnings.showwarning(UserWarning("something else"), UserWarning, "file.py", 2)
    warnings.showwarning(CacheNotice("afterwards"), CacheNotice, "file.py", 3)
    assert capsys.readouterr().err == "epcore: kernels are not kept\n"
    assert [str(message) for message in others] == ["something else", "afterwards"]


def test_results_do_not_depend_on_where_they_come_from(source: Path, kept: Path) -> None:
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    fresh, loaded = load(source).triple(x), load(source).triple(x)
    np.testing.assert_array_equal(fresh, loaded)


def modules_that_compile() -> list[ModuleType]:
    """The CPU kernels, and all of epcore that compiles functions with their decorators or Numba's."""
    package = Path(epcore.__file__).parent
    names = {f"epcore.kernels.cpu.{path.stem}" for path in cache.HERE.glob("*.py")}
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(f"from {module} import" in text for module in ("numba", "epcore.kernels.cpu.cache", "epcore.kernels.cpu.jit")):
            names.add(".".join(path.relative_to(package.parent).with_suffix("").parts))
    return [importlib.import_module(name.removesuffix(".__init__")) for name in sorted(names)]


def kept_kernels(values: Iterable[Any]) -> Iterator[tuple[types.FunctionType, set[Path]]]:
    """Functions whose machine code is kept, and the files that their keys have beside the shared ones."""
    for value in values:
        dispatcher = value.parallel if isinstance(value, ParallelKernel) else value
        kernel_cache = getattr(dispatcher, "_cache", None)
        if isinstance(kernel_cache, cache.KernelCache):
            yield dispatcher.py_func, {path.resolve() for path in kernel_cache._sources}


def called(function: types.FunctionType) -> Iterator[types.FunctionType]:
    """Compiled functions that a function calls, in its own text."""

    def values(code: types.CodeType) -> Iterator[Any]:
        for name in code.co_names:
            value = function.__globals__.get(name)
            yield from (getattr(value, each, None) for each in code.co_names) if isinstance(value, ModuleType) else [value]
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from values(constant)

    for value in (*values(function.__code__), *(cell.cell_contents for cell in function.__closure__ or ())):
        given = getattr(value, "py_func", None) or getattr(value, "_defn", None)
        if isinstance(given, types.FunctionType):
            yield given


def code_within(function: types.FunctionType) -> set[types.FunctionType]:
    """All compiled functions whose machine code this one holds, itself included."""
    found, left = {function}, [function]
    while left:
        new = set(called(left.pop())) - found
        found |= new
        left += new
    return found


def files_of(functions: Iterable[types.FunctionType]) -> set[Path]:
    return {Path(inspect.getfile(function)).resolve() for function in functions}


def test_every_file_that_gives_code_to_others_is_in_the_key() -> None:
    """A kernel holds the machine code of all that it calls; where that is in another file, the key has to hold that file."""
    modules = modules_that_compile()
    assert {"paint", "hulls", "canvas", "affine", "loader", "encode"} <= {module.__name__.split(".")[-1] for module in modules}
    assert cache.HERE / "processor.py" in cache.SHARED, "its numbers are in the machine code of all"
    shared = {path.resolve() for path in cache.SHARED}
    values = [value for module in modules for value in vars(module).values()]
    kernels = list(kept_kernels([*values, *(kind.run for kind in kinds())]))
    assert len(kernels) > 30
    from_elsewhere = 0
    for function, in_key in kernels:
        files = files_of(code_within(function))
        from_elsewhere += len(files) > 1
        assert not files - shared - in_key, f"{function.__module__}.{function.__qualname__}"
    assert from_elsewhere > 5
    within = {kind.name: code_within(kind.run.py_func) for kind in kinds()}
    assert {multiply.py_func, depthwise_row.py_func} <= within["band"], "a band holds the code of two other steps"
    assert len(set.union(*within.values())) > 50


@pytest.mark.parametrize("taken", ["from tiny import double", "import tiny"])
@pytest.mark.parametrize("declared", [True, False])
def test_code_of_another_file_is_noticed(source: Path, monkeypatch: pytest.MonkeyPatch, taken: str, declared: bool) -> None:
    """Also where it is called by a function in between."""
    monkeypatch.syspath_prepend(source)
    name = "double" if "double" in taken else "tiny.double"
    planted = source / "planted.py"
    planted.write_text(
        f"{taken}\nfrom pathlib import Path\nfrom numba import njit\nfrom epcore.kernels.cpu.cache import cached\n"
        f"between = njit(lambda x: {name}(x))\n"
        f"def quadruple(x):\n    return between(between(x))\n"
        f"kernel = cached(quadruple, sources=map(Path, {[str(source / 'tiny.py')] if declared else []!r}))\n"
    )
    module = types.ModuleType("planted")
    exec(compile(planted.read_text(), str(planted), "exec"), vars(module))
    del sys.modules["tiny"]
    ((function, in_key),) = kept_kernels([module.kernel])
    files = files_of(code_within(function))
    assert files == {planted.resolve(), (source / "tiny.py").resolve()}
    assert (files <= in_key) == declared
