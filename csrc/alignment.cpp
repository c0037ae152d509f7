#include "alignment.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace synctalk {
namespace {

constexpr double kGainStep = 0.01;
constexpr double kHuberSigmas = 1.5;
constexpr double kMinSigma = 0.3;
constexpr double kCounts = 0.05;         // weight from which a residual counts for sigma
constexpr int64_t kFewest = 600;         // points of a coarse level
constexpr int kBlock = 64;               // points whose Jacobian stays in the first cache
constexpr int kRows = kUnknowns + 1;     // the residual goes along as a ninth column

typedef double Lanes __attribute__((vector_size(32)));
constexpr int kLanes = 4;

struct Equations {
  double H[kUnknowns][kUnknowns] = {}, g[kUnknowns] = {};
};

// Solves A x = b, overwriting both; row by row, the largest pivot first.
void solve(double* A, double* b, int n) {
  for (int k = 0; k < n; ++k) {
    int best = k;
    for (int i = k + 1; i < n; ++i)
      if (std::fabs(A[i * n + k]) > std::fabs(A[best * n + k])) best = i;
    if (best != k) {
      std::swap_ranges(A + k * n, A + (k + 1) * n, A + best * n);
      std::swap(b[k], b[best]);
    }
    for (int i = k + 1; i < n; ++i) {
      const double f = A[i * n + k] / A[k * n + k];
      for (int j = k; j < n; ++j) A[i * n + j] -= f * A[k * n + j];
      b[i] -= f * b[k];
    }
  }
  for (int k = n - 1; k >= 0; --k) {
    for (int j = k + 1; j < n; ++j) b[k] -= A[k * n + j] * b[j];
    b[k] /= A[k * n + k];
  }
}

// R <- exp(w) R
void turn(double* R, const double* w) {
  const double angle = std::sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2]), half = 0.5 * angle;
  const double a = angle > 0 ? std::sin(angle) / angle : 1, s = half > 0 ? std::sin(half) / half : 1;
  const double b = 0.5 * s * s, square = angle * angle;
  const double K[9] = {0, -w[2], w[1], w[2], 0, -w[0], -w[1], w[0], 0};
  double E[9], out[9];
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      const double one = i == j;
      E[3 * i + j] = one + a * K[3 * i + j] + b * (w[i] * w[j] - square * one);
    }
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      out[3 * i + j] = E[3 * i] * R[j] + E[3 * i + 1] * R[3 + j] + E[3 * i + 2] * R[6 + j];
  std::memcpy(R, out, sizeof out);
}

void move(FramePose& pose, const double* step) {
  turn(pose.R, step);
  for (int k = 0; k < 3; ++k) pose.t[k] += step[3 + k];
  pose.gain = std::min(std::max(pose.gain + kGainStep * step[6], 0.2), 5.0);
  pose.bias += step[7];
}

// How points of one kind turn with the head. `place` takes them to camera axes; w turns them as it
// would turn `lever` p, and what it does to them about the camera's axis beyond that, the roll of
// the outline's plane, is `roll` of w's x and y.
struct Kind {
  double place[9], lever[9], roll[2];
};

Kind solid(const double* R) {
  Kind k{};
  std::memcpy(k.place, R, sizeof k.place);
  std::memcpy(k.lever, R, sizeof k.lever);
  return k;
}

// The outline's plane rolls with the head and faces the camera however the head tilts.
Kind outline(const double* R) {
  const double c = R[0] - R[4], s = R[3] + R[1], size = c * c + s * s, root = std::hypot(c, s);
  return {{c / root, s / root, R[2], s / root, -c / root, R[5], 0, 0, R[8]},
          {0, 0, R[2], 0, 0, R[5], 0, 0, R[8]},
          {-(c * R[6] + s * R[7]) / size, (c * R[7] - s * R[6]) / size}};
}

inline double dot(const double* row, double x, double y, double z) {
  return row[0] * x + row[1] * y + row[2] * z;
}

class Aligner {
 public:
  Aligner(const Frame& frame, const Look& look) : frame_(frame), look_(look) {
    const size_t n = size_t(look.count);
    for (auto* v : {&p_[0], &p_[1], &p_[2], &weight_, &target_, &residual_, &du_, &dv_, &x_, &y_, &z_})
      v->resize(n);
    index_.reserve(n);
    for (const bool edge : {false, true}) {
      begin_[edge] = int64_t(index_.size());
      append(edge, true);
      seen_[edge] = int64_t(index_.size());
      append(edge, false);
      end_[edge] = int64_t(index_.size());
    }
    for (size_t i = 0; i < n; ++i) {
      for (int k = 0; k < 3; ++k) p_[k][i] = look.points[3 * index_[i] + k];
      weight_[i] = look.weights[index_[i]];
    }
  }

