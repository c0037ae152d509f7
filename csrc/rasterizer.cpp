#include "rasterizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <new>
#include <numeric>

#include "pool.h"

namespace synctalk {
namespace {

constexpr int64_t kChunk = 1024;  // Gaussians per item of work: fixed, so sums never depend
                                  // on the number of threads

// States are recycled: a frame's buffers are megabytes and the next frame needs the same ones.
std::mutex g_spare_mutex;
std::vector<std::unique_ptr<State>> g_spare;
constexpr size_t kMostSpare = 8;

void recycle(State* state) {
  std::unique_ptr<State> owned(state);
  std::lock_guard<std::mutex> lock(g_spare_mutex);
  if (g_spare.size() < kMostSpare) g_spare.push_back(std::move(owned));
}

std::shared_ptr<State> new_state() {
  std::unique_ptr<State> state;
  {
    std::lock_guard<std::mutex> lock(g_spare_mutex);
    if (!g_spare.empty()) {
      state = std::move(g_spare.back());
      g_spare.pop_back();
    }
  }
  if (!state) state = std::make_unique<State>();
  return std::shared_ptr<State>(state.release(), recycle);
}

float* scratch(int64_t floats) {
  thread_local Buffer<float> buffer;
  return buffer.reserve(floats);
}

Shape make_shape(int64_t cameras, int64_t gaussians, int width, int height) {
  Shape s{cameras, gaussians, width, height, 0, 0, 0};
  s.tile = std::max(width, height) <= 192 ? 32 : 64;
  s.tiles_x = (width + s.tile - 1) / s.tile;
  s.tiles_y = (height + s.tile - 1) / s.tile;
  return s;
}

Camera make_camera(const float* viewmat, const float* K, const Options& o) {
  Camera c{};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) c.W[3 * i + j] = viewmat[4 * i + j];
    c.t[i] = viewmat[4 * i + 3];
  }
  c.fx = K[0];
  c.fy = K[4];
  c.cx = K[2];
  c.cy = K[5];
  const float margin_x = 0.3f * (0.5f * o.width / c.fx), margin_y = 0.3f * (0.5f * o.height / c.fy);
  c.x_min = -(c.cx / c.fx + margin_x);
  c.x_max = (o.width - c.cx) / c.fx + margin_x;
  c.y_min = -(c.cy / c.fy + margin_y);
  c.y_max = (o.height - c.cy) / c.fy + margin_y;
  c.near_plane = o.near_plane;
  c.far_plane = o.far_plane;
  c.eps2d = o.eps2d;
  c.radius_clip = o.radius_clip;
  c.width = o.width;
  c.height = o.height;
  return c;
}

Gaussians at_camera(const Inputs& in, int64_t c) {
  return {in.means + c * in.means_stride, in.quats + c * in.quats_stride,
          in.scales + c * in.scales_stride, in.opacities + c * in.opacities_stride,
          in.colors + c * in.colors_stride};
}

// Floats as integers of the same order.
uint32_t ordered(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  return b & 0x80000000u ? ~b : b | 0x80000000u;
}

// Stable radix sort of the high 32 bits; the result lies in keys. scratch: n more.
void sort_by_depth(uint64_t* keys, uint64_t* other, int64_t n) {
  constexpr int kBits = 11, kBuckets = 1 << kBits;
  std::vector<int32_t> counts(3 * kBuckets, 0);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t d = uint32_t(keys[i] >> 32);
    ++counts[d & (kBuckets - 1)];
    ++counts[kBuckets + (d >> kBits & (kBuckets - 1))];
    ++counts[2 * kBuckets + (d >> 2 * kBits)];
  }
  uint64_t *from = keys, *to = other;
  for (int pass = 0; pass < 3; ++pass) {
    int32_t* start = counts.data() + pass * kBuckets;
    const int shift = 32 + pass * kBits;
    if (n > 0 && start[from[0] >> shift & (kBuckets - 1)] == n) continue;  // all alike
    int32_t total = 0;
    for (int b = 0; b < kBuckets; ++b) {
      const int32_t c = start[b];
      start[b] = total;
      total += c;
    }
    for (int64_t i = 0; i < n; ++i) to[start[from[i] >> shift & (kBuckets - 1)]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys) std::memcpy(keys, from, size_t(n) * sizeof(uint64_t));
}

