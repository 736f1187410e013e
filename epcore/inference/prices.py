"""What work costs on a machine, in seconds: the type, and prices for machines that have not been measured."""

from __future__ import annotations

from dataclasses import dataclass

from epcore.inference.steps.depthwise import STRIP, STRIP_STRIDE2, STRIPS


@dataclass(frozen=True)
class Prices:
    """Seconds on one thread. multiply: of a multiply-add of a pointwise tile, pixels and weights in the second level of caches;
    activation: of a swish in it.

    depthwise: of a multiply-add in a depthwise strip, by "SIZE/STRIDE/STRIP". second, third, memory: of a byte from there, on
    top of the work it is for; fetched ahead, by the processor, in rows that are read from end to end, or because a product asks
    for it. task: to take one and begin it. meeting: of two threads at the end of a step.
    """

    multiply: float
    activation: float
    depthwise: dict[str, float]
    second: float
    third: float
    memory: float
    task: float
    meeting: float


def strip_name(size: int, stride: int, strip: int) -> str:
    """Of a depthwise strip, as prices have it."""
    return f"{size}/{stride}/{strip}"


# size, stride, strip of all that kernels are compiled for.
STRIP_KINDS = tuple(
    dict.fromkeys(
        [(3, 1, STRIP), *((5, 1, strip) for strip in STRIPS), (3, 2, STRIP_STRIDE2), (5, 2, STRIP_STRIDE2)],
    )
)


def _default(multiply: float, activation: float, depthwise: tuple[float, ...], far: tuple[float, float, float]) -> Prices:
    """depthwise: of 3x3 and 5x5 with stride 1, then with stride 2; far: of a byte from each level."""
    by_kind = dict(zip(((3, 1), (5, 1), (3, 2), (5, 2)), depthwise, strict=True))
    strips = {strip_name(*kind): by_kind[kind[:2]] for kind in STRIP_KINDS}
    return Prices(multiply, activation, strips, *far, task=8e-8, meeting=3e-7)


# By LANES, as measured on an Intel Xeon of 2023 (AVX-512, and as if it had but AVX2).
DEFAULTS = {
    16: _default(1e-11, 1.9e-10, (2.2e-11, 1.45e-11, 3e-11, 2e-11), (5e-12, 4e-11, 1e-10)),
    8: _default(1.7e-11, 2.5e-10, (4e-11, 2.7e-11, 5.7e-11, 3.8e-11), (4e-12, 4e-11, 1e-10)),
}
