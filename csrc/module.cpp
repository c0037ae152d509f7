// Python bindings. Arrays come in as contiguous CPU buffers that the caller keeps alive for the
// length of the call; the interpreter lock is released while the kernels run.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "composite.h"
#include "loss.h"
#include "pool.h"
#include "rasterizer.h"

namespace nb = nanobind;
using namespace synctalk;

// noconvert() at the arguments keeps nanobind from copying: a copy's result would be lost.
using In = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using OutInt = nb::ndarray<int32_t, nb::c_contig, nb::device::cpu>;
using OutBytes = nb::ndarray<uint8_t, nb::c_contig, nb::device::cpu>;
using InBytes = nb::ndarray<const uint8_t, nb::c_contig, nb::device::cpu>;

namespace {

void expect(bool ok, const char* what) {
  if (!ok) throw std::invalid_argument(what);
}

template <typename A>
void expect_size(const A& a, int64_t n, const char* name) {
  if (int64_t(a.size()) != n)
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(a.size()) +
                                " elements, expected " + std::to_string(n));
}

template <typename A>
auto data_or_null(const std::optional<A>& a) -> decltype(a->data()) {
  return a ? a->data() : nullptr;
}

// The distance between two cameras' Gaussians: 0 if they share them.
int64_t camera_stride(const In& a, int64_t cameras, int64_t gaussians, int64_t k, bool batched,
                      const char* name) {
  expect_size(a, (batched ? cameras : 1) * gaussians * k, name);
  return batched ? gaussians * k : 0;
}

struct Call {
  In means, quats, scales, opacities, colors, viewmats, Ks;
  std::optional<In> backgrounds;
};

Inputs make_inputs(const Call& a, int64_t C, int64_t N) {
  Inputs in{};
  in.means = a.means.data();
  in.quats = a.quats.data();
  in.scales = a.scales.data();
  in.opacities = a.opacities.data();
  in.colors = a.colors.data();
  in.means_stride = camera_stride(a.means, C, N, 3, a.means.ndim() == 3, "means");
  in.quats_stride = camera_stride(a.quats, C, N, 4, a.quats.ndim() == 3, "quats");
  in.scales_stride = camera_stride(a.scales, C, N, 3, a.scales.ndim() == 3, "scales");
  in.opacities_stride = camera_stride(a.opacities, C, N, 1, a.opacities.ndim() == 2, "opacities");
  in.colors_stride = camera_stride(a.colors, C, N, 3, a.colors.ndim() == 3, "colors");
  expect_size(a.viewmats, C * 16, "viewmats");
  expect_size(a.Ks, C * 9, "Ks");
  if (a.backgrounds) expect_size(*a.backgrounds, C * 3, "backgrounds");
  in.viewmats = a.viewmats.data();
  in.Ks = a.Ks.data();
  in.backgrounds = data_or_null(a.backgrounds);
  return in;
}

std::shared_ptr<State> py_forward(In means, In quats, In scales, In opacities, In colors,
                                  In viewmats, In Ks, std::optional<In> backgrounds, int width,
                                  int height, float near_plane, float far_plane, float radius_clip,
                                  float eps2d, int threads, bool keep, Out rgb, Out alpha,
                                  Out means2d, Out depths, OutInt radii) {
  expect(viewmats.ndim() == 3 && means.ndim() >= 2, "viewmats [C,4,4] and means [(C,) N, 3]");
  expect(width > 0 && height > 0 && width < 32768 && height < 32768, "image size out of range");
  const int64_t C = int64_t(viewmats.shape(0)), N = int64_t(means.shape(means.ndim() - 2));
  expect(N < (int64_t(1) << 31), "too many Gaussians");
  const Call call{means, quats, scales, opacities, colors, viewmats, Ks, backgrounds};
  const Inputs in = make_inputs(call, C, N);
  const int64_t pixels = int64_t(width) * height;
  expect_size(rgb, C * pixels * 3, "rgb");
  expect_size(alpha, C * pixels, "alpha");
  expect_size(means2d, C * N * 2, "means2d");
  expect_size(depths, C * N, "depths");
  expect_size(radii, C * N * 2, "radii");
  const Options options{width, height, near_plane, far_plane, radius_clip, eps2d, threads, keep};
  const Outputs out{rgb.data(), alpha.data(), means2d.data(), depths.data(), radii.data()};
  nb::gil_scoped_release release;
  return forward(C, N, in, options, out);
}

