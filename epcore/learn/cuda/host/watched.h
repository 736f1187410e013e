// What a kernel's own file sees of watch.cpp: the same names as in fibers.h, elsewhere.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>  // printf, which CUDA knows without an include
#include <cstring>

#include "vector_types.h"

#define COH_SCHEDULER __attribute__((no_sanitize("thread")))
#define COH_TELL_ATOMIC(p) coh_atomic(p, sizeof *(p), __builtin_return_address(0))
#define COH_STATIC_SHARED(name, ...) coh::static_shared<__VA_ARGS__, __COUNTER__>(#name)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

extern "C" {
int coh_lane();
void coh_sync_block(int line);
void coh_sync_warp(unsigned mask, int line);
uint64_t coh_exchange(unsigned mask, uint64_t bits, int source, int line);
void coh_atomic(const void* p, size_t bytes, void* pc);
void* coh_shared(const void* tag, const char* name, size_t bytes, void* pc);
void* coh_dynamic();
void* coh_memcpy(void* to, const void* from, size_t bytes);
void* coh_memset(void* to, int value, size_t bytes);
}

namespace coh {
static inline int lane() { return coh_lane(); }
static inline void sync_block(int line) { coh_sync_block(line); }
static inline void sync_warp(unsigned mask, int line) { coh_sync_warp(mask, line); }

template <class T>
COH_SCHEDULER static T shuffle(unsigned mask, T v, int source, int line) {
  static_assert(sizeof(T) <= 8, "shuffle: at most 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &v, sizeof v);
  bits = coh_exchange(mask, bits, source, line);
  std::memcpy(&v, &bits, sizeof v);
  return v;
}
template <class T, int ID>
COH_SCHEDULER __attribute__((noinline)) static T& static_shared(const char* name) {
  static const char tag = 0;
  return *static_cast<T*>(coh_shared(&tag, name, sizeof(T), __builtin_return_address(0)));
}
template <class T>
COH_SCHEDULER static T* dynamic_shared() {
  return static_cast<T*>(coh_dynamic());
}
}  // namespace coh
