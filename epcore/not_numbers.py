"""Why maps are not numbers: the weights, the input or the kernels.

NaN and infinities look the same wherever they come from, so the cause is found by elimination: weights that are no numbers
themselves; else the reference, computed once more from the same x, is not finite either (float32 overflows: the input, or the
weights, are too large); else the kernels of the backend are wrong on this machine, and the operators are compared one by one.

Nothing here runs as long as maps are numbers, but for one look at them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.backend import Array, automatic, current_backend, is_cupy, kernel, not_finite, to_numpy, use_backend
from epcore.graph import INPUT, Graph, Node
from epcore.graph.passes import at_inference
from epcore.graph.schedule import schedule
from epcore.network import Network
from epcore.ops import OPS

if TYPE_CHECKING:
    from epcore.inference.engine import Engine

DOCTOR = "`epcore doctor` checks every kernel of this machine"
LARGE = 10.0  # a picture's values are below 3 after normalisation: beyond this the input is called too large, else the weights
# Of the largest value. Rounding in float32 is below 1e-3 even where 10^4 values are summed in one chain.
DIFFERENT = 0.01
NEAR = 1e-8  # of the largest float: where the reference comes nearer, sums in another order may overflow
NAMED = 3  # arrays that a message names


class NotNumbersError(ValueError):
    """Maps hold NaN or infinite values; the message says why."""


@dataclass(frozen=True)
class Source:
    """What an engine was made from, without copies: the arrays are the model's own. backend: whose kernels it runs on."""

    name: str
    graph: Graph
    parameters: Mapping[str, Array]
    backend: str

    @classmethod
    def of(cls, model: Network, backend: str) -> Source:
        return cls(model.name, model.graph, dict(model.parameters), backend)


def require_numbers(maps: Array, model: Network | Engine, x: Array) -> None:
    """Raises NotNumbersError where the maps that `model` gave for x hold NaN or infinite values.

    maps (N,...), x (N,H,W,C): NumPy or CuPy. The cause of an engine without `source` stays unknown.
    """
    if not not_finite(maps):
        return
    wrong = np.flatnonzero(~np.isfinite(to_numpy(maps)).reshape(len(maps), -1).all(axis=1))
    index = int(wrong[0])
    which = f" (picture {index + 1} of {len(maps)})" if len(maps) > 1 else ""
    raise NotNumbersError(f"the maps of {model.name} hold NaN or infinite values{which}: {reason(model, x[index : index + 1])}")


def reason(model: Network | Engine, x: Array) -> str:
    """The cause in words, for x (1,H,W,C) whose maps are not numbers."""
    source = Source.of(model, backend_of(model)) if isinstance(model, Network) else model.source
    if source is None:
        return "it is no network or plan of epcore, so why is not known"
    if damage := damaged_weights(source.graph.nodes.values(), source.parameters):
        return f"its weights are damaged: {damage}"
    x = to_numpy(x).astype(next(iter(source.parameters.values())).dtype, copy=False)
    if count := not_finite(x):
        return f"x itself has {count} values that are NaN or infinite"
    try:
        return _compare(source, x)
    except Exception as error:  # out of memory, most likely: the finding is that nothing was found
        return (
            f"its weights are numbers, but computing the maps once more with the reference failed "
            f"({type(error).__name__}: {error}), so whether input or kernels are at fault is not known; {DOCTOR}"
        )


def damaged_weights(nodes: Iterable[Node], parameters: Mapping[str, Array], *, running: bool = True) -> str:
    """Names of the arrays that hold NaN or infinite values, or variances whose root does not exist; "" if there are none.

    running False leaves out running statistics: batch norms in training do not use theirs.
    """
    damages = []
    for node in nodes:
        for position, name in enumerate(node.parameters):
            if name is None or (OPS[node.op].batch_statistics and position >= 2 and not running):
                continue
            array = to_numpy(parameters[name])
            if count := not_finite(array):
                damages.append(f"{name} has {count} values that are NaN or infinite")
            elif OPS[node.op].batch_statistics and position == 3 and not (array + node.attributes["epsilon"] > 0).all():
                damages.append(f"{name} is negative ({array.min():.3g})")
    more = f", and {len(damages) - NAMED} more arrays" if len(damages) > NAMED else ""
    return ", ".join(damages[:NAMED]) + more