struct TileRange {
  int x0, x1, y0, y1;
};

TileRange tiles_of(const Splat& s, int shift) {
  return {s.x0 >> shift, (s.x1 - 1) >> shift, s.y0 >> shift, (s.y1 - 1) >> shift};
}

// Sorts one view's splats by depth and lists them per tile, front to back.
void bin(View& v, const Shape& shape, const float* depths) {
  const int shift = shape.tile == 64 ? 6 : 5, tiles = shape.tiles();
  const int64_t n = shape.gaussians;
  const Splat* splats = v.splats.get();
  uint64_t* keys = v.keys.reserve(2 * n);
  int32_t* start = v.tile_start.reserve(tiles + 1);
  int32_t* slot_start = v.slot_start.reserve(n + 1);
  std::fill(start, start + tiles + 1, 0);
  int64_t visible = 0;
  int32_t entries = 0;
  for (int64_t i = 0; i < n; ++i) {
    slot_start[i] = entries;
    const Splat& s = splats[i];
    if (s.x0 == s.x1) continue;
    keys[visible++] = uint64_t(ordered(depths[i])) << 32 | uint64_t(i);
    const TileRange r = tiles_of(s, shift);
    for (int y = r.y0; y <= r.y1; ++y)
      for (int x = r.x0; x <= r.x1; ++x) ++start[y * shape.tiles_x + x + 1];
    entries += (r.x1 - r.x0 + 1) * (r.y1 - r.y0 + 1);
  }
  slot_start[n] = entries;
  sort_by_depth(keys, keys + n, visible);
  std::partial_sum(start, start + tiles + 1, start);
  std::vector<int32_t> cursor(start, start + tiles);
  int32_t* list = v.list.reserve(entries);
  int32_t* slot_of = v.slot_of.reserve(entries);
  for (int64_t k = 0; k < visible; ++k) {
    const int32_t i = int32_t(uint32_t(keys[k]));
    const TileRange r = tiles_of(splats[i], shift);
    int32_t* slot = slot_of + slot_start[i];
    for (int y = r.y0; y <= r.y1; ++y)
      for (int x = r.x0; x <= r.x1; ++x) {
        const int32_t at = cursor[y * shape.tiles_x + x]++;
        list[at] = i;
        *slot++ = at;
      }
  }
  v.entries = entries;
}

// All (view, tile) pairs, the fullest first: the last to finish are then small.
std::vector<int32_t> by_load(const State& state) {
  const int tiles = state.shape.tiles();
  std::vector<int32_t> order(state.views.size() * size_t(tiles));
  std::iota(order.begin(), order.end(), 0);
  std::vector<int32_t> load(order.size());
  for (size_t k = 0; k < order.size(); ++k) {
    const int32_t* start = state.views[k / tiles]->tile_start.get() + k % tiles;
    load[k] = start[1] - start[0];
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return load[a] > load[b]; });
  return order;
}

struct TileRect {
  int x, y, cols, rows;
};

TileRect rect_of(const Shape& s, int tile) {
  const int x = tile % s.tiles_x * s.tile, y = tile / s.tiles_x * s.tile;
  return {x, y, std::min(s.tile, s.width - x), std::min(s.tile, s.height - y)};
}

