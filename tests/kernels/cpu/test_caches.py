"""Sizes of caches as systems write them down, and whatever else may stand there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from epcore.kernels.cpu import caches
from epcore.kernels.cpu.caches import DEFAULT, Caches, complete, from_files, from_windows, parse

K, M = 1 << 10, 1 << 20


def write(folder: Path, *indices: dict[str, str]) -> Path:
    for number, files in enumerate(indices):
        index = folder / f"index{number}"
        index.mkdir(parents=True)
        for name, text in files.items():
            (index / name).write_text(text)
    return folder


def level(number: int, size: str, kind: str = "Unified", shared: str = "0") -> dict[str, str]:
    return {"level": f"{number}\n", "size": f"{size}\n", "type": f"{kind}\n", "shared_cpu_list": f"{shared}\n"}


def test_files_of_linux(tmp_path: Path) -> None:
    folder = write(
        tmp_path, level(1, "48K", "Data", "0,64"), level(1, "64K", "Instruction"), level(2, "2048K", shared="0,64"),
        level(3, "32768K", shared="0-7,64-71"),
    )  # fmt: skip
    assert from_files(folder) == {1: 24 * K, 2: M, 3: 2 * M}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"size": ""},
        {"size": "unknown"},
        {"size": "-1K"},
        {"level": "two"},
        {"type": "\udcff"},
        {"shared_cpu_list": "everyone"},
    ],
)
def test_odd_files_are_passed_over(tmp_path: Path, broken: dict[str, str]) -> None:
    second = {**level(2, "1024K"), **broken} if broken else {}
    folder = write(tmp_path, level(1, "32K", "Data"))
    (folder / "index1").mkdir()
    for name, text in second.items():
        (folder / "index1" / name).write_bytes(text.encode(errors="surrogateescape"))
    shared_only = "shared_cpu_list" in broken
    assert from_files(folder) == ({1: 32 * K, 2: M} if shared_only else {1: 32 * K})


def test_no_folder(tmp_path: Path) -> None:
    assert from_files(tmp_path / "missing") == {}


def test_what_is_missing_is_as_by_default() -> None:
    assert complete({}) == DEFAULT
    assert complete({1: 64 * K}) == Caches(64 * K, DEFAULT.second, DEFAULT.third)
    assert complete({1: 128 * K, 2: 4 * M}) == Caches(128 * K, 4 * M, 0)  # no third level, as on Apple's
    assert complete({1: 0, 2: 1 << 40, 3: -1}) == DEFAULT
    assert complete({1: 2 * M, 2: K}).second == 2 * M


def test_records_of_windows() -> None:
    def record(mask: int, about: int, number: int, size: int, kind: int) -> bytes:
        return struct.pack("=QI4xBBHII4x", mask, about, number, 8, 64, size, kind)

    records = [record(3, 0, 0, 0, 0), record(3, 2, 1, 48 * K, 2), record(3, 2, 1, 32 * K, 1), record(3, 2, 2, 2 * M, 0),
               record(12, 2, 2, M, 0), record(15, 2, 3, 32 * M, 0)]  # fmt: skip
    assert from_windows(b"".join(records)) == {1: 24 * K, 2: M, 3: 8 * M}
    assert from_windows(b"") == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [("48K,2M,32M", Caches(48 * K, 2 * M, 32 * M)), (" 32k, 512K ,0", Caches(32 * K, 512 * K, 0)), ("1,2,3", Caches(1, 2, 3))],
)
def test_forced(monkeypatch: pytest.MonkeyPatch, text: str, found: Caches) -> None:
    monkeypatch.setenv("EPCORE_CACHES", text)
    assert caches.caches() == found == parse(str(found))


@pytest.mark.parametrize(
    "text", ["", "48K", "48K,2M", "2M,48K,32M", "0,1K,1K", "a,b,c", "48K,2M,32M,1", "48K,2M,-1", "1K,99G,0"]
)
def test_forced_to_nonsense(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EPCORE_CACHES", text)
    with pytest.raises(ValueError, match=r"EPCORE_CACHES is .*expected three levels"):
        caches.caches()


def test_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever they are here, they are sizes."""
    monkeypatch.delenv("EPCORE_CACHES")
    found = caches.caches()
    assert K <= found.first <= found.second < 1 << 36
    assert 0 <= found.third <= 1 << 36
