/* Products of slopes and the components of a field, and results that go past the caches. */
#ifndef IMGTOOL_PRODUCTS_H
#define IMGTOOL_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* stream(from, bytes, out): what nobody reads soon is written without being read first, which ordinary stores do to the
   lines of memory that they change. Whole lines only: those written in two parts take longer than ordinary stores. */
enum { LINE = 64 };
static inline ptrdiff_t beyond_line(const void *place) { return (uintptr_t)place % LINE; }

#if defined(__SSE2__)
#include <immintrin.h>
static inline void stream(const void *from, size_t bytes, void *out)
{
    const __m128i *source = from;
    __m128i *goal = out;
    for (size_t i = 0; i < bytes / 16; i++) _mm_stream_si128(goal + i, _mm_loadu_si128(source + i));
}
/* Other threads see ordinary stores in order, and these only after a fence. */
static inline void end_stream(void) { _mm_sfence(); }
#else
static inline void stream(const void *from, size_t bytes, void *out) { memcpy(out, from, bytes); }
static inline void end_stream(void) {}
#endif

/* A missing sample often has no gradient either, and NaN * 0 is not 0. */
#define DEFINE_MULTIPLY(SLOPE, RESULT)                                                                            \
    static inline void multiply_##SLOPE##_##RESULT(const SLOPE *restrict slope, const RESULT *restrict component, \
                                                   RESULT *restrict out, int count)                               \
    {                                                                                                             \
        for (int i = 0; i < count; i++) {                                                                         \
            RESULT product = slope[i] * component[i];                                                             \
            out[i] = slope[i] != 0 ? product : 0;                                                                 \
        }                                                                                                         \
    }
DEFINE_MULTIPLY(float, float)
DEFINE_MULTIPLY(float, double)
DEFINE_MULTIPLY(double, float)
DEFINE_MULTIPLY(double, double)

#endif
