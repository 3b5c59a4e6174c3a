"""Joint histograms with cubic B-spline Parzen windows on both images, NMI, and its derivative for each sample.

An image is a flat sequence of samples with bin coordinates in an interval [low, high] within [1, bins - 2]; one that is
masked, NaN or infinite in either image does not exist.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.math cimport NAN
from libc.string cimport memcpy, memset
from bspline cimport real
from samples cimport BLOCK, STEP, Ahead, Samples, bring, describe, expect, expect_samples, look, padded
from tables cimport (Levels, fold, gather_columns, gather_rows, spread_columns, spread_rows, sub_bin_count,
                     sub_bin_windows, tabulate)
from tails cimport Tails, collect_tails
from windows cimport (Mapping, add_counts, add_exact, add_half, result, slope_exact, slope_half, stretched,
                      to_coordinates)


cdef enum Method:  # the order of imgtool.metrics.METHODS
    EXACT
    HALF
    COUNTS


cdef class Image:
    """Samples of an image of any real dtype and strides, in float32 (`single`) or float64; `mask` is bytes or None."""

    cdef Py_buffer image, mask
    cdef bint has_image, has_mask
    cdef readonly bint single
    cdef Samples samples

    def __cinit__(self, image, mask, bint single):
        cdef float *as_float = NULL
        cdef double *as_double = NULL
        PyObject_GetBuffer(image, &self.image, PyBUF_FORMAT | PyBUF_STRIDES)
        self.has_image = True
        if mask is not None:
            PyObject_GetBuffer(mask, &self.mask, PyBUF_STRIDES)
            self.has_mask = True
            if self.mask.itemsize != 1 or self.mask.ndim != self.image.ndim:
                raise ValueError("mask must be bytes in the shape of the image")
        self.single = single
        if single:
            describe(&self.image, &self.mask if self.has_mask else NULL, as_float, &self.samples)
        else:
            describe(&self.image, &self.mask if self.has_mask else NULL, as_double, &self.samples)

    def __dealloc__(self):
        if self.has_image:
            PyBuffer_Release(&self.image)
        if self.has_mask:
            PyBuffer_Release(&self.mask)

    @property
    def size(self):
        return self.samples.size


def find_tails(
    Image image, double low, double high, real[::1] below, real[::1] above, Py_ssize_t start, Py_ssize_t stop
):
    """Of the samples [start, stop) put those below `low` into one array and those above `high` into another.

    Returns the numbers of finite samples, of those below, above, and equal to `low` and to `high`; or None if there is
    not room for all and 64 more.
    """
    cdef Tails found = Tails(0, 0, 0, 0, 0)
    cdef bint complete
    with nogil:
        complete = collect_tails(&image.samples, <real>low, <real>high, below, above, start, stop, &found)
    return (found.finite, found.below, found.above, found.low_ties, found.high_ties) if complete else None


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
    import numpy as np  # here, because --version loads the kernels and should not wait for NumPy
    cdef double[::1] windows = np.zeros(bins * stretched(bins))
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
    import numpy as np
    marginals, slopes, work, figures = np.empty((2, bins)), np.empty((bins, bins)), np.empty(2 * bins), np.empty(5)
    cdef double[:, ::1] marginals_view = marginals, slopes_view = slopes
    cdef double[::1] work_view = work, figures_view = figures
    with nogil:
        tabulate(&table[0, 0], bins, &marginals_view[0, 0], &marginals_view[1, 0], &slopes_view[0, 0], &work_view[0],
                 &figures_view[0])
    return figures_view[4], slopes


cdef class Workspace:
    """NMI of two images, and its derivative, for one pair after another in the same memory.

    `method` is EXACT, HALF (the fixed image in sub-bins, `per_bin` per bin) or COUNTS (both images in sub-bins). One
    evaluation is `add` for every lane, `tabulate`, then `differentiate` for any ranges; each releases the GIL.
    """

    cdef readonly int bins, per_bin, columns
    cdef int method
    cdef double low, high
    cdef Image fixed, moving
    cdef Mapping fixed_mapping, moving_mapping
    cdef double[:, :, ::1] parts  # of EXACT and HALF: a histogram per lane
    cdef list windows  # of EXACT and HALF: tables to sum in, all zero, one for each thread that has asked
    cdef unsigned int[:, ::1] counts  # of COUNTS: a table per lane, and a cell for the missing samples
    cdef int[::1] cells  # of COUNTS: where each sample was counted
    # The windows of sub-bins, of fixed and of moving.
    cdef int[:, ::1] first
    cdef double[:, :, ::1] weights, narrow_slopes
    cdef double[::1] half_table
    cdef double[::1] work
    cdef readonly double[:, ::1] joint, slopes
    cdef readonly double[:, ::1] marginals
    cdef readonly double[::1] figures
    cdef float[::1] single_table
    cdef double[::1] double_table

    def __init__(self, int bins, double low, double high, int method, int per_bin, int lanes):
        import numpy as np
        cdef int image, rows
        self.bins, self.low, self.high, self.method, self.per_bin = bins, low, high, method, per_bin
        self.columns = sub_bin_count(low, high, per_bin)
        rows = bins if method == EXACT else self.columns
        if method == COUNTS:
            self.counts = np.zeros((lanes, rows * rows + 1), np.uint32)
            self.single_table = np.zeros(rows * rows + 1, np.float32)
        else:
            self.parts, self.windows = np.zeros((lanes, bins, bins)), []
            self.single_table = np.zeros(rows * bins, np.float32)
            self.double_table = np.zeros(rows * bins)
        if method != EXACT:
            self.first = np.zeros((2, rows), np.intc)
            self.weights, self.narrow_slopes = np.zeros((2, rows, 4)), np.zeros((2, rows, 4))
            self.half_table = np.zeros(bins * rows)
            for image in range(2):
                self.set_levels(image, 0, 0)
        self.cells = np.zeros(0, np.intc)
        self.joint, self.slopes = np.zeros((bins, bins)), np.zeros((bins, bins))
        self.marginals, self.work, self.figures = np.zeros((2, bins)), np.zeros(2 * bins), np.zeros(5)

    def set_levels(self, int image, double one, double step):
        """The fixed (0) or moving (1) image has values at the coordinate `one` and multiples of `step` from it only.

        Not used by EXACT; `step` is 0 where there are no levels, as in the beginning.
        """
        cdef Levels levels = Levels(one, step)
        sub_bin_windows(self.bins, self.low, self.high, self.per_bin, &levels, &self.first[image, 0],
                        &self.weights[image, 0, 0], &self.narrow_slopes[image, 0, 0])

    def take(self, Image fixed not None, double fixed_origin, double fixed_scale, Image moving not None,
             double moving_origin, double moving_scale):
        """The images to compare, and the intensities at `low` and bins per intensity that map them."""
        if fixed.samples.size != moving.samples.size or fixed.single != moving.single:
            raise ValueError("images to compare have the same number of samples and one precision")
        self.fixed, self.moving = fixed, moving
        self.fixed_mapping = Mapping(fixed_origin, self.low, fixed_scale, self.low, self.high)
        self.moving_mapping = Mapping(moving_origin, self.low, moving_scale, self.low, self.high)
        cdef Py_ssize_t whole_steps = (fixed.samples.size + STEP - 1) // STEP * STEP
        if self.method == COUNTS and self.cells.shape[0] != whole_steps:
            import numpy as np
            self.cells = np.empty(whole_steps, np.intc)

    def add(self, int lane, Py_ssize_t start, Py_ssize_t stop):
        """The joint histogram of samples [start, stop), in the place of what was in this lane.

        `start` is a multiple of STEP.
        """
        cdef float singles[2 * BLOCK]
        cdef double doubles[2 * BLOCK]
        cdef double[::1] windows = None
        cdef double *sums = NULL
        if self.method == COUNTS:
            memset(&self.counts[lane, 0], 0, sizeof(unsigned int) * self.counts.shape[1])
        else:
            windows = self.windows.pop() if self.windows else self.no_windows()
            sums = &windows[0]
        with nogil:
            if self.fixed.single:
                add_samples(self, lane, sums, start, stop, singles)
            else:
                add_samples(self, lane, sums, start, stop, doubles)
            if self.method != COUNTS:
                self.settle(sums, &self.parts[lane, 0, 0])
        if self.method != COUNTS:
            self.windows.append(windows)

    cdef object no_windows(self):
        import numpy as np
        return np.zeros(self.bins * stretched(self.bins) if self.method == EXACT else self.columns * self.bins)

    cdef void settle(self, double *sums, double *part) noexcept nogil:
        """Make a histogram of the windows that were summed, which become 0."""
        cdef int bins = self.bins
        if self.method == HALF:
            gather_rows(<const double *>sums, self.columns, bins, &self.first[0, 0], &self.weights[0, 0, 0], bins,
                        part)
            memset(sums, 0, sizeof(double) * self.columns * bins)
        else:
            memset(part, 0, sizeof(double) * bins * bins)
            fold(sums, stretched(bins), bins, bins, part)
            memset(sums, 0, sizeof(double) * bins * stretched(bins))

    def tabulate(self, int lanes):
        """Sum the first `lanes` lanes, and make of them the joint histogram, its figures and the tables of slopes."""
        cdef Py_ssize_t i
        cdef int lane, bins = self.bins, columns = self.columns
        with nogil:
            if self.method == COUNTS:
                for lane in range(1, lanes):
                    for i in range(self.counts.shape[1]):
                        self.counts[0, i] += self.counts[lane, i]
                gather_rows(&self.counts[0, 0], columns, columns, &self.first[0, 0], &self.weights[0, 0, 0], bins,
                            &self.half_table[0])
                gather_columns(&self.half_table[0], bins, columns, &self.first[1, 0], &self.weights[1, 0, 0], bins,
                               &self.joint[0, 0])
            else:
                memcpy(&self.joint[0, 0], &self.parts[0, 0, 0], sizeof(double) * bins * bins)
                for lane in range(1, lanes):
                    for i in range(bins * bins):
                        (&self.joint[0, 0])[i] += (&self.parts[lane, 0, 0])[i]
            tabulate(&self.joint[0, 0], bins, &self.marginals[0, 0], &self.marginals[1, 0], &self.slopes[0, 0],
                     &self.work[0], &self.figures[0])
            self.fill_tables()

    cdef void fill_tables(self) noexcept nogil:
        # Per unit of intensity of moving.
        cdef Py_ssize_t i
        cdef int bins = self.bins, columns = self.columns
        cdef double scale = self.moving_mapping.scale
        cdef double *slopes = &self.slopes[0, 0]
        for i in range(bins * bins):
            slopes[i] *= scale
        if self.method == COUNTS:
            spread_columns(slopes, bins, bins, columns, &self.first[1, 0], &self.narrow_slopes[1, 0, 0],
                           &self.half_table[0])
            spread_rows(&self.half_table[0], columns, columns, &self.first[0, 0], &self.weights[0, 0, 0],
                        &self.single_table[0])
        elif self.method == HALF:
            if self.fixed.single:
                spread_rows(slopes, bins, columns, &self.first[0, 0], &self.weights[0, 0, 0], &self.single_table[0])
            else:
                spread_rows(slopes, bins, columns, &self.first[0, 0], &self.weights[0, 0, 0], &self.double_table[0])
        else:
            for i in range(bins * bins):
                self.single_table[i] = <float>slopes[i]
                self.double_table[i] = slopes[i]

    def differentiate(self, field, result[::1] out, Py_ssize_t start, Py_ssize_t stop):
        """The derivative of NMI with respect to moving at samples [start, stop), times each component of `field`.

        `field` is (components, *shape) of any strides, or None for the derivative itself; `out` is its size.
        """
        cdef Py_buffer view
        cdef Samples samples
        cdef Samples *components = NULL
        cdef result *kind = NULL
        cdef float singles[3 * BLOCK]
        cdef double doubles[3 * BLOCK]
        if field is not None:
            PyObject_GetBuffer(field, &view, PyBUF_FORMAT | PyBUF_STRIDES)
            describe(&view, NULL, kind, &samples)
            components = &samples
        try:
            with nogil:
                if self.fixed.single:
                    multiply_slopes(self, components, &out[0], start, stop, singles)
                else:
                    multiply_slopes(self, components, &out[0], start, stop, doubles)
        finally:
            if field is not None:
                PyBuffer_Release(&view)


cdef void add_samples(
    Workspace w, int lane, double *sums, Py_ssize_t start, Py_ssize_t stop, real *scratch
) noexcept nogil:
    # `scratch` has room for two blocks.
    cdef const real *f
    cdef const real *m
    cdef int count, first
    cdef Ahead ahead
    ahead.count = 0
    expect_samples(&ahead, &w.fixed.samples)
    expect_samples(&ahead, &w.moving.samples)
    if w.method == COUNTS:
        expect(&ahead, &w.cells[0], sizeof(int))
    while start < stop:
        count = <int>min(BLOCK, stop - start)
        f = look(&w.fixed.samples, start, count, STEP, scratch)
        m = look(&w.moving.samples, start, count, STEP, scratch + BLOCK)
        for first in range(0, count, 64):  # STEP
            bring(&ahead, start + first)
            if w.method == EXACT:
                add_exact(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, sums, w.bins)
            elif w.method == HALF:
                add_half(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.per_bin, sums, w.bins)
            else:
                add_counts(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.per_bin, &w.counts[lane, 0],
                           &w.cells[start + first])
        start += count


cdef inline void slopes_of(Workspace w, Py_ssize_t start, int count, real *scratch, real *out) noexcept nogil:
    # `scratch` has room for two blocks.
    cdef int i, first
    cdef const int *cells
    cdef const real *f
    cdef const real *m
    cdef const real *table
    if w.method == COUNTS:
        for first in range(0, count, 64):  # STEP
            cells = &w.cells[start + first]
            for i in range(STEP):
                out[first + i] = w.single_table[cells[i]]
        return
    if real is float:
        table = &w.single_table[0]
    else:
        table = &w.double_table[0]
    f = look(&w.fixed.samples, start, count, STEP, scratch)
    m = look(&w.moving.samples, start, count, STEP, scratch + BLOCK)
    for first in range(0, count, 64):  # STEP
        if w.method == EXACT:
            slope_exact(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, table, w.bins, out + first)
        else:
            slope_half(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.per_bin, table, w.bins, out + first)


cdef extern from *:
    """
    /* A missing sample often has no gradient either, and NaN * 0 is not 0. */
    #define DEFINE_MULTIPLY(SLOPE, RESULT)                                                                            \
        static inline void multiply_##SLOPE##_##RESULT(const SLOPE *restrict slope, const RESULT *restrict component, \
                                                       RESULT *restrict out, int count)                               \
        {                                                                                                             \
            for (int i = 0; i < count; i++) {                                                                         \
                RESULT product = slope[i] * component[i];                                                             \
                out[i] = slope[i] != 0 ? product : 0;                                                                 \
            }                                                                                                         \
        }
    DEFINE_MULTIPLY(float, float)
    DEFINE_MULTIPLY(float, double)
    DEFINE_MULTIPLY(double, float)
    DEFINE_MULTIPLY(double, double)
    """
    void multiply_float_float(const float *slope, const float *component, float *out, int count) nogil
    void multiply_float_double(const float *slope, const double *component, double *out, int count) nogil
    void multiply_double_float(const double *slope, const float *component, float *out, int count) nogil
    void multiply_double_double(const double *slope, const double *component, double *out, int count) nogil


cdef inline void multiply(const real *slope, const result *component, int count, result *out) noexcept nogil:
    if real is float and result is float:
        multiply_float_float(slope, component, out, count)
    elif real is float:
        multiply_float_double(slope, component, out, count)
    elif result is float:
        multiply_double_float(slope, component, out, count)
    else:
        multiply_double_double(slope, component, out, count)


cdef void multiply_slopes(
    Workspace w, const Samples *field, result *out, Py_ssize_t start, Py_ssize_t stop, real *scratch
) noexcept nogil:
    # `scratch` has room for three blocks.
    cdef result block[BLOCK]
    cdef real *slope = scratch + 2 * BLOCK
    cdef const result *component
    cdef Py_ssize_t size = w.fixed.samples.size, offset
    cdef int i, count, most
    cdef bint plain = field == NULL or field.plain
    cdef Ahead ahead
    ahead.count = 0
    if w.method == COUNTS:
        expect(&ahead, &w.cells[0], sizeof(int))
    else:
        expect_samples(&ahead, &w.fixed.samples)
        expect_samples(&ahead, &w.moving.samples)
        plain = plain and w.fixed.samples.plain and w.moving.samples.plain
    if field == NULL:
        expect(&ahead, out, sizeof(result))
    else:
        offset = 0
        while offset < field.size:
            if field.plain:
                expect(&ahead, field.data + offset * field.itemsize, field.itemsize)
            expect(&ahead, out + offset, sizeof(result))
            offset += size
    # Fetching costs something for each call.
    most = STEP if plain else BLOCK
    while start < stop:
        count = <int>min(most, stop - start)
        for i in range(0, count, 64):  # STEP
            bring(&ahead, start + i)
        slopes_of(w, start, count, scratch, slope)
        if field == NULL:
            for i in range(count):
                out[start + i] = <result>slope[i]
        else:
            offset = start
            while offset < field.size:
                component = look(field, offset, count, 1, block)
                if count == STEP:
                    multiply(slope, component, STEP, out + offset)
                else:
                    multiply(slope, component, count, out + offset)
                offset += size
        start += count
