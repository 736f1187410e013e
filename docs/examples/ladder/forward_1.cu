// A thread an output; neighbouring threads are neighbouring columns. In memory these stand C floats apart.
// Grid (ceil(OW * C / 256), OH, N), block 256. x (N,H,W,C), w (3,3,C), y (N,OH,OW,C), stride 1, padding top, left.
__global__ void forward(const float* x, const float* w, float* y, int H, int W, int C, int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, n = blockIdx.z;
  if (place >= W * C) return;
  const int c = place / W, j = place % W;
  float sum = 0;
  for (int u = 0; u < 3; ++u)
    for (int v = 0; v < 3; ++v) {
      const int h = i + u - top, k = j + v - left;
      if (h >= 0 && h < H && k >= 0 && k < W) sum += x[((n * H + h) * W + k) * C + c] * w[(u * 3 + v) * C + c];
    }
  y[((n * H + i) * W + j) * C + c] = sum;
}
