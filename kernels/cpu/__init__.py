"""Numba kernels: float32 NHWC, one operator a file, explicit vectors (`simd`), the same bits for any number of threads.

Equations and indices are those of `epcore.ops`, whose legend says how they are spelled here. Work is divided by shape, never by
the number of threads, and partial sums are merged in the order of the division.
"""
