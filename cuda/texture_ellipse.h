// The ellipse of a pixel's footprint and the line of taps along its major axis (docs/MATH.md, section 4).
#pragma once
#include "common.h"
#include "texture_sample.h"

// J = (ds/dX, ds/dY, dt/dX, dt/dY) takes the unit circle to an ellipse. As complex numbers, with s + i t,
// J turns e^{i alpha} into z e^{i alpha} + y e^{-i alpha}: both terms point the same way along the major
// axis, against each other along the minor one, and the angle of the major axis is the mean of the two
// angles.
template <typename T>
struct Ellipse {
  T z, y;              // |z| and |y|
  T zr, zi, yr, yi;    // z / |z| and y / |y|, or zeros
  T along_s, along_t;  // direction of the major axis; any for a circle

  DR_FN T major() const { return z + y; }
  DR_FN T minor() const { return z > y ? z - y : y - z; }
};

template <typename T>
DR_FN Ellipse<T> ellipse_of(Vec4<T> J) {
  const T zr = (J.x + J.w) / 2, zi = (J.z - J.y) / 2, yr = (J.x - J.w) / 2, yi = (J.z + J.y) / 2;
  Ellipse<T> e;
  e.z = dr_sqrt(zr * zr + zi * zi), e.y = dr_sqrt(yr * yr + yi * yi);
  e.zr = e.z > 0 ? zr / e.z : T(0), e.zi = e.z > 0 ? zi / e.z : T(0);
  e.yr = e.y > 0 ? yr / e.y : T(0), e.yi = e.y > 0 ? yi / e.y : T(0);
  // Cosine and sine of twice the angle, and from the larger of the two half angles the other.
  const T c = e.zr * e.yr - e.zi * e.yi, s = e.zr * e.yi + e.zi * e.yr;
  const T larger = dr_sqrt((1 + (c < 0 ? -c : c)) / 2), smaller = s / (2 * larger);
  e.along_s = c < 0 ? smaller : larger, e.along_t = c < 0 ? larger : smaller;
  return e;
}

// Adjoint of `ellipse_of` for the lengths of the axes and the angle of the major one.
template <typename T>
DR_FN Vec4<T> ellipse_bwd(const Ellipse<T>& e, T grad_major, T grad_minor, T grad_angle) {
  const T sign = e.z > e.y ? T(1) : T(-1);
  const T gz = grad_major + sign * grad_minor, gy = grad_major - sign * grad_minor;
  const T tz = e.z > 0 ? grad_angle / (2 * e.z) : T(0), ty = e.y > 0 ? grad_angle / (2 * e.y) : T(0);
  const T zr = gz * e.zr - tz * e.zi, zi = gz * e.zi + tz * e.zr;
  const T yr = gy * e.yr - ty * e.yi, yi = gy * e.yi + ty * e.yr;
  return {(zr + yr) / 2, (yi - zi) / 2, (yi + zi) / 2, (zr - yr) / 2};
}

// Taps -reach .. reach, `step` apart, that share the length of the ellipse: all count once but the two last,
// which count `end`; the sum of the counts is `count`. So taps come and go with no weight, and nothing jumps.
template <typename T>
struct Line {
  T width;           // of a tap, in texels of level 0: it gives the level
  T step;            // `width`, but not below one texel, which a bilinear tap covers anyway
  T step_s, step_t;  // the step as a vector
  T count, end;
  int reach;

  DR_FN bool last(int k) const { return reach > 0 && (k == reach || k == -reach); }
  DR_FN T weight(int k) const { return (last(k) ? end : T(1)) / count; }
  // Derivative of `weight` by `count`; `end` changes half as fast.
  DR_FN T weight_slope(int k) const { return ((last(k) ? T(0.5) : T(0)) - weight(k)) / count; }
};

template <typename T>
DR_FN Line<T> line_of(const Ellipse<T>& e, T max_anisotropy) {
  Line<T> r;
  r.width = dr_max(e.minor(), e.major() / max_anisotropy);
  r.step = dr_max(r.width, T(1));
  r.step_s = r.step * e.along_s, r.step_t = r.step * e.along_t;
  // The limits are for rounding, and for axes that are not finite.
  r.count = dr_finite(e.major()) ? dr_clamp(e.major() / r.step, T(1), max_anisotropy) : T(1);
  const T half = (r.count - 1) / 2;
  r.reach = -(int)dr_floor(-half);
  r.end = half - (T)(r.reach - 1);
  return r;
}

// Adjoint of `line_of` and `ellipse_of`: from gradients of log2(width), of the step as a vector and of the
// count to that of J.
template <typename T>
DR_FN Vec4<T> line_bwd(const Ellipse<T>& e, const Line<T>& r, T max_anisotropy, T grad_level, T grad_step_s,
                       T grad_step_t, T grad_count) {
  const bool several = r.count > 1;
  T grad_major = several ? grad_count / r.step : T(0);
  const T grad_step = grad_step_s * e.along_s + grad_step_t * e.along_t - grad_major * r.count;
  const T grad_angle = grad_step_t * r.step_s - grad_step_s * r.step_t;
  const T grad_width = grad_level * T(1.44269504088896340736) / r.width +  // 1 / ln 2
                       (several && r.width > 1 ? grad_step : T(0));
  const bool limited = e.major() / max_anisotropy > e.minor();
  if (limited) grad_major += grad_width / max_anisotropy;
  return ellipse_bwd(e, grad_major, limited ? T(0) : grad_width, several ? grad_angle : T(0));
}
