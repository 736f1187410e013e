"""Maps of several people -> one pose each, by the part affinity fields.

Experimental: the networks were trained on pictures of one person, and nothing in their maps has to hold for two.

    x, geometry = epcore.pose.preprocess("photo.jpg", model.resolution)
    poses = epcore.pose.group(model(x), geometry)

After Cao et al., Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields (2017), sections 2.2 to 2.4:

1. Candidates: every peak of a keypoint's confidence map, smoothed as `decode` does.
2. A limb from a to b is as good as the field along it: the mean of v . field over SAMPLES points between the two, v the unit
   vector from a to b. It counts where at least SHARE of the points have more than FIELD.
3. Of each limb's candidates those pairs are kept that have the largest sum, each candidate in one pair at most.
4. What hangs together is a person.

The 14 limbs are a tree over 15 of the 16 keypoints. So limbs can be decided one by one, and no person gets two keypoints of a
kind: a way from one to another of the same kind would take some limb twice, and come back to where it was. The pelvis ends no
limb: it goes to the person between whose hips it lies. A tree has no second way round, either: where an inner keypoint was not
found, a person falls into pieces (without a thorax: head, arms, legs).

SciPy is imported where it is used: a prediction needs none of it, and BLAS threads of its own least of all.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from epcore.base.arrays import Array, to_numpy
from epcore.pose.decode import SIGMA
from epcore.pose.encode import LOW_STRIDE
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.preprocess import Geometry
from epcore.pose.skeleton import KEYPOINTS, LIMB_NAMES, LIMBS

PEAK = 0.05  # the least value of a candidate, as in OpenPose
CANDIDATES = 100  # of one keypoint, the highest: noise has thousands
SAMPLES = 10
FIELD, SHARE = 0.05, 0.8
NEAR = 1.25  # cells of the fields: a limb shorter than one may cover no cell's centre; its ends are places of whole pixels
LEAST = 3  # keypoints of a pose

_PELVIS = KEYPOINTS.index("pelvis")
_HIPS = [KEYPOINTS.index("right_hip"), KEYPOINTS.index("left_hip")]


class Maps(Protocol):
    """What `group` needs of a network's outputs (`PoseOutputs`)."""

    @property
    def pafs(self) -> Array | None: ...
    @property
    def final(self) -> Array: ...


def group(maps: Maps, geometry: Geometry | None = None, *, threshold: float = PEAK) -> list[Pose]:
    """Experimental. The outputs of a network for one picture -> the people in it, the one with the largest sum of scores first.

    maps: `.final` (1,H,W,16), confidence maps, and `.pafs` (1,h,w,28), fields of the same picture, h:w as H:W (R = 8h is the
        network's input). Both have to be finite.
    geometry: from `preprocess`; coordinates are then pixels of the picture, else of the input.
    threshold: the least value of a peak that may become a keypoint, above 0.

    Keypoints that were not found have no coordinates and score 0; what has fewer than three keypoints is no pose. Raises
    ValueError, saying what is wrong, for other shapes, networks without fields, maps that hold NaN or infinite values, and a
    threshold that is not above 0.
    """
    confidence, fields = _checked(maps)
    if not threshold > 0:
        raise ValueError(f"threshold is {threshold}, expected a number above 0")
    cells = np.array([fields.shape[1], fields.shape[0]], np.float64)
    peaks = [_peaks(confidence[..., j], threshold) for j in range(len(KEYPOINTS))]
    candidates = [points * cells for points, _ in peaks]  # in cells of the fields
    people = _people(candidates, _links(candidates, fields))
    _add_pelvis(people, candidates)

    height, width = fields.shape[0] * LOW_STRIDE, fields.shape[1] * LOW_STRIDE
    poses = []
    for person in people:
        if len(person) < LEAST:
            continue
        fractions, scores = np.full((len(KEYPOINTS), 2), np.nan), np.zeros(len(KEYPOINTS))
        for j, number in person.items():
            fractions[j], scores[j] = peaks[j][0][number], peaks[j][1][number]
        if geometry is None:
            points, (across, down) = fractions * (width, height), (width, height)
        else:
            points, (across, down) = geometry.to_picture(fractions), (geometry.width, geometry.height)
        keypoints = (_keypoint(name, *values) for name, *values in zip(KEYPOINTS, points, scores, strict=True))
        poses.append(Pose(across, down, tuple(keypoints)))
    return sorted(poses, key=lambda pose: (-pose.scores.sum(), *np.nanmin(pose.points.astype(np.float64), axis=0)))


