#include "reduce.cuh"

// Depthwise convolution, K x K filter, stride S, SAME padding `top`, `left`; x (N,H,W,C), w (K,K,C), y (N,OH,OW,C).
//
// Forward and backward-data: a thread computes TW neighbouring columns of one row for V channels, so that a loaded value
// serves up to K columns from registers. Block (channels, column tiles, rows): a warp reads whole 128-byte runs of channels,
// and neighbouring rows meet in the block's L1 cache, so that memory sees every input about once.

// y = activation(conv(x, w) + bias); bias may be null. blockIdx: x = channel tile + channel tiles * column tile block,
// y = row block, z = sample. Bytes: (N*H*W + N*OH*OW) * C * sizeof(T). FLOPs: 2 * K^2 * N*OH*OW*C.
template <class T, int V, int K, int S, int TW>
__global__ void __launch_bounds__(256)
depthwise_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ y, int kind,
                  T parameter, int H, int W, int C, int OH, int OW, int top, int left, int channel_blocks) {
  const int c = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const int ow0 = (blockIdx.x / channel_blocks * blockDim.y + threadIdx.y) * TW;
  const int oh = blockIdx.y * blockDim.z + threadIdx.z, n = blockIdx.z;
  if (c >= C || ow0 >= OW || oh >= OH) return;
  constexpr int COLUMNS = (TW - 1) * S + K;  // of the input that this thread needs
  Pack<T, V> sum[TW];
#pragma unroll
  for (int j = 0; j < TW; ++j) sum[j] = bias ? load<T, V>(bias + c) : fill<T, V>(0);
#pragma unroll
  for (int u = 0; u < K; ++u) {
    const int h = oh * S - top + u;
    if (h < 0 || h >= H) continue;
    const T* row = x + (size_t)(n * H + h) * W * C + c;
    Pack<T, V> in[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
      const int iw = ow0 * S - left + i;
      in[i] = iw >= 0 && iw < W ? load<T, V>(row + (size_t)iw * C) : fill<T, V>(0);
    }
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const Pack<T, V> f = load<T, V>(w + (u * K + v) * C + c);
#pragma unroll
      for (int j = 0; j < TW; ++j) multiply_add(sum[j], in[j * S + v], f);
    }
  }
#pragma unroll
  for (int j = 0; j < TW; ++j)
    if (ow0 + j < OW) {
#pragma unroll
      for (int v = 0; v < V; ++v) sum[j].v[v] = activate(kind, parameter, sum[j].v[v]);
      store(y + ((size_t)(n * OH + oh) * OW + ow0 + j) * C + c, sum[j]);
    }
}

// dx[h,w] = sum of dy[(h + top - u) / S, (w + left - v) / S] * w[u,v] over the taps that divide: a gather, no atomics.
// A thread's first column iw0 is chosen so that iw0 + left is a multiple of S; which taps meet which column is then known at
// compile time. Map as forward, over dx. Bytes: (N*H*W + N*OH*OW) * C * sizeof(T). FLOPs: 2 * K^2 * N*OH*OW*C.
template <class T, int V, int K, int S, int TW>
__global__ void __launch_bounds__(256)
depthwise_backward_data(const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx, int H, int W, int C, int OH,
                        int OW, int top, int left, int channel_blocks) {
  static_assert(TW % S == 0, "a tile covers whole strides");
  const int c = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const int iw0 = (blockIdx.x / channel_blocks * blockDim.y + threadIdx.y) * TW - left % S;
  const int h = blockIdx.y * blockDim.z + threadIdx.z, n = blockIdx.z;
  if (c >= C || iw0 >= W || h >= H) return;
  constexpr int BEFORE = (K - 1) / S;                     // columns of dy left of the tile's own
  constexpr int COLUMNS = BEFORE + (TW - 1) / S + 1;      // of dy that this thread needs
  const int ow0 = (iw0 + left) / S - BEFORE;
  Pack<T, V> sum[TW];
#pragma unroll
  for (int j = 0; j < TW; ++j) sum[j] = fill<T, V>(0);
#pragma unroll
  for (int u = 0; u < K; ++u) {
    const int oh = (h + top - u) / S;
    if (h + top - u < 0 || (h + top - u) % S || oh >= OH) continue;
    const T* row = dy + (size_t)(n * OH + oh) * OW * C + c;
    Pack<T, V> g[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i)
      g[i] = ow0 + i >= 0 && ow0 + i < OW ? load<T, V>(row + (size_t)(ow0 + i) * C) : fill<T, V>(0);
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const Pack<T, V> f = load<T, V>(w + (u * K + v) * C + c);
#pragma unroll
      for (int j = 0; j < TW; ++j)
        if ((j - v + K * S) % S == 0) multiply_add(sum[j], g[(j - v + K * S) / S - K + BEFORE], f);
    }
  }
