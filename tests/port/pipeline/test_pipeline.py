"""Ports of the way around the network with planted mistakes, written with other libraries: what `diff` says of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import epcore
from epcore.cli import main
from epcore.models.variants import SHIPPED_WEIGHTS
from epcore.port.golden import read_golden
from epcore.port.pipeline.compare import Stage, budget, compare_pipeline, places_of, read_port
from epcore.port.pipeline.golden import pipeline_vectors
from epcore.port.store import Vectors, write_vectors
from epcore.pose.preprocess import MEAN, STD

Arrays = dict[str, np.ndarray]
Resize = Callable[[np.ndarray, int, int], np.ndarray]


@pytest.fixture(scope="module")
def model() -> epcore.EfficientPose:
    model = epcore.EfficientPose("RT")
    epcore.load_weights(model, SHIPPED_WEIGHTS["RT"], trusted=True)
    return model.eval()


@pytest.fixture(scope="module")
def golden(model: epcore.EfficientPose) -> Vectors:
    return pipeline_vectors(model)


def anti_aliased(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """scikit-image's `resize` of the release, by SciPy."""
    factors = np.array(picture.shape[:2]) / (height, width)
    sigma = np.maximum(0, (factors - 1) / 2)
    blurred = ndimage.gaussian_filter(picture.astype(np.float64), (*sigma, 0), mode="mirror")
    zoom = (height / picture.shape[0], width / picture.shape[1], 1)
    resized: np.ndarray = ndimage.zoom(blurred, zoom, order=1, mode="mirror", grid_mode=True)
    return resized


def opencv(interpolation: str) -> Resize:
    def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
        cv2 = pytest.importorskip("cv2", reason="OpenCV's ways of resizing are its own")
        resized: np.ndarray = cv2.resize(picture, (width, height), interpolation=getattr(cv2, interpolation))
        return resized.astype(np.float64)

    return resize


def xs(
    golden: Vectors,
    resize: Resize = anti_aliased,
    whole: Callable[[np.ndarray], np.ndarray] = lambda v: np.floor(v + 1e-6),
    scale: Callable[[np.ndarray], np.ndarray] = lambda v: (v / 255 - MEAN) / STD,
    *,
    bgr: bool = False,
    padded_after: bool = False,
    corner: bool = False,
) -> Arrays:
    """What a port computes of the pictures."""
    size, made = golden.manifest["size"], {}
    for name, place in places_of(golden).items():
        if f"pictures/{name}" not in golden.arrays:
            continue
        inside = whole(resize(golden.arrays[f"pictures/{name}"], place.resized_height, place.resized_width))
        inside = inside[..., ::-1] if bgr else inside
        top, left = (0, 0) if corner else (place.top, place.left)
        square = np.zeros((size, size, 3))
        part = slice(top, top + place.resized_height), slice(left, left + place.resized_width)
        square[part] = scale(inside) if padded_after else inside
        made[f"x/{name}"] = (square if padded_after else scale(square)).astype(np.float32)
    return made


def judged(golden: Vectors, arrays: Arrays) -> Stage:
    (stage,) = compare_pipeline(read_port(arrays, golden), golden)
    return stage


def causes(stage: Stage) -> list[str]:
    (explanation,) = stage.explanations
    return [otherwise for otherwise, _ in explanation]


def test_a_right_port_agrees(golden: Vectors) -> None:
    stage = judged(golden, xs(golden))
    assert stage.agrees
    assert stage.explanations == [()]
    swapped = {name: x.transpose(2, 0, 1)[None] for name, x in xs(golden).items()}
    assert judged(golden, swapped).agrees


