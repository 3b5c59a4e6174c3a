"""Cubic B-splines on control grids: evaluation, its adjoint, bending energy, and images sampled at displaced positions.

Positions come as tables, one per axis: `first` names the first of the four control points that a position touches, and
`weights` (4, positions) what each of them contributes to the value, the slope or the curvature there. So one kernel
serves pixels of every pyramid level, samples beside pixel centres, lattices, and derivatives.
"""

from libc.math cimport NAN
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from area cimport held, inside
from bspline cimport cubic_slopes, cubic_weights, real

cdef extern from *:
    """
    typedef float float_4 __attribute__((vector_size(16), aligned(4), may_alias));
    typedef double double_4 __attribute__((vector_size(32), aligned(8), may_alias));
    """
    # Four neighbouring values; Cython multiplies and adds them like one.
    ctypedef float float_4
    ctypedef double double_4

# Samples are positioned in blocks, in a loop that vectorises, before the scattered reads.
cdef enum:
    BLOCK = 128
    LANES = 16


def spline_axis(
    const double[:] positions, double origin, double spacing, Py_ssize_t cells, int order, int[::1] first,
    real[:, ::1] weights
):
    """The table of these positions on a grid of `cells` cells that begins at `origin`.

    `order` 0 is for values, 1 for slopes, 2 for curvatures. Before and behind the grid the spline goes on with the
    value at its end, so slopes and curvatures are 0 there.
    """
    cdef Py_ssize_t i, k
    cdef int cell
    cdef double t, scale = spacing**-order
    cdef double w[4]
    with nogil:
        for i in range(positions.shape[0]):
            t = (positions[i] - origin) / spacing
            # The comparison is false for NaN, which must not become an index.
            t = t if t > 0 else 0
            t = t if t < cells else cells
            cell = <int>min(<Py_ssize_t>t, cells - 1)
            first[i] = cell
            if order == 0:
                cubic_weights(t - cell, w)
            elif positions[i] < origin or positions[i] > origin + cells * spacing:
                memset(w, 0, sizeof(w))
            elif order == 1:
                cubic_slopes(t - cell, w)
            else:
                t = t - cell
                w[0], w[1], w[2], w[3] = 1 - t, 3 * t - 2, 1 - 3 * t, t
            for k in range(4):
                weights[k, i] = <real>(w[k] * scale)


cdef void spread(
    const real *control, const int *first, const real *weights, Py_ssize_t count, real *line
) noexcept nogil:
    # One row of control points at every column.
    cdef Py_ssize_t i
    cdef const real *second = weights + count
    cdef const real *third = second + count
    cdef const real *fourth = third + count
    for i in range(count):
        line[i] = (
            weights[i] * control[first[i]] + second[i] * control[first[i] + 1]
            + third[i] * control[first[i] + 2] + fourth[i] * control[first[i] + 3])


cdef void gather(
    const real *line, const int *first, const real *weights, Py_ssize_t count, double *control
) noexcept nogil:
    # The adjoint of `spread`, added to the control points.
    cdef Py_ssize_t i, k
    for i in range(count):
        for k in range(4):
            control[first[i] + k] += <double>line[i] * weights[k * count + i]


