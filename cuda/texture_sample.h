// Where a sample's texels are, their weights, and the level of detail (docs/MATH.md, section 4).
#pragma once
#include "common.h"
#include "texture_cube.h"

enum Boundary { kWrap, kClamp, kZero, kCube };

DR_FN float dr_floor(float x) {
  return floorf(x);
}
DR_FN double dr_floor(double x) {
  return floor(x);
}
DR_FN float dr_sqrt(float x) {
  return sqrtf(x);
}
DR_FN double dr_sqrt(double x) {
  return sqrt(x);
}

// Ours in float32, so that the CPU and the GPU choose the same level, and so that the compiler can vectorize
// it: x = 2^e m with m in [sqrt(1/2), sqrt(2)), and log2 m from the series of atanh. For positive normal x;
// the error is about one unit in the last place.
DR_FN float dr_log2(float x) {
  const int bits = (int)float_bits(x), e = (bits - 0x3F3504F3) >> 23;
  const float m = bits_float((u32)bits - ((u32)e << 23));
  const float z = (m - 1) / (m + 1), q = z * z;
  const float series = 0.57707802f + q * (0.41219858f + q * 0.32059889f);  // 2 / (k ln 2) for k = 5, 7, 9
  return (float)e + z * (2.88539008f + q * (0.96179669f + q * series));
}
DR_FN double dr_log2(double x) {
  return log2(x);
}

// Level l has max(1, n >> l) texels along an axis of n.
DR_FN int level_size(i64 n, int l) {
  return (int)dr_max(n >> l, (i64)1);
}

// Up to four texels (counted from the start of the texture's image), their bilinear weights, and the
// derivatives of the weights by the position in texels.
template <typename T>
struct Taps {
  i64 at[4];
  T w[4], dx[4], dy[4];
};

// The two texels of one axis: i and i + 1, with weights 1 - f and f.
template <typename T>
struct Axis {
  int i;
  T f;
};

// Splitting off the fraction before the half texel is subtracted loses no bit of it.
template <typename T>
DR_FN Axis<T> axis_at(T u, int n) {
  // From one texel outside on nothing changes any more; the limit keeps the conversion to int safe.
  const T t = dr_clamp(u * (T)n, T(-1), (T)n + 1);
  const T below = dr_floor(t), f = t - below - T(0.5);
  const bool upper = f >= 0;
  return {(int)below - (upper ? 0 : 1), upper ? f : f + 1};
}

// One of the two brought into [0, n), with its weight w and the derivative d of that, which are zero for a
// texel that is not there.
template <typename T>
struct End {
  int i;
  T w, d;
};

template <typename T>
DR_FN End<T> end_at(int i, int n, T w, T d, int boundary) {
  const int below = boundary == kWrap ? n - 1 : 0,
            above = boundary == kWrap ? 0 : n - 1;  // the coordinate is wrapped already
  const T kept = boundary == kZero ? T(0) : T(1);
  const bool outside = i < 0 || i >= n;
  return {i < 0 ? below : i >= n ? above : i, outside ? w * kept : w, outside ? d * kept : d};
}

template <typename T>
DR_FN Taps<T> taps_2d(T u, T v, int width, int height, int boundary) {
  const Axis<T> x = axis_at(u, width), y = axis_at(v, height);
  const End<T> x0 = end_at(x.i, width, 1 - x.f, T(-1), boundary), x1 = end_at(x.i + 1, width, x.f, T(1), boundary);
  const End<T> y0 = end_at(y.i, height, 1 - y.f, T(-1), boundary), y1 = end_at(y.i + 1, height, y.f, T(1), boundary);
  const i64 r0 = (i64)y0.i * width, r1 = (i64)y1.i * width;
  return {{r0 + x0.i, r0 + x1.i, r1 + x0.i, r1 + x1.i},
          {x0.w * y0.w, x1.w * y0.w, x0.w * y1.w, x1.w * y1.w},
          {x0.d * y0.w, x1.d * y0.w, x0.d * y1.w, x1.d * y1.w},
          {x0.w * y0.d, x1.w * y0.d, x0.w * y1.d, x1.w * y1.d}};
}

