// The GPU's search for visible triangles (docs/MATH.md, section 1): a visibility buffer with an atomic
// minimum.
//
// Triangles are sorted by size, so that neither a million that are smaller than a pixel nor two that fill the
// screen are slow: one thread draws a triangle of up to kThreadPixels (of its bounding box), and queues a
// larger one for a warp or, tile by tile, for all blocks. The queue has room for every triangle, so it cannot
// overflow.
//
// Everything here is an element function, one element a thread, that meets others only in atomics. So the CPU
// can run it too: that is how it is tested where there is no GPU.
#include "coverage.h"

static const int kRanges = 64;        // images of one launch in range mode: their ranges travel with the arguments
static const int kThreadPixels = 16;  // of a bounding box
static const int kWarpPixels = 4096;  // of a bounding box
static const int kWarp = 32, kBlockThreads = 256;  // as launched
static const int kTile = 32;                       // pixels a side

// What the atomic minimum of a pixel compares. float: the depth's order in the high half, the triangle in the
// low half, so ties go to the lower index. double: a depth fills the word, so the triangles that are as near
// as the nearest are compared in a second pass.
template <typename T>
struct SearchArgs {
  const T* pos;           // [B|1, V, 4]
  const int* tri;         // [F, 3]
  const T* before_depth;  // [B, H, W] previous layer, or null
  const int* before_id;   // [B, H, W] or null
  u64* nearest;           // [B, H, W]
  u32* lowest;            // [B, H, W] or null: triangle + 1; double only
  u32* queue;             // [items] for warps from the front, for all blocks from the back
  u32* queued;            // [2] how many of each
  int* id;                // [B, H, W] out: triangle + 1, or 0
  T* depth;               // [B, H, W] out: z/w of the visible triangle, or null
  i64 first_image;        // of this launch
  i64 items;              // triangles of all images of this launch
  i64 vertices, triangles, height, width, pos_stride, cull;
  i64 second_pass;                               // double only
  i64 threads;                                   // of the launches that work off the queue
  i64 ranges;                                    // range mode: images of this launch; 0: instanced mode
  i64 range_first[kRanges], range_end[kRanges];  // first triangle; last item + 1

  DR_FN Problem problem() const { return {vertices, triangles, height, width, cull}; }
};

#if defined(__CUDACC__)
DR_FN u32 fetch_add(u32* p, u32 value) {
  return atomicAdd(p, value);
}
template <typename U>
DR_FN void fetch_min(U* p, U value) {
  atomicMin(p, value);
}
#else  // one thread
DR_FN u32 fetch_add(u32* p, u32 value) {
  const u32 before = *p;
  *p += value;
  return before;
}
template <typename U>
DR_FN void fetch_min(U* p, U value) {
  *p = dr_min(*p, value);
}
#endif