cdef void mix(
    const real *a, const real *b, const real *c, const real *d, real u, real v, real w, real x, Py_ssize_t count,
    real *out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = (u * a[i] + v * b[i]) + (w * c[i] + x * d[i])


cdef void unmix(
    const real *line, real u, real v, real w, real x, Py_ssize_t count, real *a, real *b, real *c, real *d
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        a[i] += u * line[i]
        b[i] += v * line[i]
        c[i] += w * line[i]
        d[i] += x * line[i]


def spline_field(
    const real[:, ::1] control, const int[::1] columns, const real[:, ::1] column_weights, const int[::1] rows,
    const real[:, ::1] row_weights, real[:, ::1] out
):
    """The spline at the crossings of columns and rows; `rows` does not decrease.

    Each row of control points is spread over the columns once, and the four that a row touches are mixed.
    """
    cdef Py_ssize_t r, i, row, ready = 0, width = columns.shape[0]
    cdef real *ring = <real *>malloc(max(4 * width, 1) * sizeof(real))
    cdef real *line[4]
    if ring == NULL:
        raise MemoryError
    with nogil:
        for r in range(out.shape[0]):
            row = rows[r]
            ready = max(ready, row)
            while ready < row + 4:
                spread(&control[ready, 0], &columns[0], &column_weights[0, 0], width, ring + (ready & 3) * width)
                ready += 1
            for i in range(4):
                line[i] = ring + ((row + i) & 3) * width
            mix(
                line[0], line[1], line[2], line[3], row_weights[0, r], row_weights[1, r], row_weights[2, r],
                row_weights[3, r], width, &out[r, 0])
    free(ring)


def spline_adjoint(
    const real[:, ::1] field, const int[::1] columns, const real[:, ::1] column_weights, const int[::1] rows,
    const real[:, ::1] row_weights, double[:, ::1] out, Py_ssize_t base
):
    """Add to `out` what `spline_field`, transposed, makes of `field`; row 0 of `out` is row `base` of the grid.

    `rows` does not decrease.
    """
    cdef Py_ssize_t r, i, row, begun = 0, width = columns.shape[0]
    cdef real *ring = <real *>calloc(max(4 * width, 1), sizeof(real))
    cdef real *line[4]
    if ring == NULL:
        raise MemoryError
    with nogil:
        for r in range(field.shape[0]):
            row = rows[r]
            if r == 0:
                begun = row
            while begun < row:
                finish_line(ring, begun, width, &columns[0], &column_weights[0, 0], &out[begun - base, 0])
                begun += 1
            for i in range(4):
                line[i] = ring + ((row + i) & 3) * width
            unmix(
                &field[r, 0], row_weights[0, r], row_weights[1, r], row_weights[2, r], row_weights[3, r], width,
                line[0], line[1], line[2], line[3])
        if field.shape[0]:
            for i in range(4):
                finish_line(ring, begun + i, width, &columns[0], &column_weights[0, 0], &out[begun + i - base, 0])
    free(ring)


cdef void finish_line(
    real *ring, Py_ssize_t row, Py_ssize_t width, const int *columns, const real *weights, double *out
) noexcept nogil:
    cdef real *line = ring + (row & 3) * width
    gather(line, columns, weights, width, out)
    memset(line, 0, width * sizeof(real))


def spline_points(
    const real[:, ::1] control, const int[::1] columns, const real[:, ::1] column_weights, const int[::1] rows,
    const real[:, ::1] row_weights, real[::1] out
):
    """The spline at points, one for each pair of a column and a row."""
    cdef Py_ssize_t n, i, k, row, column
    cdef real total, line
    with nogil:
        for n in range(out.shape[0]):
            row, column = rows[n], columns[n]
            total = 0
            for i in range(4):
                line = 0
                for k in range(4):
                    line = line + column_weights[k, n] * control[row + i, column + k]
                total = total + row_weights[i, n] * line
            out[n] = total


def spline_refined(const double[:, ::1] control, double[:, ::1] out):
    """The same spline on a grid of half the spacing, by knot insertion; `out` may leave out the last cells.

    Coarse point i lies on fine point 2 i - 1.
    """
    cdef Py_ssize_t r, c, i, k
    cdef double upper, middle, lower
    with nogil:
        for r in range(out.shape[0]):
            i = r >> 1
            for c in range(out.shape[1]):
                k = c >> 1
                if r & 1:
                    upper = inserted(&control[i, 0], k, c & 1)
                    middle = inserted(&control[i + 1, 0], k, c & 1)
                    lower = inserted(&control[i + 2, 0], k, c & 1)
                    out[r, c] = (upper + 6 * middle + lower) / 8
                else:
                    out[r, c] = (inserted(&control[i, 0], k, c & 1) + inserted(&control[i + 1, 0], k, c & 1)) / 2


cdef inline double inserted(const double *control, Py_ssize_t k, bint on_knot) noexcept nogil:
    if on_knot:
        return (control[k] + 6 * control[k + 1] + control[k + 2]) / 8
    return (control[k] + control[k + 1]) / 2


def bending_product(
    const double[:, ::1] control, const double[:, :, ::1] column_bands, const double[:, :, ::1] row_bands,
    double[:, ::1] out
):
    """The matrix of the bending energy times the control points: energy is control * out, its gradient 2 * out.

    The bands [order, i, 3 + k - i] are the integrals of the products of the derivatives of order 0, 1 and 2 of the
    basis functions i and k of one axis. The energy's matrix is made of them: order 0 down with 2 across, twice 1 with
    1, and 2 with 0.
    """
    cdef Py_ssize_t r, c, k, order, height = control.shape[0], width = control.shape[1]
    cdef double total, share
    cdef double *across = <double *>malloc(3 * height * width * sizeof(double))
    if across == NULL:
        raise MemoryError
    with nogil:
        for order in range(3):
            for r in range(height):
                for c in range(width):
                    total = 0
                    for k in range(max(0, c - 3), min(width, c + 4)):
                        total += column_bands[2 - order, c, 3 + k - c] * control[r, k]
                    across[(order * height + r) * width + c] = total
        for r in range(height):
            for c in range(width):
                out[r, c] = 0
            for order in range(3):
                for k in range(max(0, r - 3), min(height, r + 4)):
                    share = row_bands[order, r, 3 + k - r] * (2 if order == 1 else 1)
                    for c in range(width):
                        out[r, c] += share * across[(order * height + k) * width + c]
    free(across)


cdef inline void split(real *weights, int k, real t, bint slopes) noexcept nogil:
    # The weights of sample k, each in a row of its own: what is computed for many samples, vector by vector.
    cdef real w[4]
    if slopes:
        cubic_slopes(t, w)
    else:
        cubic_weights(t, w)
    weights[k], weights[BLOCK + k], weights[2 * BLOCK + k], weights[3 * BLOCK + k] = w[0], w[1], w[2], w[3]


cdef inline real across(const real *weights, int k, const real *sums) noexcept nogil:
    return (
        (weights[k] * sums[4 * k] + weights[BLOCK + k] * sums[4 * k + 1])
        + (weights[2 * BLOCK + k] * sums[4 * k + 2] + weights[3 * BLOCK + k] * sums[4 * k + 3]))


cdef void mix_rows(
    const real *image, int stride, const int *corner, const real *weights, const real *slopes, int count, real *sums,
    real *steps
) noexcept nogil:
    # For each sample four rows of four, weighted down the columns.
    cdef const real *patch
    cdef int k
    for k in range(count):
        patch = image + corner[k]
        if real is float:
            (<float_4 *>sums)[k] = (
                weights[k] * (<const float_4 *>patch)[0]
                + weights[BLOCK + k] * (<const float_4 *>(patch + stride))[0]) + (
                weights[2 * BLOCK + k] * (<const float_4 *>(patch + 2 * stride))[0]
                + weights[3 * BLOCK + k] * (<const float_4 *>(patch + 3 * stride))[0])
            (<float_4 *>steps)[k] = (
                slopes[k] * (<const float_4 *>patch)[0]
                + slopes[BLOCK + k] * (<const float_4 *>(patch + stride))[0]) + (
                slopes[2 * BLOCK + k] * (<const float_4 *>(patch + 2 * stride))[0]
                + slopes[3 * BLOCK + k] * (<const float_4 *>(patch + 3 * stride))[0])
        else:
            (<double_4 *>sums)[k] = (
                weights[k] * (<const double_4 *>patch)[0]
                + weights[BLOCK + k] * (<const double_4 *>(patch + stride))[0]) + (
                weights[2 * BLOCK + k] * (<const double_4 *>(patch + 2 * stride))[0]
                + weights[3 * BLOCK + k] * (<const double_4 *>(patch + 3 * stride))[0])
            (<double_4 *>steps)[k] = (
                slopes[k] * (<const double_4 *>patch)[0]
                + slopes[BLOCK + k] * (<const double_4 *>(patch + stride))[0]) + (
                slopes[2 * BLOCK + k] * (<const double_4 *>(patch + 2 * stride))[0]
                + slopes[3 * BLOCK + k] * (<const double_4 *>(patch + 3 * stride))[0])


cdef void sample_block(
    const real *image, int height, int width, const double *matrix, const double *columns, double row,
    const real *shift_x, const real *shift_y, int count, real low, real high, real *value, real *along_x, real *along_y
) noexcept nogil:
    # `image` is padded: pixel (0, 0) is that of its index (1, 1), and its rows are `width` + 3 long.
    cdef int k, x0, y0, stride = width + 3
    cdef double x, y, inner_x, inner_y
    cdef real w, by_x, by_y
    cdef bint moves
    cdef real t_x[BLOCK]
    cdef real t_y[BLOCK]
    cdef real u[4 * BLOCK]
    cdef real v[4 * BLOCK]
    cdef real u_slopes[4 * BLOCK]
    cdef real v_slopes[4 * BLOCK]
    cdef real sums[4 * BLOCK]
    cdef real steps[4 * BLOCK]
    cdef int corner[BLOCK]
    cdef real within[BLOCK]
    cdef real free_x[BLOCK]
    cdef real free_y[BLOCK]
    for k in range(count):
        x, y = columns[k] + shift_x[k], row + shift_y[k]
        inner_x = matrix[0] * x + (matrix[1] * y + matrix[2])
        inner_y = matrix[3] * x + (matrix[4] * y + matrix[5])
        within[k] = 1 if inside(inner_x, width) & inside(inner_y, height) else <real>NAN
        x, y = held(inner_x, width), held(inner_y, height)
        free_x[k] = 1 if x == inner_x else 0
        free_y[k] = 1 if y == inner_y else 0
        x0, y0 = <int>x, <int>y
        t_x[k], t_y[k] = <real>(x - x0), <real>(y - y0)
        corner[k] = y0 * stride + x0
    for k in range(count):
        split(u, k, t_x[k], False)
        split(v, k, t_y[k], False)
        split(u_slopes, k, t_x[k], True)
        split(v_slopes, k, t_y[k], True)
    mix_rows(image, stride, corner, v, v_slopes, count, sums, steps)
    for k in range(count):
        w = across(u, k, sums) * within[k]
        by_x = free_x[k] * across(u_slopes, k, sums)
        by_y = free_y[k] * across(u, k, steps)
        # Where the value is held, or missing, it does not change with the position.
        moves = (low < w) & (w < high)
        along_x[k] = by_x if moves else 0
        along_y[k] = by_y if moves else 0
        # Comparisons with NaN are false: it stays.
        w = low if w < low else w
        value[k] = high if w > high else w


def sample_displaced(
    const real[:, ::1] image, const double[:, ::1] matrix, const double[::1] columns, const double[::1] rows,
    const real[:, ::1] shift_x, const real[:, ::1] shift_y, real low, real high, real[:, ::1] value,
    real[:, ::1] along_x, real[:, ::1] along_y
):
    """The cubic B-spline `image` at matrix * (column + shift_x, row + shift_y), held in [low, high], and its slopes.

    `image` holds the spline's coefficients with one more row and column before the first and two behind the last.
    Outside the area of the pixels, and where a coefficient is NaN, the value is NaN and the slopes are 0.
    """
    cdef Py_ssize_t r, c, width = value.shape[1]
    with nogil:
        for r in range(value.shape[0]):
            c = 0
            while c < width:
                sample_block(
                    &image[0, 0], <int>image.shape[0] - 3, <int>image.shape[1] - 3, &matrix[0, 0], &columns[c],
                    rows[r], &shift_x[r, c], &shift_y[r, c], <int>min(BLOCK, width - c), low, high,
                    &value[r, c], &along_x[r, c], &along_y[r, c])
                c += BLOCK


def weigh_slopes(
    const signed char[:, ::1] weights, const real[:, ::1] value, real[:, ::1] along_x, real[:, ::1] along_y
):
    """Multiply the slopes by the weights, in 127ths; returns the weighted sum of the values that are not missing."""
    cdef Py_ssize_t r, c, k, width = value.shape[1]
    cdef double total = 0
    cdef real weight, v
    # Sums of their own for neighbouring columns are added vector by vector.
    cdef double sums[LANES]
    with nogil:
        for k in range(LANES):
            sums[k] = 0
        for r in range(value.shape[0]):
            c = 0
            while c + LANES <= width:
                for k in range(LANES):
                    weight = weights[r, c + k] * <real>0.007874015748031496
                    v = value[r, c + k]
                    v = v if v == v else 0
                    sums[k] += weight * v
                    along_x[r, c + k] *= weight
                    along_y[r, c + k] *= weight
                c += LANES
            while c < width:
                weight = weights[r, c] * <real>0.007874015748031496
                v = value[r, c]
                v = v if v == v else 0
                sums[0] += weight * v
                along_x[r, c] *= weight
                along_y[r, c] *= weight
                c += 1
        for k in range(LANES):
            total += sums[k]
    return total
