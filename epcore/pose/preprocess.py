"""Picture -> the network's input, as the release prepares it.

The picture is fitted into R x R with its aspect ratio kept (small pictures grow), centred on black, cut to whole grey levels
and normalised per channel. Black padding is therefore not zero in the input. The Lite networks differ in the last step alone.

From n to t pixels: where t < n a Gaussian of sigma (n/t - 1)/2 against aliasing, then linear interpolation, borders mirrored
(the defaults of scikit-image's `rescale`, which the release calls). Both steps are linear and act on rows and columns
separately, so each axis is one matrix product y = A x with A (t,n).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from epcore.pose.picture import Picture, read_picture

MEAN = np.array([0.485, 0.456, 0.406])  # of ImageNet, RGB, on a scale of 0 to 1
STD = np.array([0.229, 0.224, 0.225])
PREPROCESSING = {  # mean and std on a scale of 0 to 1; Keras calls these modes "torch" and "tf"
    "imagenet": (MEAN, STD),  # EfficientPose
    "signed": (np.full(3, 0.5), np.full(3, 0.5)),  # EfficientPose Lite: pixel / 127.5 - 1
}

_CHUNK = 1 << 22  # values converted to float64 at a time: bounds the memory that a large picture takes
_ROUNDING = 1e-9  # added before truncation: an even grey of 200 stays 200 though the weights sum to 1 - 1e-16


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
    """`preprocess` for what `read_picture` gave, (H,W,3) uint8."""
    square, geometry = fit_square(pixels, size)
    return normalize(square, preprocessing)[None], geometry


def fit_square(picture: np.ndarray, size: int) -> tuple[np.ndarray, Geometry]:
    """picture (H,W,3) uint8 -> (size,size,3) uint8: resized, truncated to whole levels, centred on black."""
    geometry = Geometry.fit(picture.shape[1], picture.shape[0], size)
    resized = _resize(picture, geometry.resized_height, geometry.resized_width)
    square = np.zeros((size, size, 3), np.uint8)
    rows = slice(geometry.top, geometry.top + geometry.resized_height)
    columns = slice(geometry.left, geometry.left + geometry.resized_width)
    square[rows, columns] = resized + _ROUNDING
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


def _resize(picture: np.ndarray, height: int, width: int, *, chunk: int = _CHUNK) -> np.ndarray:
    """picture (H,W,3) -> float64 (height,width,3), 0..255."""
    H, W, C = picture.shape
    rows, columns = _resize_matrix(H, height), _resize_matrix(W, width)
    narrow = np.empty((height, W, C))
    step = max(1, chunk // (H * C))
    for start in range(0, W, step):
        part = picture[:, start : start + step].reshape(H, -1).astype(np.float64)
        narrow[:, start : start + step] = (rows @ part).reshape(height, -1, C)
    by_column = narrow.transpose(1, 0, 2).reshape(W, -1)
    return (columns @ by_column).reshape(width, height, C).transpose(1, 0, 2)


def _resize_matrix(size: int, target: int) -> np.ndarray:
    """(target,size) float64; row i weighs the input values around the centre of output value i. Rows sum to 1."""
    scale = size / target
    centre = (np.arange(target) + 0.5) * scale - 0.5
    low = np.floor(centre).astype(int)
    fraction = (centre - low)[:, None]
    sigma = max(0.0, (scale - 1) / 2)
    radius = int(4 * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    blur = np.exp(-0.5 * (offsets / sigma) ** 2) if radius else np.ones(1)
    blur /= blur.sum()

    matrix = np.zeros((target, size))
    output = np.arange(target)[:, None]
    np.add.at(matrix, (output, _mirror(low[:, None] + offsets, size)), (1 - fraction) * blur)
    np.add.at(matrix, (output, _mirror(low[:, None] + 1 + offsets, size)), fraction * blur)
    return matrix


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    """Indices beyond the border, mirrored about the centre of the border value: -1 -> 1, size -> size - 2."""
    last = size - 1
    return np.abs((index + last) % (2 * last) - last) if last else np.zeros_like(index)