  // The system at a pose, of those of the first `count` points that are seen; or of all points, and
  // written out, if there is a `system`.
  Equations linearise(int level, int64_t count, const FramePose& pose, double* system = nullptr) {
    const Kind kinds[2] = {solid(pose.R), outline(pose.R)};
    int64_t end[2];
    for (int k = 0; k < 2; ++k) {
      const auto first = index_.begin() + begin_[k], last = index_.begin() + seen_[k];
      end[k] = system ? end_[k] : std::lower_bound(first, last, count) - index_.begin();
      look_up(level, pose, kinds[k], begin_[k], end[k]);
    }
    sizes_.clear();
    for (int k = 0; k < 2; ++k)
      for (int64_t i = begin_[k]; i < end[k]; ++i)
        if (weight_[size_t(i)] > kCounts) sizes_.push_back(std::fabs(residual_[size_t(i)]));
    sigma_ = 1.4826 * median() + kMinSigma;
    Equations sums;
    for (int k = 0; k < 2; ++k)
      for (int64_t i = begin_[k]; i < end[k]; i += kBlock)
        add(pose, kinds[k], i, int(std::min<int64_t>(kBlock, end[k] - i)), sums, system);
    for (int i = 0; i < kUnknowns; ++i) {
      sums.H[i][i] += 1e-9;
      for (int j = 0; j < i; ++j) sums.H[i][j] = sums.H[j][i];
    }
    return sums;
  }

  double sigma() const { return sigma_; }

 private:
  void append(bool edge, bool seen) {
    for (int64_t i = 0; i < look_.count; ++i)
      if (look_.outline[i] == edge && (look_.weights[i] > 0) == seen) index_.push_back(i);
  }

  double median() {
    const size_t n = sizes_.size(), half = n / 2;
    if (!n) return 0;
    const auto middle = sizes_.begin() + int64_t(half);
    std::nth_element(sizes_.begin(), middle, sizes_.end());
    return n % 2 ? *middle : 0.5 * (*middle + *std::max_element(sizes_.begin(), middle));
  }

  // Projects points and reads the image there: bilinear at a 32nd of a pixel, as cv2.remap does.
  void look_up(int level, const FramePose& pose, const Kind& kind, int64_t begin, int64_t end) {
    const Level& image = frame_.levels[size_t(level)];
    const double scale = std::ldexp(1.0, -(frame_.octave + level));
    const double* intensity = look_.intensity + level * look_.count;
    for (size_t i = size_t(begin); i < size_t(end); ++i) {
      const double px = p_[0][i], py = p_[1][i], pz = p_[2][i];
      const double x = dot(kind.place, px, py, pz) + pose.t[0];
      const double y = dot(kind.place + 3, px, py, pz) + pose.t[1];
      const double z = dot(kind.place + 6, px, py, pz) + pose.t[2];
      const double u = frame_.focal * x / z + frame_.cx, v = frame_.focal * y / z + frame_.cy;
      const int64_t column = std::lrintf(float((u - (0.5 + frame_.x0)) * scale) * 32.0f);
      const int64_t row = std::lrintf(float((v - (0.5 + frame_.y0)) * scale) * 32.0f);
      const auto within = [](int64_t a, int64_t n) { return std::min(std::max<int64_t>(a, 0), n - 1); };
      const int64_t x0 = within(column >> 5, image.width), x1 = within((column >> 5) + 1, image.width);
      const int64_t y0 = within(row >> 5, image.height), y1 = within((row >> 5) + 1, image.height);
      const float fx = float(column & 31) / 32.0f, fy = float(row & 31) / 32.0f;
      const float* above = image.pixels + 3 * y0 * image.width;
      const float* below = image.pixels + 3 * y1 * image.width;
      float seen[3];
      for (int k = 0; k < 3; ++k)
        seen[k] = above[3 * x0 + k] * ((1 - fx) * (1 - fy)) + above[3 * x1 + k] * (fx * (1 - fy)) +
                  below[3 * x0 + k] * ((1 - fx) * fy) + below[3 * x1 + k] * (fx * fy);
      x_[i] = x;
      y_[i] = y;
      z_[i] = z;
      target_[i] = intensity[index_[i]];
      residual_[i] = pose.gain * target_[i] + pose.bias - double(seen[0]);
      du_[i] = double(seen[1]) * scale;
      dv_[i] = double(seen[2]) * scale;
    }
  }

