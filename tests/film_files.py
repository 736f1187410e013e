"""Films that the tests make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def write_film(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    base: Fraction = Fraction(1, 25),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: str | None = None,
    **options: str,
) -> None:
    """frames (H,W,3) uint8. times: of the frames in units of base; one after another by default. sound: a codec."""
    with av.open(str(path), "w") as container:
        stream: Any = None
        noise: Any = container.add_stream(sound, rate=48_000) if sound else None
        for index, frame in enumerate(frames):
            if stream is None:
                stream = container.add_stream(codec, rate=25, options=options)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], pixels
                stream.codec_context.time_base = base
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = times[index] if times else index, base
            container.mux(stream.encode(picture))
            if noise:
                wave = (3000 * np.sin(np.arange(1920) * 0.06)).astype(np.int16)[None]
                part = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                part.rate, part.pts, part.time_base = 48_000, 1920 * index, Fraction(1, 48_000)
                container.mux(noise.encode(part))
        if stream is not None:
            container.mux(stream.encode())
        if noise:
            container.mux(noise.encode())


def ramps(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frames whose brightness tells their number: 20 + 10 * number, brighter in the upper left quarter."""
    frames = []
    for number in range(count):
        frame = np.full((height, width, 3), 20 + 10 * (number % 20), np.uint8)
        frame[: height // 2, : width // 2] += 30
        frames.append(frame)
    return frames


def turn(path: Path, degrees: int) -> None:
    """Set the rotation of an MP4 as telephones do: the matrix of its track header (ISO 14496-12, 8.3.2), 16.16 numbers."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: flags, times, id, duration, layer, group, volume before the matrix
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    for place, value in ((0, cosine), (1, sine), (3, -sine), (4, cosine)):
        data[at + 4 * place : at + 4 * place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
