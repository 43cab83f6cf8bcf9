// Antialiasing by areas (docs/MATH.md, section 5), forward and backward.
//
// 1. antialias_walk_find: what crosses between every pair of neighbouring pixels, by walking over the mesh.
// 2. antialias_walk_blend, _color_bwd: colours are gathered from the four cells around a pixel.
// 3. antialias_walk_bwd: one element per cell; scatters to the vertices.
//
// What is decided in 1 is read again in 2 and 3, so forward and backward cannot disagree about it.
#include "placed_cell.h"

template <typename T>
DR_FN void antialias_walk_side(const WalkArgs<T>& a, i64 i) {
  WalkArgs<T> compute = a;
  compute.side = nullptr;
  a.side[i] = (i8)side_of(compute, i / a.triangles, i % a.triangles);
}

// --- Pairs -----------------------------------------------------------------------------------------------

template <typename T>
DR_FN int find_crossing(const WalkArgs<T>& a, i64 p, int vertical, PixelPlace at) {
  const i64 q = vertical ? p + a.width : p + 1;
  if (a.rast[4 * p + 3] == a.rast[4 * q + 3] || continues(a, at.view, p, q)) return 0;
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const PixelCentre cs = centre_of(a, at.ix + vertical, at.iy + !vertical);
  const Owner owner = crossing_owner(a, at.view, p, q, cp, cq);
  if (owner.first < 0) return 0;
  const Signed s = signed_of(a, at.view, owner, cp, cq);
  const double place = place_of(s);
  if (place < 0) return 0;
  a.place[2 * p + vertical] = (T)place;
  a.owner[4 * p + 2 * vertical] = owner.first, a.owner[4 * p + 2 * vertical + 1] = owner.second;
  return (is_grazing(a, at.view, owner, s, cp, cs) ? 5 : 1) << vertical;
}

template <typename T>
DR_FN void antialias_walk_find(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p) {
    int code = 0;
    if (at.ix + 1 < a.width) code = find_crossing(a, p, 0, at);
    if (at.iy + 1 < a.height) code |= find_crossing(a, p, 1, at);
    a.code[p] = (u8)code;
    if (++at.ix < a.width) continue;
    at.ix = 0;
    if (++at.iy == a.height) at.iy = 0, ++at.view;
  }
}

// Whether anything crosses in the cells around pixels begin to end - 1, or, at the ends of rows, elsewhere.
template <typename T>
DR_FN bool any_crossing(const WalkArgs<T>& a, i64 begin, i64 end) {
  int any = 0;
  const i64 last = a.count - 1;
  for (i64 row = -1; row < 2; ++row) {
    const u8* code = a.code + row * a.width;
    const i64 from = dr_max(begin - 1, -row * a.width), to = dr_min(end, last - row * a.width);
    i64 p = from;
    for (; p + 8 <= to + 1; p += 8) {
      u64 eight;
      memcpy(&eight, code + p, 8);
      any |= eight != 0;
    }
    for (; p <= to; ++p) any |= code[p];
  }
  return any != 0;
}

template <typename T>
DR_FN void step(const WalkArgs<T>& a, PixelPlace& at) {
  if (++at.ix < a.width) return;
  at.ix = 0;
  if (++at.iy == a.height) at.iy = 0, ++at.view;
}

// --- Forward ---------------------------------------------------------------------------------------------

template <typename T>
DR_FN void blend_areas(const WalkArgs<T>& a, i64 p, PixelPlace at) {
  const T* own = a.color + p * a.channels;
  T* out = a.out + p * a.channels;
  bool touched = false;
  DR_UNROLL
  for (int r = 0; r < 4; ++r) {
    PlacedCell c;
    if (!cell_of_pixel(a, at, r, c)) continue;
    touched = true;
    const Shares shares = quarter_shares(turned(c.cell, r));
    for (int m = 1; m < 4; ++m) {
      if (shares.of[m] == 0) continue;
      const T* other = a.color + c.pixel[(r + m) & 3] * a.channels;
      for (i64 n = 0; n < a.channels; ++n) out[n] += (T)shares.of[m] * (other[n] - own[n]);
    }
  }
  if (!touched) return;
  // Removes rounding; lets NaN pass.
  for (i64 n = 0; n < a.channels; ++n) {
    T low = own[n], high = own[n];
    for (i64 dy = -1; dy < 2; ++dy)
      for (i64 dx = -1; dx < 2; ++dx) {
        const i64 x = dr_clamp(at.ix + dx, (i64)0, a.width - 1),
                  y = dr_clamp(at.iy + dy, (i64)0, a.height - 1);
        const T other = a.color[((at.view * a.height + y) * a.width + x) * a.channels + n];
        low = dr_min(low, other), high = dr_max(high, other);
      }
    out[n] = out[n] < low ? low : out[n] > high ? high : out[n];
  }
}

