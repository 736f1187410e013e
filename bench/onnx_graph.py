"""A network's folded layers as an ONNX model, so that ONNX Runtime can be measured on every variant and batch.

The graph is what a good exporter would write: batch norms folded, NCHW inside, one transposition of the picture at the
start. ONNX Runtime optimises it further when it loads it (blocked layouts, activations fused into convolutions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from epcore.graph import INPUT
from epcore.inference.fold import Layer, fold
from epcore.models import EfficientPose
from epcore.shapes import same_padding

OPSET = 17


def build(model: EfficientPose, batch: int) -> ModelProto:
    """Input "input" (batch,R,R,3) float32, output "maps": what the plan calls `final`, as (batch,16,h,w)."""
    writer = _Writer(model.graph.shapes(batch))
    for layer in fold(model.graph, model.parameters):
        writer.layer(layer)
    final = model.graph.outputs.get("upscaled", list(model.graph.outputs.values())[-1])
    writer.node("Identity", [final], "maps")
    N, H, W, C = writer.shapes[final]
    graph = helper.make_graph(
        writer.nodes,
        model.name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, writer.shapes[INPUT])],
        [helper.make_tensor_value_info("maps", TensorProto.FLOAT, (N, C, H, W))],
        writer.constants,
    )
    onnx_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    checker.check_model(onnx_model)
    return onnx_model


class _Writer:
    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names = {INPUT: self.node("Transpose", [INPUT], "picture", perm=[0, 3, 1, 2])}

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(self, name: str, array: np.ndarray | float) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))
        return name

    def convolution(self, op: str, x: str, output: str, w: np.ndarray, b: np.ndarray, **attributes: Any) -> str:
        weights = [self.constant(f"{output}.w", w), self.constant(f"{output}.b", b)]
        return self.node(op, [x, *weights], output, kernel_shape=w.shape[2:], **attributes)

    def activation(self, x: str, output: str, kind: str, factor: float) -> str:
        if kind == "relu":
            bounds = {"low": 0.0} | ({"cap": factor} if factor < np.inf else {})
            return self.node("Clip", [x, *(self.constant(f"{output}.{name}", value) for name, value in bounds.items())], output)
        swish = output if factor == 1 else f"{output}.swish"
        self.node("Mul", [x, self.node("Sigmoid", [x], f"{output}.sigmoid")], swish)
        return swish if factor == 1 else self.node("Mul", [swish, self.constant(f"{output}.beta", factor)], output)

    def layer(self, layer: Layer) -> None:
        x = self.names.get(layer.inputs[0], layer.inputs[0])
        output = layer.output
        match layer.op:
            case "conv2d" | "depthwise_conv2d":
                assert layer.weights is not None and layer.bias is not None
                depthwise = layer.op == "depthwise_conv2d"
                w = layer.weights.transpose(2, 0, 1)[:, None] if depthwise else layer.weights.transpose(3, 2, 0, 1)
                _, H, W, C = self.shapes[layer.inputs[0]]
                padding = [same_padding(n, k, layer.stride) for n, k in zip((H, W), w.shape[2:], strict=True)]
                pads = [before for before, _ in padding] + [after for _, after in padding]
                steps = [bool(layer.activation), layer.residual is not None]
                name = f"{output}.sum" if any(steps) else output
                source = layer.gated or x  # epcore scales the projection's weights by the gate; here the map is scaled
                group = C if depthwise else 1
                self.convolution("Conv", source, name, w, layer.bias, strides=[layer.stride] * 2, pads=pads, group=group)
                if layer.activation:
                    self.activation(name, output, layer.activation, layer.factor)
                elif layer.residual is not None:
                    self.node("Add", [name, layer.residual], output)
            case "gate":
                gate = layer.gate
                assert gate is not None
                mean = self.node("GlobalAveragePool", [x], f"{output}.mean")
                r = self.convolution("Conv", mean, f"{output}.r", gate.reduce[:, :, None, None], gate.reduce_bias)
                hidden = self.activation(r, f"{output}.hidden", gate.activation, layer.factor)
                e = self.convolution("Conv", hidden, f"{output}.e", gate.expand.T[:, :, None, None], gate.expand_bias)
                self.node("Mul", [x, self.node("Sigmoid", [e], f"{output}.gate")], output)
            case "conv_transpose2d":
                assert layer.weights is not None and layer.bias is not None
                w = layer.weights
                diagonal = np.diagonal(w, axis1=2, axis2=3)
                if np.array_equal(w, diagonal[..., None] * np.eye(w.shape[2])):  # as grouped, far less work
                    w, group = diagonal.transpose(2, 0, 1)[:, None], w.shape[2]
                else:
                    w, group = w.transpose(3, 2, 0, 1), 1
                strides, pads = [2, 2], [1, 1, 1, 1]
                self.convolution("ConvTranspose", x, output, w, layer.bias, strides=strides, pads=pads, group=group)
            case "concat":
                self.node("Concat", layer.inputs, output, axis=1)
            case "add":
                self.node("Add", layer.inputs, output)
            case "avg_pool":
                self.node("AveragePool", [x], output, kernel_shape=[2, 2], strides=[2, 2])
            case _:
                raise ValueError(f"{layer.op} is not among the folded layers")
