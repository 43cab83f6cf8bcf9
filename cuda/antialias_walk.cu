// Antialiasing by areas (docs/MATH.md, section 5), forward and backward.
//
// 1. antialias_walk_find: what crosses between every pair of neighbouring pixels, by walking over the mesh.
// 2. antialias_walk_blend, _color_bwd: colours are gathered from the four cells around a pixel.
// 3. antialias_walk_bwd: one element per cell; scatters to the vertices.
//
// What is decided in 1 is read again in 2 and 3, so forward and backward cannot disagree about it.
#include "cell.h"
#include "walk.h"

template <typename T>
struct WalkArgs {
  typedef T Scalar;
  const T* color;   // [B, H, W, C]
  const T* rast;    // [B, H, W, 4]
  const T* pos;     // [B|1, V, 4]
  const int* tri;   // [F, 3]
  const int* ring;  // [F, 3]
  i8* side;    // [B|1, F] 1 counter-clockwise, -1 clockwise, 0 covers nothing; or null: computed where needed
  u8* code;    // [B, H, W] bit 0: something crosses the pair with the pixel to the right, bit 1: above;
               // bits 2 and 3: and it runs closer to the pair's direction than across
  T* place;    // [B, H, W, 2] where, from the centre (0) to the other (1)
  int* owner;  // [B, H, W, 2, 2] what crosses (struct Owner)
  T* out;      // [B, H, W, C]
  const T* grad_out;  // [B, H, W, C]
  T* grad_color;      // [B, H, W, C]
  T* grad_pos;        // [slabs, B|1, V, 4]
  i64 count;          // B * H * W
  i64 height, width, channels;
  i64 triangles;                 // F
  i64 pos_stride, table_stride;  // V * 4 and F, or 0 where the batch shares the positions
  i64 cull;                      // 0 none, 1 back, 2 front
  i64 run;                       // how many pixels make one element
  i64 slab_size;                 // numel of one copy of grad_pos
  double boost;

  DR_FN void slab(i64 k) {
    if (grad_pos) grad_pos += k * slab_size;
  }
};

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
  if (a.rast[4 * p + 3] == a.rast[4 * q + 3]) return 0;
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

// --- Cells -----------------------------------------------------------------------------------------------

// A cell with what belongs to its corners and sides.
struct PlacedCell {
  Cell cell;
  i64 view, cx, cy;
  i64 pixel[4];     // of the corners; at the border of the image those beyond it are their mirror images
  i64 pair[4];      // of the crossed sides: 2 * pixel + (vertical)
  double share[4];  // of the crossings in the junction
  i64 vertex;       // which is the junction, or -1
  int arms;
};

struct CellPoint {
  double x, y;
};

// Where a vertex is seen in a cell, in pixels from corner 0.
template <typename T>
DR_FN CellPoint cell_point(const WalkArgs<T>& a, const T* p, i64 cx, i64 cy) {
  return {((double)p[0] / p[3] + 1) * 0.5 * (double)a.width - (double)cx - 0.5,
          ((double)p[1] / p[3] + 1) * 0.5 * (double)a.height - (double)cy - 0.5};
}

// Adjoint: adds to the vertex's gradient.
template <typename T>
DR_FN void cell_point_bwd(const WalkArgs<T>& a, const T* p, double gx, double gy, T* grad) {
  gx *= 0.5 * (double)a.width / p[3], gy *= 0.5 * (double)a.height / p[3];
  const double gw = -(gx * p[0] + gy * p[1]) / p[3];
  if (!dr_finite((T)gx + (T)gy + (T)gw)) return;  // a vertex in the eye
  accumulate(grad, (T)gx), accumulate(grad + 1, (T)gy), accumulate(grad + 3, (T)gw);
}

// How far a point lies on the inner side of side k of its cell.
DR_FN double inward(int k, double x, double y) {
  return k == 0 ? y : k == 1 ? 1 - x : k == 2 ? 1 - y : x;
}

