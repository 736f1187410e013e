"""Depthwise convolution on the CPU: `epcore.ops.depthwise_conv2d` is the definition.

A strip of STRIP output pixels x LANES channels is summed in registers. Each kernel row loads the strip's input pixels
once and slides the taps over them. Padding is never copied: kernel rows outside the image are skipped, and strips that
stick out at the left or right load zeros there. One kernel is compiled for each (kernel size, stride) in use.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import prange

from epcore.kernels.cpu.arrays import blocks, check, check_gradient, empty, narrow, unblock, widen
from epcore.kernels.cpu.jit import kernel
from epcore.kernels.cpu.processor import LANES, STRIP_PIXELS
from epcore.kernels.cpu.reduction import PARTS, merge
from epcore.kernels.cpu.simd import fold, load_block, load_strip, slide, slide_products, splat, store_block, store_strip
from epcore.ops.depthwise_conv2d import output_shape
from epcore.shapes import Window


@cache
def correlate(size: int, stride: int) -> Callable[..., None]:
    """The kernel (x, w, y, p, q): y[i, j] = sum x[i * stride + u - p, j * stride + v - q] * w[u, v]."""
    STRIP = STRIP_PIXELS // stride
    PIXELS = (STRIP - 1) * stride + size

    @kernel
    def run(x: np.ndarray, w: np.ndarray, y: np.ndarray, p: int, q: int) -> None:
        N, H, W, C = x.shape
        _, OH, OW, _ = y.shape
        for task in prange(N * OH):
            n = task // OH
            h = (task - n * OH) * stride - p  # and k below: where the first tap lies
            for strip in range((OW + STRIP - 1) // STRIP):
                j = max(min(strip * STRIP, OW - STRIP), 0)  # the last strip overlaps the one before it
                k = j * stride - q
                inside = k >= 0 and k + PIXELS <= W
                for block in range((C + LANES - 1) // LANES):
                    c = min(block * LANES, C - LANES)  # so does the last block of channels
                    sums = splat(0.0, STRIP)
                    for u in range(max(-h, 0), min(size, H - h)):
                        row = (n * H + h + u) * W * C + c
                        taps = load_block(w, u * size * C + c, C, size)
                        if inside:
                            sums = slide(sums, load_block(x, row + k * C, C, PIXELS), taps, stride)
                        else:
                            sums = slide(sums, load_strip(x, row, k, W, C, PIXELS), taps, stride)
                    to = (task * OW + j) * C + c
                    if OW >= STRIP:
                        store_block(y, to, C, sums)
                    else:
                        store_strip(y, to, C, sums, OW)

    return run


@cache
def _gather(size: int, stride: int) -> Callable[..., None]:
    """The kernel (dy, w, dx, p, q): every dx gathers the dy it went into.

    Columns k = stride * m + phase share the taps v = first + stride * t, and meet dy at j = j0 + m - t: for each
    phase that is a sliding sum over dy with every stride-th tap, in reverse. w is padded to a multiple of stride columns.
    """
    STRIP = STRIP_PIXELS
    TAPS = (size + stride - 1) // stride
    PIXELS = STRIP + TAPS - 1

    @kernel
    def run(dy: np.ndarray, w: np.ndarray, dx: np.ndarray, p: int, q: int) -> None:
        N, OH, OW, _ = dy.shape
        _, H, W, C = dx.shape
        for task in prange(N * H):
            n = task // H
            h = task - n * H
            for first in range(stride):
                phase = (first - q) % stride
                columns = (W - phase + stride - 1) // stride
                j0 = (phase + q - first) // stride - (TAPS - 1)
                for strip in range((columns + STRIP - 1) // STRIP):
                    m = max(min(strip * STRIP, columns - STRIP), 0)
                    j = j0 + m
                    inside = j >= 0 and j + PIXELS <= OW
                    for block in range((C + LANES - 1) // LANES):
                        c = min(block * LANES, C - LANES)
                        sums = splat(0.0, STRIP)
                        for u in range((h + p) % stride, size, stride):
                            i = (h + p - u) // stride
                            if 0 <= i < OH:
                                row = (n * OH + i) * OW * C + c
                                last = (u * TAPS * stride + first + (TAPS - 1) * stride) * C + c
                                taps = load_block(w, last, -stride * C, TAPS)
                                if inside:
                                    sums = slide(sums, load_block(dy, row + j * C, C, PIXELS), taps, 1)
                                else:
                                    sums = slide(sums, load_strip(dy, row, j, OW, C, PIXELS), taps, 1)
                        to = (task * W + m * stride + phase) * C + c
                        if columns >= STRIP:
                            store_block(dx, to, stride * C, sums)
                        else:
                            store_strip(dx, to, stride * C, sums, columns)

    return run


@cache
def _weight_gradient(size: int, stride: int) -> Callable[..., None]:
    """The kernel (dy, x, partial, p, q): partial (P, size, size, C) sums x * dy over the P-th part of all dy rows."""
    STRIP = (6 if size < 5 else 4) if STRIP_PIXELS == 8 else 4
    PIXELS = (STRIP - 1) * stride + size
    SUMS = size * (3 if size < 5 else 2)

    @kernel
    def run(dy: np.ndarray, x: np.ndarray, partial: np.ndarray, p: int, q: int) -> None:
        N, H, W, C = x.shape
        _, OH, OW, _ = dy.shape
        rows, parts, width = N * OH, partial.shape[0], partial.shape[3]
        for part in prange(parts):
            partial[part] = 0.0
            for task in range(part * rows // parts, (part + 1) * rows // parts):
                n = task // OH
                h = (task - n * OH) * stride - p
                for block in range((C + LANES - 1) // LANES):
                    c = min(block * LANES, C - LANES)
                    for u in range(max(-h, 0), min(size, H - h)):
                        row = (n * H + h + u) * W * C + c
                        sums = splat(0.0, SUMS)
                        for j in range(0, OW, STRIP):
                            k = j * stride - q
                            if k >= 0 and k + PIXELS <= W and j + STRIP <= OW:
                                gradients = load_block(dy, (task * OW + j) * C + c, C, STRIP)
                                pixels = load_block(x, row + k * C, C, PIXELS)
                                sums = slide_products(sums, pixels, gradients, stride)
                            else:
                                gradients = load_strip(dy, task * OW * C + c, j, OW, C, STRIP)
                                pixels = load_strip(x, row, k, W, C, PIXELS)
                                sums = slide_products(sums, pixels, gradients, stride)
                        to = (part * size + u) * size * width + block * LANES
                        total = load_block(partial, to, width, size)
                        store_block(partial, to, width, total + fold(sums, total))

    return run


def scatter(x: np.ndarray, w: np.ndarray, y: np.ndarray, stride: int, p: int, q: int) -> None:
    """y[i * stride + u - p, j * stride + v - q] += x[i, j] * w[u, v], starting from zero: backward data, and the
    transposed convolution with diagonal weights. At least LANES channels."""
    size = w.shape[0]
    taps = np.pad(w, ((0, 0), (0, -size % stride), (0, 0)))
    _gather(size, stride)(x, taps, y, p, q)


def forward(x: np.ndarray, w: np.ndarray, *, stride: int = 1) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """x (N,H,W,C), w (k,k,C) float32 -> y (N, ceil(H/s), ceil(W/s), C).

    Raises TypeError or ValueError for what the kernels refuse; kernels that are not square are among it.
    """
    check("depthwise_conv2d", x=x, w=w)
    shape = output_shape(x.shape, w.shape, stride=stride)
    size = w.shape[0]
    if w.shape[1] != size:
        raise ValueError(f"depthwise_conv2d: w has shape {w.shape}, the cpu kernel takes square ones")
    y = empty((*shape[:3], max(shape[3], LANES)))
    correlate(size, stride)(widen(x), widen(w), y, *Window(x.shape, (size, size), stride).start)
    return narrow(y, shape[3]), (x, w)


def backward(
    dy: np.ndarray,
    saved: tuple[np.ndarray, np.ndarray],
    *,
    stride: int = 1,
    needs: tuple[bool, ...] | None = None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """dy as y -> (dx, dw)."""
    x, w = saved
    check_gradient("depthwise_conv2d", dy, output_shape(x.shape, w.shape, stride=stride))
    need_x, need_w = needs or (True, True)
    size, C = w.shape[0], x.shape[3]
    start = Window(x.shape, (size, size), stride).start
    wide_dy = widen(dy)
    dx = dw = None
    if need_x:
        dx = empty((*x.shape[:3], wide_dy.shape[3]))
        scatter(wide_dy, widen(w), dx, stride, *start)
        dx = narrow(dx, C)
    if need_w:
        wide_x = widen(x)
        parts = min(PARTS, dy.shape[0] * dy.shape[1])
        partial = empty((parts, size, size, blocks(C) * LANES))
        _weight_gradient(size, stride)(wide_dy, wide_x, partial, *start)
        total = empty(partial.shape[1:])
        merge(partial.reshape(parts, -1), total.ravel())
        dw = np.ascontiguousarray(narrow(unblock(total, max(C, LANES)), C))
    return dx, dw
