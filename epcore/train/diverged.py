"""Why a loss or a gradient is not a number: training that diverged, damaged weights, or kernels that are wrong on this machine.

Run only when a step has failed: it is repeated, layer by layer and with the reference. The network is left as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from epcore.backend import use_backend
from epcore.base.arrays import Array, array_module, to_numpy
from epcore.network import Network
from epcore.not_numbers import DOCTOR, backend_of, damaged_weights, kernel_fault
from epcore.ops import OPS
from epcore.pose.encode import Targets
from epcore.tape import Tape
from epcore.train.loss import pose_loss

Repeat = Callable[[], None]  # sets drop-connect's random numbers back to the step's first


def explain(
    network: Network, x: Array, targets: Targets, weights: Mapping[str, float], repeat: Repeat, gradient: str | None = None
) -> tuple[str, bool]:
    """(what is wrong, whether kernels are to blame) in a step whose loss, or gradient of the parameter named, is not a number.

    x, targets, weights: of the loss, as the step had them.
    """
    try:
        if gradient is None:
            return explain_loss(network, x, targets, weights, repeat)
        return explain_gradient(network, x, targets, weights, repeat, gradient)
    except MemoryError:  # the reference takes more than the kernels
        return f"{not_finite(gradient)} (no memory left to find out why)", False


def not_finite(gradient: str | None) -> str:
    """What is known before anything is explained."""
    return f"the {f'gradient of {gradient}' if gradient else 'loss'} is NaN or infinite"


def explain_loss(
    network: Network, x: Array, targets: Targets, weights: Mapping[str, float], repeat: Repeat
) -> tuple[str, bool]:
    """The first layer whose output is not a number, else the loss."""
    nodes = network.graph.nodes
    with _as_before(network):
        repeat()
        outputs = network.run(x, capture=nodes) | {"input": x}
    for name, node in nodes.items():
        if bool(array_module(outputs[name]).isfinite(outputs[name]).all()):
            continue
        finding = f"the output of layer {name} is NaN or infinite"
        training = network.training and not network.is_frozen(name)
        if damage := damaged_weights([node], network.parameters, running=not training):
            return f"{finding}: {damage}", False
        if OPS[node.op].identity_at_inference:
            return finding, False
        arguments: list[Any] = [to_numpy(outputs[value]) for value in node.inputs]
        arguments += [None if parameter is None else to_numpy(network.parameters[parameter]) for parameter in node.parameters]
        attributes = dict(node.attributes)
        if OPS[node.op].batch_statistics:
            attributes["training"] = training
        backend = backend_of(network)
        if backend != "reference" and kernel_fault(node, arguments, backend, attributes):
            return f"{finding}, but not the reference's for the same values: {_blame(network, node.op)}", True
        return finding, False
    with use_backend("reference"), np.errstate(all="ignore"):
        tape = Tape()
        tensors = {label: tape.watch(outputs[node]) for label, node in network.graph.outputs.items() if label in weights}
        loss, _ = pose_loss(tape, tensors, targets, weights)
    if backend_of(network) != "reference" and np.isfinite(float(loss.data)):
        return f"{not_finite(None)}, but not the reference's of the same maps: {_blame(network)}", True
    return not_finite(None), False


def explain_gradient(
    network: Network, x: Array, targets: Targets, weights: Mapping[str, float], repeat: Repeat, name: str
) -> tuple[str, bool]:
    """Whether the reference's gradient, that of the parameter `name`, is not a number either."""
    if backend_of(network) == "reference":
        return not_finite(name), False
    with _as_before(network), use_backend("reference"), np.errstate(all="ignore"):
        repeat()
        tape = Tape()
        outputs, watched = network.record(x, tape)
        tape.backward(pose_loss(tape, outputs, targets, weights)[0])
        gradients = [tape.gradient(tensor) for tensor in watched.values()]
    if all(gradient is None or bool(array_module(gradient).isfinite(gradient).all()) for gradient in gradients):
        return f"{not_finite(name)}, but no gradient of the reference for the same batch: {_blame(network)}", True
    return not_finite(name), False


def _blame(network: Network, op: str = "") -> str:
    return f"the {backend_of(network)} kernels{f' of {op}' if op else ''} are wrong on this machine; {DOCTOR}"


@contextmanager
def _as_before(network: Network) -> Iterator[None]:
    """Running statistics that follow a batch within the block are put back."""
    parameters = dict(network.parameters)
    try:
        yield
    finally:
        network.parameters.update(parameters)
