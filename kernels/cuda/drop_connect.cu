#include "common.cuh"

// y[n,...] = x[n,...] * (mask[n] / keep), keep = 1 - rate; the gradient is the same map of dy.
// blockIdx.y = sample; thread: V elements of it, grid-stride. Bytes: 2 * N * size * sizeof(T). FLOPs: N * size.
template <class T, int V>
__global__ void __launch_bounds__(256)
drop_connect(const T* __restrict__ x, const T* __restrict__ mask, T* __restrict__ y, T keep, int size) {
  const T scale = mask[blockIdx.y] / keep;
  x += (size_t)blockIdx.y * size;
  y += (size_t)blockIdx.y * size;
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < size; i += gridDim.x * blockDim.x * V) {
    Pack<T, V> a = load<T, V>(x + i);
#pragma unroll
    for (int j = 0; j < V; ++j) a.v[j] *= scale;
    store(y + i, a);
  }
}