// The junction of two crossings. Where both edges meet at a vertex, and go into the cell on their way to it:
// that vertex, even if it is outside. Otherwise the middle of the chord, unless a crossing runs along its
// side and the chord does not: it belongs to something else, and its place changes too fast to be connected
// with; then there is one crossing less.
template <typename T>
DR_FN int join_two(const WalkArgs<T>& a, int grazing, PlacedCell& c) {
  int first = -1, second = -1;
  for (int k = 0; k < 4; ++k)
    if (c.cell.arm[k]) (first < 0 ? first : second) = k;
  const Owner o = {a.owner[2 * c.pair[first]], a.owner[2 * c.pair[first] + 1]};
  const Owner q = {a.owner[2 * c.pair[second]], a.owner[2 * c.pair[second] + 1]};
  int shared = 0, vertex = -1;
  for (int i = 1; i < 3; ++i)
    for (int j = 1; j < 3; ++j) {
      if (o.second >= 0 || q.second >= 0) continue;
      const int v = a.tri[o.first / 3 * 3 + (o.first + i) % 3];
      if (v == a.tri[q.first / 3 * 3 + (q.first + j) % 3]) vertex = v, ++shared;
    }
  if (shared == 1) {
    const T* p = a.pos + c.view * a.pos_stride + 4 * (i64)vertex;
    const CellPoint at = cell_point(a, p, c.cx, c.cy);
    if (p[3] > 0 && inward(first, at.x, at.y) > 0 && inward(second, at.x, at.y) > 0) {
      c.vertex = vertex, c.cell.x = at.x, c.cell.y = at.y;
      for (int k = 0; k < 4; ++k) c.share[k] = 0;
      return 2;
    }
  }
  if (shared == 2 || (o.second >= 0 && o.first == q.first && o.second == q.second)) return 2;
  int arms = 2;
  for (int k = 0; k < 4; ++k) {
    if (!c.cell.arm[k] || !(grazing >> k & 1)) continue;
    const double dx = c.cell.x - crossing_x(k, c.cell.at[k]), dy = c.cell.y - crossing_y(k, c.cell.at[k]);
    const double along = dx * side_x(k) + dy * side_y(k), across = dx * side_y(k) - dy * side_x(k);
    if (across * across > along * along) c.cell.arm[k] = false, --arms;
  }
  return arms;
}

// The cell whose lower left corner is pixel (cx, cy), from -1 to width - 1 and height - 1.
template <typename T>
DR_FN bool load_cell(const WalkArgs<T>& a, i64 view, i64 cx, i64 cy, PlacedCell& c) {
  const i64 x0 = dr_max(cx, (i64)0), x1 = dr_min(cx + 1, a.width - 1);
  const i64 y0 = dr_max(cy, (i64)0), y1 = dr_min(cy + 1, a.height - 1), base = view * a.height;
  c.view = view, c.cx = cx, c.cy = cy;
  c.pixel[0] = (base + y0) * a.width + x0, c.pixel[1] = (base + y0) * a.width + x1;
  c.pixel[2] = (base + y1) * a.width + x1, c.pixel[3] = (base + y1) * a.width + x0;
  int grazing = 0;
  c.arms = 0, c.vertex = -1;
  for (int k = 0; k < 4; ++k) {
    const i64 owner = c.pixel[k == 0 || k == 3 ? 0 : k == 1 ? 1 : 3];
    const int vertical = k & 1, code = (vertical ? y0 < y1 : x0 < x1) ? a.code[owner] >> vertical : 0;
    c.cell.arm[k] = code & 1;
    c.pair[k] = 2 * owner + vertical;
    c.arms += c.cell.arm[k];
    grazing |= (code & 5) == 5 ? 1 << k : 0;
  }
  if (c.arms == 0) return false;
  if (c.arms != 2 && grazing) {
    c.arms = 0;
    for (int k = 0; k < 4; ++k) c.cell.arm[k] = c.cell.arm[k] && !(grazing >> k & 1), c.arms += c.cell.arm[k];
    if (c.arms == 0) return false;
  }
  double x = 0, y = 0;
  for (int k = 0; k < 4; ++k) {
    const double place = c.cell.arm[k] ? (double)a.place[c.pair[k]] : 0.5;
    c.cell.at[k] = k < 2 ? place : 1 - place;
    c.share[k] = c.cell.arm[k] ? 1.0 / c.arms : 0;
    x += c.share[k] * crossing_x(k, c.cell.at[k]), y += c.share[k] * crossing_y(k, c.cell.at[k]);
  }
  c.cell.x = x, c.cell.y = y;
  if (c.arms == 2) c.arms = join_two(a, grazing, c);
  if (c.arms == 1) {  // it ends here: goes to the middle, and on along the border between the quarters
    c.cell.x = c.cell.y = 0.5;
    bool arm[4];
    for (int k = 0; k < 4; ++k) arm[k] = c.cell.arm[k] || c.cell.arm[(k + 2) % 4], c.share[k] = 0;
    for (int k = 0; k < 4; ++k) {
      if (!c.cell.arm[k]) c.pair[k] = -1, c.cell.at[k] = 0.5;
      c.cell.arm[k] = arm[k];
    }
  }
  return c.arms > 0;
}

