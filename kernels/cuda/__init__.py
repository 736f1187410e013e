"""CUDA C++ kernels of the operators, launched through CuPy: one `.cu` file with its launcher of the same name an operator.

Equations and indices are those of `epcore.ops`, whose legend says how they are spelled here. `loader` compiles, `launch` checks
arrays and lays out grids. The same launchers run on NumPy arrays in the tests, where the kernels are compiled for the processor
(tests/cuda_on_host). docs/cuda.md says how all of it is proven without a GPU.
"""
