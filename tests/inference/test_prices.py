"""Prices are measured once and kept; what is damaged is measured again; where nothing is kept all take the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from numba import config

from epcore.inference import kept_prices
from epcore.inference.measured_prices import measure, rounded
from epcore.inference.prices import DEFAULTS, Prices
from epcore.kernels.cpu.caches import Caches
from epcore.kernels.cpu.processor import LANES

CACHES = Caches(32 << 10, 256 << 10, 1 << 20)
FOUND = replace(DEFAULTS[LANES], multiply=3e-12)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Caches]]:
    """Of a process that keeps its files in tmp_path: the caches that prices were measured for, each time they were."""
    calls: list[Caches] = []

    def fake(caches: Caches) -> Prices:
        calls.append(caches)
        return FOUND

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("EPCORE_PRICES")
    monkeypatch.setattr(kept_prices, "measure", fake)
    kept_prices._found.clear()
    yield calls
    kept_prices._found.clear()


def another_process() -> Prices:
    kept_prices._found.clear()
    return kept_prices.prices(CACHES)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_measured_once(measured: list[Caches], tmp_path: Path) -> None:
    assert kept_prices.prices(CACHES) == another_process() == another_process() == FOUND
    assert measured == [CACHES]
    assert [path.name for path in files(tmp_path)] == [kept_prices.file_name(CACHES)[1]]


def test_other_caches_are_another_machine(measured: list[Caches], tmp_path: Path) -> None:
    other = replace(CACHES, second=1 << 20)
    for caches in (CACHES, other, CACHES, other):
        kept_prices._found.clear()
        kept_prices.prices(caches)
    assert measured == [CACHES, other]
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[1, 2]",
        lambda text: "null",
        lambda text: text.replace('"task"', '"tusk"'),
        lambda text: json.dumps({**json.loads(text), "second": -1.0}),
        lambda text: json.dumps({**json.loads(text), "third": "cheap"}),
        lambda text: json.dumps({**json.loads(text), "memory": float("nan")}),
        lambda text: json.dumps({**json.loads(text), "depthwise": {}}),
        lambda text: json.dumps({**json.loads(text), "depthwise": 3}),
    ],
)
def test_a_damaged_file_is_measured_again(measured: list[Caches], tmp_path: Path, damage: object) -> None:
    kept_prices.prices(CACHES)
    (path,) = files(tmp_path)
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    assert another_process() == FOUND
    assert len(measured) == 2
    assert json.loads(path.read_text()) == asdict(FOUND)


def test_nowhere_to_keep_them(measured: list[Caches], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process would find its own: all take the default."""
    monkeypatch.setattr(kept_prices, "kept_in", lambda source: None)
    assert kept_prices.prices(CACHES) == DEFAULTS[LANES]
    assert not measured


def test_a_folder_that_can_only_be_read(measured: list[Caches], monkeypatch: pytest.MonkeyPatch) -> None:
    kept_prices.prices(CACHES)
    monkeypatch.setattr(kept_prices, "kept_in", lambda source: None)
    assert another_process() == FOUND


def test_the_first_of_two_processes_is_believed(
    measured: list[Caches], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one measures, another does and is done."""
    kept_prices.prices(CACHES)
    (path,) = files(tmp_path)
    first = path.read_text()
    path.unlink()

    def late(caches: Caches) -> Prices:
        path.write_text(first)
        return replace(FOUND, multiply=9e-12)

    monkeypatch.setattr(kept_prices, "measure", late)
    assert another_process() == FOUND
    assert path.read_text() == first


def test_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPCORE_PRICES", "default")
    assert kept_prices.prices(CACHES) == DEFAULTS[LANES]
    monkeypatch.setenv("EPCORE_PRICES", "cheap")
    with pytest.raises(ValueError, match="EPCORE_PRICES is 'cheap'"):
        kept_prices.prices(CACHES)


def test_rounding() -> None:
    price = rounded(1e-11)
    assert price == pytest.approx(1e-11, rel=0.022)
    assert rounded(1.02 * price) == rounded(0.98 * price) == price
    assert rounded(1.05 * price) > price > rounded(0.95 * price)
    assert rounded(-1.0) == rounded(0.0) > 0


def test_measuring() -> None:
    """Whatever work costs here: it costs something, and what comes from farther away no less."""
    found = measure(CACHES)
    assert 0 < found.second <= found.third <= found.memory < 1e-6
    assert all(0 < price < 1e-3 for price in [found.multiply, found.activation, found.task, found.meeting])
    assert found.depthwise.keys() == DEFAULTS[LANES].depthwise.keys()
    assert all(0 < price < 1e-3 for price in found.depthwise.values())
