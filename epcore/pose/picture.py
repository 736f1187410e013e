"""Pictures as users have them -> RGB uint8 arrays.

Decided here: EXIF rotation is applied (the picture is what a viewer shows; coordinates refer to that), transparency is laid
over white, 16-bit values keep their upper 8 bits, of an animation the first frame counts, colour profiles are not applied.
HEIC is read where the extra `heif` (pillow-heif) is installed.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from epcore.base.notices import Notice

Picture = str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray

WHITE = (255, 255, 255, 255)
_CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def read_picture(image: Picture, *, max_pixels: int | None = None) -> np.ndarray:
    """A file's path, an opened binary file, a PIL image, or a uint8 or uint16 array (H,W), (H,W,1), (H,W,3), (H,W,4)
    -> uint8 (H,W,3), RGB.

    max_pixels: the most that a file may have; Pillow's guard against decompression bombs stands at 179 million. A Notice says
    where a file has further frames, or 16-bit values that use the lower bits only.

    Raises FileNotFoundError or IsADirectoryError for a wrong path, ValueError for a file that is no picture, is damaged or too
    large, or whose numbers have no defined white, TypeError for other types.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _decode(image, getattr(image, "filename", "") or "the picture")
    if isinstance(image, (str, os.PathLike)) or hasattr(image, "read"):
        with open_picture(image, max_pixels=max_pixels) as opened:
            return decode_picture(opened, _name(image))
    raise TypeError(
        f"image is a {type(image).__name__}, expected a path, a binary file, a PIL image or a uint8 or uint16 array"
    )


def open_picture(source: str | os.PathLike[str] | IO[bytes], *, max_pixels: int | None = None) -> Image.Image:
    """Open a picture and read its header only: finds most wrong files at once. Raises as `read_picture`."""
    name = _name(source)
    if isinstance(source, (str, os.PathLike)):
        _check_file(Path(source))
    most = max_pixels or _PILLOWS_LIMIT.pixels
    with _reading(name, most), _PILLOWS_LIMIT.at_least(most):
        try:
            opened = Image.open(source)
        except UnidentifiedImageError:
            if not (_is_heif(source) and _has_heif()):
                raise ValueError(f"{name} {_unknown(source)}") from None
            opened = Image.open(source)
        if most and opened.width * opened.height > most:
            opened.close()
            raise Image.DecompressionBombError
        return opened


def decode_picture(opened: Image.Image, name: str) -> np.ndarray:
    """What `open_picture` gave -> as `read_picture`. Raises as it does."""
    deep = any(";16" in str(tile) for tile in getattr(opened, "tile", ())) or opened.mode.startswith("I")
    pixels = _decode(opened, name)
    if deep:
        _say_if_dark(pixels, name)
    frames = _frames(opened)
    if frames > 1:
        warnings.warn(f"{name} has {frames} frames or pages: the first is taken", Notice, stacklevel=2)
    return pixels


def _name(source: object) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the picture"


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a picture file")
    if not path.exists():
        raise FileNotFoundError(f"there is no picture {path}")
    if path.stat().st_size == 0 and path.is_file():
        raise ValueError(f"{path} is empty (zero bytes), expected a picture")


class _PillowsLimit:
    """Of pixels, the process' own: raised while some thread opens a picture that may have more. So who opens one compares its
    size with what it may have itself; the limit is never below what somebody allows."""

    def __init__(self) -> None:
        self._lock, self._raised = threading.Lock(), 0
        self._usual: int | None = None

    @property
    def pixels(self) -> int:
        """What it is for all others; 0 where the program has taken it away."""
        with self._lock:
            usual = self._usual if self._raised else Image.MAX_IMAGE_PIXELS
        return 2 * (usual or 0)  # Pillow warns at its limit and refuses at twice that

    @contextmanager
    def at_least(self, pixels: int) -> Iterator[None]:
        with self._lock:
            if not self._raised:
                self._usual = Image.MAX_IMAGE_PIXELS
            self._raised += 1
            if Image.MAX_IMAGE_PIXELS is not None:
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, -(-pixels // 2))
        try:
            yield
        finally:
            with self._lock:
                self._raised -= 1
                if not self._raised:
                    Image.MAX_IMAGE_PIXELS = self._usual


_PILLOWS_LIMIT = _PillowsLimit()


@contextmanager
def _reading(name: str, most: int) -> Iterator[None]:
    """Whatever Pillow raises within the block becomes one of the errors of `read_picture`. most: pixels, for the message."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes up to the limit, and metadata: neither keeps us from reading it
        try:
            yield
        except Image.DecompressionBombError:
            raise ValueError(
                f"{name} is too large: more than {most:,} pixels (--max-pixels, max_pixels, allows more)"
            ) from None
        except _UnsupportedModeError as error:
            raise ValueError(f"{name} {error}") from None
        except PermissionError:
            raise PermissionError(f"{name} may not be read: permission denied") from None
        except MemoryError:
            raise ValueError(f"{name} does not fit into memory") from None
        except Exception as error:  # a decoder meets damaged bytes with whatever exception it runs into
            if isinstance(error, ValueError) and str(error).startswith(name):
                raise
            raise _damaged(name, error) from None


def _decode(image: Image.Image, name: str) -> np.ndarray:
    with _reading(name, _PILLOWS_LIMIT.pixels):
        image.load()
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return _to_rgb(ImageOps.exif_transpose(image) if turned else image)


def _frames(image: Image.Image) -> int:
    """How many pictures a file holds one after another; a telephone's second one of the same moment (MPO) does not count."""
    if image.format == "MPO":
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(getattr(image, "n_frames", 1))
        except Exception:  # damage behind the first frame
            return 1


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
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
        if array.size:
            _say_if_dark(array[..., :3], "image")
    if array.dtype != np.uint8:
        raise TypeError(f"image has dtype {array.dtype}, expected uint8 (values 0..255) or uint16 (values 0..65535)")
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


def _say_if_dark(pixels: np.ndarray, name: str) -> None:
    """pixels: the upper 8 of 16 bits."""
    if (highest := int(pixels.max())) < 16:
        warnings.warn(
            f"{name} is nearly black: its 16-bit values reach {highest} of 255 in their upper 8 bits, as where a "
            "camera's 10 or 12 bits lie in the lower ones; if so, multiply them first",
            Notice,
            stacklevel=3,
        )


_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevm", b"mif1", b"msf1")


def _is_heif(source: str | os.PathLike[str] | IO[bytes]) -> bool:
    return _start(source)[4:8] == b"ftyp" and _start(source)[8:12] in _HEIF


def _start(source: str | os.PathLike[str] | IO[bytes]) -> bytes:
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return file.read(12)
    source.seek(0)
    return source.read(12)


def _has_heif() -> bool:
    """Whether Pillow reads HEIC from now on."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _unknown(source: str | os.PathLike[str] | IO[bytes]) -> str:
    if _is_heif(source):
        return "is a HEIC picture, as telephones make them: pip install 'epcore[heif]' reads it"
    return f"is not a picture in a format that Pillow {Image.__version__} reads"