#pragma unroll
  for (int j = 0; j < TW; ++j)
    if (iw0 + j >= 0 && iw0 + j < W) store(dx + ((size_t)(n * H + h) * W + iw0 + j) * C + c, sum[j]);
}

// partial[slice][u][v][c] = sum over the slice's output rows of x[oh*S - top + u, ow*S - left + v] * dy[oh, ow].
// Block (32, 8): a thread owns one channel and walks along every eighth row of slice blockIdx.y with the K x K window in
// registers: K * S new inputs a step instead of K * K. The eight rows are added in order; reduce.cuh merges the slices.
// Bytes: (N*H*W + N*OH*OW) * C * sizeof(T) read (windows overlap in L1 and L2). FLOPs: 2 * K^2 * N*OH*OW*C.
template <class T, int K, int S>
__global__ void __launch_bounds__(256)
depthwise_backward_filter(const T* __restrict__ x, const T* __restrict__ dy, double* __restrict__ partial, int rows,
                          int rows_per_slice, int H, int W, int C, int OH, int OW, int top, int left) {
  __shared__ T sums[8][K][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  const int end = min(rows, int(blockIdx.y + 1) * rows_per_slice);
  T sum[K][K] = {};
  if (c < C)
    for (int row = blockIdx.y * rows_per_slice + threadIdx.y; row < end; row += 8) {
      const int n = row / OH, h0 = row % OH * S - top;
      auto at = [&](int u, int w) {
        const int h = h0 + u;
        return h >= 0 && h < H && w >= 0 && w < W ? x[((size_t)(n * H + h) * W + w) * C + c] : T(0);
      };
      T window[K][K];
#pragma unroll
      for (int u = 0; u < K; ++u)
#pragma unroll
        for (int v = 0; v < K - S; ++v) window[u][v + S] = at(u, v - left);
#pragma unroll 2
      for (int ow = 0; ow < OW; ++ow) {
        const T g = dy[((size_t)row * OW + ow) * C + c];
#pragma unroll
        for (int u = 0; u < K; ++u) {
#pragma unroll
          for (int v = 0; v < K - S; ++v) window[u][v] = window[u][v + S];
#pragma unroll
          for (int v = K - S; v < K; ++v) window[u][v] = at(u, ow * S - left + v);
#pragma unroll
          for (int v = 0; v < K; ++v) sum[u][v] += window[u][v] * g;
        }
      }
    }
#pragma unroll
  for (int u = 0; u < K; ++u) {
    __syncthreads();  // the sums of the filter row before have been read
#pragma unroll
    for (int v = 0; v < K; ++v) sums[threadIdx.y][v][threadIdx.x] = sum[u][v];
    __syncthreads();
    if (int(threadIdx.y) < K && c < C) {
      double total = 0;
      for (int y = 0; y < 8; ++y) total += double(sums[y][threadIdx.y][threadIdx.x]);
      partial[(((size_t)blockIdx.y * K + u) * K + threadIdx.y) * C + c] = total;
    }
  }
}

// dw = sum over slices of K * K * C values. Map and cost: merge_to, with size = K * K * C for C.
template <class T>
__global__ void __launch_bounds__(512)
depthwise_merge(const double* __restrict__ partial, T* __restrict__ dw, int slices, int size) {
  merge_to(partial, dw, slices, size);
}
