// Runs one kernel of a file of its own, compiled with -fsanitize=thread,bounds -fsanitize-coverage=trace-pc,trace-cmp and linked
// with this file in place of the sanitizers' libraries: the callbacks below see every load, store, branch and index.
//
// Called with a request, the file for what was noticed (a JSON object a line), the file for the buffers afterwards, the order of
// threads (0 forward, 1 reversed, 2 shuffled, 3 lockstep: counted) and limits: how many basic blocks a thread may run, seconds of
// processor time, bytes of address space, bytes of a file.
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>

#include "shadow.h"
#include "warps.h"

#define COH_OWN_RUN_READY
#define COH_LINKAGE  // threadIdx and its kin are read by the kernel's own file
#define COH_WARP_RELEASED(first, mask) watch::release_warp(first, mask)
#include "fibers.h"

extern "C" void coh_kernel0(void** arguments);
extern "C" char __executable_start, _end;  // of the program: constants, and what is the emulator's own

namespace watch {
constexpr int LOCKSTEP = 3;
constexpr size_t GUARD = 1 << 20;  // bytes around each buffer: what strays there is reported, and harms nobody
constexpr size_t STATIC_SHARED = 48 << 10;
constexpr size_t ALIGNED = 256;    // as cudaMalloc's

struct Buffer {
  char* start;
  size_t bytes;
  bool given, constant;
  std::vector<Cell> cells;
};
struct SharedArray {
  const void* tag;
  std::string name;
  size_t start, bytes;
};
static std::vector<Buffer> buffers;
static std::vector<SharedArray> shared_arrays;  // of this block
static std::vector<Cell> shared_cells(coh::SHARED / 4);
static size_t dynamic_bytes;
static char *arena, *arena_end;
static uint64_t epoch, limit;
static bool running;
static uint64_t blocks_of_thread[THREADS], blocks_of_all;
constexpr uint64_t ALL_THREADS = 20, LOOP = 1000;  // limits of one thread for all; blocks after which all of a loop has been seen
static uintptr_t where[THREADS], depth[THREADS], compared[THREADS], last_block, interrupted;
static const char* result_file;

static int self() { return int(coh::current - coh::fibers.data()); }

static uint32_t block_number() { return (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x; }

static Access describe(uintptr_t pc, bool write, bool atomic) {
  const int t = self();
  return {pc, block_number(), barriers[t], clocks[t][t % LANES], uint16_t(t), 15, atomic, write};
}

// The shared array that holds an offset, or the last one that begins before it.
static std::string name_of(int space, int64_t& offset) {
  if (space != SHARED_MEMORY) return "";
  std::string name = "dynamic shared memory";
  int64_t start = 0;
  for (const auto& a : shared_arrays)
    if (int64_t(a.start) <= offset) name = a.name, start = int64_t(a.start);
  offset -= start;
  return name;
}

static void end_block() {
  const size_t used = (shared_arrays.empty() ? dynamic_bytes : shared_arrays.back().start + shared_arrays.back().bytes) / 4;
  report_unwritten(shared_cells, used, SHARED_MEMORY);
  std::fill(shared_cells.begin(), shared_cells.begin() + used, Cell());
}

// Everything that is kept for a block begins anew with the first callback of a new one.
static void notice_block() {
  if (epoch == coh::epoch) return;
  end_block();
  epoch = coh::epoch;
  shared_arrays.clear();
  start_block();
  std::fill(blocks_of_thread, blocks_of_thread + THREADS, 0);
}

// The kernel cannot go on after this.
[[noreturn]] static void stop() {
  coh::failure = "stopped";
  coh::current->state = coh::DONE;
  coh::go(coh::current, &coh::home);
  std::abort();
}

struct Place {
  int space;
  int64_t offset;
  bool inside;
};
static Place locate(const char* p, size_t bytes) {
  if (p >= arena && p < arena_end) {
    size_t best = 0;
    auto away = [&](const Buffer& b) { return p < b.start ? b.start - p : p < b.start + b.bytes ? 0 : p - (b.start + b.bytes) + 1; };
    for (size_t i = 1; i < buffers.size(); ++i)
      if (away(buffers[i]) < away(buffers[best])) best = i;
    const Buffer& b = buffers[best];
    return {int(best), p - b.start, p >= b.start && p + bytes <= b.start + b.bytes};
  }
  if (p >= coh::shared_memory && p < coh::shared_memory + coh::SHARED) {
    const size_t at = p - coh::shared_memory;
    bool inside = at + bytes <= dynamic_bytes;
    for (const auto& a : shared_arrays) inside |= at >= a.start && at + bytes <= a.start + a.bytes;
    return {SHARED_MEMORY, int64_t(at), inside};
  }
  const char* stack = coh::current->stack;
  if ((p >= stack && p < stack + coh::STACK) || (p >= &__executable_start && p < &_end)) return {OWN, 0, true};
  return {UNKNOWN, 0, false};
}

static void access(const void* address, size_t bytes, bool write, bool atomic, uintptr_t pc) {
  if (!running) return;
  notice_block();
  const char* p = static_cast<const char*>(address);
  const Place place = locate(p, bytes);
  if (place.space == OWN) return;
  Access now = describe(pc, write, atomic);
  if (!place.inside) {
    report("out of bounds", now, {}, place.space, place.offset, int(bytes));
    if (place.space == UNKNOWN || (place.space == SHARED_MEMORY && place.offset + bytes > coh::SHARED)) stop();
    return;
  }
  if ((bytes & (bytes - 1)) == 0 && uintptr_t(p) % bytes) {
    report("misaligned", now, {}, place.space, place.offset, int(bytes));
    stop();  // as on a GPU
  }
  if (place.space >= 0 && write && buffers[place.space].constant)
    report("write to an input", now, {}, place.space, place.offset, int(bytes));
  auto& cells = place.space >= 0 ? buffers[place.space].cells : shared_cells;
  for (int64_t at = place.offset; at < place.offset + int64_t(bytes);) {
    const int64_t next = std::min<int64_t>((at | 3) + 1, place.offset + bytes);
    now.mask = uint8_t(((1 << (next - at)) - 1) << (at & 3));
    touch(cells[at / 4], now, place.space, at, int(bytes));
    at = next;
  }
  if (coh::order == LOCKSTEP)
    step.push_back({pc, uint64_t(uintptr_t(p)), uint32_t(bytes), uint8_t(self() % LANES), place.space == SHARED_MEMORY, write, atomic});
}

static void enter_block(uintptr_t pc, uintptr_t frame) {
  if (!running) return;
  notice_block();
  const int t = self();
  last_block = pc;
  const bool one = ++blocks_of_thread[t] > limit, all = ++blocks_of_all > ALL_THREADS * limit;
  if (one || all) {
    report("endless", describe(pc, false, false), {}, OWN, 0, 0);
    if (blocks_of_thread[t] > limit + LOOP || blocks_of_all > ALL_THREADS * limit + LOOP) stop();
  }
  if (coh::order != LOCKSTEP) return;
  where[t] = pc;
  depth[t] = uintptr_t(coh::current->stack) + coh::STACK - frame;
  coh::go(coh::current, &coh::home);
  compared[t] = 0;
}

// One stop of the lanes of a warp that are furthest down and first, until none can go on.
static void run_warp(int first, const std::vector<int>& sequence) {
  while (coh::failure.empty()) {
    int best = -1;
    auto later = [](int a, int b) { return depth[a] != depth[b] ? depth[a] < depth[b] : where[a] > where[b]; };
    for (int t = first; t < std::min(first + LANES, coh::nthreads); ++t)
      if (coh::fibers[t].state == coh::READY && (best < 0 || later(best, t))) best = t;
    if (best < 0) return;
    std::vector<int> together;
    for (int t : sequence)
      if (t >= first && t < first + LANES && coh::fibers[t].state == coh::READY && !later(t, best) && !later(best, t))
        together.push_back(t);
    for (int t : together)
      if (coh::failure.empty()) coh::go(&coh::home, &coh::fibers[t]);
    ++blocks_run;
    lanes_run += together.size();
    end_step();
    if (uintptr_t at = compared[together[0]]) ++branches[at];
    bool parted = false;
    for (int t : together) {
      const bool ready = coh::fibers[t].state == coh::READY && coh::fibers[together[0]].state == coh::READY;
      parted |= ready && (where[t] != where[together[0]] || depth[t] != depth[together[0]]);
    }
    if (parted) ++costs[compared[together[0]] ? compared[together[0]] : where[together[0]]].parted;
  }
}

static void compare(uintptr_t pc) {
  if (running) compared[self()] = pc;
}

// ---- request and result

constexpr int PARAMETERS = 64;
static int64_t words[PARAMETERS];  // what the arguments point at; in the program's image, as constants are
static void* arguments[PARAMETERS];
static unsigned grid[3], block[3];

static void read_request(FILE* file) {
  long count, bytes, flags;
  auto must = [](bool fine) {
    if (!fine) std::fprintf(stderr, "the request cannot be read\n"), std::exit(3);
  };
  must(std::fscanf(file, "%ld", &count) == 1);
  size_t total = GUARD;
  for (long i = 0; i < count; ++i) {
    must(std::fscanf(file, "%ld %ld", &bytes, &flags) == 2);
    buffers.push_back({reinterpret_cast<char*>(total), size_t(bytes), bool(flags & 1), bool(flags & 2), {}});
    total += (bytes + ALIGNED - 1) / ALIGNED * ALIGNED + GUARD;
  }
  arena = static_cast<char*>(mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  must(arena != MAP_FAILED);
  arena_end = arena + total;
  std::memset(arena, 0xff, total);  // NaN
  unsigned shared;
  must(std::fscanf(file, "%u %u %u %u %u %u %u %ld", grid, grid + 1, grid + 2, block, block + 1, block + 2, &shared, &count) == 8);
  dynamic_bytes = shared;
  must(count <= PARAMETERS);
  std::vector<bool> pointer(count);
  for (long i = 0; i < count; ++i) {
    char kind;
    long value;
    must(std::fscanf(file, " %c %ld", &kind, &value) == 2);
    words[i] = value;
    pointer[i] = kind == 'b';
  }
  must(std::fgetc(file) == '\n');
  for (Buffer& b : buffers) {
    b.start = arena + reinterpret_cast<size_t>(b.start);
    b.cells.resize((b.bytes + 3) / 4);
    if (!b.given) continue;
    must(std::fread(b.start, 1, b.bytes, file) == b.bytes);
    for (Cell& cell : b.cells) cell.written = 15;
  }
  for (long i = 0; i < count; ++i) {
    if (pointer[i]) words[i] = reinterpret_cast<int64_t>(buffers[words[i]].start);
    arguments[i] = &words[i];
  }
}

static void write_thread(FILE* file, const char* name, const Access& a) {
  std::fprintf(file, ", \"%s\": {\"pc\": %lu, \"block\": %u, \"thread\": %u, \"write\": %d, \"atomic\": %d}", name, a.pc, a.block,
               a.thread, a.write, a.atomic);
}

static void write_result(const char* failure) {
  FILE* file = std::fopen(result_file, "w");
  if (!file) std::exit(3);
  for (const auto& [key, f] : findings) {
    std::fprintf(file, "{\"finding\": \"%s\", \"space\": %d, \"name\": \"%s\", \"offset\": %ld, \"bytes\": %d, \"count\": %lu",
                 std::get<0>(key).c_str(), f.space, f.text.c_str(), f.offset, f.bytes, f.count);
    write_thread(file, "access", f.access);
    write_thread(file, "other", f.other);
    std::fprintf(file, "}\n");
  }
  for (const auto& [pc, c] : costs)
    std::fprintf(file,
                 "{\"cost\": %lu, \"requests\": %lu, \"lanes\": %lu, \"atomics\": %lu, \"sectors\": %lu, \"needed_sectors\": %lu, \"bytes\": %lu, "
                 "\"passes\": %lu, \"needed_passes\": %lu, \"parted\": %lu, \"shared\": %d, \"write\": %d, \"branches\": %lu}\n",
                 pc, c.requests, c.lanes, c.atomics, c.sectors, c.needed_sectors, c.bytes, c.passes, c.needed_passes, c.parted, c.shared,
                 c.write, branches.count(pc) ? branches[pc] : 0);
  uint64_t comings = 0;
  for (const auto& branch : branches) comings += branch.second;
  std::fprintf(file, "{\"end\": \"%s\", \"pc\": %lu, \"last\": %lu, \"branches\": %lu, \"blocks\": %lu, \"lanes\": %lu, \"touched\": [%zu, %zu]}\n", failure,
               interrupted, last_block, comings, blocks_run, lanes_run, touched[0].size(), touched[1].size());
  std::fclose(file);
}

// For every word of an output: which instruction wrote it, so that a wrong value has a line.
static void write_buffers(const char* path) {
  FILE* file = std::fopen(path, "wb");
  if (!file) std::exit(3);
  for (const Buffer& b : buffers) {
    if (b.constant) continue;
    std::fwrite(b.start, 1, b.bytes, file);
    for (const Cell& cell : b.cells) {
      const uint64_t writer[2] = {cell.writer.pc, uint64_t(cell.writer.block) << 32 | cell.writer.thread};
      std::fwrite(writer, 1, sizeof writer, file);
    }
  }
  std::fclose(file);
}

static void died(int signal, siginfo_t* information, void* context) {
  running = false;
  if (signal == SIGFPE) interrupted = uintptr_t(information->si_addr);  // the very instruction
#if defined(__x86_64__)
  // a loop that holds nothing has no callback: where it is
  if (signal == SIGXCPU) interrupted = uintptr_t(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#endif
  const char* name = signal == SIGSEGV || signal == SIGBUS ? "memory" : signal == SIGFPE ? "division" : signal == SIGXCPU ? "time" : "ended";
  std::fflush(stdout);
  write_result(name);
  _exit(0);
}

static void set_limit(decltype(RLIMIT_CPU) what, const char* value, rlim_t more) {
  const rlim_t soft = std::strtoull(value, nullptr, 10);
  const rlimit limit{soft, soft + more};
  setrlimit(what, &limit);
}

static void catch_signals() {
  static char stack[1 << 16];
  stack_t other{};
  other.ss_sp = stack;
  other.ss_size = sizeof stack;
  sigaltstack(&other, nullptr);
  struct sigaction action {};
  action.sa_sigaction = died;
  action.sa_flags = SA_ONSTACK | SA_SIGINFO;
  for (int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGXCPU, SIGABRT, SIGILL}) sigaction(signal, &action, nullptr);
}
}  // namespace watch

// ---- what fibers.h leaves to this file

static void coh::run_ready(const std::vector<int>& sequence) {
  if (order == watch::LOCKSTEP) {
    for (int first = 0; first < nthreads; first += watch::LANES) watch::run_warp(first, sequence);
    return;
  }
  for (int i : sequence)
    if (fibers[i].state == READY && failure.empty()) go(&home, &fibers[i]);
}

// ---- what watched.h declares

extern "C" int coh_lane() { return coh::lane(); }
extern "C" void coh_sync_block(int line) {
  const int t = watch::self();
  coh::sync_block(line);
  watch::pass_block_barrier(t);
}
extern "C" void coh_sync_warp(unsigned mask, int line) {
  watch::orders_memory[watch::self()] = true;
  coh::sync_warp(mask, line);
}
extern "C" uint64_t coh_exchange(unsigned mask, uint64_t bits, int source, int line) {
  return coh::shuffle(mask, bits, source, line);
}
extern "C" void coh_atomic(const void* p, size_t bytes, void* pc) { watch::access(p, bytes, true, true, uintptr_t(pc) - 1); }
extern "C" void* coh_dynamic() { return coh::shared_memory; }
// Each array once a block, with a gap behind it.
extern "C" void* coh_shared(const void* tag, const char* name, size_t bytes, void* pc) {
  watch::notice_block();
  for (const auto& a : watch::shared_arrays)
    if (a.tag == tag) return coh::shared_memory + a.start;
  const size_t start = coh::arena_top;
  if (start + bytes > watch::STATIC_SHARED) {
    watch::report("shared memory", watch::describe(uintptr_t(pc) - 1, true, false), {}, watch::OWN, 0, 0);
    watch::stop();
  }
  coh::arena_top = (start + bytes + 32 + 127) & ~size_t(127);
  coh::high_water = std::min(std::max(coh::high_water, coh::arena_top), coh::SHARED);
  watch::shared_arrays.push_back({tag, name, start, bytes});
  return coh::shared_memory + start;
}

#define CALLER uintptr_t(__builtin_return_address(0)) - 1
static void range(const void* p, size_t n, bool write, uintptr_t pc) {
  for (size_t i = 0; i < n; i += 4) watch::access(static_cast<const char*>(p) + i, std::min<size_t>(4, n - i), write, false, pc);
}
extern "C" void* coh_memcpy(void* to, const void* from, size_t n) {
  range(from, n, false, CALLER);
  range(to, n, true, CALLER);
  return std::memcpy(to, from, n);
}
extern "C" void* coh_memset(void* to, int value, size_t n) {
  range(to, n, true, CALLER);
  return std::memset(to, value, n);
}

// ---- callbacks of the instrumented file

#define CALLBACKS(n)                                                                             \
  extern "C" void __tsan_read##n(void* p) { watch::access(p, n, false, false, CALLER); }           \
  extern "C" void __tsan_write##n(void* p) { watch::access(p, n, true, false, CALLER); }           \
  extern "C" void __tsan_unaligned_read##n(void* p) { watch::access(p, n, false, false, CALLER); } \
  extern "C" void __tsan_unaligned_write##n(void* p) { watch::access(p, n, true, false, CALLER); }
CALLBACKS(1)
CALLBACKS(2)
CALLBACKS(4)
CALLBACKS(8)
CALLBACKS(16)
extern "C" void __tsan_read_range(char* p, size_t n) { range(p, n, false, CALLER); }
extern "C" void __tsan_write_range(char* p, size_t n) { range(p, n, true, CALLER); }
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}

extern "C" void __sanitizer_cov_trace_pc() { watch::enter_block(CALLER, uintptr_t(__builtin_frame_address(0))); }
#define COMPARISON(name, T) \
  extern "C" void __sanitizer_cov_trace_##name(T, T) { watch::compare(CALLER); }
COMPARISON(cmp1, uint8_t)
COMPARISON(cmp2, uint16_t)
COMPARISON(cmp4, uint32_t)
COMPARISON(cmp8, uint64_t)
COMPARISON(const_cmp1, uint8_t)
COMPARISON(const_cmp2, uint16_t)
COMPARISON(const_cmp4, uint32_t)
COMPARISON(const_cmp8, uint64_t)
COMPARISON(cmpf, float)
COMPARISON(cmpd, double)
extern "C" void __sanitizer_cov_trace_switch(uint64_t, void*) { watch::compare(CALLER); }

extern "C" void __ubsan_handle_out_of_bounds(void*, uintptr_t index) {
  watch::report("index", watch::describe(CALLER, false, false), {}, watch::OWN, int64_t(index), 0);
  watch::stop();
}

int main(int count, char** given) {
  using namespace watch;
  if (count != 9) return 3;
  FILE* file = std::fopen(given[1], "rb");
  if (!file) return 3;
  read_request(file);
  std::fclose(file);
  result_file = given[2];
  limit = std::strtoull(given[5], nullptr, 10);
  catch_signals();
  set_limit(RLIMIT_CPU, given[6], 5);  // seconds in which the signal is answered
  set_limit(RLIMIT_AS, given[7], 0);
  set_limit(RLIMIT_FSIZE, given[8], 0);
  set_limit(RLIMIT_CORE, "0", 0);
  char error[500] = "";
  running = true;
  coh::launch(coh_kernel0, grid, block, unsigned(dynamic_bytes), arguments, std::atoi(given[4]), 1, error, sizeof error);
  running = false;
  end_block();
  for (size_t i = 0; i < buffers.size(); ++i) report_unwritten(buffers[i].cells, buffers[i].cells.size(), int(i));
  write_result(error);
  write_buffers(given[3]);
  return 0;
}
