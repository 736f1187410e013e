"""The runtimes people would use instead, each as a function from x (N,R,R,3) float32 to the upscaled maps.

Peers are given every courtesy: batch norms folded, channels-last tensors, the same number of threads, no gradient
bookkeeping. A peer that is not installed, or has no model of a variant, is left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from epcore.inference.fold import Layer, fold

from epcore.models import EfficientPose
from epcore.shapes import same_padding
from epcore.threads import get_threads

Runner = Callable[[np.ndarray], np.ndarray]


def peers(model: EfficientPose, batch: int) -> dict[str, Runner]:
    """Every peer at hand for this model."""
    found: dict[str, Runner | None] = {
        "TFLite + XNNPACK": tflite(model, batch),
        "ONNX Runtime": onnx_runtime(model, batch),
        "PyTorch": pytorch(model),
    }
    return {name: runner for name, runner in found.items() if runner is not None}


def tflite(model: EfficientPose, batch: int) -> Runner | None:
    """The authors' published conversion (weights stored in half precision, computed in single)."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        return None
    path = Path(os.environ.get("EPCORE_DATA", "")) / f"release/EfficientPose{model.config.name}.tflite"
    if not path.is_file() or batch != 1:
        return None
    interpreter = Interpreter(str(path), num_threads=get_threads())
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = next(each["index"] for each in interpreter.get_output_details() if "upscaled" in each["name"])

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.tensor(target)()

    return run


def onnx_runtime(model: EfficientPose, batch: int) -> Runner | None:
    """The folded layers as an ONNX model, optimised by ONNX Runtime as far as it can."""
    try:
        import onnxruntime
        from onnx_graph import build
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_threads()
    session = onnxruntime.InferenceSession(build(model, batch).SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda x: session.run(["maps"], {"input": x})[0].transpose(0, 2, 3, 1)


def pytorch(model: EfficientPose) -> Runner | None:
    """The folded layers run by torch.nn.functional on channels-last tensors."""
    try:
        import torch
    except ImportError:
        return None
    import torch.nn.functional as F  # noqa: N812

    torch.set_num_threads(get_threads())
    layers = fold(model.graph, model.parameters)
    shapes = model.graph.shapes()
    arrays = {layer.output: _torch_weights(layer) for layer in layers}

    def act(y: Any, kind: str, factor: float) -> Any:
        if kind == "relu":
            return F.relu6(y) if factor == 6 else F.relu(y)
        return F.silu(y) * factor if kind == "eswish" else F.silu(y) if kind == "swish" else y

    def visit(layer: Layer, values: dict[str, Any]) -> Any:
        x = values[layer.inputs[0]]
        match layer.op:
            case "conv2d" | "depthwise_conv2d":
                w, b = arrays[layer.output]
                _, H, W, C = shapes[layer.inputs[0]]
                (top, bottom), (left, right) = (same_padding(n, w.shape[2], layer.stride) for n in (H, W))
                padding: int | tuple[int, int] = (top, left)
                if (top, left) != (bottom, right):
                    x, padding = F.pad(x, (left, right, top, bottom)), 0
                y = F.conv2d(x, w, b, layer.stride, padding, groups=C if layer.op == "depthwise_conv2d" else 1)
                y = act(y, layer.activation, layer.factor)
                return y if layer.residual is None else y + values[layer.residual]
            case "gate":
                gate = layer.gate
                assert gate is not None
                r, rb, e, eb = arrays[layer.output]
                hidden = act(F.conv2d(x.mean((2, 3), keepdim=True), r, rb), gate.activation, layer.factor)
                return x * torch.sigmoid(F.conv2d(hidden, e, eb))
            case "conv_transpose2d":
                return F.conv_transpose2d(x, *arrays[layer.output], stride=2, padding=1)
            case "concat":
                return torch.cat([values[name] for name in layer.inputs], 1)
            case "add":
                return x + values[layer.inputs[1]]
            case "avg_pool":
                return F.avg_pool2d(x, 2)
            case _:
                raise ValueError(layer.op)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            values = {"input": torch.from_numpy(x).permute(0, 3, 1, 2)}  # channels-last memory as it is
            for layer in layers:
                # epcore scales a projection's weights by the gate; PyTorch projects the gated map.
                values[layer.output] = visit(replace(layer, inputs=[layer.gated]) if layer.gated else layer, values)
            return values[model.graph.outputs["upscaled"]].permute(0, 2, 3, 1).numpy()

    return run


def _torch_weights(layer: Layer) -> Any:
    import torch

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    if layer.gate is not None:
        gate = layer.gate
        return (
            tensor(gate.reduce[:, :, None, None]), tensor(gate.reduce_bias),
            tensor(gate.expand.T[:, :, None, None]), tensor(gate.expand_bias),
        )  # fmt: skip
    if layer.weights is None:
        return None, None
    assert layer.bias is not None
    if layer.op == "depthwise_conv2d":
        w = layer.weights.transpose(2, 0, 1)[:, None]
    else:  # (kh,kw,Cin,Cout) -> (Cout,Cin,kh,kw); transposed (kh,kw,Cout,Cin) -> (Cin,Cout,kh,kw)
        w = layer.weights.transpose(3, 2, 0, 1)
    return tensor(w).contiguous(memory_format=torch.channels_last), tensor(layer.bias)
