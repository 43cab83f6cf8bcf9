// Sums in fixed point, as cuda/accumulate.h makes them on a GPU, by one thread of the CPU.
#define DR_FIXED
#define __shared__ static

static void atomicMax(unsigned long long* p, unsigned long long value) {
  if (value > *p) *p = value;
}
static void atomicAdd(unsigned long long* p, unsigned long long value) {
  *p += value;
}
static long long __double2ll_rn(double value);

#include "common.h"

static long long __double2ll_rn(double value) {
  return std::llrint(value);
}

// place, value: [n]; sums: [places], largest: [1]
extern "C" void add(i64 n, const i64* place, const float* value, u64* sums, u64* largest, double headroom) {
  float* const none = nullptr;
  for (i64 phase = 0; phase < 2; ++phase) {
    dr_fixed = {none, sums, largest, headroom, phase};
    for (i64 i = 0; i < n; ++i) accumulate(none + place[i], value[i]);
  }
}
