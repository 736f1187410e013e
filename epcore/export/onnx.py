"""Networks as ONNX files: explicit pads, batch norms folded or kept, any batch size.

Input and outputs are NHWC, as everywhere in epcore; inside, the graph is NCHW with one transposition at each border
(`layout="NCHW"` leaves them out). Keras' SAME padding becomes explicit pads for the network's own resolution, the smaller
half first, so no runtime has to agree on what SAME means. Drop-connect does not exist at inference.

The graph goes through the passes (at inference, operators in their steps, batch norms folded), then one node after the other
is written: as the ONNX operator that its `Op` names, or by a function of `_SEVERAL`. Every tensor is called as the node that
gives it, every constant as its parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.base.staging import write_atomically
from epcore.graph import INPUT, Node
from epcore.graph.passes import at_inference, fold_batch_norms, split_steps
from epcore.network import Network
from epcore.ops import OPS
from epcore.ops.eswish import BETA
from epcore.shapes import Shape, kernel_to_nchw

if TYPE_CHECKING:
    import onnx

OPSET = 17


def export_onnx(
    model: Network, path: str | PathLike[str], *, fold_batch_norm: bool = True, layout: str = "NHWC", opset: int = OPSET
) -> None:
    """Write the network as ONNX. Outputs are called as in epcore (pafs, confs2, confs3, upscaled), the input x.

    Raises ModuleNotFoundError without the package onnx, ValueError for an unknown layout or an operator that has no
    counterpart, OSError where the file cannot be written; it appears whole or not at all.
    """
    write_atomically(path, onnx_model(model, fold_batch_norm=fold_batch_norm, layout=layout, opset=opset).SerializeToString())


def onnx_model(model: Network, *, fold_batch_norm: bool = True, layout: str = "NHWC", opset: int = OPSET) -> onnx.ModelProto:
    """The ONNX model in memory, checked."""
    try:
        import onnx
        from onnx import helper
    except ModuleNotFoundError:
        raise ModuleNotFoundError("onnx is not installed: pip install 'epcore[onnx]'") from None
    if layout not in ("NHWC", "NCHW"):
        raise ValueError(f"layout is {layout!r}, expected NHWC or NCHW")
    graph = split_steps(at_inference(model.graph))
    shapes, parameters = graph.shapes(), dict(model.parameters)
    if fold_batch_norm:
        graph, parameters = fold_batch_norms(graph, parameters)
    writer = _Writer(shapes, parameters)
    H, W, C = graph.input_shape
    if layout == "NHWC":
        writer.names[INPUT] = writer.add("Transpose", ["x"], "x_nchw", perm=[0, 3, 1, 2])
    for node in graph.nodes.values():
        writer.write(node)
    outputs = []
    for label, name in graph.outputs.items():
        _, OH, OW, OC = shapes[name]
        if layout == "NHWC":
            writer.add("Transpose", [writer.names[name]], label, perm=[0, 2, 3, 1])
        else:
            writer.add("Identity", [writer.names[name]], label)
        shape: list[str | int | None] = ["batch", OH, OW, OC] if layout == "NHWC" else ["batch", OC, OH, OW]
        outputs.append(helper.make_tensor_value_info(label, onnx.TensorProto.FLOAT, shape))
    shape = ["batch", H, W, C] if layout == "NHWC" else ["batch", C, H, W]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    proto = helper.make_graph(writer.nodes, model.name, [x], outputs, writer.initializers)
    result = helper.make_model(
        proto, producer_name="epcore", opset_imports=[helper.make_opsetid("", opset)], ir_version=min(8, onnx.IR_VERSION)
    )
    onnx.checker.check_model(result, full_check=True)
    return result


class _Writer:
    """Collects nodes and initializers. names: of the tensor with a node's output."""

    def __init__(self, shapes: Mapping[str, Shape], parameters: Mapping[str, np.ndarray]) -> None:
        self.shapes = shapes
        self.parameters = parameters
        self.names = {INPUT: "x"}
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """The name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray | float) -> str:
        """Its name; a parameter that several nodes share is written once."""
        from onnx import numpy_helper

        if all(tensor.name != name for tensor in self.initializers):
            self.initializers.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def write(self, node: Node) -> None:
        """Raises ValueError for an operator that has no counterpart."""
        op, inputs = OPS[node.op], [self.names[name] for name in node.inputs]
        if node.op in _SEVERAL:
            self.names[node.name] = _SEVERAL[node.op](self, node, inputs[0])
            return
        if op.onnx is None:
            raise ValueError(f"{node.name}: operator {node.op} has no counterpart in the export")
        arrays = {name: np.asarray(self.parameters[name]) for name in node.parameters if name is not None}
        constants = [self.constant(name, self._in_nchw(node, array)) for name, array in arrays.items()]
        shapes = [self.shapes[name] for name in node.inputs] + [array.shape for array in arrays.values()]
        attributes = _window(node, shapes[: op.arity])
        if op.onnx in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[op.onnx](node)
        self.names[node.name] = self.add(op.onnx, [*inputs, *constants], node.name, **attributes)

    @staticmethod
    def _in_nchw(node: Node, array: np.ndarray) -> np.ndarray:
        """Kernels in ONNX' axes; one value a channel as convolutions and batch norms take it, or to be broadcast."""
        op = OPS[node.op]
        if op.kernel_axes:
            return kernel_to_nchw(array) if array.ndim > 1 else array
        return array if op.batch_statistics or array.ndim != 1 else array[:, None, None]


def _window(node: Node, shapes: Sequence[Shape]) -> dict[str, Any]:
    """Attributes of what reads x through windows, or spreads it over them."""
    op = OPS[node.op]
    read, spread = (function(*shapes, **node.attributes) for function in (op.window, op.spread))
    window = read or spread
    if window is None:
        return {}
    if spread and min(window.kernel) < window.stride:
        kh, kw = window.kernel
        raise ValueError(f"{node.name}: a {kh}x{kw} kernel is smaller than its stride {window.stride}, not exported")
    (top, bottom), (left, right) = window.padding[1:3]
    found = {"kernel_shape": window.kernel, "strides": [window.stride] * 2, "pads": [top, left, bottom, right]}
    return found | ({"group": shapes[0][3]} if op.kernel_axes and op.kernel_axes.depthwise else {})


# What else an ONNX operator is told.
_ATTRIBUTES: dict[str, Callable[[Node], dict[str, Any]]] = {
    "BatchNormalization": lambda node: {"epsilon": node.attributes["epsilon"]},
    "Concat": lambda node: {"axis": 1},
}


def _swish(writer: _Writer, node: Node, x: str) -> str:
    return writer.add("Mul", [x, writer.add("Sigmoid", [x], f"{node.name}/sigmoid")], node.name)


def _eswish(writer: _Writer, node: Node, x: str) -> str:
    product = writer.add("Mul", [x, writer.add("Sigmoid", [x], f"{node.name}/sigmoid")], f"{node.name}/swish")
    return writer.add("Mul", [product, writer.constant(f"{node.name}/factor", node.attributes.get("beta", BETA))], node.name)


def _relu(writer: _Writer, node: Node, x: str) -> str:
    limits = {"zero": 0.0, "maximum": node.attributes.get("maximum")}
    constants = [writer.constant(f"{node.name}/{name}", value) for name, value in limits.items() if value is not None]
    return writer.add("Clip", [x, *constants], node.name)


# Operators that take several of ONNX, or constants of their own.
_SEVERAL: dict[str, Callable[[_Writer, Node, str], str]] = {"swish": _swish, "eswish": _eswish, "relu": _relu}
