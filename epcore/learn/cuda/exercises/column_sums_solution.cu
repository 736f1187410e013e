__global__ void column_sums(const float* a, float* out, int rows, int C) {
  __shared__ float sums[8][32];
  const int c = blockIdx.x * 32 + threadIdx.x;
  float sum = 0;
  if (c < C)
    for (int r = threadIdx.y; r < rows; r += 8) sum += a[r * C + c];
  sums[threadIdx.y][threadIdx.x] = sum;
  for (int half = 4; half > 0; half /= 2) {
    __syncthreads();  // the other half of the threads have written theirs
    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];
  }
  if (threadIdx.y == 0 && c < C) out[c] = sums[0][threadIdx.x];
}
