// After a graphics pipeline: its coverage is that of vertices snapped to a grid of 1/256 pixel or so. Pixels
// beside an edge are looked at again, exactly (docs/MATH.md, section 1): what does not cover the pixel's
// centre gives way to the nearest of the neighbours' triangles that does, and so does nothing at all.
#include "coverage.h"

template <typename T>
struct RepairArgs {
  const T* pos;           // [B|1, V, 4]
  const int* tri;         // [F, 3]
  const T* before_depth;  // [B, H, W] previous layer, as the pipeline stores it, or null
  const int* before_id;   // [B, H, W] or null
  const int* seen;        // [B, H, W] triangle + 1 from the pipeline, or 0
  int* id;                // [B, H, W] out
  T* depth;               // [B, H, W] in and out, as the pipeline stores it, or null
  i64 vertices, triangles, height, width, pos_stride, cull;

  DR_FN Problem problem() const { return {vertices, triangles, height, width, cull}; }
};

template <typename T>
struct Corners {
  const T* v[3];
};
template <typename T>
DR_FN Corners<T> corners_of(const RepairArgs<T>& a, i64 image, int id) {
  const T* from = a.pos + image * a.pos_stride;
  const int* corner = a.tri + 3 * (i64)(id - 1);
  return {from + 4 * (i64)corner[0], from + 4 * (i64)corner[1], from + 4 * (i64)corner[2]};
}

// What floating point can tell of whether a triangle in front of the eye covers the point (X, Y, 1): 1, it
// does; -1, it does not; 0, that needs exact arithmetic. It does if the three edge functions have the
// triangle's orientation, since with positive w their weighted sum has.
template <typename T>
DR_FN int covers_surely(const Corners<T>& t, double X, double Y, i64 cull) {
  bool left = cull != kCullFront, right = cull != kCullBack, maybe_left = left, maybe_right = right;
  for (int k = 0; k < 3; ++k) {
    const T *p = t.v[(k + 1) % 3], *q = t.v[(k + 2) % 3];
    const double px = p[0], py = p[1], pw = p[3], qx = q[0], qy = q[1], qw = q[3];
    if (!(pw > 0)) return 0;
    const double a0 = py * qw, a1 = pw * qy, b0 = pw * qx, b1 = px * qw, c0 = px * qy, c1 = py * qx;
    const double e = (a0 - a1) * X + (b0 - b1) * Y + (c0 - c1);
    const double error = 3.6e-15 * (fabs(a0) + fabs(a1) + fabs(b0) + fabs(b1) + fabs(c0) + fabs(c1));
    left = left && e > error, right = right && e < -error;
    maybe_left = maybe_left && e >= -error, maybe_right = maybe_right && e <= error;
  }
  return left || right ? 1 : maybe_left || maybe_right ? 0 : -1;
}

// z/w of a triangle at a pixel's centre, if that lies in the range of depths and the triangle covers the
// centre, or, `loosely`, has an area at all; otherwise beyond the far plane.
template <typename T>
DR_RARE double exact_depth(const RepairArgs<T>& a, i64 image, int id, int ix, int iy, bool loosely) {
  const Corners<T> t = corners_of(a, image, id);
  const Problem s = a.problem();
  Setup setup;
  if (!setup.make(t.v, s) || !(loosely || setup.covers(ix, iy, s))) return 2;
  const double d = setup.depth_of_row(iy) + setup.depth_x * (double)ix;
  return (T)d > -beyond<T>() && (T)d < beyond<T>() ? d : 2;
}

// A pixel beside an edge, or at the picture's border.
template <typename T>
DR_FN void repair_pixel(const RepairArgs<T>& a, i64 i, const Pixel& p) {
  const int mine = a.seen[i];
  const int ix = (int)p.x, iy = (int)p.y;
  const double X = (double)(2 * p.x + 1 - a.width) / (double)a.width,
               Y = (double)(2 * p.y + 1 - a.height) / (double)a.height;
  const int sure = mine ? covers_surely(corners_of(a, p.image, mine), X, Y, a.cull) : -1;
  if (sure > 0 || (sure == 0 && exact_depth(a, p.image, mine, ix, iy, false) < 2)) return;
  double nearest = 2;
  int best = 0;
  for (int dy = -1; dy <= 1; ++dy)
    for (int dx = -1; dx <= 1; ++dx) {
      const i64 x = p.x + dx, y = p.y + dy;
      if (x < 0 || x >= a.width || y < 0 || y >= a.height) continue;
      const int id = a.seen[i + dy * a.width + dx];
      if (id == 0 || id == mine || id == best || (a.before_id && id == a.before_id[i])) continue;
      if (covers_surely(corners_of(a, p.image, id), X, Y, a.cull) < 0) continue;
      const double d = exact_depth(a, p.image, id, ix, iy, false);
      if (!(d < nearest || (d < 2 && d == nearest && id < best))) continue;
      if (a.before_id) {
        const T stored = (T)((d + 1) / 4), before = a.before_depth[i];
        if (a.before_id[i] == 0 || !(stored > before || (stored == before && id > a.before_id[i]))) continue;
      }
      nearest = d, best = id;
    }
  // A mesh of triangles smaller than the grid keeps its holes shut.
  if (!best && mine && exact_depth(a, p.image, mine, ix, iy, true) < 2) return;
  a.id[i] = best;
  if (a.depth) a.depth[i] = best ? (T)((nearest + 1) / 4) : T(1);
}

// Whether a pixel's neighbours see other triangles: not zero.
DR_FN int beside_edge(const int* seen, i64 width) {
  return (seen[0] ^ seen[-1]) | (seen[0] ^ seen[1]) | (seen[0] ^ seen[-width]) | (seen[0] ^ seen[width]);
}

// On the CPU a block of pixels at once, in rows: most lie inside of a triangle, with all that is around them.
// i moves to the last of them.
template <typename T>
DR_FN void visibility_repair(const RepairArgs<T>& a, i64& i) {
  const Pixel p = pixel_at(i, a.height, a.width);
  const int* seen = a.seen + i;
  a.id[i] = seen[0];
  const bool border = p.y == 0 || p.y == a.height - 1 || p.x == 0 || p.x == a.width - 1;
  if (border || i % kLanes || p.x + kLanes >= a.width) {
    if (border || beside_edge(seen, a.width)) repair_pixel(a, i, p);
    return;
  }
  int beside[kLanes], any = 0;
  for (int k = 0; k < kLanes; ++k) {
    any |= beside[k] = beside_edge(seen + k, a.width);
    a.id[i + k] = seen[k];
  }
  if (any)
    for (int k = 0; k < kLanes; ++k)
      if (beside[k]) repair_pixel(a, i + k, {p.image, p.x + k, p.y});
  i += kLanes - 1;
}

DR_KERNEL(visibility_repair, RepairArgs)
