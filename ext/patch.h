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
static inline void window(double t, four_doubles *out)
{
    four_doubles x = (four_doubles){1, 0, 1, 0} + (four_doubles){-1, 1, -1, 1} * t;
    four_doubles cubic = (four_doubles){0, -1, -1, 0} + (four_doubles){1 / 6., 0.5, 0.5, 1 / 6.} * x;
    *out = (four_doubles){0, 2 / 3., 2 / 3., 0} + x * x * cubic;
}

/* The loops over a step of samples, each a function of its own: inlined in a row they do not all find registers. */
#define APART __attribute__((noinline)) static

/* The row of each sample += its weight times the window at its t. */
APART void add_rows(double *table, const int *first, const double *t, const double *weights, int count)
{
    for (int k = 0; k < count; k++) {
        four_doubles row;
        window(t[k], &row);
        *(four_doubles *)(table + first[k]) += weights[k] * row;
    }
}

/* The patch of each sample += its four weights, `count` apart, times the window at its t. */
APART void add_patches(double *table, ptrdiff_t stride, const int *first, const double *weights, const double *t,
                       int count)
{
    for (int k = 0; k < count; k++) {
        double *patch = table + first[k];
        four_doubles row;
        window(t[k], &row);
        for (int r = 0; r < 4; r++) *(four_doubles *)(patch + r * stride) += weights[k + r * count] * row;
    }
}

/* A transposition: what belongs to four samples, lane by lane, from rows that belong to one each. INNER is which columns
   the lower halves of the interleaved rows hold: lanes are cheap to interleave within 128 bits only. */
#define LINE_UP(LANES, ROWS, COLUMNS, LOW, HIGH, INNER)                                                               \
    {                                                                                                                 \
        __typeof__(ROWS[0]) low_front = SHUFFLE(LANES, ROWS[0], ROWS[1], LOW);                                        \
        __typeof__(ROWS[0]) high_front = SHUFFLE(LANES, ROWS[0], ROWS[1], HIGH);                                      \
        __typeof__(ROWS[0]) low_back = SHUFFLE(LANES, ROWS[2], ROWS[3], LOW);                                         \
        __typeof__(ROWS[0]) high_back = SHUFFLE(LANES, ROWS[2], ROWS[3], HIGH);                                       \
        COLUMNS[0] = SHUFFLE(LANES, low_front, low_back, 0, 1, 4, 5);                                                 \
        COLUMNS[INNER] = SHUFFLE(LANES, low_front, low_back, 2, 3, 6, 7);                                             \
        COLUMNS[3 - INNER] = SHUFFLE(LANES, high_front, high_back, 0, 1, 4, 5);                                       \
        COLUMNS[3] = SHUFFLE(LANES, high_front, high_back, 2, 3, 6, 7);                                               \
    }
#define LINE_UP_float(ROWS, COLUMNS) LINE_UP(four_float_lanes, ROWS, COLUMNS, LOW_4, HIGH_4, 1)
#define LINE_UP_double(ROWS, COLUMNS) LINE_UP(four_double_lanes, ROWS, COLUMNS, EVEN_4, ODD_4, 2)
#define EVEN_4 0, 4, 2, 6
#define ODD_4 1, 5, 3, 7

typedef int four_float_lanes __attribute__((vector_size(16)));
typedef long long four_double_lanes __attribute__((vector_size(32)));

/* Sums for a step of samples, a multiple of four, whose rows begin at `table` + first[...]; weights and slopes hold what
   belongs to the first of four taps for each sample, and `count` further on to the next. */
#define DEFINE_SLOPES(REAL, FOUR)                                                                                     \
    static inline void weigh_taps_##REAL(FOUR *sums, const REAL *slopes, ptrdiff_t apart, REAL *out)                  \
    {                                                                                                                 \
        FOUR taps[4];                                                                                                 \
        LINE_UP_##REAL(sums, taps)                                                                                    \
        *(FOUR *)out = (taps[0] * *(const FOUR *)slopes + taps[1] * *(const FOUR *)(slopes + apart))                  \
                     + (taps[2] * *(const FOUR *)(slopes + 2 * apart) + taps[3] * *(const FOUR *)(slopes + 3 * apart)); \
    }                                                                                                                 \
    /* out = the sum over s of row[s] slope_s */                                                                      \
    APART void row_slopes_##REAL(const REAL *table, const int *first, const REAL *slopes, REAL *out, int count)       \
    {                                                                                                                 \
        for (int k = 0; k < count; k += 4) {                                                                          \
            FOUR sums[4];                                                                                             \
            for (int i = 0; i < 4; i++) sums[i] = *(const FOUR *)(table + first[k + i]);                              \
            weigh_taps_##REAL(sums, slopes + k, count, out + k);                                                      \
        }                                                                                                             \
    }                                                                                                                 \
    /* out = the sum over r, s of patch[r, s] weight_r slope_s */                                                     \
    APART void patch_slopes_##REAL(const REAL *table, ptrdiff_t stride, const int *first, const REAL *weights,        \
                                   const REAL *slopes, REAL *out, int count)                                          \
    {                                                                                                                 \
        for (int k = 0; k < count; k += 4) {                                                                          \
            FOUR sums[4];                                                                                             \
            for (int i = 0; i < 4; i++) {                                                                             \
                const REAL *patch = table + first[k + i], *w = weights + k + i;                                       \
                sums[i] = (w[0] * *(const FOUR *)patch + w[count] * *(const FOUR *)(patch + stride))                  \
                        + (w[2 * count] * *(const FOUR *)(patch + 2 * stride)                                         \
                           + w[3 * count] * *(const FOUR *)(patch + 3 * stride));                                     \
            }                                                                                                         \
            weigh_taps_##REAL(sums, slopes + k, count, out + k);                                                      \
        }                                                                                                             \
    }

DEFINE_SLOPES(float, four_floats)
DEFINE_SLOPES(double, four_doubles)

#endif
