"""CUDA kernels without a GPU: run on the processor, watched access by access, counted warp by warp."""
