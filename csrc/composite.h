// Rendered splats over a video picture, in the picture's own YUV 4:2:0 samples.
#pragma once

#include <cstdint>

namespace synctalk {

struct Planes {
  uint8_t *y, *u, *v;      // at the window's upper left corner
  int64_t stride_y, stride_c;
};

// rgb [height, width, 3] premultiplied, 0..1; alpha [height, width]; both sides even.
// BT.709, limited range.
void composite_yuv(const float* rgb, const float* alpha, int width, int height,
                   const Planes& picture);

}  // namespace synctalk
