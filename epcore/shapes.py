"""Shape rules shared by operators, counters and exporters: Keras SAME padding, output sizes, layout at the border.

Inside epcore everything is NHWC; `nhwc_to_nchw` and `nchw_to_nhwc` exist for the edges of the package only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from epcore.base.arrays import Array, array_module

Shape = tuple[int, ...]


def output_size(size: int, stride: int) -> int:
    """Length of one axis after a SAME-padded window with this stride: ceil(size / stride)."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis in Keras' SAME padding; the smaller half comes first.

    At stride 2 and even sizes this is (0, 1) for a 3-wide kernel and (1, 2) for a 5-wide one, which is where ports
    that pad symmetrically diverge first.
    """
    total = max((output_size(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def transposed_crop(kernel: int, stride: int) -> int:
    """Rows that Keras' SAME transposed convolution drops at the start of the full output, so that out = in * stride."""
    return max(kernel - stride, 0) // 2


def window_padding(height: int, width: int, kernel: tuple[int, ...], stride: int) -> tuple[tuple[int, int], ...]:
    """SAME padding of an NHWC array for a kernel (kh, kw), in the form `numpy.pad` takes."""
    return (0, 0), same_padding(height, kernel[0], stride), same_padding(width, kernel[1], stride), (0, 0)


@dataclass(frozen=True)
class Window:
    """The windows that a convolution or a pooling with SAME padding lays over x (legend of indices: `epcore.ops`).

    x: shape (N,H,W,C) of the large side; for a transposed convolution that is y's, and its crop this padding. kernel: (kh, kw).
    To read x through the windows, `pad` it and take `tap` after `tap`; to add to it, start from zeros of shape `padded`, add to
    `tap` after `tap`, and `crop` in the end.
    """

    x: Shape
    kernel: tuple[int, ...]
    stride: int

    @cached_property
    def padding(self) -> tuple[tuple[int, int], ...]:
        """(before, after) of every axis, in the form `numpy.pad` takes."""
        return window_padding(self.x[1], self.x[2], self.kernel, self.stride)

    @property
    def start(self) -> tuple[int, int]:
        """p, q: rows and columns of padding before x."""
        return self.padding[1][0], self.padding[2][0]

    @property
    def padded(self) -> Shape:
        """Shape of x with its padding: every tap of every window lies within."""
        return tuple(n + sum(each) for n, each in zip(self.x, self.padding, strict=True))

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """x -> its padded copy."""
        padded: Array = array_module(x).pad(x, self.padding, constant_values=value)
        return padded

    def taps(self) -> Iterator[tuple[int, int]]:
        """All (u, v), row after row."""
        return product(range(self.kernel[0]), range(self.kernel[1]))

    def tap(self, u: int, v: int) -> tuple[slice, slice, slice]:
        """Where tap (u,v) of all windows lies in the padded x: an index that gives (N,OH,OW,C)."""
        return (slice(None), self._tap(self.x[1], u), self._tap(self.x[2], v))

    def _tap(self, size: int, offset: int) -> slice:
        return slice(offset, offset + (output_size(size, self.stride) - 1) * self.stride + 1, self.stride)

    def crop(self, padded: Array) -> Array:
        """A view of the padded array without its padding."""
        p, q = self.start
        return padded[:, p : p + self.x[1], q : q + self.x[2]]


def nhwc_to_nchw(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def nchw_to_nhwc(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def kernel_to_nchw(kernel: Array) -> Array:
    """A kernel as PyTorch and ONNX take it: (kh,kw,Cin,Cout) -> (Cout,Cin,kh,kw), transposed convolutions' (kh,kw,Cout,Cin) ->
    (Cin,Cout,kh,kw), depthwise (kh,kw,C), the only ones of three axes, -> (C,1,kh,kw).
    """
    return kernel.transpose(2, 0, 1)[:, None] if kernel.ndim == 3 else kernel.transpose(3, 2, 0, 1)


def kernel_from_nchw(kernel: Array, *, depthwise: bool = False) -> Array:
    """The way back from `kernel_to_nchw`."""
    return kernel[:, 0].transpose(1, 2, 0) if depthwise else kernel.transpose(2, 3, 1, 0)
