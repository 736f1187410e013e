"""The command lines there are, from the parsers: so that tests walk all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

from epcore.cli import COMMANDS


def commands() -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command, ("audit",), and every action of those that have some, ("weights", "inspect"), with its parser."""
    for name in COMMANDS:
        parser = argparse.ArgumentParser()
        import_module(f"epcore.commands.{name.replace('-', '_')}").add_arguments(parser)
        actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not actions:
            yield (name,), parser
        for action, below in actions[0].choices.items() if actions else ():
            yield (name, action), below


def least(command: tuple[str, ...], parser: argparse.ArgumentParser, but: argparse.Action) -> list[str]:
    """The fewest arguments that the command takes, without one."""
    arguments = list(command)
    for action in parser._actions:
        if action is but or isinstance(action, argparse._SubParsersAction):
            continue
        value = str(next(iter(action.choices))) if action.choices else "x"
        if action.nargs != "*" and (action.required or not action.option_strings):
            arguments += [*action.option_strings[-1:], value]
    return arguments
