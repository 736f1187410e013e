"""Films in and out: times, rotation, sound, and every kind of broken file."""

from __future__ import annotations

import builtins
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av = pytest.importorskip("av")

from film_files import ramps, turn, write_film  # noqa: E402

from epcore.video import FilmReader, FilmWriter  # noqa: E402
from epcore.video.recognise import is_film  # noqa: E402
from epcore.video.writer import container_for  # noqa: E402

EXACT = {"codec": "ffv1", "pixels": "bgr0"}  # lossless RGB, in .mkv


def numbers(film: FilmReader) -> list[int]:
    return [round((int(frame.pixels[-4, -4, 0]) - 20) / 10) for frame in film.read()]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (57, 101), (2160, 3840), (1, 1)])
def test_pixels_of_every_size(height: int, width: int, tmp_path: Path, rng: np.random.Generator) -> None:
    frames = [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]
    write_film(tmp_path / "a.mkv", frames, **EXACT)
    with FilmReader.open(tmp_path / "a.mkv") as film:
        assert (film.width, film.height, film.damaged) == (width, height, 0)
        read = list(film.read())
    assert [frame.number for frame in read] == [0, 1]
    for frame, original in zip(read, frames, strict=True):
        assert np.array_equal(frame.pixels, original)


def test_ten_bits(tmp_path: Path) -> None:
    write_film(tmp_path / "a.mkv", ramps(3), codec="libx265", pixels="yuv420p10le", **{"x265-params": "log-level=none"})
    with FilmReader.open(tmp_path / "a.mkv") as film:
        assert numbers(film) == [0, 1, 2]


def test_one_frame_and_times_that_are_uneven(tmp_path: Path) -> None:
    write_film(tmp_path / "one.mp4", ramps(1))
    with FilmReader.open(tmp_path / "one.mp4") as film:
        assert numbers(film) == [0]
    times = [0, 40, 45, 200, 1000]
    write_film(tmp_path / "a.mkv", ramps(5), times=times, base=Fraction(1, 1000), **EXACT)
    with FilmReader.open(tmp_path / "a.mkv") as film:
        assert [frame.time for frame in film.read()] == pytest.approx([time / 1000 for time in times])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation(degrees: int, tmp_path: Path) -> None:
    """The matrix turns the stored picture clockwise by so much; NumPy turns the other way round."""
    write_film(tmp_path / "a.mp4", ramps(1), crf="1")
    with FilmReader.open(tmp_path / "a.mp4") as film:
        (stored,) = (frame.pixels for frame in film.read())
    turn(tmp_path / "a.mp4", degrees)
    with FilmReader.open(tmp_path / "a.mp4") as film:
        (upright,) = (frame.pixels for frame in film.read())
        assert upright.shape[:2] == (film.height, film.width)
    assert np.array_equal(upright, np.rot90(stored, -degrees // 90))


def overlay(source: Path, target: Path) -> str:
    with FilmReader.open(source) as film, target.open("wb") as file, FilmWriter(file, container_for(film), film) as writer:
        for frame in film.read(writer.add_sound if film.sound else None):
            writer.add(frame.pixels, frame.pts)
        return container_for(film)


@pytest.mark.parametrize(
    ("ending", "sound", "into"), [(".mp4", "aac", ".mp4"), (".mkv", "pcm_s16le", ".mkv"), (".mkv", None, ".mp4")]
)
def test_times_and_sound_are_kept(ending: str, sound: str | None, into: str, tmp_path: Path) -> None:
    times = [0, 40, 80, 200, 240, 280, 700]
    source, target = tmp_path / f"a{ending}", tmp_path / "out"
    write_film(source, ramps(7, 57, 101) if ending == ".mkv" else ramps(7), times=times, base=Fraction(1, 1000), sound=sound,
               **({"pixels": "yuv444p"} if ending == ".mkv" else {}))  # fmt: skip
    assert overlay(source, target) == into
    with FilmReader.open(source) as before, FilmReader.open(target) as after:
        assert (after.width % 2, after.height % 2) == (0, 0)
        assert 0 <= after.width - before.width <= 1
        old, new = list(before.read()), list(after.read())
        assert [frame.time for frame in new] == pytest.approx([frame.time for frame in old], abs=1e-3)
        for one, other in zip(old, new, strict=True):
            shown = other.pixels[: before.height, : before.width].astype(int)
            assert np.abs(shown - one.pixels).mean() < 6  # H.264 at this quality; frames differ by 10
    with av.open(str(source)) as before, av.open(str(target)) as after:
        for container in (before, after):
            assert len(container.streams.audio) == (1 if sound else 0)
        if sound:
            packets = [[bytes(each) for each in container.demux(audio=0) if each.size] for container in (before, after)]
            assert packets[0] == packets[1] and len(packets[0]) > 3


# ---- what is no film, or a broken one


def refused(path: Path) -> str:
    with pytest.raises((ValueError, OSError)) as error, FilmReader.open(path) as film:
        list(film.read())
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_no_films(tmp_path: Path) -> None:
    for name, content in (("text.mp4", b"no film\n" * 100), ("noise.mkv", np.random.default_rng(0).bytes(5000))):
        (tmp_path / name).write_bytes(content)
        assert "is not a film" in refused(tmp_path / name)
    (tmp_path / "empty.mp4").touch()
    assert "is empty" in refused(tmp_path / "empty.mp4")
    assert "there is no film" in refused(tmp_path / "missing.mp4")
    assert "is a folder" in refused(tmp_path)
    write_film(tmp_path / "a.mp4", ramps(2))
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path / 'a.mp4'}\n#EXT-X-ENDLIST\n")
    assert "is not a film" in refused(tmp_path / "list.mp4")  # a playlist could name any file, or address
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile '{tmp_path / 'a.mp4'}'\n")
    assert "is not a film" in refused(tmp_path / "concat.mp4")


def test_no_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "has no pictures: no video stream among its 1 streams" in refused(tmp_path / "sound.mkv")


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "a.mp4", ramps(1))
    monkeypatch.setattr("epcore.video.reader.MAX_PIXELS", 64 * 48 - 1)
    assert "has frames of 64x48 pixels, more than 3,071" in refused(tmp_path / "a.mp4")


