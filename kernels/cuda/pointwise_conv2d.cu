#include "gemm.cuh"
#include "reduce.cuh"

// 1x1 convolution: matrix products over M = N*H*W pixels. x (M,Cin), w (Cin,Cout), y (M,Cout). Map of all: gemm.cuh; a block
// is one tile, blockIdx.x along pixels, blockIdx.y along channels. FLOPs: 2 * M * Cin * Cout each.

// Rows of x; where GATED every channel of a sample is scaled by that sample's gate (squeeze-and-excitation applied on the way in).
template <class T, int V, bool GATED>
struct GatedRows {
  static constexpr bool K_FAST = true;
  const T *x, *gate;  // gate (N,Cin)
  int ld, pixels;
  __device__ __forceinline__ Pack<T, V> load(int m, int k) const {
    Pack<T, V> a = ::load<T, V>(x + (size_t)m * ld + k);
    if constexpr (GATED) {
      const Pack<T, V> g = ::load<T, V>(gate + (size_t)(m / pixels) * ld + k);
#pragma unroll
      for (int v = 0; v < V; ++v) a.v[v] *= g.v[v];
    }
    return a;
  }
};

// y = activation((x * gate) @ w + bias) + residual; bias and residual may be null.
// Bytes: (M*Cin*ceil(Cout/BN) from L2, once from memory) + Cin*Cout + M*Cout (+ M*Cout residual), times sizeof(T).
template <class T, int V, class Shape, bool GATED>
__global__ void __launch_bounds__(Shape::THREADS, 4)
pointwise_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, const T* __restrict__ residual,
                  const T* __restrict__ gate, T* __restrict__ y, int kind, T parameter, int M, int Cin, int Cout, int pixels) {
  gemm<T, V, Shape>(GatedRows<T, V, GATED>{x, gate, Cin, pixels}, Columns<T, V>{w, Cout},
                    Epilogue<T, V>{y, Cout, bias, residual, kind, parameter}, blockIdx.x * Shape::BM, blockIdx.y * Shape::BN, M,
                    Cout, 0, Cin);
}

// dx = dy @ w^T. Bytes: M*Cout + Cin*Cout + M*Cin, times sizeof(T).
template <class T, int V, class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 4)
pointwise_backward_data(const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx, int M, int Cin, int Cout) {
  gemm<T, V, Shape>(Rows<T, V>{dy, Cout}, Rows<T, V>{w, Cout}, Epilogue<T, V>{dx, Cin, nullptr, nullptr, NONE, T(0)},
                    blockIdx.x * Shape::BM, blockIdx.y * Shape::BN, M, Cin, 0, Cout);
}

// partial[slice] = a^T @ b over the slice's pixels, slice = blockIdx.z: a (M,Ca), b (M,Cb); element (i, j) of the product goes to
// i * next_a + j * next_b. So dw = x^T @ dy may be computed as (dy^T @ x)^T, whichever way fills the tiles better.
// Bytes: M*Ca + M*Cb read, times sizeof(T), and 8 * slices * Ca*Cb.
template <class T, int V, class Shape>
__global__ void __launch_bounds__(Shape::THREADS, 4)
pointwise_backward_filter(const T* __restrict__ a, const T* __restrict__ b, double* __restrict__ partial, int M,
                          int rows_per_slice, int Ca, int Cb, int next_a, int next_b) {
  const int first = blockIdx.z * rows_per_slice;
  gemm<T, V, Shape>(Columns<T, V>{a, Ca}, Columns<T, V>{b, Cb},
                    Partial<T, V>{partial + (size_t)blockIdx.z * Ca * Cb, next_a, next_b}, blockIdx.x * Shape::BM,
                    blockIdx.y * Shape::BN, Ca, Cb, first, min(M, first + rows_per_slice));
}
