"""What cannot be written or read is known before, and named."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path

import pytest

from epcore.base.files import check_folder_writable, check_writable, decoding, writing
from epcore.base.json_text import json_text


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

    def test_whatever_a_decoder_runs_into_is_damage(self) -> None:
        with pytest.raises(ValueError, match=r"^a\.npz is damaged: division by zero$"), decoding("a.npz"):
            _ = 1 / 0

    def test_interrupts_pass(self) -> None:
        with pytest.raises(KeyboardInterrupt), decoding("a.npz"):
            raise KeyboardInterrupt


class TestWriting:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EIO])
    def test_a_failing_disk_names_the_file(self, number: int) -> None:
        with pytest.raises(OSError, match=r"^cannot write a/b: \w") as caught, writing("a/b"):
            raise OSError(number, os.strerror(number))
        assert caught.value.errno == number
        with pytest.raises(OSError, match=r"^cannot write a/b: \w"), writing("outer"), writing("a/b"):  # named once
            raise OSError(number, os.strerror(number))

    def test_other_errors_are_somebody_elses(self) -> None:
        with pytest.raises(FileNotFoundError, match="other"), writing("a/b"):
            raise FileNotFoundError(errno.ENOENT, "no", "other")
        with pytest.raises(PermissionError, match="cannot write a/b: no"), writing("a/b", always=True):
            raise PermissionError(errno.EACCES, "no")
