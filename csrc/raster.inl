// Front-to-back compositing of one tile and its gradient, row by row, kWidth pixels at a time.

// 2^p for p in [-126, 128): degree-5 minimax polynomial on [-1/2, 1/2], relative error 8e-8.
// Needs exact float semantics: the sum with 1.5 * 2^23 rounds p to an integer in its low bits.
static inline V exp2(V p) {
  const V magic = set1(12582912.0f);
  const V t = p + magic;
  const V f = p - (t - magic);
  V e = fma(f, set1(1.3276472454890609e-3f), set1(9.675541892647743e-3f));
  e = fma(f, e, set1(5.550713092088699e-2f));
  e = fma(f, e, set1(2.4022120237350464e-1f));
  e = fma(f, e, set1(6.931469440460205e-1f));
  e = fma(f, e, set1(1.0000001192092896f));
  return scale_by_low_bits(e, t);
}

static constexpr float kLog2AlphaMin = -7.99435343685886f;  // log2(1 / 255)

// opacity * exp(-sigma), 0 where gsplat skips the pixel (sigma < 0 or alpha < 1/255). What exp2
// returns outside its range is never looked at: p is too low there.
static inline V alpha_at(V dx, V A, V slope, V base, V log2_opacity) {
  const V p = fma(fma(A, dx, slope), dx, base);
  return keep(exp2(p), (p >= set1(kLog2AlphaMin)) & (p <= log2_opacity));
}

// The rows of a tile that a splat may touch: pixel columns [begin, end) and the quadratic's
// row constants.
struct Rows {
  int first, last;
  int32_t begin[kMaxTile + kRowPad], end[kMaxTile + kRowPad];
  float base[kMaxTile + kRowPad], slope[kMaxTile + kRowPad];
};

static inline void find_rows(const Splat& s, int tile_x, int tile_y, int cols, int rows, Rows& out) {
  out.first = s.y0 > tile_y ? s.y0 - tile_y : 0;
  out.last = s.y1 < tile_y + rows ? s.y1 - tile_y : rows;
  const V slack = set1(0.02f), limit = set1(float(cols)), B = set1(s.B), C = set1(s.C);
  const V base = set1(s.log2_opacity);
  const V center = set1(s.mx - 0.5f - float(tile_x));
  V dy = set1(float(tile_y + out.first) + 0.5f - s.my) + iota();
  for (int y = out.first; y < out.last; y += kWidth) {
    const V dy2 = dy * dy;
    const V half = sqrt(max(fnma(set1(s.H1), dy2, set1(s.H0)), zero())) + slack;
    const V c = fma(set1(s.S), dy, center);
    store_int(out.begin + y, max(ceil(c - half), zero()));
    store_int(out.end + y, min(floor(c + half) + set1(1), limit));
    store(out.base + y, fma(C, dy2, base));
    store(out.slope + y, B * dy);
    dy = dy + set1(float(kWidth));
  }
}

static void raster_forward(TileForward& t) {
  constexpr int kRow = 4 * kPlane;  // T, r, g, b
  float* const work = t.work;
  for (int y = 0; y < t.rows; ++y) {
    float* row = work + y * kRow;
    for (int x = 0; x < t.cols; ++x) row[x] = 1.0f;
    // Below zero means finished: so are the columns outside the image or the tile.
    for (int x = t.cols; x < kPlane; ++x) row[x] = -1.0f;
    std::memset(row + kPlane, 0, 3 * kPlane * sizeof(float));
  }
  if (t.stop)
    for (int k = 0; k < t.rows * kMaxTile; ++k) t.stop[k] = INT32_MAX;
  int alive = t.cols * t.rows;
  t.any_stopped = 0;
  Rows rows;
  for (int k = 0; k < t.count && alive > 0; ++k) {
    if (k + 2 < t.count) __builtin_prefetch(t.splats + t.list[k + 2]);
    const Splat& s = t.splats[t.list[k]];
    find_rows(s, t.x, t.y, t.cols, t.rows, rows);
    const V A = set1(s.A), r = set1(s.r), g = set1(s.g), b = set1(s.b);
    const V log2_opacity = set1(s.log2_opacity), offset = iota() + set1(float(t.x) + 0.5f - s.mx);
    for (int y = rows.first; y < rows.last; ++y) {
      const V base = set1(rows.base[y]), slope = set1(rows.slope[y]);
      float* row = work + y * kRow;
      for (int x = rows.begin[y]; x < rows.end[y]; x += kWidth) {
        float* px = row + x;
        const V T = load(px);
        const V alpha = min(alpha_at(set1(float(x)) + offset, A, slope, base, log2_opacity),
                            set1(kAlphaMax));
        const M go_on = fnma(alpha, T, T) > set1(kTransmittanceMin);
        const V w = keep(alpha * T, go_on);
        store(px + kPlane, fma(w, r, load(px + kPlane)));
        store(px + 2 * kPlane, fma(w, g, load(px + 2 * kPlane)));
        store(px + 3 * kPlane, fma(w, b, load(px + 3 * kPlane)));
        const V next = T - w;
        store(px, next);
        int ended = ~bits(go_on) & bits(T > zero());
        while (ended) {  // rare: once a pixel
          const int lane = __builtin_ctz(ended);
          ended &= ended - 1;
          px[lane] = -px[lane];
          if (t.stop) t.stop[y * kMaxTile + x + lane] = k;
          --alive;
          t.any_stopped = 1;
        }
      }
    }
  }
  const float bg[3] = {t.background ? t.background[0] : 0, t.background ? t.background[1] : 0,
                       t.background ? t.background[2] : 0};
  for (int y = 0; y < t.rows; ++y) {
    const float* row = work + y * kRow;
    const int64_t pixel = int64_t(t.y + y) * t.width + t.x;
    float *rgb = t.rgb + 3 * pixel, *alpha = t.alpha + pixel;
    for (int x = 0; x < t.cols; ++x) {
      const float T = std::fabs(row[x]);
      alpha[x] = 1.0f - T;
      rgb[3 * x] = row[x + kPlane] + T * bg[0];
      rgb[3 * x + 1] = row[x + 2 * kPlane] + T * bg[1];
      rgb[3 * x + 2] = row[x + 3 * kPlane] + T * bg[2];
      if (t.final_t) t.final_t[y * kMaxTile + x] = T;
    }
  }
}

