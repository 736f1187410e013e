"""The process in which files of unknown origin are opened: what happens there is one error here, and the next file is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from epcore.base import guarded, reader_process
from epcore.base.guarded import WEIGHTS, Limits, prepare, read_guarded

SHORT = Limits(64 << 20, 4, 0.6, 0)
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="what the system does here is POSIX")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some file.h5"
    path.write_bytes(bytes(range(256)))
    return path


def read(reader: str, path: Path | str, limits: Limits = SHORT) -> Any:
    return read_guarded(f"guarded_readers:{reader}", path, limits)


def check_good(value: dict[str, Any]) -> None:
    assert value["numbers"].tolist() == list(range(256))
    assert value["numbers"].flags.writeable and value["numbers"].dtype == np.uint8
    for array, kind in zip(value["kinds"], ("f2", "f4", "f8", "i2", "i8", "u4"), strict=True):
        assert array.dtype == np.dtype(f">{kind}") and array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert value["none"].shape == (0, 4) and value["none"].dtype == np.float32
    assert value["scalar"].shape == () and value["scalar"].dtype == bool and value["scalar"]
    assert value["objects"].tolist() == [[{"x": 1.5}, None], ["text", 2.0]]
    assert value["texts"].tolist() == ["a", "bc"]
    assert value["rest"][:2] == [1, -1.5] and value["rest"][2] != value["rest"][2]
    assert value["rest"][3:] == [None, True, "\x1b[31m\udcff", [1, 2]]
    assert value["process"] != os.getpid()


def test_values_arrive(file: Path) -> None:
    check_good(read("whole", file))


def test_without_shared_memory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems that have no memfd_create."""
    guarded._end_all()
    monkeypatch.delattr(os, "memfd_create", raising=False)
    check_good(read("whole", file))
    with pytest.raises(ValueError, match="SIGSEGV"):
        read("crash", file)
    guarded._end_all()


@POSIX
def test_every_file_has_a_fork_of_its_own_and_one_process_serves_many(file: Path) -> None:
    read("whole", file)
    assert len(guarded._idle) == 1
    process = guarded._idle[0]
    pids = {read("whole", file)["process"] for _ in range(3)}
    assert len(pids) == 3
    assert guarded._idle == [process]


HARM = [
    ("crash", r"ended the process that was to read it, by SIGSEGV"),
    ("abort", r"ended the process that was to read it, by SIGABRT"),
    ("leave", r"ended the process that was to read it, with exit code 3"),
    ("leave_quietly", r"ended the process that was to read it, with exit code 0"),
    ("hang", r"not read within 1 s, and given up"),
    ("hang_in_c", r"not read within 1 s, and given up"),
    ("ignore_the_timer", r"not read within 1 s, and given up"),
    ("fill", r"could not be read in the memory that it may take"),
    ("hand_on_much", r"could not be read in the memory that it may take|bytes of arrays, more than"),
    ("recurse", r"is damaged: .*recursion"),
    ("no_value", r"is damaged: a object is no number, text or array"),
    ("complex_numbers", r"is damaged: an array has dtype complex128, expected numbers or texts"),
    ("raises_key_error", r"is damaged: 'x'"),
    ("raises_value_error", r"is damaged: the header is wrong"),
    ("raises_named", r"^[^:]*: the header is wrong"),
    ("raises_exit", r"is damaged: 5"),
]


