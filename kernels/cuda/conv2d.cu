#include "gemm.cuh"
#include "reduce.cuh"

// Dense kh x kw convolution, stride s, SAME padding `top`, `left`: x (N,H,W,Cin), w (kh,kw,Cin,Cout), y (N,OH,OW,Cout). All
// three are the product of gemm.cuh over patches that are read in place. The transposed convolution is the same three with x
// and y in each other's place. FLOPs: 2 * N*OH*OW * kh*kw*Cin*Cout each.

struct Geometry {
  int H, W, Cin, OH, OW, Cout, kh, kw, s, top, left;
};

// The patch matrix: row = output pixel (n, oh, ow), column = (u, v, c).
template <class T, int V, bool PIXELS_ARE_K>
struct Patches {
  static constexpr bool K_FAST = !PIXELS_ARE_K;
  const T* x;
  Geometry g;
  __device__ __forceinline__ Pack<T, V> load(int i, int k) const {
    const int pixel = PIXELS_ARE_K ? k : i, column = PIXELS_ARE_K ? i : k;
    const int c = column % g.Cin, v = column / g.Cin % g.kw, u = column / g.Cin / g.kw;
    const int h = pixel / g.OW % g.OH * g.s - g.top + u, w = pixel % g.OW * g.s - g.left + v, n = pixel / g.OW / g.OH;
    if (h < 0 || h >= g.H || w < 0 || w >= g.W) return fill<T, V>(0);
    return ::load<T, V>(x + ((size_t)(n * g.H + h) * g.W + w) * g.Cin + c);
  }
};

// One of the s*s classes of input pixels (h % s == a, w % s == b): exactly the taps u = u0 + s*t reach all its pixels.
struct Class {
  int a, b, rows, columns, u0, v0, taps_v, taps;
  __device__ Class(const Geometry& g, int index)
      : a(index / g.s), b(index % g.s), rows((g.H - a + g.s - 1) / g.s), columns((g.W - b + g.s - 1) / g.s),
        u0((a + g.top) % g.s), v0((b + g.left) % g.s), taps_v(max(0, (g.kw - v0 + g.s - 1) / g.s)),
        taps(max(0, (g.kh - u0 + g.s - 1) / g.s) * taps_v) {}
};

// Row = input pixel of a class, column = (tap, o): dy[(h + top - u) / s, (w + left - v) / s, o].
template <class T, int V>
struct Gradients {
  static constexpr bool K_FAST = true;
  const T* dy;
  Geometry g;
  Class q;
  __device__ __forceinline__ Pack<T, V> load(int m, int k) const {
    const int o = k % g.Cout, tap = k / g.Cout;
    const int h = m / q.columns % q.rows * g.s + q.a, w = m % q.columns * g.s + q.b, n = m / q.columns / q.rows;
    const int oh = (h + g.top - q.u0) / g.s - tap / q.taps_v, ow = (w + g.left - q.v0) / g.s - tap % q.taps_v;
    if (oh < 0 || oh >= g.OH || ow < 0 || ow >= g.OW) return fill<T, V>(0);
    return ::load<T, V>(dy + ((size_t)(n * g.OH + oh) * g.OW + ow) * g.Cout + o);
  }
};

// Row (n of the product) = input channel, column = (tap, o): w[u, v, c, o].
template <class T, int V>
struct TapWeights {
  static constexpr bool K_FAST = true;
  const T* w;
  Geometry g;
  Class q;
  __device__ __forceinline__ Pack<T, V> load(int c, int k) const {
    const int o = k % g.Cout, tap = k / g.Cout;
    const int u = q.u0 + tap / q.taps_v * g.s, v = q.v0 + tap % q.taps_v * g.s;
    return ::load<T, V>(w + ((size_t)(u * g.kw + v) * g.Cin + c) * g.Cout + o);
  }
};

template <class T, int V>
struct ClassPixels {
  Epilogue<T, V> out;
  Geometry g;
  Class q;
  __device__ __forceinline__ void operator()(int m, int c, const Pack<T, V>& p) const {
    const int h = m / q.columns % q.rows * g.s + q.a, w = m % q.columns * g.s + q.b, n = m / q.columns / q.rows;
    out((n * g.H + h) * g.W + w, c, p);
  }
};

// y = activation(conv(x, w) + bias); bias may be null. Block: one tile of pixels (blockIdx.x) x output channels (blockIdx.y).
// Bytes: N*H*W*Cin (overlaps from L2) + kh*kw*Cin*Cout + N*OH*OW*Cout, times sizeof(T).
template <class T, int V, class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 4)
conv2d_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ y, int kind,
               T parameter, int N, int H, int W, int Cin, int OH, int OW, int Cout, int kh, int kw, int s, int top, int left) {
  const Geometry g{H, W, Cin, OH, OW, Cout, kh, kw, s, top, left};
  gemm<T, V, Shape>(Patches<T, V, false>{x, g}, Columns<T, V>{w, Cout}, Epilogue<T, V>{y, Cout, bias, nullptr, kind, parameter},
                    blockIdx.x * Shape::BM, blockIdx.y * Shape::BN, N * OH * OW, Cout, 0, kh * kw * Cin);
}

// dx (+ bias, for the transposed convolution's forward). Block: one tile of a class's pixels (blockIdx.x) x input channels
// (blockIdx.y), blockIdx.z = class: no product with a tap that cannot reach. Bytes: as forward.
template <class T, int V, class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 4)
conv2d_backward_data(const T* __restrict__ dy, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ dx, int N,
                     int H, int W, int Cin, int OH, int OW, int Cout, int kh, int kw, int s, int top, int left) {
  const Geometry g{H, W, Cin, OH, OW, Cout, kh, kw, s, top, left};
  const Class q(g, blockIdx.z);
  const int M = N * q.rows * q.columns;
  if (int(blockIdx.x) * Shape::BM >= M) return;  // classes differ by a row or column; the whole block leaves
  gemm<T, V, Shape>(Gradients<T, V>{dy, g, q}, TapWeights<T, V>{w, g, q},
                    ClassPixels<T, V>{{dx, Cin, bias, nullptr, NONE, T(0)}, g, q}, blockIdx.x * Shape::BM,
                    blockIdx.y * Shape::BN, M, Cin, 0, q.taps * Cout);
}

// partial[slice] = patches^T @ dy over the slice's output pixels, slice = blockIdx.z; block: one tile of (u, v, c) x o.
// Bytes: as forward, and 8 * slices * kh*kw*Cin*Cout.
template <class T, int V, class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 4)
conv2d_backward_filter(const T* __restrict__ x, const T* __restrict__ dy, double* __restrict__ partial, int rows_per_slice, int N,
                       int H, int W, int Cin, int OH, int OW, int Cout, int kh, int kw, int s, int top, int left) {
  const Geometry g{H, W, Cin, OH, OW, Cout, kh, kw, s, top, left};
  const int rows = kh * kw * Cin, first = blockIdx.z * rows_per_slice;
  gemm<T, V, Shape>(Patches<T, V, true>{x, g}, Columns<T, V>{dy, Cout},
                    Partial<T, V>{partial + (size_t)blockIdx.z * rows * Cout, Cout, 1}, blockIdx.x * Shape::BM,
                    blockIdx.y * Shape::BN, rows, Cout, first, min(N * OH * OW, first + rows_per_slice));
}
