"""Files and folders of them appear whole or not at all, and what cannot be written is known before."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from epcore.base.files import (
    check_folder_writable,
    check_writable,
    decoding,
    open_atomically,
    staged_folder,
    write_atomically,
)
from epcore.base.json_text import json_text


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


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        check_writable(tmp_path / "no/file")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"cannot write pictures to .*below: .*file is a file, expected a folder"):
        check_folder_writable(tmp_path / "file/below", "pictures")
    check_folder_writable(tmp_path / "new/and/below")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class TestStagedFolder:
    def test_moves_in_the_end(self, tmp_path: Path) -> None:
        target = tmp_path / "new/below"
        for content in ("old", "new"):  # files of before are replaced, others stay
            with staged_folder(target) as stage:
                (stage / "a").write_text(content)
                assert not target.exists() or (target / "a").read_text() == "old"
        assert (target / "a").read_text() == "new"
        assert [path.name for path in tmp_path.iterdir()] == ["new"]

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), staged_folder(tmp_path / "new") as stage:  # noqa: PT012
            (stage / "a").touch()
            _ = 1 / 0
        assert list(tmp_path.iterdir()) == []


def test_json_refuses_what_it_cannot_say() -> None:
    with pytest.raises(TypeError):
        json_text({"a": object()})


class TestDecoding:
    @pytest.mark.parametrize("kind", [OSError, KeyError, zipfile.BadZipFile, MemoryError, EOFError, NotImplementedError])
    def test_what_decoders_raise(self, kind: type[Exception]) -> None:
        with pytest.raises(ValueError, match=r"^a\.npz is damaged or no archive: '?x'?$"), decoding("a.npz", " or no archive"):
            raise kind("x")

    def test_words_that_name_the_file_stay(self) -> None:
        with pytest.raises(ValueError, match=r"^a\.npz is damaged: odd shape$"), decoding("a.npz"):
            raise ValueError("odd shape")
        with pytest.raises(ValueError, match=r"^a\.npz holds nothing$"), decoding("a.npz"):
            raise ValueError("a.npz holds nothing")

    def test_other_errors_pass(self) -> None:
        with pytest.raises(ZeroDivisionError), decoding("a.npz"):
            _ = 1 / 0
