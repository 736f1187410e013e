__device__ float swish_of(float x) { return x / (1.f + expf(-x)); }

// Four elements at once where there are four, by the threads of the grid in turn; the rest one by one.
__global__ void swish(const float* x, float* y, int n) {
  const int thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
  const int fours = n / 4;
  for (int i = thread; i < fours; i += threads) {
    float4 v = reinterpret_cast<const float4*>(x)[i];
    v.x = swish_of(v.x);
    v.y = swish_of(v.y);
    v.z = swish_of(v.z);
    v.w = swish_of(v.w);
    reinterpret_cast<float4*>(y)[i] = v;
  }
  for (int i = 4 * fours + thread; i < n; i += threads) y[i] = swish_of(x[i]);
}
