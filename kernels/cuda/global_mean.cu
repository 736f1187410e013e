#include "reduce.cuh"

// Sums over the pixels of sample blockIdx.z, per channel and slice: partial[n][slice][c]. Map: reduce.cuh.
// Bytes: N * pixels * C * sizeof(T) read. FLOPs: N * pixels * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
global_mean_sums(const T* __restrict__ x, double* __restrict__ partial, int pixels, int rows_per_slice, int C) {
  x += (size_t)blockIdx.z * pixels * C;
  partial += (size_t)blockIdx.z * gridDim.y * C;
  column_partials<T, V, 1>(partial, pixels, rows_per_slice, C, [&](int row, int c, T(&term)[1][V]) {
    const Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) term[0][v] = a.v[v];
  });
}

// y[n,c] = sum over slices / pixels; blockIdx.y = sample. Bytes: 8 * N * slices * C. FLOPs: N * slices * C.
template <class T>
__global__ void __launch_bounds__(512)
global_mean_merge(const double* __restrict__ partial, T* __restrict__ y, int pixels, int slices, int C) {
  const double total = merge_slices(partial + (size_t)blockIdx.y * slices * C, slices, 1, 0, C);
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y == 0 && c < C) y[blockIdx.y * C + c] = T(total / pixels);
}

// dx[n,i,j,c] = dy[n,c] / pixels. blockIdx.z = sample; block (bx, by): V channels x rows, grid-stride over rows.
// Bytes: N * pixels * C * sizeof(T) written. FLOPs: N * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
global_mean_backward(const T* __restrict__ dy, T* __restrict__ dx, int pixels, int C) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  Pack<T, V> share = load<T, V>(dy + (size_t)blockIdx.z * C + c);
#pragma unroll
  for (int v = 0; v < V; ++v) share.v[v] /= pixels;
  dx += (size_t)blockIdx.z * pixels * C;
  for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < pixels; row += gridDim.y * blockDim.y)
    store(dx + (size_t)row * C + c, share);
}
