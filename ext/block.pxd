"""Sums of a block of rows and vectors in registers."""

from pixels cimport real, wide

cdef extern from "block.h" nogil:
    enum: BLOCK_ROWS
    enum: COLUMNS  # vectors side by side in a block
    enum: VECTOR_BYTES
    ctypedef float float_vector
    ctypedef double double_vector
    ctypedef long long wide_vector
    void block_float(const float **rows, const float *kernel, Py_ssize_t height, Py_ssize_t width, Py_ssize_t step,
                     Py_ssize_t x, const float *start, Py_ssize_t start_stride, float *out, Py_ssize_t out_stride)
    void block_double(const double **rows, const double *kernel, Py_ssize_t height, Py_ssize_t width, Py_ssize_t step,
                      Py_ssize_t x, const double *start, Py_ssize_t start_stride, double *out, Py_ssize_t out_stride)

ctypedef fused vector:
    float_vector
    double_vector
    wide_vector


cdef inline void block(const real **rows, const real *kernel, Py_ssize_t height, Py_ssize_t width, Py_ssize_t step,
                       Py_ssize_t x, const real *start, Py_ssize_t start_stride, real *out,
                       Py_ssize_t out_stride) noexcept nogil:
    """Add the correlation of BLOCK_ROWS rows of COLUMNS vectors at `x` to `start`, giving `out`.

    `step` is the distance of neighbouring pixels in a row, in values.
    """
    cdef wide total
    cdef Py_ssize_t r, c, ky, kx
    if real is float:
        block_float(rows, kernel, height, width, step, x, start, start_stride, out, out_stride)
    elif real is double:
        block_double(rows, kernel, height, width, step, x, start, start_stride, out, out_stride)
    else:
        for r in range(BLOCK_ROWS):
            for c in range(COLUMNS):
                total = start[r * start_stride + c]
                for ky in range(height):
                    for kx in range(width):
                        total += kernel[ky * width + kx] * rows[r + ky][x + c + kx * step]
                out[r * out_stride + c] = total
