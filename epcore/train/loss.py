"""The training loss: squared error of every pass's maps (Section 3.1; "MSE" in the paper).

    loss = 1/N sum over pictures n, outputs o, pixels, channels of  weight[o] * mask * (prediction - target)^2

**Summed over pixels and channels, averaged over pictures.** The paper says MSE, which could average over pixels too; but
most of a map is background, so that mean is below 0.01 from the start, its gradients are as tiny, and the range of learning
rates that works would depend on the map's size. The two differ by a constant factor that the learning rate takes up: the
range test finds lambda_max for this one.

Outputs: `pafs` (pass 1), `confs2` (pass 2), and of pass 3 either `confs3` (low resolution) or `upscaled`. The upscaled map has
64 times as many pixels; its weight is divided by 64, so that choosing it changes the sharpness of the target, not its weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from epcore.base.arrays import Array, array_module
from epcore.network import Network
from epcore.pose.encode import LOW_STRIDE, Targets
from epcore.tape import Tape, Tensor

LAST_MAPS = ("low", "upscaled")


def loss_weights(network: Network, *, pafs: float, pass2: float, pass3: float, last_map: str) -> dict[str, float]:
    """Output label -> weight, for the outputs the network has. With one detection pass (an ablation) that is the last.

    Raises ValueError for an unknown last_map, negative weights, or weights that leave nothing to learn.
    """
    if last_map not in LAST_MAPS:
        raise ValueError(f"last_map is {last_map!r}, expected one of {', '.join(LAST_MAPS)}")
    if min(pafs, pass2, pass3) < 0:
        raise ValueError(f"loss weights are {pafs}, {pass2}, {pass3}: expected none below 0")
    labels = list(network.graph.outputs)
    confs = [label for label in labels if label.startswith("confs")]
    weights = {"pafs": pafs} if "pafs" in labels else {}
    weights |= dict.fromkeys(confs[:-1], pass2)
    if last_map == "upscaled":
        if "upscaled" not in labels:
            raise ValueError(f"last_map is 'upscaled', but {network.name} has no upscaled map")
        weights["upscaled"] = pass3 / LOW_STRIDE**2
    else:
        weights[confs[-1]] = pass3
    weights = {label: weight for label, weight in weights.items() if weight > 0}
    if not weights:
        raise ValueError("every loss weight is 0: there is nothing to learn")
    return weights


def pose_loss(
    tape: Tape, outputs: Mapping[str, Tensor], targets: Targets, weights: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor]]:
    """(total, part by output label), scalars on the tape; the parts are weighted and add up to the total.

    Weight and 1/N go into the mask, so one `mse` an output is all there is.
    """
    total: Tensor | None = None
    parts = {}
    for label, weight in weights.items():
        prediction = outputs[label]
        target, mask = _target(label, targets)
        xp, dtype = array_module(prediction.data), prediction.data.dtype
        scaled = xp.asarray(mask * np.float32(weight / len(mask)), dtype=dtype)
        parts[label] = tape.apply("mse", prediction, xp.asarray(target, dtype=dtype), scaled, reduction="sum")
        total = parts[label] if total is None else tape.apply("add", total, parts[label])
    assert total is not None
    return total, parts


def _target(label: str, targets: Targets) -> tuple[Array, Array]:
    if label == "pafs":
        return targets.pafs, targets.pafs_mask
    if label == "upscaled":
        if targets.upscaled is None:
            raise ValueError("the targets have no upscaled maps: load them with upscaled=True")
        return targets.upscaled, targets.confs_mask
    return targets.confs, targets.confs_mask
