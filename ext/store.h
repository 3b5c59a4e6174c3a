/* store_<real>_<element>(values, count, out, &saturated): floating point numbers rounded half to even and saturated into
   8 or 16 bits, NaN as 0, in whole vectors; returns how many it has stored and adds how many did not fit.

   Adding MAGIC leaves a number, rounded, in the lowest bits. It is limited before, to one step beyond the range, where
   the step of the numbers around MAGIC is still 1, and after, where it differs if and only if it did not fit. */
#ifndef IMGTOOL_STORE_H
#define IMGTOOL_STORE_H

#include <stddef.h>
#include "simd.h"

typedef unsigned short half_short_lanes __attribute__((vector_size(VECTOR_BYTES / 2), may_alias));

/* smaller_<real>, larger_<real>: of each pair of lanes; the compiler makes them of comparisons otherwise. */
#if defined(__x86_64__)
#include <immintrin.h>
#if VECTOR_BYTES == 64
#define X86(name, type) _mm512_##name##_##type
#elif VECTOR_BYTES == 32
#define X86(name, type) _mm256_##name##_##type
#else
#define X86(name, type) _mm_##name##_##type
#endif
#define smaller_float(a, b) X86(min, ps)(a, b)
#define larger_float(a, b) X86(max, ps)(a, b)
#define smaller_double(a, b) X86(min, pd)(a, b)
#define larger_double(a, b) X86(max, pd)(a, b)
#else
#define DEFINE_CHOICE(name, real, OP)                                                                           \
    static inline real##_vector name##_##real(real##_vector a, real##_vector b) {                               \
        for (size_t i = 0; i < VECTOR_BYTES / sizeof(real); i++) a[i] = a[i] OP b[i] ? a[i] : b[i];             \
        return a;                                                                                               \
    }
DEFINE_CHOICE(smaller, float, <)
DEFINE_CHOICE(larger, float, >)
DEFINE_CHOICE(smaller, double, <)
DEFINE_CHOICE(larger, double, >)
#endif

/* The bits of a vector's rounded numbers; `missed` counts those that did not fit. */
#define DEFINE_ROUND(real, lanes, magic)                                                                        \
    static inline real##_vector round_##real(real##_vector x, real low, real high, lanes *missed) {             \
        const real##_vector zero = {0}, below = zero + (low - 1), above = zero + (high + 1);                    \
        const real##_vector lowest = zero + (magic + low), highest = zero + (magic + high);                     \
        real##_vector limited;                                                                                  \
        x = (real##_vector)((lanes)x & (x == x));                                                               \
        x = smaller_##real(larger_##real(x, below), above) + magic;                                             \
        limited = smaller_##real(larger_##real(x, lowest), highest);                                            \
        *missed += ((lanes)x ^ (lanes)limited) & 1; /* they differ by one at most */                            \
        return limited;                                                                                         \
    }
DEFINE_ROUND(float, float_lanes, 0x1.8p23f)
DEFINE_ROUND(double, double_lanes, 0x1.8p52)

#if VECTOR_BYTES == 64
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#elif VECTOR_BYTES == 32
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#else
#define EVEN_LANES 0, 2, 4, 6
#endif

/* As many numbers as a vector of floats holds, as 32-bit lanes. */
static inline word32_vector rounded_float(const float *values, float low, float high, float_lanes *missed) {
    return (word32_vector)round_float(*(const float_vector *)values, low, high, missed);
}
static inline word32_vector rounded_double(const double *values, double low, double high, double_lanes *missed) {
    double_vector first = round_double(((const double_vector *)values)[0], low, high, missed);
    double_vector second = round_double(((const double_vector *)values)[1], low, high, missed);
    return (word32_vector)SHUFFLE(float_lanes, (float_lanes)first, (float_lanes)second, EVEN_LANES);
}

/* TO_8, TO_16: the lower bits of 32-bit lanes, as a vector of the type `narrow`. Compilers know instructions for half of
   the bits only. */
#if VECTOR_BYTES == 64 && defined(__x86_64__)
#define TO_16(bits) (narrow)_mm512_cvtepi32_epi16((__m512i)(bits))
#define TO_8(bits) (narrow)_mm512_cvtepi32_epi8((__m512i)(bits))
#else
#define TO_16(bits) __builtin_convertvector(bits, narrow)
#define TO_8(bits) __builtin_convertvector(__builtin_convertvector(bits, half_short_lanes), narrow)
#endif

#define DEFINE_STORE(real, lanes, element, number, low, high, NARROW)                                           \
    static ptrdiff_t store_##real##_##element(const real *values, ptrdiff_t count, number *out,                 \
                                              ptrdiff_t *saturated) {                                           \
        enum { AT_ONCE = VECTOR_BYTES / 4 };                                                                    \
        typedef number narrow __attribute__((vector_size(sizeof(number) * AT_ONCE), aligned(1), may_alias));    \
        lanes missed = {0};                                                                                     \
        ptrdiff_t i = 0;                                                                                        \
        for (; i + AT_ONCE <= count; i += AT_ONCE) {                                                            \
            word32_vector bits = rounded_##real(values + i, low, high, &missed);                                \
            *(narrow *)(out + i) = NARROW(bits);                                                                \
        }                                                                                                       \
        for (size_t j = 0; j < sizeof missed / sizeof missed[0]; j++) *saturated += missed[j];                  \
        return i;                                                                                               \
    }
#define DEFINE_STORES(real, lanes)                                                                              \
    DEFINE_STORE(real, lanes, u1, unsigned char, 0, 255, TO_8)                                                  \
    DEFINE_STORE(real, lanes, i1, signed char, -128, 127, TO_8)                                                 \
    DEFINE_STORE(real, lanes, u2, unsigned short, 0, 65535, TO_16)                                              \
    DEFINE_STORE(real, lanes, i2, short, -32768, 32767, TO_16)
DEFINE_STORES(float, float_lanes)
DEFINE_STORES(double, double_lanes)

#endif
