"""Networks as ONNX files: explicit pads, batch norms folded or kept, any batch size.

Input and outputs are NHWC, as everywhere in epcore; inside, the graph is NCHW with one transposition at each border
(`layout="NCHW"` leaves them out). Keras' SAME padding becomes explicit pads for the network's own resolution, the smaller
half first, so no runtime has to agree on what SAME means. Drop-connect does not exist at inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from epcore.base.files import write_atomically
from epcore.graph import INPUT, Graph, Node
from epcore.graph.passes import at_inference
from epcore.inference.fold import Layer, fold
from epcore.network import Network
from epcore.shapes import Shape, same_padding, transposed_crop

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
    graph = at_inference(model.graph)
    writer = _Writer(graph.shapes())
    H, W, C = graph.input_shape
    names = {INPUT: "x"}
    if layout == "NHWC":
        names[INPUT] = writer.add("Transpose", ["x"], "x_nchw", perm=[0, 3, 1, 2])
    if fold_batch_norm:
        _write_layers(writer, fold(graph, model.parameters), names)
    else:
        _write_nodes(writer, graph, model, names)
    outputs = []
    for label, name in graph.outputs.items():
        _, OH, OW, OC = writer.shapes[name]
        if layout == "NHWC":
            writer.add("Transpose", [names[name]], label, perm=[0, 2, 3, 1])
        else:
            writer.add("Identity", [names[name]], label)
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
    """Collects nodes and initializers; every method returns the name of its output."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, array: np.ndarray) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def convolution(
        self, name: str, x: str, source: str, w: np.ndarray, b: np.ndarray | None, stride: int, depthwise: bool
    ) -> str:
        """w as epcore has it; `source` is the node whose spatial size decides the pads."""
        _, H, W, C = self.shapes[source]
        kernel = w.transpose(2, 0, 1)[:, None] if depthwise else w.transpose(3, 2, 0, 1)
        (top, bottom), (left, right) = same_padding(H, w.shape[0], stride), same_padding(W, w.shape[1], stride)
        inputs = [x, self.constant(f"{name}/kernel", kernel)]
        if b is not None:
            inputs.append(self.constant(f"{name}/bias", b))
        return self.add(
            "Conv", inputs, name, kernel_shape=w.shape[:2], strides=[stride, stride], pads=[top, left, bottom, right],
            group=C if depthwise else 1,
        )  # fmt: skip

    def transposed(self, name: str, x: str, w: np.ndarray, b: np.ndarray | None, stride: int) -> str:
        """Keras' SAME: the full output has (n - 1) * s + k rows, of which the crop and the rest are cut off."""
        start = [transposed_crop(k, stride) for k in w.shape[:2]]
        end = [k - stride - p for k, p in zip(w.shape[:2], start, strict=True)]
        if min(end) < 0:
            raise ValueError(f"{name}: a {w.shape[0]}x{w.shape[1]} kernel is smaller than its stride {stride}, not exported")
        inputs = [x, self.constant(f"{name}/kernel", w.transpose(3, 2, 0, 1))]
        if b is not None:
            inputs.append(self.constant(f"{name}/bias", b))
        return self.add("ConvTranspose", inputs, name, kernel_shape=w.shape[:2], strides=[stride, stride], pads=[*start, *end])

    def activation(self, name: str, x: str, kind: str, factor: float) -> str:
        """factor: of E-swish, or the cap of ReLU (infinity for none)."""
        if kind == "sigmoid":
            return self.add("Sigmoid", [x], name)
        if kind == "relu":
            zero = self.constant(f"{name}/zero", np.array(0.0))
            capped = [self.constant(f"{name}/maximum", np.array(factor))] if np.isfinite(factor) else []
            return self.add("Clip", [x, zero, *capped], name)
        gate = self.add("Sigmoid", [x], f"{name}/sigmoid")
        if factor == 1:
            return self.add("Mul", [x, gate], name)
        product = self.add("Mul", [x, gate], f"{name}/swish")
        return self.add("Mul", [product, self.constant(f"{name}/factor", np.array(factor))], name)

    def squeeze_excite(self, name: str, x: str, weights: Sequence[np.ndarray], kind: str, factor: float) -> str:
        """weights: reduce (C,R), its bias, expand (R,C), its bias."""
        reduce, reduce_bias, expand, expand_bias = weights
        mean = self.add("GlobalAveragePool", [x], f"{name}/mean")
        kernel = self.constant(f"{name}_reduce/kernel", reduce.T[:, :, None, None])
        hidden = self.add("Conv", [mean, kernel, self.constant(f"{name}_reduce/bias", reduce_bias)], f"{name}/reduce")
        hidden = self.activation(f"{name}/hidden", hidden, kind, factor)
        kernel = self.constant(f"{name}_expand/kernel", expand.T[:, :, None, None])
        gate = self.add("Conv", [hidden, kernel, self.constant(f"{name}_expand/bias", expand_bias)], f"{name}/expand")
        return self.add("Mul", [x, self.add("Sigmoid", [gate], f"{name}/gate")], name)


