// The CPU rasteriser: projection, depth sort, tiles, compositing, and all gradients.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "kernel.h"

namespace synctalk {

// A block of memory that is reused and only ever grows: fresh pages cost more than the work.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }
  T* reserve(int64_t n) {
    if (n > capacity_) {
      release();
      const int64_t room = n + n / 4 + 64;
      data_ = static_cast<T*>(::operator new(size_t(room) * sizeof(T), std::align_val_t(64)));
      capacity_ = room;
    }
    return data_;
  }
  T* get() const { return data_; }

 private:
  void release() {
    if (data_) ::operator delete(data_, std::align_val_t(64));
    data_ = nullptr;
    capacity_ = 0;
  }
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

// What one camera's forward pass leaves for its backward pass.
struct View {
  Buffer<Splat> splats;         // [N]
  Buffer<uint64_t> keys;        // depth << 32 | Gaussian, sorted; second half is scratch
  Buffer<int32_t> tile_start;   // [tiles + 1]
  Buffer<int32_t> list;         // Gaussians of each tile, front to back
  Buffer<int32_t> slot_start;   // [N + 1]: a Gaussian's part of slot_of
  Buffer<int32_t> slot_of;      // positions in list
  Buffer<float> final_t;        // [tiles, kMaxTile, kMaxTile]
  Buffer<int32_t> stop;         // likewise
  Buffer<uint8_t> stopped;      // [tiles]
  Buffer<float> slots;          // [list, kSlot]
  int64_t entries = 0;
};

struct Shape {
  int64_t cameras, gaussians;
  int width, height, tile, tiles_x, tiles_y;
  int tiles() const { return tiles_x * tiles_y; }
};

struct State {
  State() = default;
  State(const State&) = delete;
  Shape shape{};
  std::vector<Camera> cameras;
  std::vector<std::unique_ptr<View>> views;
};

// Arrays of [C, N, k] or, where the camera's stride is 0, of [N, k] shared by all cameras.
struct Inputs {
  const float *means, *quats, *scales, *opacities, *colors;
  int64_t means_stride, quats_stride, scales_stride, opacities_stride, colors_stride;
  const float* viewmats;     // [C, 4, 4]
  const float* Ks;           // [C, 3, 3]
  const float* backgrounds;  // [C, 3] or null
};

struct Options {
  int width, height;
  float near_plane, far_plane, radius_clip, eps2d;
  int threads;
  bool keep;  // for a backward pass
};

struct Outputs {
  float* rgb;      // [C, H, W, 3]
  float* alpha;    // [C, H, W]
  float* means2d;  // [C, N, 2]
  float* depths;   // [C, N]
  int32_t* radii;  // [C, N, 2]
};

struct Gradients {
  const float* v_rgb;    // [C, H, W, 3]
  const float* v_alpha;  // [C, H, W] or null
  float *means, *quats, *scales, *opacities, *colors;  // as the inputs, or null
  float* viewmats;     // [C, 4, 4] or null
  float* backgrounds;  // [C, 3] or null
  float* means2d;      // [C, N, 2] or null
};

const Variant& variant();  // chosen once, by the CPU or by SYNCTALK_CPU_KERNEL

std::shared_ptr<State> forward(int64_t cameras, int64_t gaussians, const Inputs& in,
                               const Options& options, const Outputs& out);
void backward(State& state, const Inputs& in, const Gradients& grads, int threads);

}  // namespace synctalk
