// The CPU's search for visible triangles (docs/MATH.md, section 1): for every pixel centre the nearest
// triangle that covers it.
//
// 1. Vertices are projected once, in parallel, to find what is off-screen and which rows a triangle can
// touch.
// 2. Triangles are binned into bands of rows, in parallel over chunks of triangles; bins keep the order of
// the triangles.
// 3. Bands are filled in parallel. A triangle is cut into one span of pixels per row: where an edge crosses
// the row is found in
//    floating point with an error bound, and decided exactly (exact.h) where a pixel centre lies within the
//    bound.
// So coverage is exact, no triangle is clipped, and vertices with w <= 0 need no special case.
#include "coverage.h"

#include <algorithm>
#include <vector>

namespace {

template <typename T>
struct VisibilityArgs {
  const T* pos;           // [B|1, V, 4]
  const int* tri;         // [F, 3]
  const int* ranges;      // [B, 2] first triangle and count, or null
  const T* before_depth;  // [B, H, W] previous layer, or null
  const int* before_id;   // [B, H, W] or null
  int* id;                // [B, H, W] out: triangle + 1, or 0
  T* depth;               // [B, H, W] out: z/w of the visible triangle, or null
  i64 batch, vertices, triangles, height, width, pos_stride, cull;
};

// Narrows [lo, hi] with exact arithmetic. Inside is a half line of the row, so its end can be found by
// bisection.
void search(const Edge& e, int iy, int& lo, int& hi, const Problem& s) {
  const bool first = e.inside_exactly(lo, iy, s), last = e.inside_exactly(hi, iy, s);
  if (first && last) return;
  if (!first && !last) {
    hi = lo - 1;
    return;
  }
  int in = first ? lo : hi, out = first ? hi : lo;
  while (std::abs(in - out) > 1) {
    const int middle = in + (out - in) / 2;
    (e.inside_exactly(middle, iy, s) ? in : out) = middle;
  }
  (first ? hi : lo) = in;
}

// Narrows [lo, hi] to the pixels of row iy that lie inside.
void cut(const Edge& e, int iy, int& lo, int& hi, const Problem& s) {
  const double row = e.origin + e.per_row * (double)iy;
  if (std::fabs(e.slope) > 0) {
    const double at = row * e.inv_slope, margin = 2 * e.error * std::fabs(e.inv_slope) + 1e-15 * std::fabs(at);
    // Outside [lo, hi] the crossing decides nothing but all or none, and may not fit an int.
    if (at + margin < (double)lo) {
      if (e.slope < 0) hi = lo - 1;
      return;
    }
    if (at - margin > (double)hi) {
      if (e.slope > 0) hi = lo - 1;
      return;
    }
    const double first = std::ceil(at - margin), last = std::floor(at + margin);  // pixel centres in doubt
    if (first > last || first == last) {
      const int doubtful = (int)last;
      const bool inside = first == last && e.inside_exactly(doubtful, iy, s);
      if (e.slope > 0) {
        lo = std::max(lo, inside ? doubtful : doubtful + 1);
      } else {
        hi = std::min(hi, inside || first > last ? doubtful : doubtful - 1);
      }
      return;
    }
  } else if (std::fabs(row) > e.error) {
    if (row < 0) hi = lo - 1;
    return;
  }
  search(e, iy, lo, hi, s);
}

// The pixels lo..hi of the rows of a triangle, as doubles so that all of a triangle's rows are cut at once
// with vector instructions.
struct Spans {
  static const int kMax = 64;  // rows of a band at most
  double lo[kMax], hi[kMax];
  bool doubtful[kMax];  // a pixel centre is too close to an edge for floating point

