"""Product with broadcasting on the GPU; equation and contract: `epcore.ops.multiply`. At most four axes."""

from __future__ import annotations

from epcore.base.arrays import Array
from epcore.kernels.cuda.launch import THREADS, ceil_div, check, check_shape, empty, flat, launch, width
from epcore.kernels.cuda.loader import Source
from epcore.ops.multiply import output_shape
from epcore.shapes import Shape

SOURCE = Source("multiply", ("multiply_equal<{T},{V}>", "multiply_stretched<{T}>", "multiply_gradient<{T}>"))


def forward(a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return _product(a, b), (a, b)


def backward(dy: Array, saved: tuple[Array, Array]) -> tuple[Array, Array]:
    a, b = saved
    check("multiply", dy=dy, a=a, b=b)
    check_shape("multiply", "dy", dy, output_shape(a.shape, b.shape))
    return _gradient(dy, b, a.shape), _gradient(dy, a, b.shape)


def _product(a: Array, b: Array) -> Array:
    T = check("multiply", a=a, b=b)
    shape = output_shape(a.shape, b.shape)
    y = empty(shape, a)
    if a.shape == b.shape:
        V = width(y.size, a, b, y)
        launch(SOURCE, T, f"multiply_equal<{T},{V}>", flat(y.size, V), a, b, y, y.size)
    else:
        _, H, W, C = four_axes("multiply", "the product", shape)
        strides = *stretched_strides(a.shape), *stretched_strides(b.shape)
        launch(SOURCE, T, f"multiply_stretched<{T}>", flat(y.size, 1), a, b, y, y.size, H, W, C, *strides)
    return y


def _gradient(dy: Array, other: Array, shape: Shape) -> Array:
    """The gradient of the factor with this shape: dy * other, summed over the axes the factor was stretched along."""
    if dy.shape == shape:
        return _product(dy, other)
    T = check("multiply", dy=dy, other=other)
    da = empty(shape, dy)
    full = four_axes("multiply", "dy", dy.shape)
    own = four_axes("multiply", "a factor", shape)
    repeats = [n // m for n, m in zip(full, own, strict=True)]
    warps = THREADS // 32
    launch(
        SOURCE, T, f"multiply_gradient<{T}>", ((ceil_div(da.size, warps),), (THREADS,)),
        dy, other, da, da.size, *full[1:], *own[1:], *repeats, *stretched_strides(other.shape),
    )  # fmt: skip
    return da


def four_axes(op: str, name: str, shape: Shape) -> Shape:
    """The shape with leading ones up to four axes. Raises ValueError for more than four."""
    if len(shape) > 4:
        raise ValueError(f"{op}: {name} has shape {shape}, the CUDA kernel takes at most four axes")
    return (1,) * (4 - len(shape)) + shape


def stretched_strides(shape: Shape) -> tuple[int, ...]:
    """Element strides in four axes, 0 along axes of length 1, so that the array can be read as if it were stretched."""
    strides, step = [], 1
    for n in reversed((1,) * (4 - len(shape)) + shape):
        strides.append(0 if n == 1 else step)
        step *= n
    return tuple(reversed(strides))
