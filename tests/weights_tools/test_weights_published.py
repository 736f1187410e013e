"""Published weight files: the table is right, names stand for files, and every load checks what it takes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import Plan, serving, write_table
from PIL import Image
from places import exit_code
from train_helpers import tiny

import epcore
from epcore.base.notices import Notice
from epcore.cli import main
from epcore.models.variants import NETWORK_NAMES, SHIPPED_WEIGHTS
from epcore.train.setup import load_start
from epcore.weights_tools import published
from epcore.weights_tools.published import PublishedFile, find_weights, published_file, published_files, weights_folder

NAME = "EfficientPoseRT.h5"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for published weights, and an empty current folder."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that the table takes for RT's: that which comes with epcore."""
    shipped = SHIPPED_WEIGHTS["RT"]
    write_table(tmp_path / "table.toml", "https://example.invalid/", shipped.read_bytes())
    monkeypatch.setattr(published, "_TABLE", tmp_path / "table.toml")
    published._read.cache_clear()
    yield shipped
    published._read.cache_clear()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


class TestTable:
    def test_what_is_in_it(self) -> None:
        files = published_files()
        assert list(files) == ["RT", "I", "II", "III", "IV", "RT Lite", "I Lite", "II Lite", *(f"B{n}" for n in range(8))]
        assert set(files) <= set(NETWORK_NAMES)
        assert len({file.name for file in files.values()}) == len(files)
        for network, file in files.items():
            kind, _, digest = file.digest.partition(":")
            assert len(digest) == {"sha256": 64, "git-blob": 40, "md5": 32}[kind]
            assert file.network == network
            assert file.address.startswith("https://")
            assert file.address.endswith(f"/{file.name}")

    @pytest.mark.parametrize("network", ["RT", "I", "RT Lite", "I Lite"])
    def test_digests_and_sizes_of_the_files_at_hand(self, network: str, data_path: Callable[[str], Path]) -> None:
        file = published_file(network)
        path = data_path(f"release/{file.name}")
        file.check(path)
        assert path.stat().st_size == file.size

    @pytest.mark.parametrize(
        ("content", "blob"),
        [  # git's own documentation and every empty file
            (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            (b"test content\n", "d670460b4b4aece5915caf5c68d12f560a9fe3e4"),
        ],
    )
    def test_names_of_gits(self, content: bytes, blob: str, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(content)
        file = PublishedFile("RT", "file", "https://x/file", f"git-blob:{blob}", None, "git")
        file.check(tmp_path / "file")
        (tmp_path / "file").write_bytes(content + b"x")
        with pytest.raises(ValueError, match=rf"is git-blob:\w{{40}}, expected git-blob:{blob}"):
            file.check(tmp_path / "file")

    def test_md5_of_a_file_larger_than_a_piece(self, tmp_path: Path) -> None:
        content = np.random.default_rng(0).bytes((1 << 20) + 12345)
        (tmp_path / "file").write_bytes(content)
        PublishedFile("B0", "file", "", f"md5:{hashlib.md5(content).hexdigest()}", None, "").check(tmp_path / "file")


class TestFolder:
    def test_places(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert weights_folder() == tmp_path / "kept"
        monkeypatch.setenv("EPCORE_WEIGHTS_FOLDER", "~/w")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert weights_folder() == tmp_path / "w"
        monkeypatch.delenv("EPCORE_WEIGHTS_FOLDER")
        if os.name == "posix" and os.uname().sysname == "Linux":
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
            assert weights_folder() == tmp_path / ".cache/epcore/weights"
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
            assert weights_folder() == tmp_path / "cache/epcore/weights"

    def test_without_a_home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stand_in: Path) -> None:
        monkeypatch.delenv("EPCORE_WEIGHTS_FOLDER")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
        with pytest.raises(FileNotFoundError, match=r"there is no home.*: set EPCORE_WEIGHTS_FOLDER"):
            find_weights("RT")
        model = epcore.EfficientPose("RT")
        assert epcore.load_weights(model, stand_in).matched
        shutil.copy(stand_in, NAME)
        assert epcore.load_weights(model, NAME).matched


class TestNames:
    @pytest.mark.parametrize("name", ["RT", "rt", "EfficientPose RT", "EfficientPoseRT"])
    def test_every_spelling(self, name: str, folder: Path, stand_in: Path) -> None:
        shutil.copy(stand_in, folder / NAME)
        assert find_weights(name) == folder / NAME
        assert epcore.load_weights(epcore.EfficientPose("RT"), name).path == str(folder / NAME)

    @pytest.mark.parametrize("name", ["./RT", "RT.h5", "OpenPose", "x", "", Path("a/RT")])
    def test_paths_are_themselves(self, name: str | Path) -> None:
        assert find_weights(name) == name

    def test_what_is_not_here(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            epcore.load_weights(epcore.EfficientPose("RT"), "RT_Lite")
        assert str(caught.value) == (
            "the published weights of RT Lite are not here: `epcore weights fetch RT_Lite` gets them, or get "
            f"{published_file('RT Lite').address} and put it into {folder}"
        )

    def test_a_file_of_that_name_is_taken_and_said(self, folder: Path, stand_in: Path) -> None:
        shutil.copy(stand_in, "RT")
        said = rf"^RT is a file in the current folder and is taken; the published .* are --weights {folder / NAME}$"
        with pytest.warns(Notice, match=said):
            assert find_weights("RT") == str(Path("RT").absolute())

    def test_a_folder_of_that_name_is_no_file(self, folder: Path, stand_in: Path) -> None:
        Path("RT").mkdir()
        shutil.copy(stand_in, folder / NAME)
        assert find_weights("RT") == folder / NAME


class TestLoading:
    def test_put_there_by_hand_and_damaged_later(self, folder: Path, stand_in: Path) -> None:
        model = epcore.EfficientPose("RT", seed=1)
        shutil.copy(stand_in, folder / NAME)
        assert epcore.load_weights(model, "RT").missing == []
        with (folder / NAME).open("r+b") as file:
            file.seek(200_000)
            file.write(b"\x01")
        for name in ("RT", folder / NAME, os.path.relpath(folder / NAME)):
            with pytest.raises(ValueError, match=rf"{NAME} as it was published: its digest is .*`epcore weights fetch RT` rep"):
                epcore.load_weights(model, name)

    def test_other_folders_are_nobodys_affair(self, folder: Path, stand_in: Path) -> None:
        epcore.export_weights(epcore.EfficientPose("RT"), NAME)
        assert epcore.load_weights(epcore.EfficientPose("RT"), NAME).matched
        shutil.copy(NAME, folder / "mine.h5")
        assert epcore.load_weights(epcore.EfficientPose("RT"), folder / "mine.h5").matched

    def test_a_link_to_the_file_is_the_file(self, folder: Path, stand_in: Path) -> None:
        (folder / NAME).write_bytes(b"x")
        Path(NAME).symlink_to(folder / NAME)
        with pytest.raises(ValueError, match="as it was published"):
            epcore.load_weights(epcore.EfficientPose("RT"), NAME)

    def test_a_training_starts_from_them(self, folder: Path, stand_in: Path) -> None:
        shutil.copy(stand_in, folder / NAME)
        model = epcore.EfficientPose("RT", seed=1)
        load_start(model, "RT")
        assert np.array_equal(model.parameters["high.stem_conv/kernel"], loaded("RT").parameters["high.stem_conv/kernel"])


def loaded(name: str) -> epcore.EfficientPose:
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, name)
    return model


class TestCommands:
    @pytest.mark.parametrize(
        "command",
        [
            ["predict", "photo.jpg", "--weights", "RT"],
            ["demo", "--output", "out", "--weights", "RT"],
            ["run", "--weights", "RT", "--input", "x.npy", "--output", "y.npz"],
            ["evaluate", "--pictures", "1", "--weights", "RT"],
            ["vectors", "--output", "v.npz", "--weights", "RT"],
            ["readiness", "--weights", "RT"],
            ["export-onnx", "--output", "y.onnx", "--weights", "RT"],
            ["weights", "inspect", "RT"],
            ["weights", "import", "RT", "--output", "y.npz"],
            ["weights", "import", "x.npz", "--model", "I", "--low", "B0", "--output", "y.npz"],
        ],
        ids=lambda command: " ".join(command[:2]),
    )
    def test_every_one_says_how_to_get_them(self, command: list[str], photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy(photo, "photo.jpg")
        np.save("x.npy", np.zeros((1, 224, 224, 3), np.float32))
        epcore.export_weights(epcore.EfficientNet("B2"), "x.npz")
        before = sorted(os.listdir())
        assert exit_code(command) == 2
        name = "B0" if "B0" in command else "RT"
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(
            f"epcore: error: the published weights of {name} are not here: `epcore weights fetch {name}` gets"
        )
        assert sorted(os.listdir()) == before

    def test_predict_with_fetched_weights(self, folder: Path, stand_in: Path, photo: Path) -> None:
        shutil.copy(stand_in, folder / NAME)
        assert main(["predict", str(photo), "--weights", "RT", "--json", "by_name.json"]) == 0
        assert main(["predict", str(photo), "--json", "own.json"]) == 0
        assert Path("by_name.json").read_bytes() == Path("own.json").read_bytes()

    @pytest.mark.filterwarnings("default")
    def test_the_clash_is_one_line(self, folder: Path, stand_in: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        shutil.copy(stand_in, "RT")
        assert main(["predict", str(photo), "--weights", "RT"]) == 0
        about = [line for line in capsys.readouterr().err.splitlines() if "in the current folder" in line]
        assert len(about) == 1  # beside what is said of the picture
        assert about[0].startswith("epcore: RT is a file in the current folder and is taken; the published weights")

    def test_the_notice_names_the_command(self, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", str(photo)]) == 0
        assert "epcore weights fetch RT, then epcore predict photo.jpg --weights RT" in capsys.readouterr().err

    def test_networks_without_weights_of_their_own(self, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", str(photo), "--model", "i-lite"]) == 2
        assert "or epcore weights fetch I_Lite, then --weights I_Lite" in capsys.readouterr().err

    def test_the_list(self, folder: Path, stand_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
        size = stand_in.stat().st_size

        def listed() -> tuple[str, dict[str, object]]:
            assert main(["weights", "fetch", "--json", "list.json"]) == 0
            report = json.loads(Path("list.json").read_text())
            assert report["folder"] == str(folder)
            (row,) = report["files"]
            assert row == {
                "network": "RT", "name": NAME, "address": f"https://example.invalid/{NAME}", "size": size,
                "digest": published_file("RT").digest, "here": row["here"], "path": str(folder / NAME),
            }  # fmt: skip
            return capsys.readouterr().out, row

        assert listed()[1]["here"] == "no"
        (folder / f"{NAME}.part").mkdir()
        assert listed()[1]["here"] == "part"
        (folder / NAME).write_bytes(b"x")
        assert listed()[1]["here"] == "wrong"
        shutil.copy(stand_in, folder / NAME)
        text, row = listed()
        assert row["here"] == "yes"
        assert f"RT        {NAME}             {size:,}  yes" in text
        assert str(folder) in text
        assert "from https://example.invalid/" in text

    def test_fetch(self, folder: Path, stand_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        plan = Plan(stand_in.read_bytes())
        with serving(plan) as address:
            write_table(tmp_path / "table.toml", address, plan.content)
            published._read.cache_clear()
            assert main(["weights", "fetch", "rt", "RT", "--json", "-"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out)["files"][0]["here"] == "yes"
        first, second = captured.err.splitlines()
        assert first == f"RT: {folder / NAME}, {len(plan.content):,} bytes, {published_file('RT').digest}"
        assert second == f"{first}, was here already"
        assert len(plan.seen) == 1
        assert (folder / NAME).read_bytes() == plan.content

    @pytest.mark.parametrize("name", ["x", "OpenPose", "RT.h5"])
    def test_names_that_nobody_publishes(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["weights", "fetch", name]) == 2
        assert "expected one of RT, I, II, III, IV, RT Lite" in capsys.readouterr().err


def test_a_configuration_may_name_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="`epcore weights fetch RT` gets them"):
        epcore.Trainer(tiny(init="RT"), tmp_path / "run")
