/* Vectors of the build's own width. GCC and Clang compile + and * on them to one instruction each; a fixed block of them
   stays in registers, which plain arrays do not (measured: the plain loop is about half as fast with AVX-512). */
#ifndef IMGTOOL_SIMD_H
#define IMGTOOL_SIMD_H

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define BLOCK_ROWS 5 /* 5 x 4 accumulators of 32 registers */
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define BLOCK_ROWS 3 /* 3 x 4 accumulators of 16 registers */
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define BLOCK_ROWS 5
#else
#define VECTOR_BYTES 16
#define BLOCK_ROWS 3
#endif

typedef float float_vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double double_vector __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

/* What an interpolation reads at one corner: up to four numbers that lie together. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));

/* transpose_float, transpose_double: square blocks of one vector's lanes, source and goal in every second vector.
   A transposition is log2(lanes) rounds of interleaving the first half of the rows with the second. */
typedef int float_lanes __attribute__((vector_size(VECTOR_BYTES)));
typedef long long double_lanes __attribute__((vector_size(VECTOR_BYTES)));

#if defined(__clang__)
#define SHUFFLE(lanes, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(lanes, a, b, ...) __builtin_shuffle(a, b, (lanes){__VA_ARGS__})
#endif

#define LOW_2 0, 2
#define HIGH_2 1, 3
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

#define DEFINE_TRANSPOSE(type, count, low, high)                                                  \
    static inline void transpose_##type(const type##_vector *source, type##_vector *goal) {       \
        type##_vector rows[count], mixed[count];                                                  \
        for (int i = 0; i < count; i++) rows[i] = source[2 * i];                                  \
        for (int size = 1; size < count; size *= 2) {                                             \
            for (int i = 0; i < count / 2; i++) {                                                 \
                mixed[2 * i] = SHUFFLE(type##_lanes, rows[i], rows[i + count / 2], low);          \
                mixed[2 * i + 1] = SHUFFLE(type##_lanes, rows[i], rows[i + count / 2], high);     \
            }                                                                                     \
            for (int i = 0; i < count; i++) rows[i] = mixed[i];                                   \
        }                                                                                         \
        for (int i = 0; i < count; i++) goal[2 * i] = rows[i];                                    \
    }

#if VECTOR_BYTES == 64
DEFINE_TRANSPOSE(float, 16, LOW_16, HIGH_16)
DEFINE_TRANSPOSE(double, 8, LOW_8, HIGH_8)
#elif VECTOR_BYTES == 32
DEFINE_TRANSPOSE(float, 8, LOW_8, HIGH_8)
DEFINE_TRANSPOSE(double, 4, LOW_4, HIGH_4)
#else
DEFINE_TRANSPOSE(float, 4, LOW_4, HIGH_4)
DEFINE_TRANSPOSE(double, 2, LOW_2, HIGH_2)
#endif

/* Exact sums of products of 64-bit integers; a "vector" of one, so that the same loops serve it. */
typedef __int128 wide;
typedef __int128 wide_vector;

#endif
