"""All that the CPU code decides by the processor it is compiled for, as one table.

A decision that depends on the machine is proven only where each of its outcomes was run. So every one of them is a row of
CHOICES, a function of what Numba compiles for (which NUMBA_CPU_NAME and NUMBA_CPU_FEATURES can force), and the tests run the
kernels once for every family of processors, in processes of their own, until each option of each row has been taken
(`tests/families.py`). Kernels read the constants below and never ask for a processor's name.

What is the same everywhere on purpose:

* Division is the processor's own. A reciprocal estimate with a Newton step is no faster where it was measured (AVX-512 of
  Intel and of AMD's Zen 4) and gives NaN for infinite denominators.
* How plans are cut is decided by the machine's caches and prices (`epcore.inference.costs`), and changes no result.
* No fast-math, no order of a sum that depends on threads. Results differ between processors only by the vector width (the
  order of sums over channels) and by whether a multiply-add rounds once or twice.

Rows with one option are assumptions that could depend on the machine and do not so far: plans are right with any other, and
tests run them with others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numba.core.registry import cpu_target


@dataclass(frozen=True)
class Processor:
    """What code is compiled for. triple, cpu: LLVM's names; features: LLVM's names of those that it has, without sign."""

    triple: str
    cpu: str
    features: frozenset[str]

    @classmethod
    def from_llvm(cls, triple: str, cpu: str, features: str) -> Processor:
        """features: as LLVM writes them, "+avx2,-avx512f"; those not mentioned count as missing."""
        return cls(triple, cpu, frozenset(name[1:] for name in features.split(",") if name.startswith("+")))

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith(("x86", "i386", "i686"))


Option = int | str


@dataclass(frozen=True)
class Choice:
    """One decision. decide: of a processor; options: all that it can come to; reason: why it is not the same everywhere."""

    name: str
    decide: Callable[[Processor], Option]
    options: tuple[Option, ...]
    reason: str


def _lanes(processor: Processor) -> int:
    return 16 if "avx512f" in processor.features else 8


def _multiply_add(processor: Processor) -> str:
    return "fused" if "fma" in processor.features or not processor.is_x86 else "separate"


def _scaling(processor: Processor) -> str:
    return "instruction" if _lanes(processor) == 16 else "exponent bits"


def _widest(wide: int, narrow: int) -> Callable[[Processor], int]:
    return lambda processor: wide if _lanes(processor) == 16 else narrow


def _everywhere(option: Option) -> tuple[Callable[[Processor], Option], tuple[Option]]:
    return lambda processor: option, (option,)


CHOICES = (
    Choice("lanes", _lanes, (8, 16), "float32 in a vector: AVX-512's registers hold 16, AVX2's 8, two of NEON's or SSE's 8"),
    Choice(
        "tile rows", _widest(8, 4), (4, 8), "with up to three vectors beside them, 24 of 32 or 12 of 16 registers hold sums"
    ),
    Choice("strip", _widest(8, 4), (4, 8), "pixels of a depthwise layer summed at once, as many as the registers hold"),
    Choice("multiply-add", _multiply_add, ("fused", "separate"), "without the instruction, LLVM would call a function a lane"),
    Choice("exponential", _scaling, ("instruction", "exponent bits"), "how exp(r) is scaled by 2^k: AVX-512 has scalef"),
    Choice("division", *_everywhere("instruction"), "see above"),
    Choice("ring space", *_everywhere(16), "rows between two threads' rings: processors fetch ahead (steps/band.py)"),
    Choice("BLAS", *_everywhere("NumPy's"), "the reference's products; their bounds hold for any order of summation"),
)

PROCESSOR = Processor.from_llvm(*cpu_target.target_context.codegen().magic_tuple())


def choices(processor: Processor = PROCESSOR) -> dict[str, Option]:
    """Every choice by name, as it comes out for a processor; by default this one's."""
    return {choice.name: choice.decide(processor) for choice in CHOICES}


_HERE = choices()
LANES = int(_HERE["lanes"])
TILE_ROWS = int(_HERE["tile rows"])
STRIP_PIXELS = int(_HERE["strip"])
FUSED_MULTIPLY_ADD = _HERE["multiply-add"] == "fused"
SCALE_INSTRUCTION = _HERE["exponential"] == "instruction"
RING_SPACE = int(_HERE["ring space"])
