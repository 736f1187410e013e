__global__ void depthwise_backward_data(const float* dy, const float* w, float* dx, int H, int W, int C, int OH, int OW,
                                        int stride, int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x, h = blockIdx.y, n = blockIdx.z;
  if (place >= W * C) return;
  const int k = place / C, c = place % C;
  float sum = 0;
  for (int u = 0; u < 3; ++u) {
    const int i = (h + top - u) / stride;  // of the output, if the stride divides
    if (h + top - u < 0 || (h + top - u) % stride || i >= OH) continue;
    for (int v = 0; v < 3; ++v) {
      const int j = (k + left - v) / stride;
      if (k + left - v < 0 || (k + left - v) % stride || j >= OW) continue;
      sum += dy[((n * OH + i) * OW + j) * C + c] * w[(u * 3 + v) * C + c];
    }
  }
  dx[(n * H + h) * W * C + place] = sum;
}
