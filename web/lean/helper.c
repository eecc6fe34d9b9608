/*
 * What XNNPACK's binary has no kernel for, or only one that is slower or narrower, for wasm SIMD.
 *
 * The memory is XNNPACK's: this module has no stack, no static data and no allocator of its own
 * (the build checks it), so that nothing here can lie where something of XNNPACK's lies. Lists of
 * numbers (`p`) and tensors are places in that memory. No bound is checked here: the executor
 * checks every step of a plan against the memory once, when it loads the plan.
 */

#include "helper.h"

__attribute__((import_module("env"), import_name("pow"))) double js_pow(double, double);
__attribute__((import_module("env"), import_name("log"))) double js_log(double);
__attribute__((import_module("env"), import_name("sin"))) double js_sin(double);
__attribute__((import_module("env"), import_name("cos"))) double js_cos(double);

/* 2^n·e^r with x = n·ln 2 + r, ln 2 in two parts (Cody and Waite 1980); within 2 units in the last
   place between the limits of float. */
INLINE float exponential(float x) {
  float z = clamp(x, -87.33654f, 88.72283f);
  float n = __builtin_rintf(z * 1.44269504f);
  float r = (z - n * 0.693359375f) + n * 2.12194440e-4f;
  float q = 1.0f / 720;
  q = q * r + 1.0f / 120;
  q = q * r + 1.0f / 24;
  q = q * r + 1.0f / 6;
  q = q * r + 0.5f;
  q = q * r + 1;
  q = q * r + 1;
  union { int bits; float value; } half = {((int)n + 126) << 23}; /* n may be 128: twice the half */
  float e = q * half.value * 2;
  e = x > 88.72283f ? __builtin_inff() : e;
  return x < -87.33654f ? 0 : e;
}

INLINE float sigmoid(float x) { return 1 / (1 + exponential(-x)); }

INLINE float hyperbolic_tangent(float x) {
  float s = x * x;
  float near = x * (1 - s * (1.0f / 3 - s * (2.0f / 15 - s * (17.0f / 315))));
  float far = 1 - 2 / (exponential(2 * x) + 1);
  return s < 0.02f ? near : far;
}

