"""`epcore audit`: the paper's cells, layers, memory, the command and its page."""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import epcore
from epcore.audit.compare import check_table_1, check_table_2, count_rows, rounded
from epcore.audit.count import count_forward, count_parameters, find_convention
from epcore.audit.layers import count_layers, receptive_fields
from epcore.audit.memory import inference_peak, parameter_bytes, training_peak
from epcore.audit.summary import MODELS, find_row, stage_work
from epcore.audit.tables import ACCURACY, ROWS, Row
from epcore.cli import main
from epcore.graph import INPUT, GraphBuilder
from epcore.models.configs import scaled_config
from epcore.models.efficientpose import build_efficientpose
from epcore.network import Network
from epcore.tape import Tape

# Parameters and FLOPs that TensorFlow's profiler gives for the released graphs and their ablations.
PROFILED = {
    ("RT", None): (460_284, 874_983_634),
    ("I", None): (719_736, 1_674_751_628),
    ("II", None): (1_732_944, 7_704_204_884),
    ("III", None): (3_229_772, 23_350_009_912),
    ("IV", None): (6_560_938, 72_892_316_660),
    ("I", "no_cross_resolution"): (678_694, 1_580_766_680),
    ("II", "no_cross_resolution"): (1_688_446, 7_495_374_752),
    ("I", "no_skeleton"): (544_596, 1_370_360_000),
    ("II", "no_skeleton"): (1_267_836, 6_031_518_680),
    ("I", "passes_1"): (523_860, 1_327_892_672),
    ("I", "passes_3"): (915_612, 2_021_610_584),
    ("II", "passes_1"): (1_240_956, 5_917_762_520),
    ("II", "passes_3"): (2_224_932, 9_490_647_248),
    ("I", "no_upscaling"): (713_780, 1_510_235_788),
    ("II", "no_upscaling"): (1_728_044, 7_368_717_316),
}


class TestRows:
    def test_as_the_profiler(self) -> None:
        counted = {(row.row.model, row.row.ablation): (row.parameters, row.flops) for row in count_rows()}
        assert {key: counted[key] for key in PROFILED} == PROFILED

    def test_printed_digits(self) -> None:
        """Every cell but one: I without upscaling."""
        rows = count_rows()
        assert all(row.parameters_match for row in rows)
        assert [(row.row.model, row.row.ablation) for row in rows if not row.flops_match] == [("I", "no_upscaling")]
        assert all(row.row.note for row in rows if not row.flops_match)

    def test_openpose_within_a_thousandth(self) -> None:
        graph = find_row("OpenPose").counted_graph()
        assert count_parameters(graph) == pytest.approx(25.94e6, rel=1e-3)
        assert count_forward(graph) == pytest.approx(160.36e9, rel=1e-3)

    def test_tables_1_and_2(self) -> None:
        assert len(check_table_1()) == len(check_table_2()) == 30
        assert {cell.quantity for cell in check_table_1() if not cell.paper} == {"alpha^phi, computed"}
        assert [cell for cell in [*check_table_1(), *check_table_2()] if not cell.match] == []

    @pytest.mark.parametrize(
        ("count", "printed", "expected"),
        [(460_284, "0.46", "0.46"), (465_000, "0.46", "0.47"), (464_999, "0.46", "0.46"), (7_700_001, "7.70", "7.70")],
    )
    def test_rounding(self, count: int, printed: str, expected: str) -> None:
        """Halves up, in decimal: 0.465 is 0.47, which binary floating point would round down."""
        assert rounded(count, 10**6, printed) == expected

    @pytest.mark.parametrize("row", [row for row in ROWS if row.model != "OpenPose"], ids=lambda row: row.label)
    def test_every_row_runs(self, row: Row, rng: np.random.Generator) -> None:
        """The graph that is counted computes maps of the right shape, and its shapes are those that were walked."""
        graph = row.graph()
        outputs = Network(graph, row.label).run(rng.normal(size=(1, 64, 64, 3)).astype(np.float32))
        shapes = graph.shapes(1, (64, 64, 3))
        assert {label: y.shape for label, y in outputs.items()} == {label: shapes[n] for label, n in graph.outputs.items()}
        assert all(np.isfinite(y).all() and y.std() > 0 for y in outputs.values())

    def test_nothing_is_allocated(self) -> None:
        """Counting IV takes the graph and no arrays: its parameters alone are 26 MB."""
        tracemalloc.start()
        graph = build_efficientpose(scaled_config(7))
        count_parameters(graph), count_forward(graph)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < parameter_bytes(graph) / 5

    def test_batch_and_resolution(self) -> None:
        """Twice the pictures and twice the side are exactly twice and four times the work of a network without SE."""
        graph = find_row("RT Lite").graph()
        once = count_forward(graph)
        assert count_forward(graph, batch=2) == 2 * once
        assert count_forward(graph, input_shape=(448, 448, 3)) == 4 * once

    def test_unknown_names(self) -> None:
        with pytest.raises(ValueError, match=r"'gflops'.*macs, flops, tf_profiler"):
            find_convention("gflops")
        with pytest.raises(ValueError, match=r"'V'.*OpenPose"):
            find_row("V")