  void cut(const Edge& e, int y0, int rows) {
    if (e.slope == 0) {
      for (int r = 0; r < rows; ++r) {
        const double row = e.origin + e.per_row * (double)(y0 + r);
        if (row < 0) hi[r] = -1;
        doubtful[r] = doubtful[r] || !(std::fabs(row) > e.error);
      }
      return;
    }
    const double origin = e.origin * e.inv_slope, step = e.per_row * e.inv_slope;
    // The crossing is origin + step iy, with an error of the edge function's error over its slope, and of its
    // own rounding.
    const double margin =
        2 * e.error * std::fabs(e.inv_slope) + 1e-15 * (std::fabs(origin) + std::fabs(step) * (double)(y0 + rows));
    double* const end = e.slope > 0 ? lo : hi;
    const double sign = e.slope > 0 ? 1 : -1;
    for (int r = 0; r < rows; ++r) {
      const double at = origin + step * (double)(y0 + r);
      const double below = std::floor(at - margin), above = std::floor(at + margin);
      const double inner = e.slope > 0 ? below + 1 : below;
      doubtful[r] |= !(below == above) | (below == at - margin);
      end[r] = sign * std::fmax(sign * end[r], sign * inner);
    }
  }
};

// Pixels are drawn in runs of this many, so that short spans use vector instructions too; buffers have that
// much to spare.
const int kRun = 8;

// Draws the pixels lo..hi of one row: keeps the nearest, and of equals the first (triangles come in the order
// of their index).
template <typename T>
void fill(const Setup& t, int iy, int lo, int hi, int id, T* depth, int* ids) {
  const double base = t.depth_of_row(iy);
  for (int x = lo; x <= hi; x += kRun) {
    const int left = hi - x;
#pragma omp simd
    for (int j = 0; j < kRun; ++j) {
      const T d = (T)(base + t.depth_x * (double)(x + j));
      const bool nearer = (j <= left) & (d < depth[x + j]) & (d > -beyond<T>());
      depth[x + j] = nearer ? d : depth[x + j];
      ids[x + j] = nearer ? id : ids[x + j];
    }
  }
}

// The same for a later layer: only what lies behind (depth, index) of the layer before.
template <typename T>
void fill_behind(const Setup& t, int iy, int lo, int hi, int id, T* depth, int* ids, const T* before,
                 const int* before_id) {
  const double base = t.depth_of_row(iy);
  for (int x = lo; x <= hi; ++x) {
    const T d = (T)(base + t.depth_x * (double)x);
    const bool behind = before_id[x] != 0 && (d > before[x] || (d == before[x] && id > before_id[x]));
    if (behind && d < depth[x] && d > -beyond<T>()) depth[x] = d, ids[x] = id;
  }
}

// The search in one image at a time, with buffers that are used again for the next.
template <typename T>
struct Search {
  struct Band {  // the rows that a thread works on
    std::vector<T> depth;
    std::vector<int> id;
    i64 origin = 0, image = 0;  // index of the first pixel in its image, of the image in the batch
  };

  const VisibilityArgs<T>& a;
  Problem s;
  int workers;
  i64 band_rows = 0, bands = 0, first = 0, count = 0, chunk = 0, chunks = 0;
  i64 projected_image = -1;
  std::vector<Projected> projected = {};    // [V]
  std::vector<std::vector<int>> bins = {};  // [chunks * bands] triangle indices in order

  Search(const VisibilityArgs<T>& args, int threads)
      : a(args), s{args.vertices, args.triangles, args.height, args.width, args.cull}, workers(threads) {
    const i64 rows_in_cache = (512 << 10) / (s.width * (i64)(sizeof(T) + 4));
    band_rows = dr_clamp(rows_in_cache, i64(4), i64(Spans::kMax));
    bands = (s.height + band_rows - 1) / band_rows;
    projected.resize(s.vertices);
  }

  void search(i64 b) {
    first = a.ranges ? a.ranges[2 * b] : 0;
    count = a.ranges ? a.ranges[2 * b + 1] : s.triangles;
    chunk = std::max<i64>(1024, (count + 4 * workers - 1) / (4 * workers));
    chunks = (count + chunk - 1) / chunk;
    const T* p = a.pos + b * a.pos_stride;
    if (projected_image < 0 || a.pos_stride) project_all(p);
    projected_image = b;
    bin_all();
#pragma omp parallel num_threads(workers) if (workers > 1)
    {
      Band buffer;
      buffer.depth.resize(band_rows * s.width + kRun), buffer.id.resize(band_rows * s.width + kRun);
#pragma omp for schedule(dynamic, 1)
      for (i64 band = 0; band < bands; ++band) fill_band(p, band, b * s.height * s.width, buffer);
    }
  }

  void project_all(const T* p) {
#pragma omp parallel for num_threads(workers) schedule(static) if (workers > 1 && s.vertices > 4096)
    for (i64 v = 0; v < s.vertices; ++v) projected[v] = project(p + 4 * v, s);
  }

