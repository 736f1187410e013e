// The gradient of w of a depthwise 3x3 convolution. x (N,H,W,C), dy (N,OH,OW,C), dw (3,3,C):
//
//   dw[u,v,c] = sum over n, i, j of x[n, i*stride + u - top, j*stride + v - left, c] * dy[n,i,j,c]
//
// where places outside x count as 0. Launched with a grid of (ceil(C / 32), 3, 3) blocks of (32, 8) threads: blockIdx.z is
// u, blockIdx.y is v, blockIdx.x * 32 + threadIdx.x is c. The eight threads of a channel share its outputs; add their sums
// up in shared memory. C need not be a multiple of 32.

__global__ void depthwise_backward_filter(const float* x, const float* dy, float* dw, int N, int H, int W, int C, int OH,
                                          int OW, int stride, int top, int left) {
}
