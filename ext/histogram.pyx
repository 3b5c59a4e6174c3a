"""Joint histograms with cubic B-spline Parzen windows on both images, and what follows from them per sample.

Samples are flat arrays of bin coordinates in [1, bins - 2]; a sample that is NaN in either image does not exist.
"""

from libc.math cimport INFINITY, NAN
from bspline cimport cubic_slopes, cubic_weights, real

cdef extern from "patch.h":
    void add_patch_float(double *patch, Py_ssize_t stride, const float *a, const float *b) noexcept nogil
    void add_patch_double(double *patch, Py_ssize_t stride, const double *a, const double *b) noexcept nogil
    float dot_patch_float(const float *patch, Py_ssize_t stride, const float *a, const float *b) noexcept nogil
    double dot_patch_double(const double *patch, Py_ssize_t stride, const double *a, const double *b) noexcept nogil

# Weights are computed for blocks of samples, in loops that vectorise, before the scattered reads and writes.
cdef enum:
    BLOCK = 128


cdef inline int pack(
    const real *fixed, const real *warped, real low, real high, Py_ssize_t count, real *kept_fixed, real *kept_warped,
    int *sample
) noexcept nogil:
    # Comparisons with NaN are false: one test drops missing samples and those outside the open range (low, high).
    cdef Py_ssize_t i
    cdef int kept = 0
    for i in range(count):
        kept_fixed[kept] = fixed[i]
        kept_warped[kept] = warped[i]
        sample[kept] = <int>i
        kept += (fixed[i] == fixed[i]) & (low < warped[i]) & (warped[i] < high)
    return kept


cdef inline void window(
    const real *positions, int *first, real *weights, int count, int last, bint slopes
) noexcept nogil:
    # `last` is the largest whole part for which all four taps are bins; the weights hold for t = 1 as well.
    cdef int k, whole
    cdef real t
    for k in range(count):
        whole = <int>positions[k]
        whole = whole if whole < last else last
        t = positions[k] - whole
        first[k] = whole - 1
        if slopes:
            cubic_slopes(t, &weights[4 * k])
        else:
            cubic_weights(t, &weights[4 * k])


cdef void add(const real *fixed, const real *warped, double *table, int bins, Py_ssize_t count) noexcept nogil:
    cdef real f[BLOCK]
    cdef real w[BLOCK]
    cdef real f_weights[4 * BLOCK]
    cdef real w_weights[4 * BLOCK]
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef int kept = pack(fixed, warped, <real>-INFINITY, <real>INFINITY, count, f, w, sample)
    cdef int k
    cdef double *patch
    window(f, row, f_weights, kept, bins - 3, False)
    window(w, column, w_weights, kept, bins - 3, False)
    for k in range(kept):
        patch = table + row[k] * bins + column[k]
        if real is float:
            add_patch_float(patch, bins, f_weights + 4 * k, w_weights + 4 * k)
        else:
            add_patch_double(patch, bins, f_weights + 4 * k, w_weights + 4 * k)


cdef void differentiate(
    const real *fixed, const real *warped, const real *table, int bins, real low, real high, Py_ssize_t count, real *out
) noexcept nogil:
    cdef real f[BLOCK]
    cdef real w[BLOCK]
    cdef real f_weights[4 * BLOCK]
    cdef real w_slopes[4 * BLOCK]
    cdef int sample[BLOCK]
    cdef int row[BLOCK]
    cdef int column[BLOCK]
    cdef int kept = pack(fixed, warped, low, high, count, f, w, sample)
    cdef int k
    cdef Py_ssize_t i
    cdef const real *patch
    window(f, row, f_weights, kept, bins - 3, False)
    window(w, column, w_slopes, kept, bins - 3, True)
    for i in range(count):
        out[i] = 0
    for k in range(kept):
        patch = table + row[k] * bins + column[k]
        if real is float:
            out[sample[k]] = dot_patch_float(patch, bins, f_weights + 4 * k, w_slopes + 4 * k)
        else:
            out[sample[k]] = dot_patch_double(patch, bins, f_weights + 4 * k, w_slopes + 4 * k)


def bin_coordinates(
    const real[::1] values, real origin, real scale, real low, real high, real[::1] out, Py_ssize_t start,
    Py_ssize_t stop
):
    """`low + (values - origin) * scale`, held within [low, high]; NaN and infinite values become NaN."""
    cdef Py_ssize_t i
    cdef real value
    with nogil:
        for i in range(start, stop):
            value = low + (values[i] - origin) * scale
            value = value if value > low else low
            value = value if value < high else high
            # x - x is 0 for every finite x and NaN for all others.
            out[i] = value if values[i] - values[i] == 0 else <real>NAN


def joint_histogram(
    const real[::1] fixed, const real[::1] warped, double[:, ::1] table, Py_ssize_t start, Py_ssize_t stop
):
    """Add the Parzen windows of samples [start, stop) to `table` (fixed bins, warped bins)."""
    cdef Py_ssize_t first = start
    with nogil:
        while first < stop:
            add(&fixed[first], &warped[first], &table[0, 0], <int>table.shape[0], min(BLOCK, stop - first))
            first += BLOCK


def sample_slopes(
    const real[::1] fixed, const real[::1] warped, const real[:, ::1] table, real low, real high, real[::1] out,
    Py_ssize_t start, Py_ssize_t stop
):
    """The sum over bins r, s of B3(fixed - r) B3'(warped - s) table[r, s] for each of the samples [start, stop).

    Missing samples, and those with a warped value not strictly between `low` and `high`, get 0.
    """
    cdef Py_ssize_t first = start
    with nogil:
        while first < stop:
            differentiate(
                &fixed[first], &warped[first], &table[0, 0], <int>table.shape[0], low, high, min(BLOCK, stop - first),
                &out[first])
            first += BLOCK
