"""Every kind of picture that users have reaches the network as RGB; what is no picture is refused in one clear line."""

from __future__ import annotations

import io
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from epcore.base.notices import Notice
from epcore.pose.picture import open_picture, read_picture

RED, GREEN, BLUE, GREY = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)


@pytest.fixture
def corners() -> np.ndarray:
    """2 rows of 3 pixels, no symmetry: red, green, blue over grey, black, white."""
    return np.array([[RED, GREEN, BLUE], [GREY, (0, 0, 0), (255, 255, 255)]], np.uint8)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [  # what a camera stores so that a viewer shows `upright` after obeying the tag (EXIF 2.3, Orientation)
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright)),
        (7, lambda upright: upright[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, corners: np.ndarray, orientation: int, stored) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "rotated.png"
    Image.fromarray(np.ascontiguousarray(stored(corners))).save(path, exif=exif)
    np.testing.assert_array_equal(read_picture(path), corners)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(read_picture(opened), corners)


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "exif.jpg"
    Image.new("RGB", (8, 8), GREY).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f garbage")
    assert read_picture(path).shape == (8, 8, 3)


def test_grey_and_bilevel(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 77, 255]], np.uint8)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png")[0], [[0] * 3, [77] * 3, [255] * 3])
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bits.png")
    with open_picture(tmp_path / "bits.png") as opened:
        assert opened.mode == "1"
    np.testing.assert_array_equal(read_picture(tmp_path / "bits.png")[0], [[0] * 3, [255] * 3])


def test_palette(tmp_path: Path, corners: np.ndarray) -> None:
    path = tmp_path / "palette.png"
    Image.fromarray(corners).quantize(colors=6).save(path)
    with open_picture(path) as opened:
        assert opened.mode == "P"
    np.testing.assert_array_equal(read_picture(path), corners)