def _checked(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """confidence (H,W,J), fields (h,w,2L), float64."""
    if maps.pafs is None:
        raise ValueError("the network gives no part affinity fields: a Lite network has them with auxiliary_heads=True only")
    arrays = []
    for name, given, channels in (("final", maps.final, len(KEYPOINTS)), ("pafs", maps.pafs, 2 * len(LIMBS))):
        array = to_numpy(given)
        if array.ndim != 4 or array.shape[0] != 1 or array.shape[-1] != channels or 0 in array.shape:
            raise ValueError(
                f"{name} has shape {array.shape}, expected (1, height, width, {channels}), the maps of one picture"
            )
        finite = np.isfinite(array).all(axis=(0, 1, 2))
        if not finite.all():
            channel = int(np.argmin(finite))
            what = KEYPOINTS[channel] if name == "final" else " to ".join(LIMB_NAMES[channel // 2])
            raise ValueError(f"{name} holds values that are NaN or infinite, the first in channel {channel} ({what})")
        arrays.append(array[0].astype(np.float64))
    confidence, fields = arrays
    (H, W, _), (h, w, _) = confidence.shape, fields.shape
    if H * w != W * h:
        raise ValueError(f"final has {H}x{W} pixels and pafs {h}x{w}, expected maps of one picture")
    return confidence, fields


def _peaks(plane: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """plane (H,W) -> points (P,2) as fractions x, y, scores (P,): its peaks, the highest first, flat ones by a corner."""
    from scipy.ndimage import gaussian_filter, label, maximum_filter

    smooth = gaussian_filter(plane, SIGMA, mode="nearest")
    highest = (smooth == maximum_filter(smooth, 3, mode="nearest")) & (smooth >= threshold)
    numbers, first = np.unique(label(highest, np.ones((3, 3)))[0], return_index=True)
    places = first[numbers > 0]
    scores = smooth.ravel()[places]
    order = np.argsort(-scores, kind="stable")[:CANDIDATES]
    rows, columns = np.divmod(places[order], plane.shape[1])
    return np.stack([(columns + 0.5) / plane.shape[1], (rows + 0.5) / plane.shape[0]], axis=1), scores[order]


def _links(candidates: list[np.ndarray], fields: np.ndarray) -> list[list[tuple[int, int]]]:
    """For each limb the pairs (candidate of its start, of its end) that belong together."""
    from scipy.optimize import linear_sum_assignment

    links = []
    for limb, (start, end) in enumerate(LIMBS):
        quality = _quality(candidates[start], candidates[end], fields[..., 2 * limb : 2 * limb + 2])
        rows, columns = linear_sum_assignment(quality, maximize=True)
        links.append([(int(a), int(b)) for a, b in zip(rows, columns, strict=True) if quality[a, b] > 0])
    return links


def _quality(starts: np.ndarray, ends: np.ndarray, field: np.ndarray) -> np.ndarray:
    """starts (A,2), ends (B,2), x and y in cells, field (h,w,2) -> (A,B): how good each limb is, 0 where it is none."""
    from scipy.ndimage import map_coordinates

    way = ends[None] - starts[:, None]
    length = np.hypot(way[..., 0], way[..., 1])
    unit = way / np.maximum(length, 1e-9)[..., None]
    along = (np.arange(SAMPLES) + 0.5) / SAMPLES
    points = starts[:, None, None] + way[:, :, None] * along[:, None]  # (A,B,SAMPLES,2)
    places = [points[..., 1] - 0.5, points[..., 0] - 0.5]  # a cell's value is at its centre
    felt = sum(map_coordinates(field[..., axis], places, order=1, mode="nearest") * unit[..., None, axis] for axis in (0, 1))
    quality = np.where((felt > FIELD).mean(axis=-1) >= SHARE, felt.mean(axis=-1), 0)
    near: np.ndarray = np.where(length < NEAR, np.maximum(quality, FIELD), quality)
    return near


def _people(candidates: list[np.ndarray], links: list[list[tuple[int, int]]]) -> list[dict[int, int]]:
    """Keypoint -> number of the candidate, for everything that hangs together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offsets = np.concatenate([[0], np.cumsum([len(points) for points in candidates])])
    pairs = [(offsets[s] + a, offsets[e] + b) for (s, e), found in zip(LIMBS, links, strict=True) for a, b in found]
    edges = np.array(pairs, np.int64).reshape(-1, 2)
    size = int(offsets[-1])
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    count, owners = connected_components(graph, directed=False) if size else (0, np.zeros(0, np.int64))
    people: list[dict[int, int]] = [{} for _ in range(count)]
    for j in range(len(KEYPOINTS)):
        for number in range(len(candidates[j])):
            people[owners[offsets[j] + number]][j] = number
    return [person for person in people if _PELVIS not in person]


def _add_pelvis(people: list[dict[int, int]], candidates: list[np.ndarray]) -> None:
    """Each candidate goes to one person at most, no farther from the middle of the hips than half of the longest limb."""
    from scipy.optimize import linear_sum_assignment

    reach = [0.0] * len(people)
    hips = np.full((len(people), 2), np.inf)
    for number, person in enumerate(people):
        found = [candidates[j][person[j]] for j in _HIPS if j in person]
        if found:
            hips[number] = np.mean(found, axis=0)
        for start, end in LIMBS:
            if start in person and end in person:
                way = candidates[end][person[end]] - candidates[start][person[start]]
                reach[number] = max(reach[number], float(np.hypot(way[0], way[1])) / 2)
    ways = candidates[_PELVIS][None] - hips[:, None]
    gain = np.maximum(np.reshape(reach, (-1, 1)) - np.hypot(ways[..., 0], ways[..., 1]), 0)
    for owner, pelvis in zip(*linear_sum_assignment(gain, maximize=True), strict=True):
        if gain[owner, pelvis] > 0:
            people[int(owner)][_PELVIS] = int(pelvis)


def _keypoint(name: str, point: np.ndarray, score: float) -> Keypoint:
    missing = bool(np.isnan(point[0]))
    return Keypoint(name, None if missing else float(point[0]), None if missing else float(point[1]), float(score))
