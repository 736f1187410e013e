"""Shape rules shared by operators, counters and exporters: Keras SAME padding, output sizes, layout at the border.

Inside epcore everything is NHWC; `nhwc_to_nchw` and `nchw_to_nhwc` exist for the edges of the package only."""

from __future__ import annotations

from epcore.backend import Array

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


def nhwc_to_nchw(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2)


def nchw_to_nhwc(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def kernel_to_nchw(kernel: Array, *, depthwise: bool = False) -> Array:
    """A kernel as PyTorch and ONNX take it: (kh,kw,Cin,Cout) -> (Cout,Cin,kh,kw), transposed convolutions' (kh,kw,Cout,Cin) ->
    (Cin,Cout,kh,kw), depthwise (kh,kw,C) -> (C,1,kh,kw).
    """
    return kernel.transpose(2, 0, 1)[:, None] if depthwise else kernel.transpose(3, 2, 0, 1)


def kernel_from_nchw(kernel: Array, *, depthwise: bool = False) -> Array:
    """The way back from `kernel_to_nchw`."""
    return kernel[:, 0].transpose(1, 2, 0) if depthwise else kernel.transpose(2, 3, 1, 0)
