"""Targets against loops that follow the definitions word by word."""

from __future__ import annotations

import math

import numpy as np
import pytest

from epcore.pose.encode import LIMB_WIDTH, affinity_fields, confidence_maps, render_targets
from epcore.pose.skeleton import FLIP_PERMUTATION, LIMBS, PAF_FLIP_PERMUTATION, PAF_FLIP_SIGN


def persons(rng: np.random.Generator, count: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """Some keypoints unknown, some outside the picture."""
    points = rng.uniform(-0.3 * size, 1.3 * size, (count, 16, 2))
    known = rng.random((count, 16)) < 0.8
    points[~known] = np.nan
    return points, known


def naive_confidence(points: np.ndarray, known: np.ndarray, size: int, sigma: float) -> np.ndarray:
    maps = np.zeros((size, size, 16))
    for person in range(len(points)):
        for joint in range(16):
            if not known[person, joint]:
                continue
            for i in range(size):
                for j in range(size):
                    squared = (j + 0.5 - points[person, joint, 0]) ** 2 + (i + 0.5 - points[person, joint, 1]) ** 2
                    maps[i, j, joint] = max(maps[i, j, joint], math.exp(-squared / sigma**2))
    return maps


def naive_affinity(points: np.ndarray, known: np.ndarray, size: int, width: float) -> np.ndarray:
    fields = np.zeros((size, size, 28))
    for limb, (start, end) in enumerate(LIMBS):
        for i in range(size):
            for j in range(size):
                vectors = []
                for person in range(len(points)):
                    if not (known[person, start] and known[person, end]):
                        continue
                    a, b = points[person, start], points[person, end]
                    unit = (b - a) / np.linalg.norm(b - a)
                    offset = np.array([j + 0.5, i + 0.5]) - a
                    along = offset @ unit
                    if 0 <= along <= np.linalg.norm(b - a) and np.linalg.norm(offset - along * unit) <= width / 2:
                        vectors.append(unit)
                if vectors:
                    fields[i, j, 2 * limb : 2 * limb + 2] = np.mean(vectors, axis=0)
    return fields


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_confidence_maps_against_loops(rng: np.random.Generator, count: int, sigma: float) -> None:
    points, known = persons(rng, count, 13)
    found = confidence_maps(points, known, 13, sigma)
    assert found.dtype == np.float32
    # two factors and their product in float32: three roundings of values up to 1
    np.testing.assert_allclose(found, naive_confidence(points, known, 13, sigma), rtol=0, atol=3 * 2.0**-24)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("width", [2.0, 5.0])
def test_affinity_fields_against_loops(rng: np.random.Generator, count: int, width: float) -> None:
    points, known = persons(rng, count, 17)
    found = affinity_fields(points, known, 17, width)
    expected = naive_affinity(points, known, 17, width)
    assert (expected != 0).mean() > 0.02
    np.testing.assert_allclose(found, expected, rtol=0, atol=count * 2.0**-23)


def test_hand_values_of_equation_4() -> None:
    """sigma 2, keypoint on a pixel's centre: exp(0), exp(-1/4), exp(-2/4); no factor 2 in the exponent."""
    points = np.full((1, 16, 2), 4.5)
    maps = confidence_maps(points, np.ones((1, 16), bool), 9, 2.0)
    np.testing.assert_allclose(maps[4, 4:6, 0], [1, math.exp(-0.25)], rtol=1e-6)
    np.testing.assert_allclose(maps[5, 5, 0], math.exp(-0.5), rtol=1e-6)


def test_batch_at_both_resolutions(rng: np.random.Generator) -> None:
    """Sigma and width are pixels of the input: at stride 8 everything is an eighth."""
    points, known = persons(rng, 2, 64)
    targets = render_targets([[(points[0], known[0])], [(points[1], known[1])]], 64, 12.0)
    assert targets.upscaled is not None
    assert (targets.pafs.shape, targets.confs.shape, targets.upscaled.shape) == ((2, 8, 8, 28), (2, 8, 8, 16), (2, 64, 64, 16))
    for n in range(2):
        each = points[n : n + 1], known[n : n + 1]
        np.testing.assert_allclose(targets.upscaled[n], naive_confidence(*each, 64, 12.0), rtol=0, atol=2e-7)
        np.testing.assert_allclose(targets.confs[n], naive_confidence(each[0] / 8, each[1], 8, 1.5), rtol=0, atol=2e-7)
        np.testing.assert_allclose(targets.pafs[n], naive_affinity(each[0] / 8, each[1], 8, LIMB_WIDTH / 8), rtol=0, atol=2e-7)
    assert render_targets([[(points[0], known[0])]], 64, 12.0, upscaled=False).upscaled is None


def test_masks_leave_out_what_is_unknown(rng: np.random.Generator) -> None:
    points = rng.uniform(0, 64, (16, 2))
    known = np.ones(16, bool)
    known[3] = False  # right_elbow: ends of limbs 2 and 3
    others = (rng.uniform(0, 64, (16, 2)), np.ones(16, bool))
    targets = render_targets([[(points, known), others]], 64, 8.0)
    assert np.flatnonzero(targets.confs_mask == 0).tolist() == [3]
    assert np.flatnonzero(targets.pafs_mask == 0).tolist() == [4, 5, 6, 7]
    assert targets.confs_mask.shape == (1, 1, 1, 16)
    assert targets.pafs_mask.shape == (1, 1, 1, 28)
    assert np.broadcast_shapes(targets.confs_mask.shape, targets.confs.shape) == targets.confs.shape


def test_flipping_the_maps_is_rendering_the_flipped_person(rng: np.random.Generator) -> None:
    points, known = persons(rng, 1, 64)
    straight = render_targets([[(points[0], known[0])]], 64, 9.0)
    mirrored = ((64, 0) + points[0] * (-1, 1))[FLIP_PERMUTATION], known[0][FLIP_PERMUTATION]
    flipped = render_targets([[mirrored]], 64, 9.0)
    np.testing.assert_allclose(flipped.confs, straight.confs[:, :, ::-1][..., FLIP_PERMUTATION], atol=1e-6)
    expected = straight.pafs[:, :, ::-1][..., PAF_FLIP_PERMUTATION] * PAF_FLIP_SIGN
    np.testing.assert_allclose(flipped.pafs, expected, atol=1e-6)


def test_a_limb_without_length_and_one_far_outside() -> None:
    points = np.full((1, 16, 2), 5.0)
    assert not affinity_fields(points, np.ones((1, 16), bool), 8, 2.0).any()
    points = np.linspace(1e6, 2e6, 32).reshape(1, 16, 2)
    assert not affinity_fields(points, np.ones((1, 16), bool), 8, 2.0).any()


@pytest.mark.parametrize(
    ("resolution", "sigma", "width", "message"),
    [(60, 1.0, 1.0, "multiple of 8"), (64, 0.0, 1.0, "sigma"), (64, math.nan, 1.0, "sigma"), (64, 1.0, 0.0, "limb_width")],
)
def test_wrong_arguments(resolution: int, sigma: float, width: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_targets([[(np.zeros((16, 2)), np.ones(16, bool))]], resolution, sigma, limb_width=width)


def test_a_picture_without_persons() -> None:
    with pytest.raises(ValueError, match="picture 1 of the batch has no person"):
        render_targets([[(np.zeros((16, 2)), np.ones(16, bool))], []], 64, 8.0)
