// SGD with momentum over all parameters in one launch.

// velocity = momentum * velocity - rate * gradient; parameter += velocity.
// Block = one chunk of `chunk` elements: of tensor chunk_tensor[blockIdx.x] from element chunk_start[blockIdx.x] on. The
// arrays' addresses come in tables in device memory. Thread: elements threadIdx.x, + blockDim.x, ... of the chunk.
// Bytes: 5 * elements * sizeof(T) (three read, two written). FLOPs: 4 * elements.
template <class T>
__global__ void __launch_bounds__(256)
sgd_momentum(T* const* __restrict__ parameters, const T* const* __restrict__ gradients, T* const* __restrict__ velocities,
             const int* __restrict__ sizes, const int* __restrict__ chunk_tensor, const int* __restrict__ chunk_start, int chunk,
             T rate, T momentum) {
  const int tensor = chunk_tensor[blockIdx.x], start = chunk_start[blockIdx.x];
  const int end = start + chunk < sizes[tensor] ? start + chunk : sizes[tensor];
  T* parameter = parameters[tensor];
  const T* gradient = gradients[tensor];
  T* velocity = velocities[tensor];
  for (int i = start + threadIdx.x; i < end; i += blockDim.x) {
    const T v = momentum * velocity[i] - rate * gradient[i];
    velocity[i] = v;
    parameter[i] += v;
  }
}
