"""The samples of an image below one value and above another, found in one pass."""

from libc.stdint cimport uint64_t

from bspline cimport real
from samples cimport BLOCK, STEP, Ahead, Samples, bring, expect_samples, look

cdef extern from "tails.h" nogil:
    uint64_t beyond_float(const float *values, float low, float high)
    uint64_t beyond_double(const double *values, double low, double high)
    int lowest_bit(uint64_t bits)

cdef struct Tails:
    Py_ssize_t finite, below, above, low_ties, high_ties


cdef inline bint collect_tails(
    const Samples *samples, real low, real high, real[::1] below, real[::1] above, Py_ssize_t start, Py_ssize_t stop,
    Tails *found
) noexcept nogil:
    """Count the samples [start, stop), and put those beyond either value into arrays; whether there was room for all.

    Each array has room for a step more than it may hold in the end.
    """
    cdef real scratch[BLOCK]
    cdef const real *block
    cdef int i, count, first
    cdef bint finite
    cdef uint64_t beyond
    cdef real value
    cdef Ahead ahead
    ahead.count = 0
    expect_samples(&ahead, samples)
    while start < stop:
        count = <int>min(BLOCK, stop - start)
        block = look(samples, start, count, STEP, scratch)
        for first in range(0, count, 64):  # STEP
            bring(&ahead, start + first)
            if real is float:
                beyond = beyond_float(block + first, low, high)
            else:
                beyond = beyond_double(block + first, low, high)
            found.finite += STEP
            if beyond and (found.below + STEP > below.shape[0] or found.above + STEP > above.shape[0]):
                return False
            while beyond:
                i = first + lowest_bit(beyond)
                beyond &= beyond - 1
                value = block[i]
                finite = value - value == 0
                # Each goes to both arrays and stays in at most one: it cannot be foreseen in which.
                below[found.below] = above[found.above] = value
                found.below += finite & (value < low)
                found.above += finite & (value > high)
                found.low_ties += finite & (value == low)
                found.high_ties += finite & (value == high)
                found.finite -= not finite
        start += count
    return True
