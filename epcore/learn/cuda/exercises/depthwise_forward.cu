// Depthwise convolution, 3x3. x (N,H,W,C), w (3,3,C), y (N,OH,OW,C), all with the channel as the last axis:
//
//   y[n,i,j,c] = sum over u, v of x[n, i*stride + u - top, j*stride + v - left, c] * w[u,v,c]
//
// where places outside x count as 0. Launched with blocks of 256 threads, a grid of (ceil(OW * C / 256), OH, N):
// blockIdx.z is n, blockIdx.y is i, and blockIdx.x * 256 + threadIdx.x is a place in the row of OW * C outputs.

__global__ void depthwise_forward(const float* x, const float* w, float* y, int H, int W, int C, int OH, int OW, int stride,
                                  int top, int left) {
}
