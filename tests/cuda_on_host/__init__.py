"""CUDA C++ kernels without a GPU: run on the processor (`host_module`) and compiled for real targets (`compile_gate`)."""
