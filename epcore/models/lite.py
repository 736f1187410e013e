"""EfficientPose Lite: the release's RT Lite, I Lite and II Lite, for edge devices.

Against EfficientPose: one branch, an EfficientNet-Lite backbone (Tan 2020) of the variant's scale, no squeeze-and-excitation
anywhere, ReLU6 in place of swish and E-swish. Passes, heads and upscaling are as in `efficientpose`, so backbone and passes
are made of one block:

    expand 1x1 -> BN -> ReLU6 -> depthwise kxk -> BN -> ReLU6 -> project 1x1 -> BN   (+ input in the backbone)

EfficientNet-Lite scales like EfficientNet, but for two parts that stay as in B0: the stem (32 channels) and the repeats of the
first and the last block. This reading gives the number of arrays of the published RT Lite and I Lite files to the unit.

The published Lite files want x = pixel / 127.5 - 1 in place of ImageNet's mean and standard deviation, and lack the heads that
only training needs: part affinity fields and the second pass' confidence maps.
"""

from __future__ import annotations

from epcore.graph import INPUT, Graph, GraphBuilder
from epcore.models.configs import (
    BACKBONES,
    DROP_CONNECT_RATE,
    EFFICIENTNET_BLOCKS,
    KEYPOINT_COUNT,
    LITE_VARIANTS,
    PAF_CHANNELS,
    STEM_CHANNELS,
    PoseConfig,
    round_channels,
    round_repeats,
)
from epcore.models.efficientpose import EfficientPose
from epcore.network import Network


def _mbconv(builder: GraphBuilder, x: str, name: str, *, hidden: int, channels: int, kernel: int, stride: int = 1) -> str:
    if hidden != builder.channels[x]:
        x = builder.conv2d(f"{name}.expand_conv", x, hidden)
        x = builder.batch_norm(f"{name}.expand_bn", x)
        x = builder.activation(f"{name}.expand_activation", x, "relu", maximum=6.0)
    x = builder.depthwise_conv2d(f"{name}.dwconv", x, kernel=kernel, stride=stride)
    x = builder.batch_norm(f"{name}.bn", x)
    x = builder.activation(f"{name}.activation", x, "relu", maximum=6.0)
    x = builder.conv2d(f"{name}.project_conv", x, channels)
    return builder.batch_norm(f"{name}.project_bn", x)


def add_efficientnet_lite(builder: GraphBuilder, x: str, scale: str, *, blocks: int, prefix: str = "") -> str:
    """Write stem and blocks 1..`blocks` of EfficientNet-Lite after node x; the last block's output node."""
    factor = BACKBONES[scale]
    ends = (EFFICIENTNET_BLOCKS[0], EFFICIENTNET_BLOCKS[-1])
    repeats = [block.repeats if block in ends else round_repeats(block.repeats * factor.depth) for block in EFFICIENTNET_BLOCKS]
    builder.stage = "stem"
    x = builder.conv2d(f"{prefix}stem_conv", x, STEM_CHANNELS, kernel=3, stride=2)
    x = builder.batch_norm(f"{prefix}stem_bn", x)
    x = builder.activation(f"{prefix}stem_activation", x, "relu", maximum=6.0)
    index = 0  # position of the layer in the whole network, for drop-connect
    for number, block in enumerate(EFFICIENTNET_BLOCKS[:blocks], start=1):
        builder.stage = f"block {number}"
        channels = round_channels(block.channels * factor.width)
        for repeat in range(repeats[number - 1]):
            name, start = f"{prefix}block{number}{chr(ord('a') + repeat)}", x
            hidden = block.expansion * builder.channels[x]
            stride = block.stride if repeat == 0 else 1
            x = _mbconv(builder, x, name, hidden=hidden, channels=channels, kernel=block.kernel, stride=stride)
            if repeat > 0:
                x = builder.drop_connect(f"{name}.drop_connect", x, rate=DROP_CONNECT_RATE * index / sum(repeats))
                x = builder.add(f"{name}.add", x, start)
            index += 1
    return x


def _pass(builder: GraphBuilder, x: str, name: str, config: PoseConfig) -> str:
    """D Mobile DenseNets, wired as in `efficientpose`."""
    for block in range(1, config.depth + 1):
        before, prefix, dense = x, f"{name}.block{block}", ""
        for number in (1, 2, 3):
            layer = f"{prefix}.mbconv{number}"
            out = _mbconv(builder, x, layer, hidden=6 * config.width, channels=config.width, kernel=5)
            last = f"{prefix}.dense" if number == 3 else f"{layer}.dense"
            x = dense = builder.concat(last, out, dense) if dense else out
        if block > 1:
            x = builder.add(f"{prefix}.add", x, before)
    return x


def build_efficientpose_lite(config: PoseConfig) -> Graph:
    """The graph of one row of `LITE_VARIANTS`, with all heads."""
    builder = GraphBuilder((config.resolution, config.resolution, 3))
    features = add_efficientnet_lite(builder, INPUT, config.high, blocks=3, prefix="high.")
    outputs: dict[str, str] = {}
    builder.stage = "pass 1: part affinity fields"
    x = _pass(builder, features, "pass1", config)
    outputs["pafs"] = builder.conv2d("pass1.pafs", x, PAF_CHANNELS, bias=True, init="head")
    for number in (2, 3):
        builder.stage = f"pass {number}: confidence maps"
        x = _pass(builder, builder.concat(f"pass{number}.input", x, features), f"pass{number}", config)
        confs = builder.conv2d(f"pass{number}.confs", x, KEYPOINT_COUNT, bias=True, init="head")
        outputs[f"confs{number}"] = confs
    builder.stage = "upscaling"
    for step in (1, 2, 3):
        confs = builder.conv_transpose2d(f"upscale{step}", confs, KEYPOINT_COUNT)
    outputs["upscaled"] = confs
    return builder.graph(outputs)


class EfficientPoseLite(EfficientPose):
    """EfficientPose RT Lite, I Lite or II Lite; used like `EfficientPose`.

    variant: "RT", "I" or "II". auxiliary_heads: also give `pafs` and `confs2`, to be trained on; the published files have none.
    Raises ValueError for another variant.
    """

    preprocessing = "signed"

    def __init__(self, variant: str = "RT", *, auxiliary_heads: bool = False, seed: int = 0) -> None:
        if variant not in LITE_VARIANTS:
            raise ValueError(f"unknown Lite variant {variant!r}: expected one of {', '.join(LITE_VARIANTS)}")
        self.config = LITE_VARIANTS[variant]
        graph = build_efficientpose_lite(self.config)
        if not auxiliary_heads:
            graph = graph.pruned("confs3", "upscaled")
        Network.__init__(self, graph, f"EfficientPose {self.config.name}", seed=seed)
        self.freeze("upscale")
