"""Three kinds of chart as inline SVG: stacked bars, lines and points on logarithmic axes. Colours come from the page's CSS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH = 560


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    start: float
    end: float

    def at(self, value: float) -> float:
        fraction = (log10(value) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + fraction * (self.end - self.start)


@dataclass(frozen=True)
class Point:
    """x, y in the axes' units. hint: shown when the pointer rests on it. dx, dy, anchor: where the label stands."""

    x: float
    y: float
    label: str
    series: int
    hint: str
    small: bool = False
    dx: float = 9
    dy: float = 4
    anchor: str = "start"


def decades(low: float, high: float) -> list[float]:
    """1, 2, 5 of every decade between low and high."""
    steps = [m * 10.0**e for e in range(floor(log10(low)), ceil(log10(high)) + 1) for m in (1, 2, 5)]
    return [step for step in steps if low * 0.999 <= step <= high * 1.001]


def text(x: float, y: float, content: str, *, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(content)}</text>'


def figure(height: float, parts: Sequence[str], title: str) -> str:
    """The SVG element; title is read to those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )


def stacked_bars(rows: Mapping[str, Sequence[int]], series: Sequence[str], show: Callable[[int], str], title: str) -> str:
    """One bar a row, as long as any other: the shares of its parts. show: a value as text."""
    left, right, step, bar = 62, WIDTH - 70, 34, 20
    parts = []
    for i, (name, values) in enumerate(rows.items()):
        y, total, at = 8 + i * step, sum(values), float(left)
        parts.append(text(left - 8, y + 15, name, anchor="end"))
        for j, value in enumerate(values):
            width = (right - left) * value / total
            if value:
                hint = f"{name}, {series[j]}: {show(value)}, {value / total:.1%}"
                parts.append(
                    f'<rect class="s{j}" x="{at:.1f}" y="{y}" width="{max(width - 1.5, 0.5):.1f}" height="{bar}" rx="2">'
                    f"<title>{escape(hint)}</title></rect>"
                )
            if width > 38:
                parts.append(text(at + width / 2, y + 14.5, f"{value / total:.0%}", anchor="middle", kind=f"on o{j}"))
            at += width
        parts.append(text(right + 8, y + 15, show(total), kind="muted"))
    return figure(len(rows) * step + 8, parts, title)


def chart(x: Axis, y: Axis, height: float, points: Sequence[Point], lines: Sequence[Sequence[Point]], title: str) -> str:
    """Points, and lines through further points, over a grid."""
    parts = []
    for tick in x.ticks:
        parts.append(f'<line class="grid" x1="{x.at(tick):.1f}" x2="{x.at(tick):.1f}" y1="{y.start}" y2="{y.end}"/>')
        parts.append(text(x.at(tick), y.start + 17, f"{tick:g}", anchor="middle", kind="muted"))
    for tick in y.ticks:
        parts.append(f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{y.at(tick):.1f}" y2="{y.at(tick):.1f}"/>')
        parts.append(text(x.start - 8, y.at(tick) + 4, f"{tick:g}", anchor="end", kind="muted"))
    parts.append(text((x.start + x.end) / 2, height - 6, x.title, anchor="middle", kind="muted"))
    parts.append(text(x.start - 34, y.end - 14, y.title, kind="muted"))
    for line in lines:
        path = " ".join(f"{x.at(point.x):.1f},{y.at(point.y):.1f}" for point in line)
        parts.append(f'<polyline class="line l{line[0].series}" points="{path}"/>')
    for point in points:
        px, py = x.at(point.x), y.at(point.y)
        parts.append(
            f'<circle class="s{point.series}" cx="{px:.1f}" cy="{py:.1f}" r="{3.5 if point.small else 6}">'
            f"<title>{escape(point.hint)}</title></circle>"
        )
        if point.label:
            parts.append(text(px + point.dx, py + point.dy, point.label, anchor=point.anchor))
    return figure(height, parts, title)
