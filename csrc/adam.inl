// One pass of AdamW over a range of parameters.

static void adam(const AdamStep& a, int64_t begin, int64_t end) {
  const V b1 = set1(a.beta1), b2 = set1(a.beta2), c1 = set1(1 - a.beta1), c2 = set1(1 - a.beta2);
  const V keep_part = set1(1 - a.lr * a.weight_decay), rate = set1(a.lr / a.bias1);
  const V inv_sqrt_bias2 = set1(1 / std::sqrt(a.bias2)), eps = set1(a.eps);
  const auto step = [&](const float* g_, float* p_, float* m_, float* v_) {
    const V g = load(g_);
    const V m = fma(c1, g, b1 * load(m_));
    const V v = fma(c2, g * g, b2 * load(v_));
    store(m_, m);
    store(v_, v);
    const V denominator = fma(sqrt(v), inv_sqrt_bias2, eps);
    store(p_, load(p_) * keep_part - rate * m / denominator);
  };
  int64_t i = begin;
  for (; i + kWidth <= end; i += kWidth)
    step(a.grad + i, a.param + i, a.exp_avg + i, a.exp_avg_sq + i);
  if (i < end) {  // the tail goes through a padded copy: same arithmetic for every element
    float g[kWidth] = {}, p[kWidth] = {}, m[kWidth] = {}, v[kWidth] = {};
    const size_t bytes = size_t(end - i) * sizeof(float);
    std::memcpy(g, a.grad + i, bytes);
    std::memcpy(p, a.param + i, bytes);
    std::memcpy(m, a.exp_avg + i, bytes);
    std::memcpy(v, a.exp_avg_sq + i, bytes);
    step(g, p, m, v);
    std::memcpy(a.param + i, p, bytes);
    std::memcpy(a.exp_avg + i, m, bytes);
    std::memcpy(a.exp_avg_sq + i, v, bytes);
  }
}