IMAGENET = "level / 255, "


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({"bgr": True}, ["channels are BGR"]),
        ({"padded_after": True}, ["the padding holds 0"]),
        ({"corner": True}, ["upper left corner"]),
        ({"whole": np.round}, ["rounded"]),
        ({"whole": lambda v: v}, ["kept"]),
        ({"resize": opencv("INTER_LINEAR")}, ["INTER_LINEAR", "rounded"]),
        ({"resize": opencv("INTER_CUBIC")}, ["INTER_CUBIC", "rounded"]),
        ({"resize": opencv("INTER_NEAREST")}, ["nearest"]),
        ({"resize": opencv("INTER_AREA")}, ["INTER_AREA", "rounded"]),
        ({"scale": lambda v: v / 127.5 - 1}, ["level / 127.5 - 1"]),
        ({"scale": lambda v: v / 255}, ["without mean and deviation"]),
        ({"scale": lambda v: v}, ["the levels themselves"]),
        ({"scale": lambda v: v / 255 - MEAN}, ["the mean of RGB, in this order, no deviation"]),
        ({"scale": lambda v: (v / 256 - MEAN) / STD}, ["level / 256"]),
        ({"scale": lambda v: (v / 255 - 0.45) / 0.225}, ["as if the mean were 0.45 and the deviation 0.225"]),
        ({"bgr": True, "padded_after": True}, ["channels are BGR", "the padding holds 0"]),
        ({"bgr": True, "whole": np.round, "corner": True}, ["upper left", "rounded", "BGR"]),
        ({"bgr": True, "scale": lambda v: (v / 255 - MEAN[::-1]) / STD[::-1]}, ["BGR", "the mean of each channel"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)  # fmt: skip
def test_mistakes_before_the_network(golden: Vectors, mistake: dict[str, Any], words: list[str]) -> None:
    stage = judged(golden, xs(golden, **mistake))
    assert not stage.agrees
    said = causes(stage)
    assert len(said) == len(words)
    for word in words:
        assert sum(word in each for each in said) == 1, (word, said)


def test_what_nothing_explains_is_not_explained(golden: Vectors) -> None:
    """A blur before all, and noise: no cause is named."""
    rng = np.random.default_rng(0)
    blurred = xs(golden, lambda p, h, w: anti_aliased(ndimage.uniform_filter(p, (5, 5, 1)), h, w))
    noisy = {name: x + rng.normal(0, 0.05, x.shape).astype(np.float32) for name, x in xs(golden).items()}
    for arrays in (blurred, noisy):
        stage = judged(golden, arrays)
        assert not stage.agrees
        assert stage.explanations == []


def points(
    golden: Vectors, *, smooth: bool = True, half: float = 0.5, frame: str = "picture", whole: bool = False, flip: bool = False
) -> Arrays:
    made = {}
    for name, place in places_of(golden).items():
        maps = golden.arrays[f"maps/{name}"]
        size = len(maps)
        found = []
        for joint in range(maps.shape[-1]):
            plane = maps[..., joint]
            plane = ndimage.gaussian_filter(plane, 1.0, mode="nearest") if smooth else plane
            row, column = np.unravel_index(plane.argmax(), plane.shape)
            x, y = (column + half) / size, (row + half) / size
            if frame == "padded":
                x, y = x * max(place.width, place.height), y * max(place.width, place.height)
            elif frame == "square":
                x, y = x * size, y * size
            else:
                x = min(max((x * size - place.left) * place.width / place.resized_width, 0), place.width)
                y = min(max((y * size - place.top) * place.height / place.resized_height, 0), place.height)
            found.append((int(x), int(y)) if whole else (y, x) if flip else (x, y))
        made[f"points/{name}"] = np.array(found, np.float32)
    return made


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ({}, []),
        ({"smooth": False}, ["not smoothed"]),
        ({"half": 0.0}, ["a cell's corner"]),
        ({"frame": "padded"}, ["padding around the picture"]),
        ({"frame": "square"}, ["those of the square"]),
        ({"flip": True}, ["y, x"]),
        ({"whole": True}, ["cut to whole numbers"]),
        ({"smooth": False, "half": 0.0}, ["not smoothed", "a cell's corner"]),
        ({"flip": True, "frame": "square"}, ["those of the square", "y, x"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_mistakes_behind_the_network(golden: Vectors, mistake: dict[str, Any], words: list[str]) -> None:
    stage = judged(golden, points(golden, **mistake))
    assert stage.agrees == (not words)
    said = causes(stage)
    assert len(said) == len(words)
    for word in words:
        assert sum(word in each for each in said) == 1, (word, said)


def test_points_of_elsewhere_are_not_explained(golden: Vectors) -> None:
    moved = {name: each + 3 for name, each in points(golden).items()}
    assert judged(golden, moved).explanations == []


def test_the_budget_adds_up(golden: Vectors, model: epcore.EfficientPose) -> None:
    """Where one part alone is wrong, all of the error is its."""
    plan = epcore.compile(model)

    def network(x: np.ndarray) -> np.ndarray:
        return np.asarray(plan(x).final)

    shares = {each.part: each for each in budget(read_port(points(golden, half=0.0), golden), golden, network)}
    assert shares["preprocessing"].largest == shares["network"].largest == 0
    assert shares["decoding"] == shares["all"].__class__("decoding", shares["all"].mean, shares["all"].largest)
    assert 0.1 < shares["all"].largest < 3
    wrong = {**xs(golden, bgr=True)}
    maps = {f"maps/{name[2:]}": network(x[None])[0] for name, x in wrong.items()}
    port = read_port({**wrong, **maps, **points(Vectors({**golden.arrays, **maps}, golden.manifest))}, golden)
    shares = {each.part: each for each in budget(port, golden, network)}
    assert shares["decoding"].largest < 1e-3
    assert shares["network"].largest == 0
    assert shares["preprocessing"].mean > 0.1


class TestCommand:
    @pytest.fixture
    def file(self, golden: Vectors, tmp_path: Path) -> Path:
        path = tmp_path / "pipeline.npz"
        assert main(["vectors", "--pipeline", "--output", str(path)]) == 0
        written = read_golden(path)
        assert written.arrays.keys() == golden.arrays.keys()
        return path

    def test_diff(self, file: Path, golden: Vectors, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        port, report = tmp_path / "port.npz", tmp_path / "report.json"
        write_vectors(port, Vectors({**xs(golden), **points(golden)}))
        assert main(["diff", str(port), "--vectors", str(file), "--json", str(report)]) == 0
        assert json.loads(report.read_text())["agrees"] is True
        write_vectors(port, Vectors({**xs(golden, bgr=True), **points(golden, half=0.0)}))
        capsys.readouterr()
        assert main(["diff", str(port), "--vectors", str(file)]) == 1
        text = capsys.readouterr().out
        for line in ("cause: channels are BGR", "cause: a cell's corner is taken", "preprocessing", "decoding"):
            assert line in text

    @pytest.mark.parametrize(
        ("arrays", "error"),
        [
            ({"y/wide": np.zeros(3)}, "none of the arrays"),
            ({"x/wide": np.zeros((3, 4, 5))}, "x/wide has shape (3, 4, 5), expected (224, 224, 3)"),
            ({"points/wide": np.full((16, 2), np.nan)}, "points/wide holds NaN"),
        ],
    )
    def test_bad_ports(
        self, arrays: Arrays, error: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        port = tmp_path / "port.npz"
        write_vectors(port, Vectors(arrays))
        assert main(["diff", str(port), "--vectors", str(file)]) == 2
        assert error in capsys.readouterr().err

    def test_one_kind_of_vectors(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["vectors", "--pipeline", "--operators", "--output", str(tmp_path / "v.npz")]) == 2
        assert "--pipeline and --operators" in capsys.readouterr().err
