"""The paper's tables as data, and the scaling rules behind them.

Table 1 lists the EfficientNet blocks, Table 2 the EfficientPose variants. Everything a network is built from follows from
these and from phi.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from epcore.base.checks import check_whole

KEYPOINT_COUNT = 16
PAF_CHANNELS = 28  # 14 limbs, x and y


@dataclass(frozen=True)
class Block:
    """One row of the EfficientNet table: repeats, kernel, stride of the first repeat, expansion, output channels."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


# EfficientNet-B0 (Tan and Le 2019, Table 1); EfficientPose uses blocks 1 to 3 (the paper's Table 1).
STEM_CHANNELS = 32
EFFICIENTNET_BLOCKS = (
    Block(repeats=1, kernel=3, stride=1, expansion=1, channels=16),
    Block(repeats=2, kernel=3, stride=2, expansion=6, channels=24),
    Block(repeats=2, kernel=5, stride=2, expansion=6, channels=40),
    Block(repeats=3, kernel=3, stride=2, expansion=6, channels=80),
    Block(repeats=3, kernel=5, stride=1, expansion=6, channels=112),
    Block(repeats=4, kernel=5, stride=2, expansion=6, channels=192),
    Block(repeats=1, kernel=3, stride=1, expansion=6, channels=320),
)


@dataclass(frozen=True)
class BackboneScale:
    """Width and depth factor of one EfficientNet and its ImageNet resolution (Tan and Le's published coefficients)."""

    width: float
    depth: float
    resolution: int


BACKBONES = {
    "B0": BackboneScale(1.0, 1.0, 224),
    "B1": BackboneScale(1.0, 1.1, 240),
    "B2": BackboneScale(1.1, 1.2, 260),
    "B3": BackboneScale(1.2, 1.4, 300),
    "B4": BackboneScale(1.4, 1.8, 380),
    "B5": BackboneScale(1.6, 2.2, 456),
    "B6": BackboneScale(1.8, 2.6, 528),
    "B7": BackboneScale(2.0, 3.1, 600),
}
DROP_CONNECT_RATE = 0.2  # at the last block of the whole EfficientNet


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8, never below 90 % of the wanted number (Tan and Le's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: float) -> int:
    return ceil(repeats)


@dataclass(frozen=True)
class PoseConfig:
    """One column of the paper's Table 2.

    high, low: backbones of the high- and the low-resolution branch (None: no low branch). width: channels C of a Mobile
    DenseNet's layers. depth: Mobile DenseNets D in a pass.
    """

    name: str
    resolution: int
    high: str
    low: str | None
    width: int
    depth: int


VARIANTS = {
    "RT": PoseConfig("RT", 224, "B0", None, width=40, depth=1),
    "I": PoseConfig("I", 256, "B2", "B0", width=48, depth=1),
    "II": PoseConfig("II", 368, "B4", "B0", width=56, depth=2),
    "III": PoseConfig("III", 480, "B5", "B1", width=64, depth=3),
    "IV": PoseConfig("IV", 600, "B7", "B3", width=80, depth=4),
}

# The release's Lite models: one branch, an EfficientNet-Lite of the variant's scale, width and depth of Table 2.
LITE_VARIANTS = {
    "RT": PoseConfig("RT Lite", 224, "B0", None, width=40, depth=1),
    "I": PoseConfig("I Lite", 256, "B2", None, width=48, depth=1),
    "II": PoseConfig("II Lite", 368, "B4", None, width=56, depth=2),
}

ALPHA = 1.2  # Equation 1: the depth factor is ALPHA ** phi


def mobile_densenet_depth(phi: int) -> int:
    """Mobile DenseNets in a pass (Equation 3): the depth factor alpha ** phi, to one decimal, rounded half up.

    The rounding to one decimal is our reading: with it Table 2's D of all five variants comes out, 1, 1, 2, 3, 4 for
    phi = 0, 2, 4, 5, 7 (without it, 2 instead of 3 for phi = 5).
    """
    return floor(round(ALPHA**phi, 1) + 0.5)


def scaled_config(phi: int) -> PoseConfig:
    """The EfficientPose of a compound coefficient phi = 0..7 (0 builds RT, 2, 4, 5, 7 build I to IV).

    High branch: EfficientNet-B<phi>. Low branch: four scales below it, not below B0, none at phi = 0. C: the channels of the
    high branch's block 3. D: Equation 3. Resolution: the variants' own where Table 2 gives one, otherwise that of
    EfficientNet-B<phi> on ImageNet rounded to a multiple of 16 (chosen here: the paper says nothing about other scales).
    Raises ValueError for another phi.
    """
    check_whole(phi, "phi", 0, 7, note=" (EfficientNet-B0 to B7)")
    for config in VARIANTS.values():
        if config.high == f"B{phi}":
            return config
    scale = BACKBONES[f"B{phi}"]
    return PoseConfig(
        name=f"phi{phi}",
        resolution=floor(scale.resolution / 16 + 0.5) * 16,
        high=f"B{phi}",
        low=f"B{max(0, phi - 4)}",
        width=round_channels(EFFICIENTNET_BLOCKS[2].channels * scale.width),
        depth=mobile_densenet_depth(phi),
    )


def pose_config(variant: str | int) -> PoseConfig:
    """By name ("RT", "I" .. "IV", case ignored) or by phi. Raises ValueError for an unknown variant."""
    if isinstance(variant, str):
        if variant.upper() in VARIANTS:
            return VARIANTS[variant.upper()]
        raise ValueError(f"unknown variant {variant!r}: expected one of {', '.join(VARIANTS)}, or phi as a number 0 to 7")
    return scaled_config(variant)


# OpenPose as the paper's baseline (Figure 1): VGG-19 up to conv4_2, channels of each convolution by block, then two more.
OPENPOSE_RESOLUTION = 368
OPENPOSE_VGG = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))
OPENPOSE_FEATURES = (256, 128)


@dataclass(frozen=True)
class OpenPosePass:
    """One pass: what it estimates, channels of a 3x3 convolution and of the 1x1 convolution after the five dense blocks."""

    maps: str
    width: int
    hidden: int


OPENPOSE_PASSES = (
    OpenPosePass("pafs", 96, 256),
    OpenPosePass("pafs", 128, 512),
    OpenPosePass("pafs", 128, 512),
    OpenPosePass("pafs", 128, 512),
    OpenPosePass("confs", 96, 256),
    OpenPosePass("confs", 128, 512),
)
