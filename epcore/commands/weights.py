"""`epcore weights`: look into weight files, import them, export them.

epcore weights inspect FILE
epcore weights import FILE --model I --low FILE2 --output weights.h5
epcore weights export FILE --model RT --output weights.safetensors --dtype float16 --layout NCHW
"""

from __future__ import annotations

import argparse

from epcore.base.table import Table
from epcore.commands.console import Input, add_json, add_output
from epcore.commands.model import names
from epcore.commands.result import Result
from epcore.models.variants import NETWORK_NAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser("inspect", help="list every array of a weight file")
    inspect.add_argument("file", type=Input, metavar="FILE")
    add_json(inspect, "layout, digest and arrays")
    inspect.set_defaults(step=_inspect)
    for name, help_text in (
        ("import", "read a file of any layout into a network and write it as epcore's own, with a manifest"),
        ("export", "the same, for others: kernels permuted, half precision, or readable by Keras"),
    ):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("file", metavar="FILE")
        action.add_argument("--model", default="RT", metavar="NAME", help=f"{names(NETWORK_NAMES)} (default: RT)")
        action.add_argument("--low", metavar="FILE", help="a backbone's weights for the low-resolution branch")
        add_output(action, "--output", named=True, required=True, help="ending in .h5, .npz or .safetensors")
        add_json(action, "what went where", option="--manifest")
        action.add_argument(
            "--strict", action=argparse.BooleanOptionalAction, default=True, help="refuse a file that lacks arrays (default)"
        )
        action.add_argument("--dtype", default="float32", choices=("float16", "float32", "float64"))
        if name == "export":
            action.add_argument("--layout", default="NHWC", choices=("NHWC", "NCHW"), help="of kernels (default: NHWC)")
            action.add_argument("--keras", action="store_true", help="Keras 2 layout, which Keras' load_weights reads")
        action.set_defaults(step=_convert, layout="NHWC", keras=False)


def run(arguments: argparse.Namespace) -> Result:
    result: Result = arguments.step(arguments)
    return result


def _inspect(arguments: argparse.Namespace) -> Result:
    from epcore.weights_tools.manifest import digest
    from epcore.weights_tools.read import read_weights

    file = read_weights(arguments.file)
    arrays = {"/".join(key): array for key, array in file.arrays.items()}
    rows = [
        {"name": name, "shape": array.shape, "dtype": str(array.dtype), "sha256": digest(array)}
        for name, array in arrays.items()
    ]
    report = {"path": file.path, "layout": file.layout, "sha256": file.sha256, "arrays": rows, "unread": file.unread}
    lines = [file.path, f"layout  {file.layout}", f"sha256  {file.sha256}"]
    lines += [f"arrays  {len(arrays)}, {sum(array.size for array in arrays.values()):,} values", ""]
    table = Table(f"<{max(map(len, arrays), default=0) + 2}", ">12", "<10", ">12.4g", "")
    for name, array in arrays.items():
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        shape = "x".join(map(str, array.shape)) or "scalar"
        lines.append(table.line(name, shape, f"  {array.dtype}", low, f" to {high:.4g}"))
    lines += [f"not read: {entry}" for entry in file.unread]
    return Result("\n".join(lines), report)


def _convert(arguments: argparse.Namespace) -> Result:
    from epcore.export.keras import encode_keras
    from epcore.export.weights import encode_weights
    from epcore.models import build_network
    from epcore.weights_tools.load import load_weights

    if arguments.keras and (arguments.layout, arguments.dtype) != ("NHWC", "float32"):
        raise ValueError(f"--keras writes NHWC and float32, not {arguments.layout} and {arguments.dtype}")
    model = build_network(arguments.model)
    manifest = load_weights(model, arguments.file, low=arguments.low, strict=arguments.strict)
    if arguments.keras:
        content = encode_keras(model, arguments.output)
    else:
        content = encode_weights(model, arguments.output, dtype=arguments.dtype, layout=arguments.layout)
    kept = f"{len(manifest.kept)} arrays of {model.name} are not of a backbone and keep their start values: to be trained"
    lines = [str(manifest), *([kept] if manifest.kept else []), f"wrote {arguments.output}"]
    return Result("\n".join(lines), manifest.to_json(), files={arguments.output: content})
