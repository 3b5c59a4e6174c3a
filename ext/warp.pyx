"""Resampling of planes at transformed positions, and the sampling pass of registration.

Positions are those of input pixels, as x and y. An output pixel is inside if its position lies on the area of the input
pixels, which ends half a pixel beyond the outermost centres; beyond these centres the image is continued by its border
pixels. The kernels see a window of the image, in floating point and with as many pixels around it as they reach to, and
write a window of the output: `Places` tells where the two are.
"""

from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer, Py_buffer, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.math cimport INFINITY, NAN
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from bspline cimport cubic_weights, real
from pixels cimport Store, choose_store, larger, smaller

# Bit patterns of any one-component dtype: nearest-neighbour copies pixels and never looks at their values.
ctypedef fused bits:
    unsigned char
    unsigned short
    unsigned int
    unsigned long long

cdef extern from *:
    """
    /* Half a pixel and a little more: a shift by just half a pixel is inside whatever rounding makes of it. */
    #define MARGIN (0.5 + 1e-6)

    #define PI 3.14159265358979323846
    #define ROOT_3_HALVES 0.86602540378443864676
    #define POLE (-0.26794919243112270647) /* of the cubic B-spline's inverse: sqrt(3) - 2 */

    /* Neighbouring pixels of a row, which need not be aligned. */
    typedef float float_2 __attribute__((vector_size(8), aligned(4), may_alias));
    typedef float float_4 __attribute__((vector_size(16), aligned(4), may_alias));
    typedef float float_8 __attribute__((vector_size(32), aligned(4), may_alias));
    typedef double double_2 __attribute__((vector_size(16), aligned(8), may_alias));
    typedef double double_4 __attribute__((vector_size(32), aligned(8), may_alias));
    typedef double double_8 __attribute__((vector_size(64), aligned(8), may_alias));
    """
    const double MARGIN, PI, POLE, ROOT_3_HALVES
    ctypedef float float_2
    ctypedef float float_4
    ctypedef float float_8
    ctypedef double double_2
    ctypedef double double_4
    ctypedef double double_8

cdef enum:
    RUN = 128  # output pixels worked on at once: their positions first, in loops that vectorise
    REACH_FLOAT = 16  # the powers of the pole that rounding swallows; of 2, for they are reached by doubling
    REACH_DOUBLE = 32


cdef inline bint inside(double x, Py_ssize_t size) noexcept nogil:
    return (x >= -MARGIN) & (x <= size - 1 + MARGIN)


cdef inline double held(double x, Py_ssize_t size) noexcept nogil:
    x = x if x > 0 else 0
    return x if x < size - 1 else size - 1


cdef inline Py_ssize_t mirrored(Py_ssize_t i, Py_ssize_t size) noexcept nogil:
    # Reflection about the centres of the border pixels.
    if size == 1:
        return 0
    i = i if i >= 0 else -i
    i = i % (2 * size - 2)
    return i if i < size else 2 * size - 2 - i


cdef class Places:
    """Where a window of the output, and one of the image, lie.

    The output window's first pixel is (`row`, `column`) of the grid. Its positions are what `matrix`, 3x3, makes of its
    pixels, or those of `positions`, (2, rows, columns) x and y. The image window's first pixel is (`top`, `left`) of an
    image of `height` x `width`; both may be negative, where the window has pixels before the first.
    """

    cdef const double[:, ::1] matrix
    cdef const double[:, :, ::1] positions
    cdef Py_ssize_t row, column, top, left, height, width

    def __init__(self, matrix, positions, Py_ssize_t row, Py_ssize_t column, Py_ssize_t top, Py_ssize_t left,
                 Py_ssize_t height, Py_ssize_t width):
        self.matrix, self.positions = matrix, positions
        self.row, self.column, self.top, self.left = row, column, top, left
        self.height, self.width = height, width

    cdef bint straight(self) noexcept nogil:
        """Whether the positions of a row lie on a straight line, in equal steps."""
        return self.positions is None and self.matrix[2, 0] == 0 and self.matrix[2, 1] == 0

    cdef void run(self, Py_ssize_t r, Py_ssize_t c, int count, double *x, double *y) noexcept nogil:
        """The positions of `count` pixels of row `r` of the output window, from its column `c` on."""
        cdef const double *m
        cdef const double *x_given
        cdef const double *y_given
        cdef double x_row, y_row, w_row, w
        cdef double first = self.column + c, row = self.row + r
        cdef int k
        if self.positions is not None:
            x_given, y_given = &self.positions[0, r, c], &self.positions[1, r, c]
            for k in range(count):
                x[k] = x_given[k]
                y[k] = y_given[k]
            return
        m = &self.matrix[0, 0]
        x_row, y_row = m[1] * row + m[2], m[4] * row + m[5]
        for k in range(count):
            x[k] = m[0] * (first + k) + x_row
            y[k] = m[3] * (first + k) + y_row
        if m[6] != 0 or m[7] != 0:
            w_row = m[7] * row + m[8]
            for k in range(count):
                w = m[6] * (first + k) + w_row
                # On and beyond the line of denominator 0 there is nothing to see.
                w = 1 / w if w > 0 else NAN
                x[k] *= w
                y[k] *= w


