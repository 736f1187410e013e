#include "reduce.cuh"

// pixels = H*W; C channels, reduced to R. `kind` and `parameter`: the hidden activation (common.cuh; ESWISH or RELU).

// Sum of lane * value over a warp in a fixed tree; every lane gets it.
template <class T>
__device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
  for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

template <class T>
__device__ __forceinline__ T hidden_derivative(int kind, T parameter, T t) {
  if (kind == ESWISH) return eswish_derivative(parameter, t);
  return t > T(0) && t < parameter ? T(1) : T(0);
}

// Sums over the pixels of sample blockIdx.z of x (forward) or of dy * x (backward): partial[n][slice][c]. Map: reduce.cuh.
// Bytes: (1 or 2) * N * pixels * C * sizeof(T) read. FLOPs: (1 or 2) N * pixels * C.
template <class T, int V, bool PRODUCT>
__global__ void __launch_bounds__(256)
squeeze_excite_sums(const T* __restrict__ x, const T* __restrict__ dy, double* __restrict__ partial, int pixels,
                    int rows_per_slice, int C) {
  x += (size_t)blockIdx.z * pixels * C;
  dy += PRODUCT ? (size_t)blockIdx.z * pixels * C : 0;
  partial += (size_t)blockIdx.z * gridDim.y * C;
  column_partials<T, V, 1>(partial, pixels, rows_per_slice, C, [&](int row, int c, T(&term)[1][V]) {
    const Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) term[0][v] = a.v[v];
    if (PRODUCT) {
      const Pack<T, V> g = load<T, V>(dy + (size_t)row * C + c);
#pragma unroll
      for (int v = 0; v < V; ++v) term[0][v] *= g.v[v];
    }
  });
}

// mean, reduced (before the activation) and gate of sample blockIdx.x, in one block.
// Thread: channels threadIdx.x, + blockDim.x, ... for mean and gate; one warp per reduced unit. Dynamic shared memory: C + R
// values. Bytes: N * (8 * slices * C + 2 * C * R * sizeof(T)), the weights from L2. FLOPs: N * (slices * C + 4 C * R).
template <class T>
__global__ void __launch_bounds__(256)
squeeze_excite_gate(const double* __restrict__ partial, const T* __restrict__ w_reduce, const T* __restrict__ b_reduce,
                    const T* __restrict__ w_expand, const T* __restrict__ b_expand, T* __restrict__ mean,
                    T* __restrict__ reduced, T* __restrict__ gate, int kind, T parameter, int pixels, int slices, int C, int R) {
  extern __shared__ double arena[];
  T* means = reinterpret_cast<T*>(arena);  // [C]
  T* hidden = means + C;                   // [R]
  const int n = blockIdx.x;
  partial += (size_t)n * slices * C;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    double sum = 0;
    for (int s = 0; s < slices; ++s) sum += partial[(size_t)s * C + c];
    means[c] = mean[n * C + c] = T(sum / pixels);
  }
  __syncthreads();
  for (int r = threadIdx.x / 32; r < R; r += blockDim.x / 32) {
    T sum = 0;
    for (int c = threadIdx.x % 32; c < C; c += 32) sum += means[c] * w_reduce[c * R + r];
    sum = warp_sum(sum) + b_reduce[r];
    if (threadIdx.x % 32 == 0) {
      reduced[n * R + r] = sum;
      hidden[r] = activate(kind, parameter, sum);
    }
  }
  __syncthreads();
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    T sum = b_expand[c];
    for (int r = 0; r < R; ++r) sum += hidden[r] * w_expand[r * C + c];
    gate[n * C + c] = sigmoid(sum);
  }
}

