"""Networks by name: every spelling of every name, in Python and on the command line, and what is said about others."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

import epcore
from epcore.audit.summary import MODELS
from epcore.cli import main
from epcore.commands.model import add_model_arguments, load_model
from epcore.export.weights import export_weights
from epcore.models import EfficientPose, EfficientPoseLite
from epcore.models.variants import NETWORK_NAMES, POSE_NAMES, SHIPPED_WEIGHTS, build_pose_network, network_name

OTHERS = ("", "V", "III Lite", "B8", "lite", "Open", "EfficientPose", "EfficientPose B0", "EfficientNet RT", "RT I")


def spellings(name: str) -> Iterator[str]:
    family = {"O": "", "B": "EfficientNet"}.get(name[0], "EfficientPose")
    for blank in (" ", "_", "-", ""):
        for full in dict.fromkeys((name, f"{family} {name}".strip())):
            spelled = full.replace(" ", blank)
            yield from dict.fromkeys((spelled, spelled.upper(), spelled.lower()))


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_every_spelling_is_the_network(name: str) -> None:
    assert {network_name(spelled) for spelled in spellings(name)} == {name}
    model = epcore.build_network(name.lower().replace(" ", "_"), seed=3)
    assert network_name(model.name) == name
    assert model.name.endswith(name)
    assert isinstance(model, EfficientPose) == (name in POSE_NAMES)
    assert isinstance(model, EfficientPoseLite) == name.endswith("Lite")


def test_seed() -> None:
    first, same, other = (epcore.build_network("RT", seed=seed).parameters["high.stem_conv/kernel"] for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


@pytest.mark.parametrize("name", OTHERS)
def test_other_names(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown network '{name}': expected one of {', '.join(NETWORK_NAMES)}$"):
        epcore.build_network(name)


@pytest.mark.parametrize("name", [name for name in NETWORK_NAMES if name not in POSE_NAMES])
def test_networks_without_keypoints(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot be used here: expected one of {', '.join(POSE_NAMES)}$"):
        build_pose_network(name)


def test_shipped_weights_are_there() -> None:
    assert all(path.is_file() and name in POSE_NAMES for name, path in SHIPPED_WEIGHTS.items())


# ---- commands


@pytest.mark.parametrize("name", POSE_NAMES)
def test_commands_that_run_a_network(name: str, tmp_path: Path) -> None:
    """What `--model` of predict, run, evaluate, vectors, readiness and export-onnx is read by."""
    weights = str(tmp_path / "w.npz")
    export_weights(epcore.build_network(name), weights)
    parser = argparse.ArgumentParser()
    add_model_arguments(parser)
    spelled = dict.fromkeys(spellings(name)) if name == "RT Lite" else (name, name.lower().replace(" ", "_"))
    for each in spelled:
        assert network_name(load_model(parser.parse_args(["--model", each, "--weights", weights])).name) == name


@pytest.mark.parametrize("name", ["OpenPose", "b3"])
def test_commands_that_run_a_network_say_what_they_take(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(Path(epcore.__file__).parent / "doctor/figure.png"), "--model", name]) == 2
    names = ", ".join(POSE_NAMES)
    assert capsys.readouterr().err == f"epcore: error: {network_name(name)} cannot be used here: expected one of {names}\n"


@pytest.mark.parametrize("name", ["iv", "II_lite", "openpose", "efficientnet-B1", "b6"])
def test_weights_take_all(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_weights(epcore.build_network(name, seed=4), tmp_path / "w.npz")
    assert main(["weights", "export", str(tmp_path / "w.npz"), "--model", name, "--output", str(tmp_path / "o.npz")]) == 0
    assert (tmp_path / "o.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_audit_takes_all(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--layers", name.lower().replace(" ", "-")]) == 0
    assert capsys.readouterr().out.startswith(f"{name}, batch 1\n")
    assert (name in MODELS) == (not name.startswith("B"))


def test_audit_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--layers", "V"]) == 2
    names = ", ".join(NETWORK_NAMES)
    assert capsys.readouterr().err == f"epcore: error: unknown network 'V': expected one of {names}\n"
