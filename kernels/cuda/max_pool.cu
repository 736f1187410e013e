#include "common.cuh"

// y = maximum over a size x size window that starts at (i * stride - top, j * stride - left); positions outside x never win.
// argmax is the winner's position in its window, row-major, the first of equals; NaN goes through, as in the reference.
// Thread: V channels of one output pixel, channels fastest. Bytes: x once (from L2 where windows overlap), y, one byte an
// output. FLOPs: size^2 per output.
template <class T, int V>
__global__ void __launch_bounds__(256)
max_pool_forward(const T* __restrict__ x, T* __restrict__ y, unsigned char* __restrict__ argmax, int N, int H, int W, int C,
                 int OH, int OW, int size, int stride, int top, int left, T lowest) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < N * OH * OW * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, ow = i / C % OW, oh = i / C / OW % OH, n = i / C / OW / OH;
    Pack<T, V> best = fill<T, V>(lowest);
    Pack<unsigned char, V> winner = fill<unsigned char, V>(0);
    for (int u = 0; u < size; ++u) {
      const int h = oh * stride - top + u;
      if (h < 0 || h >= H) continue;
      for (int s = 0; s < size; ++s) {
        const int w = ow * stride - left + s;
        if (w < 0 || w >= W) continue;
        const Pack<T, V> a = load<T, V>(x + ((size_t)(n * H + h) * W + w) * C + c);
#pragma unroll
        for (int v = 0; v < V; ++v) {
          if (a.v[v] > best.v[v]) winner.v[v] = (unsigned char)(u * size + s);
          if (a.v[v] > best.v[v] || isnan(a.v[v])) best.v[v] = a.v[v];
        }
      }
    }
    store(y + i, best);
    store(argmax + i, winner);
  }
}

// dx = sum of dy over the windows this element won, windows in row-major order.
// Thread: V channels of one input pixel. Bytes: dy and argmax once (from L2 where windows overlap), dx. FLOPs: one per window.
template <class T, int V>
__global__ void __launch_bounds__(256)
max_pool_backward(const T* __restrict__ dy, const unsigned char* __restrict__ argmax, T* __restrict__ dx, int N, int H, int W,
                  int C, int OH, int OW, int size, int stride, int top, int left) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < N * H * W * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, w = i / C % W, h = i / C / W % H, n = i / C / W / H;
    // windows oh with oh * stride - top <= h < oh * stride - top + size
    const int oh0 = max(0, (h + top - size + stride) / stride), oh1 = min(OH - 1, (h + top) / stride);
    const int ow0 = max(0, (w + left - size + stride) / stride), ow1 = min(OW - 1, (w + left) / stride);
    Pack<T, V> sum = fill<T, V>(0);
    for (int oh = oh0; oh <= oh1; ++oh)
      for (int ow = ow0; ow <= ow1; ++ow) {
        const size_t at = ((size_t)(n * OH + oh) * OW + ow) * C + c;
        const Pack<T, V> g = load<T, V>(dy + at);
        const Pack<unsigned char, V> winner = load<unsigned char, V>(argmax + at);
        const int position = (h - oh * stride + top) * size + w - ow * stride + left;
#pragma unroll
        for (int v = 0; v < V; ++v) sum.v[v] += winner.v[v] == position ? g.v[v] : T(0);
      }
    store(dx + i, sum);
  }
}
