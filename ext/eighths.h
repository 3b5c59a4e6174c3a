/* eighths_float, eighths_double: the Fourier transform of eight complex vectors, in place; r and i hold their parts.
   Always inlined, so that arrays of the caller's stay in registers. The inverse is the same with results 1 to 7 in
   reverse order. */
#ifndef IMGTOOL_EIGHTHS_H
#define IMGTOOL_EIGHTHS_H

#include "simd.h"

#define DEFINE_EIGHTHS(real)                                                                      \
    static inline __attribute__((always_inline)) void eighths_##real(real##_vector *r, real##_vector *i) { \
        const real root = (real)0.70710678118654752440;                                           \
        real##_vector sr[4], si[4], dr[4], di[4], ur, ui, vr, vi;                                 \
        for (int k = 0; k < 4; k++) {                                                             \
            sr[k] = r[k] + r[k + 4], si[k] = i[k] + i[k + 4];                                     \
            dr[k] = r[k] - r[k + 4], di[k] = i[k] - i[k + 4];                                     \
        }                                                                                         \
        ur = sr[0] + sr[2], ui = si[0] + si[2], vr = sr[1] + sr[3], vi = si[1] + si[3];           \
        r[0] = ur + vr, i[0] = ui + vi, r[4] = ur - vr, i[4] = ui - vi;                           \
        ur = sr[0] - sr[2], ui = si[0] - si[2], vr = sr[1] - sr[3], vi = si[1] - si[3];           \
        r[2] = ur + vi, i[2] = ui - vr, r[6] = ur - vi, i[6] = ui + vr;                           \
        /* The odd results: differences turned by 0 to 3 eighths of a circle, the second by two. */ \
        sr[1] = root * (dr[1] + di[1]), si[1] = root * (di[1] - dr[1]);                           \
        sr[3] = root * (di[3] - dr[3]), si[3] = -root * (dr[3] + di[3]);                          \
        ur = dr[0] + di[2], ui = di[0] - dr[2], vr = sr[1] + sr[3], vi = si[1] + si[3];           \
        r[1] = ur + vr, i[1] = ui + vi, r[5] = ur - vr, i[5] = ui - vi;                           \
        ur = dr[0] - di[2], ui = di[0] + dr[2], vr = sr[1] - sr[3], vi = si[1] - si[3];           \
        r[3] = ur + vi, i[3] = ui - vr, r[7] = ur - vi, i[7] = ui + vr;                           \
    }

DEFINE_EIGHTHS(float)
DEFINE_EIGHTHS(double)

#undef DEFINE_EIGHTHS

#endif
