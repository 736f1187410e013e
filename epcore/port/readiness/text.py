"""The report as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from epcore.port.readiness.assess import CHAIN_SUMS, FLOAT16, INT8, TREE_SUMS, LayerReport, Readiness
from epcore.port.readiness.findings import OVERFLOWS, WARNINGS, Finding
from epcore.port.readiness.keypoints import Shift
from epcore.port.readiness.rounding import LARGEST, SMALLEST_NORMAL
from epcore.pose.decode import THRESHOLD

TITLES = {
    FLOAT16: "float16, summed in float32",
    TREE_SUMS: "  SE sums stored in float16",
    CHAIN_SUMS: "  SE sums one by one in float16",
    INT8: "int8",
}
WORST = 5
NAMED = 6  # layers that are listed of those with the same warning; overflows are all named


def layers_text(report: Readiness) -> str:
    """A line for every layer."""
    width = max(len(layer.name) for layer in report.layers) + 2
    head = (
        f"{'layer':<{width}}{'operator':<17}{'least':>10}{'largest':>10}{'99.9 % |x|':>12}{'subnormal':>11}{'to zero':>9}"
        f"{'sum |terms|':>13}{'max |w|':>9}{'spread':>10}{'half error':>12}{'int8 own':>10}{'total, dB':>11}"
    )
    return "\n".join([head, *(_layer(layer, width) for layer in report.layers)])


def _layer(layer: LayerReport, width: int) -> str:
    values, parameters, sums = layer.range, layer.parameters, layer.sums
    return (
        f"{layer.name:<{width}}{layer.op:<17}{number(values.minimum):>10}{number(values.maximum):>10}"
        f"{number(values.percentile):>12}{values.subnormal:>11.2%}{values.to_zero:>9.2%}"
        f"{number(sums.bound) if sums else '':>13}{number(parameters.largest) if parameters else '':>9}{values.spread:>10.1f}"
        f"{_small(layer.total[FLOAT16].relative):>12}{_decibel(layer.own[INT8].sqnr):>10}{_decibel(layer.total[INT8].sqnr):>11}"
    )


def half_text(report: Readiness, findings: Sequence[Finding]) -> str:
    """What half precision does, overflows by name."""
    largest = max(report.layers, key=lambda layer: layer.range.largest)
    lines = [f"Half precision (largest {LARGEST:,.0f}, smallest normal {SMALLEST_NORMAL:.1e})"]
    lines.append(_extreme("largest value", largest.range.largest, largest))
    if means := [layer for layer in report.layers if layer.sums and layer.sums.sum is not None]:
        top = max(means, key=lambda layer: _sums(layer)[0])
        lines.append(_extreme("largest sum over H*W", _sums(top)[0], top))
    if convolutions := [layer for layer in report.layers if layer.sums and layer.sums.sum is None]:
        top = max(convolutions, key=lambda layer: _sums(layer)[1])
        lines.append(_extreme("largest sum of |x||w|", _sums(top)[1], top))
    weighted = [(layer.parameters.largest, layer) for layer in report.layers if layer.parameters]
    if weighted:
        value, layer = max(weighted, key=lambda pair: pair[0])
        lines.append(_extreme("largest parameter", value, layer))
    worst = max(report.layers, key=lambda layer: layer.total[FLOAT16].relative)
    lines.append(f"  {'largest relative error':<24}{_small(worst.total[FLOAT16].relative):>10}  {worst.name}")
    small = max(report.layers, key=lambda layer: layer.range.subnormal)
    lines.append(f"  {'most subnormal values':<24}{small.range.subnormal:>10.2%}  {small.name}")
    overflows = [finding for finding in findings if finding.overflow]
    lines += ["", "  Overflows" if overflows else "  Nothing overflows."]
    lines += _named(overflows, OVERFLOWS, len(overflows))
    if warnings := [finding for finding in findings if not finding.overflow]:
        lines += ["", "  Depends on the implementation", *_named(warnings, WARNINGS, NAMED)]
    return "\n".join(lines)


def _sums(layer: LayerReport) -> tuple[float, float]:
    assert layer.sums is not None
    return layer.sums.sum or 0.0, layer.sums.bound


def _extreme(title: str, value: float, layer: LayerReport) -> str:
    return f"  {title:<24}{number(value):>10}  {value / LARGEST:>7.2%} of the largest half  {layer.name}"


def _named(findings: Sequence[Finding], kinds: Mapping[str, str], most: int) -> list[str]:
    lines = []
    for kind, title in kinds.items():
        named = [finding for finding in findings if finding.kind == kind]
        if named:
            named.sort(key=lambda finding: -finding.value)
            lines.append(f"    {title}: {len(named)}")
            lines += [f"      {number(each.value):>10}  {each.layer}" for each in named[:most]]
            lines += [f"      {'':>10}  and {len(named) - most} more"] if len(named) > most else []
    return lines


def int8_text(report: Readiness) -> str:
    """The scheme and the layers that suffer most from it."""
    scheme = "affine, scale and zero point from least and largest" if report.affine else "symmetric, scale from the largest |x|"
    columns = f"{'own, dB':>8}{'spread':>9}{'largest |x|':>13}{'99.9 %':>9}"
    lines = [
        "int8: kernels symmetric, a scale an output channel; biases float32; a scale a map, from these pictures",
        f"  maps {scheme}",
        f"  {'lowest signal to noise of their own':<48}{columns}",
    ]
    measured = [layer for layer in report.layers if layer.range.largest > 0]
    lines += [_worst(layer) for layer in sorted(measured, key=lambda layer: layer.own[INT8].sqnr)[:WORST]]
    lines.append(f"  {'widest range across channels':<48}{columns}")
    maps = [layer for layer in measured if layer.shape[:2] != (1, 1)]
    lines += [_worst(layer) for layer in sorted(maps, key=lambda layer: -layer.range.spread)[:WORST]]
    return "\n".join(lines)


def _worst(layer: LayerReport) -> str:
    return (
        f"    {layer.name:<46}{_decibel(layer.own[INT8].sqnr):>8}{layer.range.spread:>9.1f}{number(layer.range.largest):>13}"
        f"{number(layer.range.percentile):>9}"
    )


def shifts_text(shifts: Mapping[str, Shift], pictures: Sequence[str], size: int) -> str:
    """The effect on keypoints."""
    widths = (15, 13, 14, 8, 8, 6)
    first = ("largest shift", "of those", "in pixels of", "mean", "moved", "lost")
    second = ("", f"scoring {THRESHOLD}", "the picture", "", "", "")
    lines = [
        f"{'Keypoints against float32':<34}" + "".join(f"{text:>{width}}" for text, width in zip(first, widths, strict=True)),
        f"{f'  pixels of the {size} x {size} input':<34}"
        + "".join(f"{text:>{width}}" for text, width in zip(second, widths, strict=True)).rstrip(),
    ]
    for label, each in shifts.items():
        numbers = ("-" if value is None else f"{value:.2f}" for value in (each.largest, each.found, each.in_picture, each.mean))
        cells = "".join(f"{text:>{width}}" for text, width in zip(numbers, widths, strict=False))
        where = f"  {each.keypoint}, {pictures[each.picture or 0]}" if each.moved else ""
        lines.append(f"  {TITLES[label]:<32}{cells}{each.moved:>8}{each.lost:>6}{where}")
    count = next(iter(shifts.values())).count
    return "\n".join([*lines, f"  of {count} keypoints; one step of the network's grid is one pixel of its input"])


def number(value: float) -> str:
    """Four digits."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _small(value: float) -> str:
    return "overflow" if np.isinf(value) else "exact" if value == 0 else f"{value:.1e}"


def _decibel(value: float) -> str:
    return "exact" if value == np.inf else "lost" if value == -np.inf else f"{value:.1f}"
