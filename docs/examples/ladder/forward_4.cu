// Four columns a thread: of each row of the window it loads six columns for four outputs, and each tap once for four. The
// loops have constant bounds and are unrolled, so that sums and columns stay in registers.
// Grid (ceil(ceil(OW / 4) * C / 4 / 256), OH, N), block 256; C is a multiple of 4.
constexpr int COLUMNS = 4;
__device__ float4 load(const float* p) { return *reinterpret_cast<const float4*>(p); }
__device__ void multiply_add(float4& sum, float4 a, float4 b) {
  sum.x += a.x * b.x;
  sum.y += a.y * b.y;
  sum.z += a.z * b.z;
  sum.w += a.w * b.w;
}

__global__ void forward(const float* x, const float* w, float* y, int H, int W, int C, int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, n = blockIdx.z;
  const int j0 = place / (C / 4) * COLUMNS, c = place % (C / 4) * 4;
  if (j0 >= W) return;
  float4 sum[COLUMNS] = {};
#pragma unroll
  for (int u = 0; u < 3; ++u) {
    const int h = i + u - top;
    if (h < 0 || h >= H) continue;
    float4 in[COLUMNS + 2];
#pragma unroll
    for (int t = 0; t < COLUMNS + 2; ++t) {
      const int k = j0 + t - left;
      in[t] = k >= 0 && k < W ? load(x + ((n * H + h) * W + k) * C + c) : float4{};
    }
#pragma unroll
    for (int v = 0; v < 3; ++v) {
      const float4 tap = load(w + (u * 3 + v) * C + c);
#pragma unroll
      for (int t = 0; t < COLUMNS; ++t) multiply_add(sum[t], in[t + v], tap);
    }
  }
#pragma unroll
  for (int t = 0; t < COLUMNS; ++t)
    if (j0 + t < W) *reinterpret_cast<float4*>(y + ((n * H + i) * W + j0 + t) * C + c) = sum[t];
}