void py_backward(std::shared_ptr<State> state, In means, In quats, In scales, In opacities,
                 In colors, In viewmats, In Ks, std::optional<In> backgrounds, In v_rgb,
                 std::optional<In> v_alpha, std::optional<Out> v_means, std::optional<Out> v_quats,
                 std::optional<Out> v_scales, std::optional<Out> v_opacities,
                 std::optional<Out> v_colors, std::optional<Out> v_viewmats,
                 std::optional<Out> v_backgrounds, std::optional<Out> v_means2d, int threads) {
  const Shape& s = state->shape;
  const int64_t C = s.cameras, N = s.gaussians, pixels = int64_t(s.width) * s.height;
  const Call call{means, quats, scales, opacities, colors, viewmats, Ks, backgrounds};
  const Inputs in = make_inputs(call, C, N);
  expect_size(v_rgb, C * pixels * 3, "v_rgb");
  if (v_alpha) expect_size(*v_alpha, C * pixels, "v_alpha");
  if (v_means) expect_size(*v_means, int64_t(means.size()), "v_means");
  if (v_quats) expect_size(*v_quats, int64_t(quats.size()), "v_quats");
  if (v_scales) expect_size(*v_scales, int64_t(scales.size()), "v_scales");
  if (v_opacities) expect_size(*v_opacities, int64_t(opacities.size()), "v_opacities");
  if (v_colors) expect_size(*v_colors, int64_t(colors.size()), "v_colors");
  if (v_viewmats) expect_size(*v_viewmats, C * 16, "v_viewmats");
  if (v_backgrounds) expect_size(*v_backgrounds, C * 3, "v_backgrounds");
  if (v_means2d) expect_size(*v_means2d, C * N * 2, "v_means2d");
  const Gradients g{v_rgb.data(),
                    data_or_null(v_alpha),
                    data_or_null(v_means),
                    data_or_null(v_quats),
                    data_or_null(v_scales),
                    data_or_null(v_opacities),
                    data_or_null(v_colors),
                    data_or_null(v_viewmats),
                    data_or_null(v_backgrounds),
                    data_or_null(v_means2d)};
  nb::gil_scoped_release release;
  backward(*state, in, g, threads);
}

std::tuple<double, double> py_l1_dssim(In pred, std::optional<In> target,
                                       std::optional<InBytes> target_u8, std::optional<In> weight,
                                       float l1_factor, float dssim_factor, std::optional<Out> grad,
                                       int threads) {
  expect(pred.ndim() == 4 && pred.shape(3) == 3, "pred must be [B, H, W, 3]");
  expect(bool(target) != bool(target_u8), "one target, float or uint8");
  const int64_t pixels = int64_t(pred.size()) / 3;
  LossInputs in{};
  in.pred = pred.data();
  if (target) expect_size(*target, pixels * 3, "target");
  if (target_u8) expect_size(*target_u8, pixels * 3, "target");
  if (weight) expect_size(*weight, pixels, "weight");
  if (grad) expect_size(*grad, pixels * 3, "grad");
  in.target_is_u8 = bool(target_u8);
  in.target = target ? static_cast<const void*>(target->data())
                     : static_cast<const void*>(target_u8->data());
  in.weight = data_or_null(weight);
  in.images = int64_t(pred.shape(0));
  in.height = int(pred.shape(1));
  in.width = int(pred.shape(2));
  float* out = data_or_null(grad);
  nb::gil_scoped_release release;
  const LossResult r = l1_dssim(in, l1_factor, dssim_factor, out, threads);
  return {r.l1, r.dssim};
}

