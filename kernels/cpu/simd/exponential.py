"""The exponential, and the two functions that are made of it: sigmoid and swish."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from epcore.kernels.cpu.processor import LANES, SCALE_INSTRUCTION
from epcore.kernels.cpu.simd.generation import Values, constant, instruction, integers, lanewise, multiply_add
from epcore.kernels.cpu.simd.types import INT, INTEGERS, VECTOR, Vectors

# (exp(r) - 1 - r) / r^2 on |r| <= ln(2)/2, Chebyshev interpolation of degree 4; with the two exact terms the relative
# error is below 1e-8.
_EXP = (1.392617612e-3, 8.363173075e-3, 4.166655466e-2, 1.666657703e-1, 5.0e-1)
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # high has 9 bits: k * high is exact
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the nearest integer in the low bits
_ALL = ir.Constant(ir.IntType(LANES), -1)  # a mask of all lanes
_CURRENT_ROUNDING = 4


def _scale_exponent(builder: ir.IRBuilder, p: ir.Value, k: ir.Value) -> ir.Value:
    """p * 2^k for any k, by the instruction that only AVX-512 has."""
    arguments = (p, k, constant(0.0), _ALL, ir.Constant(INT, _CURRENT_ROUNDING))
    signature = ir.FunctionType(VECTOR, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.avx512.mask.scalef.ps.512")
    return builder.call(function, arguments)


def _one_plus_exp_minus(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    """1 + exp(-x), within 2 units of the last digit; infinity below -88.73, where exp(-x) exceeds float32."""
    x = builder.select(builder.fcmp_ordered(">", x, constant(86.0)), constant(86.0), x)  # 1 + exp(-86) is 1
    if not SCALE_INSTRUCTION:
        x = builder.select(builder.fcmp_ordered("<", x, constant(-89.0)), constant(-89.0), x)
    # exp(-x) = 2^k * exp(r),  k = round(-x / ln 2),  r = -x - k ln 2
    rounded = multiply_add(builder, x, constant(-1.4426950408889634), constant(_ROUND))
    k = builder.fsub(rounded, constant(_ROUND))
    r = multiply_add(builder, k, constant(-_LN2_HIGH), builder.fneg(x))
    r = multiply_add(builder, k, constant(-_LN2_LOW), r)
    p = constant(_EXP[0])
    for coefficient in (*_EXP[1:], 1.0, 1.0):
        p = multiply_add(builder, p, r, constant(coefficient))
    if SCALE_INSTRUCTION:
        return builder.fadd(_scale_exponent(builder, p, k), constant(1.0))
    # k - 1 into the exponent field, where k itself, up to 128, would not fit; the missing factor 2 in the last step.
    shifted = builder.shl(builder.sub(builder.bitcast(rounded, INTEGERS), integers(1)), integers(23))
    half = builder.bitcast(builder.add(builder.bitcast(p, INTEGERS), shifted), VECTOR)
    return multiply_add(builder, half, constant(2.0), constant(1.0))


@instruction
def one_plus_exp_minus(typing_context: Any, x: Any) -> Any:
    """1 + exp(-x) of every lane of a block; relative error below 2.5e-7. Infinity for x below -88.73; undefined for NaN."""
    if not isinstance(x, Vectors):
        return None

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return lanewise(args[0], builder, _one_plus_exp_minus)

    return x(x), generate


@instruction
def sigmoid(typing_context: Any, x: Any) -> Any:
    """1 / (1 + exp(-x)) of every lane of a block; NaN stays NaN. Relative error below 3e-7 for x above -88.7 and below that
    0, where the true value is less than float32's smallest normal number."""
    if not isinstance(x, Vectors):
        return None

    def one(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        y = builder.fdiv(constant(1.0), _one_plus_exp_minus(builder, x))
        return builder.select(builder.fcmp_unordered("uno", x, x), x, y)

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return lanewise(args[0], builder, one)

    return x(x), generate


@instruction
def swish(typing_context: Any, x: Any) -> Any:
    """x / (1 + exp(-x)) of every lane of a block: x * sigmoid(x) in one division; NaN stays NaN and -infinity becomes it.
    Relative error below 3e-7 for x above -88.7 and below that -0, where the true value is above -2.7e-37."""
    if not isinstance(x, Vectors):
        return None

    def one(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
        return builder.fdiv(x, _one_plus_exp_minus(builder, x))

    def generate(context: Any, builder: ir.IRBuilder, call: Any, args: Values) -> ir.Value:
        return lanewise(args[0], builder, one)

    return x(x), generate