template <typename T>
DR_FN void antialias_walk_blend(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.color[c];
  if (!any_crossing(a, begin, end)) return;
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p, step(a, at))
    if (any_crossing(a, p, p + 1)) blend_areas(a, p, at);
}

// --- Backward --------------------------------------------------------------------------------------------

// A cell's corners, and what their quarters take from the others.
struct CellShares {
  i64 pixel[4];
  Shares shares[4];
  bool any, real[4];  // whether a corner is a pixel of the image, not a mirror image of one
};

template <typename T>
DR_FN void shares_of_cell(const WalkArgs<T>& a, i64 view, i64 cx, i64 cy, CellShares& to) {
  PlacedCell c;
  to.any = load_cell(a, view, cx, cy, c);
  if (!to.any) return;
  DR_UNROLL
  for (int m = 0; m < 4; ++m) {
    const i64 x = cx + (m == 1 || m == 2), y = cy + (m >= 2);
    to.pixel[m] = c.pixel[m], to.real[m] = x >= 0 && y >= 0 && x < a.width && y < a.height;
    to.shares[m] = quarter_shares(turned(c.cell, m));
  }
}

// Adds what pixel p, which is corner r of a cell, gets from the outputs of the corners that it flows into,
// less what its own output takes from others.
template <typename T>
DR_FN void color_areas_bwd(const WalkArgs<T>& a, i64 p, int r, const CellShares& c) {
  if (!c.any) return;
  T* grad = a.grad_color + p * a.channels;
  for (int m = 0; m < 4; ++m) {
    if (!c.real[m]) continue;
    T weight = 0;
    for (int j = 1; j < 4; ++j) {
      weight += c.pixel[(m + j) & 3] == p ? (T)c.shares[m].of[j] : 0;
      weight -= m == r ? (T)c.shares[m].of[j] : 0;
    }
    if (weight == 0) continue;
    const T* other = a.grad_out + c.pixel[m] * a.channels;
    for (i64 n = 0; n < a.channels; ++n) grad[n] += weight * other[n];
  }
}

template <typename T>
DR_FN void antialias_walk_color_bwd(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.grad_color[c] = a.grad_out[c];
  if (!any_crossing(a, begin, end)) return;
  PixelPlace at = place_of(a, begin);
  CellShares above, below;  // the cells to the left of a pixel are those to the right of the one before
  above.any = below.any = false;
  bool known = false;
  for (i64 p = begin; p < end; ++p, step(a, at)) {
    if (at.ix == 0) known = false;
    if (!any_crossing(a, p, p + 1)) {
      known = false;
      continue;
    }
    if (!known) {
      shares_of_cell(a, at.view, at.ix - 1, at.iy, above);
      shares_of_cell(a, at.view, at.ix - 1, at.iy - 1, below);
    }
    color_areas_bwd(a, p, 1, above), color_areas_bwd(a, p, 2, below);
    shares_of_cell(a, at.view, at.ix, at.iy, above);
    shares_of_cell(a, at.view, at.ix, at.iy - 1, below);
    color_areas_bwd(a, p, 0, above), color_areas_bwd(a, p, 3, below);
    known = true;
  }
}