void py_adam(Out param, In grad, Out exp_avg, Out exp_avg_sq, double lr, double beta1, double beta2,
             double eps, int64_t step, double weight_decay, int threads) {
  const int64_t n = int64_t(param.size());
  expect_size(grad, n, "grad");
  expect_size(exp_avg, n, "exp_avg");
  expect_size(exp_avg_sq, n, "exp_avg_sq");
  expect(step >= 1, "step counts from 1");
  AdamStep a{param.data(), exp_avg.data(), exp_avg_sq.data(), grad.data(), float(lr), float(beta1),
             float(beta2), float(eps), float(weight_decay), float(1 - std::pow(beta1, double(step))),
             float(1 - std::pow(beta2, double(step)))};
  constexpr int64_t kBlock = 1 << 15;
  nb::gil_scoped_release release;
  parallel_for((n + kBlock - 1) / kBlock, threads, [&](int64_t k) {
    variant().adam(a, k * kBlock, std::min(n, (k + 1) * kBlock));
  });
}

// Columns that stay in the first cache with their views' sums.
constexpr int64_t kColumns = 1 << 11;

LowRank low_rank(const In& basis, const In& w, const In& mask, int64_t values, int64_t begin) {
  expect(basis.ndim() == 2 && w.ndim() == 2, "basis and w must have two dimensions");
  const int64_t rank = int64_t(basis.shape(0)), columns = int64_t(basis.shape(1));
  const int64_t views = int64_t(w.shape(0));
  expect_size(w, views * rank, "w");
  expect_size(mask, columns, "mask");
  expect(views > 0 && values % views == 0, "a whole row for every view is needed");
  expect(begin >= 0 && begin + columns <= values / views, "the columns leave the row");
  return {basis.data(), w.data(), mask.data(), int(rank), int(views), columns, values / views};
}

void py_low_rank_add(Out out, int64_t begin, In basis, In w, In mask, int threads) {
  const LowRank a = low_rank(basis, w, mask, int64_t(out.size()), begin);
  nb::gil_scoped_release release;
  parallel_for((a.columns + kColumns - 1) / kColumns, threads, [&](int64_t k) {
    variant().low_rank_add(a, out.data() + begin, k * kColumns,
                           std::min(a.columns, (k + 1) * kColumns));
  });
}

void py_low_rank_backward(In grad, int64_t begin, In basis, In w, In mask, Out v_basis, Out v_w,
                          int threads) {
  const LowRank a = low_rank(basis, w, mask, int64_t(grad.size()), begin);
  expect_size(v_basis, a.rank * a.columns, "v_basis");
  expect_size(v_w, int64_t(a.views) * a.rank, "v_w");
  const int64_t blocks = (a.columns + kColumns - 1) / kColumns;
  const int64_t weights = int64_t(a.views) * a.rank;
  nb::gil_scoped_release release;
  std::vector<double> parts(size_t(blocks * weights));
  parallel_for(blocks, threads, [&](int64_t k) {
    variant().low_rank_backward(a, grad.data() + begin, v_basis.data(), parts.data() + k * weights,
                                k * kColumns, std::min(a.columns, (k + 1) * kColumns));
  });
  for (int64_t i = 0; i < weights; ++i) {  // always in this order: threads change no bit
    double sum = 0;
    for (int64_t k = 0; k < blocks; ++k) sum += parts[size_t(k * weights + i)];
    v_w.data()[i] = float(sum);
  }
}

void py_composite_yuv(In rgb, In alpha, OutBytes y, OutBytes u, OutBytes v, int left, int top) {
  expect(rgb.ndim() == 3 && rgb.shape(2) == 3, "rgb must be [h, w, 3]");
  expect(y.ndim() == 2 && u.ndim() == 2 && v.ndim() == 2, "planes must have two dimensions");
  const int64_t height = int64_t(rgb.shape(0)), width = int64_t(rgb.shape(1));
  const int64_t rows = int64_t(y.shape(0)), columns = int64_t(y.shape(1));
  expect_size(alpha, height * width, "alpha");
  expect_size(u, rows / 2 * (columns / 2), "u");
  expect_size(v, rows / 2 * (columns / 2), "v");
  expect((height | width | rows | columns | left | top) % 2 == 0, "sizes and corner must be even");
  expect(left >= 0 && top >= 0 && left + width <= columns && top + height <= rows,
         "the window leaves the picture");
  const int64_t chroma = top / 2 * (columns / 2) + left / 2;
  const Planes picture{y.data() + top * columns + left, u.data() + chroma, v.data() + chroma,
                       columns, columns / 2};
  nb::gil_scoped_release release;
  composite_yuv(rgb.data(), alpha.data(), int(width), int(height), picture);
}

}  // namespace

