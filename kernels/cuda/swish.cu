#include "elementwise.cuh"

// y = x * sigmoid(x). Thread: V elements. Bytes: 2 * n * sizeof(T). FLOPs: 5 n (one exponential, one division).
template <class T, int V>
__global__ void __launch_bounds__(256) swish_forward(const T* __restrict__ x, T* __restrict__ y, int n) {
  map<T, V>(x, y, n, [](T a) { return a * sigmoid(a); });
}

// dx = dy * s * (1 + x * (1 - s)), s = sigmoid(x). Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: 8 n.
template <class T, int V>
__global__ void __launch_bounds__(256) swish_backward(const T* __restrict__ x, const T* __restrict__ dy, T* __restrict__ dx, int n) {
  map<T, V>(x, dy, dx, n, [](T a, T g) { return g * eswish_derivative(T(1), a); });
}
