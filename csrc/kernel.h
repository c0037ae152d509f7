// What the two compiled variants (AVX2, portable) offer to the driver: plain structs of pointers
// and a table of functions. No standard containers here: an inline template compiled twice with
// different flags would be merged by the linker and run on a CPU that lacks the instructions.
#pragma once

#include <cstdint>

namespace synctalk {

constexpr int kMaxTile = 64;
constexpr int kRowPad = 8;                      // a row's last vector may run over the tile's edge
constexpr int kPlane = kMaxTile + kRowPad;      // floats in one row of one plane
constexpr int kSlot = 12;                       // floats of gradient per (tile, Gaussian)
constexpr float kAlphaMax = 0.999f;             // gsplat 1.5.3
constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kTransmittanceMin = 1e-4f;
constexpr float kLog2e = 1.44269504088896341f;

// One pinhole camera, world to camera p = W x + t.
struct Camera {
  float W[9], t[3];
  float fx, fy, cx, cy;
  float x_min, x_max, y_min, y_max;  // where gsplat clamps x/z, y/z in the Jacobian
  float near_plane, far_plane, eps2d, radius_clip;
  int width, height;
};

// The Gaussians as one camera sees them: pointers into [N, k] row-major arrays.
struct Gaussians {
  const float *means, *quats, *scales, *opacities, *colors;
};

// A projected Gaussian, one cache line. With d = pixel - mean,
// log2 alpha = A dx^2 + B dx dy + C dy^2 + log2_opacity. In row dy, alpha >= 1/255 within
// S dy +- sqrt(H0 - H1 dy^2).
struct alignas(64) Splat {
  float mx, my, A, B, C, log2_opacity, r, g, b, H0, H1, S;
  int16_t x0, x1, y0, y1;  // pixels that may be touched, half open; x0 == x1: invisible
  float pad[2];
};

struct ScreenOut {  // per Gaussian, filled for all N
  Splat* splats;
  float* means2d;   // [N, 2]
  float* depths;    // [N]
  int32_t* radii;   // [N, 2]
};

// One tile. Rows are stored as consecutive planes of kPlane floats.
struct TileForward {
  const Splat* splats;
  const int32_t* list;  // Gaussians of the tile, front to back
  int count;
  int x, y, cols, rows;  // the tile's pixels inside the image
  int width;             // of the image
  const float* background;  // 3 floats or null
  float* work;              // >= kMaxTile * 4 * kPlane floats
  float* rgb;               // image [H, W, 3]
  float* alpha;             // image [H, W]
  float* final_t;           // tile [kMaxTile, kMaxTile] or null: transmittance behind all
  int32_t* stop;            // tile [kMaxTile, kMaxTile] or null: list position where a pixel ended
  int any_stopped;          // out
};

struct TileBackward {
  const Splat* splats;
  const int32_t* list;
  int count;
  int x, y, cols, rows, width;
  const float* background;
  const float* final_t;
  const int32_t* stop;
  int any_stopped;
  float* work;           // >= kMaxTile * 6 * kPlane floats
  const float* v_rgb;    // image [H, W, 3]
  const float* v_alpha;  // image [H, W] or null
  float* slots;          // [count, kSlot]: moments 1 x y xx xy yy, then r g b
  float* v_background;   // 3 floats of this tile, or null
};

struct ProjectBackward {
  Camera camera;
  Gaussians in;
  const Splat* splats;
  const int32_t* slot_start;  // [N + 1] into slot_of
  const int32_t* slot_of;     // positions in slots
  const float* slots;
  float *v_means, *v_quats, *v_scales, *v_opacities, *v_colors;  // null: not wanted
  float* v_means2d;     // [N, 2] or null
  double* v_viewmat;    // 12 (W row by row, then t) of this chunk, or null
  int accumulate[5];    // add to what is there (several cameras share the Gaussians)
};

// A band of rows of one image for the fused loss.
struct LossBand {
  const float* pred;       // image [H, W, 3]
  const void* target;      // image [H, W, 3], float or uint8
  int target_is_u8;
  const float* weight;     // image [H, W] or null
  int width, height, y0, y1;
  float l1_scale, dssim_scale;  // factor of each pixel's term in the gradient
  float* work;
  float* maps;             // image [3, H, W * 3]: d/d mu, d/d var, d/d cov; null: loss alone
  float* grad;             // image [H, W, 3]
  double l1, dssim;        // out: weighted sums over the band
};

struct AdamStep {
  float *param, *exp_avg, *exp_avg_sq;
  const float* grad;
  float lr, beta1, beta2, eps, weight_decay, bias1, bias2;
};

// A linear basis on many columns: [rank, columns], weights [views, rank], a factor of each column.
struct LowRank {
  const float *basis, *w, *mask;
  int rank, views;
  int64_t columns;
  int64_t stride;  // floats from one view's columns to the next view's
};

struct Variant {
  const char* name;
  int width;
  void (*project)(const Camera&, const Gaussians&, const ScreenOut&, int64_t begin, int64_t end);
  void (*raster_forward)(TileForward&);
  void (*raster_backward)(TileBackward&);
  void (*project_backward)(const ProjectBackward&, int64_t begin, int64_t end);
  void (*loss_forward)(LossBand&);
  void (*loss_backward)(LossBand&);
  void (*adam)(const AdamStep&, int64_t begin, int64_t end);
  void (*low_rank_add)(const LowRank&, float* out, int64_t begin, int64_t end);
  void (*low_rank_backward)(const LowRank&, const float* grad, float* v_basis, double* v_w,
                            int64_t begin, int64_t end);
};

const Variant& baseline_variant();
#if defined(SYNCTALK_HAS_AVX2)
const Variant& avx2_variant();
#endif

}  // namespace synctalk
