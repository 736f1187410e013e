"""OpenPose (Cao et al. 2019) as the paper's single-person baseline: VGG-19 features, four PAF passes, two confidence passes.

    features = VGG-19 to conv4_2, then 3x3 convolutions to 256 and 128 channels             (stride 8, ReLU)
    pass 1         reads the features
    passes 2 to 6  read the features and the maps of the pass before
    a pass         five dense blocks, 1x1 convolution (PReLU), 1x1 convolution to the maps
    a dense block  three 3x3 convolutions (PReLU) in a row, their outputs concatenated

Unlike EfficientPose it passes maps on, not features, and does not bring its maps back to the picture's size.

The paper gives no layer table. This reading gives both of its figures to the printed digit, 25.94M and 160.36G; Cao et al.'s
Equation 2 lets the last pass read the PAFs as well (`pafs_to_last_pass`). docs/counting.md lists the choices and their effect.
"""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.graph import INPUT, Graph, GraphBuilder
from epcore.models.configs import (
    KEYPOINT_COUNT,
    OPENPOSE_FEATURES,
    OPENPOSE_PASSES,
    OPENPOSE_RESOLUTION,
    OPENPOSE_VGG,
    PAF_CHANNELS,
    OpenPosePass,
)
from epcore.models.efficientpose import PoseOutputs
from epcore.network import Network


def _vgg_features(builder: GraphBuilder) -> str:
    x = INPUT
    for number, block in enumerate(OPENPOSE_VGG, start=1):
        builder.stage = f"VGG-19 block {number}"
        if number > 1:
            x = builder.max_pool(f"pool{number - 1}", x)
        for layer, channels in enumerate(block, start=1):
            x = builder.conv2d(f"conv{number}_{layer}", x, channels, kernel=3, bias=True)
            x = builder.activation(f"relu{number}_{layer}", x, "relu")
    builder.stage = "features"
    for layer, channels in enumerate(OPENPOSE_FEATURES, start=len(OPENPOSE_VGG[-1]) + 1):
        x = builder.conv2d(f"conv4_{layer}", x, channels, kernel=3, bias=True)
        x = builder.activation(f"relu4_{layer}", x, "relu")
    return x


def _pass(builder: GraphBuilder, x: str, name: str, spec: OpenPosePass) -> str:
    for block in range(1, 6):
        outs = []
        for layer in (1, 2, 3):
            x = builder.conv2d(f"{name}.block{block}.conv{layer}", x, spec.width, kernel=3, bias=True)
            x = builder.prelu(f"{name}.block{block}.prelu{layer}", x)
            outs.append(x)
        x = builder.concat(f"{name}.block{block}.dense", *outs)
    x = builder.conv2d(f"{name}.conv", x, spec.hidden, bias=True)
    x = builder.prelu(f"{name}.prelu", x)
    channels = PAF_CHANNELS if spec.maps == "pafs" else KEYPOINT_COUNT
    return builder.conv2d(f"{name}.{spec.maps}", x, channels, bias=True, init="head")


def build_openpose(*, pafs_to_last_pass: bool = False) -> Graph:
    """The graph. Outputs: pafs1 to pafs3 and pafs (the fourth), confs5 and confs6."""
    builder = GraphBuilder((OPENPOSE_RESOLUTION, OPENPOSE_RESOLUTION, 3))
    features = _vgg_features(builder)
    outputs: dict[str, str] = {}
    maps: list[str] = []
    for number, spec in enumerate(OPENPOSE_PASSES, start=1):
        builder.stage = f"pass {number}: {'part affinity fields' if spec.maps == 'pafs' else 'confidence maps'}"
        extra = [outputs["pafs"]] if pafs_to_last_pass and number == len(OPENPOSE_PASSES) else []
        x = builder.concat(f"pass{number}.input", features, *maps, *extra) if maps else features
        maps = [_pass(builder, x, f"pass{number}", spec)]
        last_pafs = spec.maps == "pafs" and OPENPOSE_PASSES[number].maps != "pafs"
        outputs["pafs" if last_pafs else f"{spec.maps}{number}"] = maps[0]
    return builder.graph(outputs)


class OpenPose(Network):
    """The baseline, 368x368 by default; any size that is a multiple of 8 runs.

        outputs = OpenPose()(x)         # x (N,R,R,3) -> PoseOutputs: pafs (N,R/8,R/8,28), two confs (N,R/8,R/8,16)

    pafs_to_last_pass: the last pass also reads the PAFs, as in Cao et al.
    """

    resolution: int

    def __init__(self, *, pafs_to_last_pass: bool = False, seed: int = 0) -> None:
        super().__init__(build_openpose(pafs_to_last_pass=pafs_to_last_pass), "OpenPose", seed=seed)

    def __call__(self, x: Array) -> PoseOutputs:
        """x (N,R,R,3) of the parameters' dtype -> maps. Raises TypeError or ValueError for any other x."""
        return PoseOutputs.of(self.run(x))
