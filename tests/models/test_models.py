"""The networks: the paper's tables, total parameters, golden outputs of the published weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from places import BENCH
from tolerances import outputs_and_bounds

import epcore
from epcore.graph.stages import stages
from epcore.models.configs import BACKBONES, VARIANTS, pose_config, round_channels, scaled_config

sys.path.append(str(BENCH))
from exactness import errors

DataPath = Callable[[str], Path]


class TestScaling:
    @pytest.mark.parametrize(
        ("variant", "total"),
        [("RT", 465_608), ("I", 726_116), ("II", 1_740_380), ("III", 3_238_264), ("IV", 6_571_542)],
    )
    def test_total_parameters(self, variant: str, total: int) -> None:
        model = epcore.EfficientPose(variant)
        assert model.parameter_count == total
        assert sum(array.size for array in model.parameters.values()) == total

    @pytest.mark.parametrize(("phi", "variant"), [(0, "RT"), (2, "I"), (4, "II"), (5, "III"), (7, "IV")])
    def test_phi_gives_the_columns_of_table_2(self, phi: int, variant: str) -> None:
        assert scaled_config(phi) == VARIANTS[variant]

    @pytest.mark.parametrize("phi", range(8))
    def test_rules_give_table_2(self, phi: int) -> None:
        """Width, depth and low branch of the table follow from phi alone; only the resolutions are listed."""
        config = scaled_config(phi)
        assert config.width == round_channels(40 * BACKBONES[f"B{phi}"].width)
        assert config.low == (f"B{max(0, phi - 4)}" if phi else None)
        assert config.depth == [1, 1, 1, 2, 2, 3, 3, 4][phi]
        assert config.resolution % 8 == 0

    @pytest.mark.parametrize("phi", [1, 3, 6])
    def test_other_scales_run(self, phi: int) -> None:
        outputs = epcore.EfficientPose(phi)(np.zeros((1, 32, 32, 3), np.float32))
        assert outputs.final.shape == (1, 32, 32, 16)

    @pytest.mark.parametrize("variant", ["V", "", "B0", 8, -1, 2.0, True, None])
    def test_unknown_variant(self, variant: object) -> None:
        with pytest.raises(ValueError, match="expected"):
            pose_config(variant)  # type: ignore[arg-type]

    def test_backbone_channels(self) -> None:
        """Rows of the EfficientNet family as Keras builds them: output channels of blocks 1 to 3 and of the stem."""
        expected = {"B0": (32, 16, 24, 40), "B2": (32, 16, 24, 48), "B4": (48, 24, 32, 56), "B7": (64, 32, 48, 80)}
        for scale, channels in expected.items():
            shapes = epcore.EfficientNet(scale).graph.shapes()
            outputs = epcore.EfficientNet(scale).graph.outputs
            assert (shapes["stem_conv"][3], *(shapes[name][3] for name in outputs.values())) == channels

    def test_unknown_backbone(self) -> None:
        with pytest.raises(ValueError, match=r"B8.*B0"):
            epcore.EfficientNet("B8")
        with pytest.raises(ValueError, match="blocks is 8"):
            epcore.EfficientNet("B0", blocks=8)


class TestAblations:
    @pytest.mark.parametrize(
        "options", [{"cross_resolution": False}, {"skeleton": False}, {"upscaling": False}, {"passes": 1}, {"passes": 3}]
    )
    def test_runs(self, options: dict[str, int], rng: np.random.Generator) -> None:
        model = epcore.EfficientPose("I", **options)  # type: ignore[arg-type]
        outputs = model(rng.normal(size=(2, 64, 64, 3)).astype(np.float32))
        assert (outputs.pafs is None) == (options.get("skeleton") is False)
        assert (outputs.upscaled is None) == (options.get("upscaling") is False)
        assert (outputs.confs3 is None) == (options.get("passes") == 1)
        assert outputs.final.shape == ((2, 8, 8, 16) if options.get("upscaling") is False else (2, 64, 64, 16))

    def test_passes_out_of_range(self) -> None:
        with pytest.raises(ValueError, match="passes is 0"):
            epcore.EfficientPose("RT", passes=0)


def test_print_shows_stages() -> None:
    model = epcore.EfficientPose("I")
    text = str(model)
    assert "726,116" in text
    assert sum(stage.parameters for stage in stages(model.graph).values()) == 726_116
    for stage in ("high-resolution block 3", "low-resolution block 2", "pass 1: part affinity fields", "upscaling"):
        assert stage in text


class TestInput:
    """Everything a user can get wrong about x is named."""

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (np.zeros((1, 224, 224, 3)), TypeError, "float64, expected float32"),
            (np.zeros((224, 224, 3), np.float32), ValueError, r"\(224, 224, 3\), expected \(N, height, width, 3\)"),
            (np.zeros((1, 3, 224, 224), np.float32), ValueError, "expected"),
            (np.zeros((0, 224, 224, 3), np.float32), ValueError, "batch is empty"),
            (np.full((1, 32, 32, 3), np.nan, np.float32), ValueError, "3072 values that are NaN or infinite"),
            ([[0.0]], TypeError, "list"),
        ],
    )
    def test_refused(self, x: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            epcore.EfficientPose("RT")(x)

    def test_branches_that_do_not_meet(self) -> None:
        """17 gives 3 cells in the high branch (9, 5, 3) and, cut to 8, only 2 in the low one (4, 2)."""
        with pytest.raises(ValueError, match="17x17 does not go through EfficientPose I"):
            epcore.EfficientPose("I")(np.zeros((1, 17, 17, 3), np.float32))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(("variant", "picture"), [("RT", "photo"), ("RT", "gradient"), ("I", "photo")])
def test_golden_outputs(variant: str, picture: str, backend: str, data_path: DataPath) -> None:
    """Published weights on stored tensors, against float64 outputs of an independent program."""
    model = epcore.EfficientPose(variant)
    epcore.load_weights(model, data_path(f"release/EfficientPose{variant}.h5"))
    with np.load(data_path(f"golden/EfficientPose{variant}.npz")) as golden:
        prefix = f"{picture}/" if f"{picture}/x" in golden.files else ""
        with epcore.use_backend(backend):
            outputs = model(golden[f"{prefix}x"])
        for name in ("pafs", "confs2", "confs3", "upscaled"):
            assert np.abs(getattr(outputs, name) - golden[f"{prefix}{name}"]).max() <= 1e-5, name


@pytest.mark.parametrize("variant", ["RT", "I"])
def test_published_weights_on_flat_pictures(variant: str, data_path: DataPath) -> None:
    """Every backend within 3e-6 of double also where most of a picture is of one colour, which one float32 chain is not."""
    data_path(f"release/EfficientPose{variant}.h5")
    found = errors(variant, data_path("golden").parent)
    assert max(error for row in found.values() for error in row.values()) <= 3e-6, found


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_batch_of_three_is_three_batches_of_one(backend: str, rng: np.random.Generator) -> None:
    model = epcore.EfficientPose("I")
    x = rng.normal(size=(3, 64, 64, 3)).astype(np.float32)
    with epcore.use_backend(backend):
        together = model.run(x)
        alone = [model.run(x[i : i + 1]) for i in range(3)]
    _, bounds = outputs_and_bounds(model, x)
    for name, maps in together.items():
        # A BLAS may block a product by its row count: two orders of rounding, nothing more.
        assert np.abs(maps - np.concatenate([single[name] for single in alone])).max() <= 2 * bounds[name]
        assert bounds[name] <= 1e-3 * np.abs(maps).max()


@pytest.mark.parametrize("size", [128, 127])
def test_golden_backbone(size: int, data_path: DataPath) -> None:
    backbone = epcore.EfficientNet("B0")
    epcore.load_weights(backbone, data_path("efficientnet/EfficientNetB0_blocks123_k3_fullmodel.h5"))
    with np.load(data_path("efficientnet/golden_B0.npz")) as golden:
        blocks = backbone.features(golden[f"{size}/x"])
        _, bounds = outputs_and_bounds(backbone, golden[f"{size}/x"])
        for number, block in enumerate(blocks, start=1):
            expected = golden[f"{size}/block{number}"]
            assert block.shape == expected.shape
            assert np.abs(block - expected).max() <= 2 * bounds[f"block{number}"]  # the golden ones may be float32 as well
