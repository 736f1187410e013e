#include "elementwise.cuh"

// y = 1 / (1 + exp(-x)). Thread: V elements. Bytes: 2 * n * sizeof(T). FLOPs: 4 n (one exponential, one division).
template <class T, int V>
__global__ void __launch_bounds__(256) sigmoid_forward(const T* __restrict__ x, T* __restrict__ y, int n) {
  map<T, V>(x, y, n, [](T a) { return sigmoid(a); });
}

// dx = dy * y * (1 - y). Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: 3 n.
template <class T, int V>
__global__ void __launch_bounds__(256)
sigmoid_backward(const T* __restrict__ y, const T* __restrict__ dy, T* __restrict__ dx, int n) {
  map<T, V>(y, dy, dx, n, [](T a, T g) { return g * a * (T(1) - a); });
}
