"""From a joint histogram to NMI and to the tables that its derivative is summed or looked up from.

Sub-bins: an interval of bin coordinates [low, high] is cut into `per_bin` sub-bins per bin, with one more at each end
for the values that were clamped. A sample counts as lying at the centre of its sub-bin, which widens its window by the
variance 1 / (12 per_bin^2) of what it is moved; windows narrowed by as much, B - B'' / (24 per_bin^2), undo that on
average, so that the error falls with the fourth power of `per_bin` instead of the second. They do not become negative.
Where the image has levels, and a sub-bin only one of them, it is at that level, and nothing is moved.
"""

from libc.math cimport ceil, log
from libc.string cimport memset

from bspline cimport cubic_slopes, cubic_weights

ctypedef fused cell:
    unsigned int
    double

ctypedef fused looked_up:
    float
    double


cdef inline int sub_bin_count(double low, double high, int per_bin) noexcept nogil:
    return <int>(high - low) * per_bin + 2


cdef struct Levels:
    double one, step  # the coordinate of one level, and from each to the next; 0 if there are none


cdef inline bint find_level(double start, double stop, const Levels *levels, double *found) noexcept nogil:
    """The level between two coordinates, if it is the only one that can be."""
    cdef double doubt = (stop - start) / 64  # the coordinate of a value may be rounded across an edge
    if levels.step < stop - start:
        return False
    found[0] = levels.one + levels.step * ceil((start - levels.one) / levels.step)
    if found[0] < stop:
        return True
    if found[0] - levels.step > start - doubt:
        found[0] -= levels.step
        return True
    return found[0] < stop + doubt


cdef inline bint sub_bin(
    int i, double low, double high, int per_bin, const Levels *levels, double *position
) noexcept nogil:
    """Whether samples lie anywhere in the i-th sub-bin, and not all at one place; its centre, or that place."""
    position[0] = low + (i - 0.5) / per_bin
    if i == 0 or i == sub_bin_count(low, high, per_bin) - 1:
        position[0] = high if i else low
        return False
    return not find_level(low + (i - 1.) / per_bin, low + <double>i / per_bin, levels, position)


cdef inline void sub_bin_windows(
    int bins, double low, double high, int per_bin, const Levels *levels, int *first, double *weights, double *slopes
) noexcept nogil:
    """For each sub-bin the first of its four bins, its weights in them, and their slopes unless those are NULL."""
    cdef int i, k, whole, count = sub_bin_count(low, high, per_bin)
    cdef double position, t, narrower
    for i in range(count):
        narrower = 1. / (24 * per_bin * per_bin) if sub_bin(i, low, high, per_bin, levels, &position) else 0
        whole = min(<int>position, bins - 3)
        t = position - whole
        first[i] = whole - 1
        cubic_weights(t, &weights[4 * i])
        weights[4 * i] -= narrower * (1 - t)
        weights[4 * i + 1] -= narrower * (3 * t - 2)
        weights[4 * i + 2] -= narrower * (1 - 3 * t)
        weights[4 * i + 3] -= narrower * t
        if slopes == NULL:
            continue
        cubic_slopes(t, &slopes[4 * i])
        slopes[4 * i] += narrower
        slopes[4 * i + 1] -= 3 * narrower
        slopes[4 * i + 2] += 3 * narrower
        slopes[4 * i + 3] -= narrower
        if i == 0 or i == count - 1:
            # Where values are held, moving them changes nothing.
            for k in range(4):
                slopes[4 * i + k] = 0


cdef inline void add_windows(
    const cell *line, int columns, int first, const double *weights, double *out
) noexcept nogil:
    """Add a row of sub-bins to the four rows of bins under its window; `out` has `columns` to a row."""
    cdef int x
    cdef double w0 = weights[0], w1 = weights[1], w2 = weights[2], w3 = weights[3], value
    cdef double *goal = out + first * columns
    for x in range(columns):
        value = <double>line[x]
        goal[x] += w0 * value
        goal[x + columns] += w1 * value
        goal[x + 2 * columns] += w2 * value
        goal[x + 3 * columns] += w3 * value


cdef inline void gather_rows(
    const cell *source, int rows, int columns, const int *first, const double *weights, int bins, double *out
) noexcept nogil:
    """Sub-bins to bins along rows: `source` is rows x columns, `out` bins x columns."""
    cdef int i, x
    cdef cell most
    cdef const cell *line
    memset(out, 0, sizeof(double) * bins * columns)
    for i in range(rows):
        line = source + <Py_ssize_t>i * columns
        most = 0
        for x in range(columns):
            most = most if most > line[x] else line[x]
        if most != 0:
            add_windows(line, columns, first[i], weights + 4 * i, out)


