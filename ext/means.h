/* What boxes of whole numbers need of vectors: running sums, and means rounded half to even.

   Adding MAGIC to a number leaves it, rounded half to even, in the lowest bits: the step of the numbers around MAGIC is 1.
   A mean of n values lies on a tie (k + 1/2, n even) or at least 1/(2n) beside it. The product with the rounded weight
   is beside it either way, by up to |mean| 2^-24 in single precision, so it is brought to the multiples of a coarser step
   first: SNAP added to it is rounded to 2^-13 (2^-34 in double precision), which puts ties back on their place.
   Single precision, |mean| <= 256, n <= 4096, sums below 2^24: the weight moves the mean by 2^-16, the product (where it is
   not fused) by 2^-17, SNAP by 2^-14: together 1.4 * 2^-14, less than 2^-13 <= 1/(2n), so nothing crosses a tie, and a
   tie, moved by 1.5 * 2^-16 < 2^-14, comes back. Double precision, |mean| <= 2^16, n <= 2^32: likewise with 2^-37, 2^-37 and
   2^-35. For any other weight the result is that of the exact product but within 1.4 * 2^-14 of a tie. */
#ifndef IMGTOOL_MEANS_H
#define IMGTOOL_MEANS_H

#include <stddef.h>
#include <string.h>
#include "store.h"

#define SNAP_FLOAT 0x1.8p10f
#define MAGIC_FLOAT 0x1.8p23f
#define SNAP_DOUBLE 0x1.8p18
#define MAGIC_DOUBLE 0x1.8p52

typedef int int_lanes __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef unsigned long long wide_lanes __attribute__((vector_size(VECTOR_BYTES), may_alias));

static inline word32_vector mean_float(int_lanes sums, double weight) {
    float_vector values = __builtin_convertvector(sums, float_vector);
    return (word32_vector)((values * (float)weight + SNAP_FLOAT) + (MAGIC_FLOAT - SNAP_FLOAT));
}

/* 16-bit sums, in single precision; `negative`: they have a sign. */
static inline word16_vector rounded_16_float(word16_vector sums, int negative, double weight) {
    word32_vector both = (word32_vector)sums, even, odd;
    if (negative) {
        even = (word32_vector)((int_lanes)(both << 16) >> 16);
        odd = (word32_vector)((int_lanes)both >> 16);
    } else {
        even = both & 0xFFFF;
        odd = both >> 16;
    }
    even = mean_float((int_lanes)even, weight);
    odd = mean_float((int_lanes)odd, weight);
    return (word16_vector)((even & 0xFFFF) | odd << 16);
}

/* 32-bit sums below 2^24, in single precision. */
static inline word32_vector rounded_32_float(word32_vector sums, int negative, double weight) {
    (void)negative;
    return mean_float((int_lanes)sums, weight);
}

static inline wide_lanes mean_double(wide_lanes sums, double offset, double weight) {
    double_vector values = (double_vector)sums - offset;
    return (wide_lanes)((values * weight + SNAP_DOUBLE) + (MAGIC_DOUBLE - SNAP_DOUBLE));
}

/* 32-bit sums in double precision. Below the exponent of 2^52 a whole number is its own conversion; those with a sign are
   moved by 2^31 for it. */
static inline word32_vector rounded_32_double(word32_vector sums, int negative, double weight) {
    const unsigned long long exponent = 0x4330000000000000, low = 0xFFFFFFFF, flip = negative ? 0x8000000080000000 : 0;
    const double offset = 0x1p52 + (negative ? 0x1p31 : 0);
    wide_lanes both = (wide_lanes)sums ^ flip;
    wide_lanes even = mean_double((both & low) | exponent, offset, weight);
    wide_lanes odd = mean_double((both >> 32) | exponent, offset, weight);
    return (word32_vector)((even & low) | odd << 32);
}

