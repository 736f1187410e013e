"""What surrounds the network: reading the picture into the network's input, and decoding maps into keypoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import Book, Row
from measure import side_by_side

import epcore
from epcore.pose import decode, predict, preprocess

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


def bench_picture_to_keypoints(book: Book, benchmark: Any) -> None:
    """All of `predict`, from a picture in memory."""
    plan = epcore.compile(epcore.EfficientPose("RT"))
    pictures = [np.random.default_rng(seed).integers(0, 256, (480, 640, 3), np.uint8) for seed in range(4)]
    for real_time in (False, True):
        run = lambda image, fast=real_time: predict(image, plan, real_time=fast)  # noqa: E731
        sample = side_by_side({"epcore": run}, pictures, rounds=20)["epcore"]
        case = f"RT, 640x480{', real-time' if real_time else ''}"
        book.add(Row("Picture to keypoints", case, "epcore", sample.median * 1e3, sample.spread, images=1))
    benchmark.pedantic(predict, args=(pictures[0], plan), rounds=5)
