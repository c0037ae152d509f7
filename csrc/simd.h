// The few vector operations the kernels need, at the width of the variant being compiled:
// 8 floats with AVX2 + FMA, 4 floats through compiler vectors (SSE2, NEON, ...) otherwise.
// Everything is static: two variants live in one library and must share no inline function.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(SYNCTALK_AVX2)

#include <immintrin.h>

struct V { __m256 v; };  // 8 floats
struct M { __m256 v; };  // 8 lanes, all bits set or none
static constexpr int kWidth = 8;

static inline V set1(float x) { return {_mm256_set1_ps(x)}; }
static inline V zero() { return {_mm256_setzero_ps()}; }
static inline V iota() { return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7)}; }
static inline V load(const float* p) { return {_mm256_loadu_ps(p)}; }
static inline void store(float* p, V a) { _mm256_storeu_ps(p, a.v); }
static inline V operator+(V a, V b) { return {_mm256_add_ps(a.v, b.v)}; }
static inline V operator-(V a, V b) { return {_mm256_sub_ps(a.v, b.v)}; }
static inline V operator*(V a, V b) { return {_mm256_mul_ps(a.v, b.v)}; }
static inline V operator/(V a, V b) { return {_mm256_div_ps(a.v, b.v)}; }
static inline V fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a b + c
static inline V fnma(V a, V b, V c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a b
static inline V min(V a, V b) { return {_mm256_min_ps(a.v, b.v)}; }
static inline V max(V a, V b) { return {_mm256_max_ps(a.v, b.v)}; }
static inline V sqrt(V a) { return {_mm256_sqrt_ps(a.v)}; }
static inline V ceil(V a) { return {_mm256_ceil_ps(a.v)}; }
static inline V floor(V a) { return {_mm256_floor_ps(a.v)}; }
static inline M operator>(V a, V b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
static inline M operator>=(V a, V b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
static inline M operator<(V a, V b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
static inline M operator<=(V a, V b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
static inline M operator==(V a, V b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
static inline M operator&(M a, M b) { return {_mm256_and_ps(a.v, b.v)}; }
static inline M operator|(M a, M b) { return {_mm256_or_ps(a.v, b.v)}; }
static inline V keep(V a, M m) { return {_mm256_and_ps(a.v, m.v)}; }  // a where m, else 0
static inline V select(M m, V a, V b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
static inline int bits(M m) { return _mm256_movemask_ps(m.v); }
static inline int sign_bits(V a) { return _mm256_movemask_ps(a.v); }
// Whether every lane is set in m or negative in a.
static inline bool all_signs(M m, V a) {
  return _mm256_movemask_ps(_mm256_or_ps(m.v, a.v)) == 0xff;
}
// a, its sign changed in the lanes whose bits are set.
static inline V negated(V a, int lanes) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(lanes), bit), bit);
  return {_mm256_xor_ps(a.v, _mm256_and_ps(_mm256_castsi256_ps(on), _mm256_set1_ps(-0.0f)))};
}
static inline void store_int(int32_t* p, V a) {  // truncated
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(a.v));
}
// a * 2^n, where n is the integer held in the low bits of the rounding sum t (see exp2).
static inline V scale_by_low_bits(V a, V t) {
  const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(t.v), 23);
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), n))};
}
// Lanes whose stored list position is beyond k.
static inline M before_stop(const float* stop, int k) {
  const __m256i s = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stop));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(s, _mm256_set1_epi32(k)))};
}
static inline V load_u8(const uint8_t* p) {
  const __m128i b = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(b))};
}
// kWidth interleaved RGB pixels, as three vectors, and back.
static inline void load_rgb(const float* p, V& r, V& g, V& b) {
  const auto halves = [p](int k) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p + k)), _mm_loadu_ps(p + k + 12), 1);
  };
  const __m256 m0 = halves(0), m1 = halves(4), m2 = halves(8);
  const __m256 rg = _mm256_shuffle_ps(m1, m2, _MM_SHUFFLE(2, 1, 3, 2));
  const __m256 gb = _mm256_shuffle_ps(m0, m1, _MM_SHUFFLE(1, 0, 2, 1));
  r.v = _mm256_shuffle_ps(m0, rg, _MM_SHUFFLE(2, 0, 3, 0));
  g.v = _mm256_shuffle_ps(gb, rg, _MM_SHUFFLE(3, 1, 2, 0));
  b.v = _mm256_shuffle_ps(gb, m2, _MM_SHUFFLE(3, 0, 3, 1));
}
static inline void store_rgb(float* p, V r, V g, V b) {
  const __m256 rg = _mm256_shuffle_ps(r.v, g.v, _MM_SHUFFLE(2, 0, 2, 0));
  const __m256 gb = _mm256_shuffle_ps(g.v, b.v, _MM_SHUFFLE(3, 1, 3, 1));
  const __m256 br = _mm256_shuffle_ps(b.v, r.v, _MM_SHUFFLE(3, 1, 2, 0));
  const __m256 m[3] = {_mm256_shuffle_ps(rg, br, _MM_SHUFFLE(2, 0, 2, 0)),
                       _mm256_shuffle_ps(gb, rg, _MM_SHUFFLE(3, 1, 2, 0)),
                       _mm256_shuffle_ps(br, gb, _MM_SHUFFLE(3, 1, 3, 1))};
  for (int k = 0; k < 3; ++k) {
    _mm_storeu_ps(p + 4 * k, _mm256_castps256_ps128(m[k]));
    _mm_storeu_ps(p + 4 * k + 12, _mm256_extractf128_ps(m[k], 1));
  }
}
// out[0..3] = the sums of the lanes of a, b, c, d.
static inline void sum4(float* out, V a, V b, V c, V d) {
  const __m256 ab = _mm256_hadd_ps(a.v, b.v), cd = _mm256_hadd_ps(c.v, d.v);
  const __m256 s = _mm256_hadd_ps(ab, cd);
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

#else

typedef float VF __attribute__((vector_size(16)));
typedef int32_t VI __attribute__((vector_size(16)));
struct V { VF v; };  // 4 floats
struct M { VI v; };  // 4 lanes, all bits set or none
static constexpr int kWidth = 4;

static inline V set1(float x) { return {VF{x, x, x, x}}; }
static inline V zero() { return {VF{0, 0, 0, 0}}; }
static inline V iota() { return {VF{0, 1, 2, 3}}; }
static inline V load(const float* p) { V a; std::memcpy(&a.v, p, 16); return a; }
static inline void store(float* p, V a) { std::memcpy(p, &a.v, 16); }
static inline V operator+(V a, V b) { return {a.v + b.v}; }
static inline V operator-(V a, V b) { return {a.v - b.v}; }
static inline V operator*(V a, V b) { return {a.v * b.v}; }
static inline V operator/(V a, V b) { return {a.v / b.v}; }
static inline V fma(V a, V b, V c) { return {a.v * b.v + c.v}; }
static inline V fnma(V a, V b, V c) { return {c.v - a.v * b.v}; }
static inline M operator>(V a, V b) { return {a.v > b.v}; }
static inline M operator>=(V a, V b) { return {a.v >= b.v}; }
static inline M operator<(V a, V b) { return {a.v < b.v}; }
static inline M operator<=(V a, V b) { return {a.v <= b.v}; }
static inline M operator==(V a, V b) { return {a.v == b.v}; }
static inline M operator&(M a, M b) { return {a.v & b.v}; }
static inline M operator|(M a, M b) { return {a.v | b.v}; }
static inline V keep(V a, M m) { return {(VF)((VI)a.v & m.v)}; }
static inline V select(M m, V a, V b) { return {(VF)(((VI)a.v & m.v) | ((VI)b.v & ~m.v))}; }
static inline V min(V a, V b) { return select(a < b, a, b); }
static inline V max(V a, V b) { return select(a > b, a, b); }
static inline V sqrt(V a) { for (int i = 0; i < 4; ++i) a.v[i] = std::sqrt(a.v[i]); return a; }
static inline V ceil(V a) { for (int i = 0; i < 4; ++i) a.v[i] = std::ceil(a.v[i]); return a; }
static inline V floor(V a) { for (int i = 0; i < 4; ++i) a.v[i] = std::floor(a.v[i]); return a; }
static inline int bits(M m) {
  return (m.v[0] & 1) | (m.v[1] & 2) | (m.v[2] & 4) | (m.v[3] & 8);
}
static inline int sign_bits(V a) { return bits({(VI)a.v < 0}); }
static inline bool all_signs(M m, V a) { return (bits(m) | sign_bits(a)) == 0xf; }
static inline V negated(V a, int lanes) {
  for (int i = 0; i < 4; ++i)
    if (lanes >> i & 1) a.v[i] = -a.v[i];
  return a;
}
static inline void store_int(int32_t* p, V a) {
  for (int i = 0; i < 4; ++i) p[i] = static_cast<int32_t>(a.v[i]);
}
static inline V scale_by_low_bits(V a, V t) { return {(VF)((VI)a.v + ((VI)t.v << 23))}; }
static inline M before_stop(const float* stop, int k) {
  VI s;
  std::memcpy(&s, stop, 16);
  return {s > k};
}
static inline V load_u8(const uint8_t* p) {
  return {VF{float(p[0]), float(p[1]), float(p[2]), float(p[3])}};
}
static inline void load_rgb(const float* p, V& r, V& g, V& b) {
  for (int i = 0; i < 4; ++i) {
    r.v[i] = p[3 * i];
    g.v[i] = p[3 * i + 1];
    b.v[i] = p[3 * i + 2];
  }
}
static inline void store_rgb(float* p, V r, V g, V b) {
  for (int i = 0; i < 4; ++i) {
    p[3 * i] = r.v[i];
    p[3 * i + 1] = g.v[i];
    p[3 * i + 2] = b.v[i];
  }
}
static inline void sum4(float* out, V a, V b, V c, V d) {
  out[0] = (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
  out[1] = (b.v[0] + b.v[1]) + (b.v[2] + b.v[3]);
  out[2] = (c.v[0] + c.v[1]) + (c.v[2] + c.v[3]);
  out[3] = (d.v[0] + d.v[1]) + (d.v[2] + d.v[3]);
}

#endif

static inline M finite(V a) { return (a - a) == zero(); }
static inline V abs(V a) { return max(a, zero() - a); }

static inline float sum(V a) {
  float s[4];
  sum4(s, a, zero(), zero(), zero());
  return s[0];
}
