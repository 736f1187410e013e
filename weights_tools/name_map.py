"""Our parameter names and the names Keras files use for the same arrays.

    high.block2a.expand_conv/kernel                 block2a_expand_conv_res1   kernel
    low.stem_bn/gamma                               stem_bn_res2               gamma
    pass2.block1.mbconv3.se_reduce/bias             pass2_block1_mbconv3_detection1_se_se_squeeze_conv   bias
    pass1.pafs/kernel                               pass1_skeleton_pafs        kernel
    upscale3/bias                                   upscaled_confs             bias
    block3b.dwconv/kernel      (a lone backbone)    block3b_dwconv             kernel

The names of the second column are those of the authors' published files; lone backbones have the names that
keras.applications and the `efficientnet` package share.
"""

from __future__ import annotations

from collections.abc import Iterator

from epcore.graph import Graph

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
    for node in graph.nodes.values():
        if node.name.startswith(prefix):
            if node.op == "squeeze_excite":
                yield from (("conv2d", f"{node.name}_reduce"), ("conv2d", f"{node.name}_expand"))
            elif node.op in _CLASSES:
                yield _CLASSES[node.op], node.name
