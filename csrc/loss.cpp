#include "loss.h"

#include <algorithm>
#include <vector>

#include "pool.h"
#include "rasterizer.h"

namespace synctalk {
namespace {

constexpr int kBand = 32;  // rows per item of work

LossBand make_band(const LossInputs& in, int64_t image, int y0) {
  const int64_t pixels = int64_t(in.height) * in.width;
  LossBand b{};
  b.pred = in.pred + image * pixels * 3;
  b.target = in.target_is_u8
                 ? static_cast<const void*>(static_cast<const uint8_t*>(in.target) + image * pixels * 3)
                 : static_cast<const void*>(static_cast<const float*>(in.target) + image * pixels * 3);
  b.target_is_u8 = in.target_is_u8;
  b.weight = in.weight ? in.weight + image * pixels : nullptr;
  b.width = in.width;
  b.height = in.height;
  b.y0 = y0;
  b.y1 = std::min(in.height, y0 + kBand);
  thread_local Buffer<float> work;
  b.work = work.reserve(int64_t(50) * (3 * in.width + 64));
  return b;
}

}  // namespace

LossResult l1_dssim(const LossInputs& in, float l1_factor, float dssim_factor, float* grad,
                    int threads) {
  const int64_t bands = (in.height + kBand - 1) / kBand, items = in.images * bands;
  const int64_t values = int64_t(in.height) * in.width * 3;
  const double count = double(in.images) * double(values);
  thread_local Buffer<float> map_memory;
  float* maps = grad ? map_memory.reserve(in.images * values * 3) : nullptr;
  std::vector<double> l1(static_cast<size_t>(items)), dssim(static_cast<size_t>(items));
  const auto prepare = [&](int64_t k) {
    LossBand b = make_band(in, k / bands, int(k % bands) * kBand);
    b.l1_scale = float(l1_factor / count);
    b.dssim_scale = float(dssim_factor / count);
    if (grad) {
      b.maps = maps + k / bands * values * 3;
      b.grad = grad + k / bands * values;
    }
    return b;
  };
  parallel_for(items, threads, [&](int64_t k) {
    LossBand b = prepare(k);
    variant().loss_forward(b);
    l1[size_t(k)] = b.l1;
    dssim[size_t(k)] = b.dssim;
  });
  if (grad)
    parallel_for(items, threads, [&](int64_t k) {
      LossBand b = prepare(k);
      variant().loss_backward(b);
    });
  LossResult r{0, 0};
  for (int64_t k = 0; k < items; ++k) {
    r.l1 += l1[size_t(k)] / count;
    r.dssim += dssim[size_t(k)] / count;
  }
  return r;
}

}  // namespace synctalk
