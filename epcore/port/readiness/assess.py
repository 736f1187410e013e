"""The report: ranges of every layer over pictures, sums that could overflow, and the network run with rounded values.

Two passes over the pictures. The first runs float32 and observes; it fixes the int8 scales. The second runs float32 beside
every rounding: operators compute in float32 (as devices accumulate), parameters and every map a node gives are rounded. An
error is counted twice: `own`, of a layer that gets exact inputs (its rounded parameters and its rounded output), and `total`,
with everything before it rounded as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from epcore.graph import INPUT, Node
from epcore.ops import OPS
from epcore.port.readiness.device import Arrays, DeviceNetwork, compute
from epcore.port.readiness.keypoints import Decoded
from epcore.port.readiness.ranges import Observer, ParameterRange, Range, parameter_range
from epcore.port.readiness.rounding import MEANS, Half, Int8, Rounding, chain_mean
from epcore.shapes import Shape


@dataclass
class Error:
    """Of one layer over all pictures, against float32."""

    squares: float = 0.0  # sum of squared differences
    energy: float = 0.0  # sum of squared values
    difference: float = 0.0  # the largest
    largest: float = 0.0  # value

    def add(self, rounded: np.ndarray, exact: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            difference = np.abs(rounded - exact)
            worst = float(difference.max())
            squares = float(np.square(difference, dtype=np.float64).sum())
        self.difference = max(self.difference, np.inf if np.isnan(worst) else worst)
        self.squares += np.inf if np.isnan(squares) else squares
        self.largest = max(self.largest, float(np.abs(exact).max()))
        self.energy += float(np.square(exact, dtype=np.float64).sum())

    @property
    def relative(self) -> float:
        """Largest difference over the largest value; infinite where the rounded network overflowed."""
        return self.difference / self.largest if self.largest else (np.inf if self.difference else 0.0)

    @property
    def sqnr(self) -> float:
        """Signal to quantisation noise, dB: 10 log10 of energy over squares; infinite without any error."""
        if self.squares == 0:
            return np.inf
        return 10 * float(np.log10(self.energy / self.squares)) if self.energy and np.isfinite(self.squares) else -np.inf


@dataclass
class Sums:
    """What is added up inside a layer, largest over outputs and pictures.

    sum: |sum|, of a mean before it is divided; None for a convolution, whose sums are its values. bound: the sum of the
    magnitudes of all terms, which no partial sum exceeds, in whatever order. chain_error: of the means if one float16
    accumulator takes pixel after pixel, relative to the largest mean.
    """

    sum: float | None = None
    bound: float = 0.0
    chain_error: float | None = None


@dataclass
class LayerReport:
    """One node of the network as devices run it; "input" is the first. shape (H,W,C)."""

    name: str
    op: str
    shape: Shape
    range: Range
    parameters: ParameterRange | None = None
    sums: Sums | None = None
    own: dict[str, Error] = field(default_factory=dict)  # by the name of the experiment
    total: dict[str, Error] = field(default_factory=dict)


@dataclass
class Readiness:
    """layers: in order, the input first. keypoints: "float32" and every experiment -> what it decodes to; empty unless maps
    were to be decoded. network: as devices run it. affine, flush: as given to `assess`."""

    network: DeviceNetwork
    layers: list[LayerReport]
    keypoints: dict[str, Decoded]
    experiments: list[str]
    affine: bool
    flush: bool


FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
Progress = Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]]
TREE_SUMS, CHAIN_SUMS = "float16_tree_sums", "float16_chain_sums"  # of squeeze-and-excitation, see `rounding`


def assess(
    network: DeviceNetwork,
    inputs: Sequence[np.ndarray],
    *,
    final: str | None = None,
    affine: bool = True,
    flush: bool = False,
    progress: Progress = iter,
) -> Readiness:
    """Ranges and experiments of a network from `device_network`.

    inputs: preprocessed pictures (1,H,W,3) float32, all of one shape. final: label of the confidence maps to decode. affine:
    int8 maps have a zero point. flush: subnormal halves become zero. progress: goes through the pictures, once a pass. Raises
    ValueError without inputs, for shapes that differ and for a network whose values are not numbers in float32 already; else
    as `Network.run`.
    """
    if not inputs:
        raise ValueError("inputs is empty, expected at least one picture")
    for x in inputs:
        network.source.check_input(x)
        if x.shape != inputs[0].shape:
            raise ValueError(f"inputs have shapes {inputs[0].shape} and {x.shape}, expected one shape for all")
    layers = _measure(network, inputs, progress)
    experiments: dict[str, Rounding] = {FLOAT16: Half(flush)}
    if any(OPS[node.op].averages_map for node in network.nodes.values()):
        experiments |= {TREE_SUMS: Half(flush, "tree"), CHAIN_SUMS: Half(flush, "chain")}
    experiments[INT8] = Int8({name: (layer.range.minimum, layer.range.maximum) for name, layer in layers.items()}, affine)
    keypoints = _compare(network, inputs, layers, experiments, final, progress)
    return Readiness(network, list(layers.values()), keypoints, list(experiments), affine, flush)


# ---- first pass: float32, observed -----------------------------------------------------------------------------------


def _measure(network: DeviceNetwork, inputs: Sequence[np.ndarray], progress: Progress) -> dict[str, LayerReport]:
    observers = {name: Observer(len(inputs)) for name in (INPUT, *network.nodes)}
    sums: dict[str, Sums] = {}
    shapes: dict[str, Shape] = {}
    for x in progress(inputs):
        values = {INPUT: x}
        observers[INPUT].add(x)
        for node, finished in network.schedule():
            arguments = [values[name] for name in node.inputs]
            y = values[node.name] = compute(node, arguments, network.parameters)
            if not np.isfinite(y).all():
                raise ValueError(f"{node.name} of {network.source.name} gives values that are not numbers in float32 already")
            observers[node.name].add(y)
            shapes[node.name] = y.shape[1:]
            _add_up(node, arguments[0], network.parameters, sums)
            for name in finished:
                del values[name]
    layers = {INPUT: LayerReport(INPUT, INPUT, inputs[0].shape[1:], observers[INPUT].range())}
    for name, node in network.nodes.items():
        arrays = [network.parameters[each] for each in node.parameters if each is not None]
        found = observers[name].range(), parameter_range(arrays), sums.get(name)
        layers[name] = LayerReport(name, node.op, shapes[name], *found)
    return layers


def _add_up(node: Node, x: np.ndarray, parameters: Arrays, sums: dict[str, Sums]) -> None:
    """What the node adds up for one picture."""
    if OPS[node.op].averages_map:
        found = sums.setdefault(node.name, Sums(0.0, 0.0, 0.0))
        assert found.sum is not None and found.chain_error is not None
        total = x.sum(axis=(1, 2), dtype=np.float64)
        mean = total / (x.shape[1] * x.shape[2])
        error = np.abs(chain_mean(x)[:, 0, 0] - mean).max() / (np.abs(mean).max() or 1)
        found.sum = max(found.sum, float(np.abs(total).max()))
        found.bound = max(found.bound, float(np.abs(x).sum(axis=(1, 2), dtype=np.float64).max()))
        found.chain_error = max(found.chain_error, float(np.nan_to_num(error, nan=np.inf, posinf=np.inf)))
    elif OPS[node.op].kernel_axes:
        magnitudes = {name: np.abs(parameters[name]) for name in node.parameters if name is not None}
        found = sums.setdefault(node.name, Sums())
        found.bound = max(found.bound, float(compute(node, [np.abs(x)], magnitudes).max()))


# ---- second pass: float32 beside every rounding -----------------------------------------------------------------------


def _compare(
    network: DeviceNetwork,
    inputs: Sequence[np.ndarray],
    layers: dict[str, LayerReport],
    experiments: Mapping[str, Rounding],
    final: str | None,
    progress: Progress,
) -> dict[str, Decoded]:
    """Fill in the layers' errors; the keypoints."""
    parameters = {label: rounding.parameters(network) for label, rounding in experiments.items()}
    keypoints = {} if final is None else {label: Decoded() for label in (FLOAT32, *experiments)}
    for layer in layers.values():
        layer.own, layer.total = ({label: Error() for label in experiments} for _ in range(2))

    for x in progress(inputs):
        exact = {INPUT: x}
        rounded = {label: {INPUT: rounding.value(INPUT, x)} for label, rounding in experiments.items()}
        for label in experiments:
            layers[INPUT].own[label].add(rounded[label][INPUT], x)
            layers[INPUT].total[label].add(rounded[label][INPUT], x)
        for node, finished in network.schedule():
            layer, arguments = layers[node.name], [exact[name] for name in node.inputs]
            y = exact[node.name] = compute(node, arguments, network.parameters)
            for label, rounding in experiments.items():
                own = rounding.value(node.name, _step(node, arguments, parameters[label], rounding))
                given = [rounded[label][name] for name in node.inputs]
                total = rounding.value(node.name, _step(node, given, parameters[label], rounding))
                rounded[label][node.name] = total
                layer.own[label].add(own, y)
                layer.total[label].add(total, y)
            if final is not None and node.name == network.outputs[final]:
                for label, decoded in keypoints.items():
                    decoded.add(y if label == FLOAT32 else rounded[label][node.name])
            for values in (exact, *rounded.values()):
                for name in finished:
                    del values[name]
    return keypoints


def _step(node: Node, arguments: list[np.ndarray], parameters: Arrays, rounding: Rounding) -> np.ndarray:
    if OPS[node.op].averages_map and np.isfinite(arguments[0]).all():
        return MEANS[rounding.sums](arguments[0])
    return compute(node, arguments, parameters)
