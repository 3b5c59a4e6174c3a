/* block_float, block_double: BLOCK_ROWS rows x COLUMNS vectors of a correlation, summed in registers.

   Every loaded vector feeds all rows of the block. The sums are variables of their own and each row of the source meets
   code for just the output rows that it reaches: with a loop over the rows, or sums in an array, the compiler keeps
   part of them in memory (measured: a third slower at 3 x 3). With 512 bits all but one in 16 loads beside the first
   column would cross cache lines, at three cycles each; there the vectors under a tap are put together from aligned
   neighbours by a permutation instead (a quarter faster). */
#ifndef IMGTOOL_BLOCK_H
#define IMGTOOL_BLOCK_H

#include <stddef.h>

#include "simd.h"

#define COLUMNS 4 /* vectors side by side in a block */

/* ADD(r): what the vectors v0 to v3 under a tap add to row r of the block. */
#define ADD(r)                                                                                    \
    tap = taps[-(r) * width];                                                                     \
    t##r##0 += tap * v0, t##r##1 += tap * v1, t##r##2 += tap * v2, t##r##3 += tap * v3;

/* ROW(real, ky, ADDS): a row of the source, seen from all rows of the block that it reaches. */
#if defined(__AVX512F__)
#include <immintrin.h>

typedef int float_lane_numbers __attribute__((vector_size(VECTOR_BYTES)));
typedef long long double_lane_numbers __attribute__((vector_size(VECTOR_BYTES)));

static const float_lane_numbers float_numbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
static const double_lane_numbers double_numbers = {0, 1, 2, 3, 4, 5, 6, 7};

/* The vector whose lanes are those of these numbers in `a` and, from the number of lanes on, `b`. */
#define float_between(a, b, numbers)                                                              \
    ((float_vector)_mm512_permutex2var_ps((__m512)(a), (__m512i)(numbers), (__m512)(b)))
#define double_between(a, b, numbers)                                                             \
    ((double_vector)_mm512_permutex2var_pd((__m512d)(a), (__m512i)(numbers), (__m512d)(b)))

/* The first `count` lanes, fewer than all, with nothing read beyond them. */
#define float_first(place, count) ((float_vector)_mm512_maskz_loadu_ps((__mmask16)((1u << (count)) - 1), place))
#define double_first(place, count) ((double_vector)_mm512_maskz_loadu_pd((__mmask8)((1u << (count)) - 1), place))

