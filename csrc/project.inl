// 3D Gaussians to screen ellipses and the way back: gsplat's EWA projection, kWidth at a time.

struct V3 { V x, y, z; };

// Lanes i of rows [begin, begin + n) of a row-major [N, K] array, as K vectors.
template <int K>
static inline void gather(const float* rows, int64_t begin, int n, V out[K]) {
  float lanes[K][kWidth] = {};
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < K; ++k) lanes[k][i] = rows[(begin + i) * K + k];
  for (int k = 0; k < K; ++k) out[k] = load(lanes[k]);
}

template <int K>
static inline void scatter(float* rows, int64_t begin, int n, const V in[K], bool add) {
  if (!rows) return;
  float lanes[K][kWidth];
  for (int k = 0; k < K; ++k) store(lanes[k], in[k]);
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < K; ++k) {
      float& out = rows[(begin + i) * K + k];
      out = add ? out + lanes[k][i] : lanes[k][i];
    }
}

// Everything between a Gaussian's parameters and its 2D covariance, kept for the way back.
struct Projection {
  V q[4], inv_norm;  // normalised quaternion
  V R[9], s[3];      // rotation and scales
  V c[3], rz;        // mean in the camera's frame, 1 / z
  V tx, ty;          // x, y clamped to the widened field of view
  M x_free, y_free;  // not clamped
  V J[4];            // fx/z, -fx tx/z2, fy/z, -fy ty/z2
  V U[6];            // J W
  V P[6];            // U R S, so that cov2d = P P^T
  V xx, xy, yy;      // cov2d, blurred
};

static inline void rotation(const V q[4], V R[9]) {
  const V two = set1(2), one = set1(1);
  const V w = q[0], x = q[1], y = q[2], z = q[3];
  R[0] = one - two * (y * y + z * z);
  R[1] = two * (x * y - w * z);
  R[2] = two * (x * z + w * y);
  R[3] = two * (x * y + w * z);
  R[4] = one - two * (x * x + z * z);
  R[5] = two * (y * z - w * x);
  R[6] = two * (x * z - w * y);
  R[7] = two * (y * z + w * x);
  R[8] = one - two * (x * x + y * y);
}

static inline void project_lanes(const Camera& cam, const V m[3], const V quat[4], const V s[3],
                                 Projection& p) {
  const V norm2 = quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3];
  p.inv_norm = set1(1) / sqrt(norm2);
  for (int k = 0; k < 4; ++k) p.q[k] = quat[k] * p.inv_norm;
  rotation(p.q, p.R);
  for (int k = 0; k < 3; ++k) p.s[k] = s[k];
  for (int i = 0; i < 3; ++i)
    p.c[i] = fma(set1(cam.W[3 * i]), m[0],
                 fma(set1(cam.W[3 * i + 1]), m[1], fma(set1(cam.W[3 * i + 2]), m[2], set1(cam.t[i]))));
  p.rz = set1(1) / p.c[2];
  const V ux = p.c[0] * p.rz, uy = p.c[1] * p.rz;
  p.x_free = (ux >= set1(cam.x_min)) & (ux <= set1(cam.x_max));
  p.y_free = (uy >= set1(cam.y_min)) & (uy <= set1(cam.y_max));
  p.tx = p.c[2] * min(set1(cam.x_max), max(set1(cam.x_min), ux));
  p.ty = p.c[2] * min(set1(cam.y_max), max(set1(cam.y_min), uy));
  p.J[0] = set1(cam.fx) * p.rz;
  p.J[1] = zero() - p.J[0] * p.tx * p.rz;
  p.J[2] = set1(cam.fy) * p.rz;
  p.J[3] = zero() - p.J[2] * p.ty * p.rz;
  for (int k = 0; k < 3; ++k) {
    p.U[k] = fma(p.J[0], set1(cam.W[k]), p.J[1] * set1(cam.W[6 + k]));
    p.U[3 + k] = fma(p.J[2], set1(cam.W[3 + k]), p.J[3] * set1(cam.W[6 + k]));
  }
  for (int i = 0; i < 2; ++i)
    for (int k = 0; k < 3; ++k)
      p.P[3 * i + k] = s[k] * fma(p.U[3 * i], p.R[k],
                                  fma(p.U[3 * i + 1], p.R[3 + k], p.U[3 * i + 2] * p.R[6 + k]));
  p.xx = fma(p.P[0], p.P[0], fma(p.P[1], p.P[1], fma(p.P[2], p.P[2], set1(cam.eps2d))));
  p.xy = fma(p.P[0], p.P[3], fma(p.P[1], p.P[4], p.P[2] * p.P[5]));
  p.yy = fma(p.P[3], p.P[3], fma(p.P[4], p.P[4], fma(p.P[5], p.P[5], set1(cam.eps2d))));
}

