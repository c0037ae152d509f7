// Front-to-back compositing of one tile and its gradient, row by row, kWidth pixels at a time.

// 2^p for p in [-126, 128): degree-5 minimax polynomial on [-1/2, 1/2], relative error 8e-8.
// Needs exact float semantics: the sum with 1.5 * 2^23 rounds p to an integer in its low bits.
static inline V exp2(V p) {
  const V magic = set1(12582912.0f);
  const V t = p + magic;
  const V f = p - (t - magic);
  const V f2 = f * f;  // Estrin's order: the latency of this chain is what the rasteriser waits for
  const V low = fma(f, set1(6.931469440460205e-1f), set1(1.0000001192092896f));
  const V mid = fma(f, set1(5.550713092088699e-2f), set1(2.4022120237350464e-1f));
  const V high = fma(f, set1(1.3276472454890609e-3f), set1(9.675541892647743e-3f));
  const V e = fma(f2, fma(f2, high, mid), low);
  return scale_by_low_bits(e, t);
}

static constexpr float kLog2AlphaMin = -7.99435343685886f;  // log2(1 / 255)

// opacity * exp(-sigma), 0 where gsplat skips the pixel (sigma < 0 or alpha < 1/255). What exp2
// returns outside its range is never looked at: p is too low there.
static inline V alpha_at(V dx, V A, V slope, V base, V log2_opacity) {
  const V p = fma(fma(A, dx, slope), dx, base);
  return keep(exp2(p), (p >= set1(kLog2AlphaMin)) & (p <= log2_opacity));
}

// The lowest n bits, n in 0 .. 64.
static inline uint64_t ones(int n) { return n > 0 ? ~uint64_t(0) >> (64 - n) : 0; }

// The vectors of a tile's pixels that a splat may touch, row after row, in one list: rows are one
// to three vectors long, and a nested loop of such lengths is mispredicted at every other row.
struct Spans {
  static constexpr int kMost = kMaxTile * (kMaxTile / kWidth) + 2;
  int count;
  int32_t offset[kMost];                              // of the vector's first pixel in the work area
  int32_t y[kMost];                                   // its row
  float x[kMost];                                     // its column, from the splat's mean
  float dy[kMaxTile + kRowPad];                       // by row: distance from the mean,
  float base[kMaxTile + kRowPad], slope[kMaxTile + kRowPad];  // and the quadratic's constants
};

// Given the unfinished pixels of each row, spans begin and end at one of them.
template <int kRow>
static inline void find_spans(const Splat& s, int tile_x, int tile_y, int cols, int rows,
                              Spans& out, const uint64_t* unfinished = nullptr) {
  const int first = s.y0 > tile_y ? s.y0 - tile_y : 0;
  const int last = s.y1 < tile_y + rows ? s.y1 - tile_y : rows;
  int32_t begin[kMaxTile + kRowPad], end[kMaxTile + kRowPad], vectors[kMaxTile + kRowPad];
  float from[kMaxTile + kRowPad];
  const V slack = set1(0.02f), limit = set1(float(cols)), B = set1(s.B), C = set1(s.C);
  const V base = set1(s.log2_opacity), per_vector = set1(1.0f / kWidth);
  const float to_mean = s.mx - 0.5f - float(tile_x);
  const V center = set1(to_mean);
  V dy = set1(float(tile_y + first) + 0.5f - s.my) + iota();
  for (int y = first; y < last; y += kWidth) {
    const V dy2 = dy * dy;
    const V half = sqrt(max(fnma(set1(s.H1), dy2, set1(s.H0)), zero())) + slack;
    const V c = fma(set1(s.S), dy, center);
    const V b = max(ceil(c - half), zero()), e = min(floor(c + half) + set1(1), limit);
    store_int(begin + y, b);
    store_int(end + y, max(e, b));
    store_int(vectors + y, ceil(max(e - b, zero()) * per_vector));
    store(from + y, b - center);
    store(out.dy + y, dy);
    store(out.base + y, fma(C, dy2, base));
    store(out.slope + y, B * dy);
    dy = dy + set1(float(kWidth));
  }
  int count = 0;
  for (int y = first; y < last; ++y) {
    int left = begin[y], n = vectors[y];
    float x = from[y];
    if (unfinished) {
      const uint64_t open = unfinished[y] & ones(end[y]) & ~ones(left);
      left = open ? __builtin_ctzll(open) : 0;
      n = open ? (63 - __builtin_clzll(open) - left + kWidth) / kWidth : 0;
      x = float(left) - to_mean;
    }
    int offset = y * kRow + left;
    while (__builtin_expect(n > 2, 0)) {
      out.offset[count] = offset;
      out.x[count] = x;
      out.y[count++] = y;
      offset += kWidth;
      x += float(kWidth);
      --n;
      __asm__ volatile("");  // short loop: vectorising it costs more than it saves
    }
    out.offset[count] = offset;  // two entries without a branch; what is not needed is overwritten
    out.offset[count + 1] = offset + kWidth;
    out.x[count] = x;
    out.x[count + 1] = x + float(kWidth);
    out.y[count] = y;
    out.y[count + 1] = y;
    count += n;
  }
  out.count = count;
}

