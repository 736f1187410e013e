"""Pictures as users have them -> RGB uint8 arrays.

Decided here: EXIF rotation is applied (the picture is what a viewer shows; coordinates refer to that), transparency is laid
over white, 16-bit grey keeps its upper 8 bits, of an animation the first frame counts, colour profiles are not applied.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

Picture = str | os.PathLike[str] | Image.Image | np.ndarray

WHITE = (255, 255, 255, 255)
KEPT_OPEN = 64  # files of `PictureFiles`; systems allow 256 and more
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def read_picture(image: Picture) -> np.ndarray:
    """A file, a PIL image or a uint8 array (H,W), (H,W,1), (H,W,3), (H,W,4) -> uint8 (H,W,3), RGB.

    Raises FileNotFoundError or IsADirectoryError for a wrong path, ValueError for a file that is no picture, is damaged or
    is larger than Pillow's guard against decompression bombs allows (179 million pixels), TypeError for other types.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _decode(image, getattr(image, "filename", "") or "the picture")
    if isinstance(image, (str, os.PathLike)):
        with open_picture(image) as opened:
            return _decode(opened, os.fspath(image))
    raise TypeError(f"image is a {type(image).__name__}, expected a path, a PIL image or a uint8 array")


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Open a picture file and read its header only: finds most wrong files at once. Raises as `read_picture`."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a picture file")
    if not path.exists():
        raise FileNotFoundError(f"there is no picture {path}")
    if path.stat().st_size == 0 and path.is_file():
        raise ValueError(f"{path} is empty (zero bytes), expected a picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes up to the limit, and metadata: neither keeps us from reading it
        try:
            return Image.open(path)
        except Image.DecompressionBombError:
            raise ValueError(f"{path} is too large: more than {_pixel_limit():,} pixels") from None
        except UnidentifiedImageError:
            raise ValueError(f"{path} is not a picture in a format that Pillow {Image.__version__} reads") from None
        except PermissionError:
            raise PermissionError(f"{path} may not be read: permission denied") from None
        except Exception as error:  # a decoder meets damaged bytes with whatever exception it runs into
            raise _damaged(path, error) from None


class PictureFiles:
    """Picture files, the headers of all read before the pixels of any: a misspelt name should not show only after an hour.

        with PictureFiles(paths) as pictures:   # raises as `open_picture`
            for pixels in pictures:             # raises as `read_picture`

    The first KEPT_OPEN stay open in between and are opened once; a process may not have any number of files open.
    """

    def __init__(self, paths: Sequence[str | os.PathLike[str]]) -> None:
        self._paths = paths
        self._opened: list[Image.Image] = []
        try:
            for path in paths:
                opened = open_picture(path)
                if len(self._opened) < KEPT_OPEN:
                    self._opened.append(opened)
                else:
                    opened.close()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[np.ndarray]:
        """uint8 (H,W,3), RGB, of one file after another; once."""
        for number, path in enumerate(self._paths):
            with self._opened[number] if number < len(self._opened) else open_picture(path) as opened:
                pixels = _decode(opened, os.fspath(path))
            yield pixels

    def close(self) -> None:
        for opened in self._opened:
            opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _decode(image: Image.Image, name: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image.load()
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
            return _to_rgb(ImageOps.exif_transpose(image) if turned else image)
        except Image.DecompressionBombError:
            raise ValueError(f"{name} is too large: more than {_pixel_limit():,} pixels") from None
        except _UnsupportedModeError as error:
            raise ValueError(f"{name} {error}") from None
        except MemoryError:
            raise ValueError(f"{name} ({image.width}x{image.height}) does not fit into memory") from None
        except Exception as error:  # as in open_picture
            raise _damaged(name, error) from None


def _damaged(name: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{name} is damaged: {str(error) or type(error).__name__}")


class _UnsupportedModeError(Exception):
    """A picture whose numbers have no defined black and white."""


def _to_rgb(image: Image.Image) -> np.ndarray:
    if 0 in image.size:
        raise _UnsupportedModeError(f"has no pixels: {image.width}x{image.height}")
    if image.mode.startswith("I"):  # "I;16" and its byte orders; Pillow before 11.3 opens 16-bit PNG as "I"
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise _UnsupportedModeError("has 32-bit values beyond 0..65535; convert it to 8 or 16 bits")
        grey = (values >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise _UnsupportedModeError("has floating-point values, whose white is not defined; convert it to 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), rgba)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8:
        raise TypeError(f"image has dtype {array.dtype}, expected uint8 (values 0..255)")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _CHANNELS:
        raise ValueError(f"image has shape {array.shape}, expected (height, width, 3), RGB")
    if 0 in array.shape:
        raise ValueError(f"image has no pixels: shape {array.shape}")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        return _to_rgb(Image.fromarray(np.ascontiguousarray(array)))
    return array


def _pixel_limit() -> int:
    return 2 * (Image.MAX_IMAGE_PIXELS or 0)  # Pillow warns at its limit and refuses at twice that
