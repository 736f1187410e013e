"""`--model`, `--weights`, `--backend`: the options of every command that runs a network, and the network they describe.

What a backend means for a command: `auto` and `cpu` run a compiled plan (fused Numba kernels), `reference` the operators of
`epcore.ops` one by one on NumPy arrays, `cuda` the whole network as one CUDA graph.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from epcore.backend import BACKENDS
from epcore.base.notices import say
from epcore.commands.console import Input
from epcore.models import EfficientPose, EfficientPoseLite

if TYPE_CHECKING:
    from epcore.inference import Plan
    from epcore.inference.cuda_graph import CudaGraphPlan


_NOTICE = """\
epcore: using the weights that come with epcore, trained on synthetic figures. For photographs use the authors' weights
(EfficientPoseRT.h5, https://github.com/daniegr/EfficientPose): epcore weights inspect EfficientPoseRT.h5, then
epcore predict photo.jpg --weights EfficientPoseRT.h5"""


def add_model_arguments(parser: argparse.ArgumentParser, *, backend: bool = True) -> None:
    parser.add_argument(
        "--model", default="RT", metavar="VARIANT", help="RT, I, II, III, IV, RT_Lite, I_Lite or II_Lite (default: RT)"
    )
    parser.add_argument("--weights", type=Input, metavar="FILE", help="file of the variant's weights, see `epcore weights`")
    if backend:
        parser.add_argument("--backend", default="auto", choices=BACKENDS, help="what computes (default: auto)")
    else:
        parser.set_defaults(backend="reference")


def weights_sha256(arguments: argparse.Namespace) -> str:
    """Of the file that `load_model` reads."""
    path = Path(arguments.weights) if arguments.weights else _shipped()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_model(name: str) -> EfficientPose:
    """RT, I, II, III, IV, and with Lite behind a space, "_" or "-": RT_Lite, I_Lite, II_Lite; case ignored.

    Raises ValueError for another name.
    """
    lite = re.fullmatch(r"(.*)[ _-]lite", name, re.IGNORECASE)
    return EfficientPoseLite(lite[1].upper()) if lite else EfficientPose(name)


def load_model(arguments: argparse.Namespace) -> EfficientPose:
    """The network with its weights, on the device of the backend. Raises ValueError or OSError naming what is wrong."""
    model = build_model(arguments.model)
    weights = Path(arguments.weights) if arguments.weights else default_weights(arguments.model)
    from epcore.weights_tools.load import load_weights

    if untrained := load_weights(model, weights).kept:
        raise ValueError(
            f"{weights} holds weights of a backbone only: {len(untrained)} arrays of {model.name} would stay untrained, "
            f"the first is {untrained[0]}"
        )
    return model.to("cuda") if arguments.backend == "cuda" else model


def run_by(backend: str, model: EfficientPose, *, batch: int = 1) -> EfficientPose | Plan | CudaGraphPlan:
    """What computes a batch of this size fastest under the backend. Call it within `use_backend(backend)`."""
    if backend in ("auto", "cpu"):
        from epcore.inference import compile

        return compile(model, batch)
    if backend == "cuda":
        from epcore.inference.cuda_graph import CudaGraphPlan

        return CudaGraphPlan(model, batch)
    return model


def default_weights(variant: str) -> Path:
    """The weights that are used when none are named: RT's, trained by epcore on synthetic figures; said on standard error.

    Raises ValueError for the other variants: none come with the package.
    """
    path = _shipped()
    if variant.upper() != "RT" or not path.is_file():
        raise ValueError(f"no weights for EfficientPose {variant}: name a file with --weights FILE")
    say(_NOTICE)
    return path


def _shipped() -> Path:
    return Path(__file__).parent.parent / "models" / "synthetic_rt.h5"