@POSIX
@pytest.mark.parametrize(("reader", "message"), HARM)
def test_whatever_happens_is_one_error_and_the_next_file_is_read(reader: str, message: str, file: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(reader, file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    check_good(read("whole", file))


def test_errors_of_the_system_keep_their_class(file: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        read("whole", tmp_path / "no-such-file")
    with pytest.raises(IsADirectoryError) as caught:
        read("content", tmp_path)
    assert caught.value.filename == str(tmp_path)
    with pytest.raises(OSError, match="unable to open it"):
        read("raises_os_error", file)


def test_a_reader_that_is_not_there(file: Path) -> None:
    with pytest.raises(OSError, match=r"cannot read .*some file.h5: No module named 'epcore.nowhere'"):
        read_guarded("epcore.nowhere:reader", file)


def test_names_are_relative_to_the_folder_of_now(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read("whole", file)
    monkeypatch.chdir(tmp_path)
    check_good(read("whole", file.name))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    check_good(read("whole", f"../{file.name}"))


def test_from_many_threads(file: Path) -> None:
    def one(number: int) -> None:
        if number % 5 == 4:
            with pytest.raises(ValueError, match="SIGSEGV"):
                read("crash", file)
        else:
            check_good(read("whole", file, WEIGHTS))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(24)))
    assert len(guarded._idle) <= 2


def test_after_idling_another_process_serves(file: Path) -> None:
    read("whole", file)
    guarded._idle[0]._requests.close()  # what the process sees when it has been idle for too long, or its parent died
    guarded._idle[0]._process.wait(5)
    assert guarded._idle[0]._process.returncode == 0
    check_good(read("whole", file))


def test_an_interpreter_that_cannot_run(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guarded._end_all()
    monkeypatch.delitem(sys.modules, "multiprocessing.spawn", raising=False)  # which has its own idea of where Python is
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match=r"cannot start .*nowhere, in which files are opened \(trusted=True"):
        read("whole", file)
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(OSError, match="there is no Python to start"):
        read("whole", file)
    if os.path.exists("/bin/false"):
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(OSError, match="ended at once"):
            read("whole", file)


@POSIX
def test_forked_children_have_a_process_of_their_own(file: Path) -> None:
    read("whole", file)
    parents = guarded._idle[0]
    pid = os.fork() if threading.active_count() == 1 else pytest.skip("threads of other tests are running")
    if pid == 0:
        code = 1
        try:
            check_good(read("whole", file))
            code = 0 if parents not in guarded._idle else 2
        finally:
            guarded._end_all()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    check_good(read("whole", file))


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from epcore.base.guarded import read_guarded, prepare
print("once")  # a second time, if the process imported this script
prepare('guarded_readers:whole')
{rest}
"""


def script(tmp_path: Path, rest: str) -> list[str]:
    path = tmp_path / "user_script.py"
    path.write_text(SCRIPT.format(here=str(Path(__file__).parent), rest=rest))
    return [sys.executable, "-W", "error", str(path)]


def test_a_script_without_a_guard_for_main(file: Path, tmp_path: Path) -> None:
    rest = f"print(len(read_guarded('guarded_readers:whole', {str(file)!r})['numbers']))"
    ran = subprocess.run(script(tmp_path, rest), capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == ["once", "256"]
    assert ran.stderr == ""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind(number: int, file: Path, tmp_path: Path) -> None:
    """Ctrl-C, and a kill, of a process that waits for a file: the other process goes too, and its fork."""
    rest = f"""
import guarded_readers
from epcore.base import guarded
print(guarded._idle[0]._process.pid, flush=True)
read_guarded("guarded_readers:hang", {str(file)!r}, guarded.Limits(1 << 28, 4, 3, 0))
"""
    with subprocess.Popen(script(tmp_path, rest), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "once\n"
        other = int(process.stdout.readline())
        time.sleep(0.5)
        process.send_signal(number)
        process.wait(10)
        said = process.stderr.read()
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)
    end = time.monotonic() + 10  # 3 s of the fork's timer, for a parent that was killed
    while time.monotonic() < end:
        try:
            os.killpg(other, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the process, or its fork, is still there")


def test_answers_are_checked_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process was made to say."""
    process = reader_process.ReaderProcess()
    for text in (
        b"",
        b"[" * 100_000,
        b'{"array":["<f4",[3]],"more":1}',
        b'{"array":["|O",[3]]}',
        b'{"array":["<f4",[-1]]}',
        b'{"array":["<f4",[1,2.5]]}',
        b'{"array":["<f4",[true]]}',
        b'{"array":["<f4",[1099511627776]]}',
        b'{"array":["<f3",[3]]}',
        b'{"array":["<f4"]}',
        b'{"objects":[[2],[1]]}',
        b'{"mapping":[1]}',
        b'{"x":1}',
        b"\xff\xfe",
    ):
        with pytest.raises(ValueError, match="name is damaged"):
            process._decode("name", text, 1 << 20)
    process.end()


def test_prepare_starts_it_once(file: Path) -> None:
    guarded._end_all()
    prepare("guarded_readers:whole")
    prepare("guarded_readers:no such one")  # said when a file is to be read
    assert len(guarded._idle) == 1
    process = guarded._idle[0]
    read("whole", file)
    assert guarded._idle == [process]


@POSIX
def test_a_limit_on_the_size_of_files_is_not_one_on_arrays(file: Path, tmp_path: Path) -> None:
    """Shared memory is a file for the system. Where the limit cannot be lifted, the system's error names the file."""
    rest = f"""
import resource
from epcore.base import guarded
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limits in ((1000, hard), (1000, 1000)):
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    guarded._end_all()
    try:
        print(read_guarded("guarded_readers:much_of", {str(file)!r}).nbytes)
    except OSError as error:
        print(error.strerror, "|", error.filename)
"""
    ran = subprocess.run(script(tmp_path, rest), capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.splitlines() == ["once", "100000", f"File too large | {file}"], ran.stderr


def test_limits_grow_with_the_file(file: Path) -> None:
    few = replace(SHORT, memory=8 << 20)
    with pytest.raises(ValueError, match="could not be read in the memory"):
        read("much", file, few)
    assert read("much", file, replace(few, memory_a_byte=1 << 18)) == 32 << 20
