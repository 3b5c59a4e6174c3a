"""The joint histogram of COUNTS: how many samples fall into each pair of sub-bins, and where between moving's edges.

A cell is a sub-bin of the fixed image and one of moving. It holds the number of its samples and the sum of their places
in moving's sub-bin, in 256ths of it, together in one word: one increment per sample makes both. The mean place moves
the windows of a cell's samples to where these lie on average, and a look-up follows the slope to where one lies, so that
moving needs less than half the sub-bins of fixed; in sparse histograms, where a window's tail decides, it is better than
many.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from bspline cimport cubic_slopes, cubic_weights, real
from samples cimport STEP
from tables cimport Levels, add_windows, sub_bin, sub_bin_count
from windows cimport Mapping, find_samples

cdef extern from *:
    """
    enum {
        PLACES = 256,      /* between the edges of moving's sub-bins */
        NUMBER = 36        /* the lowest bit of a cell's number of samples, above that of the sum of their places */
    };
    #define ONE_MORE (1ull << NUMBER)

    /* A number of samples, or sum of places, as a double: so a conversion in vectors for every instruction set. */
    static inline double as_double(uint64_t bits)
    {
        double two_to_52 = 0x1p52, sum;
        bits |= 0x4330000000000000ull;
        __builtin_memcpy(&sum, &bits, sizeof sum);
        return sum - two_to_52;
    }

    static inline void unpack_counts(const uint64_t *counts, int count, double *pairs)
    {
        for (int i = 0; i < count; i++) {
            pairs[2 * i] = as_double(counts[i] >> NUMBER);
            pairs[2 * i + 1] = as_double(counts[i] & (ONE_MORE - 1));
        }
    }

    /* Two neighbouring floats. Wide gathers are slower than loading such pairs one by one. */
    typedef double slope_pair __attribute__((aligned(4), may_alias));
    """
    enum:
        PLACES
    const uint64_t ONE_MORE
    ctypedef double slope_pair
    void unpack_counts(const uint64_t *counts, int count, double *pairs) nogil

cdef enum:
    # What the words of cells hold without one running into the next.
    MOST_CELLS = 1 << 24
    MOST_SAMPLES = 1 << 28


cdef inline int moving_per_bin(int per_bin) noexcept nogil:
    """Sub-bins of moving per bin, from those of fixed."""
    return max(1, per_bin // 2)


cdef inline void place_windows(
    int bins, double low, double high, int per_bin, const Levels *levels, int *first, double *weights, double *slopes
) noexcept nogil:
    """Of moving: two rows of four for each sub-bin, one for what belongs to a number of samples, or to a look-up's
    result at place 0, one for what each place adds.

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
        first[2 * i] = first[2 * i + 1] = whole - 1
        for k in range(4):
            if spread:
                weights[8 * i + k] = w[k] + wider * bend[k] - middle * unit * s[k]
                weights[8 * i + 4 + k] = unit * s[k]
                slopes[8 * i + k] = s[k] - middle * unit * bend[k]
                slopes[8 * i + 4 + k] = unit * bend[k]
            else:
                weights[8 * i + k], weights[8 * i + 4 + k] = w[k], 0
                # Where values are held, at either end, moving them changes nothing.
                slopes[8 * i + k], slopes[8 * i + 4 + k] = s[k] if 0 < i < count - 1 else 0, 0


cdef inline void sub_bin_places(
    const real *values, const Mapping *mapping, double finer, float *out
) noexcept nogil:
    """How far beyond the low end intensities lie, in parts of which a bin has `finer`; NaN counts as low."""
    cdef int k
    cdef real origin = <real>mapping.origin, scale = <real>(mapping.scale * finer)
    cdef float place, span = <float>((mapping.high - mapping.low) * finer), nothing = 0
    for k in range(STEP):
        place = <float>((values[k] - origin) * scale)
        place = place if place > nothing else nothing
        out[k] = place if place < span else span


cdef inline void add_counts(
    const real *fixed, const real *moving, const Mapping *fixed_mapping, const Mapping *moving_mapping, int per_bin,
    uint64_t *counts, unsigned int *cells
) noexcept nogil:
    """Count samples, and remember each one's cell and place."""
    # Missing samples are counted, too, in a cell behind all others, where the look-up finds a zero.
    cdef float row[STEP]
    cdef float place[STEP]
    cdef float exists[STEP]
    cdef int k
    cdef int rows = sub_bin_count(fixed_mapping.low, fixed_mapping.high, per_bin)
    cdef int across = moving_per_bin(per_bin)
    cdef int columns = sub_bin_count(moving_mapping.low, moving_mapping.high, across)
    cdef unsigned int down = columns * PLACES, nowhere = rows * down, cell
    sub_bin_places(fixed, fixed_mapping, per_bin, row)
    sub_bin_places(moving, moving_mapping, across * PLACES, place)
    find_samples(fixed, moving, exists)
    for k in range(STEP):
        # The first sub-bin is for the low end alone; the last, which the span leads to, for the high end.
        cell = (<unsigned int><int>row[k] + 1 if row[k] > 0 else 0) * down
        cell += <unsigned int><int>place[k] + PLACES if place[k] > 0 else 0
        cells[k] = cell if exists[k] != 0 else nowhere
    for k in range(STEP):
        counts[cells[k] // PLACES] += ONE_MORE | (cells[k] % PLACES)


cdef inline void look_up(const float *table, const unsigned int *cells, real *out) noexcept nogil:
    """The slopes of a step of samples."""
    cdef int k
    cdef float both[2 * STEP]
    for k in range(STEP):
        (<slope_pair *>both)[k] = (<const slope_pair *>table)[cells[k] // PLACES]
    for k in range(STEP):
        out[k] = both[2 * k] + <float><int>(cells[k] % PLACES) * both[2 * k + 1]


cdef inline void gather_counts(
    const uint64_t *counts, int rows, int columns, const int *first, const double *weights, int bins, double *pairs,
    double *out
) noexcept nogil:
    """Sub-bins of fixed to bins: `counts` is rows x columns; `out` bins x columns x 2, of numbers and sums of places.

    `pairs` has room for a row of those.
    """
    cdef int i, x
    cdef uint64_t some
    cdef const uint64_t *line
    memset(out, 0, sizeof(double) * bins * 2 * columns)
    for i in range(rows):
        line = counts + <Py_ssize_t>i * columns
        some = 0
        for x in range(columns):
            some |= line[x]
        if some != 0:
            unpack_counts(line, columns, pairs)
            add_windows(<const double *>pairs, 2 * columns, first[i], weights + 4 * i, out)
