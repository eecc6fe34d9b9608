/*
 * Convolutions of 3x3 windows, one place apart, in 16 products instead of 36 for four results:
 * F(2x2, 3x3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016).
 *
 * The output is cut into squares of 2x2. Each comes from a patch of 4x4: the patch and the windows
 * are transformed, multiplied place by place (a matrix product over the channels for each of the
 * 16 places), and the products transformed back.
 */

#include "helper.h"

/* Floats between two of 16 matrices, which would else lie a power of two apart: in the same few
   places of the processor's cache. */
#define APART_BY 16
#define AT(place) (*(f4 *)(place))
#define EACH(i, n) _Pragma("clang loop unroll(full)") for (int i = 0; i < n; i++)

/* u[16, n / 8, c, 8] from windows w[3, 3, c, n]: G·w·Gᵀ. */
EXPORT(winograd_weights)(float *u, const float *w, int c, int n) {
  int step = c * n, size = step + APART_BY;
  f4 half = F4(0.5f);
  for (int j = 0; j < n; j += 8)
    for (int i = 0; i < c; i++)
      for (int k = 0; k < 8; k += 4, u += 4) {
        const float *from = w + i * n + j + k;
        f4 g[4][3];
        EACH(s, 3) {
          f4 a = AT(from + s * step), b = AT(from + (3 + s) * step), d = AT(from + (6 + s) * step);
          g[0][s] = a;
          g[1][s] = half * (a + b + d);
          g[2][s] = half * (a - b + d);
          g[3][s] = d;
        }
        EACH(r, 4) {
          f4 a = g[r][0], b = g[r][1], d = g[r][2];
          AT(u + (4 * r) * size) = a;
          AT(u + (4 * r + 1) * size) = half * (a + b + d);
          AT(u + (4 * r + 2) * size) = half * (a - b + d);
          AT(u + (4 * r + 3) * size) = d;
        }
      }
}

/* v[16, most, c]: Bᵀ·x·B of the patches from the square `first` on; outside x there are zeros. */
static __attribute__((noinline)) void patches(float *v, const float *x, const float *zeros, const int *p, int first, int some) {
  int h = p[1], w = p[2], c = p[3], across = (p[5] + 1) / 2, size = p[9] * c + APART_BY;
  for (int t = 0; t < some; t++, v += c) {
    int top = (first + t) / across * 2 - p[7], left = (first + t) % across * 2 - p[8];
    const float *from[4][4];
    EACH(r, 4) EACH(s, 4) {
      int inside = top + r >= 0 && top + r < h && left + s >= 0 && left + s < w;
      from[r][s] = inside ? x + ((top + r) * w + left + s) * c : zeros;
    }
    for (int i = 0; i < c; i += 4) {
      f4 d[4][4];
      EACH(s, 4) {
        f4 a = AT(from[0][s] + i), b = AT(from[1][s] + i), e = AT(from[2][s] + i), f = AT(from[3][s] + i);
        d[0][s] = a - e;
        d[1][s] = b + e;
        d[2][s] = e - b;
        d[3][s] = b - f;
      }
      EACH(r, 4) {
        AT(v + (4 * r) * size + i) = d[r][0] - d[r][2];
        AT(v + (4 * r + 1) * size + i) = d[r][1] + d[r][2];
        AT(v + (4 * r + 2) * size + i) = d[r][2] - d[r][1];
        AT(v + (4 * r + 3) * size + i) = d[r][1] - d[r][3];
      }
    }
  }
}

/* m[some, n] = v[some, c]·u at one of the 16 places; up to three rows more are written. */
static __attribute__((noinline)) void products(float *m, const float *v, const float *u, int some, int c, int n) {
  for (int j = 0; j < n; j += 8, u += 8 * c)
    for (int i = 0; i < some; i += 4) tile(m + i * n + j, n, v + i * c, u, 8, c);
}

/* Squares of y from m[16, most, n]: Aᵀ·m·A, plus the bias, within limits. */
static __attribute__((noinline)) void squares(float *y, const float *m, const float *bias, const int *p, int first, int some, float low, float high) {
  int oh = p[4], ow = p[5], n = p[6], across = (ow + 1) / 2, size = p[9] * n + APART_BY;
  for (int t = 0; t < some; t++, m += n) {
    int top = (first + t) / across * 2, left = (first + t) % across * 2;
    float *to = y + (top * ow + left) * n;
    for (int j = 0; j < n; j += 4) {
      f4 d[2][4], b = AT(bias + j);
      EACH(s, 4) {
        f4 q = AT(m + (4 + s) * size + j), r = AT(m + (8 + s) * size + j);
        d[0][s] = AT(m + s * size + j) + q + r;
        d[1][s] = q - r - AT(m + (12 + s) * size + j);
      }
      EACH(r, 2) EACH(s, 2) {
        f4 value = b + (s ? d[r][1] - d[r][2] - d[r][3] : d[r][0] + d[r][1] + d[r][2]);
        value = __builtin_wasm_pmin_f32x4(__builtin_wasm_pmax_f32x4(value, F4(low)), F4(high));
        if (top + r < oh && left + s < ow) AT(to + (r * ow + s) * n + j) = value;
      }
    }
  }
}

/* y = x convolved by windows that were transformed. p: images, height, width and channels of x;
   height, width and channels of y; pads top and left; squares at once, a multiple of 4. The memory
   for work holds c zeros and 16 matrices each of the patches and of the products. */
EXPORT(winograd)(float *y, const float *x, const float *u, const float *bias, float *work, const int *p, float low, float high) {
  int c = p[3], oh = p[4], ow = p[5], n = p[6], most = p[9];
  int count = (oh + 1) / 2 * ((ow + 1) / 2);
  float *v = work + c, *m = v + 16 * (most * c + APART_BY);
  for (int i = 0; i < c; i++) work[i] = 0;
  for (int image = 0; image < p[0]; image++, x += p[1] * p[2] * c, y += oh * ow * n)
    for (int first = 0; first < count; first += most) {
      int some = count - first < most ? count - first : most;
      patches(v, x, work, p, first, some);
      for (int t = 0; t < 16; t++) products(m + t * (most * n + APART_BY), v + t * (most * c + APART_BY), u + t * (c * n + APART_BY), some, c, n);
      squares(y, m, bias, p, first, some, low, high);
    }
}