struct ScreenLanes {
  float mx[kWidth], my[kWidth], z[kWidth], A[kWidth], B[kWidth], C[kWidth], H0[kWidth], H1[kWidth],
      S[kWidth], ex[kWidth], ey[kWidth], rx[kWidth], ry[kWidth], smax[kWidth];
};

static inline int pixel(float x, int limit) {  // clamp before the cast: x may be huge
  return x <= 0 ? 0 : (x >= float(limit) ? limit : int(x));
}

// Where the pixel centres within +-extent of the mean lie, with slack for rounding.
static inline void pixel_range(float mean, float extent, int limit, int16_t& begin, int16_t& end) {
  const float slack = 0.01f;
  begin = int16_t(pixel(std::ceil(mean - extent - 0.5f - slack), limit));
  end = int16_t(pixel(std::floor(mean + extent - 0.5f + slack) + 1.0f, limit));
  if (end < begin) end = begin;
}

static void write_invisible(const ScreenOut& out, int64_t i) {
  Splat& s = out.splats[i];
  s.x0 = s.x1 = s.y0 = s.y1 = 0;
  out.means2d[2 * i] = out.means2d[2 * i + 1] = out.depths[i] = 0;
  out.radii[2 * i] = out.radii[2 * i + 1] = 0;
}

static void write_splat(const Camera& cam, const ScreenLanes& l, int lane, float opacity,
                        const float* color, const ScreenOut& out, int64_t i) {
  Splat& s = out.splats[i];
  s.mx = l.mx[lane];
  s.my = l.my[lane];
  s.A = l.A[lane];
  s.B = l.B[lane];
  s.C = l.C[lane];
  s.H0 = l.H0[lane];
  s.H1 = l.H1[lane];
  s.S = l.S[lane];
  s.log2_opacity = std::log2(opacity);
  s.r = color[0];
  s.g = color[1];
  s.b = color[2];
  pixel_range(s.mx, l.ex[lane], cam.width, s.x0, s.x1);
  pixel_range(s.my, l.ey[lane], cam.height, s.y0, s.y1);
  if (s.x0 == s.x1 || s.y0 == s.y1) s.x0 = s.x1 = s.y0 = s.y1 = 0;
  out.means2d[2 * i] = s.mx;
  out.means2d[2 * i + 1] = s.my;
  out.depths[i] = l.z[lane];
  out.radii[2 * i] = int32_t(std::fmin(l.rx[lane], 1e9f));
  out.radii[2 * i + 1] = int32_t(std::fmin(l.ry[lane], 1e9f));
}