// y = x * gate[n,c] (forward) or y = x * gate[n,c] + shift[n,c] / pixels (backward, x being dy and shift dmean).
// blockIdx.z = sample; block (bx, by): V channels x rows, grid-stride over rows. Bytes: 2 * N * pixels * C * sizeof(T).
// FLOPs: (1 or 2) N * pixels * C.
template <class T, int V, bool SHIFT>
__global__ void __launch_bounds__(256)
squeeze_excite_scale(const T* __restrict__ x, const T* __restrict__ gate, const T* __restrict__ shift, T* __restrict__ y,
                     int pixels, int C) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  const Pack<T, V> g = load<T, V>(gate + (size_t)blockIdx.z * C + c);
  Pack<T, V> s = fill<T, V>(0);
  if (SHIFT) {
    s = load<T, V>(shift + (size_t)blockIdx.z * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) s.v[v] /= pixels;
  }
  x += (size_t)blockIdx.z * pixels * C;
  y += (size_t)blockIdx.z * pixels * C;
  for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < pixels; row += gridDim.y * blockDim.y) {
    Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) a.v[v] = a.v[v] * g.v[v] + s.v[v];
    store(y + (size_t)row * C + c, a);
  }
}

// From the sums of dy * x of sample blockIdx.x: du = dgate * gate * (1 - gate) (C), dreduced (R) and dmean (C).
// Map and shared memory as squeeze_excite_gate. FLOPs: N * (slices * C + 4 C * R).
template <class T>
__global__ void __launch_bounds__(256)
squeeze_excite_gate_gradient(const double* __restrict__ partial, const T* __restrict__ w_reduce, const T* __restrict__ w_expand,
                             const T* __restrict__ reduced, const T* __restrict__ gate, T* __restrict__ du,
                             T* __restrict__ dreduced, T* __restrict__ dmean, int kind, T parameter, int slices, int C, int R) {
  extern __shared__ double arena[];
  T* dus = reinterpret_cast<T*>(arena);  // [C]
  T* dts = dus + C;                      // [R]
  const int n = blockIdx.x;
  partial += (size_t)n * slices * C;
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    double sum = 0;
    for (int s = 0; s < slices; ++s) sum += partial[(size_t)s * C + c];
    const T g = gate[n * C + c];
    dus[c] = du[n * C + c] = T(sum) * g * (T(1) - g);
  }
  __syncthreads();
  for (int r = threadIdx.x / 32; r < R; r += blockDim.x / 32) {
    T sum = 0;
    for (int c = threadIdx.x % 32; c < C; c += 32) sum += dus[c] * w_expand[r * C + c];
    sum = warp_sum(sum) * hidden_derivative(kind, parameter, reduced[n * R + r]);
    if (threadIdx.x % 32 == 0) dts[r] = dreduced[n * R + r] = sum;
  }
  __syncthreads();
  for (int c = threadIdx.x; c < C; c += blockDim.x) {
    T sum = 0;
    for (int r = 0; r < R; ++r) sum += dts[r] * w_reduce[c * R + r];
    dmean[n * C + c] = sum;
  }
}

// dw_reduce[c,r] = sum_n mean * dreduced, dw_expand[r,c] = sum_n hidden * du, db_expand[c], db_reduce[r], samples in order.
// Thread: one (c, r), r = blockIdx.y. Bytes: N * (2 C + R) + 2 C * R values. FLOPs: 4 N * C * R.
template <class T>
__global__ void __launch_bounds__(128)
squeeze_excite_weight_gradient(const T* __restrict__ mean, const T* __restrict__ reduced, const T* __restrict__ du,
                               const T* __restrict__ dreduced, T* __restrict__ dw_reduce, T* __restrict__ db_reduce,
                               T* __restrict__ dw_expand, T* __restrict__ db_expand, int kind, T parameter, int N, int C, int R) {
  const int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y;
  if (c >= C) return;
  T reduce = 0, expand = 0, bias_reduce = 0, bias_expand = 0;
  for (int n = 0; n < N; ++n) {
    const T dt = dreduced[n * R + r], u = du[n * C + c];
    reduce += mean[n * C + c] * dt;
    expand += activate(kind, parameter, reduced[n * R + r]) * u;
    bias_reduce += dt;
    bias_expand += u;
  }
  dw_reduce[c * R + r] = reduce;
  dw_expand[r * C + c] = expand;
  if (c == 0) db_reduce[r] = bias_reduce;
  if (r == 0) db_expand[c] = bias_expand;
}
