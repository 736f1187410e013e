"""Outputs appear whole and together or not at all; nothing is left behind, and what killed processes left is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from epcore.base import staging
from epcore.base.staging import Staging, open_atomically, second_name, staged_folder, sweep, write_atomically


def test_failed_writes_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.json"
    write_atomically(target, "old")

    def fail(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, "new")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    if Path("/dev/null").is_char_device():
        write_atomically("/dev/null", "gone")
        assert Path("/dev/null").is_char_device()


def test_what_is_half_written_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_atomically(tmp_path / "out.npz") as file:  # noqa: PT012
        file.write(b"half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_dash_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What "-" means on a command line is the command line's affair."""
    monkeypatch.chdir(tmp_path)
    write_atomically("-", "text")
    assert Path("-").read_text() == "text"
    assert capsys.readouterr().out == ""


class TestStagedFolder:
    def test_moves_in_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "new/below"
        for content in ("old", "new"):  # files of before are replaced, others stay
            with staged_folder(target) as stage:
                stage.write("a", content.encode())
                assert not target.exists() or (target / "a").read_text() == "old"
        assert (target / "a").read_text() == "new"
        assert [path.name for path in tmp_path.iterdir()] == ["new"]

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "new") as stage:  # noqa: PT012
            stage.write("a", b"")
            _ = 1 / 0
        assert list(tmp_path.iterdir()) == []


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


class TestTogether:
    def test_nothing_before_the_commit(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("old")
        with Staging() as outputs:
            with outputs.open(tmp_path / "a") as file:
                file.write(b"new")
            outputs.folder(tmp_path / "new/below").write("c", b"c")
            assert (tmp_path / "a").read_text() == "old"
            assert not (tmp_path / "new").exists()
            outputs.commit()
        assert (tmp_path / "a").read_text() == "new"
        assert names(tmp_path) == ["a", "new", "new/below", "new/below/c"]

    def test_without_a_commit_nothing(self, tmp_path: Path) -> None:
        with Staging() as outputs:
            with outputs.open(tmp_path / "a") as file:
                file.write(b"new")
            outputs.folder(tmp_path / "new").write("c", b"c")
        assert names(tmp_path) == []

    @pytest.mark.parametrize("failing", [1, 2, 3, 4])
    def test_a_move_that_fails_undoes_the_others(self, failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replaced files are what they were, new ones and new folders are gone, whichever move fails."""
        (tmp_path / "a").write_text("old a")
        (tmp_path / "there").mkdir()
        (tmp_path / "there/c").write_text("old c")
        before = {name: (tmp_path / name).read_bytes() for name in ("a", "there/c")}
        replace, count = os.replace, 0

        def fail(source: str | Path, target: str | Path) -> None:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(5, "Input/output error")
            replace(source, target)

        with Staging() as outputs:
            for name in ("a", "b"):
                with outputs.open(tmp_path / name) as file:
                    file.write(b"new")
            outputs.folder(tmp_path / "there").write("c", b"new")
            outputs.folder(tmp_path / "new/below").write("d", b"new")
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", fail)
                place = ("a", "b", "there/c", "new/below/d")[failing - 1]
                with pytest.raises(OSError, match=f"cannot write .*{place}: Input/output error"):
                    outputs.commit()
        assert names(tmp_path) == ["a", "there", "there/c"]
        assert {name: (tmp_path / name).read_bytes() for name in before} == before


class TestTemporaryNames:
    def test_nobody_can_guess_them_and_links_are_not_followed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "precious").write_text("precious")
        tokens = iter(["0" * 16, "1" * 16])
        monkeypatch.setattr(staging.secrets, "token_hex", lambda _: next(tokens))
        (tmp_path / f".epcore-{'0' * 16}.tmp").symlink_to("precious")
        with pytest.raises(FileExistsError, match=r"cannot write .*out"):
            write_atomically(tmp_path / "out", "x")
        assert (tmp_path / "precious").read_text() == "precious"

    def test_the_longest_name(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / ("x" * 255), "text")
        assert names(tmp_path) == ["x" * 255]


KILLED = """
import os, signal, sys
from pathlib import Path
from epcore.base.staging import Staging
with Staging() as outputs:
    folder = outputs.folder(Path(sys.argv[1]) / "out")
    folder.write("a", b"a")
    with outputs.open(Path(sys.argv[1]) / "b") as file:
        file.write(b"b")
        file.flush()
        if sys.argv[2] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        print("here", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "_swept", set())


@pytest.mark.skipif(os.name == "nt", reason="nothing is swept there")
class TestSweeping:
    def test_what_a_killed_process_left_goes_and_nothing_else(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "die"], check=False)
        left = names(tmp_path)
        assert len(left) == 3 and left[0].startswith(".epcore-")  # a file, a folder and what is in it
        others = [".epcore-0123.tmp", ".epcore-0123456789abcdeg.tmp", "epcore-0123456789abcdef.tmp", "photo.jpg.tmp"]
        for name in others:
            (tmp_path / name).touch()
        (tmp_path / ".epcore-0123456789abcdef.tmp").symlink_to("photo.jpg.tmp")
        write_atomically(tmp_path / "out", "x")
        assert names(tmp_path) == sorted([*others, ".epcore-0123456789abcdef.tmp", "out"])

    def test_what_a_living_process_writes_stays(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", KILLED, str(tmp_path), "wait"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout and process.stdin and process.stdout.readline() == "here\n"
            before = names(tmp_path)
            sweep(tmp_path)
            assert names(tmp_path) == before and len(before) == 3
            process.stdin.close()
        assert names(tmp_path) == []

    def test_what_is_open_in_this_process_stays(self, tmp_path: Path) -> None:
        with open_atomically(tmp_path / "a") as file:
            file.write(b"a")
            sweep(tmp_path)
            write_atomically(tmp_path / "b", "b")
        assert names(tmp_path) == ["a", "b"]


def test_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new").write_text("1")
    second_name(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["new", "old"]
    second_name(tmp_path / "new", tmp_path / "old")  # one file already, as after a kill
    assert names(tmp_path) == ["new", "old"]
    write_atomically(tmp_path / "new", "2")
    assert (tmp_path / "old").read_text() == "1"

    def no_links(*names: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    second_name(tmp_path / "new", tmp_path / "old")
    assert names(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "2"


def test_names_of_any_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / os.fsdecode(b"a\n\xff"), os.fsdecode(b"\xfe"))
    assert (tmp_path / os.fsdecode(b"a\n\xff")).read_bytes() == b"\xfe"
