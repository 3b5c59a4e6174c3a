"""What a step of samples adds to a joint histogram, and its slopes.

Samples are intensities, mapped on the way, and every function takes STEP of them. One that is NaN or infinite in either
image does not exist: it is placed like any other and then weighed by 0, which is cheaper than leaving it out.
"""

from bspline cimport cubic_slopes, cubic_weights, real
from samples cimport STEP
from tables cimport sub_bin_count

cdef extern from "patch.h" nogil:
    void add_rows(double *table, const int *first, const double *t, const double *weights, int count)
    void add_patches(double *table, Py_ssize_t stride, const int *first, const double *weights, const double *t,
                     int count)
    void row_slopes_float(const float *table, const int *first, const float *slopes, float *out, int count)
    void row_slopes_double(const double *table, const int *first, const double *slopes, double *out, int count)
    void patch_slopes_float(const float *table, Py_ssize_t stride, const int *first, const float *weights,
                            const float *slopes, float *out, int count)
    void patch_slopes_double(const double *table, Py_ssize_t stride, const int *first, const double *weights,
                             const double *slopes, double *out, int count)

ctypedef fused result:
    float
    double


cdef struct Mapping:
    double origin  # an intensity
    double onto  # its coordinate
    double scale  # bins per intensity
    double low, high  # coordinates are held between


cdef inline void to_coordinates(const real *values, const Mapping *mapping, real *out) noexcept nogil:
    """The coordinates of intensities, that of NaN being the lowest."""
    cdef int k
    cdef real value, origin = <real>mapping.origin, onto = <real>mapping.onto, scale = <real>mapping.scale
    cdef real low = <real>mapping.low, high = <real>mapping.high
    for k in range(STEP):
        value = onto + (values[k] - origin) * scale
        value = value if value > low else low
        out[k] = value if value < high else high


cdef inline int find_samples(const real *fixed, const real *moving, result *exists) noexcept nogil:
    """1 for samples that exist, 0 for others; how many do."""
    cdef int k, found = 0
    cdef real both[STEP]
    for k in range(STEP):
        # x - x is 0 for every finite x and NaN for all others.
        both[k] = (fixed[k] - fixed[k]) + (moving[k] - moving[k])
        found += both[k] == 0
    for k in range(STEP):
        exists[k] = 1 if both[k] == 0 else 0
    return found


cdef inline void place(const real *positions, int bins, real *whole, result *t) noexcept nogil:
    """The second of the four bins under each window, and how far beyond it the position lies, in [0, 1]."""
    # A bin as a number of the positions' type: conversions of vectors to integers of another width are slow. Its last
    # value is that for which all four bins exist.
    cdef int k
    cdef real last = bins - 3
    for k in range(STEP):
        whole[k] = <real><int>positions[k]
        whole[k] = whole[k] if whole[k] < last else last
        t[k] = positions[k] - whole[k]


cdef inline void locate(
    const real *row, const real *column, int row_length, int column_length, int *first
) noexcept nogil:
    """The places of the first of the bins under two windows, from the second ones, in a table."""
    # All of these are whole numbers below 2^24, and so exact.
    cdef int k
    cdef real down = row_length, across = column_length, back = row_length + column_length
    for k in range(STEP):
        first[k] = <int>(row[k] * down + column[k] * across - back)


cdef inline void weigh(const result *t, result *weights) noexcept nogil:
    """The weights of the four bins under each window in four arrays, STEP apart."""
    cdef int k
    cdef result w[4]
    for k in range(STEP):
        cubic_weights(t[k], w)
        weights[k], weights[STEP + k], weights[2 * STEP + k], weights[3 * STEP + k] = w[0], w[1], w[2], w[3]


cdef inline void to_sub_bins(
    const real *positions, int count, real low, real high, int per_bin, int *sub_bin
) noexcept nogil:
    """The sub-bin of each position; the first and the last are for `low` and `high` themselves."""
    cdef int k, inner
    cdef int last = sub_bin_count(low, high, per_bin) - 1
    for k in range(count):
        inner = 1 + <int>((positions[k] - low) * per_bin)
        inner = inner if inner < last else last - 1
        inner = inner if positions[k] > low else 0
        sub_bin[k] = inner if positions[k] < high else last


cdef inline int stretched(int bins) noexcept nogil:
    """The length of a row of four sums per bin."""
    # A power of two would make the four rows of a patch seem to lie at one address.
    return 4 * bins + 8


