"""The CUDA rungs of docs/ladder.md, counted without a GPU: `python docs/examples/ladder/cuda_rungs.py` prints the tables.

Needs epcore and g++. Every rung runs in an emulator; what comes out is compared with the operator in double.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epcore.kernels.cuda.depthwise_conv2d import SOURCE
from epcore.learn.cuda.counts import Counts, counted
from epcore.learn.cuda.program import Launch, build, run
from epcore.ops import OPS

HERE = Path(__file__).parent
SHAPE = N, H, W, C = 1, 28, 28, 64
SLICES = 4


@dataclass
class Rung:
    """Launches one after another: (code, kernel, grid, block, arguments); the last array of the last one is the result."""

    name: str
    launches: list[tuple[str, str, tuple[int, ...], tuple[int, ...], tuple]]


def blocks(threads: int) -> int:
    return -(-threads // 256)


def code(name: str) -> str:
    return (HERE / f"{name}.cu").read_text(encoding="utf-8")


def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, w, dy."""
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in (SHAPE, (3, 3, C), SHAPE))


def sizes(*values: int) -> tuple[np.int32, ...]:
    return tuple(np.int32(value) for value in values)


def forward_rungs() -> list[Rung]:
    x, w, _ = arrays()
    given = (x, w, np.zeros_like(x), *sizes(H, W, C, 1, 1))
    final = (x, w, np.uintp(0), np.zeros_like(x), np.float32(0), *sizes(H, W, C, H, W, 1, 1, 1))
    return [
        Rung("1 neighbours are columns", [(code("forward_1"), "forward", (blocks(W * C), H, N), (256,), given)]),
        Rung("2 neighbours are channels", [(code("forward_2"), "forward", (blocks(W * C), H, N), (256,), given)]),
        Rung("3 four channels a thread", [(code("forward_3"), "forward", (blocks(W * C // 4), H, N), (256,), given)]),
        Rung("4 four columns a thread", [(code("forward_4"), "forward", (blocks(-(-W // 4) * C // 4), H, N), (256,), given)]),
        Rung("5 depthwise_conv2d.cu", [(SOURCE.code(), "depthwise_forward<float,4,3,1,4,0>", (2, 7, N), (16, 4, 4), final)]),
    ]


def filter_rungs() -> list[Rung]:
    x, _, dy = arrays()
    dw = [np.zeros((3, 3, C), np.float32) for _ in range(5)]
    given = [(x, dy, result, *sizes(N, H, W, C, 1, 1)) for result in dw]
    per_slice = -(-N * H // SLICES)
    partial = np.zeros((SLICES, 9, C), np.float32)
    sums = np.zeros((SLICES, 9, C), np.float64)
    slices = (C // 32, SLICES), (32, 8)
    final = (x, dy, sums, *sizes(N * H, per_slice, H, W, C, H, W, 1, 1))
    return [
        Rung("1 a thread an element of dw", [(code("filter_1"), "filter", (blocks(9 * C),), (256,), given[0])]),
        Rung("2 a thread an element of dy", [(code("filter_2"), "filter", (blocks(W * C), H, N), (256,), given[1])]),
        Rung("3 sums in shared memory", [(code("filter_3"), "filter", (C // 32, 3, 3), (32, 8), given[2])]),
        Rung("4 nine sums a thread", [
            (code("filter_4"), "filter", *slices, (x, dy, partial, *sizes(N, H, W, C, 1, 1, per_slice))),
            (code("filter_4"), "merge", (blocks(9 * C),), (256,), (partial, dw[3], *sizes(SLICES, 9 * C))),
        ]),
        Rung("5 depthwise_conv2d.cu", [
            (SOURCE.code(), "depthwise_backward_filter<float,3,1>", *slices, final),
            (SOURCE.code(), "depthwise_merge<float>", (9 * C // 32,), (32, 16), (sums, dw[4], *sizes(SLICES, 9 * C))),
        ]),
    ]  # fmt: skip


def expected() -> dict[str, np.ndarray]:
    """In double: y and dw."""
    x, w, dy = (array.astype(np.float64) for array in arrays())
    y, saved = OPS["depthwise_conv2d"].forward(x, w)
    return {"forward": y, "filter": OPS["depthwise_conv2d"].backward(dy, saved)[1]}


def climb(rung: Rung) -> tuple[Counts, np.ndarray, int]:
    """What a rung costs, what it computes, and how many threads it has."""
    counts, threads, result = Counts(), 0, np.zeros(0)
    for text, kernel, grid, block, arguments in rung.launches:
        launch = Launch(grid, block, arguments, (), constant=False)
        done = run(build(text, kernel, name="ladder"), launch, "lockstep")
        assert not done.findings and not done.end["end"], (rung.name, done.findings, done.end)
        for array, after in zip([a for a in arguments if isinstance(a, np.ndarray)], done.arrays, strict=True):
            array[...] = after
            result = after
        counts += counted(done)
        threads += int(np.prod(grid) * np.prod(block))
    return counts, result, threads


def row(name: str, counts: Counts, threads: int) -> str:
    cells = (threads, counts.requests, counts.sectors, f"{counts.coalesced:.0%}", counts.atomics)
    return f"| {name} | " + " | ".join(cell if isinstance(cell, str) else f"{cell:,}" for cell in cells) + " |"


if __name__ == "__main__":
    for name, rungs in (("forward", forward_rungs()), ("filter", filter_rungs())):
        print(f"{name}: x {SHAPE}, 3x3, stride 1")
        for rung in rungs:
            counts, result, threads = climb(rung)
            print(row(rung.name, counts, threads), f"error {abs(result - expected()[name].reshape(result.shape)).max():.1e}")
