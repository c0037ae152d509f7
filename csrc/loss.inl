// L1 + DSSIM over a band of rows. SSIM's 11 x 11 Gaussian window is separable; RGB stays
// interleaved, so that a tap to the left is 3 floats away. Zeros surround the image.

static constexpr float kWindow[11] = {  // exp(-x^2 / (2 1.5^2)), normalised
    0.00102838f, 0.00759876f, 0.03600077f, 0.10936069f, 0.21300554f, 0.26601172f,
    0.21300554f, 0.10936069f, 0.03600077f, 0.00759876f, 0.00102838f};
static constexpr int kRadius = 5, kTaps = 11, kEdge = 3 * kRadius;
static constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// Floats of a row buffer: kEdge zeros each side, and room for a whole last vector.
static inline int padded(int width) { return (3 * width + 2 * kEdge + 2 * kWidth + 7) / 8 * 8; }

static inline void blur_row(const float* in, float* out, int n) {  // in starts kEdge early
  for (int x = 0; x < n; x += kWidth) {
    V a = set1(kWindow[5]) * load(in + x + kEdge);
    for (int k = 0; k < kRadius; ++k)
      a = fma(set1(kWindow[k]), load(in + x + 3 * k) + load(in + x + 2 * kEdge - 3 * k), a);
    store(out + x, a);
  }
}

static inline V blur_column(const float* const rows[kTaps], int x) {
  V a = set1(kWindow[5]) * load(rows[5] + x);
  for (int k = 0; k < kRadius; ++k)
    a = fma(set1(kWindow[k]), load(rows[k] + x) + load(rows[10 - k] + x), a);
  return a;
}

static inline void load_target(const LossBand& b, int y, float* out, int n) {
  if (!b.target_is_u8) {
    const float* t = static_cast<const float*>(b.target) + int64_t(y) * n;
    std::memcpy(out, t, n * sizeof(float));
    return;
  }
  const uint8_t* t = static_cast<const uint8_t*>(b.target) + int64_t(y) * n;
  const V scale = set1(1.0f / 255.0f);
  int x = 0;
  for (; x + 8 <= n; x += kWidth) store(out + x, load_u8(t + x) * scale);
  for (; x < n; ++x) out[x] = float(t[x]) * (1.0f / 255.0f);
}

// Pred, target, pred^2 + target^2 and pred target of row y, blurred along x.
static inline void blur_products(const LossBand& b, int y, float* scratch, float* out[4]) {
  const int n = 3 * b.width, stride = padded(b.width);
  if (y < 0 || y >= b.height) {
    for (int m = 0; m < 4; ++m) std::memset(out[m], 0, stride * sizeof(float));
    return;
  }
  float *p = scratch + kEdge, *t = p + stride, *s = t + stride, *c = s + stride;
  std::memcpy(p, b.pred + int64_t(y) * n, n * sizeof(float));
  load_target(b, y, t, n);
  for (int x = 0; x < n; x += kWidth) {  // what lies beyond the row is zero and stays so
    const V vp = load(p + x), vt = load(t + x);
    store(s + x, fma(vp, vp, vt * vt));
    store(c + x, vp * vt);
  }
  for (int m = 0; m < 4; ++m) blur_row(scratch + m * stride, out[m], n);
}

// Per-pixel SSIM of a row from its blurred products; the derivative maps if wanted.
static inline double ssim_row(const LossBand& b, int y, const float* const rows[4][kTaps],
                              const float* weight3) {
  const int n = 3 * b.width;
  const V c1 = set1(kC1), c2 = set1(kC2), two = set1(2), one = set1(1);
  const V scale = set1(-b.dssim_scale);
  V total = zero();
  float tail[kWidth];
  for (int x = 0; x < n; x += kWidth) {
    const V mu1 = blur_column(rows[0], x), mu2 = blur_column(rows[1], x);
    const V square = fma(mu1, mu1, mu2 * mu2), product = mu1 * mu2;
    const V var = blur_column(rows[2], x) - square, cov = blur_column(rows[3], x) - product;
    const V a1 = fma(two, product, c1), a2 = fma(two, cov, c2);
    const V b1 = square + c1, b2 = var + c2;
    const V inv = one / (b1 * b2);
    const V ssim = a1 * a2 * inv;
    const V w = load(weight3 + x);
    V term = w * (one - ssim);
    const int left = n - x;
    if (left < kWidth) {
      store(tail, term);
      for (int k = left; k < kWidth; ++k) tail[k] = 0;
      term = load(tail);
    }
    total = total + term;
    if (b.maps) {
      const V g = w * scale;
      const V d_cov = two * a1 * inv, d_var = zero() - ssim / b2;
      const V d_mu = two * (mu2 * a2 * inv - mu1 * ssim / b1) - mu2 * d_cov - two * mu1 * d_var;
      const V maps[3] = {g * d_mu, g * d_var, g * d_cov};
      for (int m = 0; m < 3; ++m) {
        float* out = b.maps + (int64_t(m) * b.height + y) * n + x;
        if (left >= kWidth) {
          store(out, maps[m]);
        } else {
          store(tail, maps[m]);
          std::memcpy(out, tail, left * sizeof(float));
        }
      }
    }
  }
  return sum(total);
}

