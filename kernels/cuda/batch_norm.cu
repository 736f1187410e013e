#include "reduce.cuh"

// rows = N*H*W. Element kernels: block (bx, by), thread = V channels (blockIdx.x) x rows blockIdx.y*by + y, grid-stride over
// rows, so that the channel's constants stay in registers.

// Sums of (x - x[0]) and (x - x[0])^2 per channel and slice; the shift by the first pixel keeps the variance exact where the
// mean is large. Map: reduce.cuh. Bytes: rows * C * sizeof(T) read. FLOPs: 4 rows * C, in double.
template <class T, int V>
__global__ void __launch_bounds__(256)
batch_norm_sums(const T* __restrict__ x, double* __restrict__ partial, int rows, int rows_per_slice, int C) {
  __shared__ double sums[2 * V][REDUCE_THREADS];
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  const int end = min(rows, int(blockIdx.y + 1) * rows_per_slice);
  double first[V] = {}, sum[V] = {}, square[V] = {};
  if (c < C) {
    const Pack<T, V> shift = load<T, V>(x + c);
#pragma unroll
    for (int v = 0; v < V; ++v) first[v] = double(shift.v[v]);
    for (int row = blockIdx.y * rows_per_slice + threadIdx.y; row < end; row += blockDim.y) {
      const Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
      for (int v = 0; v < V; ++v) {
        const double d = double(a.v[v]) - first[v];
        sum[v] += d;
        square[v] += d * d;
      }
    }
  }
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int v = 0; v < V; ++v) {
    sums[v][me] = sum[v];
    sums[V + v][me] = square[v];
  }
  __syncthreads();
  if (threadIdx.y == 0 && c < C)
#pragma unroll
    for (int v = 0; v < 2 * V; ++v) {
      double total = 0;
      for (int y = 0; y < int(blockDim.y); ++y) total += sums[v][y * blockDim.x + threadIdx.x];
      partial[((size_t)blockIdx.y * 2 + v / V) * C + c + v % V] = total;
    }
}

// mean and biased variance of the batch. Map: merge_slices. Bytes: 16 * slices * C. FLOPs: 2 * slices * C.
template <class T>
__global__ void __launch_bounds__(512)
batch_norm_statistics(const double* __restrict__ partial, const T* __restrict__ x, T* __restrict__ mean,
                      T* __restrict__ variance, int rows, int slices, int C) {
  const double sum = merge_slices(partial, slices, 2, 0, C) / rows;
  const double square = merge_slices(partial, slices, 2, 1, C) / rows;
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y != 0 || c >= C) return;
  mean[c] = T(double(x[c]) + sum);
  variance[c] = T(max(square - sum * sum, 0.0));
}

// y = (x - mean) * gamma / sqrt(variance + epsilon) + beta. Bytes: 2 * rows * C * sizeof(T). FLOPs: 3 rows * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
batch_norm_normalise(const T* __restrict__ x, const T* __restrict__ gamma, const T* __restrict__ beta,
                     const T* __restrict__ mean, const T* __restrict__ variance, T* __restrict__ y, T epsilon, int rows, int C) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  const Pack<T, V> m = load<T, V>(mean + c), b = load<T, V>(beta + c);
  Pack<T, V> scale = load<T, V>(gamma + c);
#pragma unroll
  for (int v = 0; v < V; ++v) scale.v[v] /= sqrt(variance[c + v] + epsilon);
  for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
    Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) a.v[v] = (a.v[v] - m.v[v]) * scale.v[v] + b.v[v];
    store(y + (size_t)row * C + c, a);
  }
}

// Sums of dy and dy * z per channel and slice, z = (x - mean) / sqrt(variance + epsilon).
// Map: reduce.cuh. Bytes: 2 * rows * C * sizeof(T) read. FLOPs: 5 rows * C.
template <class T, int V>
__global__ void __launch_bounds__(256)
batch_norm_gradient_sums(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ mean,
                         const T* __restrict__ variance, double* __restrict__ partial, T epsilon, int rows, int rows_per_slice,
                         int C) {
  const int channel = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  Pack<T, V> m = fill<T, V>(0), r = fill<T, V>(0);
  if (channel < C) {
    m = load<T, V>(mean + channel);
#pragma unroll
    for (int v = 0; v < V; ++v) r.v[v] = T(1) / sqrt(variance[channel + v] + epsilon);
  }
  column_partials<T, V, 2>(partial, rows, rows_per_slice, C, [&](int row, int c, T(&term)[2][V]) {
    const Pack<T, V> g = load<T, V>(dy + (size_t)row * C + c), a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
    for (int v = 0; v < V; ++v) {
      term[0][v] = g.v[v];
      term[1][v] = g.v[v] * ((a.v[v] - m.v[v]) * r.v[v]);
    }
  });
}

// dbeta and dgamma. Map: merge_slices. Bytes: 16 * slices * C. FLOPs: 2 * slices * C.
template <class T>
__global__ void __launch_bounds__(512)
batch_norm_gradient_merge(const double* __restrict__ partial, T* __restrict__ dbeta, T* __restrict__ dgamma, int slices, int C) {
  const double beta = merge_slices(partial, slices, 2, 0, C), gamma = merge_slices(partial, slices, 2, 1, C);
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y != 0 || c >= C) return;
  dbeta[c] = T(beta);
  dgamma[c] = T(gamma);
}

// dx = gamma * r * (dy - dbeta / M - z * dgamma / M) in training, gamma * r * dy otherwise; r = 1 / sqrt(variance + epsilon).
// Bytes: 3 (inference 2) * rows * C * sizeof(T). FLOPs: 6 (1) rows * C.
template <class T, int V, bool TRAINING>
__global__ void __launch_bounds__(256)
batch_norm_gradient(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ gamma, const T* __restrict__ mean,
                    const T* __restrict__ variance, const T* __restrict__ dbeta, const T* __restrict__ dgamma, T* __restrict__ dx,
                    T epsilon, int rows, int C) {
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  if (c >= C) return;
  Pack<T, V> m = load<T, V>(mean + c), scale = load<T, V>(gamma + c), shift = fill<T, V>(0), slope = fill<T, V>(0);
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const T r = T(1) / sqrt(variance[c + v] + epsilon);
    scale.v[v] *= r;
    if (TRAINING) {
      shift.v[v] = dbeta[c + v] / rows;
      slope.v[v] = r * (dgamma[c + v] / rows);
    }
  }
  for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
    Pack<T, V> g = load<T, V>(dy + (size_t)row * C + c);
    if (TRAINING) {
      const Pack<T, V> a = load<T, V>(x + (size_t)row * C + c);
#pragma unroll
      for (int v = 0; v < V; ++v) g.v[v] = g.v[v] - shift.v[v] - (a.v[v] - m.v[v]) * slope.v[v];
    }
#pragma unroll
    for (int v = 0; v < V; ++v) g.v[v] *= scale.v[v];
    store(dx + (size_t)row * C + c, g);
  }
}
