"""Golden vectors: what every layer gives for one input, forward and backward, so that a port can be compared layer by layer.

Everything is computed in double precision from float32 weights and inputs, and rounded once, when it is stored. Beside each
array the manifest says how far single precision comes from it (`rounding`): the reference in float32, its sums over pixels in
one chain, as plain kernels add. That is what a right float32 port may differ by, up to a small factor.

    input                       x
    directions/<output>         dL/d(output): the loss is L = sum of <output, direction> over all outputs
    layers/<layer>              output of a layer, or, where a map is large,
    samples/<layer>             its values at the rows and columns the manifest lists: all borders, corners and the middle, and
    channels/<layer>            (4,C): mean, root mean square, minimum and maximum of every channel
    layer_gradients/<layer>     dL/d(output of a layer); sampled in the same way
    parameter_gradients/<name>  dL/d(parameter)
    input_gradient              dL/dx
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from epcore.backend import use_backend
from epcore.gradcheck import cases
from epcore.graph import Node
from epcore.network import Network
from epcore.ops import OPS
from epcore.port.store import Vectors
from epcore.shapes import Shape, kernel_to_nchw, nhwc_to_nchw
from epcore.sums import in_one_chain
from epcore.tape import Tape

FORMAT = "epcore vectors 1"
LAYOUTS = ("NHWC", "NCHW")
DTYPES = ("float32", "float64")
_EDGE, _WHOLE = 3, 16  # a side of up to 16 is stored whole; of a longer one 3 at each end and 2 in the middle


def sampled(size: int) -> list[int]:
    """Rows, or columns, that are stored of a side of this length."""
    if size <= _WHOLE:
        return list(range(size))
    middle = size // 2
    return [*range(_EDGE), middle - 1, middle, *range(size - _EDGE, size)]


def network_vectors(
    model: Network,
    x: np.ndarray,
    *,
    gradients: bool = True,
    training: bool = False,
    full: bool = False,
    layout: str = "NHWC",
    dtype: str = "float32",
    seed: int = 0,
) -> Vectors:
    """Every layer of a network for x (N,H,W,3) float32.

    training: batch statistics instead of the running ones, no drop-connect. full: store large maps whole. seed: of the
    directions. The model is left as it is. Raises TypeError or ValueError for an x the network does not take.
    """
    _check_options(layout, dtype)
    model.check_input(x)
    double, single = _twin(model, np.float64, training), _twin(model, np.float32, training)
    rng = np.random.default_rng([seed, 1])
    shapes = model.graph.shapes(x.shape[0], x.shape[1:])
    directions = {label: rng.standard_normal(shapes[node], dtype=np.float32) for label, node in model.graph.outputs.items()}
    wanted = directions if gradients else None
    exact = _evaluate(double, x, wanted)
    with in_one_chain():
        rounded = _evaluate(single, x, wanted)

    arrays: dict[str, np.ndarray] = {"input": _stored(x, layout, dtype)}
    if gradients:
        arrays |= {f"directions/{label}": _stored(d, layout, dtype) for label, d in directions.items()}
    layers = []
    for node in model.graph.nodes.values():
        rows, columns = (list(range(n)) if full else sampled(n) for n in shapes[node.name][1:3])
        facts, stored = _layer(node, shapes[node.name], rows, columns, exact, rounded, layout, dtype)
        layers.append(facts)
        arrays |= stored
    gradient_facts = {}
    for key in [key for key in exact if not key.startswith("layer")]:
        name = key.partition("/")[2]
        gradient_facts[key] = {"rounding": _distance(rounded[key], exact[key]), "largest": float(np.abs(exact[key]).max())}
        arrays[key] = _stored(exact[key], layout, dtype, kernel=name.endswith("/kernel"))
    manifest = {
        "epcore_format": FORMAT,
        "kind": "network",
        "network": model.name,
        "layout": layout,
        "dtype": dtype,
        "mode": "training" if training else "inference",
        "loss": "sum over outputs of <output, direction>" if gradients else None,
        "input_shape": _axes(x.shape, layout),
        "outputs": dict(model.graph.outputs),
        "layers": layers,
        "gradients": gradient_facts,
    }
    return Vectors(arrays, manifest)


def _layer(
    node: Node,
    shape: Shape,
    rows: list[int],
    columns: list[int],
    exact: dict[str, np.ndarray],
    rounded: dict[str, np.ndarray],
    layout: str,
    dtype: str,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the manifest says of a layer, and its arrays: output and gradient, at these rows and columns."""
    facts: dict[str, Any] = {
        "name": node.name,
        "op": node.op,
        "stage": node.stage,
        "inputs": node.inputs,
        "shape": _axes(shape, layout),
        "parameters": list(node.parameters),
        "attributes": dict(node.attributes),
    }
    arrays: dict[str, np.ndarray] = {}
    whole = (len(rows), len(columns)) == shape[1:3]
    if not whole:
        facts |= {"rows": rows, "columns": columns}
    for kind, short in (("layers", ""), ("layer_gradients", "gradient_")):
        key = f"{kind}/{node.name}"
        if key not in exact:  # no gradients wanted, or the loss does not depend on it
            continue
        y = exact[key]
        facts[f"{short}rounding"] = _distance(rounded[key], y)
        facts[f"{short}largest"] = float(np.abs(y).max())
        if whole:
            arrays[key] = _stored(y, layout, dtype)
        else:
            arrays[f"{short}samples/{node.name}"] = _stored(y[:, rows][:, :, columns], layout, dtype)
            arrays[f"{short}channels/{node.name}"] = channel_statistics(y).astype(dtype)
    return facts, arrays


