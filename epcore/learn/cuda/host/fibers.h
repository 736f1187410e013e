// The scheduler under cuda_on_host.h: the threads of a block are fibers that switch at barriers and shuffles.
//
// Blocks run one after another. Inside a block every READY fiber runs until it waits or ends; when nobody is READY, waiting
// fibers are released (warp barriers first) or the deadlock is reported with its source line. Deterministic; `order` picks
// the order of threads: 0 forward, 1 reversed (blocks too), 2 shuffled anew at every barrier.
#pragma once
#if !defined(__x86_64__) && !defined(COH_UCONTEXT)
#define COH_UCONTEXT  // other processors: portable, slower switches
#endif
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>
#if defined(COH_UCONTEXT)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define COH_POISON(p, n) __asan_poison_memory_region(p, n)
#define COH_UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define COH_POISON(p, n) (void)0
#define COH_UNPOISON(p, n) (void)0
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define COH_SCHEDULER __attribute__((no_sanitize("thread"), noinline))  // the scheduler itself is not checked
#define COH_RELEASE(p) __tsan_release(p)
#define COH_ACQUIRE(p) __tsan_acquire(p)
#else
#define COH_SCHEDULER
#define COH_RELEASE(p) (void)0
#define COH_ACQUIRE(p) (void)0
#endif

#include "vector_types.h"

#ifndef COH_WARP_RELEASED
#define COH_WARP_RELEASED(first, mask) (void)0  // the lanes of a barrier are about to go on
#endif
#ifndef COH_LINKAGE
#define COH_LINKAGE static
#endif
COH_LINKAGE uint3 threadIdx, blockIdx;  // rewritten at every switch
COH_LINKAGE dim3 blockDim, gridDim;

namespace coh {
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
enum State : uint8_t { READY, AT_BLOCK, AT_WARP, DONE };
struct Fiber {
  void* sp = nullptr;
  char* stack = nullptr;
  uint3 tid{};
  State state = DONE;
  int line = 0;        // source line it waits at
  unsigned mask = 0;   // of the warp barrier it waits at
  uint8_t parity = 0;  // shuffles use two slots in turn, so that a fast lane cannot overwrite what a slow one reads
  uint64_t slot[2] = {};
#if defined(COH_UCONTEXT)
  ucontext_t context;
#endif
  void *fake_stack = nullptr, *tsan_fiber = nullptr;
};

constexpr size_t STACK = 64 << 10;
constexpr size_t SHARED = 232448;  // 227 KiB a block, as on an H100
static std::vector<Fiber> fibers;
static Fiber* current = nullptr;
static Fiber home;
static int nthreads = 0, order = 0;
static uint64_t rng = 1;
static void (*entry)(void**) = nullptr;
static void** entry_arguments = nullptr;
alignas(128) static char shared_memory[SHARED];
static size_t arena_top = 0, high_water = SHARED;
static uint64_t epoch = 0;  // counts blocks: static shared variables get a fresh place in each
static std::string failure;
static char sync_block_tag, sync_warp_tag[32], begin_tag, end_tag;  // what TSan's happens-before edges hang on

#if !defined(COH_UCONTEXT)
extern "C" void coh_switch(void** save, void* load);
__asm__(
    ".text\n.type coh_switch,@function\ncoh_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size coh_switch,.-coh_switch\n");
#endif
#if defined(__SANITIZE_ADDRESS__)
static const void* home_stack;
static size_t home_stack_size;
#endif

// The only place where control moves from one fiber to another.
COH_SCHEDULER static inline void go(Fiber* from, Fiber* to) {
  current = to;
  if (to != &home) threadIdx = to->tid;
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to->tsan_fiber, __tsan_switch_to_fiber_no_sync);  // ordered only through barriers
#endif
#if defined(__SANITIZE_ADDRESS__)
  if (from == &home)
    __sanitizer_start_switch_fiber(&home.fake_stack, to->stack, STACK);
  else
    __sanitizer_start_switch_fiber(from->state == DONE ? nullptr : &from->fake_stack, home_stack, home_stack_size);
#endif
#if defined(COH_UCONTEXT)
  swapcontext(&from->context, &to->context);
#else
  coh_switch(&from->sp, to->sp);
#endif
#if defined(__SANITIZE_ADDRESS__)
  if (from == &home)
    __sanitizer_finish_switch_fiber(home.fake_stack, nullptr, nullptr);
  else
    __sanitizer_finish_switch_fiber(from->fake_stack, &home_stack, &home_stack_size);
#endif
}

