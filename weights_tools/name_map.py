"""Our parameter names and the names Keras files use for the same arrays.

    high.block2a.expand_conv/kernel                 block2a_expand_conv_res1   kernel
    low.stem_bn/gamma                               stem_bn_res2               gamma
    pass2.block1.mbconv3.se_reduce/bias             pass2_block1_mbconv3_detection1_se_se_squeeze_conv   bias
    pass1.pafs/kernel                               pass1_skeleton_pafs        kernel
    upscale3/bias                                   upscaled_confs             bias
    block3b.dwconv/kernel      (a lone backbone)    block3b_dwconv             kernel
    high.block2a.expand_conv/kernel   (RT Lite)     efficientnet-lite0/model/blocks_1/conv2d/Conv2D_0   kernel

The names of the second column are those of the authors' published files; lone backbones have the names that
keras.applications and the `efficientnet` package share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from epcore.graph import Graph
from epcore.graph.passes import split_steps
from epcore.models import EfficientPoseLite
from epcore.network import Network

Names = Callable[[str], tuple[str, str]]  # our parameter -> (layer, array) in a file

_DETECTION_LAYERS = {
    "expand_conv": "conv1",
    "expand_bn": "conv1_bn",
    "dwconv": "dconv1",
    "bn": "dconv1_bn",
    "se_reduce": "se_se_squeeze_conv",
    "se_expand": "se_se_excite_conv",
    "project_conv": "conv2",
    "project_bn": "conv2_bn",
}
_UPSCALING = {"upscale1": "upscaled_deconv1", "upscale2": "upscaled_deconv2", "upscale3": "upscaled_confs"}
_BRANCHES = {"high": "_res1", "low": "_res2"}
_CLASSES = {
    "conv2d": "conv2d",
    "depthwise_conv2d": "depthwise_conv2d",
    "conv_transpose2d": "conv2d_transpose",
    "batch_norm": "batch_normalization",
}
_LITE_LAYERS = {
    "conv2d": "conv2d{}/Conv2D_0",
    "depthwise_conv2d": "depthwise_conv2d{}/depthwise_0",
    "batch_normalization": "tpu_batch_normalization{}/FusedBatchNormV3_0",
}


def names_for(model: Network) -> Names:
    """How the authors' file of this network calls its parameters."""
    if not isinstance(model, EfficientPoseLite):
        return keras_name
    layers = _lite_backbone(model.graph, f"efficientnet-lite{model.config.high.removeprefix('B')}")

    def name(parameter: str) -> tuple[str, str]:
        node, _, array = parameter.partition("/")
        return (layers[node], array) if node in layers else keras_name(parameter)

    return name


def _lite_backbone(graph: Graph, scale: str) -> dict[str, str]:
    """Layer -> its name in the published Lite files, whose backbones came from TensorFlow: blocks are numbered through the
    network from 0, layers of a class within their block ("", "_1", "_2")."""
    blocks = {"stem": "stem"}
    counts: Counter[tuple[str, str]] = Counter()
    layers = {}
    for kind, node in keras_layers(graph, "high."):
        _, *inside, _ = node.split(".")
        block = inside[0] if inside else "stem"
        place = blocks.setdefault(block, f"blocks_{len(blocks) - 1}")
        number = counts[block, kind]
        counts[block, kind] += 1
        layers[node] = f"{scale}/model/{place}/" + _LITE_LAYERS[kind].format(f"_{number}" if number else "")
    return layers


def keras_name(parameter: str) -> tuple[str, str]:
    """(layer, array) of a parameter in a Keras file; depthwise kernels are called "kernel", see `keras_h5`."""
    node, _, array = parameter.partition("/")
    first, *rest = node.split(".")
    if first in _UPSCALING:
        return _UPSCALING[first], array
    if first in _BRANCHES:
        return "_".join(rest) + _BRANCHES[first], array
    if first.startswith("pass"):
        number = int(first.removeprefix("pass"))
        task = "skeleton" if number == 1 else f"detection{number - 1}"
        if rest[0] in ("pafs", "confs"):
            return f"{first}_{task}_{rest[0]}", array
        block, mbconv, layer = rest
        return f"{first}_{block}_{mbconv}_{task}_{_DETECTION_LAYERS[layer]}", array
    return node.replace(".", "_"), array


def backbone_name(parameter: str) -> tuple[str, str]:
    """(layer, array) of a backbone's parameter in a file that holds one backbone alone: no branch, no suffix."""
    branch, _, rest = parameter.partition(".")
    return keras_name(rest if branch in _BRANCHES else parameter)


def keras_layers(graph: Graph, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(Keras class, parameter name up to the slash) of the layers with weights under a prefix, in the model's order."""
    for node in split_steps(graph).nodes.values():
        if node.name.startswith(prefix) and node.op in _CLASSES:
            yield _CLASSES[node.op], str(node.parameters[0]).partition("/")[0]
