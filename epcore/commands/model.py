"""`--model`, `--weights`, `--backend`: the options of every command that runs a network, and the network they describe.

What a backend means for a command: see `epcore.inference.engine`. `load_model` has the network where the backend wants it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from epcore.backend import BACKENDS
from epcore.base.notices import say
from epcore.commands.console import Input
from epcore.models import EfficientPose
from epcore.models.variants import POSE_NAMES, SHIPPED_WEIGHTS, build_pose_network, network_name
from epcore.weights_tools.read import prepare_to_read

_NOTICE = """\
epcore: using the weights that come with epcore, trained on synthetic figures. For photographs take those that the authors
published (https://github.com/daniegr/EfficientPose): epcore weights fetch RT, then epcore predict photo.jpg --weights RT"""
WEIGHTS_HELP = "a file of the variant's weights, or the name of published ones (RT), see `epcore weights fetch`"


def add_model_arguments(parser: argparse.ArgumentParser, *, backend: bool = True) -> None:
    parser.add_argument("--model", default="RT", metavar="NAME", help=f"{names(POSE_NAMES)} (default: RT)")
    parser.add_argument("--weights", type=Input, metavar="FILE", help=WEIGHTS_HELP)
    if backend:
        parser.add_argument("--backend", default="auto", choices=BACKENDS, help="what computes (default: auto)")
    else:
        parser.set_defaults(backend="reference")


def names(networks: Sequence[str]) -> str:
    """For help; without blanks, which would ask for quotes."""
    *first, last = (name.replace(" ", "_") for name in networks)
    return f"{', '.join(first)} or {last}"


def load_model(arguments: argparse.Namespace) -> EfficientPose:
    """The network with its weights, on the device of the backend. Raises ValueError or OSError naming what is wrong."""
    model = load_network(arguments.model, arguments.weights)
    return model.to("cuda") if arguments.backend == "cuda" else model


def load_network(name: str, weights: str | None) -> EfficientPose:
    """A network that predicts keypoints, by any spelling of its name, with a file's weights or those that come with epcore.

    Raises ValueError or OSError naming what is wrong.
    """
    path = weights_file(name, weights)
    if weights:
        prepare_to_read()  # the process that opens the file starts while the network is built
    from epcore.weights_tools.load import load_weights

    model = build_pose_network(name)
    if not weights:
        say(_NOTICE)
    if untrained := load_weights(model, path, trusted=not weights).kept:
        raise ValueError(
            f"{path} holds weights of a backbone only: {len(untrained)} arrays of {model.name} would stay untrained, "
            f"the first is {untrained[0]}"
        )
    return model


def weights_file(name: str, weights: str | None) -> Path:
    """The file named, itself or by what published weights are called, else that which comes with epcore.

    Raises ValueError where none does, and for other networks, and OSError where published weights have not been fetched.
    """
    shipped = SHIPPED_WEIGHTS.get(network_name(name, POSE_NAMES))
    if weights:
        from epcore.weights_tools.published import find_weights

        return Path(find_weights(weights))
    if shipped is None or not shipped.is_file():
        called = network_name(name, POSE_NAMES).replace(" ", "_")
        raise ValueError(
            f"no weights for EfficientPose {name}: name a file with --weights FILE, or "
            f"epcore weights fetch {called}, then --weights {called}"
        )
    return shipped
