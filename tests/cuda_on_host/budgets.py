"""What the inner parts of the CUDA kernels may cost, in instructions: read from the machine code, held by a test.

`cd tests && python -m cuda_on_host.budgets` prints the table of docs/cuda.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cuda_on_host.compile_gate import GENERATIONS
from cuda_on_host.devices import sources
from cuda_on_host.sass import Code, disassemble

DEPTHWISE, POINTWISE = "depthwise_conv2d", "pointwise_conv2d"


@dataclass(frozen=True)
class Budget:
    """instructions: that an output element of `taps` multiply-adds may take in the hottest part, on every generation. Of a
    product a single multiply-add is looked at."""

    source: str
    kernel: str
    taps: int
    instructions: float


# Of a multiply-add of a product, by tile; a gate costs a load, a division and products of its own.
PRODUCTS = {"Small": 1.5, "N64": 1.3, "N48": 1.4, "N40": 1.4, "N32": 1.4, "N24": 1.5, "N16": 1.7}
GATED = {"Small": 1.8, "N64": 1.5, "N48": 1.7, "N40": 1.7, "N32": 1.7, "N24": 1.9, "N16": 2.2}
BUDGETS = (
    Budget(DEPTHWISE, "depthwise_forward<float,4,3,1,4,0>", 9, 30),
    Budget(DEPTHWISE, "depthwise_forward<float,4,5,1,8,0>", 25, 50),
    Budget(DEPTHWISE, "depthwise_forward<float,4,3,2,2,0>", 9, 48),
    Budget(DEPTHWISE, "depthwise_forward<float,4,5,2,2,0>", 25, 92),
    Budget(DEPTHWISE, "depthwise_backward_data<float,4,3,1,4>", 9, 30),
    Budget(DEPTHWISE, "depthwise_backward_data<float,4,5,1,8>", 25, 52),
    Budget(DEPTHWISE, "depthwise_backward_filter<float,3,1>", 9, 35),
    Budget(DEPTHWISE, "depthwise_backward_filter<float,5,1>", 25, 75),
    Budget(DEPTHWISE, "depthwise_backward_filter<float,3,2>", 9, 54),
    Budget(DEPTHWISE, "depthwise_backward_filter<float,5,2>", 25, 105),
    *(
        Budget(POINTWISE, f"pointwise_{kernel.format(f'float,4,{tile}')}", 1, instructions)
        for kernel, budgets in (
            ("forward<{},false>", PRODUCTS),
            ("forward<{},true>", GATED),
            ("backward_data<{}>", PRODUCTS),
            ("backward_filter<{}>", PRODUCTS),
        )
        for tile, instructions in budgets.items()
    ),
)


def measured(architecture: int) -> Iterator[tuple[Budget, Code]]:
    for file in dict.fromkeys(budget.source for budget in BUDGETS):
        budgets = [budget for budget in BUDGETS if budget.source == file]
        codes = disassemble(sources()[file], [budget.kernel for budget in budgets], architecture)
        yield from ((budget, codes[budget.kernel]) for budget in budgets)


def rows() -> Iterator[str]:
    """A Markdown table: instructions an element of every kernel on every generation, and its budget."""
    found = {architecture: dict(measured(architecture)) for architecture in GENERATIONS}
    yield f"| kernel | {' | '.join(f'sm_{architecture}' for architecture in found)} | budget |"
    yield f"|---|{'---:|' * len(found)}---:|"
    for budget in BUDGETS:
        digits = 1 if budget.taps > 1 else 2
        values = (f"{codes[budget].per_element(budget.taps):.{digits}f}" for codes in found.values())
        yield f"| `{budget.kernel}` | {' | '.join(values)} | {budget.instructions:g} |"


if __name__ == "__main__":
    print("\n".join(rows()))
