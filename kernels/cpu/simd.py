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
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from epcore.kernels.cpu.processor import FUSED_MULTIPLY_ADD, LANES, SCALE_INSTRUCTION

Values = list[ir.Value]

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INTEGERS = ir.VectorType(_INT, LANES)


class Vectors(types.Type):
    """Numba type of a block of `count` vectors of LANES float32, held in registers."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Vectors({count}x{LANES}xfloat32)")


@register_model(Vectors)
class _VectorsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vectors) -> None:
        super().__init__(manager, kind, ir.ArrayType(_VECTOR, kind.count))


def _instruction(function: Callable[..., Any]) -> Any:
    """A function of kernels that is replaced by the code its second result generates. (Any: what kernels call has other
    parameters than `function`, and no Python type.)"""
    return intrinsic(function)


def _instruction_with_constant(function: Callable[..., Any]) -> Any:
    """The same where an argument has to be a compile-time constant."""
    return intrinsic(prefer_literal=True)(function)


# ---- building blocks of the code generators


def _unpack(builder: ir.IRBuilder, block: ir.Value) -> Values:
    return [builder.extract_value(block, i) for i in range(block.type.count)]


def _pack(builder: ir.IRBuilder, parts: Values) -> ir.Value:
    block = ir.Constant(ir.ArrayType(parts[0].type, len(parts)), ir.Undefined)
    for i, part in enumerate(parts):
        block = builder.insert_value(block, part, i)
    return block


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [ir.Constant(_FLOAT, float(np.float32(value)))] * LANES)


def _integers(value: int) -> ir.Constant:
    return ir.Constant(_INTEGERS, [ir.Constant(_INT, value)] * LANES)


def _splat(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, _integers(0))


def _fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    if not FUSED_MULTIPLY_ADD:
        return builder.fadd(builder.fmul(a, b), c)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32")
    return builder.call(function, (a, b, c))


def _element(context: Any, builder: ir.IRBuilder, kind: types.Array, array: ir.Value, index: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [index])


def _load(builder: ir.IRBuilder, element: ir.Value, kind: ir.Type) -> ir.Value:
    value = builder.load(builder.bitcast(element, kind.as_pointer()))
    value.align = 4  # rows start anywhere
    return value


def _store(builder: ir.IRBuilder, value: ir.Value, element: ir.Value) -> None:
    builder.store(value, builder.bitcast(element, value.type.as_pointer())).align = 4


def _broadcast(*blocks: Values) -> list[Values]:
    count = max(map(len, blocks))
    return [block * count if len(block) == 1 else block for block in blocks]


def _is_float32(kind: types.Type) -> bool:
    return isinstance(kind, types.Array) and kind.dtype == types.float32 and kind.layout == "C"


# ---- loads and stores


@_instruction
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """array[index : index + LANES] as one vector."""
    if not _is_float32(array):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _pack(builder, [_load(builder, _element(context, builder, call.args[0], *args), _VECTOR)])

    return Vectors(1)(array, types.intp), generate


@_instruction_with_constant
def load_block(typing_context: Any, array: Any, index: Any, step: Any, count: Any) -> Any:
    """`count` (a compile-time constant) vectors: the r-th is array[index + r * step : ... + LANES]."""
    if not (_is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, _ = args
        first = _element(context, builder, call.args[0], array, index)
        steps = [builder.mul(step, ir.Constant(step.type, r)) for r in range(number)]
        return _pack(builder, [_load(builder, builder.gep(first, [offset]), _VECTOR) for offset in steps])

    return Vectors(number)(array, types.intp, types.intp, count), generate


@_instruction_with_constant
def load_strip(typing_context: Any, array: Any, row: Any, column: Any, columns: Any, step: Any, count: Any) -> Any:
    """`count` vectors along a row that may stick out of it: the r-th is array[row + (column + r) * step : ... + LANES]
    where 0 <= column + r < columns, and zeros elsewhere. This is how kernels see zero padding without padded copies."""
    if not (_is_float32(array) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, row, column, columns, step, _ = args
        first = _element(context, builder, call.args[0], array, row)
        zeros = builder.bitcast(cgutils.global_constant(builder, "zeros", _constant(0.0)), first.type)
        vectors = []
        for r in range(number):
            position = builder.add(column, ir.Constant(column.type, r))
            inside = builder.icmp_unsigned("<", position, columns)  # a negative position is a huge unsigned one
            element = builder.gep(first, [builder.mul(position, step)])
            vectors.append(_load(builder, builder.select(inside, element, zeros), _VECTOR))
        return _pack(builder, vectors)

    return Vectors(number)(array, *[types.intp] * 4, count), generate


@_instruction
def store(typing_context: Any, array: Any, index: Any, vector: Any) -> Any:
    """array[index : index + LANES] = vector."""
    if not (_is_float32(array) and isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, vector = args
        (value,) = _unpack(builder, vector)
        _store(builder, value, _element(context, builder, call.args[0], array, index))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@_instruction
def store_block(typing_context: Any, array: Any, index: Any, step: Any, block: Any) -> Any:
    """array[index + r * step : ... + LANES] = the r-th vector of the block, for every r in order."""
    if not (_is_float32(array) and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, block = args
        first = _element(context, builder, call.args[0], array, index)
        for r, vector in enumerate(_unpack(builder, block)):
            _store(builder, vector, builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, block), generate


@_instruction
def store_strip(typing_context: Any, array: Any, index: Any, step: Any, block: Any, count: Any) -> Any:
    """`store_block` of the first `count` vectors only."""
    if not (_is_float32(array) and isinstance(block, Vectors)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, step, block, count = args
        first = _element(context, builder, call.args[0], array, index)
        for r, vector in enumerate(_unpack(builder, block)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(count.type, r), count), likely=True):
                _store(builder, vector, builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))]))
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


@_instruction
def load_partial(typing_context: Any, array: Any, index: Any, count: Any) -> Any:
    """array[index : index + count] in the first lanes and zeros in the rest; a plain load where count >= LANES."""
    if not _is_float32(array):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, count = args
        source = _element(context, builder, call.args[0], array, index)
        with builder.if_else(builder.icmp_signed(">=", count, ir.Constant(count.type, LANES))) as (whole, partial):
            with whole:
                full, full_block = _load(builder, source, _VECTOR), builder.block
            with partial:
                room = cgutils.alloca_once(builder, _VECTOR)
                builder.store(_constant(0.0), room)
                target = builder.bitcast(room, _FLOAT.as_pointer())

                def move(lane: ir.Value, width: int) -> None:
                    part = _load(builder, builder.gep(source, [lane]), ir.VectorType(_FLOAT, width))
                    _store(builder, part, builder.gep(target, [lane]))

                _halves(builder, count, move)
                few, few_block = builder.load(room), builder.block
        vector = builder.phi(_VECTOR)
        vector.add_incoming(full, full_block)
        vector.add_incoming(few, few_block)
        return _pack(builder, [vector])

    return Vectors(1)(array, types.intp, types.intp), generate


@_instruction
def store_partial(typing_context: Any, array: Any, index: Any, vector: Any, count: Any) -> Any:
    """array[index : index + count] = the first lanes of the vector; a plain store where count >= LANES."""
    if not (_is_float32(array) and isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, vector, count = args
        target = _element(context, builder, call.args[0], array, index)
        (value,) = _unpack(builder, vector)
        with builder.if_else(builder.icmp_signed(">=", count, ir.Constant(count.type, LANES))) as (whole, partial):
            with whole:
                _store(builder, value, target)
            with partial:
                room = cgutils.alloca_once(builder, _VECTOR)
                builder.store(value, room)
                source = builder.bitcast(room, _FLOAT.as_pointer())

                def move(lane: ir.Value, width: int) -> None:
                    part = _load(builder, builder.gep(source, [lane]), ir.VectorType(_FLOAT, width))
                    _store(builder, part, builder.gep(target, [lane]))

                _halves(builder, count, move)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), generate


@_instruction_with_constant
def splat(typing_context: Any, value: Any, count: Any) -> Any:
    """`count` (a compile-time constant) vectors with the same number in every lane."""
    if not (isinstance(value, types.Number) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _pack(builder, [_splat(builder, args[0])] * number)

    return Vectors(number)(types.float32, count), generate


# ---- arithmetic


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
            _unpack(builder, value)
            if isinstance(kind, Vectors)
            else [_splat(builder, context.cast(builder, value, kind, types.float32))]
            for kind, value in zip(call.args, args, strict=True)
        ]
        return _pack(builder, [getattr(builder, instruction)(a, b) for a, b in zip(*_broadcast(*blocks), strict=True)])

    for kinds in ((Vectors, Vectors), (Vectors, types.Number), (types.Number, Vectors)):
        lower_builtin(function, *kinds)(generate)


_register_operator(operator.add, "fadd")
_register_operator(operator.sub, "fsub")
_register_operator(operator.mul, "fmul")
_register_operator(operator.truediv, "fdiv")


@_instruction
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c on blocks, rounded once where the CPU has the instruction and twice where it has not."""
    if not all(isinstance(kind, Vectors) for kind in (a, b, c)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        blocks = _broadcast(*(_unpack(builder, block) for block in args))
        return _pack(builder, [_fma(builder, *parts) for parts in zip(*blocks, strict=True)])

    return Vectors(max(a.count, b.count, c.count))(a, b, c), generate


@_instruction
def where_greater(typing_context: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """yes where a > b, else no (also where a or b is NaN), lane by lane."""
    if not all(isinstance(kind, Vectors) for kind in (a, b, yes, no)):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        rows = zip(*_broadcast(*(_unpack(builder, block) for block in args)), strict=True)
        return _pack(builder, [builder.select(builder.fcmp_ordered(">", a, b), yes, no) for a, b, yes, no in rows])

    return Vectors(max(kind.count for kind in (a, b, yes, no)))(a, b, yes, no), generate


@_instruction_with_constant
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
        results, strip, row = (_unpack(builder, block) for block in args[:3])
        for t, tap in enumerate(row):
            results = [_fma(builder, strip[r * step + t], tap, result) for r, result in enumerate(results)]
        return _pack(builder, results)

    return sums(sums, pixels, taps, stride), generate


@_instruction_with_constant
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
        results, strip, outer_pixels = (_unpack(builder, block) for block in args[:3])
        for r, gradient in enumerate(outer_pixels):
            phase = r % (sums.count // taps) * taps
            for t in range(taps):
                results[phase + t] = _fma(builder, strip[r * step + t], gradient, results[phase + t])
        return _pack(builder, results)

    return sums(sums, pixels, gradients, stride), generate


@_instruction
def fold(typing_context: Any, block: Any, like: Any) -> Any:
    """Sum groups of a block: result[t] = block[t] + block[T + t] + block[2T + t] + ..., T the count of `like`."""
    if not (isinstance(block, Vectors) and isinstance(like, Vectors) and block.count % like.count == 0):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        parts = _unpack(builder, args[0])
        results = parts[: like.count]
        for start in range(like.count, len(parts), like.count):
            results = [builder.fadd(a, b) for a, b in zip(results, parts[start:], strict=False)]
        return _pack(builder, results)

    return like(block, like), generate


@_instruction
def outer(typing_context: Any, sums: Any, scalars: Any, index: Any, step: Any, columns: Any) -> Any:
    """One step of a matrix product in registers: sums[r, v] += scalars[index + r * step] * columns[v].

    `sums` is a tile of R rows of V vectors (row-major), `columns` has V vectors; each scalar is read from memory once.
    """
    if not (_is_float32(scalars) and isinstance(sums, Vectors) and isinstance(columns, Vectors)):
        return None
    if sums.count % columns.count:
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        sums, scalars, index, step, columns = args
        first = _element(context, builder, call.args[1], scalars, index)
        tile, row = _unpack(builder, sums), _unpack(builder, columns)
        for r in range(len(tile) // len(row)):
            element = builder.gep(first, [builder.mul(step, ir.Constant(step.type, r))])
            scalar = _splat(builder, builder.load(element))
            for v, column in enumerate(row):
                tile[r * len(row) + v] = _fma(builder, scalar, column, tile[r * len(row) + v])
        return _pack(builder, tile)

    return sums(sums, scalars, types.intp, types.intp, columns), generate


@_instruction_with_constant
def repeat(typing_context: Any, block: Any, count: Any) -> Any:
    """The block `count` times one after the other: the same V vectors in every row of a tile."""
    if not (isinstance(block, Vectors) and isinstance(count, types.IntegerLiteral)):
        return None
    number = count.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _pack(builder, _unpack(builder, args[0]) * number)

    return Vectors(number * block.count)(block, count), generate


@_instruction_with_constant
def store_tile(typing_context: Any, array: Any, index: Any, row_step: Any, column_step: Any, tile: Any, columns: Any) -> Any:
    """Vector v of row r of a tile goes to array[index + r * row_step + v * column_step : ... + LANES]."""
    if not (_is_float32(array) and isinstance(tile, Vectors) and isinstance(columns, types.IntegerLiteral)):
        return None
    width = columns.literal_value

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        array, index, row_step, column_step, tile, _ = args
        first = _element(context, builder, call.args[0], array, index)
        for i, vector in enumerate(_unpack(builder, tile)):
            row = builder.mul(row_step, ir.Constant(row_step.type, i // width))
            column = builder.mul(column_step, ir.Constant(column_step.type, i % width))
            _store(builder, vector, builder.gep(first, [builder.add(row, column)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp, tile, columns), generate


@_instruction
def horizontal_sum(typing_context: Any, vector: Any) -> Any:
    """Sum of the lanes of one vector, by halves, always in the same order."""
    if not (isinstance(vector, Vectors) and vector.count == 1):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        (value,) = _unpack(builder, args[0])
        width = LANES
        while width > 1:
            width //= 2
            undefined = ir.Constant(value.type, ir.Undefined)
            low, high = (
                ir.Constant(ir.VectorType(_INT, width), [ir.Constant(_INT, start + i) for i in range(width)])
                for start in (0, width)
            )
            value = builder.fadd(builder.shuffle_vector(value, undefined, low), builder.shuffle_vector(value, undefined, high))
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(vector), generate


# ---- the exponential

# (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2, Chebyshev interpolation of degree 4; with the two exact terms the relative
# error is below 1e-8.
_EXP = (1.392617612e-3, 8.363173075e-3, 4.166655466e-2, 1.666657703e-1, 5.0e-1)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # high has 9 bits: k * high is exact
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
_ALL = ir.Constant(ir.IntType(LANES), -1)  # a mask of all lanes
_CURRENT_ROUNDING = 4


def _scale_exponent(builder: ir.IRBuilder, p: ir.Value, k: ir.Value) -> ir.Value:
    """p * 2^k for any k, by the instruction that only AVX-512 has."""
    arguments = (p, k, _constant(0.0), _ALL, ir.Constant(_INT, _CURRENT_ROUNDING))
    signature = ir.FunctionType(_VECTOR, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx512.mask.scalef.ps.512")
    return builder.call(function, arguments)


def _one_plus_exp_minus(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1 + exp(-x), within 2 units of the last digit; infinity below -88.73, where exp(-x) exceeds float32."""
    x = builder.select(builder.fcmp_ordered(">", x, _constant(86.0)), _constant(86.0), x)  # 1 + exp(-86) is 1
    if not SCALE_INSTRUCTION:
        x = builder.select(builder.fcmp_ordered("<", x, _constant(-89.0)), _constant(-89.0), x)
    # exp(-x) = 2^k * exp(r),  k = round(-x / ln 2),  r = -x - k ln 2
    rounded = _fma(builder, x, _constant(-1.4426950408889634), _constant(_ROUND))
    k = builder.fsub(rounded, _constant(_ROUND))
    r = _fma(builder, k, _constant(-_LN2_HIGH), builder.fneg(x))
    r = _fma(builder, k, _constant(-_LN2_LOW), r)
    p = _constant(_EXP[0])
    for coefficient in (*_EXP[1:], 1.0, 1.0):
        p = _fma(builder, p, r, _constant(coefficient))
    if SCALE_INSTRUCTION:
        return builder.fadd(_scale_exponent(builder, p, k), _constant(1.0))
    # k - 1 into the exponent field, where k itself, up to 128, would not fit; the missing factor 2 in the last step.
    shifted = builder.shl(builder.sub(builder.bitcast(rounded, _INTEGERS), _integers(1)), _integers(23))
    half = builder.bitcast(builder.add(builder.bitcast(p, _INTEGERS), shifted), _VECTOR)
    return _fma(builder, half, _constant(2.0), _constant(1.0))


def _lanewise(block: ir.Value, builder: ir.IRBuilder, function: Callable[[ir.IRBuilder, ir.Value], ir.Value]) -> ir.Value:
    return _pack(builder, [function(builder, vector) for vector in _unpack(builder, block)])


@_instruction
def one_plus_exp_minus(typing_context: Any, x: Any) -> Any:
    """1 + exp(-x) of every lane of a block; relative error below 2.5e-7. Infinity for x below -88.73; undefined for NaN."""
    if not isinstance(x, Vectors):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _lanewise(args[0], builder, _one_plus_exp_minus)

    return x(x), generate


@_instruction
def sigmoid(typing_context: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)) of every lane of a block; NaN stays NaN. Relative error below 3e-7 for x above -88.7 and below that
    0, where the true value is less than float32's smallest normal number."""
    if not isinstance(x, Vectors):
        return None

    def one(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        y = builder.fdiv(_constant(1.0), _one_plus_exp_minus(builder, x))
        return builder.select(builder.fcmp_unordered("uno", x, x), x, y)

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _lanewise(args[0], builder, one)

    return x(x), generate


@_instruction
def swish(typing_context: Any, x: Any) -> Any:
    """x / (1 + exp(-x)) of every lane of a block: x * sigmoid(x) in one division; NaN stays NaN and -infinity becomes it.
    Relative error below 3e-7 for x above -88.7 and below that -0, where the true value is above -2.7e-37."""
    if not isinstance(x, Vectors):
        return None

    def one(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        return builder.fdiv(x, _one_plus_exp_minus(builder, x))

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return _lanewise(args[0], builder, one)

    return x(x), generate