/* means_<of>_to_<bits>(sums, values, negative, weight, out): one row. */
#define DEFINE_MEANS(of, word, bits, number, NARROW)                                                                \
    static inline void means_##of##_to_##bits(const word##_vector *sums, ptrdiff_t values, int negative,            \
                                              double weight, number *out) {                                         \
        typedef number narrow __attribute__((vector_size(sizeof(number) * LANES_##word), aligned(1), may_alias));   \
        ptrdiff_t i;                                                                                                \
        for (i = 0; i < values / LANES_##word; i++)                                                                 \
            *(narrow *)(out + i * LANES_##word) = NARROW(rounded_##of(sums[i], negative, weight));                  \
        if (values % LANES_##word > 0) {                                                                            \
            narrow rest = NARROW(rounded_##of(sums[i], negative, weight));                                          \
            memcpy(out + i * LANES_##word, &rest, values % LANES_##word * sizeof(number));                          \
        }                                                                                                           \
    }
#define HALF(lanes) __builtin_convertvector(lanes, narrow)
#define SAME(lanes) (lanes)
#define LANES_word16 (VECTOR_BYTES / 2)
#define LANES_word32 (VECTOR_BYTES / 4)
DEFINE_MEANS(16_float, word16, 8, unsigned char, HALF)
DEFINE_MEANS(16_float, word16, 16, unsigned short, SAME)
DEFINE_MEANS(32_float, word32, 8, unsigned char, TO_8)
DEFINE_MEANS(32_float, word32, 16, unsigned short, TO_16)
DEFINE_MEANS(32_double, word32, 8, unsigned char, TO_8)
DEFINE_MEANS(32_double, word32, 16, unsigned short, TO_16)

/* The loop of run_across, for each number of doublings that may be needed. */
static inline __attribute__((always_inline)) void run(const unsigned *line, ptrdiff_t ahead, ptrdiff_t count,
                                                      const int doublings, const word32_vector *from,
                                                      const word32_vector *keep, word32_vector last,
                                                      word32_vector carry, word32_vector *goal) {
    for (ptrdiff_t x = 0; x < count; x++, line += LANES_word32) {
        word32_vector change = *(const word32_vector *)(line + ahead) - *(const word32_vector *)line, sums = change;
        for (int i = 0; i < doublings; i++) sums += __builtin_shuffle(sums, from[i]) & keep[i];
        sums += carry;
        goal[x] = sums - change;
        carry = __builtin_shuffle(sums, last);
    }
}

/* Sums of `width` values `step` apart, which run along the line: each is the one `step` before it, plus the value that
   enters, less the one that leaves. Within a vector these differences are summed by doubling, and the sums before it are
   carried over. `step` is at most the number of lanes. */
static inline void run_across(const unsigned *line, ptrdiff_t width, ptrdiff_t step, ptrdiff_t count,
                              word32_vector *goal) {
    word32_vector from[4], keep[4], last, carry = {0};
    int doublings = 0;
    for (ptrdiff_t shift = step; shift < LANES_word32; shift *= 2, doublings++) {
        for (int i = 0; i < LANES_word32; i++) {
            from[doublings][i] = i < shift ? 0 : i - shift;
            keep[doublings][i] = i < shift ? 0 : -1;
        }
    }
    for (int i = 0; i < LANES_word32; i++) {
        last[i] = LANES_word32 - step + i % step;
        if (i < step) {
            for (ptrdiff_t k = 0; k < width; k++) carry[i] += line[i + k * step];
        } else {
            carry[i] = carry[i - step];
        }
    }
    switch (doublings) {
        case 4: run(line, width * step, count, 4, from, keep, last, carry, goal); break;
        case 3: run(line, width * step, count, 3, from, keep, last, carry, goal); break;
        case 2: run(line, width * step, count, 2, from, keep, last, carry, goal); break;
        case 1: run(line, width * step, count, 1, from, keep, last, carry, goal); break;
        default: run(line, width * step, count, 0, from, keep, last, carry, goal);
    }
}

#endif
