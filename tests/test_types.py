"""What a type checker knows of the public names, and that every one of them is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import epcore

SNIPPET = """
import numpy as np

import epcore

model = epcore.EfficientPose("RT")
x = np.zeros((1, 224, 224, 3), np.float32)
plan = epcore.compile(model)
reveal_type(model(x))
reveal_type(plan)
reveal_type(plan(x))
reveal_type(plan(x).final)
reveal_type(plan.profile()[0].seconds)
reveal_type(epcore.predict("photo.jpg", plan).keypoints[0].x)
reveal_type(epcore.load_weights(model, "w.h5"))
reveal_type(epcore.build_network("RT_Lite"))
epcore.compile("RT")
plan(x).finale
"""
ARRAY = "numpy.ndarray[Any, numpy.dtype[Any]]"
REVEALED = [
    "epcore.models.efficientpose.PoseOutputs",
    "epcore.inference.plan.Plan[epcore.models.efficientpose.PoseOutputs]",
    "epcore.models.efficientpose.PoseOutputs",
    ARRAY,
    "float",
    "float | None",
    "epcore.weights_tools.manifest.Manifest",
    "epcore.models.efficientpose.EfficientPose | epcore.models.openpose.OpenPose | epcore.models.efficientnet.EfficientNet",
]


@pytest.mark.parametrize("name", epcore.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(epcore, name) is not None


def test_what_a_type_checker_knows(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed: it comes with the extra `lint`")
    file = tmp_path / "snippet.py"
    file.write_text(SNIPPET)
    options = ["--strict", "--no-color-output", "--cache-dir", str(tmp_path / "cache"), "--follow-imports", "silent"]
    output, _, code = api.run([*options, str(file)])
    lines = output.splitlines()
    assert [line.split('"')[1] for line in lines if "Revealed type" in line] == REVEALED, output
    assert sum("error:" in line for line in lines) == 2, output
    assert code == 1
