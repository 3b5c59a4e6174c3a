/* edges_float, edges_double: BLOCK_ROWS rows of the columns at both sides whose reach crosses the border, one vector to
   a row, summed like a block, value for value. */
#ifndef IMGTOOL_EDGES_H
#define IMGTOOL_EDGES_H

#include "block.h"

#define LANES(real) (VECTOR_BYTES / (int)sizeof(real))

/* PICK: of `first` and `last` the values of these numbers, counted on. STORE: the first lanes and the last. */
#if defined(__AVX512F__)
#define PICK(real, numbers) real##_between(first, last, numbers)
#define float_some(place, mask, v) _mm512_mask_storeu_ps(place, (__mmask16)(mask), (__m512)(v))
#define double_some(place, mask, v) _mm512_mask_storeu_pd(place, (__mmask8)(mask), (__m512d)(v))
#define STORE(real, v)                                                                            \
    real##_some(out, (1u << left) - 1, v);                                                        \
    real##_some(out + out_values - LANES(real), ~0u << (LANES(real) - right), v);
#else
#define STORE(real, v)                                                                            \
    for (int i = 0; i < left; i++) out[i] = (v)[i];                                               \
    for (int i = 1; i <= right; i++) out[out_values - i] = (v)[LANES(real) - i];
#if !defined(__clang__)
#define PICK(real, numbers) __builtin_shuffle(first, last, numbers)
#else
#define PICK(real, numbers)                                                                       \
    ({                                                                                            \
        real##_vector picked;                                                                     \
        for (int i = 0; i < LANES(real); i++)                                                     \
            picked[i] = (numbers)[i] < LANES(real) ? first[(numbers)[i]] : last[(numbers)[i] - LANES(real)]; \
        picked;                                                                                   \
    })
#endif
#endif

/* rows: height + BLOCK_ROWS - 1 of `row_values`, a vector at least. numbers: for each of the kernel's columns which
   values lie under it, in a row's first vector or, from LANES on, in its last; kept, constant: of these the bits to keep
   and those to set where the constant lies instead, or NULL both. taken: room for width vectors to a row of the source.
   The first lanes of the sums are the first `left` values of a row of the output, the last ones its last `right`. */
#define DEFINE_EDGES(real)                                                                        \
    static void edges_##real(                                                                     \
        const real *const *rows, ptrdiff_t row_values, const real *kernel, ptrdiff_t height, ptrdiff_t width, \
        const real##_lanes *numbers, const real##_lanes *kept, const real##_lanes *constant, real bias, \
        real##_vector *taken, real *out, ptrdiff_t out_values, ptrdiff_t out_stride, int left, int right) { \
        real##_vector sums[BLOCK_ROWS];                                                           \
        if (left + right == 0) return;                                                            \
        for (ptrdiff_t y = 0; y < height + BLOCK_ROWS - 1; y++) {                                 \
            const real##_vector first = *(const real##_vector *)rows[y];                          \
            const real##_vector last = *(const real##_vector *)(rows[y] + row_values - LANES(real)); \
            for (ptrdiff_t x = 0; x < width; x++) {                                               \
                real##_vector v = PICK(real, numbers[x]);                                         \
                if (kept) v = (real##_vector)(((real##_lanes)v & kept[x]) | constant[x]);         \
                taken[y * width + x] = v;                                                         \
            }                                                                                     \
        }                                                                                         \
        for (int r = 0; r < BLOCK_ROWS; r++) sums[r] = (real##_vector){} + bias;                  \
        for (ptrdiff_t i = 0; i < height * width; i++)                                            \
            for (int r = 0; r < BLOCK_ROWS; r++) sums[r] += kernel[i] * taken[i + r * width];     \
        for (int r = 0; r < BLOCK_ROWS; r++, out += out_stride) { STORE(real, sums[r]) }          \
    }
DEFINE_EDGES(float)
DEFINE_EDGES(double)

#undef DEFINE_EDGES
#undef PICK
#undef STORE

#endif
