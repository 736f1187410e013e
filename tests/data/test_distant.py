"""Scenes of distant figures: the same ones each time, whole, as small as they say; and what a network sees of them."""

from __future__ import annotations

import numpy as np
import pytest

import epcore
from epcore.data.distant import DistantFigures
from epcore.evaluate.pckh import normalized_distances
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.pose import Box
from epcore.pose.confidence import SHIPPED
from epcore.pose.find import find_person
from epcore.pose.predict import predict_pixels


def test_scenes_are_as_they_say() -> None:
    scenes = DistantFigures(12, seed=5, size=300)
    for index in range(12):
        record = scenes.record(index)
        assert record.pixels().shape == (300, 300, 3)
        box = Box.around(record.keypoints)
        assert 0.15 - 1e-9 <= max(box.width, box.height) / 300 <= 0.3 + 1e-9
        assert (record.keypoints >= 0).all() and (record.keypoints <= 300).all()
        assert record.annotated.all() and record.head_box is not None
    again = scenes.record(3, epoch=2)
    np.testing.assert_array_equal(again.pixels(), scenes.record(3).pixels())
    assert (again.pixels() != DistantFigures(12, seed=6, size=300).record(3).pixels()).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count is 0"),
        ({"size": 20}, "size is 20"),
        ({"smallest": 0.4}, "the shares are 0.4 to 0.3"),
        ({"largest": 1.0}, "the shares are 0.15 to 1.0"),
        ({"smallest": 0.0}, "expected 0 < smallest"),
    ],
)
def test_what_makes_no_scene(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistantFigures(**{"count": 3, **options})  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="index is 3, expected 0 to 2"):
        DistantFigures(3).record(3)


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_whole_pictures_are_wrong_and_find_and_boxes_are_right(count: int) -> None:
    """The figures are in docs/people.md; here what they must not fall below."""
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, SHIPPED_WEIGHTS["RT"])
    plan = epcore.compile(model)
    scenes = DistantFigures(count)
    hits: dict[str, list[np.ndarray]] = {"whole": [], "find": [], "box": []}
    said = 0
    for record in map(scenes.record, range(count)):
        pixels = record.pixels()
        found = find_person(lambda box, margin, p=pixels: predict_pixels(p, plan, box=box, margin=margin), calibration=SHIPPED)
        whole = predict_pixels(pixels, plan)
        said += whole.score < SHIPPED.sure_pose
        poses = whole, found.pose, predict_pixels(pixels, plan, box=Box.around(record.keypoints))
        for name, pose in zip(hits, poses, strict=True):
            assert record.head_box is not None
            distances = normalized_distances(
                pose.points[None], record.keypoints[None], record.annotated[None], record.head_box[None]
            )
            hits[name].append(distances[0] <= 0.5)
    right = {name: np.mean(np.mean(each, axis=1) >= 0.8) for name, each in hits.items()}
    assert right["whole"] == 0
    assert said >= 0.9 * count
    assert right["find"] >= 0.8
    assert np.mean(hits["box"]) >= 0.93