def test_truncated(tmp_path: Path, rng: np.random.Generator) -> None:
    """Matroska is read as far as it goes; an MP4 without the index at its end is none."""
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    for name, options in (("a.mkv", EXACT), ("a.mp4", {})):
        write_film(tmp_path / name, frames, **options)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with FilmReader.open(tmp_path / "a.mkv") as film:
        assert 5 < len(list(film.read())) < 20
    assert "is not a film, or damaged" in refused(tmp_path / "a.mp4")


def test_damaged_frames_are_counted_and_left_out(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(10)]
    write_film(tmp_path / "a.mkv", frames, slicecrc="1", g="1", level="3", **EXACT)
    with av.open(str(tmp_path / "a.mkv")) as container:
        third = [bytes(packet) for packet in container.demux(video=0) if packet.size][3]
    data = (tmp_path / "a.mkv").read_bytes()
    at = data.index(third)
    (tmp_path / "a.mkv").write_bytes(data[: at + 40] + bytes(len(third) - 80) + data[at + len(third) - 40 :])
    with FilmReader.open(tmp_path / "a.mkv") as film:
        read = list(film.read())
        assert film.damaged == 1
    assert [round(frame.time * 25) for frame in read] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert np.array_equal(read[3].pixels, frames[4])


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(OSError, match="cannot open camera 93 "):
        FilmReader.camera("93")


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'")
        return usual(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'epcore\[video\]'"):
        FilmReader.open(tmp_path / "a.mp4")


def test_films_are_recognised_by_content_then_by_ending(tmp_path: Path) -> None:
    for ending, codec in ((".mp4", "libx264"), (".mkv", "libx264"), (".avi", "mpeg4"), (".ts", "libx264"), (".mov", "mpeg4")):
        write_film(tmp_path / f"a{ending}", ramps(2), codec=codec)
        (tmp_path / f"a{ending}").rename(tmp_path / "plain")
        assert is_film(str(tmp_path / "plain")), ending
    from PIL import Image

    for ending in ("jpg", "png", "gif", "webp", "bmp", "tiff"):
        Image.new("RGB", (8, 8)).save(tmp_path / f"p.{ending}")
        (tmp_path / f"p.{ending}").rename(tmp_path / "p.mp4")
        assert not is_film(str(tmp_path / "p.mp4")), ending
    assert is_film("missing.MOV") and not is_film("missing.jpg")
