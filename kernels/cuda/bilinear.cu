#include "common.cuh"

// The paper's upscaling: a transposed 4x4 stride-2 convolution whose kernel is diagonal bilinear, zeros outside:
//   y[2i] = .25 x[i-1] + .75 x[i],  y[2i+1] = .75 x[i] + .25 x[i+1]   along each axis.
// 2 x 2 multiply-adds an output instead of the dense kernel's 4 * C.

// Thread: V channels of one output pixel. Bytes: 5 * N*H*W*C * sizeof(T) (x once from memory, y). FLOPs: 6 * 4 * N*H*W*C.
template <class T, int V>
__global__ void __launch_bounds__(256) bilinear_forward(const T* __restrict__ x, T* __restrict__ y, int N, int H, int W, int C) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < 4 * N * H * W * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, ow = i / C % (2 * W), oh = i / C / (2 * W) % (2 * H), n = i / C / (2 * W) / (2 * H);
    Pack<T, V> sum = fill<T, V>(0);
#pragma unroll
    for (int u = 0; u < 2; ++u) {
      const int h = (oh + 1) / 2 - 1 + u;  // the two rows around output row oh
      const T a = (oh + u) % 2 ? T(0.75) : T(0.25);
#pragma unroll
      for (int s = 0; s < 2; ++s) {
        const int w = (ow + 1) / 2 - 1 + s;
        const T f = a * ((ow + s) % 2 ? T(0.75) : T(0.25));
        if (h >= 0 && h < H && w >= 0 && w < W)
          multiply_add(sum, load<T, V>(x + ((size_t)(n * H + h) * W + w) * C + c), fill<T, V>(f));
      }
    }
    store(y + i, sum);
  }
}

// dx[i] = .25 dy[2i-1] + .75 dy[2i] + .75 dy[2i+1] + .25 dy[2i+2] along each axis. Thread: V channels of one input pixel.
// Bytes: 5 * N*H*W*C * sizeof(T). FLOPs: 32 * N*H*W*C.
template <class T, int V>
__global__ void __launch_bounds__(256) bilinear_backward(const T* __restrict__ dy, T* __restrict__ dx, int N, int H, int W, int C) {
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < N * H * W * C; i += gridDim.x * blockDim.x * V) {
    const int c = i % C, w = i / C % W, h = i / C / W % H, n = i / C / W / H;
    Pack<T, V> sum = fill<T, V>(0);
#pragma unroll
    for (int u = 0; u < 4; ++u) {
      const int oh = 2 * h - 1 + u;
      if (oh < 0 || oh >= 2 * H) continue;
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const int ow = 2 * w - 1 + s;
        if (ow < 0 || ow >= 2 * W) continue;
        const T f = (u == 0 || u == 3 ? T(0.25) : T(0.75)) * (s == 0 || s == 3 ? T(0.25) : T(0.75));
        multiply_add(sum, load<T, V>(dy + ((size_t)(n * 2 * H + oh) * 2 * W + ow) * C + c), fill<T, V>(f));
      }
    }
    store(dx + i, sum);
  }
}
