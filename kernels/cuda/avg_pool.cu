#include "common.cuh"

// y = mean of a size x size window, windows side by side. Thread: V channels of one output pixel, channels fastest.
// Bytes: N * (OH*OW*size^2 + OH*OW) * C * sizeof(T). FLOPs: size^2 per output.
template <class T, int V>
__global__ void __launch_bounds__(256)
avg_pool_forward(const T* __restrict__ x, T* __restrict__ y, int N, int H, int W, int C, int OH, int OW, int size) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < N * OH * OW * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, ow = i / C % OW, oh = i / C / OW % OH, n = i / C / OW / OH;
    Pack<T, V> sum = fill<T, V>(0);
    for (int u = 0; u < size; ++u)
      for (int s = 0; s < size; ++s) {
        const Pack<T, V> a = load<T, V>(x + ((size_t)(n * H + oh * size + u) * W + ow * size + s) * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) sum.v[v] += a.v[v];
      }
#pragma unroll
    for (int v = 0; v < V; ++v) sum.v[v] /= size * size;
    store(y + i, sum);
  }
}

// dx = dy / size^2 of the window the pixel lies in, 0 in the odd rest. Thread: V channels of one input pixel.
// Bytes: N * (OH*OW + H*W) * C * sizeof(T). FLOPs: one per input.
template <class T, int V>
__global__ void __launch_bounds__(256)
avg_pool_backward(const T* __restrict__ dy, T* __restrict__ dx, int N, int H, int W, int C, int OH, int OW, int size) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < N * H * W * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, ow = i / C % W / size, oh = i / C / W % H / size, n = i / C / W / H;
    Pack<T, V> share = fill<T, V>(0);
    if (oh < OH && ow < OW) share = load<T, V>(dy + ((size_t)(n * OH + oh) * OW + ow) * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) share.v[v] /= size * size;
    store(dx + i, share);
  }
}
