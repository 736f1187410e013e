// The gradient of x of a depthwise 3x3 convolution. dy (N,OH,OW,C), w (3,3,C), dx (N,H,W,C):
//
//   dx[n,h,k,c] = sum of dy[n,i,j,c] * w[u,v,c] over all u, v, i, j with i*stride + u - top = h and j*stride + v - left = k
//
// Gather: a thread that owns an element of dx looks for the outputs it went into; then nobody writes to the same place.
// Launched with blocks of 256 threads, a grid of (ceil(W * C / 256), H, N).

__global__ void depthwise_backward_data(const float* dy, const float* w, float* dx, int H, int W, int C, int OH, int OW,
                                        int stride, int top, int left) {
}
