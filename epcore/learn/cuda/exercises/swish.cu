// Swish: y[i] = x[i] / (1 + exp(-x[i])) for i = 0 ... n - 1.
//
// Launched with blocks of 256 threads, one block for every 1024 elements: each thread has about four to do. Let it start
// at its place in the grid, blockIdx.x * blockDim.x + threadIdx.x, and go on by the number of threads in the grid. n need
// not be a multiple of anything. x and y start at multiples of 256 bytes; y holds garbage before.

__global__ void swish(const float* x, float* y, int n) {
}
