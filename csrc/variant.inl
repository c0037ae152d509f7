// The body of one compiled variant. The including file defines VARIANT_FUNCTION and the flags.
#include "kernel.h"
#include "simd.h"

namespace synctalk {
namespace {
#include "project.inl"
#include "raster.inl"
#include "loss.inl"
#include "adam.inl"
#include "bases.inl"
}  // namespace

const Variant& VARIANT_FUNCTION() {
  static constexpr Variant variant = {VARIANT_NAME,     kWidth,       project,
                                      raster_forward,   raster_backward, project_backward,
                                      loss_forward,     loss_backward,   adam,
                                      low_rank_add,     low_rank_backward};
  return variant;
}

}  // namespace synctalk
