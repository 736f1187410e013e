"""What a person looks like: colours of skin, hair and clothes, and how the clothes are cut, drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from epcore.data import paint
from epcore.data.body import Rng

SKIN = np.array(
    [(0.95, 0.78, 0.67), (0.87, 0.67, 0.53), (0.78, 0.57, 0.42), (0.6, 0.42, 0.3), (0.43, 0.29, 0.2), (0.3, 0.2, 0.15)]
)
HAIR = np.array(
    [(0.07, 0.06, 0.06), (0.2, 0.13, 0.08), (0.4, 0.25, 0.13), (0.75, 0.58, 0.3), (0.6, 0.25, 0.1), (0.7, 0.7, 0.7)]
)


@dataclass(frozen=True)
class Looks:
    """Colours (3,) float64 0..1 and the cut of the clothes; lengths as shares of a limb."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    inner: np.ndarray
    print: np.ndarray
    trousers: np.ndarray
    belt: np.ndarray
    shoes: np.ndarray
    sleeve: float  # 0 none, 1 to the elbow, 2 to the wrist
    leg: float  # 0.5 shorts, 1 to the knee, 2 to the ankle
    torso_style: np.ndarray
    head_style: np.ndarray
    hat: np.ndarray
    long_hair: bool
    backpack: bool
    skirt: bool
    stripes: float
    seam: float  # half width of a stripe along sleeves and trousers, 0 for none

    @classmethod
    def sample(cls, rng: Rng) -> Looks:
        skin = SKIN[rng.integers(len(SKIN))] * rng.normal(1, 0.05)
        style = np.zeros(9)
        style[paint.HEM] = rng.uniform(0.8, 1.02)
        style[paint.COLLAR] = rng.uniform(0.04, 0.28)
        front = rng.random()  # most clothes show which side is the front
        if front < 0.35:
            style[paint.PLACKET] = rng.uniform(0.1, 0.2)
        elif front < 0.65:
            style[paint.OPENING] = rng.uniform(0.25, 0.6)
        elif front < 0.9:
            style[paint.CHEST_PRINT] = rng.uniform(0.25, 0.5)
        style[paint.BACK_PRINT] = rng.uniform(0.2, 0.4) if rng.random() < 0.25 else 0
        style[paint.STRIPES] = rng.uniform(0.12, 0.3) if rng.random() < 0.15 else 0
        style[paint.POCKET] = float(rng.random() < 0.3)
        hat = rng.random() < 0.15
        return cls(
            skin=skin,
            hair=HAIR[rng.integers(len(HAIR))] * rng.normal(1, 0.1),
            shirt=clothes_colour(rng),
            inner=clothes_colour(rng),
            print=clothes_colour(rng),
            trousers=clothes_colour(rng, darker=0.7),
            belt=clothes_colour(rng, darker=0.5),
            shoes=clothes_colour(rng, darker=0.6),
            sleeve=float(rng.choice([0.0, rng.uniform(0.35, 0.95), rng.uniform(1.0, 1.5), 2.0], p=[0.12, 0.43, 0.05, 0.4])),
            leg=float(rng.choice([rng.uniform(0.4, 0.95), rng.uniform(1.0, 1.6), 2.0], p=[0.25, 0.15, 0.6])),
            torso_style=style,
            head_style=np.array(
                [rng.uniform(0.4, 0.85), rng.uniform(-0.05, 0.45), rng.random() < 0.15, rng.random() < 0.15,
                 rng.uniform(0.35, 0.5) if hat else 2.0]
            ),
            hat=clothes_colour(rng),
            long_hair=rng.random() < 0.3,
            backpack=rng.random() < 0.12,
            skirt=rng.random() < 0.1,
            stripes=rng.uniform(0.03, 0.06) if rng.random() < 0.1 else 0.0,
            seam=rng.uniform(0.15, 0.3) if rng.random() < 0.12 else 0.0,
        )  # fmt: skip


def clothes_colour(rng: Rng, *, darker: float = 1.0) -> np.ndarray:
    """(3,) 0..1: any hue, from grey to bright."""
    value = rng.uniform(0.1, 1) ** 0.8 * darker
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.3, 1.3), value))