COH_SCHEDULER static void body() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &home_stack, &home_stack_size);
#endif
  COH_ACQUIRE(&begin_tag);
  entry(entry_arguments);
  COH_RELEASE(&end_tag);
  current->state = DONE;
  go(current, &home);
}

COH_SCHEDULER static void start(Fiber& f) {
  if (!f.stack) {
    f.stack = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(f.stack, 4096, PROT_NONE);  // stack overflow -> SIGSEGV
#if defined(__SANITIZE_THREAD__)
    f.tsan_fiber = __tsan_create_fiber(0);
#endif
  }
#if defined(COH_UCONTEXT)
  getcontext(&f.context);
  f.context.uc_stack.ss_sp = f.stack;
  f.context.uc_stack.ss_size = STACK;
  f.context.uc_link = nullptr;
  makecontext(&f.context, body, 0);
#else
  void** top = (void**)(f.stack + STACK);
  *--top = nullptr;
  *--top = (void*)body;  // keeps rsp = 8 mod 16 at entry
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  f.sp = top;
#endif
  f.state = READY;
  f.parity = 0;
}

static inline int lane() { return int(current - fibers.data()) & 31; }

COH_SCHEDULER static inline void sync_block(int line) {
  COH_RELEASE(&sync_block_tag);
  current->state = AT_BLOCK;
  current->line = line;
  go(current, &home);
  COH_ACQUIRE(&sync_block_tag);
}

COH_SCHEDULER static inline void sync_warp(unsigned mask, int line) {
  [[maybe_unused]] char* tag = &sync_warp_tag[(current - fibers.data()) / 32];
  COH_RELEASE(tag);
  current->state = AT_WARP;
  current->mask = mask;
  current->line = line;
  go(current, &home);
  COH_ACQUIRE(tag);
}

template <class T>
COH_SCHEDULER static inline T shuffle(unsigned mask, T v, int source, int line) {
  static_assert(sizeof(T) <= 8, "shuffle: at most 8 bytes");
  const int base = int(current - fibers.data()) & ~31;
  const uint8_t p = current->parity ^= 1;
  std::memcpy(&current->slot[p], &v, sizeof v);
  sync_warp(mask, line);
  if (base + source >= nthreads || !(mask >> source & 1)) {
    failure = "shuffle reads a lane outside the mask, line " + std::to_string(line);
    return v;
  }
  T result;
  std::memcpy(&result, &fibers[base + source].slot[p], sizeof result);
  return result;
}

// Called when nobody is READY: let a complete barrier through or say why none is complete.
COH_SCHEDULER static void release_barriers() {
  bool any = false;
  for (int w = 0; w < nthreads; w += 32) {
    const int n = std::min(32, nthreads - w);
    for (int i = 0; i < n; ++i) {
      const Fiber& f = fibers[w + i];
      if (f.state != AT_WARP) continue;
      if (!(f.mask >> i & 1)) throw Error("line " + std::to_string(f.line) + ": calling lane is not in its own mask");
      bool all = true;
      for (int j = 0; j < n && all; ++j)
        if (f.mask >> j & 1) {
          const Fiber& g = fibers[w + j];
          all = g.state == AT_WARP && g.mask == f.mask && g.line == f.line;
        }
      if (!all) continue;
      const unsigned mask = f.mask;
      COH_WARP_RELEASED(w, mask);
      for (int j = 0; j < n; ++j)
        if (mask >> j & 1) fibers[w + j].state = READY;
      any = true;
    }
  }
  if (any) return;
  int waiting = 0, line = -1;
  bool same = true;
  for (int i = 0; i < nthreads; ++i) {
    const Fiber& f = fibers[i];
    if (f.state == AT_WARP)
      throw Error("deadlock: thread " + std::to_string(i) + " waits for its warp at line " + std::to_string(f.line) +
                  "; other lanes left or diverged");
    if (f.state != AT_BLOCK) continue;
    ++waiting;
    if (line < 0) line = f.line;
    same &= line == f.line;
  }
  const std::string at = std::to_string(line);
  if (!same) throw Error("__syncthreads reached at different lines in one block (one is line " + at + ")");
  if (waiting != nthreads)
    throw Error("__syncthreads at line " + at + ": only " + std::to_string(waiting) + " of " + std::to_string(nthreads) +
                " threads arrived, the others returned");
  for (int i = 0; i < nthreads; ++i) fibers[i].state = READY;
}

static inline uint64_t random_number() {
  rng ^= rng << 13;
  rng ^= rng >> 7;
  rng ^= rng << 17;
  return rng;
}