NB_MODULE(_kernel, m) {
  nb::set_leak_warnings(false);  // graphs that live at exit hold States: no leak
  m.doc() = "CPU kernels of synctalk.render; use the Python functions around them.";
  nb::class_<State>(m, "State");
  variant();  // chosen now: an impossible choice fails the import, not a worker thread
  m.def("variant", [] { return std::string(variant().name); });
  m.def("forward", &py_forward, nb::arg("means").noconvert(), nb::arg("quats").noconvert(),
        nb::arg("scales").noconvert(), nb::arg("opacities").noconvert(),
        nb::arg("colors").noconvert(), nb::arg("viewmats").noconvert(), nb::arg("Ks").noconvert(),
        nb::arg("backgrounds").noconvert().none(), nb::arg("width"), nb::arg("height"),
        nb::arg("near_plane"), nb::arg("far_plane"), nb::arg("radius_clip"), nb::arg("eps2d"),
        nb::arg("threads"), nb::arg("keep"), nb::arg("rgb").noconvert(),
        nb::arg("alpha").noconvert(), nb::arg("means2d").noconvert(),
        nb::arg("depths").noconvert(), nb::arg("radii").noconvert());
  m.def("backward", &py_backward, nb::arg("state"), nb::arg("means").noconvert(),
        nb::arg("quats").noconvert(), nb::arg("scales").noconvert(),
        nb::arg("opacities").noconvert(), nb::arg("colors").noconvert(),
        nb::arg("viewmats").noconvert(), nb::arg("Ks").noconvert(),
        nb::arg("backgrounds").noconvert().none(), nb::arg("v_rgb").noconvert(),
        nb::arg("v_alpha").noconvert().none(), nb::arg("v_means").noconvert().none(),
        nb::arg("v_quats").noconvert().none(), nb::arg("v_scales").noconvert().none(),
        nb::arg("v_opacities").noconvert().none(), nb::arg("v_colors").noconvert().none(),
        nb::arg("v_viewmats").noconvert().none(), nb::arg("v_backgrounds").noconvert().none(),
        nb::arg("v_means2d").noconvert().none(), nb::arg("threads"));
  m.def("l1_dssim", &py_l1_dssim, nb::arg("pred").noconvert(),
        nb::arg("target").noconvert().none(), nb::arg("target_u8").noconvert().none(),
        nb::arg("weight").noconvert().none(), nb::arg("l1_factor"), nb::arg("dssim_factor"),
        nb::arg("grad").noconvert().none(), nb::arg("threads"));
  m.def("adam_step", &py_adam, nb::arg("param").noconvert(), nb::arg("grad").noconvert(),
        nb::arg("exp_avg").noconvert(), nb::arg("exp_avg_sq").noconvert(), nb::arg("lr"),
        nb::arg("beta1"), nb::arg("beta2"), nb::arg("eps"), nb::arg("step"),
        nb::arg("weight_decay"), nb::arg("threads"));
  m.def("low_rank_add", &py_low_rank_add, nb::arg("out").noconvert(), nb::arg("begin"),
        nb::arg("basis").noconvert(), nb::arg("w").noconvert(), nb::arg("mask").noconvert(),
        nb::arg("threads"));
  m.def("low_rank_backward", &py_low_rank_backward, nb::arg("grad").noconvert(), nb::arg("begin"),
        nb::arg("basis").noconvert(), nb::arg("w").noconvert(), nb::arg("mask").noconvert(),
        nb::arg("v_basis").noconvert(), nb::arg("v_w").noconvert(), nb::arg("threads"));
  m.def("composite_yuv", &py_composite_yuv, nb::arg("rgb").noconvert(),
        nb::arg("alpha").noconvert(), nb::arg("y").noconvert(), nb::arg("u").noconvert(),
        nb::arg("v").noconvert(), nb::arg("left"), nb::arg("top"));
}
