// Sums over rows (pixels) for every channel, without atomics and in a fixed order, so the same bits come out every time.
//
// Stage 1, column_partials: block (bx, by) owns bx packs of V channels (blockIdx.x) and slice blockIdx.y of the rows; thread
//   (x, y) adds rows y, y + by, ... of the slice in double; the block adds its by rows in order. Threads of a block that differ
//   in x read neighbouring channels, those that differ in y neighbouring rows: for bx * V = C all of it is one contiguous run.
// Stage 2, merge_slices: one thread per channel and lane of slices adds the slices in order, in double.
#pragma once
#include "common.cuh"

constexpr int REDUCE_THREADS = 256;  // at most, per block of stage 1
constexpr int MERGE_LANES = 16;      // threads that share the slices of one channel in stage 2

// partial[(slice * K + k) * C + c] = sum over the slice's rows of term k. f(row, channel, terms) fills terms[K][V].
template <class T, int V, int K, class F>
__device__ __forceinline__ void column_partials(double* partial, int rows, int rows_per_slice, int C, F f) {
  __shared__ double sums[K * V][REDUCE_THREADS];
  const int c = (blockIdx.x * blockDim.x + threadIdx.x) * V;
  const int end = min(rows, int(blockIdx.y + 1) * rows_per_slice);
  double sum[K][V] = {};
  if (c < C)
    for (int row = blockIdx.y * rows_per_slice + threadIdx.y; row < end; row += blockDim.y) {
      T term[K][V];
      f(row, c, term);
#pragma unroll
      for (int k = 0; k < K; ++k)
#pragma unroll
        for (int v = 0; v < V; ++v) sum[k][v] += double(term[k][v]);
    }
  const int me = threadIdx.y * blockDim.x + threadIdx.x;
#pragma unroll
  for (int k = 0; k < K; ++k)
#pragma unroll
    for (int v = 0; v < V; ++v) sums[k * V + v][me] = sum[k][v];
  __syncthreads();
  if (threadIdx.y == 0 && c < C)
#pragma unroll
    for (int k = 0; k < K; ++k)
#pragma unroll
      for (int v = 0; v < V; ++v) {
        double total = 0;
        for (int y = 0; y < int(blockDim.y); ++y) total += sums[k * V + v][y * blockDim.x + threadIdx.x];
        partial[((size_t)blockIdx.y * K + k) * C + c + v] = total;
      }
}

// Sum of term k over all slices for channel c = blockIdx.x * 32 + threadIdx.x; block (32, MERGE_LANES). Valid in row 0 of the
// block. Every thread of the block has to call it.
__device__ __forceinline__ double merge_slices(const double* partial, int slices, int terms, int k, int C) {
  __shared__ double lanes[MERGE_LANES][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  double sum = 0;
  if (c < C)
    for (int s = threadIdx.y; s < slices; s += MERGE_LANES) sum += partial[((size_t)s * terms + k) * C + c];
  __syncthreads();  // the previous call's sums have been read
  lanes[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  double total = 0;
  if (threadIdx.y == 0)
    for (int y = 0; y < MERGE_LANES; ++y) total += lanes[y][threadIdx.x];
  return total;
}

// out[c] = sum over slices, as T. Grid ceil(C / 32), block (32, MERGE_LANES). Bytes: slices * C * 8. FLOPs: slices * C.
template <class T>
__device__ __forceinline__ void merge_to(const double* partial, T* out, int slices, int C) {
  const double total = merge_slices(partial, slices, 1, 0, C);
  const int c = blockIdx.x * 32 + threadIdx.x;
  if (threadIdx.y == 0 && c < C) out[c] = T(total);
}
