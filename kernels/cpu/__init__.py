"""Numba kernels: float32 NHWC, one operator a file, explicit vectors (`simd`), the same bits for any number of threads.

Work is divided by shape, never by the number of threads, and partial sums are merged in the order of the division.
"""
