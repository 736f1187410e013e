// All nine taps at once: a thread keeps nine sums in registers and reads each dy once. The rows are cut into slices, a block
// each, so that there are blocks enough; what these find, partial (slices,3,3,C), a second kernel adds up in a fixed order.
// Grid (ceil(C / 32), slices), block (32, 8).
__global__ void filter(const float* x, const float* dy, float* partial, int N, int H, int W, int C, int top, int left,
                       int rows_per_slice) {
  __shared__ float sums[9][8][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  const int end = min(N * H, int(blockIdx.y + 1) * rows_per_slice);
  float sum[9] = {};
  if (c < C)
    for (int row = blockIdx.y * rows_per_slice + threadIdx.y; row < end; row += 8)
      for (int j = 0; j < W; ++j) {
        const float g = dy[(row * W + j) * C + c];
#pragma unroll
        for (int t = 0; t < 9; ++t) {
          const int h = row % H + t / 3 - top, k = j + t % 3 - left;
          if (h >= 0 && h < H && k >= 0 && k < W) sum[t] += x[((row / H * H + h) * W + k) * C + c] * g;
        }
      }
#pragma unroll
  for (int t = 0; t < 9; ++t) sums[t][threadIdx.y][threadIdx.x] = sum[t];
  __syncthreads();
  for (int t = threadIdx.y; t < 9; t += 8) {
    float total = 0;
    for (int y = 0; y < 8; ++y) total += sums[t][y][threadIdx.x];
    if (c < C) partial[(blockIdx.y * 9 + t) * C + c] = total;
  }
}

// dw = sum of the slices. Grid ceil(9 * C / 256), block 256.
__global__ void merge(const float* partial, float* dw, int slices, int size) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= size) return;
  float sum = 0;
  for (int s = 0; s < slices; ++s) sum += partial[s * size + place];
  dw[place] = sum;
}
