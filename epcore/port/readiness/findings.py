"""What a porter to half precision has to know of the layers of a report, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from epcore.graph import Node
from epcore.ops import OPS
from epcore.port.readiness.assess import Readiness
from epcore.port.readiness.rounding import OVERFLOW, SMALLEST_NORMAL, to_half

EXPONENT = float(np.log(OVERFLOW))  # 11.09: e^x is infinite in half from here on
STAGNATION = 0.01  # a mean that one float16 accumulator misses by more is named

OVERFLOWS = {  # kind -> what it means; these make infinities
    "value": "values overflow",
    "parameter": "parameters overflow",
    "sum": "sums over H*W overflow before the division",
    "scale": "batch norm's gamma / sqrt(variance + epsilon), computed in half, is not finite",
}
WARNINGS = {  # only in some implementations
    "partial sum": "partial sums may overflow in a float16 accumulator (sum of the magnitudes)",
    "stagnation": f"means lose more than {STAGNATION:.0%} to one float16 accumulator (relative to the largest mean)",
    "variance": "variance + epsilon is below half's smallest normal number",
    "exponential": f"inputs above {EXPONENT:.2f}, where e^x / (1 + e^x) is NaN in float16 and 1 / (1 + e^-x) is not",
}


@dataclass(frozen=True)
class Finding:
    """kind: a key of `OVERFLOWS` or `WARNINGS`. value: what overflows or is lost; infinite where it is not finite."""

    layer: str
    kind: str
    value: float

    @property
    def overflow(self) -> bool:
        return self.kind in OVERFLOWS


def find(report: Readiness) -> list[Finding]:
    """In the order of the layers."""
    findings: list[Finding] = []
    nodes, maximum = report.network.nodes, {layer.name: layer.range.maximum for layer in report.layers}
    for layer in report.layers:
        checks = [("value", layer.range.largest, OVERFLOW)]
        if layer.parameters:
            checks.append(("parameter", layer.parameters.largest, OVERFLOW))
        if layer.sums:
            total = layer.sums.sum or 0.0
            checks.append(("sum", total, OVERFLOW))
            if max(total, layer.range.largest) < OVERFLOW:
                checks.append(("partial sum", layer.sums.bound, OVERFLOW))
            checks.append(("stagnation", layer.sums.chain_error or 0.0, STAGNATION))
        if layer.name in nodes and OPS[layer.op].exponential:
            checks.append(("exponential", maximum[nodes[layer.name].inputs[0]], EXPONENT))
        findings += [Finding(layer.name, kind, value) for kind, value, limit in checks if value >= limit]
        if layer.name in nodes and OPS[layer.op].batch_statistics:
            findings += _batch_norm(nodes[layer.name], report)
    return findings


def _batch_norm(node: Node, report: Readiness) -> Iterable[Finding]:
    """A batch norm that was kept, its scale computed in half step by step."""
    gamma, _, _, variance = (to_half(report.network.parameters[name]) for name in node.parameters if name is not None)
    epsilon = to_half(np.array(node.attributes["epsilon"]))
    with np.errstate(all="ignore"):
        spread = to_half(variance + epsilon, flush=report.flush)
        scale = to_half(gamma / to_half(np.sqrt(spread)))
    if spread.min() < SMALLEST_NORMAL:
        yield Finding(node.name, "variance", float(spread.min()))
    if not np.isfinite(scale).all() or not np.isfinite(spread).all():
        yield Finding(node.name, "scale", np.inf)
