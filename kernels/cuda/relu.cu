#include "elementwise.cuh"

// y = min(max(x, 0), maximum), maximum infinite for the plain unit; NaN stays NaN, as in the reference.
// Thread: V elements. Bytes: 2 * n * sizeof(T). FLOPs: 2 n.
template <class T, int V>
__global__ void __launch_bounds__(256) relu_forward(const T* __restrict__ x, T* __restrict__ y, T maximum, int n) {
  map<T, V>(x, y, n, [maximum](T a) { return a < T(0) ? T(0) : a > maximum ? maximum : a; });
}

// dx = dy where 0 < y < maximum. Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: 2 n.
template <class T, int V>
__global__ void __launch_bounds__(256)
relu_backward(const T* __restrict__ y, const T* __restrict__ dy, T* __restrict__ dx, T maximum, int n) {
  map<T, V>(y, dy, dx, n, [maximum](T a, T g) { return a > T(0) && a < maximum ? g : T(0); });
}