static void load_backward_tile(const TileBackward& t, int row_floats) {
  const float bg[3] = {t.background ? t.background[0] : 0, t.background ? t.background[1] : 0,
                       t.background ? t.background[2] : 0};
  float sums[3] = {0, 0, 0};
  for (int y = 0; y < t.rows; ++y) {
    float* row = t.work + y * row_floats;
    const int64_t pixel = int64_t(t.y + y) * t.width + t.x;
    const float* v = t.v_rgb + 3 * pixel;
    for (int x = 0; x < t.cols; ++x) {
      const float T = t.final_t[y * kMaxTile + x];
      const float vr = v[3 * x], vg = v[3 * x + 1], vb = v[3 * x + 2];
      row[x] = T;
      // What lies behind all Gaussians: the background, and the loss of alpha = 1 - T.
      const float va = t.v_alpha ? t.v_alpha[pixel + x] : 0.0f;
      row[x + kPlane] = T * (vr * bg[0] + vg * bg[1] + vb * bg[2] - va);
      row[x + 2 * kPlane] = vr;
      row[x + 3 * kPlane] = vg;
      row[x + 4 * kPlane] = vb;
      sums[0] += T * vr;
      sums[1] += T * vg;
      sums[2] += T * vb;
    }
    for (int p = 0; p < 5; ++p)  // T = 0: columns outside change nothing
      for (int x = t.cols; x < kPlane; ++x) row[x + p * kPlane] = 0.0f;
    if (t.any_stopped) {
      int32_t* stop = reinterpret_cast<int32_t*>(row + 5 * kPlane);
      std::memcpy(stop, t.stop + y * kMaxTile, t.cols * sizeof(int32_t));
    }
  }
  if (t.v_background)
    for (int c = 0; c < 3; ++c) t.v_background[c] = sums[c];
}

template <bool kStops>
static inline void raster_backward_tile(TileBackward& t) {
  constexpr int kRow = 6 * kPlane;  // T, light from behind (dot v), v_r, v_g, v_b, stop
  load_backward_tile(t, kRow);
  Rows rows;
  for (int k = t.count - 1; k >= 0; --k) {
    if (k > 1) __builtin_prefetch(t.splats + t.list[k - 2]);
    const Splat& s = t.splats[t.list[k]];
    find_rows(s, t.x, t.y, t.cols, t.rows, rows);
    const V A = set1(s.A), r = set1(s.r), g = set1(s.g), b = set1(s.b);
    const V log2_opacity = set1(s.log2_opacity), offset = iota() + set1(float(t.x) + 0.5f - s.mx);
    V m0 = zero(), m1x = zero(), m1y = zero(), mxx = zero(), mxy = zero(), myy = zero();
    V v_r = zero(), v_g = zero(), v_b = zero();
    float dy = float(t.y + rows.first) + 0.5f - s.my;
    for (int y = rows.first; y < rows.last; ++y, dy += 1.0f) {
      const V base = set1(rows.base[y]), slope = set1(rows.slope[y]), vdy = set1(dy);
      float* row = t.work + y * kRow;
      for (int x = rows.begin[y]; x < rows.end[y]; x += kWidth) {
        float* px = row + x;
        const V dx = set1(float(x)) + offset;
        V raw = alpha_at(dx, A, slope, base, log2_opacity);
        if (kStops) raw = keep(raw, before_stop(px + 5 * kPlane, k));
        const V alpha = min(raw, set1(kAlphaMax));  // 0: this lane changes nothing
        const V ra = set1(1) / (set1(1) - alpha);
        const V T = load(px) * ra, behind = load(px + kPlane);
        const V gr = load(px + 2 * kPlane), gg = load(px + 3 * kPlane), gb = load(px + 4 * kPlane);
        const V w = alpha * T;
        store(px, T);
        v_r = fma(w, gr, v_r);
        v_g = fma(w, gg, v_g);
        v_b = fma(w, gb, v_b);
        const V d = fma(r, gr, fma(g, gg, b * gb));
        store(px + kPlane, fma(w, d, behind));
        const V v_alpha = fma(T, d, zero() - behind * ra);
        // Where alpha was clamped it has no gradient, the colour does.
        const V e = keep(alpha * v_alpha, raw <= set1(kAlphaMax));
        const V ex = e * dx, ey = e * vdy;
        m0 = m0 + e;
        m1x = m1x + ex;
        m1y = m1y + ey;
        mxx = fma(ex, dx, mxx);
        mxy = fma(ex, vdy, mxy);
        myy = fma(ey, vdy, myy);
      }
    }
    float* slot = t.slots + int64_t(k) * kSlot;
    sum4(slot, m0, m1x, m1y, mxx);
    sum4(slot + 4, mxy, myy, v_r, v_g);
    sum4(slot + 8, v_b, zero(), zero(), zero());
  }
}

static void raster_backward(TileBackward& t) {
  if (t.any_stopped)
    raster_backward_tile<true>(t);
  else
    raster_backward_tile<false>(t);
}
