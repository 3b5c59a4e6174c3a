/* What one sample does to the 4 x 4 bins under its cubic B-spline windows, a row of four at a time. From plain loops
   gcc 12 makes gathers of sixteen bins into one wide register, which take half as long again. */
#ifndef IMGTOOL_PATCH_H
#define IMGTOOL_PATCH_H

#include <stddef.h>

typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef double four_doubles __attribute__((vector_size(32), aligned(8), may_alias));

/* With u = 1 - t the weights of the taps first ... first + 3 of a point at first + 1 + t are
       u^3 / 6,  2/3 - t^2 + t^3 / 2,  2/3 - u^2 + u^3 / 2,  t^3 / 6,
   that is a + x^2 (b + c x) with x = (u, t, u, t); their slopes are x (d + e x). No weight comes out negative. */
#define DEFINE_PATCH(REAL, FOUR)                                                                                      \
    static inline FOUR ends_##REAL(REAL t)                                                                            \
    {                                                                                                                 \
        return (FOUR){1, 0, 1, 0} + (FOUR){-1, 1, -1, 1} * t;                                                         \
    }                                                                                                                 \
    static inline FOUR weights_##REAL(REAL t)                                                                         \
    {                                                                                                                 \
        FOUR x = ends_##REAL(t);                                                                                      \
        FOUR cubic = (FOUR){0, -1, -1, 0} + (FOUR){(REAL)(1 / 6.), 0.5, 0.5, (REAL)(1 / 6.)} * x;                     \
        return (FOUR){0, (REAL)(2 / 3.), (REAL)(2 / 3.), 0} + x * x * cubic;                                          \
    }                                                                                                                 \
    static inline FOUR slopes_##REAL(REAL t)                                                                          \
    {                                                                                                                 \
        FOUR x = ends_##REAL(t);                                                                                      \
        return x * ((FOUR){0, -2, 2, 0} + (FOUR){-0.5, 1.5, -1.5, 0.5} * x);                                          \
    }                                                                                                                 \
    static inline REAL sum_of_##REAL(FOUR v) { return (v[0] + v[2]) + (v[1] + v[3]); }                                \
    /* row[s] += the window at t */                                                                                   \
    static inline void add_row_##REAL(REAL *row, REAL t) { *(FOUR *)row += weights_##REAL(t); }                       \
    /* patch[r, s] += w_r times the window at t */                                                                    \
    static inline void add_patch_##REAL(REAL *patch, ptrdiff_t stride, REAL w0, REAL w1, REAL w2, REAL w3, REAL t)    \
    {                                                                                                                 \
        FOUR window = weights_##REAL(t);                                                                              \
        *(FOUR *)patch += w0 * window;                                                                                \
        *(FOUR *)(patch + stride) += w1 * window;                                                                     \
        *(FOUR *)(patch + 2 * stride) += w2 * window;                                                                 \
        *(FOUR *)(patch + 3 * stride) += w3 * window;                                                                 \
    }                                                                                                                 \
    /* The sum over s of row[s] times the window's slopes at t */                                                     \
    static inline REAL row_slope_##REAL(const REAL *row, REAL t)                                                      \
    {                                                                                                                 \
        return sum_of_##REAL(*(const FOUR *)row * slopes_##REAL(t));                                                  \
    }                                                                                                                 \
    /* The sum over r, s of patch[r, s] times w_r times the window's slopes at t */                                   \
    static inline REAL patch_slope_##REAL(const REAL *patch, ptrdiff_t stride, REAL w0, REAL w1, REAL w2, REAL w3,    \
                                          REAL t)                                                                     \
    {                                                                                                                 \
        FOUR upper = w0 * *(const FOUR *)patch + w1 * *(const FOUR *)(patch + stride);                                \
        FOUR lower = w2 * *(const FOUR *)(patch + 2 * stride) + w3 * *(const FOUR *)(patch + 3 * stride);             \
        return sum_of_##REAL((upper + lower) * slopes_##REAL(t));                                                     \
    }

DEFINE_PATCH(float, four_floats)
DEFINE_PATCH(double, four_doubles)

#endif
