// One thread = one pack of V neighbouring elements, grid-stride: a warp reads and writes 512 contiguous bytes.
#pragma once
#include "common.cuh"

// y[i] = f(a[i]) for n elements; n is a multiple of V.
template <class T, int V, class F>
__device__ __forceinline__ void map(const T* a, T* y, int n, F f) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < n; i += gridDim.x * blockDim.x * V) {
    const Pack<T, V> p = load<T, V>(a + i);
    Pack<T, V> q;
#pragma unroll
    for (int j = 0; j < V; ++j) q.v[j] = f(p.v[j]);
    store(y + i, q);
  }
}

// y[i] = f(a[i], b[i])
template <class T, int V, class F>
__device__ __forceinline__ void map(const T* a, const T* b, T* y, int n, F f) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < n; i += gridDim.x * blockDim.x * V) {
    const Pack<T, V> p = load<T, V>(a + i), q = load<T, V>(b + i);
    Pack<T, V> r;
#pragma unroll
    for (int j = 0; j < V; ++j) r.v[j] = f(p.v[j], q.v[j]);
    store(y + i, r);
  }
}