def _write_layers(writer: _Writer, layers: Sequence[Layer], names: dict[str, str]) -> None:
    """Folded layers; every tensor keeps its epcore name."""
    for layer in layers:
        x, name = names[layer.gated or layer.inputs[0]], layer.output
        match layer.op:
            case "conv2d" | "depthwise_conv2d" | "conv_transpose2d":
                assert layer.weights is not None
                follows = bool(layer.activation) or layer.residual is not None
                first = layer.nodes[0] if follows else name
                if layer.op == "conv_transpose2d":
                    y = writer.transposed(first, x, layer.weights, layer.bias, layer.stride)
                else:
                    depthwise = layer.op == "depthwise_conv2d"
                    y = writer.convolution(first, x, layer.inputs[0], layer.weights, layer.bias, layer.stride, depthwise)
                if layer.activation:
                    y = writer.activation(name, y, layer.activation, layer.factor)
                if layer.residual is not None:
                    y = writer.add("Add", [y, names[layer.residual]], name)
            case "gate":
                gate = layer.gate
                assert gate is not None
                weights = (gate.reduce.T, gate.reduce_bias, gate.expand, gate.expand_bias)
                y = writer.squeeze_excite(name, x, weights, gate.activation, layer.factor)
            case "concat":
                y = writer.add("Concat", [names[each] for each in layer.inputs], name, axis=1)
            case "add":
                y = writer.add("Add", [names[each] for each in layer.inputs], name)
            case _:  # avg_pool: `fold` knows no other
                y = writer.add("AveragePool", [x], name, kernel_shape=[2, 2], strides=[2, 2])
        names[name] = y


def _write_nodes(writer: _Writer, graph: Graph, model: Network, names: dict[str, str]) -> None:
    """The graph as it is, one node after the other, batch norms kept."""
    for node in graph.nodes.values():
        names[node.name] = _write_node(writer, node, model, names)


def _write_node(writer: _Writer, node: Node, model: Network, names: dict[str, str]) -> str:
    inputs = [names[name] for name in node.inputs]
    arrays = [None if name is None else np.asarray(model.parameters[name]) for name in node.parameters]
    name, attributes = node.name, node.attributes
    match node.op, arrays:
        case (("conv2d" | "depthwise_conv2d"), [np.ndarray() as w, *rest]):
            bias = rest[0] if rest else None
            return writer.convolution(name, inputs[0], node.inputs[0], w, bias, attributes["stride"], node.op != "conv2d")
        case "conv_transpose2d", [np.ndarray() as w, b]:
            return writer.transposed(name, inputs[0], w, b, attributes["stride"])
        case "batch_norm", _:
            keys = ("gamma", "beta", "mean", "variance")
            constants = [writer.constant(f"{name}/{key}", np.asarray(a)) for key, a in zip(keys, arrays, strict=True)]
            return writer.add("BatchNormalization", [*inputs, *constants], name, epsilon=attributes["epsilon"])
        case (("swish" | "sigmoid"), _):
            return writer.activation(name, inputs[0], node.op, 1.0)
        case "eswish", _:
            return writer.activation(name, inputs[0], node.op, attributes.get("beta", 1.25))
        case "relu", _:
            maximum = attributes.get("maximum")
            return writer.activation(name, inputs[0], node.op, float("inf") if maximum is None else maximum)
        case "prelu", [np.ndarray() as alpha]:
            return writer.add("PRelu", [*inputs, writer.constant(f"{name}/alpha", alpha[:, None, None])], name)
        case "squeeze_excite", [np.ndarray() as reduce, np.ndarray() as rb, np.ndarray() as expand, np.ndarray() as eb]:
            kind = attributes["activation"]
            weights = (reduce[0, 0], rb, expand[0, 0], eb)
            return writer.squeeze_excite(name, inputs[0], weights, kind, 1.25 if kind == "eswish" else 1.0)
        case "add", _:
            return writer.add("Add", inputs, name)
        case "multiply", _:
            return writer.add("Mul", inputs, name)
        case "concat", _:
            return writer.add("Concat", inputs, name, axis=1)
        case "global_mean", _:
            return writer.add("GlobalAveragePool", inputs, name)
        case "avg_pool", _:
            size = attributes["size"]
            return writer.add("AveragePool", inputs, name, kernel_shape=[size, size], strides=[size, size])
        case "max_pool", _:
            _, H, W, _ = writer.shapes[node.inputs[0]]
            size, stride = attributes["size"], attributes["stride"]
            (top, bottom), (left, right) = same_padding(H, size, stride), same_padding(W, size, stride)
            return writer.add(
                "MaxPool", inputs, name, kernel_shape=[size, size], strides=[stride, stride], pads=[top, left, bottom, right]
            )
    raise ValueError(f"{name}: operator {node.op} has no counterpart in the export")
