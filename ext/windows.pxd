"""What a block of samples adds to a joint histogram, and its slopes; coordinates in [low, high], NaN if missing."""

from libc.math cimport INFINITY, NAN

from bspline cimport cubic_slopes, cubic_weights, real
from samples cimport Ahead, bring
from tables cimport sub_bin_count

cdef extern from "patch.h" nogil:
    void add_row(double *row, double t)
    void add_patch(double *patch, Py_ssize_t stride, const double *w, Py_ssize_t apart, double t)
    void row_slopes_float(const float *table, const int *first, const float *slopes, Py_ssize_t apart, float *out)
    void row_slopes_double(const double *table, const int *first, const double *slopes, Py_ssize_t apart, double *out)
    void patch_slopes_float(const float *table, const int *first, Py_ssize_t stride, const float *weights,
                            const float *slopes, Py_ssize_t apart, float *out)
    void patch_slopes_double(const double *table, const int *first, Py_ssize_t stride, const double *weights,
                             const double *slopes, Py_ssize_t apart, double *out)

# Everything that vectorises is done for blocks of samples, before the scattered reads and writes.
cdef enum:
    BLOCK = 256

ctypedef fused result:
    float
    double


cdef struct Mapping:
    double origin  # the intensity at `low`
    double scale  # bins per intensity
    double low, high


cdef inline void to_coordinates(
    const real *values, Py_ssize_t count, const Mapping *mapping, real *out
) noexcept nogil:
    """The coordinates of intensities, held in [low, high]; NaN for all that is not finite."""
    cdef Py_ssize_t i
    cdef real value, origin = <real>mapping.origin, scale = <real>mapping.scale
    cdef real low = <real>mapping.low, high = <real>mapping.high
    for i in range(count):
        value = low + (values[i] - origin) * scale
        value = value if value > low else low
        value = value if value < high else high
        # x - x is 0 for every finite x and NaN for all others.
        out[i] = value if values[i] - values[i] == 0 else <real>NAN


cdef inline int pack(real *fixed, real *moving, real low, real high, int count, int *sample) noexcept nogil:
    """Keep the samples that exist and have low < moving < high; returns how many.

    If they are not all, `sample` becomes their places.
    """
    # Comparisons with NaN are false.
    cdef int i, kept = 0
    cdef real f, m
    for i in range(count):
        kept += (fixed[i] == fixed[i]) & (low < moving[i]) & (moving[i] < high)
    if kept == count:
        return count
    kept = 0
    for i in range(count):
        # What is not to be kept is overwritten by the next.
        f, m = fixed[i], moving[i]
        sample[kept], fixed[kept], moving[kept] = i, f, m
        kept += (f == f) & (low < m) & (m < high)
    return kept


cdef inline void place(const real *positions, int count, int last, int *first, double *t) noexcept nogil:
    """The first of the four bins under each window, and how far beyond the second the position lies, in [0, 1]."""
    # `last` is the largest whole part for which all four are bins.
    cdef int k, whole
    for k in range(count):
        whole = <int>positions[k]
        whole = whole if whole < last else last
        t[k] = positions[k] - whole
        first[k] = whole - 1


cdef inline void weigh(
    const real *positions, int count, int last, int *first, result *weights, bint slopes
) noexcept nogil:
    """The first of the four bins under each window, and their weights or slopes in four arrays, BLOCK apart."""
    cdef int k, whole
    cdef result w[4]
    for k in range(count):
        whole = <int>positions[k]
        whole = whole if whole < last else last
        first[k] = whole - 1
        if slopes:
            cubic_slopes(<result>(positions[k] - whole), w)
        else:
            cubic_weights(<result>(positions[k] - whole), w)
        weights[k], weights[BLOCK + k], weights[2 * BLOCK + k], weights[3 * BLOCK + k] = w[0], w[1], w[2], w[3]


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


