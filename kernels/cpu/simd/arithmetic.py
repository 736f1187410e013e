"""Sums and products of blocks: operators, multiply-add, windows that slide, tiles of a matrix product, sums over lanes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature

from epcore.kernels.cpu.processor import LANES
from epcore.kernels.cpu.simd.generation import (
    Values,
    address,
    broadcast,
    instruction,
    instruction_with_constant,
    is_float32,
    multiply_add,
    pack,
    splat_value,
    unpack,
)
from epcore.kernels.cpu.simd.types import INT, Vectors


@instruction_with_constant
def splat(typing_context: Any, value: Any, count: Any) -> Any:
    """`count` (a compile-time constant) vectors with the same number in every lane."""
    if not (isinstance(value, types.Number) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return pack(builder, [splat_value(builder, args[0])] * number)

    return Vectors(number)(types.float32, count), generate


def _register_operator(function: Callable[..., Any], instruction: str) -> None:
    """`function` (of the module operator) on blocks and numbers, lane by lane."""

    class Template(AbstractTemplate):
        def generic(self, args: tuple[types.Type, ...], keywords: dict[str, types.Type]) -> Any:
            counts = {kind.count for kind in args if isinstance(kind, Vectors)}
            if not counts or not all(isinstance(kind, Vectors | types.Number) for kind in args):
                return None
            if len(counts - {1}) > 1:
                return None
            return signature(Vectors(max(counts)), *args)

    infer_global(function)(Template)

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        blocks = [
            unpack(builder, value)
            if isinstance(kind, Vectors)
            else [splat_value(builder, context.cast(builder, value, kind, types.float32))]
            for kind, value in zip(call.args, args, strict=True)
        ]
        return pack(builder, [getattr(builder, instruction)(a, b) for a, b in zip(*broadcast(*blocks), strict=True)])

    for kinds in ((Vectors, Vectors), (Vectors, types.Number), (types.Number, Vectors)):
        lower_builtin(function, *kinds)(generate)


_register_operator(operator.add, "fadd")
_register_operator(operator.sub, "fsub")
_register_operator(operator.mul, "fmul")
_register_operator(operator.truediv, "fdiv")


@instruction
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c on blocks, rounded once where the CPU has the instruction and twice where it has not."""
    if not all(isinstance(kind, Vectors) for kind in (a, b, c)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        blocks = broadcast(*(unpack(builder, block) for block in args))
        return pack(builder, [multiply_add(builder, *parts) for parts in zip(*blocks, strict=True)])

    return Vectors(max(a.count, b.count, c.count))(a, b, c), generate


@instruction
def where_greater(typing_context: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """yes where a > b, else no (also where a or b is NaN), lane by lane."""
    if not all(isinstance(kind, Vectors) for kind in (a, b, yes, no)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        rows = zip(*broadcast(*(unpack(builder, block) for block in args)), strict=True)
        return pack(builder, [builder.select(builder.fcmp_ordered(">", a, b), yes, no) for a, b, yes, no in rows])

    return Vectors(max(kind.count for kind in (a, b, yes, no)))(a, b, yes, no), generate


@instruction_with_constant
def slide(typing_context: Any, sums: Any, pixels: Any, taps: Any, stride: Any) -> Any:
    """sums[r] + sum over t of pixels[r * stride + t] * taps[t], t ascending: one kernel row over a strip of pixels.

    The counts must satisfy pixels = (sums - 1) * stride + taps, so that every pixel is loaded once and used often.
    """
    if not (isinstance(stride, types.IntegerLiteral) and all(isinstance(k, Vectors) for k in (sums, pixels, taps))):
        return None
    step = stride.literal_value
    if pixels.count != (sums.count - 1) * step + taps.count:
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        results, strip, row = (unpack(builder, block) for block in args[:3])
        for t, tap in enumerate(row):
            results = [multiply_add(builder, strip[r * step + t], tap, result) for r, result in enumerate(results)]
        return pack(builder, results)

    return sums(sums, pixels, taps, stride), generate


@instruction_with_constant
def slide_products(typing_context: Any, sums: Any, pixels: Any, gradients: Any, stride: Any) -> Any:
    """The weight gradient of `slide`: sums[p][t] += sum over r with r % P == p of pixels[r * stride + t] * gradients[r].

    `sums` holds P independent partial sums of T taps each (index p * T + t): with P = 1 every multiply-add would wait
    for the one before it. T = pixels - (gradients - 1) * stride, and P = sums / T.
    """
    if not (isinstance(stride, types.IntegerLiteral) and all(isinstance(k, Vectors) for k in (sums, pixels, gradients))):
        return None
    step = stride.literal_value
    taps = pixels.count - (gradients.count - 1) * step
    if taps < 1 or sums.count % taps:
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        results, strip, outer_pixels = (unpack(builder, block) for block in args[:3])
        for r, gradient in enumerate(outer_pixels):
            phase = r % (sums.count // taps) * taps
            for t in range(taps):
                results[phase + t] = multiply_add(builder, strip[r * step + t], gradient, results[phase + t])
        return pack(builder, results)

    return sums(sums, pixels, gradients, stride), generate


@instruction
def fold(typing_context: Any, block: Any, like: Any) -> Any:
    """Sum groups of a block: result[t] = block[t] + block[T + t] + block[2T + t] + ..., T the count of `like`."""
    if not (isinstance(block, Vectors) and isinstance(like, Vectors) and block.count % like.count == 0):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        parts = unpack(builder, args[0])
        results = parts[: like.count]
        for start in range(like.count, len(parts), like.count):
            results = [builder.fadd(a, b) for a, b in zip(results, parts[start:], strict=False)]
        return pack(builder, results)

    return like(block, like), generate


@instruction
def outer(typing_context: Any, sums: Any, scalars: Any, index: Any, step: Any, columns: Any) -> Any:
    """One step of a matrix product in registers: sums[r, v] += scalars[index + r * step] * columns[v].

    `sums` is a tile of R rows of V vectors (row-major), `columns` has V vectors; each scalar is read from memory once.
    """
    if not (is_float32(scalars) and isinstance(sums, Vectors) and isinstance(columns, Vectors)):
        return None
    if sums.count % columns.count:
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        sums, scalars, index, step, columns = args
        first = address(context, builder, call.args[1], scalars, index)
        tile, row = unpack(builder, sums), unpack(builder, columns)
        for r in range(len(tile) // len(row)):
            element = builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))])
            scalar = splat_value(builder, builder.load(element))
            for v, column in enumerate(row):
                tile[r * len(row) + v] = multiply_add(builder, scalar, column, tile[r * len(row) + v])
        return pack(builder, tile)

    return sums(sums, scalars, types.intp, types.intp, columns), generate


@instruction_with_constant
def repeat(typing_context: Any, block: Any, count: Any) -> Any:
    """The block `count` times one after the other: the same V vectors in every row of a tile."""
    if not (isinstance(block, Vectors) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return pack(builder, unpack(builder, args[0]) * number)

    return Vectors(number * block.count)(block, count), generate


@instruction
def horizontal_sum(typing_context: Any, vector: Any) -> Any:
    """Sum of the lanes of one vector, by halves, always in the same order."""
    if not (isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        (value,) = unpack(builder, args[0])
        width = LANES
        while width > 1:
            width //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            low, high = (
                ir.Constant(ir.VectorType(INT, width), [ir.Constant(INT, start + i) for i in range(width)])
                for start in (0, width)
            )
            value = builder.fadd(builder.shuffle_vector(value, undefined, low), builder.shuffle_vector(value, undefined, high))
        return builder.extract_element(value, ir.Constant(INT, 0))

    return types.float32(vector), generate


@instruction
def sum_range(typing_context: Any, total: Any, block: Any, first: Any, last: Any) -> Any:
    """total + block[first] + ... + block[last - 1], in this order."""
    if not (isinstance(total, Vectors) and total.count == 1 and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        total, block, first, last = args
        (value,) = unpack(builder, total)
        for r, vector in enumerate(unpack(builder, block)):
            position = ir.Constant(first.type, r)
            inside = builder.and_(builder.icmp_signed("<=", first, position), builder.icmp_signed("<", position, last))
            value = builder.select(inside, builder.fadd(value, vector), value)
        return pack(builder, [value])

    return total(total, block, types.intp, types.intp), generate
