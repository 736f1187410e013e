"""The runtimes people would use instead, each as a function from x (N,R,R,3) float32 to the last maps.

Peers are given every courtesy: batch norms folded, channels-last tensors, the same number of threads, no gradient
bookkeeping. A peer that is not installed, or has no model of a variant, is missing, and says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from epcore.inference.fuse import fuse
from epcore.inference.step import Activation, Convolution, Step
from epcore.inference.steps.dense import Dense
from epcore.inference.steps.depthwise import Depthwise
from epcore.inference.steps.elementwise import Activate, Add, Concat
from epcore.inference.steps.gate import Gate
from epcore.inference.steps.pointwise import Pointwise
from epcore.inference.steps.pool import Pool
from epcore.inference.steps.upscale import Upscale
from epcore.network import Network
from epcore.shapes import kernel_to_nchw, same_padding
from epcore.threads import get_threads

Runner = Callable[[np.ndarray], np.ndarray]


class MissingError(Exception):
    """Why a peer cannot run a network here."""


def peers(model: Network, batch: int) -> tuple[dict[str, Runner], dict[str, str]]:
    """(every peer at hand for this model, why the others are not)."""
    found: dict[str, Runner] = {}
    missing: dict[str, str] = {}
    for name, make in (("TFLite + XNNPACK", tflite), ("ONNX Runtime", onnx_runtime), ("PyTorch", pytorch)):
        try:
            found[name] = make(model, batch)
        except MissingError as error:
            missing[name] = str(error)
    return found, missing


def final_label(model: Network) -> str:
    """The output that is compared: the last maps."""
    labels = list(model.graph.outputs)
    return "upscaled" if "upscaled" in labels else labels[-1]


def tflite(model: Network, batch: int) -> Runner:
    """The authors' published conversion (weights stored in half precision, computed in single)."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise MissingError("ai-edge-litert is not installed") from error
    file = f"EfficientPose{model.name.removeprefix('EfficientPose ').replace(' Lite', '_LITE')}.tflite"
    path = Path(os.environ.get("EPCORE_DATA", "")) / "release" / file
    if not path.is_file():
        raise MissingError(f"no published file {file} at hand")
    interpreter = Interpreter(str(path), num_threads=get_threads())
    shapes = model.graph.shapes(batch)
    source = interpreter.get_input_details()[0]["index"]
    if batch != 1:
        interpreter.resize_tensor_input(source, shapes["input"])
    try:
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise MissingError(f"{file} takes one picture at a time") from error
    wanted = shapes[model.graph.outputs[final_label(model)]]
    outputs = [each["index"] for each in interpreter.get_output_details() if tuple(each["shape"]) == wanted]
    if not outputs:
        raise MissingError(f"{file} gives no maps {wanted} for {batch} pictures")

    def run(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.tensor(outputs[-1])()

    return run


def onnx_runtime(model: Network, batch: int) -> Runner:
    """The network as an ONNX model, batch norms folded, optimised by ONNX Runtime as far as it can."""
    try:
        import onnxruntime
        from onnx_graph import build
    except ImportError as error:
        raise MissingError("onnxruntime or onnx is not installed") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = get_threads()
    proto, final = build(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda x: session.run([final], {"x": x})[0]


def pytorch(model: Network, batch: int) -> Runner:
    """The fused steps run by torch.nn.functional on channels-last tensors."""
    try:
        import torch
    except ImportError as error:
        raise MissingError("torch is not installed") from error
    import torch.nn.functional as F  # noqa: N812

    torch.set_num_threads(get_threads())
    steps = fuse(model.graph, model.parameters)
    shapes = model.graph.shapes()
    arrays = {step.output: _torch_weights(step) for step in steps}

    def act(y: Any, end: Activation) -> Any:
        match end.kind:
            case "relu":
                return F.relu6(y) if end.parameter == 6 else F.relu(y)
            case "prelu":
                return F.prelu(y, torch.from_numpy(np.asarray(end.alpha, np.float32)))
            case "swish" | "eswish":
                return F.silu(y) if end.parameter == 1 else F.silu(y) * end.parameter
        return y

    def visit(step: Step, x: Any, values: dict[str, Any]) -> Any:
        match step:
            case Dense() | Pointwise() | Depthwise():
                w, b = arrays[step.output]
                _, H, W, C = shapes[step.inputs[0]]
                (top, bottom), (left, right) = (same_padding(n, w.shape[2], step.stride) for n in (H, W))
                padding: int | tuple[int, int] = (top, left)
                if (top, left) != (bottom, right):
                    x, padding = F.pad(x, (left, right, top, bottom)), 0
                groups = C if isinstance(step, Depthwise) else 1
                y = act(F.conv2d(x, w, b, step.stride, padding, groups=groups), step.activation)
                residual = step.residual if isinstance(step, Pointwise) else None
                return y if residual is None else y + values[residual]
            case Gate():
                r, rb, e, eb = arrays[step.output]
                hidden = act(F.conv2d(x.mean((2, 3), keepdim=True), r, rb), step.activation)
                return x * torch.sigmoid(F.conv2d(hidden, e, eb))
            case Upscale():
                return F.conv_transpose2d(x, *arrays[step.output], stride=2, padding=1)
            case Concat():
                return torch.cat([values[name] for name in step.inputs], 1)
            case Add():
                return x + values[step.inputs[1]]
            case Pool(largest=True):
                return F.max_pool2d(x, step.size, step.stride, ceil_mode=True)
            case Pool():
                return F.avg_pool2d(x, step.size)
            case Activate():
                return act(x, step.activation)
        raise ValueError(step.operator)

    final = model.graph.outputs[final_label(model)]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            values = {"input": torch.from_numpy(x).permute(0, 3, 1, 2)}  # channels-last memory as it is
            for step in steps:
                # epcore scales a projection's weights by the gate; PyTorch projects the gated map.
                gate = step.gate if isinstance(step, Pointwise) else None
                values[step.output] = visit(step, values[gate or step.inputs[0]], values)
            return values[final].permute(0, 2, 3, 1).numpy()

    return run


def _torch_weights(step: Step) -> Any:
    import torch

    def tensor(array: np.ndarray) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array, np.float32))

    if isinstance(step, Gate):
        return (
            tensor(step.reduce[:, :, None, None]), tensor(step.reduce_bias),
            tensor(step.expand.T[:, :, None, None]), tensor(step.expand_bias),
        )  # fmt: skip
    if not isinstance(step, Convolution):
        return None
    w = step.weights[None, None] if isinstance(step, Pointwise) else step.weights
    w = kernel_to_nchw(w)
    return tensor(w).contiguous(memory_format=torch.channels_last), tensor(step.bias)