def exact_gradients(model: Network, vectors: Vectors) -> dict[str, np.ndarray]:
    """The gradients of a vectors' file once more, whole, in double precision and our layout; the input's under
    "layer_gradients/input". Raises ValueError where the file was made without gradients.
    """
    manifest = vectors.manifest
    if manifest["loss"] is None:
        raise ValueError("these vectors were made without gradients")
    axes = (0, 2, 3, 1) if manifest["layout"] == "NCHW" else (0, 1, 2, 3)
    x = vectors.arrays["input"].transpose(axes)
    directions = {label: vectors.arrays[f"directions/{label}"].transpose(axes) for label in manifest["outputs"]}
    found = _evaluate(_twin(model, np.float64, manifest["mode"] == "training"), x, directions)
    found["layer_gradients/input"] = found.pop("input_gradient")
    return {key: array for key, array in found.items() if "gradients/" in key}


def operator_vectors(*, layout: str = "NHWC", dtype: str = "float32", seed: int = 0) -> Vectors:
    """Every operator, forward and backward, at small shapes that show borders: odd sizes, stride 2, 1x1 maps.

    cases/<operator>/<number>/<array>: what goes in by its name in `epcore.ops`, y, dy, and the gradients d<array>.
    """
    _check_options(layout, dtype)
    arrays: dict[str, np.ndarray] = {}
    entries, count = [], dict.fromkeys(OPS, 0)
    for case in cases(seed):
        op, number = OPS[case.op], count[case.op]
        count[case.op] += 1
        names = op.array_names(len(case.arrays))
        single = [None if a is None else a.astype(np.float32) for a in case.arrays]
        inputs = [None if a is None else a.astype(np.float64) for a in single]
        y, saved = op.forward(*inputs, **case.attributes)
        dy = np.random.default_rng([seed, 2, number]).standard_normal(np.shape(y)).astype(np.float32)
        gradients = op.backward(dy.astype(np.float64), saved, **case.attributes)
        with in_one_chain():
            y_single, saved_single = op.forward(*single, **case.attributes)
            gradients_single = op.backward(dy, saved_single, **case.attributes)
        values = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
        values |= {"y": np.asarray(y), "dy": dy}
        rounding = {"y": _distance(np.asarray(y_single), values["y"])}
        for position in case.checked:
            values[f"d{names[position]}"] = gradients[position]
            rounding[f"d{names[position]}"] = _distance(gradients_single[position], gradients[position])
        prefix = f"cases/{case.op}/{number}"
        for name, array in values.items():
            arrays[f"{prefix}/{name}"] = _stored(array, layout, dtype, kernel=is_kernel(name))
        shapes = {name: list(arrays[f"{prefix}/{name}"].shape) for name in values}
        entries.append(
            {
                "name": f"{case.op}/{number}",
                "op": case.op,
                "what": case.label,
                "attributes": case.attributes,
                "shapes": shapes,
                "rounding": rounding,
            }
        )
    manifest = {"epcore_format": FORMAT, "kind": "operators", "layout": layout, "dtype": dtype, "seed": seed, "cases": entries}
    return Vectors(arrays, manifest)


