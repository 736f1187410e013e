"""What code generators are made of. An `instruction` is a function that kernels call and LLVM code replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from epcore.kernels.cpu.processor import FUSED_MULTIPLY_ADD, LANES
from epcore.kernels.cpu.simd.types import FLOAT, INT, INTEGERS, VECTOR

Values = list[ir.Value]


def instruction(function: Callable[..., Any]) -> Any:
    """A function of kernels that is replaced by the code its second result generates. (Any: what kernels call has other
    parameters than `function`, and no Python type.)"""
    return intrinsic(function)


def instruction_with_constant(function: Callable[..., Any]) -> Any:
    """The same where an argument has to be a compile-time constant."""
    return intrinsic(prefer_literal=True)(function)


def unpack(builder: ir.IRBuilder, block: ir.Value) -> Values:
    return [builder.extract_value(block, i) for i in range(block.type.count)]


def pack(builder: ir.IRBuilder, parts: Values) -> ir.Value:
    block = ir.Constant(ir.ArrayType(parts[0].type, len(parts)), ir.Undefined)
    for i, part in enumerate(parts):
        block = builder.insert_value(block, part, i)
    return block


def constant(value: float) -> ir.Constant:
    return ir.Constant(VECTOR, [ir.Constant(FLOAT, float(np.float32(value)))] * LANES)


def integers(value: int) -> ir.Constant:
    return ir.Constant(INTEGERS, [ir.Constant(INT, value)] * LANES)


def splat_value(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, undefined, integers(0))


def multiply_add(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    if not FUSED_MULTIPLY_ADD:
        return builder.fadd(builder.fmul(a, b), c)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(VECTOR, [VECTOR] * 3), f"llvm.fma.v{LANES}f32")
    return builder.call(function, (a, b, c))


def address(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value, index: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def load_value(builder: ir.IRBuilder, element: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(builder.bitcast(element, kind.as_pointer()))
    value.align = 4  # rows start anywhere
    return value


def store_value(builder: ir.IRBuilder, value: ir.Value, element: ir.Value) -> None:
    builder.store(value, builder.bitcast(element, value.type.as_pointer())).align = 4


def broadcast(*blocks: Values) -> list[Values]:
    count = max(map(len, blocks))
    return [block * count if len(block) == 1 else block for block in blocks]


def lanewise(block: ir.Value, builder: ir.IRBuilder, function: Callable[[ir.IRBuilder, ir.Value], ir.Value]) -> ir.Value:
    return pack(builder, [function(builder, vector) for vector in unpack(builder, block)])


def is_float32(kind: types.Type) -> bool:
    return isinstance(kind, types.Array) and kind.dtype == types.float32 and kind.layout == "C"
