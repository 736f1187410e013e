"""The audit as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from epcore.audit.compare import BILLION, Cell, CountedRow, check_table_1, check_table_2
from epcore.audit.layers import LayerCount
from epcore.audit.summary import ModelMemory, ModelWork, count_work, openpose_readings
from epcore.audit.tables import ACCURACY


def _verdict(match: bool) -> str:
    return "match" if match else "MISS"


def tables_text(rows: Sequence[CountedRow]) -> str:
    """Everything the paper prints, beside what was counted for it: what `epcore audit` shows."""
    sections = [rows_text(rows), cells_text(check_table_1()), cells_text(check_table_2()), work_text(count_work())]
    return "\n\n".join([*sections, readings_text(openpose_readings())])


def rows_text(rows: Sequence[CountedRow]) -> str:
    """Tables 3 and 6 to 9 and the Lite models."""
    lines = ["Counted as the paper counts: what the final map needs, convention tf_profiler, batch 1"]
    table = ""
    for counted in rows:
        row = counted.row
        if row.table != table:
            table = row.table
            lines += ["", f"{table:<38}{'parameters':>12}{'paper, M':>10}{'':<9}{'FLOPs':>16}{'paper, G':>10}"]
        lines.append(
            f"  {row.label:<36}{counted.parameters:>12,}{row.parameters:>10}  {_verdict(counted.parameters_match):<7}"
            f"{counted.flops:>16,}{row.flops:>10}  {_verdict(counted.flops_match):<7}".rstrip()
        )
    matches = [match for counted in rows for match in (counted.parameters_match, counted.flops_match)]
    lines += ["", f"{sum(matches)} of {len(matches)} cells match the printed digits."]
    lines += [f"  {counted.row.label}: {counted.row.note}." for counted in rows if counted.row.note]
    lines += ["", f"{'Accuracy, quoted from the release':<38}{'val @50':>9}{'val @10':>9}{'test @50':>10}{'test @10':>10}"]
    lines += [
        f"  {model:<36}{cells[0]:>9}{cells[1]:>9}{cells[2]:>10}{cells[3]:>10}  needs MPII" for model, cells in ACCURACY.items()
    ]
    lines.append("PCKh in percent; to measure it: MPII, trained weights and `epcore evaluate`.")
    return "\n".join(lines)


def cells_text(cells: Sequence[Cell]) -> str:
    """Table 1 or 2: quantities down, columns across; what differs from the paper is shown with both values."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    lines = [f"{cells[0].table:<22}" + "".join(f"{column:>14}" for column in columns)]
    for quantity in dict.fromkeys(cell.quantity for cell in cells):
        found = {cell.column: cell for cell in cells if cell.quantity == quantity}
        lines.append(f"  {quantity:<20}" + "".join(f"{_cell(found[column]):>14}" for column in columns))
    quoted = [cell for cell in cells if cell.paper]
    matches = sum(cell.match for cell in quoted)
    return "\n".join([*lines, f"{matches} of {len(quoted)} cells match the printed ones."])


def _cell(cell: Cell) -> str:
    return cell.code if cell.match else f"MISS {cell.code} ({cell.paper})"


def work_text(rows: Sequence[ModelWork]) -> str:
    """Work of the whole networks by convention, in billions."""
    lines = [
        f"{'Whole networks, all heads, batch 1':<38}{'parameters':>12}{'MACs, G':>10}{'FLOPs, G':>10}{'as paper, G':>13}"
        f"{'backward, G':>13}{'step, G':>10}"
    ]
    for work in rows:
        counts = (work.forward["macs"], work.forward["flops"], work.forward["tf_profiler"], work.backward, work.step)
        cells = "".join(f"{n / BILLION:>{width}.3f}" for n, width in zip(counts, (10, 10, 13, 13, 10), strict=True))
        lines.append(f"  {f'{work.model}, {work.resolution}x{work.resolution}':<36}{work.parameters:>12,}{cells}")
    return "\n".join([*lines, "Backward and step (forward in training mode, loss, backward) by the convention `flops`."])


def readings_text(readings: Sequence[tuple[str, int, int]]) -> str:
    """The choices behind the OpenPose row and what they change."""
    lines = [f"{'OpenPose, other readings':<38}{'parameters':>12}{'FLOPs':>18}"]
    lines += [f"  {choice:<36}{parameters:>12,}{flops:>18,}" for choice, parameters, flops in readings]
    return "\n".join(lines)


def memory_text(rows: Sequence[ModelMemory]) -> str:
    """Memory in MiB."""
    titles = ("parameters", "inference", "plan constants", "plan memory", "training", "momentum")
    lines = [f"{'MiB, float32, batch 1':<22}" + "".join(f"{title:>16}" for title in titles)]
    for row in rows:
        sizes = (row.parameters, row.inference, row.plan_constants, row.plan_working, row.training, row.momentum)
        cells = "".join(f"{'-' if size is None else f'{size / 2**20:,.1f}':>16}" for size in sizes)
        lines.append(f"  {row.model:<20}{cells}")
    lines += [
        "inference: most activations alive at once, operator by operator. plan: the same network compiled, buffers reused.",
        "training: most activations and gradients alive at once in a step; parameters and momentum come on top.",
    ]
    return "\n".join(lines)


def layers_text(model: str, layers: Sequence[LayerCount]) -> str:
    """Every layer of one network and the sums."""
    width = max(len(layer.name) for layer in layers) + 2
    head = (
        f"{'layer':<{width}}{'operator':<18}{'input':>16}{'output':>14}{'parameters':>12}{'MACs':>14}{'share':>8}"
        f"{'act. KiB':>11}{'FLOP/byte':>11}{'field':>7}"
    )
    lines = [f"{model}, batch 1", head, *(_layer(layer, width) for layer in layers)]
    totals = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
    size = sum(layer.activation_bytes for layer in layers) / 1024
    lines.append(f"{'total':<{width + 48}}{totals[0]:>12,}{totals[1]:>14,}{1:>8.1%}{size:>11,.1f}")
    return "\n".join(lines)


def _layer(layer: LayerCount, width: int) -> str:
    inputs = shape_text(layer.inputs[0][1:]) + (f" +{len(layer.inputs) - 1}" if len(layer.inputs) > 1 else "")
    return (
        f"{layer.name:<{width}}{layer.op:<18}{inputs:>16}{shape_text(layer.output[1:]):>14}{layer.parameters:>12,}"
        f"{layer.macs:>14,}{layer.share:>8.1%}{layer.activation_bytes / 1024:>11,.1f}{layer.intensity:>11.2f}"
        f"{layer.receptive_field:>7}"
    )


def shape_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