def is_kernel(name: str) -> bool:
    """Whether an array of an operator's case, or its gradient, is a kernel: w, w_reduce, dw, ..."""
    return name.removeprefix("d").startswith("w")


def channel_statistics(y: np.ndarray) -> np.ndarray:
    """y (N,H,W,C) -> (4,C): mean, root mean square, minimum, maximum."""
    axes = (0, 1, 2)
    return np.stack([y.mean(axes), np.sqrt(np.square(y).mean(axes)), y.min(axes), y.max(axes)])


def _check_options(layout: str, dtype: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(DTYPES)}")


def _twin(model: Network, dtype: Any, training: bool) -> Network:
    """A copy of its own, everything trainable."""
    twin = copy.deepcopy(model).astype(dtype).unfreeze()
    twin.drop_connect = False
    return twin.train() if training else twin.eval()


def _evaluate(model: Network, x: np.ndarray, directions: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Layers, and with directions gradients, by the names of the file."""
    graph, x = model.graph, x.astype(model.dtype)
    with use_backend("reference"):
        if directions is None:
            return {f"layers/{name}": y for name, y in model.run(x, capture=graph.nodes).items() if name in graph.nodes}
        tape = Tape()
        start = tape.watch(x)
        values, watched = model.record(start, tape, capture=graph.nodes)
        for name in graph.nodes:
            tape.retain(values[name])
        # <output, direction> by the operators there are: the mean over pixels of the product, times the number of pixels.
        means, pixels = [], []
        for label, direction in directions.items():
            means.append(tape.apply("global_mean", tape.apply("multiply", values[label], direction.astype(model.dtype))))
            pixels.append(np.full(means[-1].shape, direction.shape[1] * direction.shape[2], model.dtype))
        tape.backward(tape.apply("concat", *means), np.concatenate(pixels, axis=-1))
    found = {f"layers/{name}": values[name].data for name in graph.nodes}
    wanted = {f"layer_gradients/{name}": values[name] for name in graph.nodes}
    wanted |= {f"parameter_gradients/{name}": tensor for name, tensor in watched.items()} | {"input_gradient": start}
    gradients = {key: tape.gradient(tensor) for key, tensor in wanted.items()}
    return found | {key: gradient for key, gradient in gradients.items() if gradient is not None}


def _distance(rounded: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(rounded - exact).max())


def _axes(shape: tuple[int, ...], layout: str) -> list[int]:
    return [shape[0], shape[3], shape[1], shape[2]] if layout == "NCHW" and len(shape) == 4 else list(shape)


def _stored(array: np.ndarray, layout: str, dtype: str, *, kernel: bool = False) -> np.ndarray:
    if layout == "NCHW":
        if kernel:
            array = kernel_to_nchw(array)
        elif array.ndim == 4:
            array = nhwc_to_nchw(array)
    return np.ascontiguousarray(array, dtype=dtype)
