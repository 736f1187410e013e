"""Networks by name: one way to say which, on the command line and in Python.

A name is what tables print, "RT", "II Lite", "OpenPose", "B3", or what the network calls itself, "EfficientPose II Lite",
"EfficientNet-B3"; case, and blanks, "_" and "-" between words, make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from epcore.models.configs import BACKBONES, LITE_VARIANTS, VARIANTS
from epcore.models.efficientnet import EfficientNet
from epcore.models.efficientpose import EfficientPose
from epcore.models.lite import EfficientPoseLite
from epcore.models.openpose import OpenPose

LITE_NAMES = tuple(f"{variant} Lite" for variant in LITE_VARIANTS)
POSE_NAMES = (*VARIANTS, *LITE_NAMES)
NETWORK_NAMES = (*POSE_NAMES, "OpenPose", *BACKBONES)

# The weights that come with epcore, by the network's name: RT's, trained on synthetic figures.
SHIPPED_WEIGHTS = {"RT": Path(__file__).with_name("synthetic_rt.h5")}


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


_NAMES = {_letters(name): name for name in NETWORK_NAMES}
_NAMES |= {_letters(f"EfficientPose {name}"): name for name in POSE_NAMES}
_NAMES |= {_letters(f"EfficientNet-{name}"): name for name in BACKBONES}


def network_name(name: str, among: Sequence[str] = NETWORK_NAMES) -> str:
    """The name as tables print it. Raises ValueError, with the names there are, for another or for one that is not `among`."""
    known = _NAMES.get(_letters(name))
    if known is None or known not in among:
        what = f"unknown network {name!r}" if known is None else f"{known} cannot be used here"
        raise ValueError(f"{what}: expected one of {', '.join(among)}")
    return known


def build_network(name: str, *, seed: int = 0) -> EfficientPose | OpenPose | EfficientNet:
    """The network of a name, with start values of that seed: RT, I to IV, RT Lite, I Lite, II Lite, OpenPose, B0 to B7.

    Lite networks come without the heads that only training needs, backbones with blocks 1 to 3, as their classes' defaults.
    Raises ValueError for another name.
    """
    name = network_name(name)
    if name == "OpenPose":
        return OpenPose(seed=seed)
    if name in BACKBONES:
        return EfficientNet(name, seed=seed)
    return build_pose_network(name, seed=seed)


def build_pose_network(name: str, *, seed: int = 0) -> EfficientPose:
    """The same of those that epcore predicts keypoints with: RT, I to IV, RT Lite, I Lite, II Lite."""
    name = network_name(name, POSE_NAMES)
    return EfficientPoseLite(name.removesuffix(" Lite"), seed=seed) if name in LITE_NAMES else EfficientPose(name, seed=seed)
