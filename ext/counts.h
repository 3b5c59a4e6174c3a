/* Words that count samples and sum their places, and the look-up by them; see counts.pxd. */
#ifndef IMGTOOL_COUNTS_H
#define IMGTOOL_COUNTS_H

#include <stdint.h>

enum {
    PLACE_BITS = 8,
    PLACES = 1 << PLACE_BITS, /* between the edges of one of moving's sub-bins */
    NUMBER = 36               /* the lowest bit of a cell's number of samples, above those of the sum of their places */
};
#define ONE_MORE (1ull << NUMBER)

/* Has a loop with scattered accesses done one by one: gcc 12 would make vectors of the indices, to take them apart again. */
#define ONE_BY_ONE(index) __asm__("" : "+r"(index))

static inline void count_cells(uint64_t *counts, const uint32_t *cells, int count)
{
    for (int k = 0; k < count; k++) {
        uint32_t cell = cells[k];
        ONE_BY_ONE(cell);
        counts[cell / PLACES] += ONE_MORE | cell % PLACES;
    }
}

/* A number of samples, or a sum of places, as a double: a conversion in vectors whatever the instruction set. */
static inline double as_double(uint64_t bits)
{
    double two_to_52 = 0x1p52, sum;
    bits |= 0x4330000000000000ull;
    __builtin_memcpy(&sum, &bits, sizeof sum);
    return sum - two_to_52;
}

/* A row of cells as numbers of samples, and behind these the sums of their places. */
static inline void unpack_counts(const uint64_t *counts, int columns, double *out)
{
    for (int x = 0; x < columns; x++) {
        out[x] = as_double(counts[x] >> NUMBER);
        out[columns + x] = as_double(counts[x] & (ONE_MORE - 1));
    }
}

/* A cell's slope, and what each place adds to it, are one word, so that the table of all cells stays in the second-level
   cache: a float without its last 12 bits (2e-4 of it), and of the other, a correction of it, the first 12. */
static inline uint32_t bits_of(float value)
{
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint32_t slope_word(float slope, float bend)
{
    return ((bits_of(slope) + 0x800u) & 0xfffff000u) | ((bits_of(bend) + 0x80000u) >> 20);
}

/* The words of a row of cells from the four rows of bins under its window, each of slopes and then bends. */
static inline void pack_slopes(const double *restrict rows, int columns, const double *restrict weights,
                               uint32_t *restrict out)
{
    const double *second = rows + 2 * columns, *third = second + 2 * columns, *fourth = third + 2 * columns;
    const double w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3];
    for (int x = 0; x < columns; x++) {
        int y = columns + x;
        float slope = (float)((w0 * rows[x] + w1 * second[x]) + (w2 * third[x] + w3 * fourth[x]));
        float bend = (float)((w0 * rows[y] + w1 * second[y]) + (w2 * third[y] + w3 * fourth[y]));
        out[x] = slope_word(slope, bend);
    }
}

/* look_up_slopes(table, cells, count, out): the slope of each sample. `count` is a multiple of 16. */
#if defined(__AVX512F__)
#include <immintrin.h>
static inline void look_up_slopes(const uint32_t *table, const uint32_t *cells, int count, float *out)
{
    const __m512i last_12 = _mm512_set1_epi32(0xfff), within = _mm512_set1_epi32(PLACES - 1);
    for (int k = 0; k < count; k += 16) {
        __m512i cell = _mm512_loadu_si512(cells + k);
        __m512i word = _mm512_i32gather_epi32(_mm512_srli_epi32(cell, PLACE_BITS), table, 4);
        __m512 place = _mm512_cvtepi32_ps(_mm512_and_si512(cell, within));
        __m512 slope = _mm512_castsi512_ps(_mm512_andnot_si512(last_12, word));
        __m512 bend = _mm512_castsi512_ps(_mm512_slli_epi32(word, 20));
        _mm512_storeu_ps(out + k, _mm512_fmadd_ps(place, bend, slope));
    }
}
#else
static inline float float_of(uint32_t bits)
{
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void look_up_slopes(const uint32_t *table, const uint32_t *cells, int count, float *out)
{
    for (int k = 0; k < count; k += 16) {
        uint32_t words[16];
        for (int i = 0; i < 16; i++) {
            uint32_t index = cells[k + i] / PLACES;
            ONE_BY_ONE(index);
            words[i] = table[index];
        }
        for (int i = 0; i < 16; i++) {
            float place = (float)(int)(cells[k + i] % PLACES);
            out[k + i] = float_of(words[i] & 0xfffff000u) + place * float_of(words[i] << 20);
        }
    }
}
#endif

#endif