static inline void weight_row(const LossBand& b, int y, float* out) {
  for (int x = 0; x < b.width; ++x) {
    const float w = b.weight ? b.weight[int64_t(y) * b.width + x] : 1.0f;
    out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = w;
  }
}

static inline double l1_row(const LossBand& b, int y, const float* target, const float* weight3) {
  const int n = 3 * b.width;
  const float* p = b.pred + int64_t(y) * n;
  V total = zero();
  int x = 0;
  for (; x + kWidth <= n; x += kWidth)
    total = fma(load(weight3 + x), abs(load(p + x) - load(target + x)), total);
  float rest = 0;
  for (; x < n; ++x) rest += weight3[x] * std::fabs(p[x] - target[x]);
  return double(sum(total)) + rest;
}

static void loss_forward(LossBand& b) {
  const int stride = padded(b.width);
  float* scratch = b.work;                      // 4 padded rows
  float* ring = scratch + 4 * stride;           // kTaps x 4 blurred rows
  float* weight3 = ring + kTaps * 4 * stride;   // one row
  std::memset(scratch, 0, 4 * stride * sizeof(float));
  b.l1 = b.dssim = 0;
  for (int y = b.y0 - kRadius; y < b.y1 + kRadius; ++y) {
    const int slot = (y + kTaps) % kTaps;
    float* out[4];
    for (int m = 0; m < 4; ++m) out[m] = ring + (slot * 4 + m) * stride;
    blur_products(b, y, scratch, out);
    const int center = y - kRadius;
    if (y >= b.y0 && y < b.y1) {  // the scratch still holds this row's target
      weight_row(b, y, weight3);
      b.l1 += l1_row(b, y, scratch + stride + kEdge, weight3);
    }
    if (center < b.y0) continue;
    const float* rows[4][kTaps];
    for (int m = 0; m < 4; ++m)
      for (int k = 0; k < kTaps; ++k)
        rows[m][k] = ring + (((center - kRadius + k + kTaps) % kTaps) * 4 + m) * stride;
    weight_row(b, center, weight3);
    b.dssim += ssim_row(b, center, rows, weight3);
  }
}

// The derivative maps blurred once more and combined with the pixels: d loss / d pred.
static void loss_backward(LossBand& b) {
  const int n = 3 * b.width, stride = padded(b.width);
  float* scratch = b.work;
  float* ring = scratch + stride;
  float* weight3 = ring + kTaps * 3 * stride;
  float* target = weight3 + stride;
  float* line = target + stride;
  std::memset(scratch, 0, stride * sizeof(float));
  for (int y = b.y0 - kRadius; y < b.y1 + kRadius; ++y) {
    const int slot = (y + kTaps) % kTaps;
    for (int m = 0; m < 3; ++m) {
      float* out = ring + (slot * 3 + m) * stride;
      if (y < 0 || y >= b.height) {
        std::memset(out, 0, stride * sizeof(float));
        continue;
      }
      std::memcpy(scratch + kEdge, b.maps + (int64_t(m) * b.height + y) * n, n * sizeof(float));
      blur_row(scratch, out, n);
    }
    const int center = y - kRadius;
    if (center < b.y0) continue;
    const float* rows[3][kTaps];
    for (int m = 0; m < 3; ++m)
      for (int k = 0; k < kTaps; ++k)
        rows[m][k] = ring + (((center - kRadius + k + kTaps) % kTaps) * 3 + m) * stride;
    weight_row(b, center, weight3);
    load_target(b, center, target, n);
    float* pred = line;
    std::memcpy(pred, b.pred + int64_t(center) * n, n * sizeof(float));
    float* grad = line + stride;
    const V scale = set1(b.l1_scale);
    for (int x = 0; x < n; x += kWidth) {
      const V p = load(pred + x), t = load(target + x), w = load(weight3 + x) * scale;
      V g = keep(w, p > t) - keep(w, p < t);
      g = g + blur_column(rows[0], x) + set1(2) * p * blur_column(rows[1], x) +
          t * blur_column(rows[2], x);
      store(grad + x, g);
    }
    std::memcpy(b.grad + int64_t(center) * n, grad, n * sizeof(float));
  }
}
