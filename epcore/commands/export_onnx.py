"""`epcore export-onnx`: a network as an ONNX file for other runtimes."""

from __future__ import annotations

import argparse

from epcore.commands.console import add_output
from epcore.commands.model import add_model_arguments, load_model
from epcore.commands.result import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser, backend=False)
    add_output(parser, "--output", named=True, required=True, metavar="FILE.onnx")
    parser.add_argument("--layout", default="NHWC", choices=("NHWC", "NCHW"), help="of x and the outputs (default: NHWC)")
    parser.add_argument("--keep-batch-norm", action="store_true", help="do not fold batch norms into the convolutions")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.export.onnx import OPSET, onnx_model

    model = load_model(arguments)
    proto = onnx_model(model, fold_batch_norm=not arguments.keep_batch_norm, layout=arguments.layout)
    H, W, C = model.graph.input_shape
    shape = (H, W, C) if arguments.layout == "NHWC" else (C, H, W)
    text = f"wrote {arguments.output}: {model.name}, opset {OPSET}, x (batch, {', '.join(map(str, shape))}) float32"
    return Result(text, files={arguments.output: proto.SerializeToString()})
