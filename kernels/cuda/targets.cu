#include "common.cuh"

// What the network is trained on (epcore/pose/encode.py), rendered where it is needed. points (N,P,J,2): x, y of P persons'
// J keypoints in pixels of the map, in double; known (N,P,J): 0 where there is none. A pixel's centre is at + 0.5.

// maps[n,i,k,j] = max over persons of exp(-distance^2 * scale), scale = 1 / sigma^2. Thread: one element, keypoints fastest, grid-stride.
// Bytes: N*S*S*J * sizeof(T) written. FLOPs: 6 P (one exponential) an element; distances in double.
template <class T>
__global__ void __launch_bounds__(256, 4)
confidence_maps(const double* __restrict__ points, const unsigned char* __restrict__ known, T* __restrict__ maps, double scale,
                int N, int P, int J, int S) {
  for (int e = blockIdx.x * blockDim.x + threadIdx.x; e < N * S * S * J; e += gridDim.x * blockDim.x) {
    const int j = e % J, k = e / J % S, i = e / J / S % S, n = e / J / S / S;
    T best = 0;
    for (int p = 0; p < P; ++p) {
      const int at = (n * P + p) * J + j;
      if (!known[at]) continue;
      const double x = k + 0.5 - points[2 * at], y = i + 0.5 - points[2 * at + 1];
      best = max(best, exp(T(-(x * x + y * y) * scale)));
    }
    maps[e] = best;
  }
}

// fields[n,i,k,2l], [2l+1] = the unit vector along limb l where the pixel projects onto it and lies within half its width,
// averaged over the persons of whom that is so. limbs (L,2): keypoints at the ends.
// Thread: one limb at one pixel, limbs fastest, grid-stride. Bytes: N*S*S*2L * sizeof(T) written. FLOPs: about 20 P a limb.
template <class T>
__global__ void __launch_bounds__(256, 4)
affinity_fields(const double* __restrict__ points, const unsigned char* __restrict__ known, const int* __restrict__ limbs,
                T* __restrict__ fields, double half_width, int N, int P, int J, int L, int S) {
  for (int e = blockIdx.x * blockDim.x + threadIdx.x; e < N * S * S * L; e += gridDim.x * blockDim.x) {
    const int l = e % L, k = e / L % S, i = e / L / S % S, n = e / L / S / S;
    T sum_x = 0, sum_y = 0;
    int count = 0;
    for (int p = 0; p < P; ++p) {
      const int from = (n * P + p) * J + limbs[2 * l], to = (n * P + p) * J + limbs[2 * l + 1];
      if (!known[from] || !known[to]) continue;
      double dx = points[2 * to] - points[2 * from], dy = points[2 * to + 1] - points[2 * from + 1];
      const double length = sqrt(dx * dx + dy * dy);
      if (length < 1e-9) continue;
      dx /= length;
      dy /= length;
      const double x = k + 0.5 - points[2 * from], y = i + 0.5 - points[2 * from + 1];
      const double along = x * dx + y * dy, across = fabs(x * dy - y * dx);
      if (along < 0 || along > length || across > half_width) continue;
      sum_x += T(dx);
      sum_y += T(dy);
      ++count;
    }
    fields[2 * (size_t)e] = count > 1 ? sum_x / count : sum_x;
    fields[2 * (size_t)e + 1] = count > 1 ? sum_y / count : sum_y;
  }
}
