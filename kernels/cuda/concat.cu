#include "common.cuh"

// Up to four tensors of the same N*H*W side by side in the channels of one: channels c0..c3 each (0 where there are fewer),
// starting at channel `first` of a row of `total` channels.
// Thread: V channels of one pixel of the group, consecutive threads consecutive channels. Bytes: 2 * rows * (c0+c1+c2+c3) *
// sizeof(T). FLOPs: 0. JOIN copies into y (forward), else out of it (backward).
template <class T, int V, bool JOIN>
__global__ void __launch_bounds__(256)
concat_copy(T* x0, T* x1, T* x2, T* x3, T* y, int c0, int c1, int c2, int c3, int first, int total, int rows) {
  const int width = c0 + c1 + c2 + c3;
  for (int i = (blockIdx.x * blockDim.x + threadIdx.x) * V; i < rows * width; i += gridDim.x * blockDim.x * V) {
    const int row = i / width;
    int c = i % width;
    T* joined = y + (size_t)row * total + first + c;
    T* part = x0 + (size_t)row * c0;
    if (c >= c0) {
      c -= c0;
      part = x1 + (size_t)row * c1;
      if (c >= c1) {
        c -= c1;
        part = x2 + (size_t)row * c2;
        if (c >= c2) {
          c -= c2;
          part = x3 + (size_t)row * c3;
        }
      }
    }
    if (JOIN)
      store(joined, load<T, V>(part + c));
    else
      store(part + c, load<T, V>(joined));
  }
}
