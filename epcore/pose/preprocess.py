"""Picture -> the network's input, as the release prepares it.

The picture is fitted into R x R with its aspect ratio kept (small pictures grow), centred on black, cut to whole grey levels
and normalised per channel. Black padding is therefore not zero in the input. The Lite networks differ in the last step alone.

From n to t pixels: where t < n a Gaussian of sigma (n/t - 1)/2 against aliasing, then linear interpolation, borders mirrored
(the defaults of scikit-image's `rescale`, which the release calls). Both steps are linear and act on rows and columns
separately, so each value is a weighted sum of a few, along one axis and then along the other (resample.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from epcore.kernels.cpu.arrays import empty
from epcore.pose.picture import Picture, read_picture
from epcore.pose.resample import resample

MEAN = np.array([0.485, 0.456, 0.406])  # of ImageNet, RGB, on a scale of 0 to 1
STD = np.array([0.229, 0.224, 0.225])
PREPROCESSING = {  # mean and std on a scale of 0 to 1; Keras calls these modes "torch" and "tf"
    "imagenet": (MEAN, STD),  # EfficientPose
    "signed": (np.full(3, 0.5), np.full(3, 0.5)),  # EfficientPose Lite: pixel / 127.5 - 1
}


@dataclass(frozen=True)
class Geometry:
    """Where a picture lies in the square input.

    width, height: the picture, pixels. size: the square. resized_width, resized_height, left, top: the picture inside it.
    Coordinates are continuous: (0, 0) is the outer corner of the first pixel, (width, height) that of the last.
    """

    width: int
    height: int
    size: int
    resized_width: int
    resized_height: int
    left: int
    top: int

    @classmethod
    def fit(cls, width: int, height: int, size: int) -> Geometry:
        """The largest placement that keeps the aspect ratio; of odd padding the smaller half is left and above."""
        if size < 1:
            raise ValueError(f"size is {size}, expected a positive number of pixels")
        scale = size / max(width, height)
        resized_width, resized_height = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (size - resized_width) // 2, (size - resized_height) // 2
        return cls(width, height, size, resized_width, resized_height, left, top)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(...,2) x, y as fractions of the square -> pixels of the picture, clipped to it. NaN stays NaN."""
        inside = points * self.size - (self.left, self.top)
        scale = self.width / self.resized_width, self.height / self.resized_height
        return np.clip(inside * scale, 0, (self.width, self.height))

    def to_square(self, points: np.ndarray) -> np.ndarray:
        """The way back: (...,2) pixels of the picture -> fractions of the square."""
        scale = self.resized_width / self.width, self.resized_height / self.height
        return (points * scale + (self.left, self.top)) / self.size


def preprocess(image: Picture, size: int, preprocessing: str = "imagenet") -> tuple[np.ndarray, Geometry]:
    """Anything `read_picture` takes -> x (1,size,size,3) float32 and the geometry to map keypoints back.

    preprocessing: the network's, see `normalize`. Raises as `read_picture`, and ValueError for a size below 1.
    """
    return preprocess_pixels(read_picture(image), size, preprocessing)


def preprocess_pixels(pixels: np.ndarray, size: int, preprocessing: str = "imagenet") -> tuple[np.ndarray, Geometry]:
    """`preprocess` for what `read_picture` gave, (H,W,3) uint8: `normalize` of `fit_square`, written at once."""
    geometry = Geometry.fit(pixels.shape[1], pixels.shape[0], size)
    x = empty((1, size, size, 3))
    _place(pixels, geometry, normalized_levels(preprocessing), x[0])
    return x, geometry


def fit_square(picture: np.ndarray, size: int) -> tuple[np.ndarray, Geometry]:
    """picture (H,W,3) uint8 -> (size,size,3) uint8: resized, truncated to whole levels, centred on black."""
    geometry = Geometry.fit(picture.shape[1], picture.shape[0], size)
    square = np.empty((size, size, 3), np.uint8)
    _place(picture, geometry, _LEVELS, square)
    return square, geometry


def normalize(square: np.ndarray, preprocessing: str = "imagenet") -> np.ndarray:
    """uint8 (...,3) -> float32: (x / 255 - mean) / std per channel.

    preprocessing: a key of `PREPROCESSING`, whose values are mean and std. Raises ValueError for another.
    """
    if preprocessing not in PREPROCESSING:
        raise ValueError(f"preprocessing is {preprocessing!r}, expected one of {', '.join(PREPROCESSING)}")
    mean, std = PREPROCESSING[preprocessing]
    x: np.ndarray = ((square / 255 - mean) / std).astype(np.float32)
    return x


def _place(picture: np.ndarray, geometry: Geometry, levels: np.ndarray, square: np.ndarray) -> None:
    """The picture into the square, where the geometry says, in terms of the levels."""
    size = geometry.resized_height, geometry.resized_width
    resample(picture, size, levels, square, (geometry.top, geometry.left))


_LEVELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)  # (256,3): there are no other values
_LEVELS.flags.writeable = False


@cache
def normalized_levels(preprocessing: str) -> np.ndarray:
    """(256,3) float32, read-only: `normalize` of every grey level in each channel. Raises as that."""
    levels = normalize(_LEVELS, preprocessing)
    levels.flags.writeable = False
    return levels
