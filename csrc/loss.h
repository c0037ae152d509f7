// Fused L1 + DSSIM of image batches.
#pragma once

#include <cstdint>

namespace synctalk {

struct LossInputs {
  const float* pred;    // [B, H, W, 3]
  const void* target;   // likewise, float or uint8
  bool target_is_u8;
  const float* weight;  // [B, H, W] or null
  int64_t images;
  int height, width;
};

struct LossResult {
  double l1, dssim;  // means over all pixels and channels
};

// grad (if not null) gets the gradient of l1_factor * l1 + dssim_factor * dssim.
LossResult l1_dssim(const LossInputs& in, float l1_factor, float dssim_factor, float* grad,
                    int threads);

}  // namespace synctalk