cdef void cells(const double *x, int count, Py_ssize_t size, Py_ssize_t origin, int *first, real *fraction,
                int *within) noexcept nogil:
    """The pixel before each position along an axis, counted from `origin`, and how far behind it the position is.

    The last pixel is nobody's first, but for a single one: the fraction reaches up to 1 instead.
    """
    cdef int k, i, last = <int>larger(size - 2, 0), before = <int>origin
    cdef double place
    for k in range(count):
        within[k] = within[k] & inside(x[k], size)
        place = held(x[k], size)
        i = <int>place
        i = i if i < last else last
        fraction[k] = <real>(place - i)
        # What is not inside may lie anywhere, nowhere (NaN) too, but is read in the window.
        first[k] = i - before if within[k] else 0


cdef bint all_between(const double *x, int count, Py_ssize_t size) noexcept nogil:
    """Whether positions on a straight line all lie between two pixels of an axis: their ends tell."""
    return min(x[0], x[count - 1]) >= 0 and max(x[0], x[count - 1]) < size - 1


cdef void cells_between(const double *x, int count, Py_ssize_t origin, int *first, real *fraction) noexcept nogil:
    """What `cells` does, where all positions lie between two pixels."""
    cdef int k, before = <int>origin
    for k in range(count):
        fraction[k] = <real>(x[k] - <int>x[k])
        first[k] = <int>x[k] - before


cdef inline void scatter(const real *values, const int *within, real fill, int count, real *out,
                         Py_ssize_t step) noexcept nogil:
    cdef int k
    if step == 1:
        for k in range(count):
            out[k] = values[k] if within[k] else fill
    else:
        for k in range(count):
            out[k * step] = values[k] if within[k] else fill


