#include "reduce.cuh"

// Sums over rows: the gradient of a bias, and the second stage of every filter gradient.

// partial[slice][c] = sum over the slice's rows of a (rows, C). Map: reduce.cuh. Bytes: rows * C * sizeof(T). FLOPs: rows * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
column_sums(const T* __restrict__ a, double* __restrict__ partial, int rows, int rows_per_slice, int C) {
  column_partials<T, V, 1>(partial, rows, rows_per_slice, C, [&](int row, int c, T(&term)[1][V]) {
    const Pack<T, V> p = load<T, V>(a + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) term[0][v] = p.v[v];
  });
}

// out[c] = sum of the slices' partial sums. Map and cost: merge_to.
template <class T>
__global__ void __launch_bounds__(512)
column_merge(const double* __restrict__ partial, T* __restrict__ out, int slices, int C) {
  merge_to(partial, out, slices, C);
}
