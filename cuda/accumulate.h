// Gradients that several elements share are summed here.
//
// On the CPU each worker owns a slab (a private copy, see DR_SCATTER in common.h), so a plain addition is
// right, and the result does not depend on how the threads are scheduled. On the GPU a sum is an atomic
// addition; where many lanes of a warp add to the same place, they first add up their values among each other
// (Peers). With DR_FIXED the sums are integers, whose order does not matter, so that results repeat.
#pragma once

#if !defined(__CUDACC__) && !defined(DR_FIXED)

template <typename T>
DR_FN void accumulate(T* p, T value) {
  *p += value;
}

#elif !defined(DR_FIXED)

template <typename T>
DR_FN void accumulate(T* p, T value) {
  atomicAdd(p, value);
}

#else

// Sums in fixed point: the kernel runs twice, first to find the largest addend, then to add integers in units
// that are small enough to lose nothing that a float would hold, and large enough not to overflow;
// `fixed_finish` (fixed.cu) turns them into numbers. An addend that is not finite makes all of the sums NaN.
struct Fixed {
  void* values;     // the gradient that the kernel believes it adds to
  u64* sums;        // as many integers
  u64* largest;     // bits of the largest size of an addend, as a double
  double headroom;  // 2^61 over a bound on the number of addends, a power of two
  i64 phase;        // 0: find the largest; 1: add
};
__shared__ Fixed dr_fixed;

template <typename T>
DR_FN void accumulate(T* p, T value) {
  const Fixed& f = dr_fixed;
  if (f.phase == 0) {
    const u64 size = double_bits((double)(value < 0 ? -value : value));
    if (size > *f.largest) atomicMax(f.largest, size);
    return;
  }
  const double scaled = (double)value * (f.headroom * power_of_two_below(bits_double(*f.largest)));
  atomicAdd(f.sums + (p - (T*)f.values), (u64)__double2ll_rn(scaled));
}

#endif

// The lanes of a warp that add to the same place, as their equal keys say. `sum` gives the leader the sum of
// all; the others need not go to memory. Every element is its own leader on the CPU, and in fixed point:
// which lanes are here together, and so the order of a sum of floats, may change from run to run.
#if (defined(__CUDACC__) && !defined(DR_FIXED)) || defined(DR_WARP_EMULATION)
struct Peers {
  u32 active, above, place;  // lanes here; peers above this one; how many are below
  bool alone;                // no lane of the warp has a peer
  bool leader;

  template <typename T>
  DR_FN T sum(T value) const {
    if (alone) return value;
    // In each round every other peer that is left adds the next one's value to its own, and the next one
    // drops out (Westphal 2015, "Voting and Shuffling to Optimize Atomic Operations").
    u32 left = above, at = place;
    while (__any_sync(active, left != 0)) {
      const int next = __ffs(left) - 1;
      const T other = __shfl_sync(active, value, next < 0 ? 0 : next);
      if (next >= 0) value += other;
      left &= __ballot_sync(active, (at & 1) == 0);
      at >>= 1;
    }
    return value;
  }
};

DR_FN Peers peers_of(i64 key) {
  const u32 active = __activemask(), lane = threadIdx.x & 31;
  const u32 same = __match_any_sync(active, (unsigned long long)key);
  const u32 below = same & ((1u << lane) - 1), above = same & (0xFFFFFFFEu << lane);
  const bool alone = !__any_sync(active, (below | above) != 0);
  return {active, above, (u32)__popc(below), alone, below == 0};
}
#else
struct Peers {
  static constexpr bool leader = true;
  template <typename T>
  DR_FN T sum(T value) const {
    return value;
  }
};
DR_FN Peers peers_of(i64) {
  return {};
}
#endif

// Adds the peers' values to *p with one addition.
template <typename T>
DR_FN void accumulate(T* p, T value, const Peers& peers) {
  const T sum = peers.sum(value);
  if (peers.leader) accumulate(p, sum);
}
