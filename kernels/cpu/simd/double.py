"""Sums in double of what float32 vectors hold: the only place where vectors are widened."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd.generation import Values, address, broadcast, instruction, load_value, store_value, unpack
from epcore.kernels.cpu.simd.types import Vectors

_WIDE = ir.VectorType(ir.DoubleType(), LANES)


def _is_float64(kind: types.Type) -> bool:
    return isinstance(kind, types.Array) and kind.dtype == types.float64 and kind.layout == "C"


def _add(context: Any, builder: ir.IRBuilder, call: Any, args: Values, values: Values) -> None:
    """totals[index : index + LANES] += each of the values in turn."""
    element = address(context, builder, call.args[0], *args[:2])
    total = load_value(builder, element, _WIDE)
    for value in values:
        total = builder.fadd(total, value)
    store_value(builder, total, element)


def _widen(builder: ir.IRBuilder, block: ir.Value) -> Values:
    return [builder.fpext(vector, _WIDE) for vector in unpack(builder, block)]


@instruction
def add_in_double(typing_context: Any, totals: Any, index: Any, block: Any) -> Any:
    """totals[index : index + LANES] += every vector of the block, the first one first; totals is a float64 array."""
    if not (_is_float64(totals) and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        _add(context, builder, call, args, _widen(builder, args[2]))
        return context.get_dummy_value()

    return types.void(totals, types.intp, block), generate


@instruction
def add_products_in_double(typing_context: Any, totals: Any, index: Any, a: Any, center: Any, b: Any) -> Any:
    """The same of (a - center) * b, every step rounded to double; center: one vector."""
    if not (_is_float64(totals) and all(isinstance(kind, Vectors) for kind in (a, center, b)) and a.count == b.count):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        rows = zip(*broadcast(*(_widen(builder, block) for block in args[2:])), strict=True)
        _add(context, builder, call, args, [builder.fmul(builder.fsub(x, m), y) for x, m, y in rows])
        return context.get_dummy_value()

    return types.void(totals, types.intp, a, center, b), generate
