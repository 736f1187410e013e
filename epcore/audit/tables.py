"""What the paper and the release print about their networks, transcribed, and the graph that each row is about.

Parameters are in millions, FLOPs in billions, as strings with the printed digits: a count matches a cell when it rounds to it.
The accuracy columns are quoted, not recomputed: that needs MPII and the authors' training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from epcore.graph import Graph
from epcore.models.configs import LITE_VARIANTS, VARIANTS
from epcore.models.efficientpose import build_efficientpose
from epcore.models.lite import build_efficientpose_lite
from epcore.models.openpose import build_openpose

NO_UPSCALING_NOTE = (
    "with both auxiliary heads kept, the reading that fits II, it counts 1.510 G, without them 1.497 G; "
    "no reading was found that gives 1.52 G"
)
OPENPOSE_NOTE = "the paper gives no layer table; this reading fits, docs/counting.md lists its choices"


@dataclass(frozen=True)
class Row:
    """One printed row. table: where. ablation: as `epcore audit --json` names it. switches: of `build_efficientpose`."""

    table: str
    model: str
    parameters: str
    flops: str
    ablation: str | None = None
    switches: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def label(self) -> str:
        return self.model if self.ablation is None else f"{self.model}, {ABLATIONS[self.ablation]}"

    def graph(self) -> Graph:
        """The whole network, auxiliary heads included: what runs and trains."""
        if self.model == "OpenPose":
            return build_openpose()
        if self.model.endswith(" Lite"):
            return build_efficientpose_lite(LITE_VARIANTS[self.model.removesuffix(" Lite")])
        return build_efficientpose(VARIANTS[self.model], **self.switches)

    def counted_graph(self) -> Graph:
        """The part that the paper counts: what the final map needs. Without upscaling the auxiliary heads are kept."""
        graph = self.graph()
        return graph.pruned("upscaled") if "upscaled" in graph.outputs else graph


ABLATIONS = {
    "no_cross_resolution": "no cross-resolution features",
    "no_skeleton": "no skeleton estimation",
    "passes_1": "1 detection pass",
    "passes_3": "3 detection passes",
    "no_upscaling": "no upscaling",
}
_NO_CROSS, _NO_SKELETON, _ONE, _THREE, _NO_UPSCALING = (
    {"cross_resolution": False},
    {"skeleton": False},
    {"passes": 1},
    {"passes": 3},
    {"upscaling": False},
)
MAIN, ABLATION, LITE = "Table 3", "Tables 6 to 9", "Lite models of the release"

ROWS = (
    Row(MAIN, "OpenPose", "25.94", "160.36", note=OPENPOSE_NOTE),
    Row(MAIN, "RT", "0.46", "0.87"),
    Row(MAIN, "I", "0.72", "1.67"),
    Row(MAIN, "II", "1.73", "7.70"),
    Row(MAIN, "III", "3.23", "23.35"),
    Row(MAIN, "IV", "6.56", "72.89"),
    Row(ABLATION, "I", "0.68", "1.58", "no_cross_resolution", _NO_CROSS),
    Row(ABLATION, "II", "1.69", "7.50", "no_cross_resolution", _NO_CROSS),
    Row(ABLATION, "I", "0.54", "1.37", "no_skeleton", _NO_SKELETON),
    Row(ABLATION, "II", "1.27", "6.03", "no_skeleton", _NO_SKELETON),
    Row(ABLATION, "I", "0.52", "1.33", "passes_1", _ONE),
    Row(ABLATION, "I", "0.92", "2.02", "passes_3", _THREE),
    Row(ABLATION, "II", "1.24", "5.92", "passes_1", _ONE),
    Row(ABLATION, "II", "2.22", "9.49", "passes_3", _THREE),
    Row(ABLATION, "I", "0.71", "1.52", "no_upscaling", _NO_UPSCALING, NO_UPSCALING_NOTE),
    Row(ABLATION, "II", "1.73", "7.37", "no_upscaling", _NO_UPSCALING),
    Row(LITE, "RT Lite", "0.40", "0.86"),
    Row(LITE, "I Lite", "0.59", "1.54"),
    Row(LITE, "II Lite", "1.46", "7.25"),
)


# PCKh@50 and @10 on MPII's validation set, then on its test set, in percent, as the release's README prints them (repository
# daniegr/EfficientPose); "-" where nothing is printed.
ACCURACY: dict[str, tuple[str, str, str, str]] = {
    "OpenPose": ("87.6", "22.8", "88.8", "22.5"),
    "RT": ("82.9", "23.6", "84.8", "24.2"),
    "I": ("85.2", "26.5", "-", "-"),
    "II": ("88.2", "30.2", "-", "-"),
    "III": ("89.5", "30.9", "-", "-"),
    "IV": ("89.8", "35.6", "91.2", "34.0"),
    "RT Lite": ("80.6", "23.1", "-", "-"),
    "I Lite": ("83.7", "27.7", "-", "-"),
    "II Lite": ("-", "-", "-", "-"),
}


@dataclass(frozen=True)
class BackboneColumn:
    """One column of Table 1: input size on ImageNet, stem channels, (repeats, channels) of blocks 1 to 3."""

    scale: str
    input_size: int
    stem: int
    blocks: tuple[tuple[int, int], ...]


TABLE_1 = (
    BackboneColumn("B0", 224, 32, ((1, 16), (2, 24), (2, 40))),
    BackboneColumn("B2", 260, 32, ((2, 16), (3, 24), (3, 48))),
    BackboneColumn("B4", 380, 48, ((2, 24), (4, 32), (4, 56))),
    BackboneColumn("B5", 456, 48, ((3, 24), (5, 40), (5, 64))),
    BackboneColumn("B7", 600, 64, ((4, 32), (7, 48), (7, 80))),
)


@dataclass(frozen=True)
class VariantColumn:
    """One column of Table 2."""

    variant: str
    phi: int
    resolution: int
    high: str
    low: str | None
    width: int
    depth: int


TABLE_2 = (
    VariantColumn("RT", 0, 224, "B0", None, 40, 1),
    VariantColumn("I", 2, 256, "B2", "B0", 48, 1),
    VariantColumn("II", 4, 368, "B4", "B0", 56, 2),
    VariantColumn("III", 5, 480, "B5", "B1", 64, 3),
    VariantColumn("IV", 7, 600, "B7", "B3", 80, 4),
)
