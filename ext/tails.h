/* Which of 64 values do not lie strictly between two others: a bit for each, NaN counted among them. */
#ifndef IMGTOOL_TAILS_H
#define IMGTOOL_TAILS_H

#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define DEFINE_BEYOND(REAL, LETTER, VECTOR, LANES)                                                                    \
    static inline uint64_t beyond_##REAL(const REAL *values, REAL low, REAL high)                                     \
    {                                                                                                                 \
        uint64_t inside = 0;                                                                                          \
        for (int i = 0; i < 64; i += LANES) {                                                                      \
            VECTOR x = _mm512_loadu_p##LETTER(values + i);                                                            \
            uint64_t above = _mm512_cmp_p##LETTER##_mask(x, _mm512_set1_p##LETTER(low), _CMP_GT_OQ);                  \
            inside |= (above & _mm512_cmp_p##LETTER##_mask(x, _mm512_set1_p##LETTER(high), _CMP_LT_OQ)) << i;         \
        }                                                                                                             \
        return ~inside;                                                                                               \
    }
#else /* few have any, and whether one has is found in vectors */
#define DEFINE_BEYOND(REAL, LETTER, VECTOR, LANES)                                                                    \
    static inline uint64_t beyond_##REAL(const REAL *values, REAL low, REAL high)                                     \
    {                                                                                                                 \
        uint64_t inside = 0;                                                                                          \
        int count = 0;                                                                                                \
        for (int i = 0; i < 64; i++) count += (low < values[i]) & (values[i] < high);                              \
        if (count == 64) return 0;                                                                                 \
        for (int i = 0; i < 64; i++) inside |= (uint64_t)((low < values[i]) & (values[i] < high)) << i;            \
        return ~inside;                                                                                               \
    }
#endif
DEFINE_BEYOND(float, s, __m512, 16)
DEFINE_BEYOND(double, d, __m512d, 8)

static inline int lowest_bit(uint64_t bits) { return __builtin_ctzll(bits); }

#endif
