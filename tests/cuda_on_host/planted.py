"""CUDA C++ with one mistake a kernel, and some without: what the emulator and the sanitizers have to notice."""

from __future__ import annotations

import numpy as np

from cuda_on_host.host_module import HostModule

KERNELS = r"""
template <int N> __global__ void transpose(const float* a, float* b, int rows, int columns) {
  __shared__ float tile[N][N + 1];
  int c = blockIdx.x * N + threadIdx.x, r = blockIdx.y * N + threadIdx.y;
  if (r < rows && c < columns) tile[threadIdx.y][threadIdx.x] = a[r * columns + c];
#ifndef MISSING_BARRIER
  __syncthreads();
#endif
  c = blockIdx.y * N + threadIdx.x; r = blockIdx.x * N + threadIdx.y;
  if (r < columns && c < rows) b[r * rows + c] = tile[threadIdx.x][threadIdx.y];
}
__global__ void warp_total(const int* x, int* y) {
  int v = x[threadIdx.x];
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  y[threadIdx.x] = v + __shfl_down_sync(0xffffffffu, v, 1) - __shfl_sync(0xffffffffu, v, 0);
}
__global__ void read_past_the_end(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i + 1];
}
__global__ void write_past_shared(float* y) {
  __shared__ float s[32];
  s[threadIdx.x + 1] = 1.f;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x + 1];
}
__global__ void diverging_barrier(float* y) {
  __shared__ float s[64];
  s[threadIdx.x] = float(threadIdx.x);
  if (threadIdx.x < 40) __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}
__global__ void two_barriers(float* y) {
  if (threadIdx.x < 40)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = 1.f;
}
__global__ void lost_lane(int* y) {
  if (threadIdx.x < 31) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}
__global__ void uninitialised_shared(float* y) {
  __shared__ float s[64];
  if (threadIdx.x < 32) s[threadIdx.x] = 1.f;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
struct alignas(16) Four { float v[4]; };
__global__ void misaligned(const float* x, float* y) {
  y[threadIdx.x] = reinterpret_cast<const Four*>(x + 1 + 4 * threadIdx.x)->v[0];
}
__global__ void race(float* y) { y[0] = float(threadIdx.x); }
"""
NAMES = (
    "transpose<8>", "warp_total", "read_past_the_end", "write_past_shared", "diverging_barrier", "two_barriers", "lost_lane",
    "uninitialised_shared", "misaligned", "race",
)  # fmt: skip


def transpose(module: HostModule) -> tuple[np.ndarray, np.ndarray]:
    """A matrix and what the transpose kernel makes of it (NaN where it writes nothing)."""
    a = np.arange(21 * 13, dtype=np.float32).reshape(21, 13)
    b = np.full((13, 21), np.nan, np.float32)
    module.get_function("transpose<8>")((2, 3), (8, 8), (a, b, np.int32(21), np.int32(13)))
    return a, b


def run(kernel: str, sanitizer: str, define: str = "") -> None:
    """Run one kernel in this process, compiled with the sanitizer."""
    module = HostModule(f"{define}\n{KERNELS}", NAMES, name="planted", build=sanitizer)
    x, y = np.ones(1000, np.float32), np.zeros(1000, np.float32)
    match kernel:
        case "transpose<8>":
            transpose(module)
        case "read_past_the_end":
            module.get_function(kernel)((4,), (256,), (x, y, np.int32(1000)))
        case "misaligned":
            module.get_function(kernel)((1,), (32,), (x, y))
        case _:
            module.get_function(kernel)((1,), (32,), (y,))
