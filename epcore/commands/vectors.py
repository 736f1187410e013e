"""`epcore vectors`: golden vectors of a network or of every operator, in one file, for those who port them."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from epcore.base.checks import SEEDS, SIDE, Whole
from epcore.base.version import VERSION
from epcore.commands.console import Input, add_output
from epcore.commands.model import add_model_arguments, load_model, weights_file
from epcore.commands.result import Result
from epcore.models import EfficientPose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "--output", named=True, required=True, help="receives the vectors and their manifest: .npz or .h5")
    add_model_arguments(parser, backend=False)
    parser.add_argument("--pipeline", action="store_true", help="pictures to x and maps to keypoints instead of layers")
    parser.add_argument("--operators", action="store_true", help="every operator at small shapes instead of a network")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--input", type=Input, metavar="X.npy", help="preprocessed float32 (N,H,W,3)")
    source.add_argument("--image", type=Input, metavar="IMAGE", help="a picture, preprocessed as `epcore predict` does")
    parser.add_argument(
        "--seed", type=Whole(0, SEEDS), default=0, help="of the random input, if none is given, and of directions (0)"
    )
    parser.add_argument("--batch", type=Whole(1, SIDE), default=1, help="pictures of the random input (1)")
    parser.add_argument(
        "--size", type=Whole(0, SIDE), default=0, help="its height and width (default: the variant's resolution)"
    )
    parser.add_argument("--training", action="store_true", help="batch statistics instead of running ones")
    parser.add_argument("--no-gradients", action="store_true", help="the forward pass only")
    parser.add_argument("--full", action="store_true", help="store large maps whole instead of samples and statistics")
    parser.add_argument("--layout", default="NHWC", choices=("NHWC", "NCHW"), help="of maps and kernels (NHWC)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of what is stored (float32)")


def run(arguments: argparse.Namespace) -> Result:
    from epcore.port.store import check_suffix, encode_vectors
    from epcore.port.vectors import network_vectors, operator_vectors
    from epcore.weights_tools.manifest import file_sha256

    check_suffix(arguments.output)
    if arguments.pipeline and arguments.operators:
        raise ValueError("--pipeline and --operators are both given, expected one of them")
    if arguments.pipeline:
        from epcore.port.pipeline.golden import pipeline_vectors

        model = load_model(arguments)
        vectors = pipeline_vectors(model, seed=arguments.seed)
        sha256 = file_sha256(weights_file(arguments.model, arguments.weights))
        facts: dict[str, Any] = {"variant": arguments.model, "weights_sha256": sha256}
        what = f"{len(vectors.manifest['cases'])} cases around {model.name}"
    elif arguments.operators:
        vectors = operator_vectors(layout=arguments.layout, dtype=arguments.dtype, seed=arguments.seed)
        facts = {}
        what = f"{len(vectors.manifest['cases'])} cases of {len({case['op'] for case in vectors.manifest['cases']})} operators"
    else:
        model = load_model(arguments)
        x, source = _input(arguments, model)
        vectors = network_vectors(
            model,
            x,
            gradients=not arguments.no_gradients,
            training=arguments.training,
            full=arguments.full,
            layout=arguments.layout,
            dtype=arguments.dtype,
            seed=arguments.seed,
        )
        sha256 = file_sha256(weights_file(arguments.model, arguments.weights))
        facts = {"variant": arguments.model, "weights_sha256": sha256, "input": source}
        what = f"{len(vectors.manifest['layers'])} layers of {model.name}"
    vectors.manifest |= {"epcore": VERSION, **facts}
    size = sum(array.nbytes for array in vectors.arrays.values()) / 2**20
    facts_of_file = f"{len(vectors.arrays)} arrays, {size:.1f} MiB, {arguments.layout}, {arguments.dtype}"
    content = encode_vectors(arguments.output, vectors)
    return Result(f"{arguments.output}: {what}, {facts_of_file}", files={arguments.output: content})


def _input(arguments: argparse.Namespace, model: EfficientPose) -> tuple[np.ndarray, str]:
    """x and where it comes from."""
    if arguments.input:
        from epcore.port.store import read_tensor

        return read_tensor(arguments.input), "a stored tensor"
    if arguments.size % 16:
        raise ValueError(f"--size is {arguments.size}, expected a multiple of 16")
    size = arguments.size or model.resolution
    if arguments.image:
        from epcore.pose.preprocess import preprocess

        return preprocess(arguments.image, size, model.preprocessing)[0], "a picture"
    x = np.random.default_rng(arguments.seed).standard_normal((arguments.batch, size, size, 3), dtype=np.float32)
    return x, f"standard normal numbers, seed {arguments.seed}"
