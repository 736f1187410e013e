// A thread an element of dw: it adds up all products of its tap and channel, one after another. 9 * C threads in all.
// Grid ceil(9 * C / 256), block 256. x and dy (N,H,W,C), dw (3,3,C), stride 1, padding top, left.
__global__ void filter(const float* x, const float* dy, float* dw, int N, int H, int W, int C, int top, int left) {
  const int place = blockIdx.x * blockDim.x + threadIdx.x;
  if (place >= 9 * C) return;
  const int c = place % C, u = place / C / 3, v = place / C % 3;
  float sum = 0;
  for (int n = 0; n < N; ++n)
    for (int i = 0; i < H; ++i)
      for (int j = 0; j < W; ++j) {
        const int h = i + u - top, k = j + v - left;
        if (h >= 0 && h < H && k >= 0 && k < W) sum += x[((n * H + h) * W + k) * C + c] * dy[((n * H + i) * W + j) * C + c];
      }
  dw[place] = sum;
}
