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

/* Exact sums of products of 64-bit integers; a "vector" of one, so that the same loops serve it. */
typedef __int128 wide;
typedef __int128 wide_vector;

#endif
