"""A film with pictures of our own, at the times of another, with its sound."""

from __future__ import annotations

from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from epcore.video.library import require_av, said
from epcore.video.reader import FilmReader

_SOUND_OF_MP4 = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
_OPTIONS = {"preset": "veryfast", "crf": "20"}


def container_for(film: FilmReader) -> str:
    """The ending of an overlay film: ".mp4", or ".mkv" where MP4 does not take the film's sound."""
    return ".mp4" if film.sound is None or film.sound.codec_context.name in _SOUND_OF_MP4 else ".mkv"


class FilmWriter:
    """H.264 in MP4 or Matroska, into an open binary file that can seek. Closed, it is playable, however many frames it got.

    ending: as of `container_for`. Sides are made even, as players want them, by repeating the last row or column. Raises
    OSError where the file cannot be written, ValueError where the film cannot be coded.
    """

    def __init__(self, file: IO[bytes], ending: str, film: FilmReader) -> None:
        av = require_av()
        self._error = av.error.FFmpegError
        self._make = av.VideoFrame.from_ndarray
        self._name, self._pad = film.name, (film.height % 2, film.width % 2)
        kind = "mp4" if ending == ".mp4" else "matroska"
        self._container = av.open(file, "w", format=kind)
        self._stream: Any = self._container.add_stream("libx264", rate=film.rate, options=_OPTIONS)
        self._stream.width, self._stream.height = film.width + self._pad[1], film.height + self._pad[0]
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = self._stream.codec_context.time_base = film.time_base
        self._stream.codec_context.sample_aspect_ratio = film.pixel_aspect
        self._base = film.time_base
        self._sound: Any = self._container.add_stream_from_template(film.sound) if film.sound else None

    def add(self, pixels: np.ndarray, pts: int) -> None:
        """pixels (H,W,3) uint8. pts: in the film's time base, larger than the one before."""
        if any(self._pad):
            pixels = np.pad(pixels, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        frame = self._make(pixels, format="rgb24")
        frame.pts, frame.time_base = pts, self._base
        self._put(lambda: self._stream.encode(frame))

    def add_sound(self, packet: Any) -> None:
        """A packet of the film's sound, as it is."""
        packet.stream = self._sound
        self._put(lambda: packet)

    def close(self) -> None:
        """Write what is still due."""
        self._put(self._stream.encode)
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _put(self, make: Any) -> None:
        try:
            self._container.mux(make())
        except OSError:
            raise
        except self._error as error:
            raise ValueError(f"{self._name}: its overlay cannot be coded: {said(error)}") from None
