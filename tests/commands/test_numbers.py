"""Every number that an option takes has bounds: what is beyond them is one line, before any work."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from command_lines import commands, least

from epcore.base.checks import Real, Whole
from epcore.cli import main
from epcore.train.config import TrainConfig

ODD = (
    "nan",
    "-nan",
    "inf",
    "-inf",
    "-1",
    "1e30",
    "-1e30",
    "12345678901234567890",
    "9" * 5000,
    "0x10",
    "1_0",
    "",
    " ",
    "٣",
    "1e999",
)


def options(kinds: tuple[type, ...]) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser, argparse.Action]]:
    """(command, its parser, option) for every option whose type is of these kinds."""
    for command, parser in commands():
        for option in parser._actions:
            if isinstance(option.type, kinds):
                yield command, parser, option


NUMBERS = [
    pytest.param(command, parser, option, id=" ".join((*command, option.option_strings[-1])))
    for command, parser, option in options((Whole, Real))
]


def test_no_option_takes_any_number() -> None:
    """float takes nan, int takes 20 digits."""
    found = [(command, option.option_strings) for command, _, option in options((type,)) if option.type in (int, float)]
    assert not found
    assert len(NUMBERS) > 40


@pytest.mark.parametrize(("command", "parser", "option"), NUMBERS)
def test_one_line_or_right(
    command: tuple[str, ...],
    parser: argparse.ArgumentParser,
    option: argparse.Action,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    begun: list[object] = []

    def work(arguments: argparse.Namespace) -> None:
        begun.append(getattr(arguments, option.dest))
        raise ValueError("the work began")

    monkeypatch.setattr(f"epcore.commands.{command[0].replace('-', '_')}.run", work)
    bounds = option.type
    assert isinstance(bounds, Whole | Real)
    count = option.nargs if isinstance(option.nargs, int) else 1
    for text in ODD:
        begun.clear()
        try:
            code = main([*least(command, parser, option), option.option_strings[-1], *[text] * count])
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        assert (code, said.out) == (2, ""), text
        assert said.err.count("\n") == 1 and len(said.err) < 400, text
        if begun:  # what is let through is within the bounds
            values = begun[0] if isinstance(begun[0], list) else [begun[0]]
            assert all(bounds.lowest <= value <= bounds.highest for value in values), text
        else:
            assert f"argument {'/'.join(option.option_strings)}: " in said.err, text
            assert "expected " in said.err, text  # argparse takes -nan for an option


@pytest.mark.parametrize(
    "entry", [entry for entry in fields(TrainConfig) if entry.type in ("int", "float")], ids=lambda e: e.name
)
def test_configurations_too(entry, tmp_path: Path) -> None:
    """In Python and in files, where nobody parses texts."""
    bounds = entry.metadata["bounds"]
    bounds.check(entry.default, entry.name)
    for value in (float("nan"), float("inf"), -1, 1e30, 12345678901234567890, True, "1", None):
        with pytest.raises((ValueError, TypeError), match=f"{entry.name} is "):
            TrainConfig(**{entry.name: value})
    (tmp_path / "a.toml").write_text(f"{entry.name} = nan\n")
    with pytest.raises((ValueError, TypeError), match=f"{entry.name} is nan"):
        TrainConfig.from_toml(tmp_path / "a.toml")


@pytest.mark.parametrize("value", ODD)
def test_threads(value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EPCORE_THREADS", value)
    arguments = [
        "train",
        "--range-test",
        "--pictures=8",
        "--batch-size=4",
        "--resolution=32",
        "--workers=0",
        "--range-steps=10",
    ]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("epcore: error: EPCORE_THREADS is ") and said.count("\n") == 1


class TestBounds:
    def test_ends_belong_to_them(self) -> None:
        assert [Whole(0, 7)("0"), Whole(0, 7)("7"), Whole(-3, 7)("-3"), Whole(0, 7)("007")] == [0, 7, -3, 7]
        assert [Real(0, 1)("0"), Real(0, 1)("1"), Real(0, 1, above=True)("1e-9")] == [0, 1, 1e-9]

    @pytest.mark.parametrize(
        ("bounds", "text", "message"),
        [
            (Whole(1, 5), "6", "is '6', expected a whole number from 1 to 5"),
            (Whole(1, 5), "2.0", "is '2.0', expected a whole number from 1 to 5"),
            (Real(0, 1), "1.1", "is '1.1', expected a number from 0 to 1"),
            (Real(0, 1, above=True), "0", "is '0', expected a number above 0, up to 1"),
            (Real(0, 1), "x" * 50, f"is '{'x' * 37}...', expected a number from 0 to 1"),
        ],
    )
    def test_messages(self, bounds: Whole | Real, text: str, message: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            bounds(text)
        assert str(caught.value) == message
