"""`epcore run`: raw maps against the golden ones, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from epcore.cli import main
from epcore.models import EfficientPose
from epcore.port.store import read_tensor

MAPS = ("pafs", "confs2", "confs3", "upscaled")


def run(tmp_path: Path, x: np.ndarray, *options: str) -> dict[str, np.ndarray]:
    np.save(tmp_path / "x.npy", x)
    arguments = ["run", "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.out"), *options]
    assert main(arguments) == 0
    with np.load(tmp_path / "y.out") as maps:  # the name as given, without .npz added
        assert tuple(maps) == MAPS
        return dict(maps)


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
@pytest.mark.parametrize(("variant", "name"), [("RT", "photo"), ("RT", "gradient"), ("I", "photo")])
def test_golden_maps(variant: str, name: str, backend: str, data_path, tmp_path: Path) -> None:
    golden = np.load(data_path(f"golden/EfficientPose{variant}.npz"))
    weights = str(data_path(f"release/EfficientPose{variant}.h5"))
    maps = run(tmp_path, golden[f"{name}/x"], "--model", variant, "--weights", weights, "--backend", backend)
    for key in MAPS:
        assert maps[key].dtype == np.float32
        assert maps[key].shape == golden[f"{name}/{key}"].shape
        assert np.abs(maps[key] - golden[f"{name}/{key}"]).max() <= 1e-5


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_batch_is_its_pictures_one_by_one(backend: str, data_path, tmp_path: Path, rng: np.random.Generator) -> None:
    golden = np.load(data_path("golden/EfficientPoseRT.npz"))
    options = ("--weights", str(data_path("release/EfficientPoseRT.h5")), "--backend", backend)
    noise = rng.standard_normal((1, 224, 224, 3)).astype(np.float32)
    batch = np.concatenate([golden["photo/x"], golden["gradient/x"], noise])
    together = run(tmp_path, batch, *options)
    for index in range(3):
        alone = run(tmp_path, batch[index : index + 1], *options)
        for key in MAPS:
            np.testing.assert_allclose(together[key][index], alone[key][0], rtol=0, atol=1e-5)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """RT without weights: what is refused is refused before they matter."""
    monkeypatch.setattr("epcore.commands.run.load_model", lambda arguments: EfficientPose("RT"))


def refused(x: np.ndarray | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    if isinstance(x, bytes):
        (tmp_path / "x.npy").write_bytes(x)
    else:
        np.save(tmp_path / "x.npy", x, allow_pickle=True)
    output = [] if "--output" in options else ["--output", str(tmp_path / "y.npz")]
    assert main(["run", "--input", str(tmp_path / "x.npy"), *output, *options]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("epcore: error: ")
    assert captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    return captured.err


@pytest.mark.usefixtures("untrained")
def test_bad_tensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = np.zeros((1, 224, 224, 3), np.float32)
    assert "dtype float64, expected float32" in refused(good.astype(np.float64), tmp_path, capsys)
    assert "dtype uint8, expected float32" in refused(good.astype(np.uint8), tmp_path, capsys)
    for shape in ((224, 224, 3), (1, 3, 224, 224), (1, 256, 256, 3), (1, 224, 224, 4), (1, 224, 224)):
        message = refused(np.zeros(shape, np.float32), tmp_path, capsys)
        assert f"has shape {shape}, expected (N, 224, 224, 3)" in message
    assert "the batch is empty" in refused(good[:0], tmp_path, capsys)
    for value in (np.nan, np.inf):
        bad = good.copy()
        bad[0, 5, 6, 1] = value
        assert "has 1 values that are NaN or infinite" in refused(bad, tmp_path, capsys)


@pytest.mark.usefixtures("untrained")
def test_files_that_hold_no_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "x.npy is damaged or no .npy file of plain numbers"
    assert expected in refused(b"", tmp_path, capsys)
    assert expected in refused(b"something else", tmp_path, capsys)
    assert "x.npy: it holds Python objects" in refused(np.array([{"run": "me"}], object), tmp_path, capsys)
    np.save(tmp_path / "x.npy", np.zeros((1, 224, 224, 3), np.float32))
    assert "x.npy: it declares (1, 224, 224, 3)" in refused((tmp_path / "x.npy").read_bytes()[:-10], tmp_path, capsys)
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    archive = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").unlink()
    assert expected in refused(archive, tmp_path, capsys)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*x\.npy"):
        read_tensor(str(tmp_path / "x.npy"))
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_tensor(str(tmp_path))


@pytest.mark.usefixtures("untrained")
def test_bad_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.zeros((1, 224, 224, 3), np.float32)
    assert "there is no folder" in refused(x, tmp_path, capsys, "--output", str(tmp_path / "nowhere" / "y.npz"))
    assert "it is a folder" in refused(x, tmp_path, capsys, "--output", str(tmp_path))
    assert "would overwrite an input" in refused(x, tmp_path, capsys, "--output", str(tmp_path / "x.npy"))


def test_bad_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.zeros((1, 224, 224, 3), np.float32)
    assert "--weights FILE" in refused(x, tmp_path, capsys, "--model", "I")  # RT comes with epcore
    assert "'V'" in refused(x, tmp_path, capsys, "--model", "V")


def test_column_major_input_is_accepted(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.random((2, 3, 4, 3), np.float32)
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    read = read_tensor(str(tmp_path / "x.npy"))
    np.testing.assert_array_equal(read, x)
    assert read.flags.c_contiguous
