"""What `epcore diff` says of a port's way around the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.base.arrays import to_numpy
from epcore.base.table import Table

if TYPE_CHECKING:
    from epcore.models import EfficientPose
    from epcore.port.pipeline.compare import Share, Stage
    from epcore.port.store import Vectors

_UNITS = {"x": "levels of grey", "points": "pixels of the picture"}


def pipeline_report(golden: Vectors, port: Vectors, model: EfficientPose) -> tuple[list[str], dict[str, Any]]:
    """Lines and report. model: with the weights that the vectors were made with."""
    from epcore.inference.engine import engine
    from epcore.port.pipeline.compare import budget, compare_pipeline, read_port

    given = read_port(port.arrays, golden)
    stages = compare_pipeline(given, golden)
    compute = engine(model)

    def network(x: np.ndarray) -> np.ndarray:
        return to_numpy(compute(x).final)

    shares = budget(given, golden, network)
    lines: list[str] = []
    for stage in stages:
        lines += _stage(stage)
    lines += _budget(shares)
    return lines, {
        "agrees": all(stage.agrees for stage in stages),
        "stages": [
            {"stage": s.name, "cases": s.cases, "agrees": s.agrees, "largest": s.largest, "explanations": s.explanations}
            for s in stages
        ],
        "budget": [{"part": share.part, "mean": share.mean, "largest": share.largest} for share in shares],
    }


def _stage(stage: Stage) -> list[str]:
    what = f"{stage.name} of {len(stage.cases)} cases"
    if stage.agrees:
        return [f"{what} agrees"]
    lines = [f"{what} is wrong: by up to {stage.largest:.3g} {_UNITS[stage.name]}"]
    if not stage.explanations:
        return [*lines, "     no two known mistakes explain it all"]
    for number, said in enumerate(stage.explanations):
        lines += ["     or, as far as these cases tell:"] if number else []
        for otherwise, right in said:
            lines += [f"     cause: {otherwise}", f"     right: {right}"]
    return lines


def _budget(shares: list[Share]) -> list[str]:
    if not shares:
        return []
    table = Table("<16", ">12", ">12")
    lines = ["", "error of the keypoints, pixels of the pictures, each part made the port's in turn", ""]
    lines.append(table.line("part", "mean", "largest"))
    return [*lines, *(table.line(share.part, f"{share.mean:.3f}", f"{share.largest:.3f}") for share in shares)]
