"""A float32 vector type for Numba, so that register blocking is written down instead of hoped for.

LLVM's auto-vectoriser gives up on register-blocked loops (too many pointers to prove apart). Here a kernel says what
stays in registers: `Vectors(count)` is a value type of `count` vectors of LANES float32 each, and the functions below
load, store and combine such blocks. LLVM turns them into the widest registers the CPU has:

    AVX-512     LANES 16, 32 registers      one vector is one zmm
    AVX2        LANES  8, 16 registers      one vector is one ymm
    otherwise   LANES  8                    two NEON or SSE registers; right everywhere, tuned for none

A block of one vector combines with a block of any count, and a number with either: `+`, `-`, `*` broadcast. No fast-math
flag is set anywhere, so the order of every sum is the order in which it is written.

Convention of all loads and stores: `index` is a flat element index into a C-contiguous float32 array of any rank, and
nothing checks it. Kernels therefore check shapes before they start.

Rooms: `types`, `memory` (loads and stores), `arithmetic`, `double` (sums in it), `exponential`; `generation` is what they are
made of.
"""

from epcore.kernels.cpu.simd.arithmetic import (
    fma,
    fold,
    horizontal_sum,
    outer,
    repeat,
    slide,
    slide_products,
    splat,
    sum_range,
    where_greater,
)
from epcore.kernels.cpu.simd.double import add_in_double, add_products_in_double
from epcore.kernels.cpu.simd.exponential import one_plus_exp_minus, sigmoid, swish
from epcore.kernels.cpu.simd.memory import (
    load,
    load_block,
    load_partial,
    load_strip,
    load_tile,
    prefetch,
    store,
    store_block,
    store_partial,
    store_strip,
    store_tile,
)
from epcore.kernels.cpu.simd.types import Block, Vectors

__all__ = [
    "Block",
    "Vectors",
    "add_in_double",
    "add_products_in_double",
    "fma",
    "fold",
    "horizontal_sum",
    "load",
    "load_block",
    "load_partial",
    "load_strip",
    "load_tile",
    "one_plus_exp_minus",
    "outer",
    "prefetch",
    "repeat",
    "sigmoid",
    "slide",
    "slide_products",
    "splat",
    "store",
    "store_block",
    "store_partial",
    "store_strip",
    "store_tile",
    "sum_range",
    "swish",
    "where_greater",
]
