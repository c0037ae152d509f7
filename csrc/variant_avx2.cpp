// Compiled with -mavx2 -mfma; called only after the CPU was asked for both.
#define SYNCTALK_AVX2 1
#define VARIANT_NAME "avx2"
#define VARIANT_FUNCTION avx2_variant
#include "variant.inl"