cdef inline double[::1] no_windows(int bins):
    """A table of zeros for `add_exact`; on a line's border, as otherwise every other window would lie on two lines."""
    import numpy as np  # here, because --version loads the kernels and should not wait for NumPy
    cdef Py_ssize_t size = bins * stretched(bins)
    cdef double[::1] memory = np.zeros(size + 7)
    cdef Py_ssize_t first = -<Py_ssize_t>&memory[0] // 8 & 7
    return memory[first:first + size]


cdef inline void add_exact(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping, double *table,
    int bins
) noexcept nogil:
    cdef real position[STEP]
    cdef real row[STEP]
    cdef real column[STEP]
    cdef int first[STEP]
    cdef double exists[STEP]
    cdef double t[STEP]
    cdef double weights[4 * STEP]
    cdef int k, r, stride = stretched(bins), found = find_samples(fixed, moving, exists)
    if found == 0:
        return
    to_coordinates(fixed, fixed_mapping, position)
    place(position, bins, row, t)
    weigh(t, weights)
    to_coordinates(moving, moving_mapping, position)
    place(position, bins, column, t)
    locate(row, column, stride, 4, first)
    if found < STEP:
        for r in range(4):
            for k in range(STEP):
                weights[r * STEP + k] *= exists[k]
    add_patches(table, stride, first, weights, t, STEP)


cdef inline void add_half(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping, int per_bin,
    double *table, int bins
) noexcept nogil:
    cdef real position[STEP]
    cdef real column[STEP]
    cdef int row[STEP]
    cdef double exists[STEP]
    cdef double t[STEP]
    cdef int k
    if find_samples(fixed, moving, exists) == 0:
        return
    to_coordinates(fixed, fixed_mapping, position)
    to_sub_bins(position, STEP, <real>fixed_mapping.low, <real>fixed_mapping.high, per_bin, row)
    to_coordinates(moving, moving_mapping, position)
    place(position, bins, column, t)
    for k in range(STEP):
        row[k] = row[k] * bins + (<int>column[k] - 1)
    add_rows(table, row, t, exists, STEP)


cdef inline void incline(
    const real *fixed, const real *position, const real *t, const Mapping *mapping, real *slopes
) noexcept nogil:
    """The slopes of moving's windows in the same way; 0 for samples that do not exist or are held at either end."""
    cdef int k
    cdef bint moves
    cdef real w[4]
    cdef real low = <real>mapping.low, high = <real>mapping.high
    for k in range(STEP):
        cubic_slopes(t[k], w)
        moves = (fixed[k] - fixed[k] == 0) & (low < position[k]) & (position[k] < high)
        slopes[k] = w[0] if moves else 0
        slopes[STEP + k] = w[1] if moves else 0
        slopes[2 * STEP + k] = w[2] if moves else 0
        slopes[3 * STEP + k] = w[3] if moves else 0


cdef inline void slope_exact(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping,
    const real *table, int bins, real *out
) noexcept nogil:
    cdef real position[STEP]
    cdef real row[STEP]
    cdef real column[STEP]
    cdef int first[STEP]
    cdef real t[STEP]
    cdef real weights[4 * STEP]
    cdef real slopes[4 * STEP]
    to_coordinates(fixed, fixed_mapping, position)
    place(position, bins, row, t)
    weigh(t, weights)
    to_coordinates(moving, moving_mapping, position)
    place(position, bins, column, t)
    incline(fixed, position, t, moving_mapping, slopes)
    locate(row, column, bins, 1, first)
    if real is float:
        patch_slopes_float(table, bins, first, weights, slopes, out, STEP)
    else:
        patch_slopes_double(table, bins, first, weights, slopes, out, STEP)


cdef inline void slope_half(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping, int per_bin,
    const real *table, int bins, real *out
) noexcept nogil:
    cdef real position[STEP]
    cdef real column[STEP]
    cdef int row[STEP]
    cdef real t[STEP]
    cdef real slopes[4 * STEP]
    cdef int k
    to_coordinates(fixed, fixed_mapping, position)
    to_sub_bins(position, STEP, <real>fixed_mapping.low, <real>fixed_mapping.high, per_bin, row)
    to_coordinates(moving, moving_mapping, position)
    place(position, bins, column, t)
    incline(fixed, position, t, moving_mapping, slopes)
    for k in range(STEP):
        row[k] = row[k] * bins + (<int>column[k] - 1)
    if real is float:
        row_slopes_float(table, row, slopes, out, STEP)
    else:
        row_slopes_double(table, row, slopes, out, STEP)
