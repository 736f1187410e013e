"""The first layer where a port diverges, and why: by trying what ports are known to get wrong.

Layers are compared in the order they run. Between the last ones that agree and the first that does not lie the suspects; each
known mistake is planted there, the suspects are computed again from what agrees, and whatever then gives the port's own values
explains them. An explained mistake is taken over, so that what else is wrong further on is found in the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from epcore.graph import INPUT
from epcore.port.compare import Difference, compare, tolerance
from epcore.port.hypotheses import (
    FEW,
    Hypothesis,
    array_changes,
    changed_output,
    channel_permutation,
    describe_permutation,
    input_changes,
    operator_hypotheses,
    precision_errors,
    wiring_hypotheses,
)
from epcore.port.setting import Arrays, Setting
from epcore.shapes import Shape

_NOTABLE = 0.1  # a mistake that leaves less than this share of the error is worth showing though it does not explain all
_MOST = 20  # divergences looked into


@dataclass(frozen=True)
class Cause:
    """What the port probably does, what is right, in which layers. left: the relative error that it leaves; exact: none
    beyond rounding."""

    title: str
    hint: str
    layers: tuple[str, ...]
    left: float
    exact: bool


@dataclass(frozen=True)
class Divergence:
    """layer: the first given one that is wrong. suspects: it and the layers before it that were not given.

    shape: the port's, where it is not the right one; then there is no difference. causes: best first.
    """

    layer: str
    suspects: tuple[str, ...]
    difference: Difference | None
    shape: tuple[Shape, Shape] | None = None
    causes: tuple[Cause, ...] = ()


@dataclass
class Report:
    """compared: given layers in order. agreeing: those that agree, with mistakes that were explained taken over."""

    compared: list[str]
    divergences: list[Divergence] = field(default_factory=list)
    agreeing: list[Difference] = field(default_factory=list)
    not_reached: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.divergences


Progress = Callable[[str], None]


def find_divergences(
    setting: Setting,
    port: Arrays,
    wrong_shapes: dict[str, tuple[Shape, Shape]],
    rounding: dict[str, float],
    *,
    relative: float | None = None,
    preprocessing: str = "imagenet",
    progress: Progress = lambda text: None,
) -> Report:
    """port: layer -> its values, NHWC, of the right shape; "input" may be among them. wrong_shapes: layer -> (the port's,
    the right one). rounding: layer -> what float32 rounding does to it. relative: tolerance of one's own.
    preprocessing: how x was made of pixels.
    """
    given = [name for name in (INPUT, *setting.graph.nodes) if name in port or name in wrong_shapes]
    report = Report(given)
    search = _Search(setting, port, rounding, relative, preprocessing, progress)
    if INPUT in port:
        search.compare_input(report)
        search.setting = search.given_input()
    layers = [name for name in given if name != INPUT]
    search.recompute(layers)
    for position, name in enumerate(layers):
        known = layers[:position]
        if name in wrong_shapes:
            suspects = tuple(node.name for node in search.setting.needed([name], known))
            report.divergences.append(Divergence(name, suspects, None, wrong_shapes[name]))
            report.not_reached = layers[position + 1 :]
            break
        difference = search.difference(name)
        if difference.agrees:
            report.agreeing.append(difference)
            continue
        divergence, hypothesis = search.explain(name, known, difference, layers[position:])
        report.divergences.append(divergence)
        if not (divergence.causes and divergence.causes[0].exact) or len(report.divergences) == _MOST:
            report.not_reached = layers[position + 1 :]
            break
        if hypothesis is not None:
            search.setting = hypothesis.setting
            search.recompute(layers)
    return report


class _Search:
    """The network as the port is now believed to compute it, and what it gives."""

    def __init__(
        self,
        setting: Setting,
        port: Arrays,
        rounding: dict[str, float],
        relative: float | None,
        preprocessing: str,
        progress: Progress,
    ) -> None:
        self.setting, self.port, self.rounding, self.relative = setting, port, rounding, relative
        self.preprocessing, self.progress = preprocessing, progress
        self.shapes = setting.graph.shapes(setting.x.shape[0], setting.x.shape[1:])
        self.right: Arrays = {}

    def recompute(self, layers: list[str]) -> None:
        self.right = self.setting.evaluate(layers)

    def limit(self, name: str, right: np.ndarray) -> float:
        return tolerance(right, self.rounding.get(name, 0.0), self.port[name].dtype, self.relative)

    def difference(self, name: str, right: np.ndarray | None = None) -> Difference:
        right = self.right[name] if right is None else right
        return compare(name, self.port[name], right, self.limit(name, right))

    def _input_difference(self) -> Difference:
        x, port = self.setting.x, self.port[INPUT]
        return compare(INPUT, port.astype(np.float64), x, tolerance(x, 0.0, port.dtype, self.relative))

    def given_input(self) -> Setting:
        """With the port's own input where that is another one, so that the layers are judged by what they were given."""
        port = self.port[INPUT].astype(np.float64)
        return self.setting if self._input_difference().agrees or not np.isfinite(port).all() else replace(self.setting, x=port)

    def compare_input(self, report: Report) -> None:
        """Into the report: that it agrees, or a divergence with what explains it."""
        x, difference = self.setting.x, self._input_difference()
        if difference.agrees:
            report.agreeing.append(difference)
            return
        hint = "the input is prepared otherwise than x"
        changes = input_changes(x, self.preprocessing)
        tried = [self._cause(INPUT, f"preprocessing: {title}", hint, (INPUT,), changed) for title, changed in changes]
        causes = sorted((cause for cause in tried if cause.exact), key=lambda cause: cause.left)
        report.divergences.append(Divergence(INPUT, (INPUT,), difference, None, tuple(causes)))

    def explain(
        self, name: str, known: list[str], difference: Difference, rest: list[str]
    ) -> tuple[Divergence, Hypothesis | None]:
        """Tries everything that could be wrong; also returns the setting to go on with."""
        suspects = self.setting.needed([name], known)
        divergence = Divergence(name, tuple(node.name for node in suspects), difference)
        if not np.isfinite(difference.largest):
            return divergence, None
        port, right = self.port[name].astype(np.float64), self.right[name]
        values = {layer: self.right[layer] for layer in known}
        tried: list[tuple[Cause, Hypothesis | None]] = list(self._array_causes(name, port, right))
        about_values = {cause.title for cause, _ in tried}
        few = len(suspects) <= FEW
        hypotheses = self._hypotheses(divergence.suspects, few)
        for number, hypothesis in enumerate(hypotheses):
            if not few:
                self.progress(f"{name}: {number} mistakes tried in {len(suspects)} layers")
            y = hypothesis.setting.evaluate([name], values)[name]
            cause = self._cause(name, hypothesis.title, hypothesis.hint, hypothesis.layers, y)
            tried.append((cause, hypothesis))
            if cause.exact and not few:
                break
        if any(INPUT in node.inputs for node in suspects):
            tried += self._input_causes(name, values)
        scale = max(difference.relative, 1e-300)
        tried = [(cause, tested) for cause, tested in tried if cause.exact or cause.left < _NOTABLE * scale]
        # Of several that explain it, an operator's mistake says more than what became of its values: those come last.
        tried.sort(key=lambda pair: (not pair[0].exact, pair[0].exact and pair[0].title in about_values, pair[0].left))
        if not tried:
            tried = [(cause, None) for cause in self._precision_causes(name, values)]
        certain = [(cause, tested) for cause, tested in tried if cause.exact]
        causes = tuple(cause for cause, _ in (certain or tried)[:3])
        chosen = tried[0][1] if tried and tried[0][0].exact else None
        if chosen is not None and chosen.title in about_values:
            # In the file only, or in the network? In the network if more of what follows is then right.
            chosen = chosen if self._right_until(chosen.setting, rest[1:]) > self._right_until(self.setting, rest[1:]) else None
        elif chosen is not None:
            chosen, layers = self._extended(chosen, rest)
            first = tried[0][0]
            causes = (Cause(first.title, first.hint, layers, first.left, first.exact), *causes[1:])
        return Divergence(name, divergence.suspects, difference, None, causes), chosen

    def _hypotheses(self, suspects: tuple[str, ...], few: bool) -> Iterator[Hypothesis]:
        nodes = [self.setting.graph.nodes[name] for name in suspects]
        yield from operator_hypotheses(self.setting, list(suspects), self.shapes, alone=few)
        yield from wiring_hypotheses(self.setting, nodes, self.shapes, taps=few)

    def _extended(self, hypothesis: Hypothesis, rest: list[str]) -> tuple[Hypothesis, tuple[str, ...]]:
        """A port that makes a mistake in one layer mostly makes it in all: whichever keeps more of what follows right."""
        if hypothesis.setting.graph is not self.setting.graph or INPUT in hypothesis.layers:
            return hypothesis, hypothesis.layers
        order = list(self.setting.graph.nodes)
        later = [name for name in order[order.index(hypothesis.layers[0]) :] if name not in hypothesis.layers]
        best, reach = hypothesis, self._right_until(hypothesis.setting, rest)
        for same in operator_hypotheses(self.setting, later, self.shapes, alone=False):
            if same.title != hypothesis.title:
                continue
            setting = hypothesis.setting.computing({name: same.setting.otherwise[name] for name in same.layers})
            further = self._right_until(setting, rest)
            if further > reach:
                best, reach = Hypothesis(same.title, hypothesis.hint, hypothesis.layers + same.layers, setting), further
        return best, best.layers

    def _right_until(self, setting: Setting, rest: list[str]) -> int:
        values = setting.evaluate(rest)
        for position, name in enumerate(rest):
            if name not in self.port or not self.difference(name, values[name]).agrees:
                return position
        return len(rest)

    def _cause(self, name: str, title: str, hint: str, layers: tuple[str, ...], y: np.ndarray) -> Cause:
        scale = float(np.abs(y).max()) or 1.0
        error = float(np.abs(self.port[name].astype(np.float64) - y).max()) if y.shape == self.port[name].shape else np.inf
        return Cause(title, hint, layers, error / scale, error <= self.limit(name, y))

    def _array_causes(self, name: str, port: np.ndarray, right: np.ndarray) -> Iterator[tuple[Cause, Hypothesis]]:
        """What may have happened to the layer's values, on their way into the file or in the network."""
        changes = [
            (title, "layout of the array in the file, or of the layer", change) for title, change in array_changes(right.shape)
        ]
        permutation = channel_permutation(port, right, self.limit(name, right))
        if permutation is not None:
            keypoints = name in self.setting.graph.outputs.values()
            title = describe_permutation(permutation, keypoints=keypoints)
            order = "the order is that of epcore.pose.skeleton.KEYPOINTS"
            hint = order if keypoints else "all values are there, in other channels"
            changes.append((title, hint, lambda y: y[..., permutation]))
        factor = float((port * right).sum() / max(float(np.square(right).sum()), 1e-300))
        if factor and abs(factor - 1) > 1e-3:
            changes.append((f"{factor:.6g} times the right values", "a factor too many or missing", lambda y: factor * y))
        mean = float((port - right).mean())
        changes.append((f"the right values plus {mean:.6g}", "something is added to every value", lambda y: y + mean))
        for title, hint, change in changes:
            cause = self._cause(name, title, hint, (name,), change(right))
            yield cause, Hypothesis(title, hint, (name,), changed_output(self.setting, name, change))

    def _input_causes(self, name: str, values: Arrays) -> Iterator[tuple[Cause, Hypothesis]]:
        hint = "the input was prepared otherwise than x"
        for title, changed in input_changes(self.setting.x, self.preprocessing):
            setting = replace(self.setting, x=changed)
            cause = self._cause(name, f"preprocessing: {title}", hint, (INPUT,), setting.evaluate([name], values)[name])
            yield cause, Hypothesis(cause.title, hint, (INPUT,), setting)

    def _precision_causes(self, name: str, values: Arrays) -> Iterator[Cause]:
        right = self.right[name]
        error = float(np.sqrt(np.square(self.port[name].astype(np.float64) - right).mean()))
        scale = float(np.abs(right).max()) or 1.0
        for title, expected in precision_errors(self.setting, name, values, right):
            if expected and 1 / 4 < error / expected < 3:
                hint = "the error is of the size that such rounding gives: compute in float32, or pass a wider --tolerance"
                yield Cause(title, hint, (name,), error / scale, False)