void forward_tile(State& state, const Inputs& in, const Options& o, const Outputs& out, int64_t c,
                  int tile) {
  const Shape& s = state.shape;
  View& v = *state.views[c];
  const TileRect rect = rect_of(s, tile);
  const int64_t pixels = int64_t(s.width) * s.height;
  const int32_t* start = v.tile_start.get() + tile;
  TileForward t{};
  t.splats = v.splats.get();
  t.list = v.list.get() + start[0];
  t.count = start[1] - start[0];
  t.x = rect.x;
  t.y = rect.y;
  t.cols = rect.cols;
  t.rows = rect.rows;
  t.width = s.width;
  t.background = in.backgrounds ? in.backgrounds + 3 * c : nullptr;
  t.work = scratch(int64_t(kMaxTile) * 6 * kPlane);
  t.rgb = out.rgb + 3 * c * pixels;
  t.alpha = out.alpha + c * pixels;
  if (o.keep) {
    t.final_t = v.final_t.get() + int64_t(tile) * kMaxTile * kMaxTile;
    t.stop = v.stop.get() + int64_t(tile) * kMaxTile * kMaxTile;
  }
  variant().raster_forward(t);
  if (o.keep) v.stopped.get()[tile] = uint8_t(t.any_stopped);
}

void backward_tile(State& state, const Inputs& in, const Gradients& g, int64_t c, int tile,
                   float* v_background) {
  const Shape& s = state.shape;
  View& v = *state.views[c];
  const TileRect rect = rect_of(s, tile);
  const int64_t pixels = int64_t(s.width) * s.height;
  const int32_t* start = v.tile_start.get() + tile;
  TileBackward t{};
  t.splats = v.splats.get();
  t.list = v.list.get() + start[0];
  t.count = start[1] - start[0];
  t.x = rect.x;
  t.y = rect.y;
  t.cols = rect.cols;
  t.rows = rect.rows;
  t.width = s.width;
  t.background = in.backgrounds ? in.backgrounds + 3 * c : nullptr;
  t.final_t = v.final_t.get() + int64_t(tile) * kMaxTile * kMaxTile;
  t.stop = v.stop.get() + int64_t(tile) * kMaxTile * kMaxTile;
  t.any_stopped = v.stopped.get()[tile];
  t.work = scratch(int64_t(kMaxTile) * 6 * kPlane);
  t.v_rgb = g.v_rgb + 3 * c * pixels;
  t.v_alpha = g.v_alpha ? g.v_alpha + c * pixels : nullptr;
  t.slots = v.slots.get() + int64_t(start[0]) * kSlot;
  t.v_background = v_background;
  variant().raster_backward(t);
}

template <typename T>
T* at(T* p, int64_t offset) {
  return p ? p + offset : nullptr;
}

void project_backward_chunk(State& state, const Inputs& in, const Gradients& g, int64_t chunk,
                            double* v_viewmats) {
  const int64_t n = state.shape.gaussians, begin = chunk * kChunk;
  const int64_t end = std::min(n, begin + kChunk);
  for (int64_t c = 0; c < state.shape.cameras; ++c) {
    const View& v = *state.views[c];
    ProjectBackward b{};
    b.camera = state.cameras[c];
    b.in = at_camera(in, c);
    b.splats = v.splats.get();
    b.slot_start = v.slot_start.get();
    b.slot_of = v.slot_of.get();
    b.slots = v.slots.get();
    b.v_means = at(g.means, c * in.means_stride);
    b.v_quats = at(g.quats, c * in.quats_stride);
    b.v_scales = at(g.scales, c * in.scales_stride);
    b.v_opacities = at(g.opacities, c * in.opacities_stride);
    b.v_colors = at(g.colors, c * in.colors_stride);
    b.v_means2d = at(g.means2d, c * n * 2);
    b.v_viewmat = at(v_viewmats, (chunk * state.shape.cameras + c) * 12);
    const int64_t strides[5] = {in.means_stride, in.quats_stride, in.scales_stride,
                                in.opacities_stride, in.colors_stride};
    for (int k = 0; k < 5; ++k) b.accumulate[k] = c > 0 && strides[k] == 0;
    variant().project_backward(b, begin, end);
  }
}

}  // namespace

