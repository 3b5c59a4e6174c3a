"""Sums of a block of rows and vectors in registers, and of the columns at the edges."""

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


cdef struct Edge:
    Py_ssize_t begin, end  # columns of the output
    Py_ssize_t reach  # of the source under them
    Py_ssize_t *places  # their columns in the source, -1 for beyond it


cdef inline void edge_rows(const real **lines, const Edge *edge, Py_ssize_t channels, Py_ssize_t rows,
                           const real *kernel, Py_ssize_t height, Py_ssize_t width, const real *outside, real bias,
                           real *strip, real *out, Py_ssize_t out_stride, const vector *_) noexcept nogil:
    """The columns of an edge, for at most COLUMNS vectors of rows, summed like `block`, value for value.

    lines: rows + height - 1 rows of the source. They are transposed into `strip`, where vectors run down the columns
    and a border is a matter of looking up places; it holds COLUMNS vectors + height - 1 values for each column and
    channel in reach, and COLUMNS vectors more. out: the first of the rows.
    """
    cdef Py_ssize_t span = COLUMNS * (VECTOR_BYTES // sizeof(real)), pitch = span + height - 1, y, x, j, c, ky, kx
    cdef const vector *column
    cdef real *goal = strip
    cdef vector t0, t1, t2, t3
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for j in range(edge.reach):
            for c in range(channels):
                if edge.places[j] < 0:
                    for y in range(rows + height - 1):
                        goal[y] = outside[c]
                else:
                    x = edge.places[j] * channels + c
                    for y in range(rows + height - 1):
                        goal[y] = lines[y][x]
                goal += pitch
        for x in range((edge.end - edge.begin) * channels):
            for y in range(span):
                goal[y] = bias
            t0, t1, t2, t3 = (<vector *>goal)[0], (<vector *>goal)[1], (<vector *>goal)[2], (<vector *>goal)[3]
            for ky in range(height):
                for kx in range(width):
                    column = <const vector *>(strip + (x + kx * channels) * pitch + ky)
                    t0 += kernel[ky * width + kx] * column[0]
                    t1 += kernel[ky * width + kx] * column[1]
                    t2 += kernel[ky * width + kx] * column[2]
                    t3 += kernel[ky * width + kx] * column[3]
            (<vector *>goal)[0], (<vector *>goal)[1], (<vector *>goal)[2], (<vector *>goal)[3] = t0, t1, t2, t3
            for y in range(rows):
                out[y * out_stride + edge.begin * channels + x] = goal[y]


cdef inline void edge_block(const real **lines, const Edge *edge, Py_ssize_t channels, const real *kernel,
                            Py_ssize_t height, Py_ssize_t width, const real *outside, real bias, real *out,
                            Py_ssize_t out_stride) noexcept nogil:
    """As `edge_rows` for BLOCK_ROWS rows, value for value: faster for small kernels while the rows are in cache."""
    cdef Py_ssize_t x, c, ky, kx, r, place
    cdef real[BLOCK_ROWS] totals
    cdef real tap
    for x in range(edge.end - edge.begin):
        for c in range(channels):
            for r in range(BLOCK_ROWS):
                totals[r] = bias
            for ky in range(height):
                for kx in range(width):
                    tap = kernel[ky * width + kx]
                    place = edge.places[x + kx]
                    if place < 0:
                        for r in range(BLOCK_ROWS):
                            totals[r] += tap * outside[c]
                    else:
                        place = place * channels + c
                        for r in range(BLOCK_ROWS):
                            totals[r] += tap * lines[r + ky][place]
            for r in range(BLOCK_ROWS):
                out[r * out_stride + (edge.begin + x) * channels + c] = totals[r]
