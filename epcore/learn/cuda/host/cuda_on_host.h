// CUDA C++ for g++, for tests: the keywords, built-ins and intrinsics the kernels use, on top of the fibers of fibers.h.
//
// host_module.py rewrites `__shared__ T name[n];` to coh::static_shared<T[n], id>() and `extern __shared__ T name[];` to
// coh::dynamic_shared<T>(), and exports every kernel with COH_EXPORT.
#pragma once
#include <cmath>
#include <type_traits>
#include <utility>

#include "fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline)) /* include standard headers before this */
#define __launch_bounds__(...)

// ---- barriers and warp shuffles ---------------------------------------------------------------------------------------
#define __syncthreads() coh::sync_block(__LINE__)
#define __syncwarp() coh::sync_warp(0xffffffffu, __LINE__)
static inline int coh_at(int s, int w) { return (coh::lane() & ~(w - 1)) | (s & (w - 1)); }
static inline int coh_down(int d, int w) {
  const int l = coh::lane();
  return (l & (w - 1)) + d < w ? l + d : l;
}
static inline int coh_xor(int m, int w) {
  const int l = coh::lane(), s = l ^ m;
  return (s & ~(w - 1)) <= (l & ~(w - 1)) ? s : l;
}
template <class T>
static inline T coh_shuffle(int line, int (*source)(int, int), unsigned mask, T v, int argument, int width = 32) {
  return coh::shuffle(mask, v, source(argument, width), line);
}
#define __shfl_sync(mask, v, ...) coh_shuffle(__LINE__, coh_at, mask, v, __VA_ARGS__)
#define __shfl_down_sync(mask, v, ...) coh_shuffle(__LINE__, coh_down, mask, v, __VA_ARGS__)
#define __shfl_xor_sync(mask, v, ...) coh_shuffle(__LINE__, coh_xor, mask, v, __VA_ARGS__)

// ---- functions that CUDA has in the global namespace, for float and double ----------------------------------------------
using std::exp;
using std::fabs;
using std::isnan;
using std::sqrt;
template <class A, class B>
static inline auto min(A a, B b) -> std::common_type_t<A, B> {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
static inline auto max(A a, B b) -> std::common_type_t<A, B> {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}

// ---- entry points -----------------------------------------------------------------------------------------------------
namespace coh {
template <auto K, class... A, size_t... I>
static void call(void** p, void (*)(A...), std::index_sequence<I...>) {
  K(*(std::remove_const_t<A>*)p[I]...);
}
template <class... A>
constexpr auto indices(void (*)(A...)) {
  return std::index_sequence_for<A...>();
}
template <auto K>
static void thunk(void** p) {
  call<K>(p, K, indices(K));
}
// "P4 f4 i4 ": pointer, float, integer and size in bytes of every parameter, so that Python can check the arguments
template <class T>
static void describe(std::string& text) {
  text += std::is_pointer_v<T>            ? 'P'
          : std::is_floating_point_v<T> ? 'f'
          : std::is_unsigned_v<T>       ? 'u'
          : std::is_integral_v<T>       ? 'i'
                                        : 'V';
  text += std::to_string(sizeof(T)) + " ";
}
template <class... A>
static const char* signature(void (*)(A...)) {
  static std::string text;
  if (text.empty()) (describe<std::remove_const_t<A>>(text), ...);
  return text.c_str();
}
}  // namespace coh

#ifdef COH_FLUSH_DENORMALS  // to zero, going in and coming out, as -ftz=true does
#include <immintrin.h>
struct Flush {
  const unsigned before = _mm_getcsr();
  Flush() { _mm_setcsr(before | 0x8040); }
  ~Flush() { _mm_setcsr(before); }
};
#else
struct Flush {};
#endif

#define COH_EXPORT(symbol, ...)                                                                                       \
  extern "C" int symbol(const unsigned* grid, const unsigned* block, unsigned shared, void** arguments, int order,    \
                        uint64_t seed, char* error, int size) {                                                       \
    [[maybe_unused]] const Flush flush;                                                                                \
    return coh::launch(&coh::thunk<&__VA_ARGS__>, grid, block, shared, arguments, order, seed, error, size);          \
  }                                                                                                                   \
  extern "C" const char* symbol##_signature() { return coh::signature(&__VA_ARGS__); }