cdef inline void gather_columns(
    const double *source, int rows, int columns, const int *first, const double *weights, int bins, double *out
) noexcept nogil:
    """Sub-bins to bins along columns: `source` is rows x columns, `out` rows x bins."""
    cdef int i, k, x, at
    cdef double value
    cdef double sums[4]
    memset(out, 0, sizeof(double) * rows * bins)
    for i in range(rows):
        at = first[0]
        memset(sums, 0, sizeof(sums))
        for x in range(columns):
            if first[x] != at:
                # Many sub-bins have the same four bins: their sums stay in registers.
                for k in range(4):
                    out[i * bins + at + k] += sums[k]
                    sums[k] = 0
                at = first[x]
            value = source[i * columns + x]
            for k in range(4):
                sums[k] += weights[4 * x + k] * value
        for k in range(4):
            out[i * bins + at + k] += sums[k]


cdef inline void spread_columns(
    const double *source, int rows, int bins, int columns, const int *first, const double *weights, double *out
) noexcept nogil:
    """Bins to sub-bins along columns: `source` is rows x bins, `out` rows x columns."""
    cdef int i, x
    cdef const double *line
    cdef const double *w
    for i in range(rows):
        for x in range(columns):
            line = source + i * bins + first[x]
            w = weights + 4 * x
            out[i * columns + x] = (w[0] * line[0] + w[1] * line[1]) + (w[2] * line[2] + w[3] * line[3])


cdef inline void spread_rows(
    const double *source, int columns, int rows, const int *first, const double *weights, looked_up *out
) noexcept nogil:
    """Bins to sub-bins along rows: `source` is bins x columns, `out` rows x columns."""
    cdef int i, x
    cdef double w0, w1, w2, w3
    cdef const double *line
    cdef looked_up *goal
    for i in range(rows):
        line = source + first[i] * columns
        goal = out + <Py_ssize_t>i * columns
        w0, w1, w2, w3 = weights[4 * i], weights[4 * i + 1], weights[4 * i + 2], weights[4 * i + 3]
        for x in range(columns):
            goal[x] = <looked_up>((w0 * line[x] + w1 * line[x + columns])
                                  + (w2 * line[x + 2 * columns] + w3 * line[x + 3 * columns]))


cdef inline void fold(const double *windows, int stride, int rows, int bins, double *out) noexcept nogil:
    """Add what falls on each bin, from the windows summed apart for each first bin, to `out`, rows x bins."""
    cdef int i, k, x
    cdef double *line
    for i in range(rows):
        line = out + i * bins
        # Not bin by bin, where each sum would wait for the one before it.
        for k in range(4):
            for x in range(bins - 3):
                line[x + k] += windows[i * stride + 4 * x + k]


cdef inline double minus_p_log_p(double *p, double *log_p, int count, double total) noexcept nogil:
    """Entropy of `p` / `total`, and its logarithms, 0 where there is nothing."""
    cdef int i
    cdef double share, entropy = 0
    for i in range(count):
        share = p[i] / total
        log_p[i] = log(share) if share > 0 else 0
        entropy -= share * log_p[i]
    return entropy


cdef inline void tabulate(
    double *table, int bins, double *fixed, double *moving, double *slopes, double *work, double *figures
) noexcept nogil:
    """Marginals (`fixed`, `moving`), entropies and slope table of the joint histogram `table` (fixed, moving).

    `work` has room for 2 * bins; `figures` become the number of samples, H(F), H(M), H(F,M), NMI. With p = table / N
    and log 0 := 0 the derivative of NMI = (H(F) + H(M)) / H(F,M) with respect to one moving value m at fixed value f is

        1 / (H(F,M) N) * sum_rs B3(f - r) B3'(m - s) (NMI log p_rs - log p_r - log p_s).

    The sum over s of B3'(m - s) is 0, so log p_r drops out; what remains beside the windows is the slope table.
    """
    cdef int r, s
    cdef double total = 0, nmi, scale
    memset(fixed, 0, sizeof(double) * bins)
    memset(moving, 0, sizeof(double) * bins)
    for r in range(bins):
        for s in range(bins):
            fixed[r] += table[r * bins + s]
            moving[s] += table[r * bins + s]
        total += fixed[r]
    memset(figures, 0, sizeof(double) * 5)
    memset(slopes, 0, sizeof(double) * bins * bins)
    if total == 0:
        return
    figures[0] = total
    figures[1] = minus_p_log_p(fixed, work, bins, total)
    figures[2] = minus_p_log_p(moving, work + bins, bins, total)
    figures[3] = minus_p_log_p(table, slopes, bins * bins, total)
    # One bin in each image, and rounding, may leave 0 / 0 or a trifle below 1.
    nmi = (figures[1] + figures[2]) / figures[3] if figures[3] > 0 else 1
    figures[4] = min(max(nmi, 1.), 2.)
    scale = 1 / (figures[3] * total) if figures[3] > 0 else 0
    for r in range(bins):
        for s in range(bins):
            slopes[r * bins + s] = scale * (nmi * slopes[r * bins + s] - work[bins + s])
