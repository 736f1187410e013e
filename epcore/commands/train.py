"""`epcore train`: train a network, resume a training, or find its highest learning rate."""

from __future__ import annotations

import argparse
import signal
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epcore.base.checks import COUNT, FACTOR, Real, Whole
from epcore.base.notices import say
from epcore.base.progress import progress, progress_bar
from epcore.base.signals import INTERRUPTED
from epcore.base.table import Table
from epcore.commands.console import add_json
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.train.config import TrainConfig
    from epcore.train.distributed import Processes
    from epcore.train.trainer import StepResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from epcore.train.config import TrainConfig

    parser.add_argument("--output", metavar="RUN", help="folder of the run: configuration, log, checkpoints")
    parser.add_argument("--config", metavar="FILE", help="TOML file of the options below; options given here win")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    parser.add_argument("--range-test", action="store_true", help="find lambda_max instead of training")
    parser.add_argument(
        "--range",
        nargs=2,
        type=Real(0, FACTOR, above=True),
        default=(1e-6, 1.0),
        metavar=("LOWEST", "HIGHEST"),
        help="rates tested",
    )
    parser.add_argument(
        "--range-steps", type=Whole(10, COUNT), default=100, metavar="STEPS", help="steps of the range test (%(default)s)"
    )
    add_json(parser, "the range test")
    options = parser.add_argument_group("training", "defaults in brackets; a configuration file has the same names")
    for each in fields(TrainConfig):
        flag = f"--{each.name.replace('_', '-')}"
        text = f"{each.metadata['help']} [{each.default if each.default != '' else 'none'}]".replace("%", "%%")
        if each.type == "bool":
            options.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            kind = each.metadata["bounds"] or str
            metavar = None if each.metadata["choices"] else each.name.upper()
            options.add_argument(flag, type=kind, default=None, choices=each.metadata["choices"], metavar=metavar, help=text)


def run(arguments: argparse.Namespace) -> Result:
    from epcore.train.config import TrainConfig, read_toml
    from epcore.train.distributed import find_processes

    given = {each.name: value for each in fields(TrainConfig) if (value := getattr(arguments, each.name)) is not None}
    values: dict[str, Any] = read_toml(arguments.config) if arguments.config else {}
    if arguments.range_test:
        return _range_test(arguments, TrainConfig(**(values | given)))
    if arguments.json:
        raise ValueError("--json writes the result of --range-test: a training logs into its folder")
    if not arguments.output:
        raise ValueError("--output is missing: the folder of the run")
    folder = Path(arguments.output)
    processes = find_processes()
    try:
        return _train_run(arguments, folder, values | given, processes)
    except Exception as error:
        if processes.count > 1:
            say(f"epcore: error: process {processes.rank}: {' '.join(str(error).split())}")
            processes.abort()
        raise


def _train_run(arguments: argparse.Namespace, folder: Path, values: dict[str, Any], processes: Processes) -> Result:
    from epcore.train.config import TrainConfig, read_toml
    from epcore.train.run_folder import CONFIG
    from epcore.train.trainer import Trainer

    if arguments.resume:
        if not (folder / CONFIG).is_file():
            raise FileNotFoundError(f"{folder} has no {CONFIG}: there is no run to resume")
        trainer = Trainer.resume(folder, TrainConfig(**(read_toml(folder / CONFIG) | values)), processes=processes)
    else:
        trainer = Trainer(TrainConfig(**values), folder, processes=processes)
    with trainer:
        return _train(trainer)


def _train(trainer: Any) -> Result:
    stopping: list[int] = []

    def stop(number: int, _frame: object) -> None:
        if stopping:  # the second time at once
            raise KeyboardInterrupt
        stopping.append(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    total = trainer.config.epochs * len(trainer.loader)
    try:
        with progress_bar(total, trainer.steps_done, "step", hidden=not trainer.leads) as bar:

            def report(result: StepResult) -> None:
                bar.set_postfix(
                    loss=f"{result.loss:.4g}", best="-" if trainer.best is None else f"{trainer.best:.1f}", refresh=False
                )
                bar.update()

            finished = trainer.run(should_stop=lambda: bool(stopping), report=report)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = 0 if finished else INTERRUPTED
    if not trainer.leads:
        return Result(code=code)
    if finished:
        best = "" if trainer.best is None else f"; best validation PCKh@50 {trainer.best:.1f}"
        seconds, waited, pictures = trainer.seconds, trainer.loader.seconds_waited, trainer.pictures
        speed = (
            f"; {pictures / seconds:.1f} pictures/s, {waited / seconds:.1%} of the time waiting for data" if pictures else ""
        )
        return Result(f"{trainer.folder}: {trainer.steps_done} steps done{best}{speed}")
    return Result(f"{trainer.folder}: stopped after step {trainer.steps_done} and saved; go on with --resume", code=code)


def _range_test(arguments: argparse.Namespace, config: TrainConfig) -> Result:
    from epcore.train.range_test import range_test
    from epcore.train.trainer import Trainer

    lowest, highest = arguments.range
    with Trainer(config, None) as trainer:
        test = range_test(
            trainer, lowest=lowest, highest=highest, steps=arguments.range_steps,
            progress=lambda numbers: progress(numbers, "step"),
        )  # fmt: skip
    table, every = Table(">10.2e", ">16.4g"), max(1, len(test.rates) // 25)
    rows = zip(test.rates[::every], test.losses[::every], strict=True)
    lines = [table.line("rate", "smoothed loss"), *(table.line(*row) for row in rows)]
    lines.append(f"diverged at {test.diverged_at:.2e}" if test.diverged_at else "did not diverge: test higher rates")
    lines.append(f"lambda_max: {test.suggestion:.2e}")
    values = {"rates": test.rates, "losses": test.losses, "diverged_at": test.diverged_at, "lambda_max": test.suggestion}
    return Result("\n".join(lines), values)