// From the gradient of a pair's crossing to the vertices of what crosses.
template <typename T, typename Use>
DR_FN void crossing_place_bwd(const WalkArgs<T>& a, i64 view, i64 pair, double g, Use& use) {
  const i64 p = pair >> 1;
  const int vertical = (int)(pair & 1);
  const PixelPlace at = place_of(a, p);
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const Owner owner = {a.owner[2 * pair], a.owner[2 * pair + 1]};
  const Signed s = signed_of(a, view, owner, cp, cq);
  const double r = g / (s.p - s.q), place = s.p / (s.p - s.q), gp = r * (1 - place), gq = r * place;
  const T* pos = a.pos + view * a.pos_stride;
  for (int n = 0; n < (owner.second < 0 ? 1 : 2); ++n) {
    const i64 t = owner.second < 0 ? owner.first / 3 : n ? owner.second : owner.first;
    const int* tri = a.tri + 3 * t;
    const T* const corner[3] = {pos + 4 * (i64)tri[0], pos + 4 * (i64)tri[1], pos + 4 * (i64)tri[2]};
    double gx[3][3] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, gz[3] = {0, 0, 0};
    if (owner.second < 0) {
      for (int e = 0; e < 3; ++e) {
        if (e != owner.first % 3) continue;
        const int i = (e + 1) % 3, j = (e + 2) % 3;
        edge_function_bwd(corner[i], corner[j], cp, gp, gx[i], gx[j]);
        edge_function_bwd(corner[i], corner[j], cq, gq, gx[i], gx[j]);
      }
    } else {
      plane_depth_bwd(corner, cp, n ? -gp : gp, gx, gz);
      plane_depth_bwd(corner, cq, n ? -gq : gq, gx, gz);
    }
    T total = 0;
    for (int k = 0; k < 3; ++k) total += (T)(gx[k][0] + gx[k][1] + gx[k][2] + gz[k]);
    if (!dr_finite(total)) continue;  // of a size that no derivative can be computed for
    for (int k = 0; k < 3; ++k) {
      const i64 to = view * a.pos_stride + 4 * (i64)tri[k];
      for (int m = 0; m < 3; ++m)
        if (gx[k][m] != 0) use(to + (m < 2 ? m : 3), gx[k][m]);
      if (gz[k] != 0) use(to + 2, gz[k]);
    }
  }
}

// The gradient of the place of the crossing on side k, from those of the places in the cell and of its
// junction.
DR_FN double place_gradient(const PlacedCell& c, int k, const double (&g_at)[4], double g_x, double g_y) {
  if (!c.cell.arm[k] || c.pair[k] < 0) return 0;
  const double g = g_at[k] + c.share[k] * (g_x * side_x(k) + g_y * side_y(k));
  return k < 2 ? g : -g;
}

template <typename T>
DR_FN void cell_bwd(const WalkArgs<T>& a, i64 view, i64 cx, i64 cy) {
  PlacedCell c;
  if (!load_cell(a, view, cx, cy, c)) return;
  double g_at[4] = {0, 0, 0, 0}, g_x = 0, g_y = 0;
  DR_UNROLL
  for (int r = 0; r < 4; ++r) {
    const i64 x = c.cx + (r == 1 || r == 2), y = c.cy + (r >= 2);
    if (x < 0 || y < 0 || x >= a.width || y >= a.height) continue;
    const T *own = a.color + c.pixel[r] * a.channels, *grad = a.grad_out + c.pixel[r] * a.channels;
    Shares g = {{0, 0, 0, 0}};
    for (int m = 1; m < 4; ++m) {
      const T* other = a.color + c.pixel[(r + m) & 3] * a.channels;
      for (i64 n = 0; n < a.channels; ++n) g.of[m] += (double)grad[n] * ((double)other[n] - (double)own[n]);
    }
    double g_at_turned[4] = {0, 0, 0, 0}, gx = 0, gy = 0;
    quarter_shares_bwd(turned(c.cell, r), g, g_at_turned, gx, gy);
    turned_bwd(r, g_at_turned, gx, gy, g_at, g_x, g_y);
  }
  AddGradient<T> add = {a.grad_pos};
  for (int k = 0; k < 4; ++k) {
    const double g = place_gradient(c, k, g_at, g_x, g_y);
    if (g != 0) crossing_place_bwd(a, view, c.pair[k], a.boost * g, add);
  }
  if (c.vertex >= 0) cell_point_bwd(a, view * a.pos_stride + 4 * c.vertex, a.boost * g_x, a.boost * g_y, add);
}

