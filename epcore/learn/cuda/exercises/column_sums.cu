// A reduction: out[c] = sum over r of a[r,c], for a (rows,C).
//
// Launched with ceil(C / 32) blocks of (32, 8) threads: blockIdx.x * 32 + threadIdx.x is c. The eight threads of a column
// share its rows; add their sums up in shared memory. Neither rows nor C need be a multiple of anything.

__global__ void column_sums(const float* a, float* out, int rows, int C) {
}
