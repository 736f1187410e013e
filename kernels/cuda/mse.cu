#include "common.cuh"

// prediction, target (N,H,W,C) of `size` elements; the mask's strides are 0 along axes it is stretched over. mask may be null.

template <class T>
__device__ __forceinline__ T mask_at(const T* mask, int i, int H, int W, int C, int mn, int mh, int mw, int mc) {
  return mask ? mask[i / C / W / H * mn + i / C / W % H * mh + i / C % W * mw + i % C * mc] : T(1);
}

// Sum of one value a thread of a block of 256, in a fixed tree; valid in thread 0.
__device__ __forceinline__ double block_sum(double value) {
  __shared__ double sums[256];
  sums[threadIdx.x] = value;
  for (int half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (int(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  return sums[0];
}

// partial[block] = sum of mask * (prediction - target)^2, in double. Thread: elements i, i + gridDim*blockDim, ...
// Bytes: 2 * size * sizeof(T) and the mask. FLOPs: 4 size.
template <class T>
__global__ void __launch_bounds__(256)
mse_sums(const T* __restrict__ prediction, const T* __restrict__ target, const T* __restrict__ mask,
         double* __restrict__ partial, int size, int H, int W, int C, int mn, int mh, int mw, int mc) {
  double sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x) {
    const T d = prediction[i] - target[i];
    sum += double(d * d * mask_at(mask, i, H, W, C, mn, mh, mw, mc));
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// loss = scale * sum of the blocks' sums. One block. Bytes: 8 * blocks. FLOPs: blocks.
template <class T>
__global__ void __launch_bounds__(256)
mse_merge(const double* __restrict__ partial, T* __restrict__ loss, double scale, int blocks) {
  double sum = 0;
  for (int b = threadIdx.x; b < blocks; b += blockDim.x) sum += partial[b];
  sum = block_sum(sum);
  if (threadIdx.x == 0) loss[0] = T(sum * scale);
}

// dprediction = dy * scale * mask * (prediction - target); dy is one value in device memory. Thread: one element, grid-stride.
// Bytes: 3 * size * sizeof(T) and the mask. FLOPs: 3 size.
template <class T>
__global__ void __launch_bounds__(256)
mse_backward(const T* __restrict__ dy, const T* __restrict__ prediction, const T* __restrict__ target, const T* __restrict__ mask,
             T* __restrict__ dprediction, T scale, int size, int H, int W, int C, int mn, int mh, int mw, int mc) {
  const T factor = dy[0] * scale;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < size; i += gridDim.x * blockDim.x)
    dprediction[i] = factor * (prediction[i] - target[i]) * mask_at(mask, i, H, W, C, mn, mh, mw, mc);
}
