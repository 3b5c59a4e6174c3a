"""Joint histograms of bin coordinates with cubic B-spline Parzen windows, NMI, and its derivative for each sample.

Coordinates are flat, of one type, in an interval [low, high] within [1, bins - 2]; a sample that is NaN or infinite in
either image does not exist.
"""

from libc.math cimport NAN
from bspline cimport real
from samples cimport STEP, padded
from tables cimport fold, tabulate
from windows cimport Mapping, add_exact, no_windows, slope_exact, stretched, to_coordinates


def bin_coordinates(
    const real[::1] values, real origin, real scale, real low, real high, real[::1] out, Py_ssize_t start,
    Py_ssize_t stop
):
    """`low + (values - origin) * scale`, held within [low, high]; NaN and infinite values become NaN."""
    cdef Mapping mapping = Mapping(origin, low, scale, low, high)
    cdef real value[STEP]
    cdef real position[STEP]
    cdef int i, count
    with nogil:
        while start < stop:
            count = <int>min(STEP, stop - start)
            for i in range(STEP):
                value[i] = values[start + i] if i < count else 0
            to_coordinates(value, &mapping, position)
            for i in range(count):
                out[start + i] = position[i] if value[i] - value[i] == 0 else <real>NAN
            start += count


cdef Mapping identity(int bins):
    return Mapping(0, 0, 1, 1, bins - 2)


def joint_histogram(
    const real[::1] fixed, const real[::1] warped, double[:, ::1] table, Py_ssize_t start, Py_ssize_t stop
):
    """Add the Parzen windows of samples [start, stop) to `table` (fixed bins, warped bins)."""
    cdef int count, bins = <int>table.shape[0]
    cdef Mapping mapping = identity(bins)
    cdef real f[STEP]
    cdef real m[STEP]
    cdef double[::1] windows = no_windows(bins)
    with nogil:
        while start < stop:
            count = <int>min(STEP, stop - start)
            add_exact(padded(&fixed[start], count, STEP, f), padded(&warped[start], count, STEP, m), &mapping, &mapping,
                      &windows[0], bins)
            start += count
        fold(&windows[0], stretched(bins), bins, bins, &table[0, 0])


def sample_slopes(
    const real[::1] fixed, const real[::1] warped, const real[:, ::1] table, real low, real high, real[::1] out,
    Py_ssize_t start, Py_ssize_t stop
):
    """The sum over bins r, s of B3(fixed - r) B3'(warped - s) table[r, s] for each of the samples [start, stop).

    Missing samples, and those with a warped value not strictly between `low` and `high`, get 0.
    """
    cdef int i, count, bins = <int>table.shape[0]
    cdef Mapping mapping = identity(bins), held = mapping
    cdef real f[STEP]
    cdef real m[STEP]
    cdef real slope[STEP]
    held.low, held.high = max(low, held.low), min(high, held.high)
    with nogil:
        while start < stop:
            count = <int>min(STEP, stop - start)
            slope_exact(padded(&fixed[start], count, STEP, f), padded(&warped[start], count, STEP, m), &mapping, &held,
                        &table[0, 0], bins, slope)
            for i in range(count):
                out[start + i] = slope[i]
            start += count


def score(double[:, ::1] table):
    """NMI of a joint histogram, and the table whose windowed sum is its derivative, as `tabulate` makes them."""
    cdef int bins = <int>table.shape[0]
    import numpy as np  # here, because --version loads the kernels and should not wait for NumPy
    marginals, slopes, work, figures = np.empty((2, bins)), np.empty((bins, bins)), np.empty(2 * bins), np.empty(5)
    cdef double[:, ::1] marginals_view = marginals, slopes_view = slopes
    cdef double[::1] work_view = work, figures_view = figures
    with nogil:
        tabulate(&table[0, 0], bins, &marginals_view[0, 0], &marginals_view[1, 0], &slopes_view[0, 0], &work_view[0],
                 &figures_view[0])
    return figures_view[4], slopes
