"""`epcore diff`: a port's layers beside epcore's; names the first that diverges and what the port probably does there."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.base.checks import FACTOR, Real
from epcore.base.progress import status_line
from epcore.commands.console import Input, add_json
from epcore.commands.model import load_network, weights_file
from epcore.commands.result import Result

if TYPE_CHECKING:
    from epcore.models import EfficientPose
    from epcore.port.compare import Difference
    from epcore.port.diff import Divergence, Report
    from epcore.port.gradients import GradientDivergence
    from epcore.port.match import PortArrays
    from epcore.port.store import Vectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "port", type=Input, metavar="PORT", help="what the port gives: .npz or .h5, any of the layers, NHWC or NCHW"
    )
    parser.add_argument(
        "--vectors", type=Input, required=True, metavar="FILE", help="golden vectors the port was run on (`epcore vectors`)"
    )
    parser.add_argument("--weights", type=Input, metavar="FILE", help="the weights they were made with (default: RT's own)")
    parser.add_argument("--layout", default="auto", choices=("auto", "NHWC", "NCHW"), help="of the port's arrays (auto)")
    parser.add_argument(
        "--names", type=Input, metavar="FILE", help='JSON {"port\'s name": "epcore\'s name"} for names that differ'
    )
    parser.add_argument(
        "--tolerance",
        type=Real(0, FACTOR, above=True),
        help="error allowed, relative to a layer's largest value (default: 16 x rounding)",
    )
    add_json(parser, "what was found")


def run(arguments: argparse.Namespace) -> Result:
    """Code 0: everything agrees, 1: something diverges."""
    from epcore.port.golden import read_golden
    from epcore.port.store import read_vectors

    golden, port = read_golden(arguments.vectors), read_vectors(arguments.port)
    compared = {"operators": _operators, "pipeline": _pipeline, "network": _network}[golden.manifest["kind"]]
    lines, result = compared(arguments, golden, port)
    return Result("\n".join(lines), result, code=0 if result["agrees"] else 1)


def _operators(arguments: argparse.Namespace, golden: Vectors, port: Vectors) -> tuple[list[str], dict[str, Any]]:
    from epcore.port.operators import compare_operators

    compared, wrong = compare_operators(port.arrays, golden, layout=arguments.layout, relative=arguments.tolerance)
    lines = [f"compared {compared} arrays of operators: {compared - len(wrong)} agree"]
    for each in wrong:
        lines += ["", f"{each.case} ({each.what}): {each.array} is wrong"]
        lines.append(f"     {each.shape}" if each.difference is None else f"     {_said(each.difference)}")
        lines += [f"     cause: {title}\n     right: {hint}" for title, hint in each.causes]
    found = [
        {"case": each.case, "array": each.array, "causes": [title for title, _ in each.causes], **_numbers(each.difference)}
        for each in wrong
    ]
    return lines, {"agrees": not wrong, "compared": compared, "wrong": found}


def _pipeline(arguments: argparse.Namespace, golden: Vectors, port: Vectors) -> tuple[list[str], dict[str, Any]]:
    from epcore.commands.diff_pipeline import pipeline_report

    return pipeline_report(golden, port, _model(arguments, golden))


def _model(arguments: argparse.Namespace, golden: Vectors) -> EfficientPose:
    """With the weights that the vectors were made with. Raises ValueError for others."""
    from epcore.weights_tools.manifest import file_sha256

    manifest = golden.manifest
    model = load_network(manifest["variant"], arguments.weights)
    if file_sha256(weights_file(manifest["variant"], arguments.weights)) != manifest["weights_sha256"]:
        raise ValueError(f"{arguments.vectors} was made with other weights: give the same file with --weights")
    return model


def _network(arguments: argparse.Namespace, golden: Vectors, port: Vectors) -> tuple[list[str], dict[str, Any]]:
    from epcore.port.diff import find_divergences
    from epcore.port.match import match_port
    from epcore.port.setting import Setting
    from epcore.shapes import nchw_to_nhwc

    manifest, model = golden.manifest, _model(arguments, golden)
    x = golden.arrays["input"].astype(np.float64)
    x = nchw_to_nhwc(x) if manifest["layout"] == "NCHW" else x
    shapes = model.graph.shapes(x.shape[0], x.shape[1:])
    matched = match_port(port.arrays, model.graph, shapes, layout=arguments.layout, names=_read_names(arguments.names))
    parameters = {name: array.astype(np.float64) for name, array in model.parameters.items()}
    setting = Setting(model.graph, parameters, x, manifest["mode"] == "training")
    rounding = {layer["name"]: layer["rounding"] for layer in manifest["layers"]}
    report = find_divergences(
        setting,
        matched.layers,
        matched.wrong_shapes,
        rounding,
        relative=arguments.tolerance,
        preprocessing=model.preprocessing,
        progress=status_line,
    )
    status_line("")
    layers = len([name for name in report.compared if name in model.graph.nodes])
    lines = [f"{arguments.port}: {layers} of {len(model.graph.nodes)} layers of {model.name}, {matched.layout}"]
    if matched.unknown:
        lines.append(
            f"  not compared, no such layer: {', '.join(matched.unknown[:5])}{' ...' if len(matched.unknown) > 5 else ''}"
        )
    ops = {name: node.op for name, node in model.graph.nodes.items()}
    lines += _report(report, ops)
    result: dict[str, Any] = {
        "agrees": report.agrees,
        "layout": matched.layout,
        "compared": report.compared,
        "unknown": matched.unknown,
        "divergences": [_divergence(each, ops) for each in report.divergences],
        "not_reached": report.not_reached,
    }
    if matched.layer_gradients or matched.parameter_gradients:
        agreeing, wrong, said = _gradients(report, golden, matched, model, arguments.tolerance)
        lines += said
        result["agrees"] = result["agrees"] and wrong is None and bool(agreeing)
        result["gradients"] = {
            "agreeing": [each.name for each in agreeing],
            "wrong": None if wrong is None else {"name": wrong.name, "blame": wrong.blame, "cause": wrong.cause},
        }
    return lines, result


def _gradients(
    report: Report, golden: Vectors, matched: PortArrays, model: Any, relative: float | None
) -> tuple[list[Difference], GradientDivergence | None, list[str]]:
    from epcore.port.gradients import compare_gradients
    from epcore.port.vectors import exact_gradients

    if not report.agrees:
        return [], None, ["", "gradients: not compared, they mean something only where the forward pass agrees"]
    right = exact_gradients(model, golden)
    port = {f"layer_gradients/{name}": array for name, array in matched.layer_gradients.items()}
    port |= {f"parameter_gradients/{name}": array for name, array in matched.parameter_gradients.items()}
    rounding = {f"layer_gradients/{each['name']}": each.get("gradient_rounding", 0.0) for each in golden.manifest["layers"]}
    rounding |= {key: each["rounding"] for key, each in golden.manifest["gradients"].items()}
    rounding["layer_gradients/input"] = rounding.pop("input_gradient")
    if absent := [key for key in port if key not in right]:
        raise ValueError(f"{absent[0]}: the loss does not depend on it, there is no gradient to compare with")
    agreeing, wrong = compare_gradients(model.graph, port, right, rounding, relative)
    lines = ["", f"gradients: {len(agreeing)} of {len(port)} compared, from the loss backwards, agree"]
    if wrong is not None:
        lines += ["", f"first wrong gradient: {wrong.name}", f"     {_said(wrong.difference)}", f"     look at {wrong.blame}"]
        lines += [f"     cause: {wrong.cause}"] if wrong.cause else []
    return agreeing, wrong, lines


def _report(report: Report, ops: dict[str, str]) -> list[str]:
    lines = []
    if report.agreeing:
        worst = max(report.agreeing, key=lambda each: each.largest / max(each.tolerance, 1e-300))
        lines.append(
            f"  {len(report.agreeing)} agree; nearest to the limit: {worst.name}, relative error {worst.relative:.1e} "
            f"({worst.largest / max(worst.tolerance, 1e-300):.0%} of what is allowed)"
        )
    for number, each in enumerate(report.divergences, 1):
        what = ops.get(each.layer, "what the network is given")
        lines += ["", f"{number}. {each.layer} ({what}) diverges"]
        if each.shape is not None:
            lines.append(f"     its shape is {each.shape[0]}, expected {each.shape[1]}: look at padding and stride")
        elif each.difference is not None:
            lines.append(f"     {_said(each.difference)}")
        if len(each.suspects) > 1:
            suspects = ", ".join(each.suspects[:4]) + (", ..." if len(each.suspects) > 4 else "")
            lines.append(f"     between it and what agrees lie {len(each.suspects)} layers: {suspects}")
        for cause in each.causes:
            word = "cause" if cause.exact else "may be"
            left = "explains it" if cause.exact else "explains part of it"
            lines.append(f"     {word}: {cause.title} ({left}: a relative error of {cause.left:.1e} is left)")
            lines.append(f"     right: {cause.hint}")
            layers = ", ".join(cause.layers[:4]) + (", ..." if len(cause.layers) > 4 else "")
            lines.append(f"     where: {layers}" + (f" ({len(cause.layers)} layers)" if len(cause.layers) > 4 else ""))
        if not any(cause.exact for cause in each.causes) and each.difference is not None:
            lines.append("     no known mistake alone explains it all")
            if len(each.suspects) > 4:
                steps = [each.suspects[len(each.suspects) * part // 4] for part in (1, 2, 3)]
                lines.append(f"     give layers in between to narrow it down, such as {', '.join(steps)}")
    if report.not_reached:
        lines += ["", f"{len(report.not_reached)} later layers were not judged: mend this first"]
    elif report.divergences and all(each.causes and each.causes[0].exact for each in report.divergences):
        lines += ["", "with these mended, everything given agrees"]
    return lines


def _divergence(each: Divergence, ops: dict[str, str]) -> dict[str, Any]:
    causes = [
        {"title": c.title, "right": c.hint, "layers": list(c.layers), "left": c.left, "exact": c.exact} for c in each.causes
    ]
    return {
        "layer": each.layer,
        "operator": ops.get(each.layer),
        "suspects": list(each.suspects),
        "shape": each.shape and [list(shape) for shape in each.shape],
        **_numbers(each.difference),
        "causes": causes,
    }


def _said(difference: Difference) -> str:
    place = ", ".join(map(str, difference.place))
    return (
        f"largest error {difference.largest:.3g} (relative {difference.relative:.1e}, allowed {difference.tolerance:.1e}) "
        f"at ({place}); {difference.where}"
    )


def _numbers(difference: Difference | None) -> dict[str, Any]:
    if difference is None:
        return {"largest": None, "relative": None, "allowed": None, "place": None}
    return {
        "largest": difference.largest,
        "relative": difference.relative,
        "allowed": difference.tolerance,
        "place": list(difference.place),
    }


def _read_names(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        names = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise ValueError(f'{path} is no JSON object of the form {{"port\'s name": "epcore\'s name"}}')
    return names