// A pixel stands for the cell of which it is the lower left corner, and for those beyond the image next to
// it.
template <typename T>
DR_FN void antialias_walk_bwd(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  if (!any_crossing(a, begin, end)) return;
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p, step(a, at)) {
    if (!any_crossing(a, p, p + 1)) continue;
    for (i64 cy = at.iy == 0 ? -1 : at.iy; cy <= at.iy; ++cy)
      for (i64 cx = at.ix == 0 ? -1 : at.ix; cx <= at.ix; ++cx) cell_bwd(a, at.view, cx, cy);
  }
}

// --- Forward mode ----------------------------------------------------------------------------------------

// How fast what a cell's areas depend on moves: the places of its crossings, and its junction if that is a
// vertex.
struct CellMotion {
  double place[4], x, y;
};

template <typename T>
DR_FN CellMotion cell_motion(const WalkArgs<T>& a, const PlacedCell& c) {
  CellMotion motion = {{0, 0, 0, 0}, 0, 0};
  for (int k = 0; k < 4; ++k) {
    if (!c.cell.arm[k] || c.pair[k] < 0) continue;
    TimesTangent<T> use = {a.grad_pos, 0};
    crossing_place_bwd(a, c.view, c.pair[k], a.boost, use);
    motion.place[k] = use.sum;
  }
  if (c.vertex < 0) return motion;
  const i64 vertex = c.view * a.pos_stride + 4 * c.vertex;
  TimesTangent<T> x = {a.grad_pos, 0}, y = {a.grad_pos, 0};
  cell_point_bwd(a, vertex, a.boost, 0.0, x), cell_point_bwd(a, vertex, 0.0, a.boost, y);
  motion.x = x.sum, motion.y = y.sum;
  return motion;
}

// The derivative of `out` along given motions of color and pos: grad_out and grad_pos hold these tangents,
// and out that of the output. Areas change by the product of their gradients with the motions.
template <typename T>
DR_FN void antialias_walk_jvp(const WalkArgs<T>& a, i64 i) {
  const i64 begin = i * a.run, end = dr_min(begin + a.run, a.count);
  for (i64 c = begin * a.channels; c < end * a.channels; ++c) a.out[c] = a.grad_out[c];
  if (!any_crossing(a, begin, end)) return;
  PixelPlace at = place_of(a, begin);
  for (i64 p = begin; p < end; ++p, step(a, at)) {
    if (!any_crossing(a, p, p + 1)) continue;
    const T *own = a.color + p * a.channels, *own_motion = a.grad_out + p * a.channels;
    for (int r = 0; r < 4; ++r) {
      PlacedCell c;
      if (!cell_of_pixel(a, at, r, c)) continue;
      const Cell cell = turned(c.cell, r);
      const Shares shares = quarter_shares(cell);
      const CellMotion motion = cell_motion(a, c);
      for (int m = 1; m < 4; ++m) {
        Shares one = {{0, 0, 0, 0}};
        one.of[m] = 1;
        double g_at_turned[4] = {0, 0, 0, 0}, gx = 0, gy = 0, g_at[4] = {0, 0, 0, 0}, g_x = 0, g_y = 0;
        quarter_shares_bwd(cell, one, g_at_turned, gx, gy);
        turned_bwd(r, g_at_turned, gx, gy, g_at, g_x, g_y);
        double change = g_x * motion.x + g_y * motion.y;
        for (int k = 0; k < 4; ++k) change += place_gradient(c, k, g_at, g_x, g_y) * motion.place[k];
        const i64 other = c.pixel[(r + m) & 3] * a.channels;
        for (i64 n = 0; n < a.channels; ++n)
          a.out[p * a.channels + n] += (T)shares.of[m] * (a.grad_out[other + n] - own_motion[n]) +
                                       (T)change * (a.color[other + n] - own[n]);
      }
    }
  }
}

DR_KERNEL(antialias_walk_side, WalkArgs)
DR_KERNEL(antialias_walk_find, WalkArgs)
DR_KERNEL(antialias_walk_blend, WalkArgs)
DR_KERNEL(antialias_walk_color_bwd, WalkArgs)
DR_SCATTER(antialias_walk_bwd, WalkArgs)
DR_KERNEL(antialias_walk_jvp, WalkArgs)