// The cell around pixel (ix, iy) of which that pixel is corner r.
template <typename T>
DR_FN bool cell_of_pixel(const WalkArgs<T>& a, PixelPlace at, int r, PlacedCell& c) {
  return load_cell(a, at.view, at.ix - (r == 1 || r == 2), at.iy - (r >= 2), c);
}

// Whether anything crosses in the cells around pixels begin to end - 1, or, at the ends of rows, elsewhere.
template <typename T>
DR_FN bool any_crossing(const WalkArgs<T>& a, i64 begin, i64 end) {
  int any = 0;
  const i64 last = a.count - 1;
  for (i64 row = -1; row < 2; ++row) {
    const u8* code = a.code + row * a.width;
    const i64 from = dr_max(begin - 1, -row * a.width), to = dr_min(end, last - row * a.width);
    for (i64 p = from; p <= to; ++p) any |= code[p];
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

// Adds the gradient of a pair's crossing to the vertices of what crosses.
template <typename T>
DR_FN void crossing_place_bwd(const WalkArgs<T>& a, i64 view, i64 pair, double g) {
  const i64 p = pair >> 1;
  const int vertical = (int)(pair & 1);
  const PixelPlace at = place_of(a, p);
  const PixelCentre cp = centre_of(a, at.ix, at.iy), cq = centre_of(a, at.ix + !vertical, at.iy + vertical);
  const Owner owner = {a.owner[2 * pair], a.owner[2 * pair + 1]};
  const Signed s = signed_of(a, view, owner, cp, cq);
  const double r = g / (s.p - s.q), place = s.p / (s.p - s.q), gp = r * (1 - place), gq = r * place;
  const T* pos = a.pos + view * a.pos_stride;
  T* grad = a.grad_pos + view * a.pos_stride;
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
      T* to = grad + 4 * (i64)tri[k];
      for (int m = 0; m < 3; ++m)
        if (gx[k][m] != 0) accumulate(to + (m < 2 ? m : 3), (T)gx[k][m]);
      if (gz[k] != 0) accumulate(to + 2, (T)gz[k]);
    }
  }
}

template <typename T>
DR_FN void cell_bwd(const WalkArgs<T>& a, i64 view, i64 cx, i64 cy) {
  PlacedCell c;
  if (!load_cell(a, view, cx, cy, c)) return;
  double g_at[4] = {0, 0, 0, 0}, g_x = 0, g_y = 0;
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
  for (int k = 0; k < 4; ++k) {
    if (!c.cell.arm[k] || c.pair[k] < 0) continue;
    const double g = g_at[k] + c.share[k] * (g_x * side_x(k) + g_y * side_y(k));
    if (g != 0) crossing_place_bwd(a, view, c.pair[k], a.boost * (k < 2 ? g : -g));
  }
  if (c.vertex < 0) return;
  const i64 vertex = view * a.pos_stride + 4 * c.vertex;
  cell_point_bwd(a, a.pos + vertex, a.boost * g_x, a.boost * g_y, a.grad_pos + vertex);
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

DR_KERNEL(antialias_walk_side, WalkArgs)
DR_KERNEL(antialias_walk_find, WalkArgs)
DR_KERNEL(antialias_walk_blend, WalkArgs)
DR_KERNEL(antialias_walk_color_bwd, WalkArgs)
DR_SCATTER(antialias_walk_bwd, WalkArgs)
