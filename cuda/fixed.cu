// The end of sums in fixed point (accumulate.h): from integers to numbers. One element is one sum.
#include "common.h"

template <typename T>
struct FixedArgs {
  const i64* sums;     // [N]
  const u64* largest;  // [1] bits of the largest addend's size, as a double
  T* values;           // [N] out
  double headroom;     // see accumulate.h
};

template <typename T>
DR_FN void fixed_finish(const FixedArgs<T>& a, i64 i) {
  const double largest = bits_double(*a.largest);
  // A power of two for any finite number; otherwise the sums mean nothing.
  const double unit = 1 / (a.headroom * power_of_two_below(largest));
  a.values[i] = dr_finite(largest) ? (T)((double)a.sums[i] * unit) : (T)(largest - largest);
}

DR_KERNEL(fixed_finish, FixedArgs)
