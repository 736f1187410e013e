"""Many picture files: those of folders, headers before pixels, and bad ones beside good ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from epcore.pose.picture_files import PictureFiles


class TestPictureFiles:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> list[Path]:
        for number in range(5):
            Image.new("RGB", (4, 3), (number, 0, 0)).save(tmp_path / f"{number}.png")
        return [tmp_path / f"{number}.png" for number in (0, 1, 2, 1, 3)]

    def test_each_is_opened_once_as_long_as_there_is_room(self, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        right = Image.open
        monkeypatch.setattr(Image, "open", lambda path: opened.append(path.name) or right(path))
        monkeypatch.setattr("epcore.pose.picture_files.KEPT_OPEN", 3)
        with PictureFiles(paths) as pictures:
            assert opened == [path.name for path in paths]
            assert [(index, pixels[0, 0, 0]) for index, pixels in pictures] == [(0, 0), (1, 1), (2, 2), (3, 1), (4, 3)]
        assert opened[5:] == ["1.png", "3.png"]

    def test_a_wrong_one_is_found_before_any_is_read_and_none_stays_open(
        self, paths: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files: list[Image.Image] = []
        right = Image.open
        monkeypatch.setattr(Image, "open", lambda path: files.append(right(path)) or files[-1])
        (paths[4]).write_text("no picture")
        with pytest.raises(ValueError, match=r"3\.png is not a picture"):
            PictureFiles(paths)
        assert len(files) == 4
        for file in files:
            with pytest.raises(ValueError, match=r"closed|seek"):
                file.load()

    def test_wrong_ones_are_left_out(self, paths: list[Path]) -> None:
        paths[0].write_text("no picture")
        paths[2].write_bytes(paths[2].read_bytes()[:48])  # its header is whole
        paths.append(paths[0].with_name("missing.png"))
        left_out: list[tuple[int, str]] = []
        with PictureFiles(paths, left_out=lambda index, error: left_out.append((index, str(error)))) as pictures:
            assert [index for index, _ in left_out] == [0, 5]
            assert len(pictures) == 4
            assert [index for index, _ in pictures] == [1, 3, 4]
        assert [index for index, _ in left_out] == [0, 5, 2]
        assert "2.png is damaged" in left_out[2][1]