// Integers in the order of the numbers, and back. -0 is made +0 first: they are equal.
DR_FN u32 order_of(float d) {
  const u32 bits = float_bits(d + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
DR_FN float depth_of(u32 order, float) {
  return bits_float(order & 0x80000000u ? order & 0x7FFFFFFFu : ~order);
}
DR_FN u64 order_of(double d) {
  const u64 bits = double_bits(d + 0.0), sign = 1ull << 63;
  return bits & sign ? ~bits : bits | sign;
}
DR_FN double depth_of(u64 order, double) {
  const u64 sign = 1ull << 63;
  return bits_double(order & sign ? order & ~sign : ~order);
}

// A triangle of one of the images.
template <typename T>
struct Item {
  i64 image, triangle;
  const T* corner[3];
  Box box;
};

template <typename T>
DR_FN Item<T> item_of(const SearchArgs<T>& a, i64 i) {
  Item<T> it;
  if (a.ranges) {
    i64 low = 0, high = a.ranges - 1;  // the first range that ends behind i
    while (low < high) {
      const i64 middle = (low + high) / 2;
      if (i < a.range_end[middle])
        high = middle;
      else
        low = middle + 1;
    }
    it.image = a.first_image + low;
    it.triangle = a.range_first[low] + i - (low ? a.range_end[low - 1] : 0);
  } else {
    const i64 image = i / a.triangles;
    it.image = a.first_image + image, it.triangle = i - image * a.triangles;
  }
  const Problem s = a.problem();
  const T* from = a.pos + it.image * a.pos_stride;
  Projected seen[3];
  for (int k = 0; k < 3; ++k) {
    it.corner[k] = from + 4 * (i64)a.tri[3 * it.triangle + k];
    seen[k] = project(it.corner[k], s);
  }
  it.box = box_of(seen[0], seen[1], seen[2], s);
  return it;
}

DR_FN i64 pixels_of(Box b) {
  return b.empty() ? 0 : (i64)(b.x1 - b.x0 + 1) * (b.y1 - b.y0 + 1);
}

// Offers a triangle to a pixel; the nearest is kept, and of equals the first.
template <typename T>
DR_FN bool may_be_seen(const SearchArgs<T>& a, i64 pixel, T depth, i64 triangle) {
  if (!(depth < beyond<T>() && depth > -beyond<T>())) return false;
  if (!a.before_id) return true;
  const int id = a.before_id[pixel];
  const T before = a.before_depth[pixel];
  return id != 0 && (depth > before || (depth == before && triangle + 1 > id));
}
DR_FN void offer(const SearchArgs<float>& a, i64 pixel, float depth, i64 triangle) {
  const u64 key = (u64)order_of(depth) << 32 | (u32)(triangle + 1);
  if (key < a.nearest[pixel]) fetch_min(a.nearest + pixel, key);
}
DR_FN void offer(const SearchArgs<double>& a, i64 pixel, double depth, i64 triangle) {
  const u64 key = order_of(depth);
  if (!a.second_pass)
    fetch_min(a.nearest + pixel, key);
  else if (key == a.nearest[pixel])
    fetch_min(a.lowest + pixel, (u32)(triangle + 1));
}

template <typename T>
DR_FN void draw_pixel(const SearchArgs<T>& a, const Item<T>& it, const Setup& setup, const Problem& s, int ix, int iy) {
  if (!setup.covers(ix, iy, s)) return;
  const i64 pixel = (it.image * a.height + iy) * a.width + ix;
  const T depth = (T)(setup.depth_of_row(iy) + setup.depth_x * (double)ix);
  if (may_be_seen(a, pixel, depth, it.triangle)) offer(a, pixel, depth, it.triangle);
}

// One element is one pixel: nothing seen yet, nothing queued.
template <typename T>
DR_FN void visibility_clear(const SearchArgs<T>& a, i64 i) {
  a.nearest[i] = ~0ull;
  if (a.lowest) a.lowest[i] = ~0u;
  if (i < 2) a.queued[i] = 0;
}

// One element is one triangle of one image.
template <typename T>
DR_FN void visibility_small(const SearchArgs<T>& a, i64 i) {
  const Item<T> it = item_of(a, i);
  const i64 pixels = pixels_of(it.box);
  if (pixels == 0) return;
  if (pixels > kThreadPixels) {
    if (a.second_pass) return;  // queued in the first
    const bool large = pixels > kWarpPixels;
    const u32 slot = fetch_add(a.queued + large, 1);
    a.queue[large ? a.items - 1 - slot : slot] = (u32)i;
    return;
  }
  const Problem s = a.problem();
  Setup setup;
  if (!setup.make(it.corner, s)) return;
  for (int iy = it.box.y0; iy <= it.box.y1; ++iy)
    for (int ix = it.box.x0; ix <= it.box.x1; ++ix) draw_pixel(a, it, setup, s, ix, iy);
}

// One element is one thread. Each warp draws one queued triangle after the other.
template <typename T>
DR_FN void visibility_medium(const SearchArgs<T>& a, i64 i) {
  const Problem s = a.problem();
  const i64 warps = a.threads / kWarp, count = a.queued[0];
  for (i64 k = i / kWarp; k < count; k += warps) {
    const Item<T> it = item_of(a, a.queue[k]);
    Setup setup;
    if (!setup.make(it.corner, s)) continue;
    const int width = it.box.x1 - it.box.x0 + 1, pixels = (int)pixels_of(it.box);
    for (int p = (int)(i % kWarp); p < pixels; p += kWarp)
      draw_pixel(a, it, setup, s, it.box.x0 + p % width, it.box.y0 + p / width);
  }
}

// Whether an edge leaves some of the pixels x0..x1, y0..y1 inside.
DR_FN bool reaches(const Edge& e, int x0, int x1, int y0, int y1) {
  const double x = e.slope > 0 ? x1 : x0, y = e.per_row > 0 ? y1 : y0;
  return e.origin + e.per_row * y + e.slope * x >= -2 * e.error;
}

// One element is one thread. All blocks share the tiles of each queued triangle.
template <typename T>
DR_FN void visibility_large(const SearchArgs<T>& a, i64 i) {
  const Problem s = a.problem();
  const i64 blocks = a.threads / kBlockThreads, block = i / kBlockThreads, count = a.queued[1];
  const int thread = (int)(i % kBlockThreads);
  i64 dealt = 0;  // tiles of the triangles before, so that the next one begins at another block
  for (i64 k = 0; k < count; ++k) {
    const Item<T> it = item_of(a, a.queue[a.items - 1 - k]);
    const int across = (it.box.x1 - it.box.x0) / kTile + 1, down = (it.box.y1 - it.box.y0) / kTile + 1;
    const i64 tiles = (i64)across * down, first = (block + blocks - dealt % blocks) % blocks;
    dealt += tiles;
    if (first >= tiles) continue;
    Setup setup;
    if (!setup.make(it.corner, s)) continue;
    for (i64 tile = first; tile < tiles; tile += blocks) {
      const int x0 = it.box.x0 + (int)(tile % across) * kTile, y0 = it.box.y0 + (int)(tile / across) * kTile;
      const int x1 = dr_min(x0 + kTile - 1, it.box.x1), y1 = dr_min(y0 + kTile - 1, it.box.y1);
      if (!reaches(setup.edge[0], x0, x1, y0, y1) || !reaches(setup.edge[1], x0, x1, y0, y1) ||
          !reaches(setup.edge[2], x0, x1, y0, y1))
        continue;
      for (int p = thread; p < kTile * kTile; p += kBlockThreads) {
        const int ix = x0 + p % kTile, iy = y0 + p / kTile;
        if (ix <= x1 && iy <= y1) draw_pixel(a, it, setup, s, ix, iy);
      }
    }
  }
}

// One element is one pixel: from what was compared to the triangle and its depth.
DR_FN u32 winner(const SearchArgs<float>& a, i64 i, float& depth) {
  depth = depth_of((u32)(a.nearest[i] >> 32), 0.0f);
  return (u32)a.nearest[i];
}
DR_FN u32 winner(const SearchArgs<double>& a, i64 i, double& depth) {
  depth = depth_of(a.nearest[i], 0.0);
  return a.lowest[i];
}
template <typename T>
DR_FN void visibility_finish(const SearchArgs<T>& a, i64 i) {
  T depth;
  const u32 id = winner(a, i, depth);
  a.id[i] = id == ~0u ? 0 : (int)id;
  if (a.depth) a.depth[i] = id == ~0u ? beyond<T>() : depth;
}

DR_KERNEL(visibility_clear, SearchArgs)
DR_KERNEL(visibility_small, SearchArgs)
DR_KERNEL(visibility_medium, SearchArgs)
DR_KERNEL(visibility_large, SearchArgs)
DR_KERNEL(visibility_finish, SearchArgs)