/* The series near zero, Abramowitz and Stegun 7.1.26 beyond (within 1.5e-7). */
INLINE float error_function(float x) {
  float s = x * x, a = __builtin_fabsf(x);
  float near = 1.0f - s * (1.0f / 3 - s * (1.0f / 10 - s * (1.0f / 42 - s * (1.0f / 216 - s / 1320))));
  float t = 1 / (1 + 0.3275911f * a);
  float q = ((((1.061405429f * t - 1.453152027f) * t) + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f;
  float far = __builtin_copysignf(1 - q * t * exponential(-s), x);
  return a < 0.5f ? 1.12837917f * x * near : far;
}

/* One case of `unary`: y[i] = value of x = in[i]. */
#define UNARY(number, value)            \
  case number:                          \
    APART for (int i = 0; i < n; i++) { \
      float x = in[i];                  \
      y[i] = (value);                   \
    }                                   \
    break;

/* y[i] = f(x[i]); a and b are the function's own parameters. y may be x. */
EXPORT(unary)(int kind, float *y, const float *in, int n, float a, float b) {
  switch (kind) {
    UNARY(0, clamp(x, a, b))
    UNARY(1, x < 0 ? a * x : x)
    UNARY(2, sigmoid(x))
    UNARY(3, clamp(a * x + b, 0, 1))
    UNARY(4, x *clamp(x * (1.0f / 6) + 0.5f, 0, 1))
    UNARY(5, x *sigmoid(x))
    UNARY(6, hyperbolic_tangent(x))
    UNARY(7, error_function(x))
    UNARY(8, 0.5f * x * (1 + error_function(x * 0.70710678f)))
    UNARY(9, 0.5f * x * (1 + hyperbolic_tangent(0.79788456f * (x + 0.044715f * x * x * x))))
    UNARY(10, exponential(x))
    UNARY(11, __builtin_sqrtf(x))
    UNARY(12, __builtin_fabsf(x))
    UNARY(13, a / x)
    UNARY(14, __builtin_floorf(x))
    UNARY(15, __builtin_ceilf(x))
    UNARY(16, x < 0 ? a * (exponential(x) - 1) : x)
    UNARY(17, a * x + b)
    UNARY(18, (float)js_log(x))
    UNARY(19, (float)js_sin(x))
    UNARY(20, (float)js_cos(x))
    UNARY(21, (float)js_pow(x, a))
    UNARY(22, x *x)
    UNARY(23, __builtin_rintf(x))
    UNARY(24, x > 30 ? x : (float)js_log(1 + js_pow(2.718281828459045, x)))
  }
}

INLINE float combine(int kind, float u, float v) {
  switch (kind) {
    case 1: return u + v;
    case 2: return u - v;
    case 3: return u * v;
    case 4: return u / v;
    case 5: return v < u || v != v ? v : u;
    case 6: return v > u || v != v ? v : u;
    case 7: return u < 0 ? u * v : u;
    case 8: return (float)js_pow(u, v);
    default: return u;
  }
}

/* The innermost of six loops; the common strides are loops that become vectors. */
INLINE void row(int kind, float *y, const float *a, const float *b, int n, int sy, int sa, int sb,
                float low, float high) {
  if (sy == 1 && sa == 1 && sb == 1) {
    APART for (int i = 0; i < n; i++) y[i] = clamp(combine(kind, a[i], b[i]), low, high);
  } else if (sy == 1 && sa == 1 && sb == 0) {
    float v = *b;
    APART for (int i = 0; i < n; i++) y[i] = clamp(combine(kind, a[i], v), low, high);
  } else {
    for (int i = 0; i < n; i++) y[i * sy] = clamp(combine(kind, a[i * sa], b[i * sb]), low, high);
  }
}

#define ROWS(kind)                                                                        \
  case kind:                                                                              \
    for (int i = 0; i < p[0]; i++)                                                        \
      for (int j = 0; j < p[1]; j++)                                                      \
        for (int k = 0; k < p[2]; k++)                                                    \
          for (int l = 0; l < p[3]; l++)                                                  \
            for (int m = 0; m < p[4]; m++)                                                \
              row(kind, y + i * p[6] + j * p[7] + k * p[8] + l * p[9] + m * p[10],        \
                  a + i * p[12] + j * p[13] + k * p[14] + l * p[15] + m * p[16],          \
                  b + i * p[18] + j * p[19] + k * p[20] + l * p[21] + m * p[22], p[5],    \
                  p[11], p[17], p[23], low, high);                                        \
    break;

/* y = a ∘ b over six axes: p holds their sizes, then the strides of y, a and b. Kind 0 copies a. */
EXPORT(binary)(int kind, float *y, const float *a, const float *b, const int *p, float low, float high) {
  switch (kind) {
    ROWS(0) ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6) ROWS(7) ROWS(8)
  }
}

EXPORT(fill)(float *y, int n, float value) {
  for (int i = 0; i < n; i++) y[i] = value;
}

/* y[outer, inner] = x[outer, n, inner] reduced over n: 0 sum, 1 mean, 2 maximum, 3 minimum,
   4 product, 5 sum of squares. */
EXPORT(reduce)(int kind, float *y, const float *x, int outer, int n, int inner) {
  float start = kind == 2 ? -__builtin_inff() : kind == 3 ? __builtin_inff() : kind == 4 ? 1 : 0;
  for (int o = 0; o < outer; o++, y += inner) {
    for (int i = 0; i < inner; i++) y[i] = start;
    for (int k = 0; k < n; k++, x += inner) {
      if (kind < 2) { APART for (int i = 0; i < inner; i++) y[i] += x[i]; }
      else if (kind == 2) { APART for (int i = 0; i < inner; i++) y[i] = combine(6, y[i], x[i]); }
      else if (kind == 3) { APART for (int i = 0; i < inner; i++) y[i] = combine(5, y[i], x[i]); }
      else if (kind == 4) { APART for (int i = 0; i < inner; i++) y[i] *= x[i]; }
      else { APART for (int i = 0; i < inner; i++) y[i] += x[i] * x[i]; }
    }
    if (kind == 1) for (int i = 0; i < inner; i++) y[i] /= n;
  }
}

/* Softmax of rows of n, or its logarithm; y may be x. */
EXPORT(softmax)(float *y, const float *x, int rows, int n, int logarithm) {
  for (; rows > 0; rows--, x += n, y += n) {
    float top = x[0], sum = 0;
    for (int i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    if (logarithm) {
      for (int i = 0; i < n; i++) sum += exponential(x[i] - top);
      float shift = top + (float)js_log(sum);
      for (int i = 0; i < n; i++) y[i] = x[i] - shift;
    } else {
      APART for (int i = 0; i < n; i++) y[i] = exponential(x[i] - top);
      for (int i = 0; i < n; i++) sum += y[i];
      for (int i = 0; i < n; i++) y[i] /= sum;
    }
  }
}

/* Each row of n brought to mean 0 and variance 1, then times gamma plus beta, which have n entries
   where shared is 0, or one for each of `shared` rows in turn (instance normalization). */
EXPORT(normalize)(float *y, const float *x, const float *gamma, const float *beta, int rows, int n, int shared, float epsilon) {
  for (int r = 0; r < rows; r++, x += n, y += n) {
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    double mean = sum / n;
    for (int i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    float scale = (float)(1 / __builtin_sqrt(squares / n + epsilon)), middle = (float)mean;
    if (shared) {
      float g = gamma[r % shared], c = beta[r % shared];
      APART for (int i = 0; i < n; i++) y[i] = (x[i] - middle) * scale * g + c;
    } else {
      APART for (int i = 0; i < n; i++) y[i] = (x[i] - middle) * scale * gamma[i] + beta[i];
    }
  }
}

/* y[outer, m, inner] = x at index low[m], on the way to index high[m] by weight[m]: linear and
   nearest resizing, padding by reflection or edge, and gathering along one axis. */
EXPORT(gather)(float *y, const float *x, const int *low, const int *high, const float *weight, const int *p) {
  int outer = p[0], n = p[1], inner = p[2], count = p[3];
  for (int o = 0; o < outer; o++, x += n * inner)
    for (int m = 0; m < count; m++, y += inner) {
      const float *a = x + low[m] * inner, *b = x + high[m] * inner;
      float w = weight[m];
      if (w == 0) { APART for (int i = 0; i < inner; i++) y[i] = a[i]; }
      else { APART for (int i = 0; i < inner; i++) y[i] = a[i] + (b[i] - a[i]) * w; }
    }
}

/* y[m] = table[ids[m]] for ids that come with the input; a negative one counts from the end, and
   one outside is led back to the nearest row. */
EXPORT(embed)(float *y, const float *table, const float *ids, int rows, int inner, int count) {
  for (int m = 0; m < count; m++, y += inner) {
    int id = (int)ids[m];
    id = id < 0 ? id + rows : id;
    id = id < 0 ? 0 : id >= rows ? rows - 1 : id;
    for (int i = 0; i < inner; i++) y[i] = table[id * inner + i];
  }
}

/* Maximum (kind 0) or average over windows of NHWC. p: n, h, w, c, oh, ow, kernel, strides,
   dilations (height, width), pads top and left, height and width up to which a place counts. */
EXPORT(pool)(int kind, float *y, const float *x, const int *p) {
  int h = p[1], w = p[2], c = p[3];
  for (int n = 0; n < p[0]; n++, x += h * w * c)
    for (int i = 0; i < p[4]; i++)
      for (int j = 0; j < p[5]; j++, y += c) {
        float start = kind ? 0 : -__builtin_inff();
        int count = 0;
        for (int k = 0; k < c; k++) y[k] = start;
        for (int u = 0; u < p[6]; u++)
          for (int v = 0; v < p[7]; v++) {
            int r = i * p[8] - p[12] + u * p[10], s = j * p[9] - p[13] + v * p[11];
            int inside = r >= 0 && r < h && s >= 0 && s < w;
            count += inside || (p[16] && r < p[14] && s < p[15]);
            if (!inside) continue;
            const float *at = x + (r * w + s) * c;
            if (kind) { APART for (int k = 0; k < c; k++) y[k] += at[k]; }
            else { APART for (int k = 0; k < c; k++) y[k] = combine(6, y[k], at[k]); }
          }
        if (kind) for (int k = 0; k < c; k++) y[k] /= count;
      }
}

/* y[m, n] = a[m, k]·b[k, n], `batch` times, each of a, b and y going on by its own step. */
EXPORT(multiply)(float *y, const float *a, const float *b, const int *p) {
  int m = p[1], n = p[2], k = p[3];
  for (int t = 0; t < p[0]; t++, y += p[4], a += p[5], b += p[6]) {
    int rows = m & ~3, columns = n & ~7;
    for (int i = 0; i < rows; i += 4)
      for (int j = 0; j < columns; j += 8) tile(y + i * n + j, n, a + i * k, b + j, n, k);
    for (int i = 0; i < m; i++)
      for (int j = i < rows ? columns : 0; j < n; j++) {
        float sum = 0;
        for (int l = 0; l < k; l++) sum += a[i * k + l] * b[l * n + j];
        y[i * n + j] = sum;
      }
  }
}

INLINE float half_to_float(int bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  union { int bits; float value; } wide = {(bits & 32768) << 16 | (exponent + 112) << 23 | fraction << 13};
  if (exponent == 31) wide.bits = (bits & 32768) << 16 | 255 << 23 | fraction << 13;
  if (exponent == 0) {
    wide.value = fraction * (1.0f / 16777216);
    wide.bits |= (bits & 32768) << 16;
  }
  return wide.value;
}

/* The stored number at place i. Kinds: 0 float32, 1 float16, 2 int32, 3 and 4 int8 and uint8, 5 and
   6 int4 and uint4, two in a byte, the lower bits first. */
INLINE float stored(int kind, const u8 *x, int i) {
  switch (kind) {
    case 0: return ((const float *)x)[i];
    case 1: return half_to_float(((const unsigned short *)x)[i]);
    case 2: return (float)((const int *)x)[i];
    case 3: return ((const i8 *)x)[i];
    case 4: return x[i];
    case 5: return (i8)(x[i >> 1] << (i & 1 ? 0 : 4)) >> 4;
    default: return x[i >> 1] >> (i & 1 ? 4 : 0) & 15;
  }
}

#define EXPAND(kind)                                                        \
  case kind:                                                                \
    for (int i = 0; i < p[0]; i++)                                          \
      for (int j = 0; j < p[1]; j++)                                        \
        for (int k = 0; k < p[2]; k++) {                                    \
          int from = p[12] + i * p[4] + j * p[5] + k * p[6];                \
          int step = i * p[8] + j * p[9] + k * p[10];                       \
          for (int l = 0; l < p[3]; l++, from += p[7], step += p[11]) {     \
            float v = stored(kind, x, from);                                \
            *y++ = scale ? (v - (zero ? zero[step] : 0)) * scale[step] : v; \
          }                                                                 \
        }                                                                   \
    break;

/* Stored numbers to floats, side by side, over four axes: p holds their sizes, the strides of x,
   those of the scales and zero points, which may be absent (null), and x's first element. */
EXPORT(expand)(int kind, float *y, const u8 *x, const float *scale, const float *zero, const int *p) {
  switch (kind) {
    EXPAND(0) EXPAND(1) EXPAND(2) EXPAND(3) EXPAND(4) EXPAND(5) EXPAND(6)
  }
}