@pytest.mark.parametrize("transparency", [0, b"\x00"], ids=["index", "bytes"])
def test_transparent_palette_entry_becomes_white(tmp_path: Path, transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=transparency)
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png")[0], [(255, 255, 255), GREEN])


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.array([[(*RED, 255), (*RED, 0), (*RED, 128)]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    expected = [RED, (255, 255, 255), (255, 127, 127)]  # 255 * (1 - 128/255) = 127
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png")[0], expected)
    np.testing.assert_array_equal(read_picture(rgba)[0], expected)
    Image.fromarray(np.array([[(0, 255), (0, 0)]], np.uint8), "LA").save(tmp_path / "grey-alpha.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey-alpha.png")[0], [(0, 0, 0), (255, 255, 255)])
    Image.new("RGB", (1, 1), BLUE).save(tmp_path / "keyed.png", transparency=BLUE)
    np.testing.assert_array_equal(read_picture(tmp_path / "keyed.png")[0], [(255, 255, 255)])


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    difference = read_picture(tmp_path / "print.jpg").astype(int) - RED
    assert np.abs(difference).max() <= 4  # JPEG loses a little


@pytest.mark.parametrize(("mode", "suffix"), [("I;16", "png"), ("I;16", "tif"), ("I;16B", "tif")])
def test_sixteen_bits(tmp_path: Path, mode: str, suffix: str) -> None:
    values = np.array([[0, 0x00FF, 0x0100, 0x80FF, 0xFFFF]], ">u2" if mode.endswith("B") else "<u2")
    image = Image.frombytes(mode, (5, 1), values.tobytes())
    image.save(tmp_path / f"deep.{suffix}")
    np.testing.assert_array_equal(read_picture(tmp_path / f"deep.{suffix}")[0, :, 1], [0, 0, 1, 128, 255])


def test_numbers_without_a_white_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif has floating-point values"):
        read_picture(tmp_path / "float.tif")
    Image.fromarray(np.full((2, 2), 70_000, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(ValueError, match=r"long\.tif has 32-bit values"):
        read_picture(tmp_path / "long.tif")


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(Notice, match="2 frames"):
        assert (read_picture(tmp_path / "moving.gif") == RED).all()


def test_one_pixel_and_very_wide(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), BLUE).save(tmp_path / "pixel.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "pixel.png"), [[BLUE]])
    Image.new("RGB", (20_000, 50), GREY).save(tmp_path / "wide.png")
    assert read_picture(tmp_path / "wide.png").shape == (50, 20_000, 3)


def test_size_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to Pillow's hard limit without a word (warnings are errors here), beyond it one line that names the file."""
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert read_picture(tmp_path / "large.png").shape == (40, 40, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match=r"large\.png is too large: more than 1,000 pixels"):
        read_picture(tmp_path / "large.png")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut\.{suffix} is (damaged|not a picture)"):
        read_picture(path)


def test_truncated_release_photo(tmp_path: Path, data_path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(data_path("release/photo.jpg").read_bytes()[:20_000])
    with pytest.raises(ValueError, match=r"cut\.jpg is damaged"):
        read_picture(path)
    with Image.open(path) as opened, pytest.raises(ValueError, match=r"cut\.jpg is damaged"):
        read_picture(opened)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    for read in (read_picture, open_picture):
        with pytest.raises(ValueError, match=r"empty\.jpg is empty"):
            read(tmp_path / "empty.jpg")
        with pytest.raises(ValueError, match=r"text\.jpg is not a picture"):
            read(tmp_path / "text.jpg")
        with pytest.raises(FileNotFoundError, match=r"no picture .*missing\.jpg"):
            read(tmp_path / "missing.jpg")
        with pytest.raises(IsADirectoryError, match="is a folder"):
            read(tmp_path)


def test_arrays(corners: np.ndarray) -> None:
    np.testing.assert_array_equal(read_picture(corners), corners)
    assert read_picture(corners[:, :, 0]).shape == (2, 3, 3)
    assert read_picture(corners[:, :, :1]).shape == (2, 3, 3)
    with pytest.raises(TypeError, match=r"float64, expected uint8 .*or uint16"):
        read_picture(corners / 255)
    with pytest.raises(ValueError, match=r"\(2, 3, 2\), expected \(height, width, 3\)"):
        read_picture(corners[:, :, :2])
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 3\), expected"):
        read_picture(corners[None])
    with pytest.raises(ValueError, match="no pixels"):
        read_picture(corners[:0])
    with pytest.raises(TypeError, match="is a list, expected a path"):
        read_picture([[0]])  # type: ignore[arg-type]


class TestWhatPeopleHave:
    def test_an_opened_file(self, tmp_path: Path, corners: np.ndarray) -> None:
        file = io.BytesIO()
        Image.fromarray(corners).save(file, "PNG")
        np.testing.assert_array_equal(read_picture(file), corners)
        assert not file.closed
        (tmp_path / "a.png").write_bytes(file.getvalue())
        with (tmp_path / "a.png").open("rb") as opened:
            np.testing.assert_array_equal(read_picture(opened), corners)
        with pytest.raises(ValueError, match="the picture is not a picture in a format"):
            read_picture(io.BytesIO(b"nonsense"))

    def test_sixteen_bits(self) -> None:
        values = np.array([[[0, 255, 256], [32768, 65535, 4096]]], np.uint16)
        np.testing.assert_array_equal(read_picture(values), values >> 8)
        assert read_picture(values[:, :, 0]).shape == (1, 2, 3)

    @pytest.mark.parametrize("kind", ["grey.png", "grey.tif", "array"])
    def test_twelve_bits_in_sixteen_are_said(self, kind: str, tmp_path: Path) -> None:
        values = np.full((4, 4), 4095, np.uint16)
        picture: Path | np.ndarray = values
        if kind != "array":
            Image.fromarray(values).save(tmp_path / kind)
            picture = tmp_path / kind
        with pytest.warns(Notice, match="nearly black: its 16-bit values reach 15 of 255 in their upper 8 bits"):
            assert read_picture(picture).max() == 15

    def test_frames_are_said(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (10, 20, 30)]
        for ending in ("gif", "webp", "png", "tif"):
            path = tmp_path / f"moving.{ending}"
            frames[0].save(path, save_all=True, append_images=frames[1:])
            with pytest.warns(Notice, match=rf"moving\.{ending} has 3 frames or pages: the first is taken"):
                read_picture(path)

    def test_a_telephones_second_picture_is_no_frame(self, tmp_path: Path) -> None:
        frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (10, 20)]
        frames[0].save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=frames[1:])
        read_picture(tmp_path / "two.jpg")

    def test_more_pixels_where_they_are_allowed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        assert read_picture(tmp_path / "large.png", max_pixels=1600).shape == (40, 40, 3)
        with pytest.raises(ValueError, match=r"large\.png is too large: more than 1,500 pixels"):
            read_picture(tmp_path / "large.png", max_pixels=1500)
        assert Image.MAX_IMAGE_PIXELS == 500

    def test_more_pixels_for_one_thread_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pillow's limit is the process' own; whoever reads meanwhile has the limit that he always has, above and below it."""
        Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
        Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
        right, said = Image.open, []

        def meanwhile(source: Path) -> Image.Image:
            monkeypatch.setattr(Image, "open", right)

            def other() -> None:
                with pytest.raises(ValueError, match=r"large\.png is too large: more than 1,000 pixels"):
                    open_picture(tmp_path / "large.png")
                said.append(open_picture(tmp_path / "small.png").size)
                with pytest.raises(ValueError, match=r"small\.png is too large: more than 399 pixels"):
                    open_picture(tmp_path / "small.png", max_pixels=399)

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            return right(source)

        for most in (1600, 450):  # more than usual, and less
            monkeypatch.setattr(Image, "open", meanwhile)
            read_picture(tmp_path / ("large.png" if most > 1000 else "small.png"), max_pixels=most)
        assert said == [(20, 20)] * 2
        assert Image.MAX_IMAGE_PIXELS == 500

    def test_heic_without_its_reader_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
        with pytest.raises(ValueError, match=r"a\.heic is a HEIC picture, .*: pip install 'epcore\[heif\]' reads it"):
            read_picture(tmp_path / "a.heic")

    def test_heic(self, tmp_path: Path, corners: np.ndarray) -> None:
        heif = pytest.importorskip("pillow_heif")
        heif.register_heif_opener()
        large = np.repeat(np.repeat(corners, 32, 0), 32, 1)
        Image.fromarray(large).save(tmp_path / "a.heic", quality=-1)
        pixels = read_picture(tmp_path / "a.heic")
        assert pixels.shape == large.shape
        assert np.abs(pixels[16::32, 16::32].astype(int) - corners).max() < 16
