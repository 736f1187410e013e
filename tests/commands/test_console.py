"""The thin top: one place prints and writes for all commands, and whatever is wrong with outputs is said before the work."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import commands, least
from mpii_helpers import picture, point, rectangle, write
from PIL import Image
from places import ROOT

import epcore.doctor.report
from epcore.cli import COMMANDS, main
from epcore.commands.console import Output, OutputFile, OutputFolder, perform
from epcore.commands.result import Outcome, Result
from epcore.doctor.parts import PARTS

PACKAGE = Path(epcore.__file__).parent
SHIPPED = str(PACKAGE / "models/synthetic_rt.h5")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """(path below the package, syntax tree) of every module; what lies behind symbolic links too."""
    for folder in (PACKAGE, PACKAGE / "kernels", PACKAGE / "weights_tools"):
        for path in sorted(folder.rglob("*.py")):
            yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text("utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Names of all modules that a module imports, anywhere in it; "from a import b" counts as a and a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def outputs(kind: type) -> list[Any]:
    """(command, its parser, the option) of every option or position that names such an output."""
    found = []
    for command, parser in commands():
        for action in parser._actions:
            made = getattr(action.type, "func", None)
            if isinstance(made, type) and issubclass(made, kind):
                name = action.option_strings[-1] if action.option_strings else action.dest
                found.append(pytest.param(command, parser, action, id=" ".join((*command, name))))
    return found


class TestArrows:
    def test_commands_leave_printing_and_writing_to_the_console(self) -> None:
        for path, tree in modules():
            if not path.startswith("commands/") or path == "commands/console.py":
                continue
            called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
            streams = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert not called & {"print", "json.dumps", "json.dump", "write_atomically", "open_atomically", "Staging"}, path
            assert not streams & {"sys.stdout", "sys.stderr"}, path
            constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            assert "--json" not in constants, f"{path}: declare it by add_json"

    def test_no_library_module_imports_commands(self) -> None:
        for path, tree in modules():
            if path.startswith("commands/") or path in ("cli.py", "__main__.py"):
                continue
            up = {name for name in imported(tree) if name.startswith(("epcore.commands", "epcore.cli"))}
            assert not up, f"{path} imports {up}"

    def test_commands_do_not_import_each_other(self) -> None:
        """What takes arguments of its own is a command; the rest of the room is what commands share."""
        rooms = [(path, tree) for path, tree in modules() if path.startswith("commands/")]
        takes = {path for path, tree in rooms for node in tree.body if getattr(node, "name", "") == "add_arguments"}
        commands = {f"epcore.commands.{Path(path).stem}" for path in takes}
        assert len(commands) >= len({command.split()[0] for command in COMMANDS})
        for path, tree in rooms:
            names = {".".join(name.split(".")[:3]) for name in imported(tree) if name.startswith("epcore.commands.")}
            assert not names & commands, f"{path} imports {names & commands}"
            assert "epcore.cli" not in imported(tree), path

    def test_the_ground_floor_stands_on_nothing(self) -> None:
        for path, tree in modules():
            if path.startswith("base/"):
                above = {name for name in imported(tree) if name.startswith("epcore.") and not name.startswith("epcore.base")}
                assert not above, f"{path} imports {above}"


class TestBeforeTheWork:
    @pytest.fixture(autouse=True)
    def no_work(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)

        def work(arguments: argparse.Namespace) -> None:
            raise AssertionError("the work began")

        for name in COMMANDS:
            monkeypatch.setattr(f"epcore.commands.{name.replace('-', '_')}.run", work)

    def refused(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("epcore: error: ")
        assert message in captured.err
        assert captured.err.count("\n") == 1

    def with_output(
        self, command: tuple[str, ...], parser: argparse.ArgumentParser, action: argparse.Action, value: str
    ) -> list[str]:
        """Positions behind the one that is looked at are in the order of the parser."""
        if action.option_strings:
            return [*least(command, parser, action), action.option_strings[-1], value]
        positions = [each for each in parser._actions if not each.option_strings]
        return [*command, *(value if each is action else f"x{index}" for index, each in enumerate(positions))]

    @pytest.mark.parametrize(("command", "parser", "action"), outputs(Output))
    def test_files(
        self,
        command: tuple[str, ...],
        parser: argparse.ArgumentParser,
        action: argparse.Action,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.refused(self.with_output(command, parser, action, "no/such/x.npz"), "there is no folder", capsys)
        self.refused(self.with_output(command, parser, action, str(tmp_path)), "it is a folder", capsys)
        with pytest.raises(AssertionError, match="the work began"):  # and what can be written is not refused
            main(self.with_output(command, parser, action, "good.npz"))
        assert list(tmp_path.iterdir()) == []
        if not issubclass(action.type.func, OutputFile):  # type: ignore[union-attr]
            arguments = self.with_output(command, parser, action, "-")
            with monkeypatch.context() as patch:
                patch.setattr("sys.stdout", None)
                assert main(arguments) == 2
            assert "cannot write to standard output: it is closed" in capsys.readouterr().err

    @pytest.mark.parametrize(("command", "parser", "action"), outputs(OutputFolder))
    def test_folders(
        self, command: tuple[str, ...], parser: argparse.ArgumentParser, action: argparse.Action,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        Path("file").touch()
        self.refused(self.with_output(command, parser, action, "file/below"), "expected a folder", capsys)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["audit", "--json", "-", "--html", "-"], "--json and --html both write to -"),
            (["evaluate", "--json", "a", "--contact-sheet", "./a"], "--json and --contact-sheet both write to ./a"),
            (["data", "split", "x", "a", "a"], "train and validation both write to a"),
            (["evaluate", "--weights", "w.h5", "--json", "./w.h5"], "--json ./w.h5 would overwrite an input"),
            (["vectors", "--input", "x.npy", "--output", "x.npy"], "--output x.npy would overwrite an input"),
            (["weights", "inspect", "w.h5", "--json", "w.h5"], "--json w.h5 would overwrite an input"),
            (["diff", "p.npz", "--vectors", "v.npz", "--json", "v.npz"], "--json v.npz would overwrite an input"),
        ],
    )
    def test_collisions(self, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.refused(arguments, message, capsys)


# ---- --json


def files_for(command: tuple[str, ...], folder: Path) -> list[str]:
    """Makes what the command needs in the folder; its arguments."""
    match command:
        case ("predict",):
            Image.new("RGB", (40, 40)).save(folder / "a.png")
            return ["a.png"]
        case ("data", "check"):
            body = [point(60 + 5 * (number % 4), 30 + 8 * number, number) for number in range(16)]
            (folder / "images").mkdir()
            write(folder, [picture("0.jpg", rectangle(*body, x=80, y=90, scale=0.8))], [1])
            Image.new("RGB", (160, 180)).save(folder / "images/0.jpg")
            return [str(folder)]
        case ("diff",):
            assert main(["vectors", "--operators", "--output", "v.npz"]) == 0
            return ["v.npz", "--vectors", "v.npz"]
        case ("learn",):
            assert main(["learn", "--folder", "course"]) == 0
            (folder / "course/ops/add.py").write_text("def forward(a, b):\n    return a + b, ()\n")
            return ["check", "forward/add", "--folder", "course"]
    return JSON[command]


SMALL = ["--pictures=8", "--batch-size=4", "--resolution=32", "--variety=easy", "--workers=0"]
JSON: dict[tuple[str, ...], list[str]] = {
    ("predict",): [],
    ("audit",): [],
    ("gradcheck",): ["--only", "ops"],
    ("kernel",): ["relu", "--assembly"],
    ("learn",): [],
    ("data", "check"): [],
    ("train",): ["--range-test", *SMALL, "--range-steps=10"],
    ("evaluate",): ["--pictures=2", "--size=64"],
    ("weights", "fetch"): [],
    ("weights", "inspect"): [SHIPPED],
    ("weights", "import"): [SHIPPED, "--output=w.h5"],
    ("weights", "export"): [SHIPPED, "--output=w.h5"],
    ("diff",): [],
    ("readiness",): ["--pictures=1"],
    ("doctor",): ["--time-limit=400"],
}


def strict(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_command_with_a_report_is_known() -> None:
    assert {parameter.values[0] for parameter in outputs(Output) if parameter.values[2].dest == "json"} == set(JSON)


@pytest.mark.parametrize("command", JSON, ids=" ".join)
def test_json_on_standard_output(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output holds the JSON and nothing else; what people read is on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(epcore.doctor.report, "CHECKS", ("concat",))
    monkeypatch.setattr(epcore.doctor.report, "PARTS", {"GPU": PARTS["GPU"]})
    arguments = [*command, *files_for(command, tmp_path)]
    option = "--manifest" if command in (("weights", "import"), ("weights", "export")) else "--json"
    capsys.readouterr()
    assert main([*arguments, option, "-"]) == 0
    captured = capsys.readouterr()
    assert strict(captured.out)
    if command != ("predict",):  # whose table is for those who asked for no other form
        assert captured.err
        assert "Traceback" not in captured.err


def test_json_of_a_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--output", str(tmp_path / "run"), "--json", str(tmp_path / "x.json")]) == 2
    assert "--json writes the result of --range-test" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# ---- what becomes of a result


def performed(outcome: Outcome | Exception, **options: str) -> int:
    def run(arguments: argparse.Namespace) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return perform(run, argparse.Namespace(**{name: Output(path, f"--{name}") for name, path in options.items()}))


class TestPresenting:
    def test_text_and_code(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert performed(Result("said", code=1)) == 1
        assert capsys.readouterr() == ("said\n", "")
        assert performed(Result()) == 0
        assert capsys.readouterr() == ("", "")

    def test_report_has_no_nan(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report = {"a": [1.5, np.nan, np.float64(np.inf)], "b": (-np.inf, None, True, "NaN")}
        expected = {"a": [1.5, None, None], "b": [None, None, True, "NaN"]}
        assert performed(Result("said", report), json=str(tmp_path / "r.json")) == 0
        assert strict((tmp_path / "r.json").read_text()) == expected
        assert capsys.readouterr() == ("said\n", "")
        assert performed(Result("said", report), json="-") == 0
        captured = capsys.readouterr()
        assert (strict(captured.out), captured.err) == (expected, "said\n")

    def test_what_is_said_comes_as_it_goes(self, capsys: pytest.CaptureFixture[str]) -> None:
        def work() -> Generator[str, None, Result]:
            yield "first"
            assert capsys.readouterr() == ("first\n", "")
            yield "second"
            return Result("last", {}, code=1)

        assert performed(work()) == 1
        assert capsys.readouterr() == ("second\nlast\n", "")

    @pytest.mark.parametrize(
        ("error", "code", "said"),
        [
            (ValueError("wrong\n  value"), 2, "epcore: error: wrong value\n"),
            (OSError("no disk"), 2, "epcore: error: no disk\n"),
            (MemoryError(), 2, "epcore: error: out of memory.\n"),
        ],
    )
    def test_errors(self, error: Exception, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert performed(error) == code
        assert capsys.readouterr() == ("", said)

    def test_ctrl_c_ends_what_the_work_holds(self, capsys: pytest.CaptureFixture[str]) -> None:
        ended = []

        def work() -> Generator[str, None, Result]:
            try:
                yield "begun"
                raise KeyboardInterrupt
            finally:
                ended.append(True)

        assert performed(work()) == 130
        assert ended == [True]
        assert capsys.readouterr() == ("begun\n", "")

    def test_a_reader_that_goes_away_ends_the_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ended = []

        def work() -> Generator[str, None, Result]:
            try:
                yield "begun"
            finally:
                ended.append(True)
            return Result()

        class Closed:
            def write(self, text: str) -> None:
                raise BrokenPipeError

            def flush(self) -> None:
                pass

        monkeypatch.setattr("sys.stdout", Closed())
        monkeypatch.setattr("os.dup2", lambda *descriptors: None)
        monkeypatch.setattr(Closed, "fileno", lambda self: -1, raising=False)
        working = work()  # kept alive here, so that it does not end by being forgotten
        assert performed(working) == 0
        assert ended == [True]

    def test_files(self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        contents = {
            "text": "a",
            "bytes": b"b",
            "written": lambda file: file.write(b"c"),
        }
        for name, content in contents.items():
            path = tmp_path / name
            output = Output(str(path), "--output")
            assert perform(lambda _, o=output, c=content: Result("done", files={o: c}), argparse.Namespace(output=output)) == 0
            assert path.read_bytes() == {"text": b"a", "bytes": b"b", "written": b"c"}[name]
            assert capfdbinary.readouterr().out == b"done\n"
            output = Output("-", "--output")
            assert perform(lambda _, o=output, c=content: Result("done", files={o: c}), argparse.Namespace(output=output)) == 0
            captured = capfdbinary.readouterr()
            assert (captured.out, captured.err) == (path.read_bytes(), b"done\n")

    def test_a_file_named_like_standard_output(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the name has to say what the file holds, "-" is a name; ./- always is."""
        monkeypatch.chdir(tmp_path)
        for output in (OutputFile("-", "--output"), Output("./-", "--output")):
            assert perform(lambda _, o=output: Result(files={o: "x"}), argparse.Namespace(output=output)) == 0
            assert Path("-").read_text() == "x"
            Path("-").unlink()


def test_the_checkout_is_what_is_walked() -> None:
    """The walks above would say nothing about an empty set."""
    paths = {path for path, _ in modules()}
    assert {"commands/audit.py", "base/files.py", "ops/swish.py"} <= paths
    if (ROOT / "kernels").is_dir():
        assert any(path.startswith("kernels/") for path in paths)
    assert "epcore.commands.console" in imported(dict(modules())["commands/audit.py"])
