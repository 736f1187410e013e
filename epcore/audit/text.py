"""The audit as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from epcore.audit.compare import BILLION, Cell, CountedRow, check_table_1, check_table_2
from epcore.audit.layers import LayerCount
from epcore.audit.summary import ModelMemory, ModelWork, count_work, openpose_readings
from epcore.audit.tables import ACCURACY
from epcore.audit.timing import StageTime
from epcore.base.table import Table


def _verdict(match: bool) -> str:
    return "match" if match else "MISS"


def tables_text(rows: Sequence[CountedRow]) -> str:
    """Everything the paper prints, beside what was counted for it: what `epcore audit` shows."""
    sections = [rows_text(rows), cells_text(check_table_1()), cells_text(check_table_2()), work_text(count_work())]
    return "\n\n".join([*sections, readings_text(openpose_readings())])


def rows_text(rows: Sequence[CountedRow]) -> str:
    """Tables 3 and 6 to 9 and the Lite models."""
    lines = ["Counted as the paper counts: what the final map needs, convention tf_profiler, batch 1"]
    title, table = "", Table("<38", ">12,", ">10", "<9", ">16,", ">10", "<9")
    for counted in rows:
        row = counted.row
        if row.table != title:
            title = row.table
            lines += ["", table.line(title, "parameters", "paper, M", "", "FLOPs", "paper, G")]
        parameters = counted.parameters, row.parameters, f"  {_verdict(counted.parameters_match)}"
        flops = counted.flops, row.flops, f"  {_verdict(counted.flops_match)}"
        lines.append(table.line(f"  {row.label}", *parameters, *flops))
    matches = [match for counted in rows for match in (counted.parameters_match, counted.flops_match)]
    lines += ["", f"{sum(matches)} of {len(matches)} cells match the printed digits."]
    lines += [f"  {counted.row.label}: {counted.row.note}." for counted in rows if counted.row.note]
    table = Table("<38", ">9", ">9", ">10", ">10", "")
    lines += ["", table.line("Accuracy, quoted from the release", "val @50", "val @10", "test @50", "test @10")]
    lines += [table.line(f"  {model}", *cells, "  needs MPII") for model, cells in ACCURACY.items()]
    lines.append("PCKh in percent; to measure it: MPII, trained weights and `epcore evaluate`.")
    return "\n".join(lines)


def cells_text(cells: Sequence[Cell]) -> str:
    """Table 1 or 2: quantities down, columns across; what differs from the paper is shown with both values."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    table = Table("<22", *[">14"] * len(columns))
    lines = [table.line(cells[0].table, *columns)]
    for quantity in dict.fromkeys(cell.quantity for cell in cells):
        found = {cell.column: cell for cell in cells if cell.quantity == quantity}
        lines.append(table.line(f"  {quantity}", *(_cell(found[column]) for column in columns)))
    quoted = [cell for cell in cells if cell.paper]
    matches = sum(cell.match for cell in quoted)
    return "\n".join([*lines, f"{matches} of {len(quoted)} cells match the printed ones."])


def _cell(cell: Cell) -> str:
    return cell.code if cell.match else f"MISS {cell.code} ({cell.paper})"


def work_text(rows: Sequence[ModelWork]) -> str:
    """Work of the whole networks by convention, in billions."""
    table = Table("<38", ">12,", ">10.3f", ">10.3f", ">13.3f", ">13.3f", ">10.3f")
    titles = ("parameters", "MACs, G", "FLOPs, G", "as paper, G", "backward, G", "step, G")
    lines = [table.line("Whole networks, all heads, batch 1", *titles)]
    for work in rows:
        counts = (work.forward["macs"], work.forward["flops"], work.forward["tf_profiler"], work.backward, work.step)
        name = f"  {work.model}, {work.resolution}x{work.resolution}"
        lines.append(table.line(name, work.parameters, *(count / BILLION for count in counts)))
    return "\n".join([*lines, "Backward and step (forward in training mode, loss, backward) by the convention `flops`."])


