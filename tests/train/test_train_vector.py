"""Parameters as one vector: views, not copies, and nothing but the parameters moves."""

from __future__ import annotations

import numpy as np
import pytest

from epcore.models import EfficientPose
from epcore.tape import Tape
from epcore.train.optimizers import OPTIMIZERS
from epcore.train.vector import ALIGNMENT, ParameterVector


def test_the_network_sees_the_vector() -> None:
    model = EfficientPose("RT")
    before = {name: array.copy() for name, array in model.parameters.items()}
    vector = ParameterVector(model)
    for name, array in before.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    assert vector.names == model.trainable()
    vector.values += 1
    for name in vector.names:
        np.testing.assert_array_equal(model.parameters[name], before[name] + np.float32(1))
        assert (model.parameters[name].ctypes.data - vector.values.ctypes.data) % (4 * ALIGNMENT) == 0
        assert model.parameters[name].flags.c_contiguous
    np.testing.assert_array_equal(model.parameters["upscale1/kernel"], before["upscale1/kernel"])  # frozen


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_gaps_stay_zero(optimizer: str, rng: np.random.Generator) -> None:
    model = EfficientPose("RT", upscaling=False).train()
    vector = ParameterVector(model)
    tape = Tape()
    outputs, watched = model.record(rng.normal(size=(1, 32, 32, 3)).astype(np.float32), tape)
    tape.backward(tape.apply("mse", outputs["confs3"], np.ones((1, 4, 4, 16), np.float32), reduction="sum"))
    vector.gather(tape, watched)
    assert not vector.split(vector.gradient)["pass1.pafs/kernel"].any()  # no loss on it
    np.testing.assert_array_equal(
        vector.split(vector.gradient)["high.stem_conv/kernel"], tape.gradient(watched["high.stem_conv/kernel"])
    )
    OPTIMIZERS[optimizer](vector.values).step(vector.gradient, 0.1)
    taken = np.zeros(vector.values.size, bool)
    for view in vector.split(taken).values():
        view[...] = True
    assert not taken.all()
    assert not vector.values[~taken].any()


def test_everything_frozen() -> None:
    model = EfficientPose("RT")
    model.freeze("high.", "pass")
    with pytest.raises(ValueError, match="nothing to train"):
        ParameterVector(model)