def kernel_fault(node: Node, arguments: list[Any], backend: str, attributes: Mapping[str, Any]) -> str:
    """What is wrong with a backend's kernel of one node, given NumPy arguments; "" if it agrees with the reference, or the
    reference's output is not finite either."""
    right = _reference(node, arguments, attributes)
    return _fault(backend, node, arguments, attributes, right) if np.isfinite(right).all() else ""


def _compare(source: Source, x: np.ndarray) -> str:
    """Walk the reference, and beside it every operator's kernel on the reference's values."""
    parameters = {name: to_numpy(array) for name, array in source.parameters.items()}
    fault = ""
    for node, arguments, y in _walk(source.graph, parameters, x):
        if not (reached := float(np.abs(y).max())) < NEAR * np.finfo(y.dtype).max:
            return _overflow(node, reached, x, parameters)
        if not fault and source.backend != "reference":
            deviation = _fault(source.backend, node, arguments, _attributes(node), y)
            fault = f"{node.op} (layer {node.name}), which {deviation}" if deviation else ""
    same = "from the same x and weights the reference computes maps that are numbers"
    if source.backend == "reference":
        return f"{same} when asked again: this machine does not compute reliably"
    if fault:
        return f"{same}, so the {source.backend} kernels are wrong on this machine, first {fault}; {DOCTOR}"
    return (
        f"{same}, and so does every operator's {source.backend} kernel by itself, so what joins them (fused kernels, threads) "
        f"is wrong on this machine; {DOCTOR}"
    )


def _walk(graph: Graph, parameters: Mapping[str, np.ndarray], x: np.ndarray) -> Iterator[tuple[Node, list[Any], np.ndarray]]:
    """Every node with its arguments and the reference's output, at inference; a value is let go after its last use."""
    values = {INPUT: x}
    for node, finished in schedule(at_inference(graph).nodes.values()):
        arguments: list[Any] = [values[name] for name in node.inputs]
        arguments += [None if name is None else parameters[name] for name in node.parameters]
        y = _reference(node, arguments, _attributes(node))
        yield node, arguments, y
        values[node.name] = y
        for name in finished:
            del values[name]


def _attributes(node: Node) -> dict[str, Any]:
    return {**node.attributes, "training": False} if OPS[node.op].batch_statistics else dict(node.attributes)


def _reference(node: Node, arguments: list[Any], attributes: Mapping[str, Any]) -> np.ndarray:
    with use_backend("reference"), np.errstate(all="ignore"):
        return kernel(node.op, *arguments)[0](*arguments, **attributes)[0]


def _fault(backend: str, node: Node, arguments: list[Any], attributes: Mapping[str, Any], right: np.ndarray) -> str:
    if backend == "cuda":
        from epcore.kernels.cuda.loader import require_cupy

        cupy = require_cupy()
        arguments = [None if array is None else cupy.asarray(array) for array in arguments]
    try:
        with use_backend(backend), np.errstate(all="ignore"):
            y = to_numpy(kernel(node.op, *arguments)[0](*arguments, **attributes)[0])
    except Exception as error:
        return f"fails with {type(error).__name__}: {error}"
    if not np.isfinite(y).all():
        return "gives values that are NaN or infinite where the reference's are not"
    distance, largest = float(np.abs(y - right).max()), float(np.abs(right).max())
    return f"is {distance:.2g} away from the reference (largest value {largest:.2g})" if distance > DIFFERENT * largest else ""


def _overflow(node: Node, reached: float, x: np.ndarray, parameters: Mapping[str, np.ndarray]) -> str:
    largest = float(np.abs(x).max())
    name, weight = max(((name, float(np.abs(array).max())) for name, array in parameters.items()), key=itemgetter(1))
    guilty = "input is" if largest > LARGE else "weights are"
    how = f"reaches {reached:.2g} of at most {np.finfo(x.dtype).max:.2g}" if np.isfinite(reached) else "overflows"
    return (
        f"its {guilty} too large: {x.dtype} {how} in layer {node.name} ({node.op}), also in the reference. The largest |x| is "
        f"{largest:.3g} (below 3 in a normalised picture), the largest weight {weight:.3g} ({name})"
    )


def backend_of(model: Network, backend: str | None = None) -> str:
    """Whose kernels `model(x)` runs on under a backend; None: the current one."""
    backend = backend or current_backend()
    return automatic(is_cupy(model.any_parameter), model.dtype == np.float32) if backend == "auto" else backend
