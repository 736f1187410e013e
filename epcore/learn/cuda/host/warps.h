// What warps cost: their lanes run in lockstep, and what they access in one instruction is one request.
//
// Every basic block of a kernel calls back, and there a lane stops. The warp goes on with the lanes that are furthest down in
// calls and, of these, first in the code: the compiler lays blocks out in the order in which they are left, so lanes that
// parted meet again where their ways do (Collange 2011, "Stack-less SIMT reconvergence at low cost", section 3).
#pragma once
#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace watch {
constexpr int SECTOR = 32, BANKS = 32, WORD = 4;

struct Request {
  uintptr_t pc;
  uint64_t address;
  uint32_t bytes;
  uint8_t lane;
  bool shared, write, atomic;
};
struct Cost {  // of one instruction, summed over warps
  uint64_t requests = 0, lanes = 0, atomics = 0;
  uint64_t sectors = 0, needed_sectors = 0, bytes = 0;  // of global memory; needed: if the bytes stood side by side
  uint64_t passes = 0, needed_passes = 0;               // of shared memory; needed: without bank conflicts
  uint64_t parted = 0;                                  // as a branch: how often lanes took different ways
  bool shared = false, write = false;
};
static std::unordered_map<uintptr_t, Cost> costs;
static std::unordered_map<uintptr_t, uint64_t> branches;  // how often a warp came to the comparison
static std::vector<Request> step;                         // of one warp, from one stop of its lanes to the next
static std::unordered_set<uint64_t> touched[2];           // sectors that were read, written, by anybody
static uint64_t blocks_run, lanes_run;                    // basic blocks that warps ran, and lanes that took part

// Sectors that the bytes of one request lie in, and how many they would need side by side.
static void count_global(const Request* begin, const Request* end, Cost& cost) {
  static std::vector<uint64_t> sectors, words;
  sectors.clear(), words.clear();
  for (const Request* r = begin; r != end; ++r) {
    for (uint64_t s = r->address / SECTOR; s <= (r->address + r->bytes - 1) / SECTOR; ++s) sectors.push_back(s);
    for (uint64_t w = r->address / WORD; w <= (r->address + r->bytes - 1) / WORD; ++w) words.push_back(w);
  }
  for (auto* list : {&sectors, &words}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
  }
  touched[begin->write].insert(sectors.begin(), sectors.end());
  cost.sectors += sectors.size();
  cost.bytes += words.size() * WORD;
  cost.needed_sectors += (words.size() * WORD + SECTOR - 1) / SECTOR;
}

// A bank gives one word a pass. Accesses of 8 bytes are made by half a warp, of 16 by a quarter.
static void count_shared(const Request* begin, const Request* end, Cost& cost) {
  const unsigned lanes = begin->bytes <= 4 ? 32 : begin->bytes <= 8 ? 16 : 8;
  std::vector<uint64_t> words[BANKS];
  for (unsigned first = 0; first < 32; first += lanes) {
    size_t most = 0;
    for (auto& bank : words) bank.clear();
    for (const Request* r = begin; r != end; ++r)
      if (r->lane / lanes == first / lanes)
        for (uint64_t w = r->address / WORD; w <= (r->address + r->bytes - 1) / WORD; ++w) {
          auto& bank = words[w % BANKS];
          if (std::find(bank.begin(), bank.end(), w) == bank.end()) bank.push_back(w);
          most = std::max(most, bank.size());
        }
    cost.passes += most;
    cost.needed_passes += most > 0;
  }
}

// What the lanes of a warp accessed since they stopped last becomes requests: one for each instruction.
static void end_step() {
  std::stable_sort(step.begin(), step.end(), [](const Request& a, const Request& b) { return a.pc < b.pc; });
  for (size_t i = 0, j; i < step.size(); i = j) {
    for (j = i; j < step.size() && step[j].pc == step[i].pc;) ++j;
    Cost& cost = costs[step[i].pc];
    ++cost.requests;
    cost.lanes += j - i;
    cost.atomics += step[i].atomic ? j - i : 0;
    cost.shared = step[i].shared;
    cost.write |= step[i].write;
    (step[i].shared ? count_shared : count_global)(&step[i], &step[i] + (j - i), cost);
  }
  step.clear();
}
}  // namespace watch
