"""The network that a student's is compared with: epcore's RT, with the weights that come with it, on a synthetic figure."""

from __future__ import annotations

from functools import cache

import numpy as np

from epcore.data.record import Record
from epcore.data.synthetic import SyntheticFigures
from epcore.models import EfficientPose
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose import preprocess
from epcore.weights_tools.load import load_weights


def network() -> EfficientPose:
    """RT with its weights, float32: a new one."""
    model = EfficientPose("RT")
    load_weights(model, SHIPPED_WEIGHTS["RT"], trusted=True)
    return model


def figure(size: int) -> Record:
    """A synthetic figure of size x size pixels, with its keypoints."""
    return SyntheticFigures(1, seed=7, size=size).record(0)


def picture(size: int) -> np.ndarray:
    """The figure as the network takes it: (1,size,size,3) float32."""
    x, _ = preprocess(figure(size).pixels(), size)
    return x


@cache
def maps(size: int) -> dict[str, np.ndarray]:
    """The output of every node of RT, in double, on the figure: name -> array, in order."""
    model = network().astype(np.float64)
    names = list(model.graph.nodes)
    outputs = model.run(picture(size).astype(np.float64), capture=names)
    return {name: outputs[name] for name in names}
