// Texture sampling (docs/MATH.md, section 4), forward and backward. One element is one pixel.
//
// There is one entry point per filter and kind of texture, so that a pixel's path has no choice to make but
// the boundary's. The number of channels is fixed at compile time where that pays: by DR_CHANNELS, or on the
// CPU for three and four.
#include "texture_args.h"
#include "texture_cube.h"
#include "texture_sample.h"

#if defined(__CUDACC__)
static const int kBlock = 1;
#else
static const int kBlock = 16;
#endif

// A block of N samples and the texels that they see, on up to two levels.
template <typename T, int N>
struct Block {
  int found[N];  // whether there is anything to sample
  T s[N], t[N];  // on the texture or the face, [0, 1]
  int face[N];   // cube maps
  int low[N], two[N];
  T fraction[N];
  int levels;  // 2 if any sample blends two, otherwise 1
  i64 at[2][4][N];
  T w[2][4][N], dx[2][4][N], dy[2][4][N];
  T share[2][4][N];  // w times the weight of the level
  T dot[2][4][N];    // <gradient, texel>
};

// The direction of pixel i on its face; any direction where there is none.
template <typename T>
DR_FN Projection<T> projection_at(const TextureArgs<T>& a, i64 i, bool found) {
  return project(found ? load3(a.uv, 3 * i, 1) : Vec3<T>{T(0), T(0), T(1)});
}

// As `jacobian`, on the face.
template <typename T>
DR_FN Vec4<T> jacobian_cube(const TextureArgs<T>& a, i64 i, const Projection<T>& p) {
  const T S = (T)a.width;
  Vec4<T> J;
  project_step(p, load3(a.uv_da, 6 * i, 2), J.x, J.z);
  project_step(p, load3(a.uv_da, 6 * i + 1, 2), J.y, J.w);
  return {J.x * S, J.y * S, J.z * S, J.w * S};
}

// Where the samples are.
template <typename T, bool cube, int N>
DR_FN void locate(const TextureArgs<T>& a, i64 i, Block<T, N>& b) {
  const bool wrap = a.boundary_mode() == kWrap;
  for (int k = 0; k < N; ++k) {
    if (cube) {
      const Vec3<T> d = load3(a.uv, 3 * (i + k), 1);
      b.found[k] = dr_finite(d.x) && dr_finite(d.y) && dr_finite(d.z) && (d.x != 0 || d.y != 0 || d.z != 0);
      const Projection<T> p = projection_at(a, i + k, b.found[k]);
      b.face[k] = p.face, b.s[k] = (p.p + 1) / 2, b.t[k] = (p.q + 1) / 2;
    } else {
      const T u = a.uv[2 * (i + k)], v = a.uv[2 * (i + k) + 1];
      const bool found = (u - u) + (v - v) == 0;
      const T s = found ? u : T(0), t = found ? v : T(0);
      b.found[k] = found, b.s[k] = s - (wrap ? dr_floor(s) : T(0)), b.t[k] = t - (wrap ? dr_floor(t) : T(0));
    }
  }
}

// On which levels.
template <typename T, bool cube, int N>
DR_FN void choose_levels(const TextureArgs<T>& a, i64 i, Block<T, N>& b) {
  b.levels = 1;
  T level[N];
  for (int k = 0; k < N; ++k) b.low[k] = b.two[k] = 0, b.fraction[k] = 0, level[k] = 0;
  if (!a.uv_da && !a.bias) return;
  if (a.bias)
    for (int k = 0; k < N; ++k) level[k] = a.bias[i + k];
  if (a.uv_da) {
    for (int k = 0; k < N; ++k) {
      const T size =
          footprint(cube ? jacobian_cube(a, i + k, projection_at(a, i + k, b.found[k])) : jacobian(a, i + k));
      const bool point = !(size > 0);  // level 0 whatever the bias
      level[k] = point ? T(-1) : level[k] + dr_log2(point ? T(1) : size) / 2;
    }
  }
  const int top = (int)a.levels - 1;
  const bool linear = a.linear_levels != 0;
  int any = 0;
  for (int k = 0; k < N; ++k) {
    const Levels<T> r = levels_at(level[k], top, linear);
    b.low[k] = r.low, b.two[k] = r.two, b.fraction[k] = r.fraction;
    any |= b.two[k];
  }
  b.levels += any;
}

