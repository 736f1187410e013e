"""`epcore readiness`: what float16 and int8 would do to a network: ranges, overflows, and the experiment itself."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.base.checks import COUNT, SEEDS, Whole
from epcore.base.progress import progress
from epcore.commands.console import Input, add_json
from epcore.commands.model import add_model_arguments, load_model, weights_file
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.port.readiness.assess import Error, LayerReport, Readiness
    from epcore.pose import Geometry

SYNTHETIC = 4  # pictures drawn where none are given


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="*", type=Input, metavar="IMAGE", help="pictures (default: drawn synthetic figures)")
    add_model_arguments(parser, backend=False)
    parser.add_argument("--pictures", type=Whole(1, COUNT), metavar="N", help=f"synthetic figures to draw ({SYNTHETIC})")
    parser.add_argument("--seed", type=Whole(0, SEEDS), metavar="N", help="of the synthetic figures (0)")
    parser.add_argument(
        "--folded", action=argparse.BooleanOptionalAction, default=True, help="batch norms folded into convolutions"
    )
    parser.add_argument(
        "--activations",
        default="affine",
        choices=("affine", "symmetric"),
        help="int8 maps with a zero point or without (affine)",
    )
    parser.add_argument("--flush-subnormals", action="store_true", help="float16 below 6.1e-5 becomes zero")
    add_json(parser, "everything")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.port.readiness.assess import FLOAT32, assess
    from epcore.port.readiness.device import device_network
    from epcore.port.readiness.findings import find
    from epcore.port.readiness.keypoints import shift
    from epcore.port.readiness.text import half_text, int8_text, layers_text, shifts_text
    from epcore.weights_tools.manifest import file_sha256

    _check(arguments)
    model = load_model(arguments)
    names, inputs, geometries = _pictures(arguments, model.resolution, model.preprocessing)
    labels = list(model.graph.outputs)
    final = "upscaled" if "upscaled" in labels else labels[-1]
    network = device_network(model, folded=arguments.folded)
    report = assess(
        network, inputs, final=final, affine=arguments.activations == "affine", flush=arguments.flush_subnormals,
        progress=lambda inputs: progress(inputs, "picture"),
    )  # fmt: skip
    findings = find(report)
    exact = report.keypoints[FLOAT32]
    shifts = {label: shift(exact, report.keypoints[label], geometries) for label in report.experiments}

    shown = names[0] if len(names) == 1 else f"{len(names)} pictures, {names[0]} to {names[-1]}"
    title = f"{model.name}, batch norms {'folded' if arguments.folded else 'kept'}; {shown}"
    title += "" if arguments.images else " (synthetic figures: name photographs of your own for ranges that count)"
    sections = [title, layers_text(report), half_text(report, findings), int8_text(report)]
    sections.append(shifts_text(shifts, names, model.resolution))
    result = {
        "model": model.name,
        "weights_sha256": file_sha256(weights_file(arguments.model, arguments.weights)),
        "folded": arguments.folded,
        "activations": arguments.activations,
        "flush_subnormals": arguments.flush_subnormals,
        "synthetic": not arguments.images,
        "pictures": names,
        "layers": [_layer(layer, report) for layer in report.layers],
        "findings": [{**asdict(each), "overflow": each.overflow} for each in findings],
        "keypoints": {
            label: {**asdict(each), "picture": None if each.picture is None else names[each.picture]}
            for label, each in shifts.items()
        },
    }
    return Result("\n\n".join(sections), result)


def _check(arguments: argparse.Namespace) -> None:
    """Raise before any work for wrong pictures and numbers."""
    from epcore.pose.picture import open_picture

    for option, value in (("--pictures", arguments.pictures), ("--seed", arguments.seed)):
        if value is not None and arguments.images:
            raise ValueError(f"{option} is for synthetic figures, and pictures are named: leave one of both out")
    for image in arguments.images:
        open_picture(image).close()


def _pictures(
    arguments: argparse.Namespace, resolution: int, preprocessing: str
) -> tuple[list[str], list[np.ndarray], list[Geometry]]:
    """Names, network inputs (1,R,R,3), and where the pictures lie in them."""
    from epcore.data.synthetic import SyntheticFigures
    from epcore.pose import preprocess

    if arguments.images:
        pictures = [(image, image) for image in arguments.images]
    else:
        count = arguments.pictures or SYNTHETIC
        figures = SyntheticFigures(count, seed=arguments.seed or 0, split="test", size=resolution)
        records = [figures.record(index) for index in range(count)]
        pictures = [(record.name, record.pixels()) for record in records]
    prepared = [preprocess(picture, resolution, preprocessing) for _, picture in pictures]
    return [name for name, _ in pictures], [x for x, _ in prepared], [geometry for _, geometry in prepared]


def _layer(layer: LayerReport, report: Readiness) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "shape": layer.shape,
        "largest": layer.range.largest,
        **asdict(layer.range),
        "parameters": None if layer.parameters is None else asdict(layer.parameters),
        "sums": None if layer.sums is None else asdict(layer.sums),
        **{label: {"own": _error(layer.own[label]), "total": _error(layer.total[label])} for label in report.experiments},
    }


def _error(error: Error) -> dict[str, float]:
    """JSON has no infinity: null is an error that is not finite, and the noise ratio of no error at all."""
    return {"relative": error.relative, "sqnr_db": error.sqnr}
