// Cube maps: from directions to faces and back (docs/MATH.md, section 4; OpenGL 4.6, section 8.13).
//
// Within a face, a direction is (sc, tc, ma): the two coordinates of the face and the major one, always
// positive. The map between (x, y, z) and (sc, tc, ma) only swaps coordinates and changes signs, so its
// inverse is also its adjoint, and it carries directions, their pixel derivatives and, in integers, the
// texels along the seams.
#pragma once
#include "common.h"

template <typename V>
struct Vec3 {
  V x, y, z;
};

template <typename T>
DR_FN Vec3<T> load3(const T* p, i64 i, int step) {
  return {p[i], p[i + step], p[i + 2 * step]};
}

template <typename V>
struct OnFace {
  V sc, tc, ma;
};

// Faces +x -x +y -y +z -z; the largest magnitude, ties prefer z over y over x.
template <typename V>
DR_FN int cube_face(Vec3<V> d) {
  const V x = d.x < 0 ? -d.x : d.x, y = d.y < 0 ? -d.y : d.y, z = d.z < 0 ? -d.z : d.z;
  if (z >= x && z >= y) return 4 + (d.z < 0);
  return y >= x ? 2 + (d.y < 0) : d.x < 0;
}

template <typename V>
DR_FN OnFace<V> to_face(int face, Vec3<V> d) {
  switch (face) {
    case 0:
      return {-d.z, -d.y, d.x};
    case 1:
      return {d.z, -d.y, -d.x};
    case 2:
      return {d.x, d.z, d.y};
    case 3:
      return {d.x, -d.z, -d.y};
    case 4:
      return {d.x, -d.y, d.z};
    default:
      return {-d.x, -d.y, -d.z};
  }
}

// Inverse and adjoint of `to_face`.
template <typename V>
DR_FN Vec3<V> from_face(int face, OnFace<V> f) {
  switch (face) {
    case 0:
      return {f.ma, -f.tc, -f.sc};
    case 1:
      return {-f.ma, -f.tc, f.sc};
    case 2:
      return {f.sc, f.ma, f.tc};
    case 3:
      return {f.sc, -f.ma, -f.tc};
    case 4:
      return {f.sc, -f.tc, f.ma};
    default:
      return {-f.sc, -f.tc, -f.ma};
  }
}

// Index face * S * S + row * S + column of the texel that touches texel (x, y) of `face` from across the one
// border that it lies beyond. In units of half a texel the border is at S; the neighbour's centre is one unit
// inside it, along the old major axis.
DR_FN i64 across_seam(int face, int x, int y, int S) {
  OnFace<int> f = {2 * x + 1 - S, 2 * y + 1 - S, S - 1};
  if (x < 0 || x >= S)
    f.sc = x < 0 ? -S : S;
  else
    f.tc = y < 0 ? -S : S;
  const Vec3<int> d = from_face(face, f);
  const int other = cube_face(d);
  const OnFace<int> g = to_face(other, d);
  return ((i64)other * S + (g.tc + S - 1) / 2) * S + (g.sc + S - 1) / 2;
}

// A direction on its face: s = (p + 1) / 2, t = (q + 1) / 2, and the derivatives of (s, t) by pixel.
template <typename T>
struct Projection {
  int face;
  OnFace<T> f;
  T p, q;
};

template <typename T>
DR_FN Projection<T> project(Vec3<T> d) {
  const int face = cube_face(d);
  const OnFace<T> f = to_face(face, d);
  return {face, f, f.sc / f.ma, f.tc / f.ma};
}

// (ds, dt) for a step `d` of the direction.
template <typename T>
DR_FN void project_step(const Projection<T>& c, Vec3<T> d, T& ds, T& dt) {
  const OnFace<T> step = to_face(c.face, d);
  ds = (step.sc - c.p * step.ma) / (2 * c.f.ma);
  dt = (step.tc - c.q * step.ma) / (2 * c.f.ma);
}

// Adjoint of `project` with respect to the direction, for s and t.
template <typename T>
DR_FN Vec3<T> project_bwd(const Projection<T>& c, T gs, T gt) {
  const T h = 1 / (2 * c.f.ma);
  return from_face(c.face, OnFace<T>{gs * h, gt * h, -(gs * c.p + gt * c.q) * h});
}

// Adjoint of `project_step`: returns the gradient of the step and adds to that of the direction.
template <typename T>
DR_FN Vec3<T> project_step_bwd(const Projection<T>& c, Vec3<T> d, T gds, T gdt, Vec3<T>& grad_direction) {
  const T h = 1 / (2 * c.f.ma);
  const OnFace<T> step = to_face(c.face, d);
  const T ds = (step.sc - c.p * step.ma) * h, dt = (step.tc - c.q * step.ma) * h;
  // Through p and q (p = 2 s - 1), then through the 1 / ma in front.
  const Vec3<T> g = project_bwd(c, -2 * gds * step.ma * h, -2 * gdt * step.ma * h);
  const Vec3<T> m = from_face(c.face, OnFace<T>{T(0), T(0), -(gds * ds + gdt * dt) / c.f.ma});
  grad_direction.x += g.x + m.x, grad_direction.y += g.y + m.y, grad_direction.z += g.z + m.z;
  return from_face(c.face, OnFace<T>{gds * h, gdt * h, -(gds * c.p + gdt * c.q) * h});
}