// Which texels, and what they weigh.
template <typename T, bool cube, bool backward, int N>
DR_FN void place_taps(const TextureArgs<T>& a, Block<T, N>& b) {
  const int width = (int)a.width, height = (int)a.height, boundary = a.boundary_mode();
  for (int q = 0; q < 2; ++q) {
    if (q == b.levels) break;
    for (int k = 0; k < N; ++k) {
      const int l = b.low[k] + (q & b.two[k]), w = level_size(width, l), h = level_size(height, l);
      const T weight = q ? b.fraction[k] : 1 - b.fraction[k];
      const Taps<T> t = cube ? taps_cube(b.s[k], b.t[k], b.face[k], w) : taps_2d(b.s[k], b.t[k], w, h, boundary);
      for (int j = 0; j < 4; ++j) {
        b.at[q][j][k] = t.at[j], b.share[q][j][k] = weight * t.w[j];
        if (backward) b.w[q][j][k] = t.w[j], b.dx[q][j][k] = t.dx[j], b.dy[q][j][k] = t.dy[j];
      }
    }
  }
}

// Asks for the texels of a whole block before the first is needed; on the GPU other threads fill the wait.
template <typename T, int N>
DR_FN void fetch_ahead(const TextureArgs<T>& a, i64 start, const Block<T, N>& b) {
#if !defined(__CUDACC__)
  for (int q = 0; q < b.levels; ++q) {
    for (int k = 0; k < N; ++k) {
      const int l = b.low[k] + (q & b.two[k]);
      const i64 image = image_at(a, start + k, l);
      for (int j = 0; j < 4; j += 2) {  // the other two are mostly beside these
        const i64 at = image + b.at[q][j][k] * a.channels;
        __builtin_prefetch(a.level[l] + at);
        if (a.grad_level[l]) __builtin_prefetch(a.grad_level[l] + at, 1);
      }
    }
  }
#endif
}

template <typename T, bool cube, int N, int C>
DR_FN void linear_fwd(const TextureArgs<T>& a, i64 start) {
  const int channels = C ? C : (int)a.channels;
  Block<T, N> b;
  locate<T, cube, N>(a, start, b);
  choose_levels<T, cube, N>(a, start, b);
  place_taps<T, cube, false, N>(a, b);
  fetch_ahead(a, start, b);
  for (int k = 0; k < N; ++k) {
    T* out = a.out + (start + k) * channels;
    T sum[C ? C : 1];
    T* to = C ? sum : out;
    for (int c = 0; c < channels; ++c) to[c] = 0;
    for (int q = 0; q < 2; ++q) {
      if (!b.found[k] || q > b.two[k] || (q == 1 && b.fraction[k] == 0)) break;
      const int l = b.low[k] + q;
      const T* from = a.level[l] + image_at(a, start + k, l);
      const T *p0 = from + b.at[q][0][k] * channels, *p1 = from + b.at[q][1][k] * channels;
      const T *p2 = from + b.at[q][2][k] * channels, *p3 = from + b.at[q][3][k] * channels;
      const T w0 = b.share[q][0][k], w1 = b.share[q][1][k], w2 = b.share[q][2][k], w3 = b.share[q][3][k];
      for (int c = 0; c < channels; ++c) to[c] += (w0 * p0[c] + w1 * p1[c]) + (w2 * p2[c] + w3 * p3[c]);
    }
    for (int c = 0; c < C; ++c) out[c] = sum[c];
  }
}

