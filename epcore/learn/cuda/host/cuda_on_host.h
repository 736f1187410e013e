// CUDA C++ for g++: the keywords, built-ins and intrinsics the kernels use, on top of the fibers of fibers.h.
//
// source.py rewrites `__shared__ T name[n];` to COH_STATIC_SHARED(name, T[n]) and `extern __shared__ T name[];` to
// coh::dynamic_shared<T>(), and exports every kernel with COH_EXPORT. With COH_WATCHED the fibers are in a file of their
// own, watch.cpp, which sees every load and store of this one.
#pragma once
#include <cmath>
#include <type_traits>
#include <utility>

#ifdef COH_WATCHED
#include "watched.h"
#else
#include "fibers.h"
#define COH_STATIC_SHARED(name, ...) coh::static_shared<__VA_ARGS__, __COUNTER__>()
#endif
#include "atomics.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline)) /* include standard headers before this */
#define __launch_bounds__(...)
#define __ldg(p) (*(p))
constexpr int warpSize = 32;

// ---- barriers and warp shuffles ---------------------------------------------------------------------------------------
#define __syncthreads() coh::sync_block(__LINE__)
#define __syncwarp(...) coh::sync_warp(coh_mask(__VA_ARGS__), __LINE__)
static inline unsigned coh_mask(unsigned mask = 0xffffffffu) { return mask; }
static inline int coh_at(int s, int w) { return (coh::lane() & ~(w - 1)) | (s & (w - 1)); }
static inline int coh_down(int d, int w) {
  const int l = coh::lane();
  return (l & (w - 1)) + d < w ? l + d : l;
}
static inline int coh_up(int d, int w) {
  const int l = coh::lane();
  return (l & (w - 1)) >= d ? l - d : l;
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
#define __shfl_up_sync(mask, v, ...) coh_shuffle(__LINE__, coh_up, mask, v, __VA_ARGS__)
#define __shfl_xor_sync(mask, v, ...) coh_shuffle(__LINE__, coh_xor, mask, v, __VA_ARGS__)

// ---- functions that CUDA has in the global namespace, for float and double ----------------------------------------------
using std::exp;
using std::fabs;
using std::isnan;
using std::sqrt;
#define __expf(x) std::exp(float(x))  // glibc has a function of this name
#define __fdividef(a, b) (float(a) / float(b))
#define rsqrtf(x) (1 / std::sqrt(float(x)))
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
#ifndef COH_WATCHED
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
#endif
}  // namespace coh

#ifdef COH_WATCHED
#define memcpy coh_memcpy /* calls of the C library have no callback */
#define memset coh_memset
#define COH_EXPORT(symbol, ...) \
  extern "C" void symbol(void** arguments) { coh::thunk<&__VA_ARGS__>(arguments); }
#else
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
#endif
