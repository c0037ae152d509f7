// out += mask * (w . basis) over a range of columns, and its gradients, each in one pass.

// kVectors vectors of columns from j on: as many chains of sums, which hide each other's latency.
template <int kVectors>
static inline void low_rank_columns(const LowRank& a, const float* w, float* row, int64_t j) {
  V sum[kVectors];
  for (V& each : sum) each = zero();
  for (int k = 0; k < a.rank; ++k) {
    const V weight = set1(w[k]);
    const float* basis = a.basis + k * a.columns + j;
    for (int i = 0; i < kVectors; ++i) sum[i] = fma(weight, load(basis + i * kWidth), sum[i]);
  }
  for (int i = 0; i < kVectors; ++i) {
    float* out = row + j + i * kWidth;
    store(out, fma(load(a.mask + j + i * kWidth), sum[i], load(out)));
  }
}

static void low_rank_add(const LowRank& a, float* out, int64_t begin, int64_t end) {
  constexpr int kVectors = 8;
  for (int v = 0; v < a.views; ++v) {
    float* row = out + v * a.stride;
    const float* w = a.w + v * a.rank;
    int64_t j = begin;
    for (; j + kVectors * kWidth <= end; j += kVectors * kWidth)
      low_rank_columns<kVectors>(a, w, row, j);
    for (; j + kWidth <= end; j += kWidth) low_rank_columns<1>(a, w, row, j);
    for (; j < end; ++j) {
      float sum = 0;
      for (int k = 0; k < a.rank; ++k) sum = std::fma(w[k], a.basis[k * a.columns + j], sum);
      row[j] = std::fma(a.mask[j], sum, row[j]);
    }
  }
}

// Writes v_basis in the range, and adds the range's part of v_w [views, rank] to `v_w`.
static void low_rank_backward(const LowRank& a, const float* grad, float* v_basis, double* v_w,
                              int64_t begin, int64_t end) {
  for (int k = 0; k < a.rank; ++k) {
    const float* basis = a.basis + k * a.columns;
    float* out = v_basis + k * a.columns;
    for (int v = 0; v < a.views; ++v) {
      const float* row = grad + v * a.stride;
      const float w = a.w[v * a.rank + k];
      V dot = zero();
      int64_t j = begin;
      for (; j + kWidth <= end; j += kWidth) {
        const V g = load(a.mask + j) * load(row + j);
        dot = fma(load(basis + j), g, dot);
        store(out + j, v ? fma(set1(w), g, load(out + j)) : set1(w) * g);
      }
      float lanes[kWidth];
      store(lanes, dot);
      double sum = 0;
      for (float lane : lanes) sum += lane;
      for (; j < end; ++j) {
        const float g = a.mask[j] * row[j];
        sum += basis[j] * g;
        out[j] = v ? std::fma(w, g, out[j]) : w * g;
      }
      v_w[v * a.rank + k] += sum;
    }
  }
}
