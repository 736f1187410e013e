"""The training loss against its definition written out, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from epcore.models import EfficientPose
from epcore.pose.encode import Targets
from epcore.tape import Tape
from epcore.train.loss import loss_weights, pose_loss

N, S, J, L = 3, 4, 16, 14


def _targets(rng: np.random.Generator) -> Targets:
    return Targets(
        pafs=rng.normal(size=(N, S, S, 2 * L)),
        confs=rng.random((N, S, S, J)),
        upscaled=rng.random((N, 8 * S, 8 * S, J)),
        pafs_mask=(rng.random((N, 1, 1, 2 * L)) < 0.7).astype(np.float32),
        confs_mask=(rng.random((N, 1, 1, J)) < 0.7).astype(np.float32),
    )


def _predictions(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"pafs": (N, S, S, 2 * L), "confs2": (N, S, S, J), "confs3": (N, S, S, J), "upscaled": (N, 8 * S, 8 * S, J)}
    return {label: rng.normal(size=shape) for label, shape in shapes.items()}


def test_value_and_gradient(rng: np.random.Generator) -> None:
    targets, predictions = _targets(rng), _predictions(rng)
    weights = {"pafs": 0.5, "confs2": 1.0, "upscaled": 2 / 64}
    tape = Tape()
    watched = {label: tape.watch(predictions[label]) for label in weights}
    total, parts = pose_loss(tape, watched, targets, weights)
    truth = {"pafs": targets.pafs, "confs2": targets.confs, "upscaled": targets.upscaled}
    masks = {"pafs": targets.pafs_mask, "confs2": targets.confs_mask, "upscaled": targets.confs_mask}
    expected = {
        label: sum(  # picture by picture, as the definition reads
            weight * (masks[label][n] * (predictions[label][n] - truth[label][n]) ** 2).sum() for n in range(N)
        ) / N
        for label, weight in weights.items()
    }  # fmt: skip
    for label, part in parts.items():
        assert float(part.data) == pytest.approx(expected[label], rel=1e-6)  # the weight goes through a float32 mask
    assert float(total.data) == pytest.approx(sum(expected.values()), rel=1e-6)
    tape.backward(total)
    for label, weight in weights.items():
        gradient = 2 * weight / N * masks[label] * (predictions[label] - truth[label])
        np.testing.assert_allclose(tape.gradient(watched[label]), gradient, rtol=1e-6, atol=1e-12)


def test_unannotated_keypoints_teach_nothing(rng: np.random.Generator) -> None:
    targets, predictions = _targets(rng), _predictions(rng)
    hidden = np.broadcast_to(targets.confs_mask == 0, (N, S, S, J))
    tape = Tape()
    watched = {"confs3": tape.watch(predictions["confs3"])}
    tape.backward(pose_loss(tape, watched, targets, {"confs3": 1.0})[0])
    gradient: Any = tape.gradient(watched["confs3"])
    assert (gradient[hidden] == 0).all()
    assert (gradient[~hidden] != 0).all()


def test_repeating_pictures_leaves_the_loss_as_it_is(rng: np.random.Generator) -> None:
    """Averaged over pictures, not summed."""
    targets, predictions = _targets(rng), _predictions(rng)
    twice = Targets(*(np.concatenate([value, value]) for value in vars(targets).values()))

    def loss(predicted: np.ndarray, wanted: Targets) -> float:
        tape = Tape()
        return float(pose_loss(tape, {"confs2": tape.watch(predicted)}, wanted, {"confs2": 1.0})[0].data)

    doubled = np.concatenate([predictions["confs2"]] * 2)
    assert loss(doubled, twice) == pytest.approx(loss(predictions["confs2"], targets), rel=1e-6)


def test_weights_by_output() -> None:
    model = EfficientPose("RT")
    kinds: dict[str, Any] = {"pafs": 0.5, "pass2": 1.0, "pass3": 2.0}
    assert loss_weights(model, **kinds, last_map="low") == {"pafs": 0.5, "confs2": 1.0, "confs3": 2.0}
    assert loss_weights(model, **kinds, last_map="upscaled") == {"pafs": 0.5, "confs2": 1.0, "upscaled": 2 / 64}
    assert loss_weights(model, **{**kinds, "pafs": 0.0}, last_map="low") == {"confs2": 1.0, "confs3": 2.0}
    single = EfficientPose("RT", skeleton=False, passes=1, upscaling=False)
    assert loss_weights(single, **kinds, last_map="low") == {"confs2": 2.0}
    with pytest.raises(ValueError, match="no upscaled map"):
        loss_weights(single, **kinds, last_map="upscaled")
    with pytest.raises(ValueError, match="last_map is 'middle'"):
        loss_weights(model, **kinds, last_map="middle")
    with pytest.raises(ValueError, match="none below 0"):
        loss_weights(model, pafs=-1, pass2=1, pass3=1, last_map="low")
    with pytest.raises(ValueError, match="nothing to learn"):
        loss_weights(model, pafs=0, pass2=0, pass3=0, last_map="low")
