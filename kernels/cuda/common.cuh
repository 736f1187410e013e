// Shared by all kernels. T is float or double; V is the number of neighbouring channels one thread loads at once:
// 4 floats (16 bytes) where C is a multiple of 4 and the arrays are aligned, else 1.
// Indices are int: the launchers refuse arrays of 2^31 elements and more.
#pragma once

template <class T, int V>
struct alignas(sizeof(T) * V) Pack {
  T v[V];
};

template <class T, int V>
__device__ __forceinline__ Pack<T, V> load(const T* p) {
  return *reinterpret_cast<const Pack<T, V>*>(p);
}

template <class T, int V>
__device__ __forceinline__ void store(T* p, const Pack<T, V>& a) {
  *reinterpret_cast<Pack<T, V>*>(p) = a;
}

template <class T, int V>
__device__ __forceinline__ Pack<T, V> fill(T value) {
  Pack<T, V> a;
#pragma unroll
  for (int i = 0; i < V; ++i) a.v[i] = value;
  return a;
}

template <class T, int V>
__device__ __forceinline__ void multiply_add(Pack<T, V>& sum, const Pack<T, V>& a, const Pack<T, V>& b) {
#pragma unroll
  for (int i = 0; i < V; ++i) sum.v[i] += a.v[i] * b.v[i];
}

template <class T>
__device__ __forceinline__ T sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));  // exp overflows to infinity for very negative x: 1 / inf = 0 is the right limit
}

// What may follow a product inside the same kernel. The launchers pass the number; `parameter` is E-swish's beta or
// ReLU's maximum. Swish is E-swish with beta 1.
enum Activation { NONE = 0, ESWISH = 1, SIGMOID = 2, RELU = 3 };

template <int KIND, class T>
__device__ __forceinline__ T activate(T parameter, T x) {
  if constexpr (KIND == ESWISH) return parameter * x * sigmoid(x);
  if constexpr (KIND == SIGMOID) return sigmoid(x);
  if constexpr (KIND == RELU) return x < T(0) ? T(0) : x > parameter ? parameter : x;
  return x;
}

template <class T>
__device__ __forceinline__ T activate(int kind, T parameter, T x) {
  if (kind == ESWISH) return parameter * x * sigmoid(x);
  if (kind == SIGMOID) return sigmoid(x);
  if (kind == RELU) return x < T(0) ? T(0) : x > parameter ? parameter : x;
  return x;
}

template <class T>
__device__ __forceinline__ T eswish_derivative(T beta, T x) {
  const T s = sigmoid(x);
  return beta * s * (T(1) + x * (T(1) - s));
}
