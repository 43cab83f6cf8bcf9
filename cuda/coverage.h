// Which pixel centres a triangle covers, and its depth there (docs/MATH.md, section 1). The searches for
// visible triangles share it, so that they agree to the last bit.
//
// An edge function is evaluated in floating point with an error bound, and decided exactly (exact.h) where
// the centre lies within the bound. So coverage is exact, no triangle is clipped, and vertices with w <= 0
// need no special case.
#pragma once
#include "common.h"
#include "exact.h"

struct Problem {
  i64 vertices, triangles, height, width, cull;  // cull: enum Cull
};

enum Flag : u32 {
  kLeft = 1,
  kRight = 2,
  kBelow = 4,
  kAbove = 8,
  kNear = 16,
  kFar = 32,
  kBehind = 64,
  kNotFinite = 128
};

struct Projected {
  float x, y;  // pixels, clamped to a little outside the image
  u32 flags;
};

template <typename T>
DR_FN Projected project(const T* p, const Problem& s) {
  const double x = p[0], y = p[1], z = p[2], w = p[3];
  if (!(dr_finite(x) && dr_finite(y) && dr_finite(z) && dr_finite(w))) return {0, 0, kNotFinite};
  const u32 flags = (x < -w) * kLeft | (x > w) * kRight | (y < -w) * kBelow | (y > w) * kAbove | (z < -w) * kNear |
                    (z > w) * kFar | (w <= 0) * kBehind;
  if (w <= 0) return {0, 0, flags};
  const double px = (x / w + 1) * 0.5 * (double)s.width - 0.5, py = (y / w + 1) * 0.5 * (double)s.height - 0.5;
  return {(float)dr_clamp(px, -2.0, (double)s.width + 1), (float)dr_clamp(py, -2.0, (double)s.height + 1), flags};
}

// Pixels that the triangle may touch; empty when it cannot cover a pixel centre.
struct Box {
  int x0, x1, y0, y1;
  DR_FN bool empty() const { return x0 > x1 || y0 > y1; }
};

DR_FN Box box_of(const Projected& a, const Projected& b, const Projected& c, const Problem& s) {
  const u32 any = a.flags | b.flags | c.flags, all = a.flags & b.flags & c.flags;
  if (all || (any & kNotFinite)) return {0, -1, 0, -1};
  if (any & kBehind) return {0, (int)s.width - 1, 0, (int)s.height - 1};
  // Covers the rounding of the projection.
  const float slack = 0.01f + 1e-6f * (float)dr_max(s.height, s.width);
  const float x0 = dr_min(dr_min(a.x, b.x), c.x) - slack, x1 = dr_max(dr_max(a.x, b.x), c.x) + slack;
  const float y0 = dr_min(dr_min(a.y, b.y), c.y) - slack, y1 = dr_max(dr_max(a.y, b.y), c.y) + slack;
  return {dr_max(0, (int)ceilf(x0)), dr_min((int)s.width - 1, (int)floorf(x1)), dr_max(0, (int)ceilf(y0)),
          dr_min((int)s.height - 1, (int)floorf(y1))};
}

// An edge function along a row of pixels, oriented so that the inside is positive:
// g(ix, iy) = sign(D) det[(X, Y, 1), p, q] W H = slope ix + row(iy).
struct Edge {
  Homogeneous p, q;
  int orientation;
  double slope, inv_slope, per_row, origin, error;
  bool owns_zero;  // the top-left rule for centres exactly on the edge

  DR_FN void setup(const Homogeneous& from, const Homogeneous& to, int sign, double W, double H) {
    p = from, q = to, orientation = sign;
    const double a0 = p.y * q.w, a1 = p.w * q.y, b0 = p.w * q.x, b1 = p.x * q.w, c0 = p.x * q.y, c1 = p.y * q.x;
    const double a = sign * (a0 - a1) * H, b = sign * (b0 - b1) * W, c = sign * (c0 - c1) * W * H;
    slope = 2 * a, per_row = 2 * b;
    origin = c + a * (1 - W) + b * (1 - H);
    inv_slope = slope != 0 ? -1 / slope : 0;
    // Every term below is at most W H times these products; 2^-48 covers the dozen roundings with room to
    // spare.
    const double size = fabs(a0) + fabs(a1) + fabs(b0) + fabs(b1) + fabs(c0) + fabs(c1);
    error = 3.6e-15 * size * W * H;
    const int sa = sign * exact_cross_sign_fast(a0, a1, p.y, p.w, q.y, q.w);
    owns_zero = sa != 0 ? sa > 0 : sign * exact_cross_sign_fast(b0, b1, p.w, p.x, q.w, q.x) < 0;
  }

