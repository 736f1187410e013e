__global__ void depthwise_backward_filter(const float* x, const float* dy, float* dw, int N, int H, int W, int C, int OH,
                                          int OW, int stride, int top, int left) {
  __shared__ float sums[8][32];
  const int c = blockIdx.x * 32 + threadIdx.x, v = blockIdx.y, u = blockIdx.z;
  float sum = 0;
  if (c < C)
    for (int output = threadIdx.y; output < N * OH * OW; output += 8) {
      const int j = output % OW, i = output / OW % OH, n = output / (OW * OH);
      const int h = i * stride + u - top, k = j * stride + v - left;
      if (h >= 0 && h < H && k >= 0 && k < W) sum += x[((n * H + h) * W + k) * C + c] * dy[output * C + c];
    }
  sums[threadIdx.y][threadIdx.x] = sum;
  for (int half = 4; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && c < C) dw[(u * 3 + v) * C + c] = sums[0][threadIdx.x];
}