#ifdef COH_OWN_RUN_READY
static void run_ready(const std::vector<int>& sequence);
#else
// Every READY fiber, until it waits or ends.
COH_SCHEDULER static void run_ready(const std::vector<int>& sequence) {
  for (int i : sequence)
    if (fibers[i].state == READY) go(&home, &fibers[i]);
}
#endif

COH_SCHEDULER static void run_block() {
  std::vector<int> sequence(nthreads);
  for (int i = 0; i < nthreads; ++i) {
    start(fibers[i]);
    sequence[i] = order == 1 ? nthreads - 1 - i : i;
  }
  for (;;) {
    if (order == 2)
      for (int i = nthreads - 1; i > 0; --i) std::swap(sequence[i], sequence[random_number() % (i + 1)]);
    run_ready(sequence);
    int done = 0;
    for (int i = 0; i < nthreads; ++i) done += fibers[i].state == DONE;
    if (!failure.empty()) throw Error(failure);
    if (done == nthreads) return;
    release_barriers();
  }
}

// Runs a whole grid; arguments[i] points at argument i, as for cuLaunchKernel. 0, or 1 and a text in `error`.
COH_SCHEDULER static int launch(void (*kernel)(void**), const unsigned* grid, const unsigned* block, unsigned dynamic_bytes,
                                void** arguments, int thread_order, uint64_t seed, char* error, int error_size) {
  gridDim = dim3(grid[0], grid[1], grid[2]);
  blockDim = dim3(block[0], block[1], block[2]);
  nthreads = int(block[0] * block[1] * block[2]);
  order = thread_order;
  rng = seed * 2654435761u + 88172645463325252ull;
  entry = kernel;
  entry_arguments = arguments;
  failure.clear();
  try {
    if (nthreads < 1 || nthreads > 1024 || block[2] > 64) throw Error("invalid block size");
    if (dynamic_bytes > SHARED) throw Error("too much dynamic shared memory");
    if (grid[0] < 1 || grid[1] < 1 || grid[2] < 1 || grid[1] > 65535 || grid[2] > 65535) throw Error("invalid grid");
    if ((int)fibers.size() < nthreads) fibers.resize(nthreads);
#if defined(__SANITIZE_THREAD__)
    if (!home.tsan_fiber) home.tsan_fiber = __tsan_get_current_fiber();
#endif
    for (unsigned i = 0; i < unsigned(nthreads); ++i)
      fibers[i].tid = {i % block[0], i / block[0] % block[1], i / (block[0] * block[1])};
    const uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    for (uint64_t b = 0; b < blocks; ++b) {
      const uint64_t q = order == 1 ? blocks - 1 - b : b;
      blockIdx = {unsigned(q % grid[0]), unsigned(q / grid[0] % grid[1]), unsigned(q / ((uint64_t)grid[0] * grid[1]))};
      COH_UNPOISON(shared_memory, SHARED);
      std::memset(shared_memory, 0xff, high_water);  // all ones = NaN: uninitialised shared memory shows
      COH_POISON(shared_memory + dynamic_bytes, SHARED - dynamic_bytes);
      high_water = arena_top = (dynamic_bytes + 127) & ~127u;
      ++epoch;
      COH_RELEASE(&begin_tag);
      run_block();
      COH_ACQUIRE(&end_tag);
    }
    return 0;
  } catch (const std::exception& e) {
    std::snprintf(error, error_size, "block (%u,%u,%u): %s", blockIdx.x, blockIdx.y, blockIdx.z, e.what());
    return 1;
  }
}

// `__shared__ T name[n];` becomes a reference to this: one address for all threads of a block, poisoned gaps in between.
template <class T, int ID>
COH_SCHEDULER static T& static_shared() {
  static uint64_t seen = 0;
  static T* at = nullptr;
  if (seen != epoch) {
    seen = epoch;
    at = reinterpret_cast<T*>(shared_memory + arena_top);
    if (arena_top + sizeof(T) > SHARED) {
      std::fprintf(stderr, "shared memory exhausted\n");
      std::abort();
    }
    COH_UNPOISON(at, sizeof(T));
    arena_top = (arena_top + sizeof(T) + 32 + 127) & ~size_t(127);
    high_water = std::min(std::max(high_water, arena_top), SHARED);
  }
  return *at;
}
template <class T>
static inline T* dynamic_shared() {
  return reinterpret_cast<T*>(shared_memory);
}
}  // namespace coh
