"""`epcore weights`: look into weight files, import them, export them.

epcore weights inspect FILE
epcore weights import FILE --model I --low FILE2 --output weights.h5
epcore weights export FILE --model RT --output weights.safetensors --dtype float16 --layout NCHW
"""

from __future__ import annotations

import argparse
import json

from epcore.base.files import check_writable, write_atomically


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    inspect = actions.add_parser("inspect", help="list every array of a weight file")
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", metavar="FILE", help="write layout, digest and arrays; - is standard output")
    inspect.set_defaults(step=_inspect)
    for name, help_text in (
        ("import", "read a file of any layout into a network and write it as epcore's own, with a manifest"),
        ("export", "the same, for others: kernels permuted, half precision, or readable by Keras"),
    ):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("file", metavar="FILE")
        action.add_argument("--model", default="RT", help="RT to IV, RT_Lite to II_Lite, or B0 to B7 (default: RT)")
        action.add_argument("--low", metavar="FILE", help="a backbone's weights for the low-resolution branch")
        action.add_argument("--output", required=True, metavar="FILE", help="ending in .h5, .npz or .safetensors")
        action.add_argument("--manifest", metavar="FILE", help="write what went where as JSON; - is standard output")
        action.add_argument(
            "--strict", action=argparse.BooleanOptionalAction, default=True, help="refuse a file that lacks arrays (default)"
        )
        action.add_argument("--dtype", default="float32", choices=("float16", "float32", "float64"))
        if name == "export":
            action.add_argument("--layout", default="NHWC", choices=("NHWC", "NCHW"), help="of kernels (default: NHWC)")
            action.add_argument("--keras", action="store_true", help="Keras 2 layout, which Keras' load_weights reads")
        action.set_defaults(step=_convert, layout="NHWC", keras=False)


def run(arguments: argparse.Namespace) -> int:
    return arguments.step(arguments)


def _inspect(arguments: argparse.Namespace) -> int:
    from epcore.weights_tools.load import read_weights
    from epcore.weights_tools.manifest import digest

    file = read_weights(arguments.file)
    arrays = {"/".join(key): array for key, array in file.arrays.items()}
    for kind, layers in file.unnamed.items():
        arrays |= {
            f"{kind}_{i}/{role}" if i else f"{kind}/{role}": array
            for i, layer in enumerate(layers)
            for role, array in layer.items()
        }
    if arguments.json:
        rows = [
            {"name": name, "shape": array.shape, "dtype": str(array.dtype), "sha256": digest(array)}
            for name, array in arrays.items()
        ]
        report = {"path": file.path, "layout": file.layout, "sha256": file.sha256, "arrays": rows}
        write_atomically(arguments.json, json.dumps(report, indent=1) + "\n")
        return 0
    print(f"{file.path}\nlayout  {file.layout}\nsha256  {file.sha256}")
    print(f"arrays  {len(arrays)}, {sum(array.size for array in arrays.values()):,} values\n")
    width = max(map(len, arrays), default=0) + 2
    for name, array in arrays.items():
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        print(
            f"{name:<{width}}{'x'.join(map(str, array.shape)) or 'scalar':>12}  {array.dtype!s:<8} {low:>11.4g} to {high:.4g}"
        )
    return 0


def _convert(arguments: argparse.Namespace) -> int:
    from epcore.commands.model import build_model
    from epcore.export.keras import export_keras
    from epcore.export.weights import export_weights
    from epcore.models import EfficientNet
    from epcore.network import Network
    from epcore.weights_tools.load import load_weights

    if arguments.keras and (arguments.layout, arguments.dtype) != ("NHWC", "float32"):
        raise ValueError(f"--keras writes NHWC and float32, not {arguments.layout} and {arguments.dtype}")
    check_writable(arguments.output)
    if arguments.manifest:
        check_writable(arguments.manifest)
    name = arguments.model.upper()
    model: Network = EfficientNet(name) if name.startswith("B") else build_model(name)
    manifest = load_weights(model, arguments.file, low=arguments.low, strict=arguments.strict)
    if arguments.keras:
        export_keras(model, arguments.output)
    else:
        export_weights(model, arguments.output, dtype=arguments.dtype, layout=arguments.layout)
    if arguments.manifest:
        write_atomically(arguments.manifest, json.dumps(manifest.to_json(), indent=1) + "\n")
    if arguments.manifest != "-":
        print(manifest)
        if manifest.kept:
            print(
                f"{len(manifest.kept)} arrays of {model.name} are not of a backbone and keep their start values: to be trained"
            )
        print(f"wrote {arguments.output}")
    return 0
