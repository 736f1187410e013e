"""EfficientNet B0 to B7 (Tan and Le 2019) as a feature extractor: stem and the first blocks, built from one scaling rule.

    MBConv(k, C, s):  expand 1x1 -> BN -> swish -> depthwise kxk, stride s -> BN -> swish -> SE -> project 1x1 -> BN
                      (+ input, where stride is 1 and the channels agree; drop-connect in front of that sum)

Without an expansion (block 1) the first three steps fall away. SE reduces to a quarter of the block's *input* channels.
"""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.graph import INPUT, GraphBuilder
from epcore.models.configs import (
    BACKBONES,
    DROP_CONNECT_RATE,
    EFFICIENTNET_BLOCKS,
    STEM_CHANNELS,
    round_channels,
    round_repeats,
)
from epcore.network import Network


def add_efficientnet(
    builder: GraphBuilder,
    x: str,
    scale: str,
    *,
    blocks: int,
    prefix: str = "",
    stage: str = "",
    last_add: bool = True,
) -> list[str]:
    """Write stem and blocks 1..`blocks` after node x; the output node of each block.

    prefix goes in front of every node name ("high."). last_add = False leaves out the residual sum of the very last layer
    (and its drop-connect): the low-resolution branch is tapped at that layer's projection, and the sum does not exist.
    """
    factor = BACKBONES[scale]
    total = sum(round_repeats(block.repeats * factor.depth) for block in EFFICIENTNET_BLOCKS)
    builder.stage = f"{stage}stem"
    x = builder.conv2d(f"{prefix}stem_conv", x, round_channels(STEM_CHANNELS * factor.width), kernel=3, stride=2)
    x = builder.batch_norm(f"{prefix}stem_bn", x)
    x = builder.activation(f"{prefix}stem_activation", x, "swish")
    outputs = []
    index = 0  # position of the layer in the whole network, for drop-connect
    for number, block in enumerate(EFFICIENTNET_BLOCKS[:blocks], start=1):
        builder.stage = f"{stage}block {number}"
        repeats = round_repeats(block.repeats * factor.depth)
        for repeat in range(repeats):
            last = number == blocks and repeat == repeats - 1
            x = _mbconv(
                builder,
                x,
                f"{prefix}block{number}{chr(ord('a') + repeat)}",
                channels=round_channels(block.channels * factor.width),
                kernel=block.kernel,
                stride=block.stride if repeat == 0 else 1,
                expansion=block.expansion,
                drop_rate=DROP_CONNECT_RATE * index / total,
                residual=last_add or not last,
            )
            index += 1
        outputs.append(x)
    return outputs


def _mbconv(
    builder: GraphBuilder,
    x: str,
    name: str,
    *,
    channels: int,
    kernel: int,
    stride: int,
    expansion: int,
    drop_rate: float,
    residual: bool,
) -> str:
    start = x
    if expansion != 1:
        x = builder.conv2d(f"{name}.expand_conv", x, builder.channels[x] * expansion)
        x = builder.batch_norm(f"{name}.expand_bn", x)
        x = builder.activation(f"{name}.expand_activation", x, "swish")
    x = builder.depthwise_conv2d(f"{name}.dwconv", x, kernel=kernel, stride=stride)
    x = builder.batch_norm(f"{name}.bn", x)
    x = builder.activation(f"{name}.activation", x, "swish")
    x = builder.squeeze_excite(f"{name}.se", x, reduced=max(1, builder.channels[start] // 4), activation="swish")
    x = builder.conv2d(f"{name}.project_conv", x, channels)
    x = builder.batch_norm(f"{name}.project_bn", x)
    if residual and stride == 1 and builder.channels[start] == channels:
        if drop_rate > 0:
            x = builder.drop_connect(f"{name}.drop_connect", x, rate=drop_rate)
        x = builder.add(f"{name}.add", x, start)
    return x


class EfficientNet(Network):
    """EfficientNet-B0 to B7 up to a block, as a backbone: no classifier.

        backbone = EfficientNet("B2", blocks=3)
        block1, block2, block3 = backbone.features(x)

    Raises ValueError for an unknown scale or number of blocks.
    """

    resolution: int

    def __init__(self, scale: str = "B0", *, blocks: int = 3, resolution: int | None = None, seed: int = 0) -> None:
        if scale not in BACKBONES:
            raise ValueError(f"unknown EfficientNet {scale!r}: expected one of {', '.join(BACKBONES)}")
        if not 1 <= blocks <= len(EFFICIENTNET_BLOCKS):
            raise ValueError(f"blocks is {blocks!r}, expected 1 to {len(EFFICIENTNET_BLOCKS)}")
        side = resolution or BACKBONES[scale].resolution
        builder = GraphBuilder((side, side, 3))
        outputs = add_efficientnet(builder, INPUT, scale, blocks=blocks)
        graph = builder.graph({f"block{i}": name for i, name in enumerate(outputs, start=1)})
        super().__init__(graph, f"EfficientNet-{scale}", seed=seed)

    def features(self, x: Array) -> tuple[Array, ...]:
        """Outputs at the end of each block, NHWC: strides 2, 4, 8, ... of x (N,H,W,3)."""
        return tuple(self.run(x).values())