#define ROW(real, ky, ADDS)                                                                       \
    {                                                                                             \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(real);                                      \
        const real *row = rows[ky] + x, *taps = kernel + (ky) * width;                            \
        const real##_vector *line = (const real##_vector *)row;                                   \
        real##_vector a0 = line[0], a1 = line[1], a2 = line[2], a3 = line[3];                     \
        real##_vector v0 = a0, v1 = a1, v2 = a2, v3 = a3;                                         \
        ptrdiff_t shift = step, rest = (width - 1) * step;                                        \
        real tap;                                                                                 \
        ADDS                                                                                      \
        while (rest >= shift) {                                                                    \
            const ptrdiff_t farthest = rest < lanes ? rest : lanes - 1;                           \
            const real##_vector a4 = real##_first(row + 4 * lanes, farthest);                     \
            real##_lane_numbers numbers = real##_numbers + (int)shift;                            \
            for (; shift <= farthest; shift += step, numbers += (int)step) {                      \
                taps++;                                                                           \
                v0 = real##_between(a0, a1, numbers), v1 = real##_between(a1, a2, numbers);       \
                v2 = real##_between(a2, a3, numbers), v3 = real##_between(a3, a4, numbers);       \
                ADDS                                                                              \
            }                                                                                     \
            if (rest < lanes) break;                                                              \
            row += lanes, shift -= lanes, rest -= lanes;                                          \
            a0 = a1, a1 = a2, a2 = a3, a3 = ((const real##_vector *)row)[3];                      \
        }                                                                                         \
    }
#else
#define ROW(real, ky, ADDS)                                                                       \
    {                                                                                             \
        const real *row = rows[ky] + x, *taps = kernel + (ky) * width, *end = taps + width;       \
        for (; taps < end; taps++, row += step) {                                                 \
            const real##_vector *line = (const real##_vector *)row, v0 = line[0], v1 = line[1];   \
            const real##_vector v2 = line[2], v3 = line[3];                                       \
            real tap;                                                                             \
            ADDS                                                                                  \
        }                                                                                         \
    }
#endif

#define SUMS(real, r)                                                                             \
    t##r##0 = ((const real##_vector *)(start + (r) * start_stride))[0],                           \
    t##r##1 = ((const real##_vector *)(start + (r) * start_stride))[1],                           \
    t##r##2 = ((const real##_vector *)(start + (r) * start_stride))[2],                           \
    t##r##3 = ((const real##_vector *)(start + (r) * start_stride))[3]

#define STORE(real, r)                                                                            \
    ((real##_vector *)(out + (r) * out_stride))[0] = t##r##0;                                     \
    ((real##_vector *)(out + (r) * out_stride))[1] = t##r##1;                                     \
    ((real##_vector *)(out + (r) * out_stride))[2] = t##r##2;                                     \
    ((real##_vector *)(out + (r) * out_stride))[3] = t##r##3;

/* Which rows of the block the source's rows reach, for each height of the kernel. */
#if BLOCK_ROWS == 5
#define ALL_SUMS(real) SUMS(real, 0), SUMS(real, 1), SUMS(real, 2), SUMS(real, 3), SUMS(real, 4)
#define STORE_ALL(real) STORE(real, 0) STORE(real, 1) STORE(real, 2) STORE(real, 3) STORE(real, 4)
#define ALL_ROWS(real)                                                                            \
    switch (height) {                                                                             \
    case 1:                                                                                       \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(1))                                                                      \
        ROW(real, 2, ADD(2))                                                                      \
        ROW(real, 3, ADD(3))                                                                      \
        ROW(real, 4, ADD(4))                                                                      \
        break;                                                                                    \
    case 2:                                                                                       \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(0) ADD(1))                                                               \
        ROW(real, 2, ADD(1) ADD(2))                                                               \
        ROW(real, 3, ADD(2) ADD(3))                                                               \
        ROW(real, 4, ADD(3) ADD(4))                                                               \
        ROW(real, 5, ADD(4))                                                                      \
        break;                                                                                    \
    case 3:                                                                                       \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(0) ADD(1))                                                               \
        ROW(real, 2, ADD(0) ADD(1) ADD(2))                                                        \
        ROW(real, 3, ADD(1) ADD(2) ADD(3))                                                        \
        ROW(real, 4, ADD(2) ADD(3) ADD(4))                                                        \
        ROW(real, 5, ADD(3) ADD(4))                                                               \
        ROW(real, 6, ADD(4))                                                                      \
        break;                                                                                    \
    default:                                                                                      \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(0) ADD(1))                                                               \
        ROW(real, 2, ADD(0) ADD(1) ADD(2))                                                        \
        ROW(real, 3, ADD(0) ADD(1) ADD(2) ADD(3))                                                 \
        for (ptrdiff_t ky = 4; ky < height; ky++) ROW(real, ky, ADD(0) ADD(1) ADD(2) ADD(3) ADD(4)) \
        ROW(real, height, ADD(1) ADD(2) ADD(3) ADD(4))                                            \
        ROW(real, height + 1, ADD(2) ADD(3) ADD(4))                                               \
        ROW(real, height + 2, ADD(3) ADD(4))                                                      \
        ROW(real, height + 3, ADD(4))                                                             \
    }
#else
#define ALL_SUMS(real) SUMS(real, 0), SUMS(real, 1), SUMS(real, 2)
#define STORE_ALL(real) STORE(real, 0) STORE(real, 1) STORE(real, 2)
#define ALL_ROWS(real)                                                                            \
    switch (height) {                                                                             \
    case 1:                                                                                       \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(1))                                                                      \
        ROW(real, 2, ADD(2))                                                                      \
        break;                                                                                    \
    default:                                                                                      \
        ROW(real, 0, ADD(0))                                                                      \
        ROW(real, 1, ADD(0) ADD(1))                                                               \
        for (ptrdiff_t ky = 2; ky < height; ky++) ROW(real, ky, ADD(0) ADD(1) ADD(2))             \
        ROW(real, height, ADD(1) ADD(2))                                                          \
        ROW(real, height + 1, ADD(2))                                                             \
    }
#endif

#if defined(__AVX512F__)
#define UNROLLED _Pragma("GCC unroll 8")
#define FOUR(place) (place)[0], (place)[1], (place)[2], (place)[3]

/* 3 x 3, every row from the same start: an output row is begun and ended as the source's rows come by, so that sums of three
   rows are alive at a time. With all of them the compiler keeps some in memory (a quarter slower in cache). */
#define DEFINE_3X3(real)                                                                          \
    static inline void block_3x3_##real(const real *const *rows, const real *kernel, ptrdiff_t x, const real *start, \
                                        real *out, ptrdiff_t out_stride) {                        \
        const real##_vector first[COLUMNS] = {FOUR((const real##_vector *)start)};            \
        real##_vector t[BLOCK_ROWS][COLUMNS];                                                     \
        UNROLLED for (int y = 0; y < BLOCK_ROWS + 2; y++) {                                       \
            const real##_vector *line = (const real##_vector *)(rows[y] + x);                     \
            const real##_vector a[COLUMNS + 1] = {FOUR(line), real##_first((const real *)(line + COLUMNS), 2)}; \
            if (y < BLOCK_ROWS) UNROLLED for (int c = 0; c < COLUMNS; c++) t[y][c] = first[c];    \
            UNROLLED for (int kx = 0; kx < 3; kx++) UNROLLED for (int c = 0; c < COLUMNS; c++) {  \
                const real##_vector v = kx ? real##_between(a[c], a[c + 1], real##_numbers + kx) : a[c]; \
                UNROLLED for (int ky = 0; ky < 3; ky++)                                           \
                    if (y >= ky && y - ky < BLOCK_ROWS) t[y - ky][c] += kernel[ky * 3 + kx] * v;  \
            }                                                                                     \
            if (y >= 2) UNROLLED for (int c = 0; c < COLUMNS; c++)                                \
                ((real##_vector *)(out + (y - 2) * out_stride))[c] = t[y - 2][c];                 \
        }                                                                                         \
    }

DEFINE_3X3(float)
DEFINE_3X3(double)

#define TRY_3X3(real)                                                                             \
    if (height == 3 && width == 3 && step == 1 && start_stride == 0) {                            \
        block_3x3_##real(rows, kernel, x, start, out, out_stride);                                \
        return;                                                                                   \
    }
#else
#define TRY_3X3(real)
#endif

/* Add the correlation of a block at `x` to `start`, giving `out`. rows: height + BLOCK_ROWS - 1 of the source; step: the
   distance of neighbouring pixels in a row, in values. */
#define DEFINE_BLOCK(real)                                                                        \
    static void block_##real(const real *const *rows, const real *kernel, ptrdiff_t height, ptrdiff_t width, \
                             ptrdiff_t step, ptrdiff_t x, const real *start, ptrdiff_t start_stride, real *out, \
                             ptrdiff_t out_stride) {                                              \
        TRY_3X3(real)                                                                             \
        real##_vector ALL_SUMS(real);                                                             \
        ALL_ROWS(real)                                                                            \
        STORE_ALL(real)                                                                           \
    }

DEFINE_BLOCK(float)
DEFINE_BLOCK(double)

#undef ADD
#undef ROW
#undef SUMS
#undef STORE
#undef ALL_SUMS
#undef STORE_ALL
#undef ALL_ROWS
#undef DEFINE_BLOCK
#undef TRY_3X3
#if defined(__AVX512F__)
#undef UNROLLED
#undef FOUR
#undef DEFINE_3X3
#endif

#endif
