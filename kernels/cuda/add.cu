#include "elementwise.cuh"

// y = a + b. Thread: V elements. Bytes: 3 * n * sizeof(T). FLOPs: n. (The gradient of both is dy itself: no kernel.)
template <class T, int V>
__global__ void __launch_bounds__(256) add_forward(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ y, int n) {
  map<T, V>(a, b, y, n, [](T p, T q) { return p + q; });
}
