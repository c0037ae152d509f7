#include "composite.h"

#include <algorithm>

namespace synctalk {
namespace {

constexpr float kVisible = 1.0f / 1024.0f;

// Rounded and kept within what limited range allows.
inline uint8_t sample(float x, float high) {
  return uint8_t(std::min(std::max(x, 16.0f), high) + 0.5f);
}

struct Sums {
  float r, g, b, a;
};

// One row of a 2 x 2 block: writes its luma, adds to the block's sums.
inline void luma_pair(const float* rgb, const float* alpha, uint8_t* y, Sums& s) {
  for (int i = 0; i < 2; ++i) {
    const float r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2], a = alpha[i];
    const float over = 16.0f * a + 219.0f * (0.2126f * r + 0.7152f * g + 0.0722f * b);
    y[i] = sample(over + (1.0f - a) * float(y[i]), 235.0f);
    s.r += r;
    s.g += g;
    s.b += b;
    s.a += a;
  }
}

}  // namespace

void composite_yuv(const float* rgb, const float* alpha, int width, int height,
                   const Planes& picture) {
  for (int row = 0; row < height; row += 2) {
    const float* c0 = rgb + int64_t(row) * width * 3;
    const float* c1 = c0 + int64_t(width) * 3;
    const float* a0 = alpha + int64_t(row) * width;
    const float* a1 = a0 + width;
    uint8_t* y0 = picture.y + row * picture.stride_y;
    uint8_t* y1 = y0 + picture.stride_y;
    uint8_t* u = picture.u + (row / 2) * picture.stride_c;
    uint8_t* v = picture.v + (row / 2) * picture.stride_c;
    for (int x = 0; x < width; x += 2) {
      if (a0[x] + a0[x + 1] + a1[x] + a1[x + 1] < kVisible) continue;  // the picture stays as it is
      Sums s{0, 0, 0, 0};
      luma_pair(c0 + 3 * x, a0 + x, y0 + x, s);
      luma_pair(c1 + 3 * x, a1 + x, y1 + x, s);
      const float luma = 0.2126f * s.r + 0.7152f * s.g + 0.0722f * s.b;  // of four pixels
      const float cb = 32.0f * s.a + 56.0f * (s.b - luma) / 1.8556f;
      const float cr = 32.0f * s.a + 56.0f * (s.r - luma) / 1.5748f;
      const float below = 1.0f - 0.25f * s.a;
      u[x / 2] = sample(cb + below * float(u[x / 2]), 240.0f);
      v[x / 2] = sample(cr + below * float(v[x / 2]), 240.0f);
    }
  }
}

}  // namespace synctalk