class TestLayers:
    @pytest.mark.parametrize("model", MODELS)
    def test_sums(self, model: str) -> None:
        graph = find_row(model).graph()
        layers = count_layers(graph)
        assert [layer.name for layer in layers] == list(graph.nodes)
        assert sum(layer.parameters for layer in layers) == count_parameters(graph)
        assert sum(layer.macs for layer in layers) == count_forward(graph, "macs")
        assert sum(layer.flops for layer in layers) == count_forward(graph, "flops")
        assert sum(layer.share for layer in layers) == pytest.approx(1)
        stages = stage_work(graph).values()
        assert sum(p for p, _ in stages) == count_parameters(graph)
        assert sum(f for _, f in stages) == count_forward(graph)

    def test_one_layer_by_hand(self) -> None:
        """RT's stem: 112 x 112 x 32 outputs of 27 products each; bytes of picture, kernel and output."""
        stem = count_layers(find_row("RT").graph())[0]
        outputs = 112 * 112 * 32
        assert (stem.macs, stem.parameters, stem.activation_bytes) == (27 * outputs, 864, 4 * outputs)
        assert stem.intensity == pytest.approx(2 * 27 * outputs / (4 * (224 * 224 * 3 + 864 + outputs)))
        assert stem.receptive_field == 3

    @pytest.mark.parametrize("size", [96, 97])
    def test_receptive_field_is_where_gradients_reach(self, size: int) -> None:
        """The rows of the picture that the middle output row's gradient reaches, layer by layer, with positive weights."""
        builder = GraphBuilder((size, size, 1))
        x = builder.conv2d("conv", INPUT, 2, kernel=3, stride=2)
        x = builder.max_pool("max", x)
        half = builder.avg_pool("avg", INPUT, size=4)
        half = builder.depthwise_conv2d("wide", half, kernel=5)  # reaches further up and down than the other branch
        if size == 96:  # both branches meet at the same size only here
            x = builder.concat("concat", x, half)
        x = builder.depthwise_conv2d("dwconv", x, kernel=5)
        x = builder.depthwise_conv2d("dwconv2", x, kernel=5, stride=2)
        x = builder.conv_transpose2d("up", x, builder.channels[x])
        x = builder.conv2d("head", x, 1, kernel=3)
        graph = builder.graph({"y": x})
        fields = receptive_fields(graph)
        for name in ("conv", "dwconv", "dwconv2", "up", "head"):
            assert fields[name] == self._reach(graph, name, size), name
        assert fields["avg"] == 4

    @staticmethod
    def _reach(graph: Any, name: str, size: int) -> int:
        network = Network(graph, "test").astype(np.float64)
        for key, array in network.parameters.items():
            network.parameters[key] = np.ones_like(array)
        reach = 0
        rows = network.graph.shapes()[name][1]
        for middle in (rows // 2, rows // 2 + 1):  # neighbouring phases of the upscaling reach differently far
            tape = Tape()
            values = {INPUT: tape.watch(np.ones((1, size, size, 1)))}
            for node in network.graph.nodes.values():
                arrays = [network.parameters[key] for key in node.parameters if key is not None]
                values[node.name] = tape.apply(node.op, *(values[i] for i in node.inputs), *arrays, **node.attributes)
                if node.op == "max_pool":  # its gradient goes to one winner only: an average reaches all four
                    tape._records.pop()
                    values[node.name] = tape.apply("avg_pool", values[node.inputs[0]], size=2)
                if node.name == name:
                    break
            dy = np.zeros(values[name].shape)
            dy[:, middle] = 1
            tape.backward(values[name], dy)
            dx = tape.gradient(values[INPUT])
            assert dx is not None
            touched = np.flatnonzero(dx.sum(axis=(0, 2, 3)))
            reach = max(reach, int(touched[-1] - touched[0]) + 1)
        return reach


def traced_peak(run: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


MEASURED: dict[str, Callable[[], Network]] = {
    "I": lambda: epcore.EfficientPose("I"),
    "RT Lite": lambda: epcore.EfficientPoseLite("RT"),
    "RT, no skeleton": lambda: epcore.EfficientPose("RT", skeleton=False),
}


class TestMemory:
    """Counted bytes against those that tracemalloc saw allocated: within 5 %."""

    @pytest.mark.parametrize("make", MEASURED.values(), ids=MEASURED)
    def test_training_step(self, make: Callable[[], Network], rng: np.random.Generator) -> None:
        model = make().train()
        shape = (96, 96, 3)
        x = rng.normal(size=(1, *shape)).astype(np.float32)
        targets = {label: np.zeros_like(y) for label, y in model.run(x).items()}

        def step() -> None:
            tape = Tape()
            outputs, _ = model.record(x, tape)
            total = None
            for label, y in outputs.items():
                loss = tape.apply("mse", y, targets[label])
                total = loss if total is None else tape.apply("add", total, loss)
            assert total is not None
            tape.backward(total)

        step()  # once before, for what stays: compiled kernels, caches
        assert traced_peak(step) == pytest.approx(training_peak(model.graph, input_shape=shape), rel=0.05)

    @pytest.mark.parametrize("make", [*MEASURED.values(), epcore.OpenPose], ids=[*MEASURED, "OpenPose"])
    def test_inference(self, make: Callable[[], Network], rng: np.random.Generator) -> None:
        model = make()
        x = rng.normal(size=(1, 128, 128, 3)).astype(np.float32)
        model.run(x)
        assert traced_peak(lambda: model.run(x)) == pytest.approx(
            inference_peak(model.graph, input_shape=x.shape[1:]), rel=0.05
        )

    def test_frozen_backbone_keeps_less(self) -> None:
        graph = find_row("I").graph()
        assert training_peak(graph, frozen=("upscale", "high.", "low.")) < training_peak(graph) / 2

    def test_by_hand(self) -> None:
        """Three maps of 8x8x4 floats: the sum needs both its inputs while it is made."""
        builder = GraphBuilder((8, 8, 4))
        a = builder.activation("a", INPUT, "swish")
        b = builder.activation("b", a, "swish")
        graph = builder.graph({"y": builder.add("y", a, b)})
        assert inference_peak(graph) == 3 * 8 * 8 * 4 * 4

    def test_training_by_hand(self) -> None:
        """Highest when swish is passed: the three maps, the gradient that the sum hands to both, that of swish, their sum."""
        builder = GraphBuilder((8, 8, 4))
        c = builder.conv2d("c", INPUT, 4)
        s = builder.activation("s", c, "swish")
        graph = builder.graph({"y": builder.add("y", s, c)})
        assert training_peak(graph) == 6 * 8 * 8 * 4 * 4

    def test_training_lets_go_of_what_was_passed(self) -> None:
        """Highest when the convolution to `a` is passed: z (8 channels), a, y (1), their gradients but y's, and dw of both
        convolutions behind z. What the last layer read, b, is gone by then."""
        builder = GraphBuilder((8, 8, 4))
        a = builder.conv2d("a", builder.conv2d("z", INPUT, 8), 4)
        graph = builder.graph({"y": builder.conv2d("y", builder.activation("b", a, "swish"), 1)})
        pixels, channels = 8 * 8, 8 + 4 + 1 + 8 + 4
        assert training_peak(graph) == 4 * (pixels * channels + 8 * 4 + 4 * 1)


class Page(HTMLParser):
    """Tags and what they refer to; unbalanced tags fail."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "data", "xlink:href")]
        if tag not in ("meta", "line", "rect", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "circle"):
            assert self.open.pop() == tag


class TestCommand:
    def test_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["audit"]) == 0
        out = capsys.readouterr().out
        assert re.search(r"IV +6,560,938 +6.56 +match +72,892,316,660 +72.89 +match", out)
        assert out.count("MISS") == 1
        assert "37 of 38 cells" in out
        assert re.search(r"IV +89\.8 +35\.6 +91\.2 +34\.0 +needs MPII", out)
        assert out.count("needs MPII") == len(ACCURACY) == 9

    def test_json(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["audit", "--json", "-"]) == 0
        rows = json.loads(capsys.readouterr().out)["rows"]
        keys = ["model", "ablation", "params", "flops", "paper_params", "paper_flops", "params_match", "flops_match"]
        assert all(list(row) == keys for row in rows)
        assert len(rows) == len(ROWS) == 19
        no_upscaling = next(row for row in rows if row["model"] == "I" and row["ablation"] == "no_upscaling")
        assert no_upscaling == dict(
            zip(keys, ["I", "no_upscaling", 713_780, 1_510_235_788, 710_000, 1_520_000_000, True, False], strict=True)
        )
        path = tmp_path / "audit.json"
        assert main(["audit", "--json", str(path)]) == 0
        assert json.loads(path.read_text()) == {"rows": rows}

    @pytest.mark.parametrize("name", ["RT", "iii", "rt lite", "OpenPose"])
    def test_layers(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["audit", "--layers", name]) == 0
        lines = capsys.readouterr().out.splitlines()
        graph = find_row(name).graph()
        assert len(lines) == len(graph.nodes) + 3
        assert f"{count_parameters(graph):,}" in lines[-1] and f"{count_forward(graph, 'macs'):,}" in lines[-1]

    def test_memory(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The plan's column is what a plan compiled by itself says of itself."""
        assert main(["audit", "--memory"]) == 0
        (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["IV"]]
        plan = epcore.compile(epcore.EfficientPose("IV"))
        assert line[3:5] == [f"{plan.constant_bytes / 2**20:.1f}", f"{plan.working_bytes / 2**20:.1f}"]

    def test_html(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """One file that asks for nothing: no links, scripts, styles or pictures from elsewhere."""
        path = tmp_path / "audit.html"
        assert main(["audit", "--html", str(path)]) == 0
        content = path.read_text()
        page = Page()
        page.feed(content)
        assert page.open == [] and page.references == []
        assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
        assert not re.search(r"https?:|//|url\(|@import|\$[a-z_]", content)
        assert page.tags.count("svg") == 4
        assert page.tags.count("circle") == 5 + len(ROWS)
        assert "72,892,316,660" in content and content.count('class="miss"') == 1
        assert "92 of 93" in content
        assert content.count(">needs MPII<") == len(ACCURACY)

    def test_errors(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        missing = tmp_path / "missing" / "x.json"
        for arguments in (
            ["--layers", "V"],
            ["--json", str(missing)],
            ["--html", str(missing)],
            ["--json", "-", "--html", "-"],
        ):
            assert main(["audit", *arguments]) == 2
            captured = capsys.readouterr()
            assert captured.out == "" and captured.err.startswith("epcore: error: ") and captured.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == []
