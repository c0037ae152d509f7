// Compiled for the platform's minimum; runs anywhere.
#define VARIANT_NAME "baseline"
#define VARIANT_FUNCTION baseline_variant
#include "variant.inl"