  // Sign of m * t - n * s given the rounded products m t and n s.
  DR_FN static int exact_cross_sign_fast(double mt, double ns, double m, double n, double s, double t) {
    if (fabs(mt - ns) > 1e-15 * (fabs(mt) + fabs(ns))) return mt > ns ? 1 : -1;
    return exact_cross_sign(m, n, s, t);
  }

  DR_FN bool inside_exactly(int ix, int iy, const Problem& s) const {
    const int sign =
        orientation * exact_edge_sign(p, q, (double)(2 * (i64)ix + 1 - s.width), (double)(2 * (i64)iy + 1 - s.height),
                                      (double)s.width, (double)s.height);
    return sign > 0 || (sign == 0 && owns_zero);
  }

  // Whether a pixel centre is inside. Evaluated anew for each pixel, which a thread that looks at one does.
  DR_FN bool covers(int ix, int iy, const Problem& s) const {
    const double value = origin + per_row * (double)iy + slope * (double)ix;
    return fabs(value) > 2 * error ? value > 0 : inside_exactly(ix, iy, s);
  }
};

// A triangle ready to be filled: its three edges and its depth plane z/w = depth_x ix + depth_y iy + depth_0.
struct Setup {
  Edge edge[3];
  double depth_x, depth_y, depth_0;

  template <typename T>
  DR_FN bool make(const T* const (&v)[3], const Problem& s) {
    Homogeneous q[3];
    for (int k = 0; k < 3; ++k) q[k] = {v[k][0], v[k][1], v[k][3]};
    double A[3], B[3], C[3], size = 0, D = 0;
    for (int k = 0; k < 3; ++k) {
      const Homogeneous &m = q[(k + 1) % 3], &n = q[(k + 2) % 3];
      A[k] = m.y * n.w - m.w * n.y, B[k] = m.w * n.x - m.x * n.w, C[k] = m.x * n.y - m.y * n.x;
      D += C[k] * q[k].w;
      size += (fabs(m.x * n.y) + fabs(m.y * n.x)) * fabs(q[k].w);
    }
    int sign = D > 0 ? 1 : -1;
    if (fabs(D) <= 3.6e-15 * size) sign = exact_orientation(q[0], q[1], q[2]);
    if (sign == 0 || sign == (s.cull == kCullBack ? -1 : s.cull == kCullFront ? 1 : 0)) return false;
    const double W = (double)s.width, H = (double)s.height;
    for (int k = 0; k < 3; ++k) edge[k].setup(q[(k + 1) % 3], q[(k + 2) % 3], sign, W, H);
    double a = 0, b = 0, c = 0;
    for (int k = 0; k < 3; ++k) {
      const double z = v[k][2];
      a += z * A[k], b += z * B[k], c += z * C[k];
    }
    const double inv = 1 / D;
    depth_x = 2 * a * inv / W, depth_y = 2 * b * inv / H;
    depth_0 = (a * (1 - W) / W + b * (1 - H) / H + c) * inv;
    return dr_finite(depth_x) && dr_finite(depth_y) && dr_finite(depth_0);
  }

  DR_FN bool covers(int ix, int iy, const Problem& s) const {
    return edge[0].covers(ix, iy, s) && edge[1].covers(ix, iy, s) && edge[2].covers(ix, iy, s);
  }

  // z/w in row iy, to which depth_x ix is added.
  DR_FN double depth_of_row(int iy) const { return depth_0 + depth_y * (double)iy; }
};

// The first z/w that is not drawn: the next number after 1. In float32 z/w = 1 rounds to 1; in float64 a
// triangle in the far plane needs room for rounding.
template <typename T>
DR_FN T beyond() {
  return sizeof(T) == 4 ? T(1.00000011920928955078125) : T(1 + 1e-14);
}
