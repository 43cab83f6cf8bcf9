// What crosses the segment between two neighbouring pixel centres, found by walking over the mesh
// (docs/MATH.md, section 5).
#pragma once
#include "silhouette.h"

// A surface that takes more triangles than this from one pixel centre to the next is taken to be whole.
static const int kLongestWalk = 1024;

// A row or column of pixel centres. A vertex has a place `along` it and a distance `off` it, both times w:
// vertices with w <= 0 need no special case.
template <typename T>
struct PixelLine {
  bool vertical;
  double at;

  DR_FN double along(const T* p) const { return vertical ? p[1] : p[0]; }
  DR_FN double off(const T* p) const { return vertical ? p[0] - at * p[3] : p[1] - at * p[3]; }
};

enum WalkKind { kCovers, kSmooth, kSilhouette };

// Where a walk ends: at the silhouette `half` (a half-edge), or within `triangle`, which covers the goal.
struct WalkEnd {
  WalkKind kind;
  int half;
  i64 triangle;
};

// Goes from inside triangle t along a line, upwards or downwards (direction 1 or -1), until the surface ends,
// the goal is covered, or the triangle `target` is reached. Which edge a triangle is left by follows from the
// sides on which its corners lie and the way it faces, and a corner's side is the same for all its triangles:
// rounding cannot lead the walk astray. Of each further triangle only the corner opposite to the edge that it
// is entered by is new.
template <typename Args, typename T>
DR_FN WalkEnd walk(const Args& a, i64 view, i64 t, i64 target, PixelLine<T> line, int direction, double goal) {
  const T* pos = a.pos + view * a.pos_stride;
  int side = side_of(a, view, t);
  if (side == 0) return {kCovers, -1, -1};
  // The triangle is left by the edge opposite to its corner e, from corner i below the line to corner j above
  // it, or the other way round: the line passes every triangle that faces the same way in the same direction.
  bool rising = (side * direction > 0) != line.vertical;
  int e = -1, hop = 0;
  const T *ci = pos, *cj = pos;
  double oi = 0, oj = 0;
  {
    const T* corner[3];
    double off[3];
    for (int k = 0; k < 3; ++k) corner[k] = pos + 4 * (i64)a.tri[3 * t + k], off[k] = line.off(corner[k]);
    for (int k = 0; k < 3; ++k) {
      const int i = (k + 1) % 3, j = (k + 2) % 3;
      if ((off[i] >= 0) == rising || (off[j] >= 0) != rising) continue;
      e = k, hop = a.ring[3 * t + k], ci = corner[i], cj = corner[j], oi = off[i], oj = off[j];
    }
  }
  if (e < 0) return {kCovers, -1, -1};  // the line only touches the triangle
  for (int n = 0; n < kLongestWalk; ++n) {
    const double along = line.along(ci) * oj - line.along(cj) * oi, w = ci[3] * oj - cj[3] * oi, jump = oj - oi;
    // Seen behind the eye: the triangle goes on to infinity. Otherwise (along / w - goal) * direction >= 0.
    if (!(w * jump > 0) || (along - goal * w) * direction * jump >= 0) return {kCovers, -1, t};
    const int home = (int)(3 * t + e), before = side, next = beyond(a, view, home, hop, side);
    if (next < 0) return {kSilhouette, home, t};
    t = next / 3;
    if (t == target) return {kSmooth, -1, t};
    // Where to next is loaded for both ways out, before it is known which is taken: memory is what a step
    // waits for.
    const int k = (int)(next - 3 * t), after = k == 2 ? 0 : k + 1, ahead = k == 0 ? 2 : k - 1;
    const int hop_after = a.ring[3 * t + after], hop_ahead = a.ring[3 * t + ahead];
    const T* const c = pos + 4 * (i64)a.tri[next];
    const double o = line.off(c);
    if (side != before) {
      const T* const swap = ci;
      const double swap_off = oi;
      rising = !rising, ci = cj, oi = oj, cj = swap, oj = swap_off;
    }
    if ((o >= 0) == rising)
      e = after, hop = hop_after, cj = c, oj = o;
    else
      e = ahead, hop = hop_ahead, ci = c, oi = o;
  }
  return {kCovers, -1, -1};
}

// Whether triangle u, seen at pixel q, is the surface beyond an edge of triangle t, seen at p: the usual
// case.
template <typename Args>
DR_FN bool continues(const Args& a, i64 view, i64 p, i64 q) {
  const i64 t = triangle_of(a.rast, p, a.triangles), u = triangle_of(a.rast, q, a.triangles);
  if (t < 0 || u < 0) return false;
  for (int e = 0; e < 3; ++e) {
    const int home = (int)(3 * t + e), next = a.ring[home];
    if ((next < 0 ? ~next : next) / 3 != u) continue;
    const int side = side_of(a, view, t);
    return side != 0 && side == (next < 0 ? -1 : 1) * side_of(a, view, u);
  }
  return false;
}

// z/w of a triangle's plane at a pixel centre.
template <typename T>
DR_FN double plane_depth(const T* const (&corner)[3], PixelCentre c) {
  double z = 0, w = 0;
  for (int k = 0; k < 3; ++k) {
    const double area = edge_function(corner[(k + 1) % 3], corner[(k + 2) % 3], c);
    z += area * corner[k][2], w += area * corner[k][3];
  }
  return z / w;
}

