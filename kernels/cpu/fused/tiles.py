"""Three more operations on blocks of vectors (`epcore.kernels.cpu.simd`) that only the fused kernels need."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from epcore.kernels.cpu.simd import (
    _INT,
    _VECTOR,
    Values,
    Vectors,
    _element,
    _instruction,
    _instruction_with_constant,
    _is_float32,
    _load,
    _pack,
    _unpack,
)


@_instruction_with_constant
def load_tile(typing_context: Any, array: Any, index: Any, row_step: Any, column_step: Any, rows: Any, columns: Any) -> Any:
    """`rows` x `columns` (compile-time constants) vectors: vector v of row r is array[index + r * row_step + v * column_step]
    and the LANES - 1 elements after it. What `store_tile` stores."""
    if not (_is_float32(array) and isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral)):
        return None
    height, width = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, row_step, column_step, *_ = args
        first = _element(context, builder, call.args[0], array, index)
        tile = []
        for i in range(height * width):
            row = builder.mul(row_step, ir.Constant(row_step.type, i // width))
            column = builder.mul(column_step, ir.Constant(column_step.type, i % width))
            tile.append(_load(builder, builder.gep(first, [builder.add(row, column)]), _VECTOR))
        return _pack(builder, tile)

    return Vectors(height * width)(array, types.intp, types.intp, types.intp, rows, columns), generate


@_instruction_with_constant
def prefetch(typing_context: Any, array: Any, index: Any, step: Any, count: Any) -> Any:
    """Ask for the cache lines of array[index], array[index + step], ...: `count` (a compile-time constant) of them. A hint: it
    changes nothing and may point behind the array."""
    if not (_is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, _ = args
        first = _element(context, builder, call.args[0], array, index)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for r in range(number):
            element = builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))])
            builder.call(function, (builder.bitcast(element, byte), *(ir.Constant(_INT, i) for i in (0, 3, 1))))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, count), generate


@_instruction
def sum_range(typing_context: Any, total: Any, block: Any, first: Any, last: Any) -> Any:
    """total + block[first] + ... + block[last - 1], in this order."""
    if not (isinstance(total, Vectors) and total.count == 1 and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        total, block, first, last = args
        (value,) = _unpack(builder, total)
        for r, vector in enumerate(_unpack(builder, block)):
            position = ir.Constant(first.type, r)
            inside = builder.and_(builder.icmp_signed("<=", first, position), builder.icmp_signed("<", position, last))
            value = builder.select(inside, builder.fadd(value, vector), value)
        return _pack(builder, [value])

    return total(total, block, types.intp, types.intp), generate
