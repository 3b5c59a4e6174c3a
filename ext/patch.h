/* Sums over the 4 x 4 bins that a sample touches, a row of four at a time. From the plain loops gcc 12 makes gathers of
   sixteen bins into one wide register: 8.3 against 6.9 ns per sample for adding, 8.0 against 5.6 for the weighted sum. */
#ifndef IMGTOOL_PATCH_H
#define IMGTOOL_PATCH_H

#include <stddef.h>

typedef float four_floats __attribute__((vector_size(16), aligned(4), may_alias));
typedef double four_doubles __attribute__((vector_size(32), aligned(8), may_alias));

/* patch[r, s] += a[r] * b[s] */
#define DEFINE_ADD_PATCH(REAL, FOUR)                                                                                  \
    static inline void add_patch_##REAL(double *patch, ptrdiff_t stride, const REAL *a, const REAL *b)                \
    {                                                                                                                 \
        four_doubles row = __builtin_convertvector(*(const FOUR *)b, four_doubles);                                   \
        for (int r = 0; r < 4; r++)                                                                                   \
            *(four_doubles *)(patch + r * stride) += row * (double)a[r];                                              \
    }

/* The sum over r, s of patch[r, s] * a[r] * b[s] */
#define DEFINE_DOT_PATCH(REAL, FOUR)                                                                                  \
    static inline REAL dot_patch_##REAL(const REAL *patch, ptrdiff_t stride, const REAL *a, const REAL *b)            \
    {                                                                                                                 \
        FOUR upper = a[0] * *(const FOUR *)patch + a[1] * *(const FOUR *)(patch + stride);                            \
        FOUR lower = a[2] * *(const FOUR *)(patch + 2 * stride) + a[3] * *(const FOUR *)(patch + 3 * stride);         \
        FOUR product = (upper + lower) * *(const FOUR *)b;                                                            \
        return (product[0] + product[1]) + (product[2] + product[3]);                                                 \
    }

DEFINE_ADD_PATCH(float, four_floats)
DEFINE_ADD_PATCH(double, four_doubles)
DEFINE_DOT_PATCH(float, four_floats)
DEFINE_DOT_PATCH(double, four_doubles)

#endif
