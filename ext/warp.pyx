"""Resampling of planes at transformed positions.

Positions are those of input pixels, as x and y. An output pixel is inside if its position lies on the area of the input
pixels, which ends half a pixel beyond the outermost centres; beyond these centres the image is continued by its border
pixels. The kernels see a window of the image, in floating point and with as many pixels around it as they reach to, and
write a window of the output: `Places` tells where the two are.
"""

from cpython.buffer cimport PyBuffer_Release, PyObject_GetBuffer, Py_buffer, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE
from libc.math cimport INFINITY, NAN

from area cimport held, inside
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
    #define PI 3.14159265358979323846
    #define ROOT_3_HALVES 0.86602540378443864676

    /* Neighbouring pixels of a row, which need not be aligned. */
    typedef float float_2 __attribute__((vector_size(8), aligned(4), may_alias));
    typedef float float_4 __attribute__((vector_size(16), aligned(4), may_alias));
    typedef float float_8 __attribute__((vector_size(32), aligned(4), may_alias));
    typedef double double_2 __attribute__((vector_size(16), aligned(8), may_alias));
    typedef double double_4 __attribute__((vector_size(32), aligned(8), may_alias));
    typedef double double_8 __attribute__((vector_size(64), aligned(8), may_alias));
    """
    const double PI, ROOT_3_HALVES
    ctypedef float float_2
    ctypedef float float_4
    ctypedef float float_8
    ctypedef double double_2
    ctypedef double double_4
    ctypedef double double_8

cdef enum:
    RUN = 128  # output pixels worked on at once: their positions first, in loops that vectorise

cdef struct Run:
    Py_ssize_t row  # and column of its first pixel in the output window
    Py_ssize_t column
    int count


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

    cdef bint next(self, Py_ssize_t rows, Py_ssize_t columns, Run *run, double *x, double *y) noexcept nogil:
        """Go on to the next run of an output window of this size, and to its positions; False behind the last.

        The first run follows one without pixels.
        """
        run.column += run.count
        if run.column >= columns:
            run.row, run.column = run.row + 1, 0
        if run.row >= rows or columns == 0:
            return False
        run.count = <int>smaller(RUN, columns - run.column)
        self.place(run.row, run.column, run.count, x, y)
        return True

    cdef void place(self, Py_ssize_t r, Py_ssize_t c, int count, double *x, double *y) noexcept nogil:
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
    cdef Py_ssize_t r, c, height = places.height, width = places.width
    cdef int k, count
    cdef Run run = Run(0, 0, 0)
    cdef double x[RUN]
    cdef double y[RUN]
    cdef int column[RUN]
    cdef int row[RUN]
    cdef int within[RUN]
    with nogil:
        while places.next(out.shape[0], out.shape[1], &run, x, y):
            r, c, count = run.row, run.column, run.count
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
    cdef Py_ssize_t r, c, before = taps // 2 - 1, step = out.strides[1] // <Py_ssize_t>sizeof(real)
    cdef Py_ssize_t stride = image.strides[0] // <Py_ssize_t>sizeof(real)
    cdef int k, count
    cdef bint straight = places.straight(), between
    cdef Run run = Run(0, 0, 0)
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
        while places.next(out.shape[0], out.shape[1], &run, x, y):
            r, c, count = run.row, run.column, run.count
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
