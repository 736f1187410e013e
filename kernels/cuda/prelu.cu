#include "reduce.cuh"

// y = x where x > 0, alpha[c] * x elsewhere. Block (bx, by): V channels x rows, grid-stride over rows.
// Bytes: 2 * rows * C * sizeof(T). FLOPs: rows * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
prelu_forward(const T* __restrict__ x, const T* __restrict__ alpha, T* __restrict__ y, int rows, int C) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  const Pack<T, V> slope = load<T, V>(alpha + c);
  for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
    Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) a.v[v] = a.v[v] > T(0) ? a.v[v] : slope.v[v] * a.v[v];
    store(y + (size_t)row * C + c, a);
  }
}

// dx = dy where x > 0, alpha[c] * dy elsewhere, and on the way the sums of dy * min(x, 0) per channel and slice.
// Map: reduce.cuh. Bytes: 3 * rows * C * sizeof(T). FLOPs: 3 rows * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
prelu_backward(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ alpha, T* __restrict__ dx,
               double* __restrict__ partial, int rows, int rows_per_slice, int C) {
  column_partials<T, V, 1>(partial, rows, rows_per_slice, C, [&](int row, int c, T(&term)[1][V]) {
    const Pack<T, V> g = load<T, V>(dy + (size_t)row * C + c), a = load<T, V>(x + (size_t)row * C + c);
    const Pack<T, V> slope = load<T, V>(alpha + c);
    Pack<T, V> d;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      d.v[v] = a.v[v] > T(0) ? g.v[v] : slope.v[v] * g.v[v];
      term[0][v] = g.v[v] * (a.v[v] > T(0) ? T(0) : a.v[v]);
    }
    store(dx + (size_t)row * C + c, d);
  });
}

// dalpha. Map and cost: merge_to.
template <class T>
__global__ void __launch_bounds__(512)
prelu_merge(const double* __restrict__ partial, T* __restrict__ dalpha, int slices, int C) {
  merge_to(partial, dalpha, slices, C);
}
