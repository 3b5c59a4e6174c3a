"""The least that a look-up gradient of two components does to memory: it reads a cell and two numbers per sample and
writes two, with ordinary stores (which read each line before they change it) or past the caches."""

cimport cython

cdef extern from *:
    """
    #include <stddef.h>
    #include <emmintrin.h>
    static void pass_over(const int *cells, const float *field, float *out, ptrdiff_t size, int past)
    {
        for (ptrdiff_t i = 0; i + 16 <= size; i += 16)
            for (int component = 0; component < 2; component++) {
                const float *from = field + component * size + i;
                float *to = out + component * size + i;
                for (int k = 0; k < 16; k += 4) {
                    __m128 slope = _mm_cvtepi32_ps(_mm_loadu_si128((const __m128i *)(cells + i + k)));
                    __m128 product = _mm_mul_ps(slope, _mm_loadu_ps(from + k));
                    if (past) _mm_stream_ps(to + k, product);
                    else _mm_storeu_ps(to + k, product);
                }
            }
        _mm_sfence();
    }
    """
    void pass_over(const int *cells, const float *field, float *out, Py_ssize_t size, int past) nogil


@cython.boundscheck(False)
def stream(const int[::1] cells, const float[::1] field, float[::1] out, bint past):
    """Products of cells and both components; `out` begins on a line of memory, `cells` are a multiple of 16."""
    with nogil:
        pass_over(&cells[0], &field[0], &out[0], cells.shape[0], past)