static constexpr int kForwardRow = 4 * kPlane;   // T, r, g, b
static constexpr int kBackwardRow = 6 * kPlane;  // T, light behind (dot v), v_r, v_g, v_b, stop

static inline V background_of(const float* background, int channel) {
  return set1(background ? background[channel] : 0.0f);
}

// The finished rows of a tile into the image. A row's last vector may be partial.
static void write_tile(const TileForward& t) {
  const V bg[3] = {background_of(t.background, 0), background_of(t.background, 1),
                   background_of(t.background, 2)};
  for (int y = 0; y < t.rows; ++y) {
    const float* row = t.work + y * kForwardRow;
    const int64_t pixel = int64_t(t.y + y) * t.width + t.x;
    float *rgb = t.rgb + 3 * pixel, *alpha = t.alpha + pixel;
    float* final_t = t.final_t ? t.final_t + y * kMaxTile : nullptr;
    for (int x = 0; x < t.cols; x += kWidth) {
      const V T = abs(load(row + x)), a = set1(1) - T;
      const V r = fma(T, bg[0], load(row + x + kPlane));
      const V g = fma(T, bg[1], load(row + x + 2 * kPlane));
      const V b = fma(T, bg[2], load(row + x + 3 * kPlane));
      const int left = t.cols - x;
      if (left >= kWidth) {
        store(alpha + x, a);
        store_rgb(rgb + 3 * x, r, g, b);
        if (final_t) store(final_t + x, T);
      } else {
        float tail[3 * kWidth];
        store(tail, a);
        std::memcpy(alpha + x, tail, left * sizeof(float));
        store_rgb(tail, r, g, b);
        std::memcpy(rgb + 3 * x, tail, 3 * left * sizeof(float));
        store(tail, T);
        if (final_t) std::memcpy(final_t + x, tail, left * sizeof(float));
      }
    }
  }
}

// Marks the lanes of one vector whose bits are set as finished.
static inline void end_pixels(const TileForward& t, int offset, int y, int ended, int k,
                              uint64_t* unfinished) {
  const int x = offset - y * kForwardRow;
  unfinished[y] &= ~(uint64_t(ended) << x);
  store(t.work + offset, negated(load(t.work + offset), ended));
  if (!t.stop) return;
  for (int lane = 0; lane < kWidth; ++lane)
    if (ended >> lane & 1) t.stop[y * kMaxTile + x + lane] = k;
}

static void raster_forward(TileForward& t) {
  constexpr int kRow = kForwardRow;
  float* const work = t.work;
  for (int y = 0; y < t.rows; ++y) {
    float* row = work + y * kRow;
    for (int x = 0; x < t.cols; ++x) row[x] = 1.0f;
    // Below zero means finished: so are the columns outside the image or the tile.
    for (int x = t.cols; x < kPlane; ++x) row[x] = -1.0f;
    std::memset(row + kPlane, 0, 3 * kPlane * sizeof(float));
  }
  if (t.stop && t.count)
    for (int k = 0; k < t.rows * kMaxTile; ++k) t.stop[k] = INT32_MAX;
  int alive = t.cols * t.rows;
  t.any_stopped = 0;
  uint64_t unfinished[kMaxTile];
  for (uint64_t& row : unfinished) row = ones(t.cols);
  Spans spans;
  for (int k = 0; k < t.count && alive > 0; ++k) {
    if (k + 2 < t.count) __builtin_prefetch(t.splats + t.list[k + 2]);
    const Splat& s = t.splats[t.list[k]];
    if (t.any_stopped)
      find_spans<kRow>(s, t.x, t.y, t.cols, t.rows, spans, unfinished);
    else
      find_spans<kRow>(s, t.x, t.y, t.cols, t.rows, spans);
    const V A = set1(s.A), r = set1(s.r), g = set1(s.g), b = set1(s.b);
    const V log2_opacity = set1(s.log2_opacity);
    for (int i = 0; i < spans.count; ++i) {
      const int y = spans.y[i];
      float* px = work + spans.offset[i];
      const V T = load(px), dx = set1(spans.x[i]) + iota();
      const V alpha = min(alpha_at(dx, A, set1(spans.slope[y]), set1(spans.base[y]), log2_opacity),
                          set1(kAlphaMax));
      const M go_on = fnma(alpha, T, T) > set1(kTransmittanceMin);
      const V w = keep(alpha * T, go_on);
      store(px + kPlane, fma(w, r, load(px + kPlane)));
      store(px + 2 * kPlane, fma(w, g, load(px + 2 * kPlane)));
      store(px + 3 * kPlane, fma(w, b, load(px + 3 * kPlane)));
      store(px, T - w);
      // Pixels that neither go on nor were finished (a set sign) before end here, once each.
      if (__builtin_expect(!all_signs(go_on, T), 0)) {
        const int ended = ~(bits(go_on) | sign_bits(T)) & ((1 << kWidth) - 1);
        end_pixels(t, spans.offset[i], y, ended, k, unfinished);
        alive -= __builtin_popcount(unsigned(ended));
        t.any_stopped = 1;
      }
    }
  }
  write_tile(t);
}

