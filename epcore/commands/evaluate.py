"""`epcore evaluate`: PCKh of a network, in both conventions, as a table and JSON, and a contact sheet of the worst cases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from epcore.backend import use_backend
from epcore.base.checks import COUNT, SEEDS, SIDE, Real, Whole
from epcore.base.progress import progress
from epcore.commands.console import Input, add_json, add_output
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.result import Content, Result

if TYPE_CHECKING:
    from epcore.evaluate.dataset import Evaluation
    from epcore.evaluate.multiscale import PredictMaps
    from epcore.models import EfficientPose

TAUS = (0.5, 0.1)
MULTI_SCALES = (0.75, 1.0, 1.25)  # the paper does not name its scales


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from epcore.data.body import VARIETIES

    add_model_arguments(parser)
    parser.add_argument(
        "--run", dest="trained", metavar="RUN", help="model and weights of a training: its folder or a checkpoint"
    )
    parser.add_argument("--data", choices=("synthetic", "mpii"), default="synthetic", help="default: %(default)s")
    parser.add_argument(
        "--split", default="", help="test (synthetic figures, the default), validation (MPII, the default), train"
    )
    parser.add_argument(
        "--pictures", type=Whole(0, COUNT), default=500, help="how many, the first of the split (%(default)s; 0: all of MPII)"
    )
    parser.add_argument("--seed", type=Whole(0, SEEDS), default=0, help="of the synthetic figures or MPII's split")
    parser.add_argument("--variety", choices=tuple(VARIETIES), default="default", help="how hard synthetic figures are")
    parser.add_argument("--size", type=Whole(32, SIDE), default=256, help="side of synthetic pictures, pixels (%(default)s)")
    parser.add_argument("--folder", metavar="DIR", help="MPII's folder")
    parser.add_argument("--split-file", type=Input, metavar="FILE", help="names MPII's persons to evaluate")
    parser.add_argument("--skip-broken", action="store_true", help="leave out MPII's missing and damaged pictures")
    parser.add_argument("--resolution", type=Whole(8, SIDE), help="side of the input (default: the variant's)")
    parser.add_argument(
        "--scales", type=Real(0, 100, above=True), nargs="+", metavar="S", help="average maps over these scales of the person"
    )
    parser.add_argument("--multi-scale", action="store_true", help=f"scales {', '.join(map(str, MULTI_SCALES))}, and --flip")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored picture")
    add_json(parser, "the results")
    add_output(parser, "--contact-sheet", help="picture of the worst cases with their maps")
    parser.add_argument("--worst", type=Whole(1, 1000), default=12, help="cases on the contact sheet (%(default)s)")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.evaluate.dataset import evaluate_dataset, map_predictor
    from epcore.evaluate.pckh import CONVENTIONS, pckh, table

    scales = arguments.scales or (MULTI_SCALES if arguments.multi_scale else (1.0,))
    flip = arguments.flip or arguments.multi_scale
    model = _model(arguments)
    resolution = arguments.resolution or model.resolution
    data = _data(arguments)
    files: dict[str, Content] = {}
    with use_backend(arguments.backend):
        predict = map_predictor(model, len(scales) * (2 if flip else 1), resolution, backend=arguments.backend)
        evaluation = evaluate_dataset(
            predict, data, resolution, scales=scales, flip=flip,
            progress=lambda numbers: progress(numbers, "picture"),
        )  # fmt: skip
        if arguments.contact_sheet:
            sheet = _contact_sheet(predict, data, evaluation, arguments.worst, resolution, scales, flip)
            files[arguments.contact_sheet] = sheet
    results = [pckh(evaluation.distances, tau, convention) for convention in CONVENTIONS.values() for tau in TAUS]
    report: dict[str, Any] = {
        "model": model.name, "data": arguments.data, "pictures": len(evaluation.names), "resolution": resolution,
        "scales": list(scales), "flip": flip, "results": [result.to_json() for result in results],
        "persons": _persons(evaluation),
    }  # fmt: skip
    title = f"{model.name}, {len(evaluation.names)} pictures, input {resolution}, scales {scales}{', flipped' if flip else ''}"
    return Result(f"{title}\n{table(results)}", report, files=files)


def _model(arguments: argparse.Namespace) -> EfficientPose:
    if not arguments.trained:
        return load_model(arguments)
    from epcore.models import EfficientPose
    from epcore.train.checkpoint import Checkpoint
    from epcore.train.config import TrainConfig
    from epcore.train.run_folder import checkpoint_path
    from epcore.train.setup import load_start

    if arguments.weights:
        raise ValueError("--run and --weights both name weights: give one")
    path = checkpoint_path(arguments.trained)
    config = TrainConfig.from_mapping(Checkpoint.load(path).config)
    model = EfficientPose(config.variant)
    load_start(model, path)
    arguments.resolution = arguments.resolution or config.side
    return model.to("cuda") if arguments.backend == "cuda" else model


def _data(arguments: argparse.Namespace) -> Any:
    """A data set whose every person has a head box."""
    if arguments.data == "synthetic":
        from epcore.data.synthetic import SyntheticFigures

        split = arguments.split or "test"
        return SyntheticFigures(
            arguments.pictures or 500, seed=arguments.seed, split=split, size=arguments.size, variety=arguments.variety
        )
    from epcore.data.mpii import MPII

    if not arguments.folder:
        raise ValueError("--folder is missing: where is MPII?")
    data = MPII(
        arguments.folder, arguments.split or "validation", split_seed=arguments.seed, split_file=arguments.split_file,
        skip_broken=arguments.skip_broken, need_head_box=True,
    )  # fmt: skip
    data.records = data.records[: arguments.pictures or None]
    return data


def _persons(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a person; coordinates in pixels of the original picture."""

    def plain(value: float) -> float:
        return round(float(value), 4)

    return [
        {
            "name": name,
            "keypoints": [[plain(x), plain(y)] for x, y in points],
            "scores": [plain(score) for score in scores],
            "distances": [plain(distance) for distance in distances],
        }
        for name, points, scores, distances in zip(
            evaluation.names, evaluation.predictions, evaluation.scores, evaluation.distances, strict=True
        )
    ]


def _contact_sheet(
    predict: PredictMaps, data: Any, evaluation: Evaluation, count: int, resolution: int, scales: Any, flip: bool
) -> bytes:
    from epcore.evaluate.contact_sheet import contact_sheet, worst_cases
    from epcore.evaluate.dataset import predict_record

    cases = []
    for index in worst_cases(evaluation.distances, count):
        record = data.record(index)
        points, _, maps = predict_record(predict, record, resolution, scales=scales, flip=flip)
        cases.append((record, points, maps.copy(), evaluation.distances[index]))
    return contact_sheet(cases)
