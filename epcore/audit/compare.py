"""The printed cells beside what the code gives, one `Cell` each: match or miss."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from epcore.audit.count import count_forward, count_parameters
from epcore.audit.tables import ROWS, TABLE_1, TABLE_2, Row
from epcore.graph import Graph, GraphBuilder
from epcore.models.configs import ALPHA, BACKBONES, mobile_densenet_depth, scaled_config
from epcore.models.efficientnet import add_efficientnet
from epcore.models.efficientpose import build_efficientpose

MILLION, BILLION = 10**6, 10**9


def rounded(count: int, unit: int, printed: str) -> str:
    """count / unit with as many decimals as the printed cell, halves up."""
    step = Decimal(1).scaleb(-len(printed.partition(".")[2]))
    return str((Decimal(count) / unit).quantize(step, ROUND_HALF_UP))


def printed_value(printed: str, unit: int) -> int:
    """A printed cell as a whole number: "0.46" millions -> 460000."""
    return int(Decimal(printed) * unit)


@dataclass(frozen=True)
class CountedRow:
    """A row of the paper with our exact counts."""

    row: Row
    parameters: int
    flops: int

    @property
    def parameters_match(self) -> bool:
        return rounded(self.parameters, MILLION, self.row.parameters) == self.row.parameters

    @property
    def flops_match(self) -> bool:
        return rounded(self.flops, BILLION, self.row.flops) == self.row.flops


def count_rows() -> list[CountedRow]:
    """Every row of Tables 3 and 6 to 9 and of the Lite models, counted as the paper counts."""
    counted = []
    for row in ROWS:
        graph = row.counted_graph()
        counted.append(CountedRow(row, count_parameters(graph), count_forward(graph, "tf_profiler")))
    return counted


@dataclass(frozen=True)
class Cell:
    """One cell of Table 1 or 2: what is printed ("" where it is not quoted), and what the built graph or a rule gives."""

    table: str
    column: str
    quantity: str
    paper: str
    code: str

    @property
    def match(self) -> bool:
        return self.paper in ("", self.code)


def check_table_1() -> list[Cell]:
    """Input sizes and composition, the latter read off the built graph; the depth factor of Equation 1 is only computed."""
    cells = []
    for column in TABLE_1:
        builder = GraphBuilder((column.input_size, column.input_size, 3))
        add_efficientnet(builder, "input", column.scale, blocks=len(column.blocks))
        graph = builder.graph({})
        entries = [
            ("input size", column.input_size, BACKBONES[column.scale].resolution),
            ("alpha^phi, computed", "", f"{ALPHA ** int(column.scale[1]):.2f}"),
            ("stem", f"3x3/2, {column.stem}", _stem(graph)),
        ]
        for number, (repeats, channels) in enumerate(column.blocks, start=1):
            entries.append((f"block {number}", f"{repeats} x {channels}", _composition(graph, f"block{number}")))
        cells += [Cell("Table 1", column.scale, name, str(paper), str(code)) for name, paper, code in entries]
    return cells


def check_table_2() -> list[Cell]:
    """The variants' columns; C, D and the resolution read off the built graph, D by Equation 3 as well."""
    cells = []
    for column in TABLE_2:
        config = scaled_config(column.phi)
        graph = build_efficientpose(config)
        shapes = graph.shapes()
        entries = [
            ("resolution", column.resolution, graph.input_shape[0]),
            ("high-level backbone", column.high, config.high),
            ("low-level backbone", column.low or "-", config.low or "-"),
            ("C", column.width, shapes["pass1.block1.mbconv1.project_conv"][3]),
            ("D", column.depth, sum(name.startswith("pass1.") and name.endswith("mbconv1.dwconv") for name in graph.nodes)),
            ("D by Equation 3", column.depth, mobile_densenet_depth(column.phi)),
        ]
        cells += [Cell("Table 2", column.variant, name, str(paper), str(code)) for name, paper, code in entries]
    return cells


def _stem(graph: Graph) -> str:
    node = graph.nodes["stem_conv"]
    kernel = graph.parameters["stem_conv/kernel"].shape
    return f"{kernel[0]}x{kernel[1]}/{node.attributes['stride']}, {graph.shapes()['stem_conv'][3]}"


def _composition(graph: Graph, block: str) -> str:
    names = [name for name in graph.nodes if name.startswith(block) and name.endswith(".project_conv")]
    return f"{len(names)} x {graph.shapes()[names[-1]][3]}"