static void project(const Camera& cam, const Gaussians& in, const ScreenOut& out, int64_t begin,
                    int64_t end) {
  for (int64_t i = begin; i < end; i += kWidth) {
    const int n = int(end - i < kWidth ? end - i : kWidth);
    V m[3], q[4], s[3], o[1], color[3];
    gather<3>(in.means, i, n, m);
    gather<4>(in.quats, i, n, q);
    gather<3>(in.scales, i, n, s);
    gather<1>(in.opacities, i, n, o);
    gather<3>(in.colors, i, n, color);
    Projection p;
    project_lanes(cam, m, q, s, p);

    const V det = p.xx * p.yy - p.xy * p.xy, inv = set1(1) / det;
    const V a = p.yy * inv, b = zero() - p.xy * inv, c = p.xx * inv;
    const V mx = fma(set1(cam.fx), p.c[0] * p.rz, set1(cam.cx));
    const V my = fma(set1(cam.fy), p.c[1] * p.rz, set1(cam.cy));

    // Written so that a NaN anywhere means "not visible".
    M visible = (p.c[2] >= set1(cam.near_plane)) & (p.c[2] <= set1(cam.far_plane)) &
                (det > zero()) & (o[0] >= set1(kAlphaMin)) & finite(a) & finite(b) & finite(c) &
                finite(mx) & finite(my) & finite(o[0]) & finite(color[0]) & finite(color[1]) &
                finite(color[2]);
    const int candidates = bits(visible);

    ScreenLanes l;
    float opacity[kWidth];
    store(opacity, o[0]);
    for (int k = 0; k < kWidth; ++k) {  // extent min(3.33, sqrt(2 ln(255 o))), squared and halved
      const float e = candidates >> k & 1 ? std::log(opacity[k] / kAlphaMin) : 0.0f;
      l.smax[k] = e < 0.5f * 3.33f * 3.33f ? e : 0.5f * 3.33f * 3.33f;
    }
    const V smax = load(l.smax), extent = sqrt(smax + smax);
    const V ex = extent * sqrt(p.xx), ey = extent * sqrt(p.yy);
    const V rx = ceil(ex), ry = ceil(ey), clip = set1(cam.radius_clip);
    visible = visible & ((rx > clip) | (ry > clip)) & (mx + rx > zero()) & (my + ry > zero()) &
              (mx - rx < set1(float(cam.width))) & (my - ry < set1(float(cam.height)));

    const V inv_a = set1(1) / a;
    store(l.mx, mx);
    store(l.my, my);
    store(l.z, p.c[2]);
    store(l.A, set1(-0.5f * kLog2e) * a);
    store(l.B, set1(-kLog2e) * b);
    store(l.C, set1(-0.5f * kLog2e) * c);
    store(l.H0, (smax + smax) * inv_a);
    store(l.H1, inv * inv_a * inv_a);  // det(conic) / a^2
    store(l.S, zero() - b * inv_a);
    store(l.ex, ex);
    store(l.ey, ey);
    store(l.rx, rx);
    store(l.ry, ry);
    const int mask = bits(visible);
    for (int k = 0; k < n; ++k) {
      if (mask >> k & 1)
        write_splat(cam, l, k, opacity[k], in.colors + 3 * (i + k), out, i + k);
      else
        write_invisible(out, i + k);
    }
  }
}

// The gradient slots of one Gaussian, summed over its tiles in a fixed order.
static inline bool sum_slots(const ProjectBackward& b, int64_t i, float out[9]) {
  const int32_t first = b.slot_start[i], last = b.slot_start[i + 1];
  for (int k = 0; k < 9; ++k) out[k] = 0;
  for (int32_t j = first; j < last; ++j) {
    const float* slot = b.slots + int64_t(b.slot_of[j]) * kSlot;
    for (int k = 0; k < 9; ++k) out[k] += slot[k];
  }
  return last > first;
}

static inline void quaternion_vjp(const Projection& p, const V v_R[9], V v_quat[4]) {
  const V two = set1(2), w = p.q[0], x = p.q[1], y = p.q[2], z = p.q[3];
  V n[4];  // with respect to the normalised quaternion
  n[0] = two * (x * (v_R[7] - v_R[5]) + y * (v_R[2] - v_R[6]) + z * (v_R[3] - v_R[1]));
  n[1] = two * (y * (v_R[3] + v_R[1]) + z * (v_R[6] + v_R[2]) + w * (v_R[7] - v_R[5]) -
                two * x * (v_R[4] + v_R[8]));
  n[2] = two * (x * (v_R[3] + v_R[1]) + z * (v_R[7] + v_R[5]) + w * (v_R[2] - v_R[6]) -
                two * y * (v_R[0] + v_R[8]));
  n[3] = two * (x * (v_R[6] + v_R[2]) + y * (v_R[7] + v_R[5]) + w * (v_R[3] - v_R[1]) -
                two * z * (v_R[0] + v_R[4]));
  const V dot = n[0] * w + n[1] * x + n[2] * y + n[3] * z;
  for (int k = 0; k < 4; ++k) v_quat[k] = (n[k] - dot * p.q[k]) * p.inv_norm;
}