  void bin_all() {
    if ((i64)bins.size() < chunks * bands) bins.resize(chunks * bands);
#pragma omp parallel for num_threads(workers) schedule(dynamic, 1) if (workers > 1 && chunks > 1)
    for (i64 c = 0; c < chunks; ++c) {
      std::vector<int>* bin = &bins[c * bands];
      for (i64 k = 0; k < bands; ++k) bin[k].clear();
      const i64 end = std::min(count, (c + 1) * chunk);
      for (i64 t = first + c * chunk; t < first + end; ++t) {
        const int* v = a.tri + 3 * t;
        const Box box = box_of(projected[v[0]], projected[v[1]], projected[v[2]], s);
        if (box.empty()) continue;
        for (i64 k = box.y0 / band_rows; k * band_rows <= box.y1; ++k) bin[k].push_back((int)t);
      }
    }
  }

  void fill_band(const T* p, i64 band, i64 image, Band& buffer) {
    const int y0 = (int)(band * band_rows), y1 = (int)std::min(s.height, (band + 1) * band_rows) - 1;
    const i64 begin = (i64)y0 * s.width, size = (i64)(y1 - y0 + 1) * s.width;
    std::fill_n(buffer.id.data(), size, 0);
    std::fill_n(buffer.depth.data(), size, beyond<T>());
    buffer.origin = begin, buffer.image = image;
    for (i64 c = 0; c < chunks; ++c) {
      for (int t : bins[c * bands + band]) draw(p, t, y0, y1, buffer);
    }
    std::copy_n(buffer.id.data(), size, a.id + image + begin);
    if (a.depth) std::copy_n(buffer.depth.data(), size, a.depth + image + begin);
  }

  void draw(const T* p, int t, int y0, int y1, Band& buffer) {
    const int* v = a.tri + 3 * (i64)t;
    const T* const corner[3] = {p + 4 * (i64)v[0], p + 4 * (i64)v[1], p + 4 * (i64)v[2]};
    const Box box = box_of(projected[v[0]], projected[v[1]], projected[v[2]], s);
    y0 = std::max(y0, box.y0), y1 = std::min(y1, box.y1);
    const int rows = y1 - y0 + 1, x0 = box.x0, x1 = box.x1;
    Setup setup;
    if (!setup.make(corner, s)) return;
    Spans spans;
    for (int r = 0; r < rows; ++r) spans.lo[r] = x0, spans.hi[r] = x1, spans.doubtful[r] = false;
    for (const Edge& e : setup.edge) spans.cut(e, y0, rows);
    for (int r = 0; r < rows; ++r) {
      const int iy = y0 + r;
      int lo = x0, hi = x1;
      if (spans.doubtful[r]) {
        for (int k = 0; k < 3 && lo <= hi; ++k) cut(setup.edge[k], iy, lo, hi, s);
      } else if (spans.lo[r] <= spans.hi[r]) {
        lo = (int)spans.lo[r], hi = (int)spans.hi[r];
      } else {
        continue;
      }
      const i64 row = (i64)iy * s.width, local = row - buffer.origin;
      T* const row_depth = buffer.depth.data() + local;
      int* const row_id = buffer.id.data() + local;
      if (a.before_id) {
        const i64 at = buffer.image + row;
        fill_behind(setup, iy, lo, hi, t + 1, row_depth, row_id, a.before_depth + at, a.before_id + at);
      } else {
        fill(setup, iy, lo, hi, t + 1, row_depth, row_id);
      }
    }
  }
};

template <typename T>
void visibility(const VisibilityArgs<T>* args, int workers) {
  const VisibilityArgs<T>& a = *args;
  // Enough images: one thread each. Few: all threads in one image, unless it is so small that starting them
  // costs more.
  if (workers > 1 && a.batch >= 2 * workers) {
#pragma omp parallel num_threads(workers)
    {
      Search<T> search(a, 1);
#pragma omp for schedule(dynamic, 1)
      for (i64 b = 0; b < a.batch; ++b) search.search(b);
    }
    return;
  }
  const bool tiny = a.height * a.width + 4 * a.triangles < 16384;
  Search<T> search(a, tiny ? 1 : workers);
  for (i64 b = 0; b < a.batch; ++b) search.search(b);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void visibility_f32(const VisibilityArgs<float>* a, i64,
                                                                      int workers) {
  visibility(a, workers);
}
extern "C" __attribute__((visibility("default"))) void visibility_f64(const VisibilityArgs<double>* a, i64,
                                                                      int workers) {
  visibility(a, workers);
}
DR_WORDS(visibility, VisibilityArgs)
