// out(m, n) = sum over k of a(m, k) * b(k, n), the core of every dense convolution here.
//
// A block of THREADS threads owns a BM x BN tile of out, staged through shared memory in steps of BK along k; a thread keeps
// TM x TN sums in registers. What a(m, k), b(k, n) and out(m, n) are is up to three small structs: plain matrices, the
// patches of an image (so that no im2col array is ever written), a gradient seen from the input.
//   A: K_FAST    true where neighbours in k are neighbours in memory, else neighbours in m are
//      load(m, k)  V values along the fast axis; zero where k (or what it stands for) is outside
//   B: K_FAST, load(k, n)   likewise (else neighbours in n)
//   Out: out(m, n, pack)    called once for every m < M and every V-th n < N
// m, n, k outside their limits are never passed on; V > 1 needs axes of multiples of V. Every sum runs over k in order: the
// same bits every time.
#pragma once
#include "common.cuh"

template <int BM_, int BN_, int BK_, int TM_, int TN_>
struct Tile {
  static constexpr int BM = BM_, BN = BN_, BK = BK_, TM = TM_, TN = TN_;
  static constexpr int THREADS = (BM / TM) * (BN / TN);  // four such blocks a multiprocessor leave 128 registers a thread
};
// Named by the output channels they cover. Those of the networks (16, 24, 40, 48, 80, 112, ...) fill them: what a tile computes
// beyond N or K is thrown away.
using N64 = Tile<64, 64, 8, 4, 8>;    // 128 threads
using N48 = Tile<64, 48, 8, 4, 8>;    //  96
using N40 = Tile<128, 40, 8, 8, 4>;   // 160
using N32 = Tile<128, 32, 8, 8, 4>;   // 128
using N24 = Tile<128, 24, 8, 8, 4>;   //  96
using N16 = Tile<128, 16, 8, 4, 4>;   // 128
using Small = Tile<32, 32, 8, 4, 4>;  //  64: more blocks where the whole product is small

// The part [first, first + LENGTH) x [k0, k0 + BK) of a factor on its way to shared memory, as staged[k][i]. `fetch` starts the
// loads, all at once, into registers; `put` needs what they bring. Between them the block computes.
template <class T, int V, class Shape, int LENGTH, class Factor>
struct Stage {
  static constexpr int PACKS = LENGTH * Shape::BK / V, ROUNDS = (PACKS + Shape::THREADS - 1) / Shape::THREADS;
  static constexpr bool EVEN = PACKS % Shape::THREADS == 0;
  Pack<T, V> held[ROUNDS];

  __device__ __forceinline__ static int i_of(int e) { return Factor::K_FAST ? e / (Shape::BK / V) : e % (LENGTH / V) * V; }
  __device__ __forceinline__ static int k_of(int e) { return Factor::K_FAST ? e % (Shape::BK / V) * V : e / (LENGTH / V); }

  __device__ __forceinline__ void fetch(const Factor& factor, int first, int limit, int k0, int k_end) {
#pragma unroll
    for (int r = 0; r < ROUNDS; ++r) {
      const int e = threadIdx.x + r * Shape::THREADS, i = i_of(e), k = k_of(e);
      const bool inside = (EVEN || e < PACKS) && first + i < limit && k0 + k < k_end;
      held[r] = inside ? factor.load(first + i, k0 + k) : fill<T, V>(0);
    }
  }

  __device__ __forceinline__ void put(T (*staged)[LENGTH + 4]) const {
#pragma unroll
    for (int r = 0; r < ROUNDS; ++r) {
      const int e = threadIdx.x + r * Shape::THREADS, i = i_of(e), k = k_of(e);
      if (EVEN || e < PACKS) {
#pragma unroll
        for (int v = 0; v < V; ++v) staged[Factor::K_FAST ? k + v : k][Factor::K_FAST ? i : i + v] = held[r].v[v];
      }
    }
  }
};

