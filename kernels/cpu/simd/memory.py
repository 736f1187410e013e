"""Between memory and registers: whole vectors, blocks, strips that stick out of a row, tiles, the few elements at an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd.generation import (
    Values,
    address,
    constant,
    instruction,
    instruction_with_constant,
    is_float32,
    load_value,
    pack,
    store_value,
    unpack,
)
from epcore.kernels.cpu.simd.types import FLOAT, INT, VECTOR, Vectors


@instruction
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """array[index : index + LANES] as one vector."""
    if not is_float32(array):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return pack(builder, [load_value(builder, address(context, builder, call.args[0], *args), VECTOR)])

    return Vectors(1)(array, types.intp), generate


@instruction_with_constant
def load_block(typing_context: Any, array: Any, index: Any, step: Any, count: Any) -> Any:
    """`count` (a compile-time constant) vectors: the r-th is array[index + r * step : ... + LANES]."""
    if not (is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, _ = args
        first = address(context, builder, call.args[0], array, index)
        steps = [builder.mul(step, ir.Constant(step.type, r)) for r in range(number)]
        return pack(builder, [load_value(builder, builder.gep(first, [offset]), VECTOR) for offset in steps])

    return Vectors(number)(array, types.intp, types.intp, count), generate


@instruction_with_constant
def load_strip(typing_context: Any, array: Any, row: Any, column: Any, columns: Any, step: Any, count: Any) -> Any:
    """`count` vectors along a row that may stick out of it: the r-th is array[row + (column + r) * step : ... + LANES]
    where 0 <= column + r < columns, and zeros elsewhere. This is how kernels see zero padding without padded copies."""
    if not (is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, row, column, columns, step, _ = args
        first = address(context, builder, call.args[0], array, row)
        zeros = builder.bitcast(cgutils.global_constant(builder, "zeros", constant(0.0)), first.type)
        vectors = []
        for r in range(number):
            position = builder.add(column, ir.Constant(column.type, r))
            inside = builder.icmp_unsigned("<", position, columns)  # a negative position is a huge unsigned one
            element = builder.gep(first, [builder.mul(position, step)])
            vectors.append(load_value(builder, builder.select(inside, element, zeros), VECTOR))
        return pack(builder, vectors)

    return Vectors(number)(array, *[types.intp] * 4, count), generate


@instruction
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """array[index : index + LANES] = vector."""
    if not (is_float32(array) and isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, vector = args
        (value,) = unpack(builder, vector)
        store_value(builder, value, address(context, builder, call.args[0], array, index))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@instruction
def store_block(typing_context: Any, array: Any, index: Any, step: Any, block: Any) -> Any:
    """array[index + r * step : ... + LANES] = the r-th vector of the block, for every r in order."""
    if not (is_float32(array) and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, block = args
        first = address(context, builder, call.args[0], array, index)
        for r, vector in enumerate(unpack(builder, block)):
            store_value(builder, vector, builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block), generate


@instruction
def store_strip(typing_context: Any, array: Any, index: Any, step: Any, block: Any, count: Any) -> Any:
    """`store_block` of the first `count` vectors only."""
    if not (is_float32(array) and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, block, count = args
        first = address(context, builder, call.args[0], array, index)
        for r, vector in enumerate(unpack(builder, block)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(count.type, r), count), likely=True):
                store_value(builder, vector, builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block, types.intp), generate


def _halves(builder: ir.IRBuilder, count: ir.Value, move: Callable[[ir.Value, int], None]) -> None:
    """Cover the first `count` < LANES lanes by powers of two: move(first lane, width) for every bit set in count."""
    width = LANES // 2
    while width:
        bit = ir.Constant(count.type, width)
        done = builder.and_(count, ir.Constant(count.type, LANES - 2 * width))
        with builder.if_then(builder.icmp_unsigned("!=", builder.and_(count, bit), ir.Constant(count.type, 0))):
            move(done, width)
        width //= 2


@instruction
def load_partial(typing_context: Any, array: Any, index: Any, count: Any) -> Any:
    """array[index : index + count] in the first lanes and zeros in the rest; a plain load where count >= LANES."""
    if not is_float32(array):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, count = args
        source = address(context, builder, call.args[0], array, index)
        with builder.if_else(builder.icmp_signed(">=", count, ir.Constant(count.type, LANES))) as (whole, partial):
            with whole:
                full, full_block = load_value(builder, source, VECTOR), builder.block
            with partial:
                room = cgutils.alloca_once(builder, VECTOR)
                builder.store(constant(0.0), room)
                target = builder.bitcast(room, FLOAT.as_pointer())

                def move(lane: ir.Value, width: int) -> None:
                    part = load_value(builder, builder.gep(source, [lane]), ir.VectorType(FLOAT, width))
                    store_value(builder, part, builder.gep(target, [lane]))

                _halves(builder, count, move)
                few, few_block = builder.load(room), builder.block
        vector = builder.phi(VECTOR)
        vector.add_incoming(full, full_block)
        vector.add_incoming(few, few_block)
        return pack(builder, [vector])

    return Vectors(1)(array, types.intp, types.intp), generate


@instruction
def store_partial(typing_context: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """array[index : index + count] = the first lanes of the vector; a plain store where count >= LANES."""
    if not (is_float32(array) and isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, vector, count = args
        target = address(context, builder, call.args[0], array, index)
        (value,) = unpack(builder, vector)
        with builder.if_else(builder.icmp_signed(">=", count, ir.Constant(count.type, LANES))) as (whole, partial):
            with whole:
                store_value(builder, value, target)
            with partial:
                room = cgutils.alloca_once(builder, VECTOR)
                builder.store(value, room)
                source = builder.bitcast(room, FLOAT.as_pointer())

                def move(lane: ir.Value, width: int) -> None:
                    part = load_value(builder, builder.gep(source, [lane]), ir.VectorType(FLOAT, width))
                    store_value(builder, part, builder.gep(target, [lane]))

                _halves(builder, count, move)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), generate


@instruction_with_constant
def load_tile(typing_context: Any, array: Any, index: Any, row_step: Any, column_step: Any, rows: Any, columns: Any) -> Any:
    """`rows` x `columns` (compile-time constants) vectors: vector v of row r is array[index + r * row_step + v * column_step]
    and the LANES - 1 elements after it. What `store_tile` stores."""
    if not (is_float32(array) and isinstance(rows, types.IntegerLiteral) and isinstance(columns, types.IntegerLiteral)):
        return None
    height, width = rows.literal_value, columns.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, row_step, column_step, *_ = args
        first = address(context, builder, call.args[0], array, index)
        tile = []
        for i in range(height * width):
            row = builder.mul(row_step, ir.Constant(row_step.type, i // width))
            column = builder.mul(column_step, ir.Constant(column_step.type, i % width))
            tile.append(load_value(builder, builder.gep(first, [builder.add(row, column)]), VECTOR))
        return pack(builder, tile)

    return Vectors(height * width)(array, types.intp, types.intp, types.intp, rows, columns), generate


@instruction_with_constant
def store_tile(typing_context: Any, array: Any, index: Any, row_step: Any, column_step: Any, tile: Any, columns: Any) -> Any:
    """Vector v of row r of a tile goes to array[index + r * row_step + v * column_step : ... + LANES]."""
    if not (is_float32(array) and isinstance(tile, Vectors) and isinstance(columns, types.IntegerLiteral)):
        return None
    width = columns.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, row_step, column_step, tile, _ = args
        first = address(context, builder, call.args[0], array, index)
        for i, vector in enumerate(unpack(builder, tile)):
            row = builder.mul(row_step, ir.Constant(row_step.type, i // width))
            column = builder.mul(column_step, ir.Constant(column_step.type, i % width))
            store_value(builder, vector, builder.gep(first, [builder.add(row, column)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp, tile, columns), generate


@instruction_with_constant
def prefetch(typing_context: Any, array: Any, index: Any, step: Any, count: Any) -> Any:
    """Ask for the cache lines of array[index], array[index + step], ...: `count` (a compile-time constant) of them. A hint: it
    changes nothing and may point behind the array."""
    if not (is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, _ = args
        first = address(context, builder, call.args[0], array, index)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, INT, INT, INT])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for r in range(number):
            element = builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))])
            builder.call(function, (builder.bitcast(element, byte), *(ir.Constant(INT, i) for i in (0, 3, 1))))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, count), generate
