"""What surrounds the network: reading the picture into the network's input, and decoding maps into keypoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from bench_networks import published
from conftest import Book, Row
from measure import Sample, side_by_side
from peers import peers
from PIL import Image

import epcore
from epcore.pose import MEAN, STD, decode, predict, preprocess, read_picture

PICTURES = {"640x480": (480, 640), "1920x1080": (1080, 1920)}
SIDES = {"RT": 224, "II": 368, "IV": 600}


@pytest.mark.parametrize("variant", SIDES)
@pytest.mark.parametrize("picture", PICTURES)
def bench_preprocess(variant: str, picture: str, book: Book, benchmark: Any) -> None:
    shape = (*PICTURES[picture], 3)
    pictures = [np.random.default_rng(seed).integers(0, 256, shape, np.uint8) for seed in range(4)]
    side = SIDES[variant]
    sample = side_by_side({"epcore": lambda image: preprocess(image, side)}, pictures, rounds=15)["epcore"]
    benchmark.pedantic(preprocess, args=(pictures[0], side), rounds=5)
    moved = pictures[0].nbytes + 4 * 3 * side**2
    book.add(Row("Preprocess", f"{picture} to {side}", "epcore", sample.median * 1e3, sample.spread, bytes=moved, images=1))


@pytest.mark.parametrize("variant", SIDES)
@pytest.mark.parametrize("real_time", [False, True])
def bench_decode(variant: str, real_time: bool, book: Book, benchmark: Any) -> None:
    side = SIDES[variant]
    maps = [np.random.default_rng(seed).random((side, side, 16), np.float32) for seed in range(4)]
    sample = side_by_side({"epcore": lambda each: decode(each, real_time=real_time)}, maps, rounds=15)["epcore"]
    benchmark.pedantic(decode, args=(maps[0],), kwargs={"real_time": real_time}, rounds=5)
    case = f"{side}x{side}x16, {'real-time' if real_time else 'smoothed'}"
    book.add(Row("Decode", case, "epcore", sample.median * 1e3, sample.spread, bytes=maps[0].nbytes, images=1))


@pytest.mark.parametrize("variant", ["RT", "I", "II"])
@pytest.mark.parametrize("picture", [*PICTURES, "JPEG 1024x1024"])
def bench_picture_to_keypoints(variant: str, picture: str, book: Book, benchmark: Any, tmp_path: Path) -> None:
    """All of `predict`, its parts, the network within it, and what users would take instead.

    Ratios are to the plan alone. The peers resize with OpenCV where it is installed, else with Pillow, and take the largest
    value of each map as it is: the real-time mode's work.
    """
    model = published(variant)
    plan, side = epcore.compile(model), model.resolution
    inside = _Timed(plan)
    found, missing = peers(model, 1)
    shape = PICTURES.get(picture, (1024, 1024))
    cases: list[_Case] = []
    for seed in range(4):
        pixels = _smooth_picture(shape, seed)
        image: np.ndarray | Path = pixels
        if picture not in PICTURES:
            image = tmp_path / f"{seed}.jpg"
            Image.fromarray(pixels).save(image, quality=90)
        x, _ = preprocess(pixels, side)
        cases.append(_Case(image, pixels, x, plan(x).final[0]))
    contenders: dict[str, Callable[[_Case], Any]] = {
        "plan alone": lambda case: plan(case.x),
        "read": lambda case: read_picture(case.image),
        "preprocess": lambda case: preprocess(case.pixels, side),
        "decode": lambda case: decode(case.maps),
        "decode, real-time": lambda case: decode(case.maps, real_time=True),
        "epcore": lambda case: predict(case.image, plan),
        "epcore, real-time": lambda case: predict(case.image, plan, real_time=True),
        "plan inside": lambda case: predict(case.image, inside),
    }
    for name, run in found.items():
        contenders[f"{name} + {_RESIZER}"] = lambda case, run=run: _as_others_do(case.image, side, run)
        if find_spec("skimage") and name == next(iter(found)):
            contenders[f"{name} + scikit-image + SciPy"] = lambda case, run=run: _as_the_release_does(case.image, side, run)
    samples = side_by_side(contenders, cases, rounds=15 if variant == "II" else 40)
    samples["plan inside"] = Sample(tuple(inside.seconds[-len(samples["plan inside"].seconds) :]))
    benchmark.pedantic(predict, args=(cases[0].image, plan), rounds=5)
    alone = samples["plan alone"].median
    group, case = "Picture to keypoints", f"{variant}, {picture}"
    for name, reason in missing.items():
        book.note(group, f"{case}: {name} is missing, {reason}.")
    for name, sample in samples.items():
        book.add(Row(group, case, name, sample.median * 1e3, sample.spread, images=1, ratio=sample.median / alone))


@dataclass(frozen=True)
class _Case:
    """A picture as users have it, its pixels, what the network is given and the maps that it gives."""

    image: np.ndarray | Path
    pixels: np.ndarray
    x: np.ndarray
    maps: np.ndarray


class _Timed:
    """A plan that notes what each of its calls takes."""

    def __init__(self, plan: Any) -> None:
        self.name, self.resolution, self.preprocessing, self.source = (
            plan.name,
            plan.resolution,
            plan.preprocessing,
            plan.source,
        )
        self.seconds: list[float] = []
        self._plan = plan

    def __call__(self, x: np.ndarray) -> Any:
        started = perf_counter()
        outputs = self._plan(x)
        self.seconds.append(perf_counter() - started)
        return outputs


def _smooth_picture(shape: tuple[int, int], seed: int) -> np.ndarray:
    """(H,W,3) uint8: as compressible as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (shape[0] // 16, shape[1] // 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def _as_others_do(image: np.ndarray | Path, side: int, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Places (J,) of the largest values of the maps."""
    pixels = image if isinstance(image, np.ndarray) else np.asarray(Image.open(image).convert("RGB"))
    scale = side / max(pixels.shape[:2])
    width, height = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
    maps = run(_centred(_resized(pixels, width, height), side))
    places: np.ndarray = maps.reshape(-1, maps.shape[-1]).argmax(axis=0)
    return places


def _as_the_release_does(image: np.ndarray | Path, side: int, run: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Places (J,) of the largest values of the smoothed maps, by scikit-image and SciPy."""
    from scipy.ndimage import gaussian_filter
    from skimage.transform import rescale

    pixels = image if isinstance(image, np.ndarray) else np.asarray(Image.open(image).convert("RGB"))
    small = rescale(pixels, side / max(pixels.shape[:2]), channel_axis=-1, anti_aliasing=True)
    maps = run(_centred((small[:side, :side] * 255).astype(np.uint8), side))[0]
    return np.array([gaussian_filter(maps[:, :, j], 1.0).argmax() for j in range(maps.shape[-1])])


def _centred(small: np.ndarray, side: int) -> np.ndarray:
    """(h,w,3) uint8 -> (1,side,side,3) float32, on black, normalised."""
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    x: np.ndarray = ((square.astype(np.float32) / 255 - MEAN.astype(np.float32)) / STD.astype(np.float32))[None]
    return x


_RESIZER = "OpenCV" if find_spec("cv2") else "Pillow"


def _resized(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    if _RESIZER == "OpenCV":
        import cv2

        small: np.ndarray = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return small
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
