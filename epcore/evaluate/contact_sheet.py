"""The worst predictions of an evaluation on one picture: what the network saw, where its maps light up, what it answered."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from epcore.data.record import Record, crop_square
from epcore.pose.affine import crop_matrix, transform_points, warp
from epcore.pose.draw import draw_on_pixels
from epcore.pose.predict import Keypoint, Pose
from epcore.pose.skeleton import KEYPOINTS

TILE = 224  # pixels
TITLE = 16
COLUMNS = 4  # cases a row; each is two tiles: with the maps, and with prediction and truth
TRUTH = (0, 220, 90)

Case = tuple[Record, np.ndarray, np.ndarray, np.ndarray]  # record, predicted (J,2), maps (h,w,J), distances (J,)


def worst_cases(distances: np.ndarray, count: int) -> list[int]:
    """Records by their mean distance, cut at 1 head size a keypoint, worst first; those without annotation are left out."""
    known = ~np.isnan(distances)
    badness = np.where(known, np.minimum(np.nan_to_num(distances, posinf=1.0), 1.0), 0).sum(axis=1)
    badness /= np.maximum(known.sum(axis=1), 1)
    order = np.argsort(-badness, kind="stable")
    return [int(index) for index in order if known[index].any()][:count]


def contact_sheet(cases: Sequence[Case]) -> bytes:
    """A PNG. Left of each case: the largest of all maps over the crop. Right: prediction; true keypoints as green rings."""
    columns = min(COLUMNS, max(1, len(cases)))
    rows = math.ceil(len(cases) / columns)
    sheet = Image.new("RGB", (columns * 2 * TILE, max(1, rows) * (TILE + TITLE)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (record, points, maps, distances) in enumerate(cases):
        left, top = number % columns * 2 * TILE, number // columns * (TILE + TITLE)
        misses = int((distances > 0.5).sum())
        known = int((~np.isnan(distances)).sum())
        draw.text((left + 3, top + 2), f"{record.name}: {misses} of {known} missed", fill="black")
        matrix = crop_matrix(crop_square(record), TILE)
        pixels = warp(record.pixels(), matrix, TILE)
        sheet.paste(lit_maps(pixels, maps), (left, top + TITLE))
        sheet.paste(draw_against_truth(pixels, transform_points(points, matrix), record, matrix), (left + TILE, top + TITLE))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def lit_maps(pixels: np.ndarray, maps: np.ndarray) -> Image.Image:
    """The picture in grey, the maps over it from black through red to yellow."""
    size = maps.shape[0]
    heat = warp(
        np.ascontiguousarray(maps.max(axis=2, keepdims=True), np.float32), crop_matrix((size / 2, size / 2, size), TILE), TILE
    )
    heat = np.clip(heat, 0, 1)
    grey = pixels.mean(axis=2, keepdims=True)
    colour = np.concatenate([np.minimum(heat * 2, 1), np.clip(heat * 2 - 1, 0, 1), np.zeros_like(heat)], axis=2) * 255
    return Image.fromarray((grey * (1 - heat) * 0.8 + colour * heat).astype(np.uint8))


def draw_against_truth(pixels: np.ndarray, points: np.ndarray, record: Record, matrix: np.ndarray) -> Image.Image:
    keypoints = tuple(
        Keypoint(name, None if np.isnan(x) else float(x), None if np.isnan(y) else float(y), 1.0)
        for name, (x, y) in zip(KEYPOINTS, points, strict=True)
    )
    picture = draw_on_pixels(pixels, Pose(TILE, TILE, keypoints))
    draw = ImageDraw.Draw(picture)
    for x, y in transform_points(record.keypoints, matrix)[record.annotated]:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), outline=TRUTH)
    return picture
