#include "reduce.cuh"

// Depthwise convolution, K x K filter, stride S, SAME padding `top`, `left`; x (N,H,W,C), w (K,K,C), y (N,OH,OW,C).
//
// Forward and backward-data: a thread computes TW neighbouring columns of one row for V channels, so that a loaded value
// serves up to K columns from registers. Block (channels, column tiles, rows): a warp reads whole 128-byte runs of channels,
// and neighbouring rows meet in the block's L1 cache, so that memory sees every input about once.

// y = activation(conv(x, w) + bias); bias may be null. blockIdx: x = channel tile + channel tiles * column tile block,
// y = row block, z = sample. Bytes: (N*H*W + N*OH*OW) * C * sizeof(T). FLOPs: 2 * K^2 * N*OH*OW*C.
// Pointers advance by a column or a tap: an address that is rebuilt costs as much as the multiply-adds it is for.
template <class T, int V, int K, int S, int TW, int KIND>
__global__ void __launch_bounds__(256, 1)
depthwise_forward(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias, T* __restrict__ y,
                  T parameter, int H, int W, int C, int OH, int OW, int top, int left, int channel_blocks) {
  const int c = (blockIdx.x % channel_blocks * blockDim.x + threadIdx.x) * V;
  const int ow0 = (blockIdx.x / channel_blocks * blockDim.y + threadIdx.y) * TW;
  const int oh = blockIdx.y * blockDim.z + threadIdx.z, n = blockIdx.z;
  if (c >= C || ow0 >= OW || oh >= OH) return;
  constexpr int COLUMNS = (TW - 1) * S + K;  // of the input that this thread needs
  const int iw0 = ow0 * S - left;
  const T* taps = w + c;
  Pack<T, V> sum[TW];
#pragma unroll
  for (int j = 0; j < TW; ++j) sum[j] = bias ? load<T, V>(bias + c) : fill<T, V>(0);
#pragma unroll
  for (int u = 0; u < K; ++u) {
    const int h = oh * S - top + u;
    if (unsigned(h) >= unsigned(H)) {
      taps += K * C;
      continue;
    }
    const T* column = x + ((long long)(n * H + h) * W + iw0) * C + c;
    Pack<T, V> in[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
      in[i] = unsigned(iw0 + i) < unsigned(W) ? load<T, V>(column) : fill<T, V>(0);
      column += C;
    }
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const Pack<T, V> f = load<T, V>(taps);
      taps += C;
#pragma unroll
      for (int j = 0; j < TW; ++j) multiply_add(sum[j], in[j * S + v], f);
    }
  }
  T* out = y + ((size_t)(n * OH + oh) * OW + ow0) * C + c;
#pragma unroll
  for (int j = 0; j < TW; ++j) {
    if (ow0 + j < OW) {
#pragma unroll
      for (int v = 0; v < V; ++v) sum[j].v[v] = activate<KIND>(parameter, sum[j].v[v]);
      store(out, sum[j]);
    }
    out += C;
  }
}

// dx[h,w] = sum of dy[(h + top - u) / S, (w + left - v) / S] * w[u,v] over the taps that divide: a gather, no atomics.
// A thread's first column iw0 is chosen so that iw0 + left is a multiple of S; which taps meet which column is then known at
// compile time. Map as forward, over dx. Bytes: (N*H*W + N*OH*OW) * C * sizeof(T). FLOPs: 2 * K^2 * N*OH*OW*C.
template <class T, int V, int K, int S, int TW>
__global__ void __launch_bounds__(256, 1)
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
  const T* taps = w + c;
  Pack<T, V> sum[TW];
#pragma unroll
  for (int j = 0; j < TW; ++j) sum[j] = fill<T, V>(0);
#pragma unroll
  for (int u = 0; u < K; ++u) {
    const int oh = (h + top - u) / S;
    if (h + top - u < 0 || (h + top - u) % S || oh >= OH) {
      taps += K * C;
      continue;
    }
    const T* column = dy + ((long long)(n * OH + oh) * OW + ow0) * C + c;
    Pack<T, V> g[COLUMNS];
#pragma unroll
    for (int i = 0; i < COLUMNS; ++i) {
      g[i] = unsigned(ow0 + i) < unsigned(OW) ? load<T, V>(column) : fill<T, V>(0);
      column += C;
    }
#pragma unroll
    for (int v = 0; v < K; ++v) {
      const Pack<T, V> f = load<T, V>(taps);
      taps += C;
#pragma unroll
      for (int j = 0; j < TW; ++j)
        if ((j - v + K * S) % S == 0) multiply_add(sum[j], g[(j - v + K * S) / S - K + BEFORE], f);
    }
  }
  T* out = dx + ((long long)(n * H + h) * W + iw0) * C + c;
