"""Windows of planes made ready for interpolation: coefficients of the cubic B-spline, gaps filled, borders mirrored."""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from area cimport mirrored
from bspline cimport real
from pixels cimport smaller

cdef extern from *:
    """
    #define POLE (-0.26794919243112270647) /* of the cubic B-spline's inverse: sqrt(3) - 2 */
    """
    const double POLE

cdef enum:
    REACH_FLOAT = 16  # the powers of the pole that rounding swallows; of 2, for they are reached by doubling
    REACH_DOUBLE = 32


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
