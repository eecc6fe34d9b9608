/* What the kernels share. */

typedef float f4 __attribute__((vector_size(16), aligned(4)));
typedef signed char i8;
typedef unsigned char u8;

#define EXPORT(name) __attribute__((export_name(#name), noinline)) void name
#define INLINE static inline __attribute__((always_inline))
#define F4(v) ((f4){v, v, v, v})
/* Before a loop that reads and writes the same place or two places apart, never places that
   overlap in another way: it may become vectors without a check. */
#define APART _Pragma("clang loop vectorize(assume_safety) interleave(disable)")

INLINE float clamp(float x, float low, float high) {
  x = x < low ? low : x; /* a NaN compares false and stays */
  return x > high ? high : x;
}

/* Four rows and eight columns of y = a·b at once, in registers; the steps are from row to row. */
INLINE void tile(float *y, int step_y, const float *a, const float *b, int step_b, int k) {
  f4 s[4][2] = {{F4(0), F4(0)}, {F4(0), F4(0)}, {F4(0), F4(0)}, {F4(0), F4(0)}};
  for (int i = 0; i < k; i++, b += step_b) {
    f4 u = *(const f4 *)b, v = *(const f4 *)(b + 4);
#pragma clang loop unroll(full)
    for (int r = 0; r < 4; r++) {
      float t = a[r * k + i];
      s[r][0] += u * F4(t);
      s[r][1] += v * F4(t);
    }
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < 4; r++) {
    *(f4 *)(y + r * step_y) = s[r][0];
    *(f4 *)(y + r * step_y + 4) = s[r][1];
  }
}