template <class T, int V, class Shape, class A, class B, class Out>
__device__ __forceinline__ void gemm(const A& a, const B& b, const Out& out, int m0, int n0, int M, int N, int k_begin, int k_end) {
  constexpr int BM = Shape::BM, BN = Shape::BN, BK = Shape::BK, TM = Shape::TM, TN = Shape::TN;
  constexpr int RUN = 4, NEXT = BN / (TN / RUN);  // a thread's columns are runs of four, NEXT apart: no two threads meet in a bank
  __shared__ T as[BK][BM + 4];
  __shared__ T bs[BK][BN + 4];
  const int tm = threadIdx.x / (BN / TN), tn = threadIdx.x % (BN / TN);
  T sum[TM][TN] = {};
  Stage<T, V, Shape, BM, A> stage_a;
  Stage<T, V, Shape, BN, B> stage_b;
  stage_a.fetch(a, m0, M, k_begin, k_end);
  stage_b.fetch(b, n0, N, k_begin, k_end);
  for (int k0 = k_begin; k0 < k_end; k0 += BK) {
    stage_a.put(as);
    stage_b.put(bs);
    __syncthreads();
    stage_a.fetch(a, m0, M, k0 + BK, k_end);  // on its way while this step is computed
    stage_b.fetch(b, n0, N, k0 + BK, k_end);
#pragma unroll
    for (int k = 0; k < BK; ++k) {
      T p[TM], q[TN];
#pragma unroll
      for (int i = 0; i < TM; ++i) p[i] = as[k][tm * TM + i];
#pragma unroll
      for (int j = 0; j < TN; ++j) q[j] = bs[k][j / RUN * NEXT + tn * RUN + j % RUN];
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] += p[i] * q[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < TM; ++i) {
    const int m = m0 + tm * TM + i;
    if (m >= M) break;
#pragma unroll
    for (int j = 0; j < TN; j += V) {
      const int n = n0 + j / RUN * NEXT + tn * RUN + j % RUN;
      Pack<T, V> p;
#pragma unroll
      for (int v = 0; v < V; ++v) p.v[v] = sum[i][j + v];
      if (n < N) out(m, n, p);
    }
  }
}

// factor(i, k) = p[i * ld + k], neighbours along k side by side.
template <class T, int V>
struct Rows {
  static constexpr bool K_FAST = true;
  const T* p;
  int ld;
  __device__ __forceinline__ Pack<T, V> load(int i, int k) const { return ::load<T, V>(p + (size_t)i * ld + k); }
};

// factor(i, k) = p[k * ld + i], neighbours along i side by side.
template <class T, int V>
struct Columns {
  static constexpr bool K_FAST = false;
  const T* p;
  int ld;
  __device__ __forceinline__ Pack<T, V> load(int i, int k) const { return ::load<T, V>(p + (size_t)k * ld + i); }
};

// y[m * ld + n] = activation(value + bias[n]) + residual[m * ld + n]; bias and residual may be null.
template <class T, int V>
struct Epilogue {
  T* y;
  int ld;
  const T *bias, *residual;
  int kind;
  T parameter;
  __device__ __forceinline__ void operator()(int m, int n, Pack<T, V> p) const {
    const size_t at = (size_t)m * ld + n;
    const Pack<T, V> b = bias ? ::load<T, V>(bias + n) : fill<T, V>(0);
    const Pack<T, V> r = residual ? ::load<T, V>(residual + at) : fill<T, V>(0);
#pragma unroll
    for (int v = 0; v < V; ++v) p.v[v] = activate(kind, parameter, p.v[v] + b.v[v]) + r.v[v];
    store(y + at, p);
  }
};

// The part of one slice of k, to be merged in double: partial[m * next_m + n * next_n].
template <class T, int V>
struct Partial {
  double* partial;
  int next_m, next_n;
  __device__ __forceinline__ void operator()(int m, int n, const Pack<T, V>& p) const {
#pragma unroll
    for (int v = 0; v < V; ++v) partial[(size_t)m * next_m + (n + v) * next_n] = double(p.v[v]);
  }
};