// The gradient `g` [C] of a pixel arrives at its texels, and <g, texel> is kept: it is what all other
// gradients are made of.
template <typename T, int N, int C>
DR_FN void visit_bwd(const TextureArgs<T>& a, i64 i, Block<T, N>& b, int k, bool want) {
  const int channels = C ? C : (int)a.channels;
  // Held in registers: the texel gradients that are written meanwhile might be the same memory for all the
  // compiler knows.
  T held[C ? C : 1];
  for (int c = 0; c < C; ++c) held[c] = a.grad_out[i * C + c];
  const T* g = C ? held : a.grad_out + i * channels;
  bool any = false;
  for (int c = 0; c < channels; ++c) any = any || g[c] != 0;
  for (int q = 0; q < 2; ++q) {
    if (!any || !b.found[k] || q > b.two[k]) {
      for (int j = 0; j < 4; ++j) b.dot[q][j][k] = 0;
      continue;
    }
    const int l = b.low[k] + q;
    const i64 image = image_at(a, i, l);
    const T* from = a.level[l] + image;
    T* to = a.grad_level[l] ? a.grad_level[l] + image : a.grad_level[l];
    for (int j = 0; j < 4; ++j) {
      const i64 at = b.at[q][j][k] * channels;
      if (want) {
        T dot = 0;
        for (int c = 0; c < channels; ++c) dot += g[c] * from[at + c];
        b.dot[q][j][k] = dot;
      }
      const T share = b.share[q][j][k];
      if (!to) continue;
      const Peers peers = peers_of((i64)(to + at));
      for (int c = 0; c < channels; ++c) accumulate(to + at + c, share * g[c], peers);
    }
  }
}

// Gradients of the pixels' own inputs, from <g, texel>.
template <typename T, bool cube, int N>
DR_FN void sample_bwd(const TextureArgs<T>& a, i64 start, const Block<T, N>& b) {
  const T width = (T)a.width, height = (T)a.height;
  T gs[N], gt[N], g_level[N];
  for (int k = 0; k < N; ++k) gs[k] = gt[k] = g_level[k] = 0;
  for (int q = 0; q < 2; ++q) {
    if (q == b.levels) break;
    for (int k = 0; k < N; ++k) {
      const int l = b.low[k] + (q & b.two[k]);
      const T weight = q ? b.fraction[k] : 1 - b.fraction[k];
      T value = 0, dx = 0, dy = 0;
      for (int j = 0; j < 4; ++j) {
        const T dot = b.dot[q][j][k];
        value += b.w[q][j][k] * dot, dx += b.dx[q][j][k] * dot, dy += b.dy[q][j][k] * dot;
      }
      gs[k] += weight * dx * (T)level_size((int)a.width, l), gt[k] += weight * dy * (T)level_size((int)a.height, l);
      g_level[k] += b.two[k] ? (q ? value : -value) : T(0);
    }
  }
  if (a.grad_bias)
    for (int k = 0; k < N; ++k) a.grad_bias[start + k] = g_level[k];
  if (!cube) {
    if (a.grad_uv)
      for (int k = 0; k < N; ++k) a.grad_uv[2 * (start + k)] = gs[k], a.grad_uv[2 * (start + k) + 1] = gt[k];
    if (!a.grad_uv_da) return;
    for (int k = 0; k < N; ++k) {
      const Vec4<T> g = level_bwd(jacobian(a, start + k), g_level[k]);
      const bool live = b.two[k];
      store4(a.grad_uv_da, start + k,
             {live ? g.x * width : T(0), live ? g.y * width : T(0), live ? g.z * height : T(0),
              live ? g.w * height : T(0)});
    }
    return;
  }
  for (int k = 0; k < N; ++k) {
    const i64 i = start + k;
    Vec3<T> direction = {0, 0, 0}, dX = {0, 0, 0}, dY = {0, 0, 0};
    if (b.found[k]) {
      const Projection<T> p = projection_at(a, i, true);
      direction = project_bwd(p, gs[k], gt[k]);
      if (a.uv_da && b.two[k]) {
        const Vec4<T> g = level_bwd(jacobian_cube(a, i, p), g_level[k]);
        dX = project_step_bwd(p, load3(a.uv_da, 6 * i, 2), g.x * width, g.z * width, direction);
        dY = project_step_bwd(p, load3(a.uv_da, 6 * i + 1, 2), g.y * width, g.w * width, direction);
      }
    }
    if (a.grad_uv) {
      T* to = a.grad_uv + 3 * i;
      to[0] = direction.x, to[1] = direction.y, to[2] = direction.z;
    }
    if (a.grad_uv_da) {
      T* to = a.grad_uv_da + 6 * i;
      to[0] = dX.x, to[1] = dY.x, to[2] = dX.y, to[3] = dY.y, to[4] = dX.z, to[5] = dY.z;
    }
  }
}