cdef inline void add_exact(
    real *f, real *m, int count, double *table, int bins, const Ahead *ahead
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef double m_rest[BLOCK]
    cdef double weights[4 * BLOCK]
    cdef int k, first, stride = stretched(bins)
    count = pack(f, m, <real>-INFINITY, <real>INFINITY, count, sample)
    weigh(f, count, bins - 3, row, weights, False)
    place(m, count, bins - 3, column, m_rest)
    for k in range(count):
        row[k] = row[k] * stride + 4 * column[k]
    for first in range(0, count, 16):
        bring(ahead, first)
        for k in range(first, min(first + 16, count)):
            add_patch(table + row[k], stride, weights + k, BLOCK, m_rest[k])


cdef inline void add_half(
    real *f, real *m, int count, real low, real high, int per_bin, double *table, int bins, const Ahead *ahead
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef double m_rest[BLOCK]
    cdef int k, first
    count = pack(f, m, <real>-INFINITY, <real>INFINITY, count, sample)
    to_sub_bins(f, count, low, high, per_bin, row)
    place(m, count, bins - 3, column, m_rest)
    for k in range(count):
        row[k] = row[k] * bins + column[k]
    for first in range(0, count, 16):
        bring(ahead, first)
        for k in range(first, min(first + 16, count)):
            add_row(table + row[k], m_rest[k])


cdef inline void add_counts(
    const real *f, const real *m, int count, real low, real high, int per_bin, unsigned int *counts, int *cell,
    const Ahead *ahead
) noexcept nogil:
    # Missing samples are counted, too, in a cell behind all others: no branch, and the look-up finds a zero there.
    cdef int row[BLOCK]
    cdef int k, first, columns = sub_bin_count(low, high, per_bin)
    to_sub_bins(f, count, low, high, per_bin, row)
    to_sub_bins(m, count, low, high, per_bin, cell)
    for k in range(count):
        cell[k] = row[k] * columns + cell[k] if (f[k] == f[k]) & (m[k] == m[k]) else columns * columns
    for first in range(0, count, 16):
        bring(ahead, first)
        for k in range(first, min(first + 16, count)):
            counts[cell[k]] += 1


cdef inline void unpack(const real *packed, int kept, const int *sample, int count, real *out) noexcept nogil:
    """The reverse of `pack`, 0 for samples that were not kept."""
    cdef int k
    if packed == out:
        return
    for k in range(count):
        out[k] = 0
    for k in range(kept):
        out[sample[k]] = packed[k]


# The slopes are computed four at a time: blocks of samples and of results have room for a whole number of fours.

cdef inline void slope_exact(
    real *f, real *m, int count, real low, real high, const real *table, int bins, real *out,
    const Ahead *ahead
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK + 4]
    cdef int column[BLOCK]
    cdef real weights[4 * BLOCK]
    cdef real slopes[4 * BLOCK]
    cdef real *packed
    cdef int k, kept = pack(f, m, low, high, count, sample)
    weigh(f, kept, bins - 3, row, weights, False)
    weigh(m, kept, bins - 3, column, slopes, True)
    for k in range(kept):
        row[k] = row[k] * bins + column[k]
    row[kept] = row[kept + 1] = row[kept + 2] = 0
    packed = out if kept == count else f
    for k in range(0, kept, 4):
        if k % 16 == 0:
            bring(ahead, k)
        if real is float:
            patch_slopes_float(table, row + k, bins, weights + k, slopes + k, BLOCK, packed + k)
        else:
            patch_slopes_double(table, row + k, bins, weights + k, slopes + k, BLOCK, packed + k)
    unpack(packed, kept, sample, count, out)


cdef inline void slope_half(
    real *f, real *m, int count, real low, real high, int per_bin, const real *table, int bins, real *out,
    const Ahead *ahead
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK + 4]
    cdef int column[BLOCK]
    cdef real slopes[4 * BLOCK]
    cdef real *packed
    cdef int k, kept = pack(f, m, low, high, count, sample)
    to_sub_bins(f, kept, low, high, per_bin, row)
    weigh(m, kept, bins - 3, column, slopes, True)
    for k in range(kept):
        row[k] = row[k] * bins + column[k]
    row[kept] = row[kept + 1] = row[kept + 2] = 0
    packed = out if kept == count else f
    for k in range(0, kept, 4):
        if k % 16 == 0:
            bring(ahead, k)
        if real is float:
            row_slopes_float(table, row + k, slopes + k, BLOCK, packed + k)
        else:
            row_slopes_double(table, row + k, slopes + k, BLOCK, packed + k)
    unpack(packed, kept, sample, count, out)
