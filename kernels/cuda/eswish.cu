#include "elementwise.cuh"

// y = beta * x * sigmoid(x). Thread: V elements. Bytes: 2 * n * sizeof(T). FLOPs: 6 n (one exponential, one division).
template <class T, int V>
__global__ void __launch_bounds__(256) eswish_forward(const T* __restrict__ x, T* __restrict__ y, T beta, int n) {
  map<T, V>(x, y, n, [beta](T a) { return beta * a * sigmoid(a); });
}

// dx = dy * beta * s * (1 + x * (1 - s)), s = sigmoid(x). Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: 9 n.
template <class T, int V>
__global__ void __launch_bounds__(256)
eswish_backward(const T* __restrict__ x, const T* __restrict__ dy, T* __restrict__ dx, T beta, int n) {
  map<T, V>(x, dy, dx, n, [beta](T a, T g) { return g * eswish_derivative(beta, a); });
}
