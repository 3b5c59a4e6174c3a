"""What two images tell of each other if in every small window the one is a linear function of the other."""

from libc.math cimport log
from libc.stdlib cimport calloc, free

from bspline cimport real

# Columns go in blocks whose sums stand on the stack, where the compiler knows that nothing overlaps.
cdef enum:
    WINDOWS = 64
    PIXELS = 2 * WINDOWS
    # With a column before the block's first window and two behind the first pixel of its last.
    COLUMNS = PIXELS + 2


def window_information(
    const real[:, ::1] fixed, const real[:, ::1] warped, double fixed_noise, double warped_noise, Py_ssize_t start,
    Py_ssize_t stop, real[:, ::1] slopes, real[:, ::1] curvatures=None
):
    """The sum over pixels of -log(1 - r^2) / 2, and in `slopes` its derivative with respect to `warped`.

    r is the correlation in a window [1 3 3 1] x [1 3 3 1] around every second corner of pixels in each direction, with
    the variances of the noise added to those of the images: where there is nothing but noise, r is small. A window
    counts as much as the four pixels between its corners, less where pixels are NaN. Only windows whose first inner row
    is in [start, stop) are in the sum; the slopes are those of all windows of the rows that are given. `curvatures`, if
    given, receives by how much each slope falls for one more of `warped`, the relation in the windows being what it is.
    """
    cdef Py_ssize_t height = fixed.shape[0], width = fixed.shape[1], count = (width + 1) // 2, row, first, k, r
    cdef double total = 0, sum_of_row
    # Three derivatives for each window of a row, with a window of zeros on either side.
    cdef real *bends = NULL
    cdef real *by = <real *>calloc(3 * (count + 2), sizeof(real))
    if by == NULL:
        raise MemoryError
    with nogil:
        for r in range(height):
            for k in range(width):
                slopes[r, k] = 0
                if curvatures is not None:
                    curvatures[r, k] = 0
        for row in range(0, height, 2):
            sum_of_row = 0
            first = 0
            while first < count:
                sum_of_row += windows_of(
                    &fixed[0, 0], &warped[0, 0], height, width, row, first, min(WINDOWS, count - first),
                    <real>fixed_noise, <real>warped_noise, by + 1 + first, count + 2)
                first += WINDOWS
            if start <= row < stop:
                total += sum_of_row
            for r in range(max(row - 1, 0), min(row + 3, height)):
                first = 0
                while first < count:
                    if curvatures is not None:
                        bends = &curvatures[r, 2 * first]
                    spread(
                        &fixed[r, 2 * first], &warped[r, 2 * first], by + 1 + first, count + 2,
                        r >> 1 == row >> 1, min(PIXELS, width - 2 * first), &slopes[r, 2 * first], bends)
                    first += WINDOWS
    free(by)
    return total


cdef double windows_of(
    const real *fixed, const real *warped, Py_ssize_t height, Py_ssize_t width, Py_ssize_t row, Py_ssize_t first,
    Py_ssize_t count, real fixed_noise, real warped_noise, real *by, Py_ssize_t stride
) noexcept nogil:
    # The information of a block of windows, and its derivatives by what `spread` multiplies them with.
    cdef real weights[COLUMNS]
    cdef real f_sums[COLUMNS]
    cdef real w_sums[COLUMNS]
    cdef real ff_sums[COLUMNS]
    cdef real ww_sums[COLUMNS]
    cdef real fw_sums[COLUMNS]
    cdef real left[WINDOWS]
    cdef real shares[WINDOWS]
    cdef Py_ssize_t x, r, k, begin = 2 * first - 1, end = min(2 * (first + count) + 1, width)
    cdef const real *f_row
    cdef const real *w_row
    cdef real share, f, w, n, mean_f, mean_w, var_f, var_w, both, scale, square, rest, by_both, by_square
    cdef bint there
    cdef double total = 0
    for x in range(COLUMNS):
        weights[x] = f_sums[x] = w_sums[x] = ff_sums[x] = ww_sums[x] = fw_sums[x] = 0
    for r in range(max(row - 1, 0), min(row + 3, height)):
        share = 0.375 if r >> 1 == row >> 1 else 0.125
        f_row, w_row = fixed + r * width + begin, warped + r * width + begin
        for x in range(1 if begin < 0 else 0, end - begin):
            f, w = f_row[x], w_row[x]
            there = (f == f) & (w == w)
            f, w = f if there else 0, w if there else 0
            n = share if there else 0
            weights[x] += n
            f_sums[x] += share * f
            w_sums[x] += share * w
            ff_sums[x] += share * f * f
            ww_sums[x] += share * w * w
            fw_sums[x] += share * f * w
    for k in range(count):
        n = across(weights, k)
        # An empty window has sums of 0, and 0 of anything.
        scale = 1 / (n if n > 0 else 1)
        mean_f, mean_w = across(f_sums, k) * scale, across(w_sums, k) * scale
        var_f = across(ff_sums, k) * scale - mean_f * mean_f
        var_w = across(ww_sums, k) * scale - mean_w * mean_w
        both = across(fw_sums, k) * scale - mean_f * mean_w
        # Rounding may leave a variance below 0.
        var_f = (var_f if var_f > 0 else 0) + fixed_noise
        var_w = (var_w if var_w > 0 else 0) + warped_noise
        square = both * both / (var_f * var_w)
        rest = 1 - square
        left[k], shares[k] = rest, n
        # What a pixel's w, and what its f, count for in the slope; its weight is brought in by `spread`.
        by_square = -4 * square / (var_w * rest)
        by_both = 4 * both / (var_f * var_w * rest)
        by[k] = -by_square * mean_w - by_both * mean_f
        by[stride + k] = by_square
        by[2 * stride + k] = by_both
    for k in range(count):
        total -= 2 * shares[k] * log(left[k])
    return total


cdef inline real across(const real *sums, Py_ssize_t k) noexcept nogil:
    cdef real inner = 0.375, outer = 0.125
    return inner * (sums[2 * k + 1] + sums[2 * k + 2]) + outer * (sums[2 * k] + sums[2 * k + 3])


cdef void spread(
    const real *fixed, const real *warped, const real *by, Py_ssize_t stride, bint inside, Py_ssize_t count,
    real *slopes, real *curvatures
) noexcept nogil:
    # Add to a row of slopes what a row of windows, of which it is an inner or an outer one, says: by[0] + by[1] *
    # warped + by[2] * fixed, each times the weight that the pixel has in the window; and -by[1] to that of curvatures.
    cdef real lines[3 * PIXELS]
    cdef Py_ssize_t i, k
    cdef real share = 0.375 if inside else 0.125, inner = 0.375 * share, outer = 0.125 * share, slope
    for i in range(3):
        for k in range((count + 1) // 2):
            lines[i * PIXELS + 2 * k] = inner * by[i * stride + k] + outer * by[i * stride + k - 1]
            lines[i * PIXELS + 2 * k + 1] = inner * by[i * stride + k] + outer * by[i * stride + k + 1]
    for k in range(count):
        slope = lines[k] + lines[PIXELS + k] * warped[k] + lines[2 * PIXELS + k] * fixed[k]
        # False where either is missing.
        slopes[k] += slope if slope == slope else 0
        if curvatures != NULL:
            curvatures[k] -= lines[PIXELS + k] if slope == slope else 0