def warp_nearest(const bits[:, :] image, Places places, bits fill, bits[:, :] out):
    """The pixel nearest to each position, halves rounded up; `fill` outside. The window is the whole image."""
    cdef Py_ssize_t r, run, c, height = places.height, width = places.width
    cdef int k, count
    cdef double x[RUN]
    cdef double y[RUN]
    cdef int column[RUN]
    cdef int row[RUN]
    cdef int within[RUN]
    with nogil:
        for r in range(out.shape[0]):
            for run in range((out.shape[1] + RUN - 1) // RUN):
                c = run * RUN
                count = <int>smaller(RUN, out.shape[1] - c)
                places.run(r, c, count, x, y)
                for k in range(count):
                    within[k] = inside(x[k], width) & inside(y[k], height)
                    column[k] = <int>(held(x[k], width) + 0.5)
                    row[k] = <int>(held(y[k], height) + 0.5)
                for k in range(count):
                    out[r, c + k] = image[row[k], column[k]] if within[k] else fill


cdef void mix_linear(const real *image, Py_ssize_t stride, const int *column, const int *row, const real *u,
                     const real *v, int count, real *values) noexcept nogil:
    # Pairs of pixels are copied as they are, which needs no gathering; the arithmetic is left to loops that vectorise.
    cdef real top[2 * RUN]
    cdef real bottom[2 * RUN]
    cdef const real *corner
    cdef real before, after, above, below
    cdef int k
    for k in range(count):
        corner = image + row[k] * stride + column[k]
        if real is float:
            (<float_2 *>top)[k] = (<const float_2 *>corner)[0]
            (<float_2 *>bottom)[k] = (<const float_2 *>(corner + stride))[0]
        else:
            (<double_2 *>top)[k] = (<const double_2 *>corner)[0]
            (<double_2 *>bottom)[k] = (<const double_2 *>(corner + stride))[0]
    for k in range(count):
        # A pixel of weight 0 does not count, not even as NaN: on the pixels themselves the image is what it was.
        before, after = 1 - u[k], u[k]
        above = (before * top[2 * k] if before > 0 else 0) + (after * top[2 * k + 1] if after > 0 else 0)
        below = (before * bottom[2 * k] if before > 0 else 0) + (after * bottom[2 * k + 1] if after > 0 else 0)
        before, after = 1 - v[k], v[k]
        values[k] = (before * above if before > 0 else 0) + (after * below if after > 0 else 0)


cdef void mix_cubic(const real *image, Py_ssize_t stride, const int *column, const int *row, const real *u,
                    const real *v, int count, real *values) noexcept nogil:
    """The spline at `count` places; `image` points to the tap before the first pixel in both directions."""
    cdef real across[4 * RUN]
    cdef real down[4 * RUN]
    cdef real sums[4 * RUN]
    cdef const real *corner
    cdef const real *w
    cdef int k
    for k in range(count):
        cubic_weights(u[k], across + 4 * k)
        cubic_weights(v[k], down + 4 * k)
    for k in range(count):
        corner = image + row[k] * stride + column[k]
        w = down + 4 * k
        if real is float:
            (<float_4 *>sums)[k] = (<const float_4 *>across)[k] * (
                w[0] * (<const float_4 *>corner)[0] + w[1] * (<const float_4 *>(corner + stride))[0] + (
                    w[2] * (<const float_4 *>(corner + 2 * stride))[0]
                    + w[3] * (<const float_4 *>(corner + 3 * stride))[0]))
        else:
            (<double_4 *>sums)[k] = (<const double_4 *>across)[k] * (
                w[0] * (<const double_4 *>corner)[0] + w[1] * (<const double_4 *>(corner + stride))[0] + (
                    w[2] * (<const double_4 *>(corner + 2 * stride))[0]
                    + w[3] * (<const double_4 *>(corner + 3 * stride))[0]))
    for k in range(count):
        values[k] = (sums[4 * k] + sums[4 * k + 1]) + (sums[4 * k + 2] + sums[4 * k + 3])


cdef void sinc_weights(const real *fraction, int count, real *weights, real *total) noexcept nogil:
    """Lanczos' weights sinc(d) sinc(d / 3) of the six taps around each fraction and two of 0, and their sums.

    All of them lack the factor 3 / pi^2, which the sums take back.
    """
    cdef double sine[RUN]
    cdef double cosine[RUN]
    cdef double t, q, s, c, d, square, w, by_sine, by_cosine
    cdef int i, k
    for k in range(count):
        # The series of sine and cosine about the middle of [0, 1], exact up to rounding, turned to its start.
        t = (fraction[k] - 0.5) * (PI / 3)
        q = t * t
        s = t * (1 - q * (1. / 6) * (1 - q * (1. / 20) * (1 - q * (1. / 42) * (1 - q * (1. / 72) * (
            1 - q * (1. / 110) * (1 - q * (1. / 156)))))))
        c = 1 - q * (1. / 2) * (1 - q * (1. / 12) * (1 - q * (1. / 30) * (1 - q * (1. / 56) * (
            1 - q * (1. / 90) * (1 - q * (1. / 132) * (1 - q * (1. / 182)))))))
        sine[k] = s * ROOT_3_HALVES + c * 0.5  # sin(pi t / 3)
        cosine[k] = c * ROOT_3_HALVES - s * 0.5
        total[k] = 0
    for i in range(8):
        # sin(pi d) changes its sign from tap to tap, and sin(pi d / 3) turns by 60 degrees: every third is alike.
        by_sine = 0 if i >= 6 else 1 if i % 3 == 2 else -0.5
        by_cosine = 0 if i >= 6 or i % 3 == 2 else ROOT_3_HALVES if i % 3 == 0 else -ROOT_3_HALVES
        for k in range(count):
            s = sine[k]
            d = fraction[k] - (i - 2)
            square = d * d if d * d > 1e-12 else 1
            w = s * (3 - 4 * s * s) * (s * by_sine + cosine[k] * by_cosine) / square  # s (3 - 4 s^2) is sin(pi t)
            w = w if d * d > 1e-12 else PI * PI / 3  # the limit
            total[k] += <real>w
            weights[8 * k + i] = <real>w


cdef void mix_sinc(const real *image, Py_ssize_t stride, const int *column, const int *row, const real *u,
                   const real *v, int count, real *values) noexcept nogil:
    """Lanczos' interpolation at `count` places; `image` points to the first tap of the first pixel."""
    cdef real across[8 * RUN]
    cdef real down[8 * RUN]
    cdef real sums[8 * RUN]
    cdef real across_total[RUN]
    cdef real down_total[RUN]
    cdef const real *line
    cdef const real *w
    cdef int k
    sinc_weights(u, count, across, across_total)
    sinc_weights(v, count, down, down_total)
    for k in range(count):
        line = image + row[k] * stride + column[k]
        w = down + 8 * k
        if real is float:
            (<float_8 *>sums)[k] = (<const float_8 *>across)[k] * (
                w[0] * (<const float_8 *>line)[0] + w[1] * (<const float_8 *>(line + stride))[0]
                + w[2] * (<const float_8 *>(line + 2 * stride))[0] + w[3] * (<const float_8 *>(line + 3 * stride))[0]
                + w[4] * (<const float_8 *>(line + 4 * stride))[0] + w[5] * (<const float_8 *>(line + 5 * stride))[0])
        else:
            (<double_8 *>sums)[k] = (<const double_8 *>across)[k] * (
                w[0] * (<const double_8 *>line)[0] + w[1] * (<const double_8 *>(line + stride))[0]
                + w[2] * (<const double_8 *>(line + 2 * stride))[0] + w[3] * (<const double_8 *>(line + 3 * stride))[0]
                + w[4] * (<const double_8 *>(line + 4 * stride))[0] + w[5] * (<const double_8 *>(line + 5 * stride))[0])
    for k in range(count):
        values[k] = (
            (sums[8 * k] + sums[8 * k + 1]) + (sums[8 * k + 2] + sums[8 * k + 3])
            + (sums[8 * k + 4] + sums[8 * k + 5])) / (across_total[k] * down_total[k])


def warp_real(const real[:, :] image, Places places, int taps, real fill, real[:, :] out):
    """Interpolation between 2 (linear), 4 (cubic spline) or 6 (Lanczos) pixels of each axis; `fill` outside.

    Rows of the image window are contiguous. For the spline they are its coefficients. The window holds what the taps
    of every position inside reach, which for Lanczos are 8, two of them with weight 0.
    """
    cdef Py_ssize_t r, run, c, before = taps // 2 - 1, step = out.strides[1] // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t stride = image.strides[0] // <Py_ssize_t>sizeof(real)
    cdef int k, count
    cdef bint straight = places.straight(), between
    cdef double x[RUN]
    cdef double y[RUN]
    cdef real u[RUN]
    cdef real v[RUN]
    cdef real buffer[RUN]
    cdef real *values
    cdef int column[RUN]
    cdef int row[RUN]
    cdef int within[RUN]
    with nogil:
        for r in range(out.shape[0]):
            for run in range((out.shape[1] + RUN - 1) // RUN):
                c = run * RUN
                count = <int>smaller(RUN, out.shape[1] - c)
                places.run(r, c, count, x, y)
                between = straight and all_between(x, count, places.width) and all_between(y, count, places.height)
                for k in range(count):
                    within[k] = 1
                if between:
                    cells_between(x, count, places.left + before, column, u)
                    cells_between(y, count, places.top + before, row, v)
                else:
                    cells(x, count, places.width, places.left + before, column, u, within)
                    cells(y, count, places.height, places.top + before, row, v, within)
                # A row of the output that needs neither fill nor gaps is written at once.
                values = &out[r, c] if between and step == 1 else buffer
                if taps == 2:
                    mix_linear(&image[0, 0], stride, column, row, u, v, count, values)
                elif taps == 4:
                    mix_cubic(&image[0, 0], stride, column, row, u, v, count, values)
                else:
                    mix_sinc(&image[0, 0], stride, column, row, u, v, count, values)
                if values == buffer:
                    scatter(values, within, fill, count, &out[r, c], step)


cdef Py_ssize_t count_missing(const real *row, Py_ssize_t width) noexcept nogil:
    cdef Py_ssize_t c, missing = 0
    for c in range(width):
        missing += not row[c] - row[c] == 0
    return missing


def fill_missing(real[:, ::1] values, Py_ssize_t before, Py_ssize_t after):
    """Replace what is not finite by a value that stands beside it; returns how many values were.

    The first `before` and last `after` rows and columns are left alone. In a row the last value before a gap fills it,
    or the first one behind it; a row without any is like the one above it, or the first below that has some.
    """
    cdef Py_ssize_t r, c, count, missing = 0, filled = -1
    cdef Py_ssize_t height = values.shape[0] - before - after, width = values.shape[1] - before - after
    cdef real *row
    cdef real beside
    with nogil:
        for r in range(before, before + height):
            row = &values[r, before]
            count = count_missing(row, width)
            missing += count
            if count == width:
                if filled >= 0:
                    memcpy(row, &values[filled, before], width * sizeof(real))
                continue
            if count:
                c = 0
                while not row[c] - row[c] == 0:
                    c += 1
                beside = row[c]
                for c in range(width):
                    beside = row[c] if row[c] - row[c] == 0 else beside
                    row[c] = beside
            if filled < 0:
                for c in range(before, r):
                    memcpy(&values[c, before], row, width * sizeof(real))
            filled = r
        if filled < 0:
            for r in range(before, before + height):
                memset(&values[r, before], 0, width * sizeof(real))
    return missing


def round_into(const real[:, ::1] values, object out):
    """Store `values` in an array of integers of any strides, rounded half to even and saturated, NaN as 0."""
    cdef Py_buffer view
    cdef Store store
    cdef Py_ssize_t r
    if values.size == 0:
        return
    PyObject_GetBuffer(out, &view, PyBUF_FORMAT | PyBUF_STRIDES | PyBUF_WRITABLE)
    try:
        store = choose_store(&view, &values[0, 0])
        with nogil:
            for r in range(values.shape[0]):
                store(&values[r, 0], values.shape[1], <char *>view.buf + r * view.strides[0],
                      view.strides[1] // view.itemsize)
    finally:
        PyBuffer_Release(&view)


def mirror_border(real[:, ::1] window, Py_ssize_t before, Py_ssize_t after):
    """Fill the `before` first and `after` last rows and columns with the others, mirrored at the outermost centres."""
    with nogil:
        mirror(window, before, after)


cdef void mirror(real[:, ::1] window, Py_ssize_t before, Py_ssize_t after) noexcept nogil:
    cdef Py_ssize_t height = window.shape[0] - before - after, width = window.shape[1] - before - after
    cdef Py_ssize_t r, i
    cdef real *row
    for r in range(before, before + height):
        row = &window[r, before]
        for i in range(-before, 0):
            row[i] = row[mirrored(i, width)]
        for i in range(width, width + after):
            row[i] = row[mirrored(i, width)]
    for i in range(-before, height + after):
        if not 0 <= i < height:
            memcpy(&window[before + i, 0], &window[before + mirrored(i, height), 0], window.shape[1] * sizeof(real))


cdef void filter_row(const real *source, Py_ssize_t width, real *one, real *other, real *out) noexcept nogil:
    """Write the spline coefficients of a row, which goes on mirrored.

    The inverse of the B-spline is a sum over pole^k to one side, and then to the other. Along a row, the recursion that
    computes it would go from value to value. Doubling goes from vector to vector: sums of 2, 4, 8 ... terms are made of
    two that are half as long. `one` and `other` have room for the row and its continuation.
    """
    cdef Py_ssize_t reach = REACH_FLOAT if real is float else REACH_DOUBLE
    cdef Py_ssize_t i, step, length = width + 2 * reach
    cdef real power = <real>POLE
    memcpy(one + reach, source, width * sizeof(real))
    for i in range(reach):
        one[i] = one[reach + mirrored(i - reach, width)]
        one[reach + width + i] = one[reach + mirrored(width + i, width)]
    step = 1
    while step < reach:
        # From left to right, what lies before the beginning is not needed; it is halfway rubbish.
        for i in range(length - step):
            other[i + step] = one[i + step] + power * one[i]
        for i in range(step):
            other[i] = one[i]
        # From right to left.
        for i in range(length - step):
            one[i] = other[i] + power * other[i + step]
        for i in range(length - step, length):
            one[i] = other[i]
        power *= power
        step *= 2
    for i in range(width):
        out[i] = <real>(-6 * POLE) * one[reach + i]


cdef void filter_columns(real *first, Py_ssize_t height, Py_ssize_t width, Py_ssize_t stride) noexcept nogil:
    """Replace columns by their cubic B-spline coefficients, mirrored at both ends (Unser 1999)."""
    cdef Py_ssize_t c, horizon = smaller(height, REACH_DOUBLE + 12)
    cdef real pole = <real>POLE
    cdef real power = pole
    cdef real *row = first
    if height == 1:
        return
    # The causal start is a sum over the mirrored column; beyond the horizon it is below 1e-22 of the rest.
    for c in range(width):
        first[c] *= 6
    for _ in range(1, horizon):
        row += stride
        for c in range(width):
            first[c] += 6 * power * row[c]
        power *= pole
    if horizon == height:
        # A short column is summed over its whole period of 2 height - 2; `power` is now pole^height.
        for _ in range(height - 2, 0, -1):
            row -= stride
            for c in range(width):
                first[c] += 6 * power * row[c]
            power *= pole
        for c in range(width):
            first[c] /= 1 - power
    row = first
    for _ in range(1, height):
        row += stride
        for c in range(width):
            row[c] = 6 * row[c] + pole * row[c - stride]
    for c in range(width):
        row[c] = pole / (pole * pole - 1) * (row[c] + pole * row[c - stride])
    for _ in range(height - 1):
        row -= stride
        for c in range(width):
            row[c] = pole * (row[c + stride] - row[c])


def spline_coefficients(const real[:, :] image, real[:, ::1] window, Py_ssize_t before, Py_ssize_t after):
    """Write the cubic B-spline coefficients of a plane, mirrored at its borders; returns how many values are missing.

    They leave `before` rows and columns of the window before them and `after` behind them, which get the coefficients
    that lie there. Where values are missing, which are not finite, there are no coefficients: nothing is written then.
    Rows of the image are contiguous; it may lie in the window.
    """
    cdef Py_ssize_t r, height = image.shape[0], width = image.shape[1], missing = 0
    cdef Py_ssize_t length = width + 2 * REACH_DOUBLE
    cdef real *scratch = <real *>malloc(2 * length * sizeof(real))
    if scratch == NULL:
        raise MemoryError
    with nogil:
        for r in range(height):
            missing += count_missing(&image[r, 0], width)
        if not missing:
            for r in range(height):
                filter_row(&image[r, 0], width, scratch, scratch + length, &window[before + r, before])
            filter_columns(&window[before, before], height, width, window.shape[1])
            mirror(window, before, after)
        free(scratch)
    return missing


def displace(const real[:, :, ::1] field, const double[:, :, ::1] points, double[:, :, ::1] out):
    """out[x and y] = points + field there: `field` holds x, y per pixel, goes linearly between pixels and on beyond."""
    cdef Py_ssize_t r, c, i, x0, x1, y0, y1, height = field.shape[0], width = field.shape[1]
    cdef double x, y, top, bottom
    with nogil:
        for r in range(points.shape[1]):
            for c in range(points.shape[2]):
                x, y = held(points[0, r, c], width), held(points[1, r, c], height)
                x0, y0 = <Py_ssize_t>x, <Py_ssize_t>y
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                x, y = x - x0, y - y0
                for i in range(2):
                    top = (1 - x) * field[y0, x0, i] + x * field[y0, x1, i]
                    bottom = (1 - x) * field[y1, x0, i] + x * field[y1, x1, i]
                    out[i, r, c] = points[i, r, c] + ((1 - y) * top + y * bottom)


def extent(const double[:, :, ::1] positions):
    """The least and the largest x, and the same of y, of the positions that are numbers; (inf, -inf) if none is."""
    cdef double low[8]
    cdef double high[8]
    cdef Py_ssize_t i, k, step, count = positions.shape[1] * positions.shape[2]
    cdef const double *x
    found = []
    for i in range(2):
        with nogil:
            x = &positions[i, 0, 0]
            for k in range(8):
                low[k], high[k] = INFINITY, -INFINITY
            for step in range(count // 8):
                for k in range(8):
                    low[k] = x[8 * step + k] if x[8 * step + k] < low[k] else low[k]
                    high[k] = x[8 * step + k] if x[8 * step + k] > high[k] else high[k]
            for k in range(count // 8 * 8, count):
                low[0] = x[k] if x[k] < low[0] else low[0]
                high[0] = x[k] if x[k] > high[0] else high[0]
            for k in range(1, 8):
                low[0] = min(low[0], low[k])
                high[0] = max(high[0], high[k])
        found += [low[0], high[0]]
    return tuple(found)


def displace_pixels(const real[:, :, ::1] field, Py_ssize_t row, Py_ssize_t column, double[:, :, ::1] out):
    """out[x and y] = the positions of a window of pixels, from (`row`, `column`) on, plus the field there."""
    cdef Py_ssize_t r, c
    cdef const real *line
    with nogil:
        for r in range(out.shape[1]):
            line = &field[row + r, column, 0]
            for c in range(out.shape[2]):
                out[0, r, c] = column + c + <double>line[2 * c]
                out[1, r, c] = row + r + <double>line[2 * c + 1]
