"""Fast versions of the operators of `epcore.ops`, under the same names: `cpu` (Numba) and `cuda` (CUDA C++)."""

if __name__ != "epcore.kernels":
    raise ImportError(f"import this package as epcore.kernels, not as {__name__!r}")
