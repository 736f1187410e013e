"""Many picture files: those of folders, and the headers of all before the pixels of any."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from epcore.pose.picture import decode_picture, open_picture

KEPT_OPEN = 64  # files of `PictureFiles`; systems allow 256 and more
ENDINGS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".pnm",
    ".ppm", ".tga", ".tif", ".tiff", ".webp",
)  # fmt: skip


def picture_paths(paths: Iterable[str]) -> list[str]:
    """Each file by itself, each folder by the pictures that lie in it, in the order of their names.

    What a folder holds is a picture by its ending; hidden files and folders below are left alone. Raises ValueError for a
    folder without pictures, OSError for one that may not be read.
    """
    found = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        names = sorted(name for name in os.listdir(path) if Path(name).suffix.lower() in ENDINGS and not name.startswith("."))
        inside = [place for name in names if os.path.isfile(place := os.path.join(path, name))]
        if not inside:
            raise ValueError(f"{path} is a folder without pictures (files ending in .jpg, .png, ...)")
        found += inside
    return found


class PictureFiles:
    """Picture files, the headers of all read before the pixels of any: a misspelt name should not show only after an hour.

        with PictureFiles(paths) as pictures:          # raises as `open_picture`
            for index, pixels in pictures:             # raises as `read_picture`

    left_out: is called with the index and the error of a file that cannot be read, which is then left out; else the error is
    raised. The first KEPT_OPEN stay open in between and are opened once; a process may not have any number of files open.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        *,
        max_pixels: int | None = None,
        left_out: Callable[[int, Exception], None] | None = None,
    ) -> None:
        self._paths, self._max_pixels, self._left_out = paths, max_pixels, left_out
        self._readable: list[int] = []
        self._opened: dict[int, Image.Image] = {}
        try:
            for index, path in enumerate(paths):
                try:
                    opened = open_picture(path, max_pixels=max_pixels)
                except (OSError, ValueError) as error:
                    self._refuse(index, error)
                    continue
                self._readable.append(index)
                if len(self._opened) < KEPT_OPEN:
                    self._opened[index] = opened
                else:
                    opened.close()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Files with a header that can be read."""
        return len(self._readable)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        """(index of the path, uint8 (H,W,3), RGB) of one file after another; once."""
        for index in self._readable:
            path = self._paths[index]
            try:
                with self._opened.pop(index, None) or open_picture(path, max_pixels=self._max_pixels) as opened:
                    pixels = decode_picture(opened, os.fspath(path))
            except (OSError, ValueError) as error:
                self._refuse(index, error)
                continue
            yield index, pixels

    def _refuse(self, index: int, error: Exception) -> None:
        if self._left_out is None:
            raise error
        self._left_out(index, error)

    def close(self) -> None:
        for opened in self._opened.values():
            opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