std::shared_ptr<State> forward(int64_t cameras, int64_t gaussians, const Inputs& in,
                               const Options& o, const Outputs& out) {
  const std::shared_ptr<State> state = new_state();
  state->shape = make_shape(cameras, gaussians, o.width, o.height);
  const Shape& s = state->shape;
  state->cameras.clear();
  while (int64_t(state->views.size()) < cameras) state->views.push_back(std::make_unique<View>());
  state->views.resize(size_t(cameras));
  const int64_t tile_pixels = int64_t(s.tiles()) * kMaxTile * kMaxTile;
  for (int64_t c = 0; c < cameras; ++c) {
    state->cameras.push_back(make_camera(in.viewmats + 16 * c, in.Ks + 9 * c, o));
    View& v = *state->views[c];
    v.splats.reserve(gaussians);
    if (!o.keep) continue;
    v.final_t.reserve(tile_pixels);
    v.stop.reserve(tile_pixels);
    v.stopped.reserve(s.tiles());
  }
  const int64_t chunks = (gaussians + kChunk - 1) / kChunk;
  parallel_for(cameras * chunks, o.threads, [&](int64_t k) {
    const int64_t c = k / chunks, begin = k % chunks * kChunk;
    const ScreenOut screen{state->views[c]->splats.get(), out.means2d + c * gaussians * 2,
                           out.depths + c * gaussians, out.radii + c * gaussians * 2};
    variant().project(state->cameras[c], at_camera(in, c), screen, begin,
                      std::min(gaussians, begin + kChunk));
  });
  parallel_for(cameras, o.threads,
               [&](int64_t c) { bin(*state->views[c], s, out.depths + c * gaussians); });
  const std::vector<int32_t> order = by_load(*state);
  parallel_for(int64_t(order.size()), o.threads, [&](int64_t k) {
    forward_tile(*state, in, o, out, order[k] / s.tiles(), order[k] % s.tiles());
  });
  return state;
}

void backward(State& state, const Inputs& in, const Gradients& g, int threads) {
  const Shape& s = state.shape;
  for (auto& v : state.views) v->slots.reserve(v->entries * kSlot);
  const std::vector<int32_t> order = by_load(state);
  std::vector<float> tile_background(g.backgrounds ? order.size() * 3 : 0);
  parallel_for(int64_t(order.size()), threads, [&](int64_t k) {
    backward_tile(state, in, g, order[k] / s.tiles(), order[k] % s.tiles(),
                  g.backgrounds ? tile_background.data() + 3 * order[k] : nullptr);
  });
  const int64_t chunks = (s.gaussians + kChunk - 1) / kChunk;
  std::vector<double> partial(g.viewmats ? size_t(chunks * s.cameras * 12) : 0, 0.0);
  parallel_for(chunks, threads, [&](int64_t k) {
    project_backward_chunk(state, in, g, k, g.viewmats ? partial.data() : nullptr);
  });
  for (int64_t c = 0; c < s.cameras; ++c) {
    if (g.backgrounds)
      for (int k = 0; k < 3; ++k) {
        double sum = 0;
        for (int t = 0; t < s.tiles(); ++t) sum += tile_background[3 * (c * s.tiles() + t) + k];
        g.backgrounds[3 * c + k] = float(sum);
      }
    if (!g.viewmats) continue;
    double total[12] = {};
    for (int64_t k = 0; k < chunks; ++k)
      for (int j = 0; j < 12; ++j) total[j] += partial[(k * s.cameras + c) * 12 + j];
    float* out = g.viewmats + 16 * c;
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) out[4 * i + j] = float(total[3 * i + j]);
      out[4 * i + 3] = float(total[9 + i]);
    }
    for (int j = 12; j < 16; ++j) out[j] = 0;
  }
}

}  // namespace synctalk