static void project_backward(const ProjectBackward& b, int64_t begin, int64_t end) {
  const Camera& cam = b.camera;
  V v_W[9], v_t[3];
  for (V& v : v_W) v = zero();
  for (V& v : v_t) v = zero();
  for (int64_t i = begin; i < end; i += kWidth) {
    const int n = int(end - i < kWidth ? end - i : kWidth);
    float lanes[9][kWidth] = {}, seen[kWidth] = {};
    bool any = false;
    for (int k = 0; k < n; ++k) {
      float g[9];
      const bool hit = sum_slots(b, i + k, g);
      for (int j = 0; j < 9; ++j) lanes[j][k] = g[j];
      seen[k] = hit ? 1.0f : 0.0f;
      any |= hit;
    }
    const V none[4] = {zero(), zero(), zero(), zero()};
    if (!any) {
      scatter<3>(b.accumulate[0] ? nullptr : b.v_means, i, n, none, false);
      scatter<4>(b.accumulate[1] ? nullptr : b.v_quats, i, n, none, false);
      scatter<3>(b.accumulate[2] ? nullptr : b.v_scales, i, n, none, false);
      scatter<1>(b.accumulate[3] ? nullptr : b.v_opacities, i, n, none, false);
      scatter<3>(b.accumulate[4] ? nullptr : b.v_colors, i, n, none, false);
      scatter<2>(b.v_means2d, i, n, none, false);
      continue;
    }
    const M visible = load(seen) > zero();
    V m[3], q[4], s[3], o[1];
    gather<3>(b.in.means, i, n, m);
    gather<4>(b.in.quats, i, n, q);
    gather<3>(b.in.scales, i, n, s);
    gather<1>(b.in.opacities, i, n, o);
    Projection p;
    project_lanes(cam, m, q, s, p);

    // Moments of dL/dalpha alpha = -dL/dsigma over the pixels, to the ellipse's parameters.
    const V m0 = load(lanes[0]), m1x = load(lanes[1]), m1y = load(lanes[2]);
    const V mxx = load(lanes[3]), mxy = load(lanes[4]), myy = load(lanes[5]);
    const V det = p.xx * p.yy - p.xy * p.xy, inv = set1(1) / det;
    const V ca = p.yy * inv, cb = zero() - p.xy * inv, cc = p.xx * inv;
    V v_m2[2] = {ca * m1x + cb * m1y, cb * m1x + cc * m1y};
    const V half = set1(-0.5f);
    // v_conic as a symmetric matrix (a, b/2; b/2, c), then v_cov = -conic v_conic conic.
    const V va = half * mxx, vb = half * mxy, vc = half * myy;
    const V t00 = ca * va + cb * vb, t01 = ca * vb + cb * vc;
    const V t10 = cb * va + cc * vb, t11 = cb * vb + cc * vc;
    const V g00 = zero() - (t00 * ca + t01 * cb);
    const V g01 = zero() - (t00 * cb + t01 * cc);
    const V g11 = zero() - (t10 * cb + t11 * cc);

    V v_P[6], Mx[9], v_M[9], v_U[6];
    for (int k = 0; k < 3; ++k) {
      v_P[k] = set1(2) * (g00 * p.P[k] + g01 * p.P[3 + k]);
      v_P[3 + k] = set1(2) * (g01 * p.P[k] + g11 * p.P[3 + k]);
    }
    for (int j = 0; j < 3; ++j)
      for (int k = 0; k < 3; ++k) {
        Mx[3 * j + k] = p.R[3 * j + k] * s[k];
        v_M[3 * j + k] = p.U[j] * v_P[k] + p.U[3 + j] * v_P[3 + k];
      }
    for (int r = 0; r < 2; ++r)
      for (int j = 0; j < 3; ++j)
        v_U[3 * r + j] = v_P[3 * r] * Mx[3 * j] + v_P[3 * r + 1] * Mx[3 * j + 1] +
                         v_P[3 * r + 2] * Mx[3 * j + 2];

    V v_R[9], v_s[3], v_quat[4];
    for (int k = 0; k < 3; ++k) {
      v_s[k] = p.R[k] * v_M[k] + p.R[3 + k] * v_M[3 + k] + p.R[6 + k] * v_M[6 + k];
      for (int j = 0; j < 3; ++j) v_R[3 * j + k] = v_M[3 * j + k] * s[k];
    }
    quaternion_vjp(p, v_R, v_quat);

    // Through the Jacobian and the projected mean to the mean in the camera's frame.
    const float* W = cam.W;
    V vJ[4] = {zero(), zero(), zero(), zero()};
    for (int k = 0; k < 3; ++k) {
      vJ[0] = fma(v_U[k], set1(W[k]), vJ[0]);
      vJ[1] = fma(v_U[k], set1(W[6 + k]), vJ[1]);
      vJ[2] = fma(v_U[3 + k], set1(W[3 + k]), vJ[2]);
      vJ[3] = fma(v_U[3 + k], set1(W[6 + k]), vJ[3]);
    }
    const V rz = p.rz, two = set1(2);
    const V fx_z = p.J[0], fy_z = p.J[2];
    const V jx = fx_z * rz * vJ[1], jy = fy_z * rz * vJ[3];  // fx / z^2 times dL/dJ02
    V v_c[3];
    v_c[0] = fx_z * v_m2[0] - select(p.x_free, jx, zero());
    v_c[1] = fy_z * v_m2[1] - select(p.y_free, jy, zero());
    v_c[2] = zero() - (fx_z * p.c[0] * v_m2[0] + fy_z * p.c[1] * v_m2[1]) * rz -
             (fx_z * vJ[0] + fy_z * vJ[2]) * rz +
             jx * p.tx * rz * select(p.x_free, two, set1(1)) +
             jy * p.ty * rz * select(p.y_free, two, set1(1));

    V v_m[3], v_o[1], v_color[3];
    for (int k = 0; k < 3; ++k) {
      v_m[k] = keep(set1(W[k]) * v_c[0] + set1(W[3 + k]) * v_c[1] + set1(W[6 + k]) * v_c[2], visible);
      v_s[k] = keep(v_s[k], visible);
      v_color[k] = load(lanes[6 + k]);
    }
    for (int k = 0; k < 4; ++k) v_quat[k] = keep(v_quat[k], visible);
    v_o[0] = keep(m0 / o[0], visible);
    v_m2[0] = keep(v_m2[0], visible);
    v_m2[1] = keep(v_m2[1], visible);
    scatter<3>(b.v_means, i, n, v_m, b.accumulate[0]);
    scatter<4>(b.v_quats, i, n, v_quat, b.accumulate[1]);
    scatter<3>(b.v_scales, i, n, v_s, b.accumulate[2]);
    scatter<1>(b.v_opacities, i, n, v_o, b.accumulate[3]);
    scatter<3>(b.v_colors, i, n, v_color, b.accumulate[4]);
    scatter<2>(b.v_means2d, i, n, v_m2, false);
    if (b.v_viewmat) {
      for (int k = 0; k < 3; ++k) {
        v_t[k] = v_t[k] + keep(v_c[k], visible);
        for (int j = 0; j < 3; ++j)
          v_W[3 * k + j] = v_W[3 * k + j] + keep(v_c[k] * m[j], visible);
        v_W[k] = v_W[k] + keep(p.J[0] * v_U[k], visible);
        v_W[3 + k] = v_W[3 + k] + keep(p.J[2] * v_U[3 + k], visible);
        v_W[6 + k] = v_W[6 + k] + keep(p.J[1] * v_U[k] + p.J[3] * v_U[3 + k], visible);
      }
    }
  }
  if (b.v_viewmat) {
    for (int k = 0; k < 9; ++k) b.v_viewmat[k] = sum(v_W[k]);
    for (int k = 0; k < 3; ++k) b.v_viewmat[9 + k] = sum(v_t[k]);
  }
}