template <typename T, bool cube, int N, int C>
DR_FN void linear_bwd(const TextureArgs<T>& a, i64 start) {
  const int channels = C ? C : (int)a.channels;
  // Most blocks of a picture with a background bring no gradient.
  int any = 0;
  for (int c = 0; c < N * channels; ++c) any |= a.grad_out[start * channels + c] != 0;
  if (!any) return no_gradient<T, N>(a, start, cube ? 3 : 2);
  Block<T, N> b;
  locate<T, cube, N>(a, start, b);
  choose_levels<T, cube, N>(a, start, b);
  place_taps<T, cube, true, N>(a, b);
  fetch_ahead(a, start, b);
  const bool want = a.grad_uv || a.grad_uv_da || a.grad_bias;
  for (int k = 0; k < N; ++k) visit_bwd<T, N, C>(a, start + k, b, k, want);
  if (want) sample_bwd<T, cube, N>(a, start, b);
}

// The texel that holds the sample, counted from the start of the batch; -1 where there is none.
template <typename T, bool cube>
DR_FN i64 nearest_texel(const TextureArgs<T>& a, i64 i) {
  Block<T, 1> b;
  locate<T, cube, 1>(a, i, b);
  if (!b.found[0]) return -1;
  const i64 x = texel_index(b.s[0], (int)a.width), y = texel_index(b.t[0], (int)a.height);
  const i64 in_face = nearest_2d(x, y, a.width, a.height, a.boundary_mode());
  if (in_face < 0) return -1;
  const i64 image = a.batch > 1 ? i / a.pixels * a.faces : 0;
  return (image + (cube ? b.face[0] : 0)) * a.width * a.height + in_face;
}

// Handles the block that begins at pixel i, and moves i to its last pixel. Chunks (common.h) hold whole
// blocks.
#if defined(DR_CHANNELS)
#define DR_BLOCK(op, cube) op<T, cube, 1, DR_CHANNELS>(a, i)
#elif defined(__CUDACC__)
#define DR_BLOCK(op, cube) op<T, cube, 1, 0>(a, i)
#else
static_assert(kChunk % kBlock == 0, "blocks must not straddle chunks");
#define DR_BLOCK(op, cube)                                      \
  const bool fast = sizeof(T) == 4; /* float64 is for proofs */ \
  if (i + kBlock > a.count)                                     \
    return op<T, cube, 1, 0>(a, i);                             \
  else if (fast && a.channels == 3)                             \
    op<T, cube, kBlock, fast ? 3 : 0>(a, i);                    \
  else if (fast && a.channels == 4)                             \
    op<T, cube, kBlock, fast ? 4 : 0>(a, i);                    \
  else                                                          \
    op<T, cube, kBlock, 0>(a, i);                               \
  i += kBlock - 1
#endif

#define DR_TEXTURE(kind, cube)                                            \
  template <typename T>                                                   \
  DR_FN void texture_fwd_nearest_##kind(const TextureArgs<T>& a, i64 i) { \
    nearest_fwd(a, i, nearest_texel<T, cube>(a, i));                      \
  }                                                                       \
  template <typename T>                                                   \
  DR_FN void texture_bwd_nearest_##kind(const TextureArgs<T>& a, i64 i) { \
    nearest_bwd(a, i, nearest_texel<T, cube>(a, i), cube ? 3 : 2);        \
  }                                                                       \
  template <typename T>                                                   \
  DR_FN void texture_fwd_linear_##kind(const TextureArgs<T>& a, i64& i) { \
    DR_BLOCK(linear_fwd, cube);                                           \
  }                                                                       \
  template <typename T>                                                   \
  DR_FN void texture_bwd_linear_##kind(const TextureArgs<T>& a, i64& i) { \
    DR_BLOCK(linear_bwd, cube);                                           \
  }

DR_TEXTURE(2d, false)
DR_TEXTURE(cube, true)

DR_KERNEL(texture_fwd_nearest_2d, TextureArgs)
DR_SCATTER(texture_bwd_nearest_2d, TextureArgs)
DR_KERNEL(texture_fwd_linear_2d, TextureArgs)
DR_SCATTER(texture_bwd_linear_2d, TextureArgs)
DR_KERNEL(texture_fwd_nearest_cube, TextureArgs)
DR_SCATTER(texture_bwd_nearest_cube, TextureArgs)
DR_KERNEL(texture_fwd_linear_cube, TextureArgs)
DR_SCATTER(texture_bwd_linear_cube, TextureArgs)
