"""What a block of samples adds to a joint histogram, and its derivatives; coordinates in [low, high], NaN if missing."""

from libc.math cimport INFINITY, NAN

from bspline cimport cubic_weights, real
from tables cimport sub_bin_count

cdef extern from "patch.h" nogil:
    void add_row_double(double *row, double t)
    void add_patch_double(double *patch, Py_ssize_t stride, double w0, double w1, double w2, double w3, double t)
    float row_slope_float(const float *row, float t)
    double row_slope_double(const double *row, double t)
    float patch_slope_float(const float *patch, Py_ssize_t stride, float w0, float w1, float w2, float w3, float t)
    double patch_slope_double(
        const double *patch, Py_ssize_t stride, double w0, double w1, double w2, double w3, double t)

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


cdef inline void to_coordinates(real *values, Py_ssize_t count, const Mapping *mapping) noexcept nogil:
    cdef Py_ssize_t i
    cdef real value, origin = <real>mapping.origin, scale = <real>mapping.scale
    cdef real low = <real>mapping.low, high = <real>mapping.high
    for i in range(count):
        value = low + (values[i] - origin) * scale
        value = value if value > low else low
        value = value if value < high else high
        # x - x is 0 for every finite x and NaN for all others.
        values[i] = value if values[i] - values[i] == 0 else <real>NAN


cdef inline int pack(real *fixed, real *moving, real low, real high, int count, int *sample) noexcept nogil:
    """Keep the samples that exist and have low < moving < high; `sample` are their places. Returns how many."""
    # Comparisons with NaN are false.
    cdef int i, kept = 0
    for i in range(count):
        kept += (fixed[i] == fixed[i]) & (low < moving[i]) & (moving[i] < high)
    if kept == count:
        for i in range(count):
            sample[i] = i
        return count
    kept = 0
    for i in range(count):
        sample[kept] = i
        fixed[kept], moving[kept] = fixed[i], moving[i]
        # What was just written is overwritten unless it is to be kept.
        kept += (fixed[kept] == fixed[kept]) & (low < moving[kept]) & (moving[kept] < high)
    return kept


cdef inline void place(const real *positions, int count, int last, int *first, result *t) noexcept nogil:
    """The first of the four bins under each window, and how far beyond the second the position lies, in [0, 1]."""
    # `last` is the largest whole part for which all four are bins.
    cdef int k, whole
    for k in range(count):
        whole = <int>positions[k]
        whole = whole if whole < last else last
        t[k] = <result>(positions[k] - whole)
        first[k] = whole - 1


cdef inline void weigh(const real *t, int count, real *weights) noexcept nogil:
    """Four arrays, BLOCK apart, of window weights."""
    cdef int k
    cdef real w[4]
    for k in range(count):
        cubic_weights(t[k], w)
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


cdef inline void add_exact(real *f, real *m, int count, double *table, int bins) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef double f_rest[BLOCK]
    cdef double m_rest[BLOCK]
    cdef double weights[4 * BLOCK]
    cdef int k
    cdef double *w
    count = pack(f, m, <real>-INFINITY, <real>INFINITY, count, sample)
    place(f, count, bins - 3, row, f_rest)
    place(m, count, bins - 3, column, m_rest)
    weigh(f_rest, count, weights)
    for k in range(count):
        row[k] = row[k] * bins + column[k]
    for k in range(count):
        w = weights + k
        add_patch_double(table + row[k], bins, w[0], w[BLOCK], w[2 * BLOCK], w[3 * BLOCK], m_rest[k])


cdef inline void add_half(
    real *f, real *m, int count, real low, real high, int per_bin, double *table, int bins
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef double m_rest[BLOCK]
    cdef int k
    count = pack(f, m, <real>-INFINITY, <real>INFINITY, count, sample)
    to_sub_bins(f, count, low, high, per_bin, row)
    place(m, count, bins - 3, column, m_rest)
    for k in range(count):
        row[k] = row[k] * bins + column[k]
    for k in range(count):
        add_row_double(table + row[k], m_rest[k])


cdef inline void add_counts(
    const real *f, const real *m, int count, real low, real high, int per_bin, unsigned int *counts, int *cell
) noexcept nogil:
    # Missing samples are counted, too, in a cell behind all others: no branch, and the look-up finds a zero there.
    cdef int row[BLOCK]
    cdef int k, columns = sub_bin_count(low, high, per_bin)
    to_sub_bins(f, count, low, high, per_bin, row)
    to_sub_bins(m, count, low, high, per_bin, cell)
    for k in range(count):
        cell[k] = row[k] * columns + cell[k] if (f[k] == f[k]) & (m[k] == m[k]) else columns * columns
    for k in range(count):
        counts[cell[k]] += 1


cdef inline void slope_exact(
    real *f, real *m, int count, real low, real high, const real *table, int bins, real *out
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef real f_rest[BLOCK]
    cdef real m_rest[BLOCK]
    cdef real weights[4 * BLOCK]
    cdef int k, kept
    cdef real *w
    kept = pack(f, m, low, high, count, sample)
    if kept < count:
        for k in range(count):
            out[k] = 0
    place(f, kept, bins - 3, row, f_rest)
    place(m, kept, bins - 3, column, m_rest)
    weigh(f_rest, kept, weights)
    for k in range(kept):
        row[k] = row[k] * bins + column[k]
    for k in range(kept):
        w = weights + k
        if real is float:
            out[sample[k]] = patch_slope_float(
                table + row[k], bins, w[0], w[BLOCK], w[2 * BLOCK], w[3 * BLOCK], m_rest[k])
        else:
            out[sample[k]] = patch_slope_double(
                table + row[k], bins, w[0], w[BLOCK], w[2 * BLOCK], w[3 * BLOCK], m_rest[k])


cdef inline void slope_half(
    real *f, real *m, int count, real low, real high, int per_bin, const real *table, int bins, real *out
) noexcept nogil:
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef real m_rest[BLOCK]
    cdef int k, kept
    kept = pack(f, m, low, high, count, sample)
    if kept < count:
        for k in range(count):
            out[k] = 0
    to_sub_bins(f, kept, low, high, per_bin, row)
    place(m, kept, bins - 3, column, m_rest)
    for k in range(kept):
        row[k] = row[k] * bins + column[k]
    for k in range(kept):
        if real is float:
            out[sample[k]] = row_slope_float(table + row[k], m_rest[k])
        else:
            out[sample[k]] = row_slope_double(table + row[k], m_rest[k])
