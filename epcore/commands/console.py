"""The one place where commands meet the world: it prints, writes files and JSON, knows what "-" means, gives exit codes.

Every option that names an output is declared by `add_json`, `add_output` or `add_folder`, every file that is read and must not
be written over by `type=Input`. Before a command runs, all of them are checked; after it, its `Result` goes where they say: all
of it or, where something cannot be written, nothing.
What people read goes to standard output, or, where an option put JSON or a file there, to standard error.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import IO, Any, TextIO, TypeVar

from epcore.base.files import check_folder_writable, check_writable
from epcore.base.json_text import json_text
from epcore.base.notices import as_lines, say
from epcore.base.printable import printable
from epcore.base.signals import INTERRUPTED, Ended, ending_in_order
from epcore.base.staging import Staging
from epcore.base.streams import send, silence
from epcore.commands.result import Content, Outcome, Result
from epcore.threads import get_threads

STDOUT = "-"
T = TypeVar("T")


class Input(str):
    """A file that is read: no output may be written over it."""


class Output(str):
    """A file that is to be written, or "-", standard output. option: how it is called on the command line."""

    option: str

    def __new__(cls, path: str, option: str) -> Output:
        output = super().__new__(cls, path)
        output.option = option
        return output

    @property
    def is_stdout(self) -> bool:
        return self == STDOUT


class OutputFile(Output):
    """One that has to be a file, since its name says what it holds: "-" is a name like others."""

    @property
    def is_stdout(self) -> bool:
        return False


class OutputFolder(str):
    """A folder that files are written to. what: these files, for messages."""

    what: str

    def __new__(cls, path: str, what: str) -> OutputFolder:
        folder = super().__new__(cls, path)
        folder.what = what
        return folder


def add_json(parser: argparse.ArgumentParser, what: str, *, option: str = "--json") -> None:
    """The option that writes a command's report. what: the report, for help ("the rows of the tables")."""
    help_text = f"write {what} as JSON; - is standard output"
    parser.add_argument(option, dest="json", type=partial(Output, option=option), metavar="FILE", help=help_text)


def add_output(parser: argparse.ArgumentParser, name: str, *, named: bool = False, **options: Any) -> None:
    """An option or a position for an output file. named: its name says what it holds, so that "-" is none of its meanings.

    options: as of `add_argument`.
    """
    kind = partial(OutputFile if named else Output, option=name)
    parser.add_argument(name, type=kind, **{"metavar": "FILE", **options})


def add_folder(parser: argparse.ArgumentParser, name: str, *, what: str = "files", **options: Any) -> None:
    """An option or a position for a folder. what: is written to it, for messages. options: as of `add_argument`."""
    parser.add_argument(name, type=partial(OutputFolder, what=what), **{"metavar": "DIR", **options})


def perform(run: Callable[[argparse.Namespace], Outcome], arguments: argparse.Namespace) -> int:
    """Run a command; returns the exit code. What users can get wrong is one line on standard error and exit code 2.

    A command that writes a folder of files gets it from `arguments.staging`.
    """
    try:
        with ending_in_order(), as_lines(), Staging() as arguments.staging:
            get_threads()  # a wrong EPCORE_THREADS is said before the work, whatever has been computed before
            check_outputs(arguments)
            return _present(run(arguments), arguments)
    except BrokenPipeError:  # `epcore audit | head`
        silence(sys.stdout)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Ended as end:
        return end.code
    except MemoryError as error:
        say(f"epcore: error: out of memory. {_one_line(error)}".rstrip())
    except (ValueError, TypeError, OSError, RuntimeError, ModuleNotFoundError) as error:
        say(f"epcore: error: {_one_line(error)}")
    return 2


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise before the work for outputs that could not be written, that share a place, or that would overwrite an input.

    Raises ValueError or OSError.
    """
    outputs: dict[str, Output] = {}  # by place
    inputs = {os.path.realpath(path) for path in _values(arguments, Input)}
    for output in _values(arguments, Output):
        place = STDOUT if output.is_stdout else os.path.realpath(output)
        if place in inputs:
            raise ValueError(f"{output.option} {output} would overwrite an input")
        if place in outputs:
            raise ValueError(f"{outputs[place].option} and {output.option} both write to {output}")
        outputs[place] = output
        if not output.is_stdout:
            check_writable(output)
        elif sys.stdout is None:
            raise OSError("cannot write to standard output: it is closed")
    for folder in _values(arguments, OutputFolder):
        check_folder_writable(folder, folder.what)


def _values(arguments: argparse.Namespace, kind: type[T]) -> Iterator[T]:
    """All arguments of a kind, those in lists too."""
    for value in vars(arguments).values():
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, kind))


def _present(outcome: Outcome, arguments: argparse.Namespace) -> int:
    """Print and write a command's result; its exit code. Files first: a text that says they are written is then true."""
    staging: Staging = arguments.staging
    taken = any(output.is_stdout for output in _values(arguments, Output))
    people = sys.stderr if taken else sys.stdout
    result = outcome if isinstance(outcome, Result) else _follow(outcome, people)
    files = dict(result.files)
    report = getattr(arguments, "json", None)
    if report and report not in files:
        files[report] = json_text(result.report)
    for path, content in files.items():
        if not _is_stdout(path):
            with staging.open(path) as file:
                _write(content, file)
    try:
        for content in (content for path, content in files.items() if _is_stdout(path)):
            whole = io.BytesIO()
            _write(content, whole)
            send(sys.stdout, whole.getvalue())
    except BrokenPipeError:  # who stops reading wants the files all the same
        staging.commit()
        raise
    staging.commit()
    if result.text:
        send(people, f"{printable(result.text)}\n")
    return result.code


def _follow(outcome: Generator[str, None, Result], people: TextIO) -> Result:
    """Print what is said as it comes."""
    with closing(outcome):
        while True:
            try:
                text = next(outcome)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            send(people, f"{printable(text)}\n")


def _is_stdout(path: str) -> bool:
    return isinstance(path, Output) and path.is_stdout


def _write(content: Content, file: IO[bytes]) -> None:
    if isinstance(content, str):
        file.write(content.encode(errors="surrogateescape"))  # names of files may be any bytes
    elif isinstance(content, bytes):
        file.write(content)
    else:
        content(file)
