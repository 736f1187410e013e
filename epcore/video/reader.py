"""Frames of a film or a camera, upright, with their times.

What FFmpeg opens is restricted to films of one file: playlists, lists of files, devices and addresses, behind which the "film"
of a stranger could reach other files or the network, are no films here, nor are pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self

import numpy as np

from epcore.video.library import camera_device, require_av, said

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,mxf,nut,ivf,dv,h264,hevc,rm,yuv4mpegpipe,wtv"
)
MAX_PIXELS = 8192 * 8192  # of a frame; 192 MiB as RGB, and as much again while it is decoded


@dataclass(frozen=True)
class Frame:
    """number: in the film, damaged ones left out, the first 0. time: seconds since the film's beginning. pts: the same in units
    of the film's time base, as stored. pixels: (H,W,3) uint8 RGB, upright.
    """

    number: int
    time: float
    pts: int
    pixels: np.ndarray


class FilmReader:
    """name: for messages. width, height: of the upright frames, pixels. rate: frames a second, on the average; time_base: s.

    frames: how many there are, as far as the file says. damaged: packets and frames that could not be decoded so far. problem:
    what ended the film early. sound: the stream to be copied beside the pictures, if any. pixel_aspect: width of a pixel in
    heights of one, of upright frames.

    Raises ValueError for a container without pictures, with frames of more than MAX_PIXELS, or none that can be decoded.
    """

    def __init__(self, name: str, container: Any) -> None:
        self.name, self.damaged, self.problem = name, 0, ""
        self._container = container
        if not container.streams.video:
            raise ValueError(f"{name} has no pictures: no video stream among its {len(container.streams)} streams")
        self._stream = stream = container.streams.video[0]
        if stream.codec_context is None:
            raise ValueError(f"{name}: its pictures are coded in a way that PyAV cannot decode")
        stream.thread_type = "AUTO"
        self.sound = next((each for each in container.streams.audio if each.codec_context is not None), None)
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.time_base = Fraction(stream.time_base or Fraction(1, 90_000))
        self.frames: int | None = stream.frames or None
        self._check(stream.codec_context.width, stream.codec_context.height)
        self._items = self._decoded()
        first = self._until_first()
        self._turns = round(first.rotation / 90) % 4  # counter-clockwise, that make a stored frame upright
        across = self._turns % 2 == 1
        self._stored = first.width, first.height
        self.width, self.height = self._stored[::-1] if across else self._stored
        aspect = Fraction(stream.codec_context.sample_aspect_ratio or 1)
        self.pixel_aspect = 1 / aspect if across else aspect

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Self:
        """A file. Raises OSError where it cannot be read, ModuleNotFoundError without PyAV, and ValueError for what is no film,
        empty, or as above.
        """
        av, name = require_av(), fspath(path)
        file = Path(path)
        if not file.exists():
            raise FileNotFoundError(f"there is no film {name}")
        if file.is_dir():
            raise IsADirectoryError(f"{name} is a folder, expected a film")
        if file.is_file() and file.stat().st_size == 0:
            raise ValueError(f"{name} is empty")
        with file.open("rb"):  # the system's own word where it may not be read
            pass
        options = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
        try:
            container = av.open(f"file:{name}", options=options, metadata_errors="ignore")
        except (av.error.FFmpegError, ValueError) as error:
            raise ValueError(f"{name} is not a film, or damaged: {said(error)}") from None
        return cls._in(name, container)

    @classmethod
    def camera(cls, which: str) -> Self:
        """A camera by its number, or by the name that the system has for it. Raises OSError where there is none."""
        av = require_av()
        device, driver = camera_device(which)
        try:
            container = av.open(device, format=driver)
        except (av.error.FFmpegError, ValueError) as error:
            raise OSError(f"cannot open camera {which} ({device}, {driver}): {said(error)}") from None
        return cls._in(f"camera {which}", container)

    @classmethod
    def _in(cls, name: str, container: Any) -> Self:
        try:
            return cls(name, container)
        except BaseException:
            container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._items.close()
        self._container.close()

    def read(self, sound: Callable[[Any], None] | None = None) -> Iterator[Frame]:
        """All frames, once. sound: takes the packets of sound on the way. What cannot be decoded is counted and left out."""
        number, last = 0, None
        step = max(1, round(1 / (self.rate * self.time_base)))
        begin = (self._container.start_time or 0) / 1e6
        for item in chain(self._waiting, self._items):
            if not hasattr(item, "to_ndarray"):
                if sound and item.dts is not None:
                    sound(item)
                continue
            if (item.width, item.height) != self._stored:
                self.damaged += 1  # a stream that changes its size within: no writer takes that
                continue
            pts = item.pts if item.pts is not None else (0 if last is None else last + step)
            if last is not None and pts <= last:
                pts = last + 1  # clocks of broken films stand still or run back; writers take neither
            last = pts
            pixels = np.rot90(item.to_ndarray(format="rgb24"), self._turns)
            yield Frame(number, float(pts * self.time_base) - begin, pts, np.ascontiguousarray(pixels))
            number += 1

    def _check(self, width: int, height: int) -> None:
        if width * height > MAX_PIXELS:
            raise ValueError(f"{self.name} has frames of {width}x{height} pixels, more than {MAX_PIXELS:,}")

    def _until_first(self) -> Any:
        """The first frame. It, and what comes before it, waits to be read."""
        self._waiting: list[Any] = []
        for item in self._items:
            self._waiting.append(item)
            if hasattr(item, "to_ndarray"):
                return item
        raise ValueError(f"{self.name} has no frame that can be decoded{f': {self.problem}' if self.problem else ''}")

    def _decoded(self) -> Any:
        """Frames, and packets of sound, in the order of the file."""
        error = require_av().error.FFmpegError
        streams = [self._stream, *([self.sound] if self.sound else [])]
        packets = self._container.demux(*streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except error as wrong:
                self.problem = said(wrong)
                return
            if packet.stream is not self._stream:
                yield packet
                continue
            try:
                frames = packet.decode()
            except error:
                self.damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.damaged += 1
                else:
                    self._check(frame.width, frame.height)
                    yield frame