template <typename T>
DR_FN Taps<T> taps_cube(T s, T t, int face, int S) {
  const Axis<T> x = axis_at(s, S), y = axis_at(t, S);
  const T wx[2] = {1 - x.f, x.f}, wy[2] = {1 - y.f, y.f};
  const i64 start = (i64)face * S * S;
  Taps<T> r;
  for (int k = 0; k < 4; ++k) {
    const int i = k & 1, j = k >> 1;
    r.at[k] = start + (i64)(y.i + j) * S + x.i + i;
    r.w[k] = wx[i] * wy[j], r.dx[k] = (i ? 1 : -1) * wy[j], r.dy[k] = (j ? 1 : -1) * wx[i];
  }
  if (x.i >= 0 && x.i + 1 < S && y.i >= 0 && y.i + 1 < S) return r;
  int corner = -1;
  for (int k = 0; k < 4; ++k) {
    const int column = x.i + (k & 1), row = y.i + (k >> 1);
    const bool beyond_x = column < 0 || column >= S, beyond_y = row < 0 || row >= S;
    if (beyond_x && beyond_y)
      corner = k;
    else if (beyond_x || beyond_y)
      r.at[k] = across_seam(face, column, row, S);
  }
  if (corner < 0) return r;
  // The corner tap is the mean of the three texels that meet there, and those are the other three taps.
  T w = 0, dx = 0, dy = 0;
  for (int k = 0; k < 4; ++k)
    if (k == corner) w = r.w[k] / 3, dx = r.dx[k] / 3, dy = r.dy[k] / 3, r.at[k] = r.at[k ^ 1];
  for (int k = 0; k < 4; ++k) {
    const bool gone = k == corner;
    r.w[k] = gone ? T(0) : r.w[k] + w, r.dx[k] = gone ? T(0) : r.dx[k] + dx, r.dy[k] = gone ? T(0) : r.dy[k] + dy;
  }
  return r;
}

// The texel that holds the coordinate, or -1 where there is none.
DR_FN i64 nearest_2d(i64 x, i64 y, i64 width, i64 height, int boundary) {
  if (boundary == kZero && (x < 0 || x >= width || y < 0 || y >= height)) return -1;
  return dr_clamp(y, (i64)0, height - 1) * width + dr_clamp(x, (i64)0, width - 1);
}

template <typename T>
DR_FN i64 texel_index(T u, int n) {
  return (i64)dr_floor(dr_clamp(u * (T)n, T(-1), (T)n));
}

// Which levels are blended: `low` with weight 1 - fraction and, if there are `two`, the next with weight
// fraction. Then the fraction follows the level of detail; a level that is clamped, or rounded to the
// nearest, does not change.
template <typename T>
struct Levels {
  int low;
  T fraction;
  bool two;
};

template <typename T>
DR_FN Levels<T> levels_at(T level, int top, bool linear) {
  const T clamped = dr_clamp(level, T(0), (T)top);
  const int low = (int)(clamped + (linear ? T(0) : T(0.5)));
  const bool two = linear && level >= 0 && low < top;
  return {low, two ? clamped - (T)low : T(0), two};
}

// J^T J or J J^T of the Jacobian J of a footprint: a and c on the diagonal, b beside it.
template <typename T>
struct Gram {
  T a, b, c;
};

// The squared length of the major axis of a pixel's footprint in texels: the larger eigenvalue.
template <typename T>
DR_FN T footprint(Gram<T> g) {
  const T m = (g.a - g.c) / 2;
  return (g.a + g.c) / 2 + dr_sqrt(m * m + g.b * g.b);
}

// Adjoint of log2(footprint(g)) / 2, as what multiplies the vectors that g is made of: a and c are squares of
// theirs, so theirs come times 2.
template <typename T>
DR_FN Gram<T> level_bwd(Gram<T> g, T grad) {
  const T m = (g.a - g.c) / 2, root = dr_sqrt(m * m + g.b * g.b), inverse = root > 0 ? 1 / root : T(0);
  const T s = grad * T(0.72134752044448170368) / ((g.a + g.c) / 2 + root);  // 1 / (2 ln 2)
  return {s * (1 + m * inverse), s * g.b * inverse, s * (1 - m * inverse)};
}

// The same for J = (ds/dX, ds/dY, dt/dX, dt/dY).
template <typename T>
DR_FN Gram<T> gram(Vec4<T> J) {
  return {J.x * J.x + J.y * J.y, J.x * J.z + J.y * J.w, J.z * J.z + J.w * J.w};
}
template <typename T>
DR_FN T footprint(Vec4<T> J) {
  return footprint(gram(J));
}
template <typename T>
DR_FN Vec4<T> level_bwd(Vec4<T> J, T grad) {
  const Gram<T> g = level_bwd(gram(J), grad);
  return {g.a * J.x + g.b * J.z, g.a * J.y + g.b * J.w, g.c * J.z + g.b * J.x, g.c * J.w + g.b * J.y};
}