def readings_text(readings: Sequence[tuple[str, int, int]]) -> str:
    """The choices behind the OpenPose row and what they change."""
    table = Table("<38", ">12,", ">18,")
    lines = [table.line("OpenPose, other readings", "parameters", "FLOPs")]
    lines += [table.line(f"  {choice}", parameters, flops) for choice, parameters, flops in readings]
    return "\n".join(lines)


def memory_text(rows: Sequence[ModelMemory]) -> str:
    """Memory in MiB."""
    titles = ("parameters", "inference", "plan constants", "plan memory", "training", "momentum")
    table = Table("<22", *[">16,.1f"] * len(titles))
    lines = [table.line("MiB, float32, batch 1", *titles)]
    for row in rows:
        sizes = (row.parameters, row.inference, row.plan_constants, row.plan_working, row.training, row.momentum)
        lines.append(table.line(f"  {row.model}", *(size / 2**20 for size in sizes)))
    lines += [
        "inference: most activations alive at once, operator by operator. plan: the same network compiled, buffers reused.",
        "training: most activations and gradients alive at once in a step; parameters and momentum come on top.",
    ]
    return "\n".join(lines)


def layers_text(model: str, layers: Sequence[LayerCount]) -> str:
    """Every layer of one network and the sums."""
    width = max(len(layer.name) for layer in layers) + 2
    table = Table(f"<{width}", "<18", ">16", ">14", ">12,", ">14,", ">8.1%", ">11,.1f", ">11.2f", ">7")
    titles = "layer", "operator", "input", "output", "parameters", "MACs", "share", "act. KiB", "FLOP/byte", "field"
    lines = [f"{model}, batch 1", table.line(*titles), *(table.line(*_layer(layer)) for layer in layers)]
    totals = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
    size = sum(layer.activation_bytes for layer in layers) / 1024
    lines.append(table.line("total", "", "", "", *totals, 1, size))
    return "\n".join(lines)


def _layer(layer: LayerCount) -> tuple[object, ...]:
    """The cells of its row."""
    inputs = shape_text(layer.inputs[0][1:]) + (f" +{len(layer.inputs) - 1}" if len(layer.inputs) > 1 else "")
    return (
        layer.name, layer.op, inputs, shape_text(layer.output[1:]), layer.parameters, layer.macs, layer.share,
        layer.activation_bytes / 1024, layer.intensity, layer.receptive_field,
    )  # fmt: skip


def stages_text(model: str, stages: Sequence[StageTime], threads: int) -> str:
    """Measured milliseconds beside work and bytes."""
    width = max(len(each.stage) for each in stages) + 2
    table = Table(f"<{width}", ">8", ">14,", ">10,.2f", ">10.3f", ">9.1%", ">10.1f", ">8.1f")
    total = sum(each.seconds for each in stages)
    work, size = sum(each.flops for each in stages), sum(each.bytes for each in stages)
    rows = [(each.stage, each.layers, each.flops, each.bytes, each.seconds) for each in stages]
    rows.append(("total", sum(each.layers for each in stages), work, size, total))
    lines = [
        f"{model} compiled, batch 1, {threads} thread{'' if threads == 1 else 's'}: the median of every step by itself",
        table.line("stage", "layers", "FLOPs", "MiB", "ms", "share", "GFLOP/s", "GB/s"),
    ]
    for name, layers, flops, moved, seconds in rows:
        rate, traffic = (flops / seconds / 1e9, moved / seconds / 1e9) if seconds else (0.0, 0.0)
        lines.append(table.line(name, layers, flops, moved / 2**20, seconds * 1e3, seconds / total, rate, traffic))
    lines.append("MiB: what the layers move by themselves; a plan fuses them and moves less, so GB/s may exceed the memory's.")
    return "\n".join(lines)


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
