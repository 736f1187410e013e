"""Which 1x1 convolutions run through cuBLAS instead of `pointwise_conv2d.cu`, by GPU and shape, as measured.

Written by `pytest bench/bench_cuda_pointwise.py -m gpu` (it prints the table to put here). A GPU that is not listed uses the
kernel of this package. Inside a captured CUDA graph the kernel always runs: CuPy's cuBLAS calls refuse capture.
"""

from __future__ import annotations

# GPU name as CUDA reports it -> {(pixels, Cin, Cout) of the products that cuBLAS finishes first}
FASTER_WITH_CUBLAS: dict[str, frozenset[tuple[int, int, int]]] = {}
