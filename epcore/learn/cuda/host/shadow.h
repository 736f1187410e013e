// What is known of every four bytes that threads share: who wrote and read them last, and whether anybody wrote them.
//
// Two accesses of one place are in order if one thread makes both, if a __syncthreads of their block lies between, or, within
// a warp, a __syncwarp of both lanes; shuffles order nothing. Everything else is a race, in whatever order the threads ran.
#pragma once
#include <map>
#include <tuple>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace watch {
constexpr int THREADS = 1024, LANES = 32;

struct Access {
  uintptr_t pc = 0;
  uint32_t block = 0, barriers = 0, clock = 0;
  uint16_t thread = 0;
  uint8_t mask = 0;  // which of the four bytes
  bool atomic = false, write = false;
};
struct Cell {
  Access writer, readers[2], unwritten;  // unwritten: a read before any write
  uint8_t written = 0;                   // mask
};

// Barriers that each thread passed in this block, and what of its warp's lanes it has seen.
static uint32_t barriers[THREADS];
static uint32_t clocks[THREADS][LANES];        // [t][l]: up to which tick of lane l thread t is in order behind it
static bool orders_memory[THREADS];      // whether the thread waits at a __syncwarp, not at a shuffle

struct Finding {
  Access access, other;
  int space = -1;  // number of the buffer, or one of those below
  int64_t offset = 0;
  int bytes = 0;
  uint64_t count = 0;
  std::string text;  // the name of a shared array
};
enum Space { UNKNOWN = -1, SHARED_MEMORY = -2, OWN = -3 };
static std::map<std::tuple<std::string, uintptr_t, uintptr_t>, Finding> findings;

static std::string name_of(int space, int64_t& offset);  // of a shared array, and the place within it

static void report(const char* kind, const Access& access, const Access& other, int space, int64_t offset, int bytes) {
  Finding& f = findings[{kind, access.pc, other.pc}];
  if (f.count++) return;
  f.text = name_of(space, offset);
  f.access = access, f.other = other, f.space = space, f.offset = offset, f.bytes = bytes;
}

static bool ordered(const Access& before, const Access& now) {
  if (!before.pc || !(before.mask & now.mask) || (before.atomic && now.atomic)) return true;
  if (before.block != now.block) return false;
  if (before.thread == now.thread || before.barriers != now.barriers) return true;
  return before.thread / LANES == now.thread / LANES && clocks[now.thread][before.thread % LANES] > before.clock;
}

// One access to one cell; place: for the text.
static void touch(Cell& cell, const Access& now, int space, int64_t offset, int bytes) {
  auto race = [&](const Access& before) {
    report(before.block != now.block ? "race between blocks" : "race", now, before, space, offset, bytes);
    if (cell.unwritten.pc == before.pc || cell.unwritten.pc == now.pc) cell.unwritten.pc = 0;  // that is why it was unwritten
  };
  if (!ordered(cell.writer, now)) race(cell.writer);
  if (now.write) {
    for (Access& reader : cell.readers) {
      if (!ordered(reader, now)) race(reader);
      reader.pc = 0;
    }
    if (!now.atomic || (cell.written & now.mask) == now.mask) cell.written |= now.mask;
    else if (!cell.unwritten.pc) cell.unwritten = now;  // an atomic operation reads as well
    cell.writer = now;
    return;
  }
  if ((cell.written & now.mask) != now.mask && !cell.unwritten.pc) cell.unwritten = now;
  Access* free = nullptr;
  for (Access& reader : cell.readers)
    if (!reader.pc || (reader.block == now.block && (reader.thread == now.thread || ordered(reader, now)))) free = &reader;
  if (free) *free = now;
}

static void pass_block_barrier(int thread) { ++barriers[thread]; }

static void release_warp(int first, unsigned mask) {
  uint32_t seen[LANES] = {};
  for (int lane = 0; lane < LANES; ++lane)
    if (mask >> lane & 1 && orders_memory[first + lane]) {
      ++clocks[first + lane][lane];
      for (int l = 0; l < LANES; ++l) seen[l] = std::max(seen[l], clocks[first + lane][l]);
    }
  for (int lane = 0; lane < LANES; ++lane)
    if (mask >> lane & 1 && orders_memory[first + lane]) {
      std::copy(seen, seen + LANES, clocks[first + lane]);
      orders_memory[first + lane] = false;
    }
}
static void start_block() {
  std::memset(barriers, 0, sizeof barriers);
  std::memset(clocks, 0, sizeof clocks);
  std::memset(orders_memory, 0, sizeof orders_memory);
}

// Reads before any write that no race explains.
static void report_unwritten(std::vector<Cell>& cells, size_t count, int space) {
  for (size_t i = 0; i < count; ++i)
    if (cells[i].unwritten.pc) report("uninitialised", cells[i].unwritten, {}, space, int64_t(4 * i), 4);
}
}  // namespace watch
