// Direct alignment of one frame to the head's appearance: Gauss-Newton on pose, gain and bias.
// synctalk/head_sync/reference.py says in NumPy what this computes.
#pragma once

#include <cstdint>
#include <vector>

namespace synctalk {

constexpr int kUnknowns = 8;     // w, v, gain / kGainStep, bias
constexpr int kSystemRows = 15;  // J, residual, weight, camera x y z, slopes along x and y

// A level of a pyramid: pixels [height, width, 3] of intensity and its slopes along x and y.
struct Level {
  const float* pixels;
  int64_t width, height;
};

struct Frame {
  std::vector<Level> levels;  // finest first
  double x0, y0;              // the crop's first pixel
  int octave;                 // level k is halved octave + k times
  double focal, cx, cy;       // px of the whole frame
};

// Points of the head as one frame sees them.
struct Look {
  int64_t count;
  const double* points;     // [count, 3] mm
  const double* weights;    // [count], 0: not seen
  const bool* outline;      // [count]
  const double* intensity;  // [levels, count]
};

struct FramePose {
  double R[9], t[3], gain, bias;
};

struct Steps {
  int level, iterations;
};

// Refines `pose` by the plan, after fitting gain and bias alone if `expose`. Writes the system at
// the last level there, [kSystemRows, count], and returns its sigma.
double align(const Frame& frame, const Look& look, const std::vector<Steps>& plan, bool expose,
             FramePose& pose, double* system);

}  // namespace synctalk
