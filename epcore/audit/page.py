"""The audit as one HTML file: tables and charts, nothing loaded from elsewhere. `page.html` beside this file is its frame."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from epcore.audit.compare import BILLION, MILLION, Cell, CountedRow, check_table_1, check_table_2, count_rows
from epcore.audit.count import count_forward
from epcore.audit.summary import MODELS, count_memory, count_work, find_row, stage_work
from epcore.audit.svg import Axis, Point, chart, decades, stacked_bars
from epcore.audit.tables import ACCURACY, MAIN

VARIANTS = tuple(model for model in MODELS if find_row(model).table == MAIN and model != "OpenPose")
PARTS = ("high-resolution backbone", "low-resolution backbone", "pass 1", "pass 2", "pass 3", "upscaling")
FAMILIES = ("EfficientPose", "Lite", "ablations", "OpenPose")
_FAMILY_COLOURS = (0, 5, 1, 6)
_VARIANT_COLOURS = (0, 5, 4, 3, 2)


def render() -> str:
    """The page. Compiles every network once, for the sizes of the plans."""
    rows, cells = count_rows(), [*check_table_1(), *check_table_2()]
    matches = [match for row in rows for match in (row.parameters_match, row.flops_match)]
    matches += [cell.match for cell in cells if cell.paper]
    parts = {model: _parts(model) for model in VARIANTS}
    frame = Template(files("epcore.audit").joinpath("page.html").read_text(encoding="utf-8"))
    return frame.substitute(
        matches=sum(matches),
        cells=len(matches),
        rows=_rows(rows),
        accuracy=_accuracy(),
        notes="".join(f"<p>{escape(row.row.label)}: {escape(row.row.note)}.</p>" for row in rows if row.row.note),
        part_legend=_legend(PARTS, range(len(PARTS))),
        parameter_chart=stacked_bars(
            {m: p for m, (p, _) in parts.items()}, PARTS, _millions, "Parameters by part of the network"
        ),
        flop_chart=stacked_bars({m: f for m, (_, f) in parts.items()}, PARTS, _billions, "FLOPs by part of the network"),
        variant_legend=_legend(VARIANTS, _VARIANT_COLOURS),
        resolution_chart=_resolution_chart(),
        family_legend=_legend(FAMILIES, _FAMILY_COLOURS),
        size_chart=_size_chart(rows),
        table_1=_cells(check_table_1()),
        table_2=_cells(check_table_2()),
        work=_work(),
        memory=_memory(),
    )


def _parts(model: str) -> tuple[list[int], list[int]]:
    """Parameters and FLOPs of one variant by PARTS."""
    parameters, flops = [0] * len(PARTS), [0] * len(PARTS)
    for stage, (p, f) in stage_work(find_row(model).graph()).items():
        index = next((i for i, part in enumerate(PARTS) if stage.startswith(part.removesuffix(" backbone"))), 0)
        parameters[index] += p
        flops[index] += f
    return parameters, flops


def _resolution_chart() -> str:
    resolutions = range(128, 641, 32)
    x = Axis("resolution, pixels (logarithmic)", 120, 660, (128, 192, 256, 368, 480, 600), 46, 540)
    y = Axis("GFLOPs", 0.2, 100, decades(0.2, 100), 316, 28)
    points, lines = [], []
    for model, colour in zip(VARIANTS, _VARIANT_COLOURS, strict=True):
        graph = find_row(model).counted_graph()
        line = []
        for size in resolutions:
            flops = count_forward(graph, input_shape=(size, size, 3)) / BILLION
            line.append(Point(size, flops, "", colour, ""))
        own = graph.input_shape[0]
        flops = count_forward(graph) / BILLION
        dx, dy, anchor = (9, 15, "start") if model == "RT" else (-9, -9, "end")  # RT's line has another above it
        points.append(Point(own, flops, model, colour, f"{model} at {own}: {flops:.2f} GFLOPs", False, dx, dy, anchor))
        lines.append(line)
    return chart(x, y, 362, points, lines, "FLOPs of the five variants against resolution")


def _size_chart(rows: Sequence[CountedRow]) -> str:
    x = Axis("parameters, millions (logarithmic)", 0.15, 40, decades(0.2, 40), 46, 540)
    y = Axis("GFLOPs", 0.4, 250, decades(0.4, 250), 316, 28)
    points = []
    for counted in sorted(rows, key=lambda counted: counted.row.ablation is None):
        row = counted.row
        family = 2 if row.ablation else 3 if row.model == "OpenPose" else 1 if row.model.endswith("Lite") else 0
        hint = f"{row.label}: {counted.parameters / MILLION:.2f} M parameters, {counted.flops / BILLION:.2f} GFLOPs"
        left = row.model == "OpenPose" or row.model.endswith("Lite")
        dx, dy, anchor = (-9, -4, "end") if left else (9, 12, "start")
        label = "" if row.ablation else row.model
        colour = _FAMILY_COLOURS[family]
        at = counted.parameters / MILLION, counted.flops / BILLION
        points.append(Point(*at, label, colour, hint, row.ablation is not None, dx, dy, anchor))
    return chart(x, y, 362, points, [], "FLOPs of every row against its parameters")


def _rows(rows: Sequence[CountedRow]) -> str:
    body, table = [], ""
    for counted in rows:
        row = counted.row
        if row.table != table:
            table = row.table
            body.append(f'<tr class="group"><th colspan="7">{escape(table)}</th></tr>')
        cells = [f"{counted.parameters:,}", f"{row.parameters} M", _mark(counted.parameters_match)]
        cells += [f"{counted.flops:,}", f"{row.flops} G", _mark(counted.flops_match)]
        body.append(_line(row.label, cells))
    return _table(["", "parameters", "paper", "", "FLOPs", "paper", ""], body)


def _accuracy() -> str:
    titles = ["", "validation, @50", "validation, @10", "test, @50", "test, @10", ""]
    return _table(titles, [_line(model, [*cells, "needs MPII"]) for model, cells in ACCURACY.items()])


def _cells(cells: Sequence[Cell]) -> str:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    body = []
    for quantity in dict.fromkeys(cell.quantity for cell in cells):
        line = [cell for cell in cells if cell.quantity == quantity]
        body.append(_line(quantity, [_cell(cell) for cell in line]))
    quoted = [cell.match for cell in cells if cell.paper]
    return _table(["", *columns], body, f"{cells[0].table}: {sum(quoted)} of {len(quoted)} cells match")


def _cell(cell: Cell) -> str:
    return escape(cell.code) if cell.match else f'<span class="miss">{escape(cell.code)} (paper: {escape(cell.paper)})</span>'


def _work() -> str:
    titles = ["", "parameters", "MACs", "FLOPs", "as the paper", "backward, FLOPs", "training step, FLOPs"]
    body = []
    for work in count_work():
        counts = work.forward["macs"], work.forward["flops"], work.forward["tf_profiler"], work.backward, work.step
        label = f"{work.model}, {work.resolution}x{work.resolution}"
        body.append(_line(label, [f"{work.parameters:,}", *(f"{n / BILLION:.3f}" for n in counts)]))
    return _table(titles, body)


def _memory() -> str:
    titles = ["", "parameters", "inference", "plan: constants", "plan: working memory", "training", "momentum"]
    body = []
    for row in count_memory():
        sizes = row.parameters, row.inference, row.plan_constants, row.plan_working, row.training, row.momentum
        body.append(_line(row.model, [f"{size / 2**20:,.1f}" for size in sizes]))
    return _table(titles, body)


def _table(titles: Sequence[str], body: Sequence[str], caption: str = "") -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _line(label: str, cells: Sequence[str]) -> str:
    return f"<tr><th>{escape(label)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _mark(match: bool) -> str:
    return '<span class="match">match</span>' if match else '<span class="miss">miss</span>'


def _legend(names: Sequence[str], colours: Sequence[int]) -> str:
    pairs = zip(names, colours, strict=True)
    return "".join(f'<span><i class="s{colour}"></i>{escape(name)}</span>' for name, colour in pairs)


def _millions(count: int) -> str:
    return f"{count / MILLION:.2f} M"


def _billions(count: int) -> str:
    return f"{count / BILLION:.2f} G"
