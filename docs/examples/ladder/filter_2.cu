// A thread an element of dy: enough threads for any GPU, but all of them add to the same 9 * C places, so by atomic operations:
// these wait for each other, and their order, with it the last bits of dw, is another each time. dw is zero before.
// Grid (ceil(W * C / 256), H, N), block 256.
__global__ void filter(const float* x, const float* dy, float* dw, int N, int H, int W, int C, int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, n = blockIdx.z;
  if (place >= W * C) return;
  const int j = place / C, c = place % C;
  const float g = dy[(n * H + i) * W * C + place];
  for (int u = 0; u < 3; ++u)
    for (int v = 0; v < 3; ++v) {
      const int h = i + u - top, k = j + v - left;
      if (h >= 0 && h < H && k >= 0 && k < W) atomicAdd(&dw[(u * 3 + v) * C + c], x[((n * H + h) * W + k) * C + c] * g);
    }
}
