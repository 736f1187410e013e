// A block a tap and 32 channels: eight threads share the outputs of a channel and add their sums up in shared memory. No atomic
// operations, the same bits each time; but each of the nine blocks of a channel reads all of x and dy again.
// Grid (ceil(C / 32), 3, 3), block (32, 8).
__global__ void filter(const float* x, const float* dy, float* dw, int N, int H, int W, int C, int top, int left) {
  __shared__ float sums[8][32];
  const int c = blockIdx.x * 32 + threadIdx.x, v = blockIdx.y, u = blockIdx.z;
  float sum = 0;
  if (c < C)
    for (int row = threadIdx.y; row < N * H; row += 8) {
      const int n = row / H, h = row % H + u - top;
      if (h < 0 || h >= H) continue;
      for (int j = max(0, left - v); j < min(W, W + left - v); ++j)
        sum += x[((n * H + h) * W + j + v - left) * C + c] * dy[(row * W + j) * C + c];
    }
  sums[threadIdx.y][threadIdx.x] = sum;
  for (int half = 4; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && c < C) dw[(u * 3 + v) * C + c] = sums[0][threadIdx.x];
}
