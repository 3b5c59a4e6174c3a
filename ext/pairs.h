/* pair_block: PAIR_ROWS rows x 2 vectors of a correlation of 16-bit values, two products to an instruction.

   Values are less by 2^15. A lane of a vector holds one and the one a tap further on: two loads interleaved, which mixes
   the lanes of the block's two vectors as packing the sums to 16 bits puts them right. Taps are fixed point numbers in two
   halves, high * 2^shift + low, whose sums are kept apart in 32 bits. The sums of the high halves may wrap around, for
   what they come to in the end does not; those of the low halves are carried over before they would. Everything is exact:
   taps of 0 for rows beyond the kernel would do no harm, but cost time. */
#ifndef IMGTOOL_PAIRS_H
#define IMGTOOL_PAIRS_H

#include <stddef.h>
#include <stdint.h>

#define PAIR_ROWS 5 /* 5 x 2 x 2 accumulators of 32 registers */
#define PAIR_VALUES 32 /* side by side in a block */

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include <immintrin.h>

static inline int pairs_supported(void) {
    return __builtin_cpu_supports("avx512vnni") != 0;
}

/* The intrinsic makes GCC 12 copy accumulators back and forth. */
#define PRODUCTS(sum, values) __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(values), "v"(tap));

#define ADD(r)                                                                                    \
    tap = _mm512_set1_epi32(high[-(r) * pairs]);                                                  \
    PRODUCTS(h##r##0, v0) PRODUCTS(h##r##1, v1)                                                   \
    tap = _mm512_set1_epi32(low[-(r) * pairs]);                                                   \
    PRODUCTS(l##r##0, v0) PRODUCTS(l##r##1, v1)

#define CARRY(r)                                                                                  \
    h##r##0 = _mm512_add_epi32(h##r##0, _mm512_sra_epi32(l##r##0, by));                           \
    h##r##1 = _mm512_add_epi32(h##r##1, _mm512_sra_epi32(l##r##1, by));                           \
    l##r##0 = _mm512_and_si512(l##r##0, below), l##r##1 = _mm512_and_si512(l##r##1, below);

#define CARRY_ALL CARRY(0) CARRY(1) CARRY(2) CARRY(3) CARRY(4)

#define ROW(ky, ADDS)                                                                             \
    {                                                                                             \
        const int16_t *row = rows[ky] + x;                                                        \
        const int32_t *high = highs + (ky) * pairs, *low = lows + (ky) * pairs;                   \
        for (ptrdiff_t pair = 0; pair < pairs; pair++, row += 2 * step, high++, low++) {          \
            const __m512i here = _mm512_loadu_si512(row), next = _mm512_loadu_si512(row + step);  \
            const __m512i v0 = _mm512_unpacklo_epi16(here, next), v1 = _mm512_unpackhi_epi16(here, next); \
            __m512i tap;                                                                          \
            ADDS                                                                                  \
        }                                                                                         \
        if (++since == carry) {                                                                   \
            CARRY_ALL                                                                             \
            since = 0;                                                                            \
        }                                                                                         \
    }

/* Half to even: what lies exactly between becomes even again. Sums are less by 2^15 - 1/4, so that 1/4 rounds them. */
#define ROUNDED(h, l)                                                                             \
    (sum = _mm512_add_epi32(h, quarter),                                                             \
     tie = _mm512_testn_epi32_mask(sum, fraction) & _mm512_testn_epi32_mask(l, l),                \
     sum = _mm512_sra_epi32(sum, point), sum = _mm512_mask_and_epi32(sum, tie, sum, even),        \
     _mm512_add_epi32(sum, offset))

#define STORE(r)                                                                                  \
    if (r < height_left) {                                                                        \
        const __m512i s0 = ROUNDED(h##r##0, l##r##0), s1 = ROUNDED(h##r##1, l##r##1);             \
        if (_mm512_test_epi32_mask(_mm512_or_si512(s0, s1), beyond))                              \
            saturated += __builtin_popcount(_mm512_mask_test_epi32_mask(valid0, s0, beyond))      \
                         + __builtin_popcount(_mm512_mask_test_epi32_mask(valid1, s1, beyond));   \
        _mm512_mask_storeu_epi16(out + r * out_stride, valid, _mm512_packus_epi32(s0, s1));       \
    }

/* rows: height + PAIR_ROWS - 1, each of PAIR_VALUES + (2 * pairs - 1) * step values from x on; highs, lows: the taps, two to
   a number; step: from a pixel to the next; carry: after so many rows; start: what all sums begin with; point: bits behind
   the point of the high halves. Writes `width_left` columns and `height_left` rows at most and returns how many values were
   saturated. */
static ptrdiff_t pair_block(
    const int16_t *const *rows, const int32_t *highs, const int32_t *lows, ptrdiff_t height, ptrdiff_t pairs,
    ptrdiff_t step, ptrdiff_t x, int shift, ptrdiff_t carry, int32_t start_high, int32_t start_low, int points,
    uint16_t *out, ptrdiff_t out_stride, ptrdiff_t width_left, ptrdiff_t height_left) {
    const __m512i below = _mm512_set1_epi32((1 << shift) - 1);
    const __m128i by = _mm_cvtsi32_si128(shift);
    const __m512i sh = _mm512_set1_epi32(start_high), sl = _mm512_set1_epi32(start_low);
    __m512i h00 = sh, h01 = sh, h10 = sh, h11 = sh, h20 = sh, h21 = sh, h30 = sh, h31 = sh, h40 = sh, h41 = sh;
    __m512i l00 = sl, l01 = sl, l10 = sl, l11 = sl, l20 = sl, l21 = sl, l30 = sl, l31 = sl, l40 = sl, l41 = sl;
    ptrdiff_t since = 0, saturated = 0;
    switch (height) {
    case 1:
        ROW(0, ADD(0))
        ROW(1, ADD(1))
        ROW(2, ADD(2))
        ROW(3, ADD(3))
        ROW(4, ADD(4))
        break;
    case 2:
        ROW(0, ADD(0))
        ROW(1, ADD(0) ADD(1))
        ROW(2, ADD(1) ADD(2))
        ROW(3, ADD(2) ADD(3))
        ROW(4, ADD(3) ADD(4))
        ROW(5, ADD(4))
        break;
    case 3:
        ROW(0, ADD(0))
        ROW(1, ADD(0) ADD(1))
        ROW(2, ADD(0) ADD(1) ADD(2))
        ROW(3, ADD(1) ADD(2) ADD(3))
        ROW(4, ADD(2) ADD(3) ADD(4))
        ROW(5, ADD(3) ADD(4))
        ROW(6, ADD(4))
        break;
    default:
        ROW(0, ADD(0))
        ROW(1, ADD(0) ADD(1))
        ROW(2, ADD(0) ADD(1) ADD(2))
        ROW(3, ADD(0) ADD(1) ADD(2) ADD(3))
        for (ptrdiff_t ky = 4; ky < height; ky++) ROW(ky, ADD(0) ADD(1) ADD(2) ADD(3) ADD(4))
        ROW(height, ADD(1) ADD(2) ADD(3) ADD(4))
        ROW(height + 1, ADD(2) ADD(3) ADD(4))
        ROW(height + 2, ADD(3) ADD(4))
        ROW(height + 3, ADD(4))
    }
    CARRY_ALL
    const __m512i quarter = _mm512_set1_epi32(1 << (points - 2)), fraction = _mm512_set1_epi32((1 << points) - 1);
    const __m512i even = _mm512_set1_epi32(~1), offset = _mm512_set1_epi32(1 << 15), beyond = _mm512_set1_epi32(~65535);
    const __m128i point = _mm_cvtsi32_si128(points);
    const uint32_t valid = width_left < PAIR_VALUES ? (1u << width_left) - 1 : ~0u;
    const __m512i places = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27); /* of v0's lanes */
    const __m512i left = _mm512_set1_epi32((int)(width_left < PAIR_VALUES ? width_left : PAIR_VALUES));
    const uint32_t valid0 = _mm512_cmplt_epi32_mask(places, left);
    const uint32_t valid1 = _mm512_cmplt_epi32_mask(places, _mm512_sub_epi32(left, _mm512_set1_epi32(4)));
    __m512i sum;
    __mmask16 tie;
    STORE(0) STORE(1) STORE(2) STORE(3) STORE(4)
    return saturated;
}

#undef PRODUCTS
#undef ADD
#undef CARRY
#undef CARRY_ALL
#undef ROW
#undef ROUNDED
#undef STORE
#else
static inline int pairs_supported(void) {
    return 0;
}

static inline ptrdiff_t pair_block(const int16_t *const *rows, const int32_t *highs, const int32_t *lows, ptrdiff_t height,
                                   ptrdiff_t pairs, ptrdiff_t step, ptrdiff_t x, int shift, ptrdiff_t carry,
                                   int32_t start_high, int32_t start_low, int points, uint16_t *out,
                                   ptrdiff_t out_stride, ptrdiff_t width_left, ptrdiff_t height_left) {
    (void)rows, (void)highs, (void)lows, (void)height, (void)pairs, (void)step, (void)x, (void)shift, (void)carry;
    (void)start_high, (void)start_low, (void)points, (void)out, (void)out_stride, (void)width_left, (void)height_left;
    return 0;
}
#endif

#endif
