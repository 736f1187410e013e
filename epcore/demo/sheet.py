"""The demo's contact sheet: a row a figure, from the picture through the maps to the skeleton."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from epcore.data.record import Record, crop_square
from epcore.evaluate.contact_sheet import TILE, draw_against_truth, lit_maps
from epcore.pose.affine import crop_matrix, transform_points, warp

TITLE = 20
COLUMNS = ("picture", "confidence maps", "part affinity fields", "skeleton; truth: green rings")


@dataclass(frozen=True)
class Prediction:
    """points (J,2) pixels of the picture; confs (h,w,J); pafs (h,w,28)."""

    record: Record
    points: np.ndarray
    confs: np.ndarray
    pafs: np.ndarray


def demo_sheet(predictions: Sequence[Prediction]) -> bytes:
    """A PNG."""
    sheet = Image.new("RGB", (len(COLUMNS) * TILE, TITLE + len(predictions) * TILE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        draw.text((column * TILE + 4, 5), title, fill="black")
    for row, prediction in enumerate(predictions):
        record = prediction.record
        matrix = crop_matrix(crop_square(record), TILE)
        pixels = warp(record.pixels(), matrix, TILE)
        tiles = (
            Image.fromarray(pixels.astype(np.uint8)),
            lit_maps(pixels, prediction.confs),
            flow(prediction.pafs),
            draw_against_truth(pixels, transform_points(prediction.points, matrix), record, matrix),
        )
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (column * TILE, TITLE + row * TILE))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def flow(pafs: np.ndarray) -> Image.Image:
    """All limbs' fields in one picture: the hue is the direction in which a limb runs, the brightness the field's length."""
    x, y = pafs[..., 0::2], pafs[..., 1::2]
    length = np.hypot(x, y)
    strongest = length.argmax(axis=2)[..., None]
    dx, dy = (np.take_along_axis(field, strongest, axis=2)[..., 0] for field in (x, y))
    hue = (np.arctan2(dy, dx) / (2 * np.pi)) % 1
    value = np.clip(np.hypot(dx, dy), 0, 1)
    hsv = np.stack([hue, np.full_like(hue, 0.85), value], axis=2) * 255
    bands = [Image.fromarray(np.ascontiguousarray(hsv[..., i].astype(np.uint8))) for i in range(3)]
    return Image.merge("HSV", bands).convert("RGB").resize((TILE, TILE), Image.Resampling.BICUBIC)
