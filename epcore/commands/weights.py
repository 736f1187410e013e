"""`epcore weights`: get published weight files, look into weight files, import them, export them.

epcore weights fetch RT
epcore weights inspect FILE
epcore weights import FILE --model I --low FILE2 --output weights.h5
epcore weights export FILE --model RT --output weights.safetensors --dtype float16 --layout NCHW
"""

from __future__ import annotations

import argparse
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from epcore.base.table import Table
from epcore.commands.console import Input, add_json, add_output
from epcore.commands.model import names
from epcore.commands.result import Outcome, Result
from epcore.models.variants import NETWORK_NAMES

if TYPE_CHECKING:
    from epcore.weights_tools.published import PublishedFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="get published weight files and keep them; without a name: list them")
    fetch.add_argument("networks", nargs="*", metavar="NETWORK", help="RT, I, II, III, IV, RT_Lite, I_Lite, II_Lite, B0 to B7")
    add_json(fetch, "what there is and what is here")
    fetch.set_defaults(step=_fetch_or_list)
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


def run(arguments: argparse.Namespace) -> Outcome:
    outcome: Outcome = arguments.step(arguments)
    return outcome


def _fetch_or_list(arguments: argparse.Namespace) -> Outcome:
    from epcore.weights_tools.published import published_file, published_files

    if not arguments.networks:
        return _list(list(published_files().values()))
    return _fetch([published_file(name) for name in arguments.networks])


def _fetch(files: list[PublishedFile]) -> Generator[str, None, Result]:
    """One after the other; what has come stays where a later one cannot be had."""
    from epcore.weights_tools.fetch import fetch

    for file in files:
        came = fetch(file)
        size = file.place.stat().st_size
        yield f"{file.network}: {file.place}, {size:,} bytes, {file.digest}{'' if came else ', was here already'}"
    return Result(report=_report(files))


def _list(files: list[PublishedFile]) -> Result:
    from epcore.weights_tools.published import VARIABLE, weights_folder

    table = Table("<10", "<27", ">13,", "")
    lines = [f"kept in {weights_folder()} ({VARIABLE} names another folder)"]
    publisher = ""
    report = _report(files)  # reads every file that is here: once
    for file, row in zip(files, report["files"], strict=True):
        if file.publisher != publisher:
            publisher = file.publisher
            lines += ["", publisher, "from " + file.address.removesuffix(file.name), ""]
            lines += [table.line("network", "file", "bytes", "  here")]
        lines.append(table.line(file.network, file.name, file.size, f"  {row['here']}"))
    return Result("\n".join(lines), report)


def _report(files: Iterable[PublishedFile]) -> dict[str, Any]:
    from epcore.weights_tools.published import weights_folder

    rows = [
        {
            "network": file.network,
            "name": file.name,
            "address": file.address,
            "size": file.size,
            "digest": file.digest,
            "here": _here(file),
            "path": str(file.place),
        }
        for file in files
    ]
    return {"folder": str(weights_folder()), "files": rows}


def _here(file: PublishedFile) -> str:
    """What is in its place: yes, no, wrong (another file has its name), part (a fetch was interrupted)."""
    from epcore.weights_tools.part import part_folder

    if file.place.exists():
        return "yes" if file.is_here() else "wrong"
    return "part" if part_folder(file.place).exists() else "no"


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
