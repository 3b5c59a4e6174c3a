/* What one sample does to the 4 x 4 bins under its cubic B-spline windows, a row of four at a time. From plain loops
   gcc 12 makes gathers of sixteen bins into one wide register, which take half as long again. */
#ifndef IMGTOOL_PATCH_H
#define IMGTOOL_PATCH_H

#include <stddef.h>
#include "simd.h"

typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef double four_doubles __attribute__((vector_size(32), aligned(8), may_alias));

/* With u = 1 - t the weights of the taps first ... first + 3 of a point at first + 1 + t are
       u^3 / 6,  2/3 - t^2 + t^3 / 2,  2/3 - u^2 + u^3 / 2,  t^3 / 6,
   that is a + x^2 (b + c x) with x = (u, t, u, t). No weight comes out negative. */
static inline four_doubles window(double t)
{
    four_doubles x = (four_doubles){1, 0, 1, 0} + (four_doubles){-1, 1, -1, 1} * t;
    four_doubles cubic = (four_doubles){0, -1, -1, 0} + (four_doubles){1 / 6., 0.5, 0.5, 1 / 6.} * x;
    return (four_doubles){0, 2 / 3., 2 / 3., 0} + x * x * cubic;
}

/* row[s] += the window at t */
static inline void add_row(double *row, double t) { *(four_doubles *)row += window(t); }

/* patch[r, s] += w[r] times the window at t; the four w are `apart` */
static inline void add_patch(double *patch, ptrdiff_t stride, const double *w, ptrdiff_t apart, double t)
{
    four_doubles weights = window(t);
    for (int r = 0; r < 4; r++) *(four_doubles *)(patch + r * stride) += w[r * apart] * weights;
}

#define LINE_UP(LANES, ROWS, COLUMNS) /* a transposition: what belongs to four samples, lane by lane */                 \
    {                                                                                                                 \
        __typeof__(ROWS[0]) even_low = SHUFFLE(LANES, ROWS[0], ROWS[2], 0, 4, 1, 5);                                  \
        __typeof__(ROWS[0]) even_high = SHUFFLE(LANES, ROWS[0], ROWS[2], 2, 6, 3, 7);                                 \
        __typeof__(ROWS[0]) odd_low = SHUFFLE(LANES, ROWS[1], ROWS[3], 0, 4, 1, 5);                                   \
        __typeof__(ROWS[0]) odd_high = SHUFFLE(LANES, ROWS[1], ROWS[3], 2, 6, 3, 7);                                  \
        COLUMNS[0] = SHUFFLE(LANES, even_low, odd_low, 0, 4, 1, 5);                                                   \
        COLUMNS[1] = SHUFFLE(LANES, even_low, odd_low, 2, 6, 3, 7);                                                   \
        COLUMNS[2] = SHUFFLE(LANES, even_high, odd_high, 0, 4, 1, 5);                                                 \
        COLUMNS[3] = SHUFFLE(LANES, even_high, odd_high, 2, 6, 3, 7);                                                 \
    }

/* Sums for four samples, whose rows begin at `table` + first[0 ... 3]; the arrays hold what belongs to the first of four
   taps for each sample, and `apart` further on to the next. */
#define DEFINE_SLOPES(REAL, FOUR, LANES)                                                                              \
    /* out = the sum over s of row[s] slope_s */                                                                      \
    static inline void row_slopes_##REAL(const REAL *table, const int *first, const REAL *slopes, ptrdiff_t apart,    \
                                         REAL *out)                                                                   \
    {                                                                                                                 \
        FOUR sums[4], taps[4];                                                                                        \
        for (int k = 0; k < 4; k++) sums[k] = *(const FOUR *)(table + first[k]);                                      \
        LINE_UP(LANES, sums, taps)                                                                                    \
        *(FOUR *)out = (taps[0] * *(const FOUR *)slopes + taps[1] * *(const FOUR *)(slopes + apart))                  \
                     + (taps[2] * *(const FOUR *)(slopes + 2 * apart) + taps[3] * *(const FOUR *)(slopes + 3 * apart)); \
    }                                                                                                                 \
    /* out = the sum over r, s of patch[r, s] weight_r slope_s */                                                     \
    static inline void patch_slopes_##REAL(const REAL *table, const int *first, ptrdiff_t stride,                     \
                                           const REAL *weights, const REAL *slopes, ptrdiff_t apart, REAL *out)       \
    {                                                                                                                 \
        FOUR sums[4], taps[4];                                                                                        \
        for (int k = 0; k < 4; k++) {                                                                                 \
            const REAL *patch = table + first[k], *w = weights + k;                                                   \
            sums[k] = (w[0] * *(const FOUR *)patch + w[apart] * *(const FOUR *)(patch + stride))                      \
                    + (w[2 * apart] * *(const FOUR *)(patch + 2 * stride)                                             \
                       + w[3 * apart] * *(const FOUR *)(patch + 3 * stride));                                         \
        }                                                                                                             \
        LINE_UP(LANES, sums, taps)                                                                                    \
        *(FOUR *)out = (taps[0] * *(const FOUR *)slopes + taps[1] * *(const FOUR *)(slopes + apart))                  \
                     + (taps[2] * *(const FOUR *)(slopes + 2 * apart) + taps[3] * *(const FOUR *)(slopes + 3 * apart)); \
    }

typedef int four_float_lanes __attribute__((vector_size(16)));
typedef long long four_double_lanes __attribute__((vector_size(32)));

DEFINE_SLOPES(float, four_floats, four_float_lanes)
DEFINE_SLOPES(double, four_doubles, four_double_lanes)

#endif
