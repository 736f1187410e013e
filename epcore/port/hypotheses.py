"""What could be wrong with a port between the layers that agree and the first that does not, as settings to be tried.

Operators (`epcore.port.mistakes`), wiring, the input, reduced precision; and what may have happened to an array on its way
into the file: permuted channels, exchanged axes, a factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from epcore.graph import INPUT, Node
from epcore.ops import OPS
from epcore.port.mistakes import mistakes
from epcore.port.setting import Arrays, Forward, Setting
from epcore.pose.preprocess import PREPROCESSING
from epcore.pose.skeleton import FLIP_PERMUTATION, KEYPOINTS, MPII_IDS
from epcore.shapes import Shape

Change = Callable[[np.ndarray], np.ndarray]

FEW = 40  # layers between two given ones up to which every layer is also tried alone, and every other tap
_HOPS = 3  # how far from the right layer a wrongly tapped one is looked for


@dataclass(frozen=True)
class Hypothesis:
    """title: what the port may do. hint: what is right. layers: where. setting: the network with that mistake."""

    title: str
    hint: str
    layers: tuple[str, ...]
    setting: Setting


def operator_hypotheses(setting: Setting, names: list[str], shapes: dict[str, Shape], *, alone: bool) -> Iterator[Hypothesis]:
    """Every known mistake in all of the named layers at once, in those of one operator, and with `alone` in each by itself."""
    forwards_of: dict[str, dict[str, Forward]] = {}
    hints: dict[str, str] = {}
    for name in names:
        node = setting.graph.nodes[name]
        arguments: list[Shape | None] = [shapes[given] for given in node.inputs]
        arguments += [None if array is None else array.shape for array in setting.parameters_of(node)]
        for mistake in mistakes(node.op, arguments, setting.attributes_of(node)):
            forwards_of.setdefault(mistake.title, {})[name] = mistake.forward
            hints.setdefault(mistake.title, mistake.hint)
    for title, forwards in forwards_of.items():
        groups = [tuple(forwards)]
        for op in dict.fromkeys(setting.graph.nodes[name].op for name in forwards):
            groups.append(tuple(name for name in forwards if setting.graph.nodes[name].op == op))
        if alone:
            groups += [(name,) for name in forwards]
        for group in dict.fromkeys(groups):
            yield Hypothesis(title, hints[title], group, setting.computing({name: forwards[name] for name in group}))


def wiring_hypotheses(setting: Setting, nodes: list[Node], shapes: dict[str, Shape], *, taps: bool) -> Iterator[Hypothesis]:
    """A residual sum that is not there, or (with `taps`) one input taken from a layer nearby of the same shape."""
    for node in nodes:
        for name in node.inputs:
            block = name.removesuffix("project_bn")
            first = next((other for other in setting.graph.nodes.values() if other.name.startswith(block)), None)
            if block == name or first is None or shapes[first.inputs[0]] != shapes[name]:
                continue
            added = Node(f"{block}add", "add", (name, first.inputs[0]), stage=node.stage)
            if added.name in setting.graph.nodes:
                continue
            readers = [reader for reader in setting.graph.nodes.values() if name in reader.inputs]
            moved = [_with_input(reader, name, added.name) for reader in readers]
            branch = "low branch" if name.startswith("low.") else block.rstrip(".")
            yield Hypothesis(
                f"{branch} tapped after a residual add",
                f"it is tapped at {name}, before any add",
                tuple(reader.name for reader in readers),
                setting.rewired([added, *moved]),
            )
    if taps:
        for node in nodes:
            for name in dict.fromkeys(node.inputs):
                for other in _nearby(setting, name, node.name):
                    if shapes[other] == shapes[name]:
                        title = f"reads {other} instead of {name}"
                        yield Hypothesis(
                            title, f"its input is {name}", (node.name,), setting.rewired([_with_input(node, name, other)])
                        )


def _with_input(node: Node, old: str, new: str) -> Node:
    inputs = tuple(new if name == old else name for name in node.inputs)
    return Node(node.name, node.op, inputs, node.parameters, node.attributes, node.stage)


def _nearby(setting: Setting, name: str, reader: str) -> list[str]:
    """Layers up to _HOPS edges from `name`, those that run before the reader."""
    order = {layer: i for i, layer in enumerate(setting.graph.nodes)}
    near, edge = {name}, {name}
    for _ in range(_HOPS):
        before = {given for layer in edge if layer != INPUT for given in setting.graph.nodes[layer].inputs}
        after = {node.name for node in setting.graph.nodes.values() if edge & set(node.inputs)}
        edge = (before | after) - near
        near |= edge
    return sorted((layer for layer in near - {name, INPUT} if order[layer] < order[reader]), key=lambda layer: order[layer])


_PREPROCESSING_WORDS = {
    "imagenet": "mean and standard deviation of ImageNet instead of pixel / 127.5 - 1",
    "signed": "pixel / 127.5 - 1 instead of mean and standard deviation",
}


def input_changes(x: np.ndarray, preprocessing: str) -> Iterator[tuple[str, np.ndarray]]:
    """(what was done instead, the x it gives). preprocessing: how x was made, a key of `PREPROCESSING`."""
    mean, std = PREPROCESSING[preprocessing]
    unit = x * std + mean  # pixels, 0 to 1
    yield "pixels from 0 to 1, without mean and standard deviation", unit
    yield "pixels from 0 to 255", 255 * unit
    for other, (other_mean, other_std) in PREPROCESSING.items():
        if other != preprocessing:
            yield _PREPROCESSING_WORDS[other], (unit - other_mean) / other_std
    yield "the mean subtracted, not divided by the standard deviation", unit - mean
    yield "mean and standard deviation applied to pixels from 0 to 255", (255 * unit - mean) / std
    yield "divided by 255 twice", (unit / 255 - mean) / std
    yield "BGR instead of RGB", x[..., ::-1]
    if len(set(np.ravel(mean))) > 1:
        yield "BGR instead of RGB, each channel with the other's mean", (unit[..., ::-1] - mean) / std
    yield (
        "BGR minus ImageNet's mean on a scale of 255, as Caffe's networks",
        255 * (unit - PREPROCESSING["imagenet"][0])[..., ::-1],
    )
    yield "flipped left to right", x[:, :, ::-1]
    yield "flipped upside down", x[:, ::-1]
    if x.shape[1] == x.shape[2]:
        yield "rows and columns exchanged", x.swapaxes(1, 2)


def array_changes(shape: Shape) -> Iterator[tuple[str, Change]]:
    """(what may have happened to a map of this shape, in the file or in the network, how it comes about)."""
    N, H, W, C = shape
    if H == W:
        yield "rows and columns exchanged", lambda y: y.swapaxes(1, 2)
    yield "flipped left to right", lambda y: y[:, :, ::-1]
    yield "flipped upside down", lambda y: y[:, ::-1]
    yield "NCHW memory reshaped to NHWC instead of transposed", lambda y: y.transpose(0, 3, 1, 2).reshape(shape)
    yield "NHWC memory reshaped to NCHW instead of transposed", lambda y: y.reshape(N, C, H, W).transpose(0, 2, 3, 1)


def channel_permutation(port: np.ndarray, right: np.ndarray, limit: float) -> np.ndarray | None:
    """(C,): channel c of the port is channel permutation[c] of ours; None unless that, and not the identity, explains it."""
    C = right.shape[-1]
    step = max(1, right.size // C // 256)
    few_port, few_right = (array.reshape(-1, C)[::step] for array in (port, right))
    distances = np.abs(few_port[:, :, None] - few_right[:, None, :]).max(axis=0)
    permutation = linear_sum_assignment(np.where(np.isfinite(distances), distances, np.finfo(np.float64).max / C))[1]
    if np.array_equal(permutation, np.arange(C)):
        return None
    return permutation if np.abs(port - right[..., permutation]).max() <= limit else None


def describe_permutation(permutation: np.ndarray, *, keypoints: bool) -> str:
    """In words. keypoints: the channels are those of confidence maps."""
    C = len(permutation)
    if keypoints and len(KEYPOINTS) == C:
        if np.array_equal(permutation, FLIP_PERMUTATION):
            return "joint order: left and right exchanged"
        by_id = [MPII_IDS.index(joint) for joint in range(C)]
        known = "MPII's ids" if permutation.tolist() == by_id else ", ".join(KEYPOINTS[i] for i in permutation)
        return f"joint order: {known}"
    if np.array_equal(permutation, np.arange(C)[::-1]):
        return "channel permutation: in reversed order"
    shift = int(permutation[0])
    if np.array_equal(permutation, np.roll(np.arange(C), -shift)):
        return f"channel permutation: ours from {shift} on come first (concat order?)"
    moved = np.flatnonzero(permutation != np.arange(C))
    shown = ", ".join(f"{c} is ours {permutation[c]}" for c in moved[:6])
    return f"channel permutation: {len(moved)} of {C} channels moved ({shown}{', ...' if len(moved) > 6 else ''})"


_PRECISIONS: dict[str, Change] = {
    "half precision or TF32 (10 bits of mantissa)": lambda y: _to_mantissa(y, 10),
    "bfloat16 (7 bits of mantissa)": lambda y: _to_mantissa(y, 7),
}


def precision_errors(setting: Setting, target: str, known: Arrays, right: np.ndarray) -> Iterator[tuple[str, float]]:
    """(precision, root mean square error of the target) with every layer's output rounded to it."""
    for name, rounded in _PRECISIONS.items():
        forwards: dict[str, Forward] = {}
        for node in setting.needed([target], known):
            forwards[node.name] = _rounding(setting.otherwise.get(node.name) or _forward(node), rounded)
        y = setting.computing(forwards).evaluate([target], known)[target]
        yield name, float(np.sqrt(np.square(y - right).mean()))


def changed_output(setting: Setting, name: str, change: Change) -> Setting:
    """With what happens to a layer's output on its way happening in the network."""
    node = setting.graph.nodes[name]
    forward = setting.otherwise.get(name) or _forward(node)
    return setting.computing({name: lambda *arrays, **attributes: change(forward(*arrays, **attributes))})


def _forward(node: Node) -> Forward:
    if node.identity_at_inference:
        return lambda x, *mask, **attributes: x
    return lambda *arrays, **attributes: OPS[node.op].forward(*arrays, **attributes)[0]


def _rounding(forward: Forward, rounded: Change) -> Forward:
    def changed(*arrays: np.ndarray | None, **attributes: object) -> np.ndarray:
        first, *rest = (None if array is None else rounded(array) for array in arrays)
        return rounded(forward(first, *rest, **attributes))

    return changed


def _to_mantissa(y: np.ndarray, bits: int) -> np.ndarray:
    fraction, exponent = np.frexp(y)
    rounded: np.ndarray = np.ldexp(np.round(np.ldexp(fraction, bits + 1)), exponent - bits - 1)
    return rounded