// Adjoint: adds to the gradients (x, y, w, z) of the corners.
template <typename T>
DR_FN void plane_depth_bwd(const T* const (&corner)[3], PixelCentre c, double g, double (&gx)[3][3], double (&gz)[3]) {
  double area[3], z = 0, w = 0;
  for (int k = 0; k < 3; ++k) {
    area[k] = edge_function(corner[(k + 1) % 3], corner[(k + 2) % 3], c);
    z += area[k] * corner[k][2], w += area[k] * corner[k][3];
  }
  const double depth = z / w;
  for (int k = 0; k < 3; ++k) {
    const double g_area = g * (corner[k][2] - depth * corner[k][3]) / w;
    edge_function_bwd(corner[(k + 1) % 3], corner[(k + 2) % 3], c, g_area, gx[(k + 1) % 3], gx[(k + 2) % 3]);
    gz[k] += g * area[k] / w, gx[k][2] -= g * area[k] * depth / w;
  }
}

// What owns the crossing of a pair: a silhouette (first: its half-edge, second: -1) or the line where the
// planes of two triangles intersect. first < 0: nothing crosses.
struct Owner {
  int first, second;
};

// A function whose zero is the crossing, at both centres.
struct Signed {
  double p, q;
};

template <typename Args>
DR_FN Signed signed_of(const Args& a, i64 view, Owner owner, PixelCentre cp, PixelCentre cq) {
  const auto* pos = a.pos + view * a.pos_stride;
  if (owner.second < 0) {
    const int *tri = a.tri + owner.first / 3 * 3, e = owner.first % 3;
    const auto *from = pos + 4 * (i64)tri[(e + 1) % 3], *to = pos + 4 * (i64)tri[(e + 2) % 3];
    return {edge_function(from, to, cp), edge_function(from, to, cq)};
  }
  Signed s = {0, 0};
  for (int n = 0; n < 2; ++n) {
    const int* tri = a.tri + 3 * (i64)(n ? owner.second : owner.first);
    const decltype(pos) corner[3] = {pos + 4 * (i64)tri[0], pos + 4 * (i64)tri[1], pos + 4 * (i64)tri[2]};
    s.p += (n ? -1 : 1) * plane_depth(corner, cp), s.q += (n ? -1 : 1) * plane_depth(corner, cq);
  }
  return s;
}

// The crossing between both centres, 0 at p and 1 at q; below 0 where there is none that has a derivative.
DR_FN double place_of(Signed s) {
  const double difference = s.p - s.q, place = s.p / difference;
  const double slack = 1e-6;  // rounding, where the crossing is at a centre
  if (!(dr_finite(1 / difference) && place >= -slack && place <= 1 + slack)) return -1;
  return dr_clamp(place, 0.0, 1.0);
}

// Whether a crossing runs closer to the pair's own direction than across it; cs is beside cp, across the
// pair.
template <typename Args>
DR_FN bool is_grazing(const Args& a, i64 view, Owner owner, Signed s, PixelCentre cp, PixelCentre cs) {
  const double across = signed_of(a, view, owner, cp, cs).q - s.p, along = s.q - s.p;
  return across * across > along * along;
}

// Finds what crosses between the centres of pixels p and q, q right of p or above it, unless `continues`.
template <typename Args>
DR_FN Owner crossing_owner(const Args& a, i64 view, i64 p, i64 q, PixelCentre cp, PixelCentre cq) {
  const bool vertical = q != p + 1;
  const auto* pos = a.pos + view * a.pos_stride;
  typedef PixelLine<typename Args::Scalar> Line;
  const Line line = {vertical, vertical ? cp.X : cp.Y};
  const double at[2] = {vertical ? cp.Y : cp.X, vertical ? cq.Y : cq.X};
  const i64 t[2] = {triangle_of(a.rast, p, a.triangles), triangle_of(a.rast, q, a.triangles)};
  WalkEnd end[2] = {{kCovers, -1, -1}, {kCovers, -1, -1}};
  for (int n = 0; n < 2; ++n) {
    if (t[n] < 0) continue;
    end[n] = walk(a, view, t[n], t[1 - n], line, n ? -1 : 1, at[1 - n]);
    if (end[n].kind == kSmooth) return {-1, -1};
  }
  if (end[0].half >= 0 && end[1].half >= 0) {  // both surfaces end: the nearer one, there, owns the crossing
    double depth[2];
    for (int n = 0; n < 2; ++n) {
      const int *tri = a.tri + end[n].half / 3 * 3, e = end[n].half % 3;
      const auto *i = pos + 4 * (i64)tri[(e + 1) % 3], *j = pos + 4 * (i64)tri[(e + 2) % 3];
      const double oi = line.off(i), oj = line.off(j);
      depth[n] = (i[2] * oj - j[2] * oi) / (i[3] * oj - j[3] * oi);
    }
    return {end[depth[1] < depth[0]].half, -1};
  }
  if (end[0].half >= 0) return {end[0].half, -1};
  if (end[1].half >= 0) return {end[1].half, -1};
  if (t[0] < 0 || t[1] < 0) return {-1, -1};
  // Both go on behind each other: they intersect, first as if both were flat, then where that leads.
  Owner owner = {(int)t[0], (int)t[1]};
  for (int round = 0; round < 2; ++round) {
    const double place = place_of(signed_of(a, view, owner, cp, cq));
    if (place < 0) break;
    const double goal = at[0] + place * (at[1] - at[0]);
    const WalkEnd first = walk(a, view, t[0], (i64)-2, line, 1, goal);
    const WalkEnd second = walk(a, view, t[1], (i64)-2, line, -1, goal);
    if (first.triangle < 0 || second.triangle < 0 || first.triangle == second.triangle) break;
    owner = {(int)first.triangle, (int)second.triangle};
  }
  return owner;
}
