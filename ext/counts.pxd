"""The joint histogram of COUNTS: how many samples fall into each pair of sub-bins, and where between moving's edges.

A cell is a sub-bin of the fixed image and one of moving. It holds the number of its samples and the sum of their
places in moving's sub-bin, in 256ths of it, together in one word: one increment per sample makes both. The mean place
moves the windows of a cell's samples to where these lie on average, and a look-up follows the slope to where one lies,
so that moving needs less than half the sub-bins of fixed; in sparse histograms, where a window's tail decides, it is
better than many.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from bspline cimport cubic_slopes, cubic_weights, real
from products cimport stream
from samples cimport STEP
from tables cimport Levels, add_windows, sub_bin, sub_bin_count
from windows cimport Mapping

cdef extern from "counts.h" nogil:
    enum:
        PLACES
    void count_cells(uint64_t *counts, const unsigned int *cells, int count)
    void unpack_counts(const uint64_t *counts, int columns, double *out)
    void pack_slopes(const double *rows, int columns, const double *weights, unsigned int *out)
    void look_up_slopes(const unsigned int *table, const unsigned int *cells, int count, float *out)

# Cells are made in vectors, for a group of samples while those of the group before are counted: increments wait for the
# second-level cache, and the processor has something else to do meanwhile.
cdef enum:
    GROUP = 32

cdef inline void place_windows(
    int bins, double low, double high, int per_bin, const Levels *levels, int *first, double *weights, double *slopes
) noexcept nogil:
    """Of moving: for each sub-bin its windows at place 0, and after all of these for each what every place adds.

    The second derivative is that of samples evenly between the edges.
    """
    cdef int i, k, whole, count = sub_bin_count(low, high, per_bin)
    cdef bint spread
    cdef double position, t, unit = 1. / (PLACES * per_bin), middle = 0.5 * (PLACES - 1)
    cdef double wider = 1. / (24 * per_bin * per_bin)
    cdef double w[4]
    cdef double s[4]
    cdef double bend[4]
    for i in range(count):
        spread = sub_bin(i, low, high, per_bin, levels, &position)
        whole = min(<int>position, bins - 3)
        t = position - whole
        cubic_weights(t, w)
        cubic_slopes(t, s)
        bend[0], bend[1], bend[2], bend[3] = 1 - t, 3 * t - 2, 1 - 3 * t, t
        first[i] = first[count + i] = whole - 1
        for k in range(4):
            if spread:
                weights[4 * i + k] = w[k] + wider * bend[k] - middle * unit * s[k]
                weights[4 * (count + i) + k] = unit * s[k]
                slopes[4 * i + k] = s[k] - middle * unit * bend[k]
                slopes[4 * (count + i) + k] = unit * bend[k]
            else:
                weights[4 * i + k], weights[4 * (count + i) + k] = w[k], 0
                # Where values are held, at either end, moving them changes nothing.
                slopes[4 * i + k], slopes[4 * (count + i) + k] = s[k] if 0 < i < count - 1 else 0, 0


cdef inline float beyond_low(real value, real origin, real scale, float span) noexcept nogil:
    """How far beyond the low end an intensity lies, at most the span; 0 for NaN."""
    cdef float place = <float>((value - origin) * scale), nothing = 0
    place = place if place > nothing else nothing
    return place if place < span else span


cdef inline void find_cells(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping,
    int fixed_per_bin, int moving_per_bin, unsigned int *cells
) noexcept nogil:
    """The cells of a group of samples, and their places in these."""
    cdef int k, finer = moving_per_bin * PLACES
    cdef real fixed_origin = <real>fixed_mapping.origin, fixed_scale = <real>(fixed_mapping.scale * fixed_per_bin)
    cdef real moving_origin = <real>moving_mapping.origin, moving_scale = <real>(moving_mapping.scale * finer)
    cdef float fixed_span = <float>((fixed_mapping.high - fixed_mapping.low) * fixed_per_bin), row
    cdef float moving_span = <float>((moving_mapping.high - moving_mapping.low) * finer), place
    cdef int rows = sub_bin_count(fixed_mapping.low, fixed_mapping.high, fixed_per_bin)
    cdef int columns = sub_bin_count(moving_mapping.low, moving_mapping.high, moving_per_bin)
    # Missing samples are counted, too, in a cell behind all others, where the look-up finds a zero.
    cdef unsigned int down = columns * PLACES, nowhere = rows * down, cell
    for k in range(GROUP):
        row = beyond_low(fixed[k], fixed_origin, fixed_scale, fixed_span)
        place = beyond_low(moving[k], moving_origin, moving_scale, moving_span)
        # The first sub-bin is for the low end alone; the last, which the span leads to, for the high end.
        cell = (<unsigned int><int>row + 1 if row > 0 else 0) * down
        cell += <unsigned int><int>place + PLACES if place > 0 else 0
        # x - x is 0 for every finite x and NaN for all others.
        cells[k] = cell if (fixed[k] - fixed[k]) + (moving[k] - moving[k]) == 0 else nowhere


cdef inline void add_counts(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping,
    int fixed_per_bin, int moving_per_bin, uint64_t *counts, unsigned int *waiting, bint streamed, unsigned int *cells
) noexcept nogil:
    """Remember the cell and place of each sample of a step, and count the group that waits and all but the last."""
    cdef unsigned int found[GROUP]
    cdef int first
    for first in range(0, STEP, 32):  # GROUP
        find_cells(fixed + first, moving + first, fixed_mapping, moving_mapping, fixed_per_bin, moving_per_bin, found)
        if streamed:
            stream(found, sizeof(found), cells + first)
        else:
            memcpy(cells + first, found, sizeof(found))
        count_cells(counts, waiting, GROUP)
        memcpy(waiting, found, sizeof(found))


cdef inline void look_up(const unsigned int *table, const unsigned int *cells, real *out) noexcept nogil:
    """The slopes of a step of samples."""
    cdef int k
    cdef float slopes[STEP]
    if real is float:
        look_up_slopes(table, cells, STEP, out)
    else:
        look_up_slopes(table, cells, STEP, slopes)
        for k in range(STEP):
            out[k] = slopes[k]


cdef inline void gather_counts(
    const uint64_t *counts, int rows, int columns, const int *first, const double *weights, int bins, double *line,
    double *out
) noexcept nogil:
    """Sub-bins of fixed to bins: `counts` is rows x columns, `out` bins x 2 columns: numbers, then sums of places.

    `line` has room for a row of those.
    """
    cdef int i, x
    cdef uint64_t some
    cdef const uint64_t *row
    memset(out, 0, sizeof(double) * bins * 2 * columns)
    for i in range(rows):
        row = counts + <Py_ssize_t>i * columns
        some = 0
        for x in range(columns):
            some |= row[x]
        if some != 0:
            unpack_counts(row, columns, line)
            add_windows(<const double *>line, 2 * columns, first[i], weights + 4 * i, out)


cdef inline void spread_slopes(
    const double *source, int columns, int rows, const int *first, const double *weights, unsigned int *out
) noexcept nogil:
    """Bins of fixed to sub-bins: `source` is bins x 2 columns, slopes and then bends, `out` the table to look up in."""
    cdef int i
    for i in range(rows):
        pack_slopes(source + first[i] * 2 * columns, columns, weights + 4 * i, out + <Py_ssize_t>i * columns)