  // Adds `n` <= kBlock points of one kind to the sums.
  void add(const FramePose& pose, const Kind& kind, int64_t begin, int n, Equations& sums,
           double* system) {
    alignas(32) double J[kRows][kBlock] = {}, JW[kRows][kBlock] = {}, weights[kBlock];
    const size_t at = size_t(begin);
    const double turns = kHuberSigmas * sigma_;
    for (int k = 0; k < n; ++k) {
      const size_t i = at + size_t(k);
      const double x = x_[i], y = y_[i], z = z_[i], f_z = frame_.focal / z;
      const double a = du_[i] * f_z, b = dv_[i] * f_z, c = -(a * x + b * y) / z;
      const double rx = x - pose.t[0], ry = y - pose.t[1];
      const double lx = dot(kind.lever, p_[0][i], p_[1][i], p_[2][i]);
      const double ly = dot(kind.lever + 3, p_[0][i], p_[1][i], p_[2][i]);
      const double lz = dot(kind.lever + 6, p_[0][i], p_[1][i], p_[2][i]);
      const double about = rx * b - ry * a, beyond = about - (lx * b - ly * a);
      J[0][k] = ly * c - lz * b + beyond * kind.roll[0];
      J[1][k] = lz * a - lx * c + beyond * kind.roll[1];
      J[2][k] = about;
      J[3][k] = a;
      J[4][k] = b;
      J[5][k] = c;
      J[6][k] = -kGainStep * target_[i];
      J[7][k] = -1;
      J[8][k] = residual_[i];
      weights[k] = weight_[i] * std::min(1.0, turns / std::max(std::fabs(residual_[i]), 1e-9));
    }
    for (int r = 0; r < kUnknowns; ++r)
      for (int k = 0; k < n; ++k) JW[r][k] = J[r][k] * weights[k];
    for (int r = 0; r < kUnknowns; ++r)
      for (int s = r; s < kRows; ++s) {
        Lanes sum = {};
        for (int k = 0; k < n; k += kLanes) {  // zeros fill the last lanes
          Lanes p, q;
          std::memcpy(&p, JW[r] + k, sizeof p);
          std::memcpy(&q, J[s] + k, sizeof q);
          sum += p * q;
        }
        (s < kUnknowns ? sums.H[r][s] : sums.g[r]) += (sum[0] + sum[1]) + (sum[2] + sum[3]);
      }
    if (!system) return;
    for (int k = 0; k < n; ++k) {
      const size_t i = at + size_t(k);
      double* out = system + index_[i];
      for (int r = 0; r < kRows; ++r) out[r * look_.count] = J[r][k];
      const double rest[] = {weights[k], x_[i], y_[i], z_[i], du_[i], dv_[i]};
      for (int r = kRows; r < kSystemRows; ++r) out[r * look_.count] = rest[r - kRows];
    }
  }

  const Frame& frame_;
  const Look& look_;
  // The points, the solid head's and then the outline's, of either those seen first.
  std::vector<int64_t> index_;
  int64_t begin_[2], seen_[2], end_[2];
  std::vector<double> p_[3], weight_, target_, residual_, du_, dv_, x_, y_, z_, sizes_;
  double sigma_ = 0;
};

}  // namespace

double align(const Frame& frame, const Look& look, const std::vector<Steps>& plan, bool expose,
             FramePose& pose, double* system) {
  Aligner aligner(frame, look);
  if (expose) {
    pose.gain = 1;
    pose.bias = 0;
    const Equations e = aligner.linearise(plan.front().level, look.count, pose);
    double A[4] = {e.H[6][6], e.H[6][7], e.H[7][6], e.H[7][7]}, step[kUnknowns] = {};
    std::copy(e.g + 6, e.g + 8, step + 6);
    solve(A, step + 6, 2);
    move(pose, step);
  }
  for (const Steps& part : plan) {
    const int64_t count = part.level ? std::max(look.count >> part.level, kFewest) : look.count;
    for (int i = 0; i < part.iterations; ++i) {
      Equations e = aligner.linearise(part.level, count, pose);
      for (int k = 0; k < kUnknowns; ++k) e.H[k][k] *= 1 + 1e-6;
      solve(&e.H[0][0], e.g, kUnknowns);
      move(pose, e.g);
    }
  }
  aligner.linearise(plan.back().level, look.count, pose, system);
  return aligner.sigma();
}

}  // namespace synctalk