// T, the light from behind all Gaussians and the upstream gradient, as planes.
static void load_backward_tile(const TileBackward& t) {
  const V bg[3] = {background_of(t.background, 0), background_of(t.background, 1),
                   background_of(t.background, 2)};
  V sums[3] = {zero(), zero(), zero()};
  for (int y = 0; y < t.rows; ++y) {
    float* row = t.work + y * kBackwardRow;
    const int64_t pixel = int64_t(t.y + y) * t.width + t.x;
    const float *v_rgb = t.v_rgb + 3 * pixel, *v_alpha = t.v_alpha ? t.v_alpha + pixel : nullptr;
    const float* final_t = t.final_t + y * kMaxTile;
    for (int x = 0; x < kPlane; x += kWidth) {
      V T = zero(), va = zero(), v[3] = {zero(), zero(), zero()};
      const int left = t.cols - x;
      if (left >= kWidth) {
        T = load(final_t + x);
        load_rgb(v_rgb + 3 * x, v[0], v[1], v[2]);
        if (v_alpha) va = load(v_alpha + x);
      } else if (left > 0) {  // beyond the columns T = 0 and v = 0: such lanes change nothing
        float tail[3 * kWidth] = {}, tail_t[kWidth] = {}, tail_a[kWidth] = {};
        std::memcpy(tail, v_rgb + 3 * x, 3 * left * sizeof(float));
        std::memcpy(tail_t, final_t + x, left * sizeof(float));
        if (v_alpha) std::memcpy(tail_a, v_alpha + x, left * sizeof(float));
        load_rgb(tail, v[0], v[1], v[2]);
        T = load(tail_t);
        va = load(tail_a);
      }
      // What lies behind all Gaussians: the background, and the loss of alpha = 1 - T.
      const V lit = fma(v[0], bg[0], fma(v[1], bg[1], fma(v[2], bg[2], zero() - va)));
      store(row + x, T);
      store(row + x + kPlane, T * lit);
      for (int c = 0; c < 3; ++c) {
        store(row + x + (2 + c) * kPlane, v[c]);
        sums[c] = fma(T, v[c], sums[c]);
      }
    }
    if (t.any_stopped)
      std::memcpy(row + 5 * kPlane, t.stop + y * kMaxTile, t.cols * sizeof(int32_t));
  }
  if (t.v_background)
    for (int c = 0; c < 3; ++c) t.v_background[c] = sum(sums[c]);
}

template <bool kStops>
static inline void raster_backward_tile(TileBackward& t) {
  constexpr int kRow = kBackwardRow;
  if (t.count == 0 && !t.v_background) return;
  load_backward_tile(t);
  Spans spans;
  for (int k = t.count - 1; k >= 0; --k) {
    if (k > 1) __builtin_prefetch(t.splats + t.list[k - 2]);
    const Splat& s = t.splats[t.list[k]];
    find_spans<kRow>(s, t.x, t.y, t.cols, t.rows, spans);
    const V A = set1(s.A), r = set1(s.r), g = set1(s.g), b = set1(s.b);
    const V log2_opacity = set1(s.log2_opacity);
    V m0 = zero(), m1x = zero(), m1y = zero(), mxx = zero(), mxy = zero(), myy = zero();
    V v_r = zero(), v_g = zero(), v_b = zero();
    for (int i = 0; i < spans.count; ++i) {
      const int y = spans.y[i];
      float* px = t.work + spans.offset[i];
      const V dx = set1(spans.x[i]) + iota(), dy = set1(spans.dy[y]);
      V raw = alpha_at(dx, A, set1(spans.slope[y]), set1(spans.base[y]), log2_opacity);
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
      const V ex = e * dx, ey = e * dy;
      m0 = m0 + e;
      m1x = m1x + ex;
      m1y = m1y + ey;
      mxx = fma(ex, dx, mxx);
      mxy = fma(ex, dy, mxy);
      myy = fma(ey, dy, myy);
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
