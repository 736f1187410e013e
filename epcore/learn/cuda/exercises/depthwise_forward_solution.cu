__global__ void depthwise_forward(const float* x, const float* w, float* y, int H, int W, int C, int OH, int OW, int stride,
                                  int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, n = blockIdx.z;
  if (place >= OW * C) return;
  const int j = place / C, c = place % C;  // neighbouring threads: neighbouring channels, which are neighbours in memory
  float sum = 0;
  for (int u = 0; u < 3; ++u) {
    const int h = i * stride + u - top;
    if (h < 0 || h >= H) continue;
    for (int v = 0; v < 3; ++v) {
      const int k = j * stride + v - left;
      if (k >= 0 && k < W) sum += x[((n * H + h) * W + k) * C + c] * w[(u * 3 + v) * C + c];
    }
  }
  y[(n * OH + i) * OW * C + place] = sum;
}
