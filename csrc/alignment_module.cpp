// Python binding of the photometric alignment; the interpreter lock is released while it runs.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <stdexcept>
#include <utility>

#include "alignment.h"

namespace nb = nanobind;
using namespace synctalk;

template <typename T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;

namespace {

void expect(bool ok, const char* what) {
  if (!ok) throw std::invalid_argument(what);
}

double py_align(const std::vector<Array<const float>>& levels, std::pair<double, double> origin,
                int octave, const Array<const double>& K, const Array<const double>& points,
                const Array<const double>& weights, const Array<const bool>& outline,
                const Array<const double>& intensity, const Array<double>& pose,
                const std::vector<std::pair<int, int>>& schedule, bool expose,
                const Array<double>& system) {
  const int64_t n = int64_t(weights.size());
  expect(K.size() == 9, "K must be [3, 3]");
  expect(int64_t(points.size()) == 3 * n && int64_t(outline.size()) == n, "a row for every weight");
  expect(int64_t(intensity.size()) == int64_t(levels.size()) * n, "intensity must be [L, N]");
  expect(pose.size() * sizeof(double) == sizeof(FramePose), "pose must be R, t, gain, bias");
  expect(int64_t(system.size()) == kSystemRows * n, "system must be [15, N]");
  expect(octave >= 0 && octave < 32 && !schedule.empty(), "octave or schedule out of range");
  Frame frame{{},          origin.first, origin.second, octave,
              K.data()[0], K.data()[2],  K.data()[5]};
  for (const auto& level : levels) {
    expect(level.ndim() == 3 && level.shape(2) == 3 && level.size() > 0, "levels are [h, w, 3]");
    frame.levels.push_back({level.data(), int64_t(level.shape(1)), int64_t(level.shape(0))});
  }
  std::vector<Steps> plan;
  for (const auto& [level, iterations] : schedule) {
    expect(level >= 0 && level < int(levels.size()), "no such level");
    plan.push_back({level, iterations});
  }
  const Look look{n, points.data(), weights.data(), outline.data(), intensity.data()};
  FramePose refined;
  std::memcpy(&refined, pose.data(), sizeof refined);
  double sigma;
  {
    nb::gil_scoped_release release;
    sigma = align(frame, look, plan, expose, refined, system.data());
  }
  std::memcpy(pose.data(), &refined, sizeof refined);
  return sigma;
}

}  // namespace

NB_MODULE(_alignment, m) {
  m.doc() = "Photometric alignment of a frame; use synctalk.head_sync.alignment.";
  m.def("align", &py_align, nb::arg("levels"), nb::arg("origin"), nb::arg("octave"), nb::arg("K"),
        nb::arg("points"), nb::arg("weights"), nb::arg("outline"), nb::arg("intensity"),
        nb::arg("pose").noconvert(), nb::arg("schedule"), nb::arg("expose"),
        nb::arg("system").noconvert());
}
