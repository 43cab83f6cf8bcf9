// Which way triangles face, and where pixels lie: what both modes of antialias share (docs/MATH.md, section
// 5).
#pragma once
#include "crossing.h"

typedef unsigned char u8;
typedef signed char i8;

// The sign of det[q0, q1, q2]: which way a triangle faces. Zero for one that is culled, not finite, or
// degenerate to within the rounding of the determinant: seen edge-on its sign would be noise.
template <typename Args>
DR_FN int side_of(const Args& a, i64 view, i64 t) {
  if (a.side) return a.side[view * a.table_stride + t];
  double x[3], y[3], w[3], det = 0, size = 0;  // size: NaN or infinite if a coordinate is
  for (int k = 0; k < 3; ++k) {
    const auto* p = a.pos + view * a.pos_stride + 4 * (i64)a.tri[3 * t + k];
    x[k] = p[0], y[k] = p[1], w[k] = p[3];
    size += (double)(p[2] - p[2]);
  }
  for (int k = 0; k < 3; ++k) {
    const int j = (k + 1) % 3, l = (k + 2) % 3;
    const double m = w[k] * x[j] * y[l], n = w[k] * x[l] * y[j];
    det += m - n, size += (m < 0 ? -m : m) + (n < 0 ? -n : n);
  }
  if (!(det > 4e-15 * size) && !(det < -4e-15 * size)) return 0;
  const int sign = det > 0 ? 1 : -1;
  return sign == (a.cull == kCullBack ? -1 : a.cull == kCullFront ? 1 : 0) ? 0 : sign;
}

// The half-edge on which the surface goes on beyond an edge of triangle t, which faces `along`: that of a
// triangle on the other side of it, which faces `along` then; or -1: the edge is a silhouette. Two triangles
// that run along their edge in opposite directions, and face the same way, lie on opposite sides. hop is
// a.ring[home].
template <typename Args>
DR_FN int beyond(const Args& a, i64 view, int home, int hop, int& along) {
  int facing = -along;
  for (int h = hop;; h = a.ring[h]) {
    if (h < 0)
      h = ~h;
    else
      facing = -facing;
    if (h == home) return -1;
    if (side_of(a, view, h / 3) == facing) return along = facing, h;
  }
}

struct PixelPlace {
  i64 view, ix, iy;
};

template <typename Args>
DR_FN PixelPlace place_of(const Args& a, i64 p) {
  const i64 row = p / a.width;
  return {row / a.height, p - row * a.width, row % a.height};
}

template <typename Args>
DR_FN PixelCentre centre_of(const Args& a, i64 ix, i64 iy) {
  return {(double)(2 * ix + 1 - a.width) / (double)a.width, (double)(2 * iy + 1 - a.height) / (double)a.height};
}

// Whether an edge is closer to horizontal than to vertical, in pixels.
template <typename Args, typename T>
DR_FN bool is_flat(const Args& a, const T* p, const T* q) {
  const double right = ((double)p[1] * q[3] - (double)p[3] * q[1]) / (double)a.width;  // slopes of its edge function
  const double above = ((double)p[3] * q[0] - (double)p[0] * q[3]) / (double)a.height;
  return above * above > right * right;
}
