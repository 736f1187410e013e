"""`epcore demo`: a network that epcore trained itself, on figures it has never seen; gradient checks; the paper's numbers."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from epcore.base.checks import COUNT, Whole
from epcore.base.notices import say
from epcore.base.progress import progress
from epcore.commands.console import add_folder
from epcore.commands.model import load_model
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.demo.sheet import Prediction
    from epcore.models import EfficientPose

SEED = 2020  # of the demo's figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_folder(parser, "--output", default="out/demo", help="folder for sheet.png and index.html (%(default)s)")
    parser.add_argument("--figures", type=Whole(1, 1000), default=6, help="rows of the contact sheet (%(default)s)")
    parser.add_argument("--pictures", type=Whole(1, COUNT), default=100, help="figures that PCKh is measured on (%(default)s)")
    parser.add_argument("--weights", metavar="FILE", help="other weights for RT than those that come with epcore")
    parser.set_defaults(model="RT", backend="auto")


def run(arguments: argparse.Namespace) -> Generator[str, None, Result]:
    from epcore.audit.compare import count_rows
    from epcore.audit.text import tables_text
    from epcore.demo.page import demo_page
    from epcore.demo.sheet import demo_sheet

    model = load_model(arguments)
    _step("1/4  predicting unseen figures")
    predictions, timings = _predict(model, arguments.figures)
    sheet = demo_sheet(predictions)
    _step(f"2/4  PCKh on {arguments.pictures} unseen figures")
    pckh = _measure(model, arguments.pictures)
    yield pckh
    _step("3/4  gradient check of every operator")
    gradients = _check_gradients()
    worst = max(error for _, error, _ in gradients)
    right = all(error <= bound for _, error, bound in gradients)
    yield f"{len(gradients)} operators, worst relative error {worst:.1e}, all within their bounds: {'yes' if right else 'NO'}"
    _step("4/4  the paper's tables, counted from the code")
    audit = tables_text(count_rows())
    yield audit
    page = demo_page(
        sheet=sheet,
        weights="" if arguments.weights else "Its weights come with epcore, which trained them; see docs/training.md.",
        timings=timings, pckh=pckh, gradients=gradients, audit=audit,
    )  # fmt: skip
    folder = arguments.staging.folder(arguments.output)
    folder.write("sheet.png", sheet)
    folder.write("index.html", page.encode())
    output = Path(arguments.output)
    lines = [f"{name}: {ms:.1f} ms a picture" for name, ms in timings.items()]
    lines += ["", f"look at {output / 'index.html'} (all of this on one page) and {output / 'sheet.png'}"]
    return Result("\n".join(lines), code=0 if right else 1)


def _step(text: str) -> None:
    say(f"\n== {text}")


def _predict(model: EfficientPose, count: int) -> tuple[list[Prediction], dict[str, float]]:
    """Predictions for the sheet, and milliseconds a picture by the plan and by the reference."""
    from epcore.backend import use_backend
    from epcore.data.synthetic import SyntheticFigures
    from epcore.demo.sheet import Prediction
    from epcore.inference.engine import engine
    from epcore.not_numbers import require_numbers
    from epcore.pose import decode, preprocess
    from epcore.threads import get_threads

    plan = engine(model, backend="auto")
    figures = SyntheticFigures(count, seed=SEED, split="test", size=256)
    predictions = []
    for index in range(count):
        record = figures.record(index)
        x, geometry = preprocess(record.pixels(), model.resolution)
        outputs = plan(x)
        require_numbers(outputs.final, plan, x)
        fractions, _ = decode(outputs.final[0])
        predictions.append(Prediction(record, geometry.to_picture(fractions), outputs.final[0], outputs.pafs[0]))

    def milliseconds(function: object, repeats: int) -> float:
        best = float("inf")
        for _ in range(repeats):
            started = perf_counter()
            function(x)  # type: ignore[operator]
            best = min(best, perf_counter() - started)
        return best * 1e3

    with use_backend("reference"):
        reference = milliseconds(model, 2)
    return predictions, {f"plan, {get_threads()} threads": milliseconds(plan, 20), "NumPy reference": reference}


def _measure(model: EfficientPose, count: int) -> str:
    from epcore.data.synthetic import SyntheticFigures
    from epcore.evaluate.dataset import evaluate_dataset, map_predictor
    from epcore.evaluate.pckh import pckh, table

    predict = map_predictor(model, 1, model.resolution)
    evaluation = evaluate_dataset(
        predict, SyntheticFigures(count, seed=SEED, split="test"), model.resolution,
        progress=lambda numbers: progress(numbers, "picture"),
    )  # fmt: skip
    return table([pckh(evaluation.distances, tau) for tau in (0.5, 0.1)])


def _check_gradients() -> list[tuple[str, float, float]]:
    """(operator, worst relative error, bound)."""
    from epcore.gradcheck import bound, check_operators

    worst: dict[str, float] = {}
    for result in check_operators():
        worst[result.op] = max(worst.get(result.op, 0.0), result.error)
    return [(op, error, bound(op)) for op, error in worst.items()]
