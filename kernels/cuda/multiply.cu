#include "elementwise.cuh"

// Arrays of up to four axes; a stride of 0 stretches an axis (broadcasting).
struct Index {
  int n, h, w, c;
};
__device__ __forceinline__ Index split(int i, int H, int W, int C) {
  return {i / C / W / H, i / C / W % H, i / C % W, i % C};
}

// y = a * b of equal shapes. Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: n.
template <class T, int V>
__global__ void __launch_bounds__(256)
multiply_equal(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int n) {
  map<T, V>(a, b, y, n, [](T p, T q) { return p * q; });
}

// y = a * b, either one stretched. Thread: one element of y (N,H,W,C), grid-stride. Bytes: N*H*W*C * sizeof(T) written, and
// what a and b hold read once from memory. FLOPs: N*H*W*C.
template <class T>
__global__ void __launch_bounds__(256)
multiply_stretched(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int size, int H, int W, int C, int an,
                   int ah, int aw, int ac, int bn, int bh, int bw, int bc) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    const Index p = split(i, H, W, C);
    y[i] = a[p.n * an + p.h * ah + p.w * aw + p.c * ac] * b[p.n * bn + p.h * bh + p.w * bw + p.c * bc];
  }
}

// da[i] = sum of dy * b over everything a[i] was stretched to: axis k of dy has `a`'s length times r_k.
// Warp: one element of da; lanes walk the stretched axes in turn and are summed in a fixed tree, in double.
// (an..ac), (bn..bc): strides of a and b in dy's axes, 0 where stretched; (H,W,C), (AH,AW,AC): lengths of dy and of a.
// Bytes: dy and b once, da once. FLOPs: 2 * size of dy.
template <class T>
__global__ void __launch_bounds__(256)
multiply_gradient(const T* __restrict__ dy, const T* __restrict__ b, T* __restrict__ da, int size, int H, int W, int C, int AH,
                  int AW, int AC, int rn, int rh, int rw, int rc, int bn, int bh, int bw, int bc) {
  const int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (i >= size) return;  // whole warps leave
  const Index p = split(i, AH, AW, AC);
  const int count = rn * rh * rw * rc;
  double sum = 0;
  for (int k = threadIdx.x % 32; k < count; k += 32) {
    const Index q = split(k, rh, rw, rc);
    const int n = p.n + q.n, h = p.h + q.h, w = p.w + q.w, c = p.c + q.c;  // one of the two is 0 on every axis
    sum += double(dy[((n * H + h) * W + w) * C + c] * b[n * bn + h * bh + w * bw + c * bc]);
  }
#pragma unroll
  for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, d);
  if (threadIdx.x % 32 == 0) da[i] = T(sum);
}
