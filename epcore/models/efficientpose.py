"""EfficientPose (Groos et al. 2020, Figure 2): two EfficientNets, three passes of Mobile DenseNets, bilinear upscaling.

    high = EfficientNet blocks 1-3 of the picture                (stride 8)
    low  = EfficientNet blocks 1-2 of the picture at half size   (stride 8)
    F    = [high, low]
    pass 1 (part affinity fields)  reads F
    pass 2 (confidence maps)       reads [features of pass 1, high, low]
    pass 3 (confidence maps)       reads [features of pass 2, high, low]
    three transposed convolutions bring the last confidence maps to the picture's size

What goes from pass to pass are features, never maps. Ablations (the paper's Tables 6 to 9): `cross_resolution=False` drops the
low branch, `skeleton=False` drops pass 1 (pass 2 then reads [F, high, low]), `passes` is the number of detection passes,
`upscaling=False` drops the transposed convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epcore.base.arrays import Array
from epcore.graph import INPUT, Graph, GraphBuilder
from epcore.models.configs import KEYPOINT_COUNT, PAF_CHANNELS, PoseConfig, pose_config
from epcore.models.efficientnet import add_efficientnet
from epcore.network import Network


@dataclass(frozen=True)
class PoseOutputs:
    """Maps of one batch, NHWC; None where a network (an ablation, a Lite one) has no such map.

    pafs (N,R/8,R/8,28): part affinity fields of 14 limbs, x and y interleaved. confs: confidence maps (N,R/8,R/8,16) of every
    detection pass whose number is in `passes`; `confs2` and `confs3` name them. upscaled (N,R,R,16): the last of them at the
    size of the picture.
    """

    pafs: Array | None
    confs: tuple[Array, ...]
    upscaled: Array | None
    passes: tuple[int, ...]

    @classmethod
    def of(cls, outputs: Mapping[str, Array]) -> PoseOutputs:
        """From the outputs of `Network.run` by label."""
        confs = {int(label.removeprefix("confs")): maps for label, maps in outputs.items() if label.startswith("confs")}
        return cls(outputs.get("pafs"), tuple(confs.values()), outputs.get("upscaled"), tuple(confs))

    @staticmethod
    def holds(label: str) -> bool:
        """Whether this output of a network has a place here (OpenPose gives the fields of its first passes too)."""
        return label in ("pafs", "upscaled") or label.startswith("confs")

    def by_label(self) -> dict[str, Array]:
        """The maps there are, as `Network.run` names them: what `of` takes."""
        confs = {f"confs{number}": maps for number, maps in zip(self.passes, self.confs, strict=True)}
        maps = {"pafs": self.pafs, **confs, "upscaled": self.upscaled}
        return {label: array for label, array in maps.items() if array is not None}

    @property
    def confs2(self) -> Array | None:
        return self.confs[self.passes.index(2)] if 2 in self.passes else None

    @property
    def confs3(self) -> Array | None:
        return self.confs[self.passes.index(3)] if 3 in self.passes else None

    @property
    def final(self) -> Array:
        """The most refined confidence maps: what is decoded into keypoints."""
        return self.confs[-1] if self.upscaled is None else self.upscaled


def _e_mbconv6(builder: GraphBuilder, x: str, name: str, channels: int) -> str:
    """E-MBConv6(5x5, C, 1) of Figure 3e: E-swish, expansion to 6C whatever comes in, SE down to C/4."""
    x = builder.conv2d(f"{name}.expand_conv", x, 6 * channels)
    x = builder.batch_norm(f"{name}.expand_bn", x)
    x = builder.activation(f"{name}.expand_activation", x, "eswish")
    x = builder.depthwise_conv2d(f"{name}.dwconv", x, kernel=5)
    x = builder.batch_norm(f"{name}.bn", x)
    x = builder.activation(f"{name}.activation", x, "eswish")
    x = builder.squeeze_excite(f"{name}.se", x, reduced=channels // 4, activation="eswish")
    x = builder.conv2d(f"{name}.project_conv", x, channels)
    return builder.batch_norm(f"{name}.project_bn", x)


def _mobile_densenet(builder: GraphBuilder, x: str, name: str, channels: int) -> str:
    """Three E-MBConv6, each reading all before it, newest first; the output is [out3, out2, out1]: 3C channels."""
    out1 = _e_mbconv6(builder, x, f"{name}.mbconv1", channels)
    out2 = _e_mbconv6(builder, out1, f"{name}.mbconv2", channels)
    dense = builder.concat(f"{name}.mbconv2.dense", out2, out1)
    out3 = _e_mbconv6(builder, dense, f"{name}.mbconv3", channels)
    return builder.concat(f"{name}.dense", out3, dense)


def _pass(builder: GraphBuilder, x: str, name: str, config: PoseConfig) -> str:
    """D Mobile DenseNets; from the second on, a block's output has the previous block's output added to it."""
    for block in range(1, config.depth + 1):
        before = x
        x = _mobile_densenet(builder, x, f"{name}.block{block}", config.width)
        if block > 1:
            x = builder.add(f"{name}.block{block}.add", x, before)
    return x


def build_efficientpose(
    config: PoseConfig, *, cross_resolution: bool = True, skeleton: bool = True, passes: int = 2, upscaling: bool = True
) -> Graph:
    """The graph of one configuration; see the module for the switches."""
    builder = GraphBuilder((config.resolution, config.resolution, 3))
    features = [add_efficientnet(builder, INPUT, config.high, blocks=3, prefix="high.", stage="high-resolution ")[-1]]
    if cross_resolution and config.low is not None:
        builder.stage = "low-resolution input"
        half = builder.avg_pool("low.pool", INPUT)
        low = add_efficientnet(builder, half, config.low, blocks=2, prefix="low.", stage="low-resolution ", last_add=False)
        features.append(low[-1])
    builder.stage = "cross-resolution features"
    F = builder.concat("features", *features) if len(features) > 1 else features[0]

    outputs: dict[str, str] = {}
    x = F
    if skeleton:
        builder.stage = "pass 1: part affinity fields"
        x = _pass(builder, F, "pass1", config)
        outputs["pafs"] = builder.conv2d("pass1.pafs", x, PAF_CHANNELS, bias=True, init="head")
    for number in range(2, 2 + passes):
        builder.stage = f"pass {number}: confidence maps"
        x = builder.concat(f"pass{number}.input", x, *features)
        x = _pass(builder, x, f"pass{number}", config)
        confs = builder.conv2d(f"pass{number}.confs", x, KEYPOINT_COUNT, bias=True, init="head")
        outputs[f"confs{number}"] = confs
    if upscaling:
        builder.stage = "upscaling"
        for step in (1, 2, 3):
            confs = builder.conv_transpose2d(f"upscale{step}", confs, KEYPOINT_COUNT)
        outputs["upscaled"] = confs
    return builder.graph(outputs)


class EfficientPose(Network):
    """EfficientPose RT, I, II, III, IV, or any phi from 0 to 7.

        model = EfficientPose("RT")
        outputs = model(x)              # x (N,R,R,3) float32, preprocessed; outputs: PoseOutputs

    variant: a name of the paper's Table 2 or phi. The switches are the paper's ablations; RT has no low branch to drop.
    The upscaling layers are frozen: in the release they equal their bilinear start. Raises ValueError for bad arguments.
    """

    resolution: int

    def __init__(
        self,
        variant: str | int = "RT",
        *,
        cross_resolution: bool = True,
        skeleton: bool = True,
        passes: int = 2,
        upscaling: bool = True,
        seed: int = 0,
    ) -> None:
        if not isinstance(passes, int) or not 1 <= passes <= 9:
            raise ValueError(f"passes is {passes!r}, expected a number of detection passes from 1 to 9")
        self.config = pose_config(variant)
        graph = build_efficientpose(
            self.config, cross_resolution=cross_resolution, skeleton=skeleton, passes=passes, upscaling=upscaling
        )
        super().__init__(graph, f"EfficientPose {self.config.name}", seed=seed)
        if upscaling:
            self.freeze("upscale")

    def __call__(self, x: Array) -> PoseOutputs:
        """x (N,R,R,3) of the parameters' dtype -> maps. Raises TypeError or ValueError for any other x."""
        return PoseOutputs.of(self.run(x))