#pragma unroll
  for (int j = 0; j < TW; ++j) {
    if (unsigned(iw0 + j) < unsigned(W)) store(out, sum[j]);
    out += C;
  }
}

template <class T>
constexpr int FILTER_BLOCKS = sizeof(T) == 4 ? 2 : 1;  // a multiprocessor: two leave 128 registers a thread, too few for double

// partial[slice][u][v][c] = sum over the slice's output rows of x[oh*S - top + u, ow*S - left + v] * dy[oh, ow].
// Block (channels, rows): a thread owns one channel and walks along one row in blockDim.y of slice blockIdx.y with the K x K
// window in registers: K * S new inputs a step instead of K * K; with stride 1 K steps are unrolled, so that the window never
// moves. The block's rows are added in order; reduce.cuh merges the slices.
// Bytes: (N*H*W + N*OH*OW) * C * sizeof(T) read (windows overlap in L1 and L2). FLOPs: 2 * K^2 * N*OH*OW*C.
template <class T, int K, int S>
__global__ void __launch_bounds__(256, FILTER_BLOCKS<T>)
depthwise_backward_filter(const T* __restrict__ x, const T* __restrict__ dy, double* __restrict__ partial, int rows,
                          int rows_per_slice, int H, int W, int C, int OH, int OW, int top, int left) {
  __shared__ T sums[K * 256];  // [row of the block][v][channel]
  const int c = blockIdx.x * blockDim.x + threadIdx.x;
  const int end = min(rows, int(blockIdx.y + 1) * rows_per_slice);
  T sum[K][K] = {};
  if (c < C)
    for (int row = blockIdx.y * rows_per_slice + threadIdx.y; row < end; row += blockDim.y) {
      const int n = row / OH, h0 = row % OH * S - top;
      const T* gradient = dy + (size_t)row * OW * C + c;
      const T* place[K];  // of the window's left column in x, then of the columns that come into it
      bool inside[K];
#pragma unroll
      for (int u = 0; u < K; ++u) {
        place[u] = x + ((long long)(n * H + h0 + u) * W - left) * C + c;
        inside[u] = unsigned(h0 + u) < unsigned(H);
      }
      int column = -left;
      auto at = [&](int u, int v) { return inside[u] && unsigned(column + v) < unsigned(W) ? place[u][v * C] : T(0); };
      T window[K][K];
#pragma unroll
      for (int u = 0; u < K; ++u)
#pragma unroll
        for (int v = 0; v < K - S; ++v) window[u][v + S] = at(u, v);
#pragma unroll
      for (int u = 0; u < K; ++u) place[u] += (K - S) * C;
      column += K - S;
#pragma unroll(S == 1 ? K : 2)
      for (int ow = 0; ow < OW; ++ow) {
        const T g = *gradient;
#pragma unroll
        for (int u = 0; u < K; ++u) {
#pragma unroll
          for (int v = 0; v < K - S; ++v) window[u][v] = window[u][v + S];
#pragma unroll
          for (int v = 0; v < S; ++v) window[u][K - S + v] = at(u, v);
          place[u] += S * C;
#pragma unroll
          for (int v = 0; v < K; ++v) sum[u][v] += window[u][v] * g;
        }
        gradient += C;
        column += S;
      }
    }
#pragma unroll
  for (int u = 0; u < K; ++u) {
    __syncthreads();  // the sums of the filter row before have been read
#pragma unroll
    for (int v = 0; v < K; ++v) sums[(threadIdx.y * K + v) * blockDim.x + threadIdx.x] = sum[u][v];
    __syncthreads();
    if (int(threadIdx.y) < K && c < C) {
      double total = 0;
      for (int y = 0; y < int(blockDim.y); ++y) total += double(sums[(y * K + threadIdx.y) * blockDim.x + threadIdx.x]);
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
