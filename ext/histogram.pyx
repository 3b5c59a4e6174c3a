"""NMI of two images by joint histograms with cubic B-spline Parzen windows, and its derivative for each sample.

An image is a flat sequence of samples, mapped on the way to bin coordinates in an interval [low, high] within
[1, bins - 2]; one that is masked, NaN or infinite in either image does not exist.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset
from bspline cimport real
from counts cimport GROUP, PLACES, add_counts, count_cells, gather_counts, look_up, place_windows, spread_slopes
from products cimport beyond_line, end_stream, to_line, write_products
from samples cimport BLOCK, STEP, Ahead, Samples, bring, describe, expect, expect_samples, look
from tables cimport (Levels, fold, gather_columns, gather_rows, spread_columns, spread_rows, sub_bin_count,
                     sub_bin_windows, tabulate)
from tails cimport Tails, collect_tails
from windows cimport Mapping, add_exact, add_half, no_windows, result, slope_exact, slope_half, stretched


cdef enum Method:  # the order of imgtool.metrics.METHODS
    EXACT
    HALF
    COUNTS


cdef enum:
    STREAMED = 1 << 21  # bytes of a result that no second-level cache holds beside what it is made of


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


cdef class Workspace:
    """NMI of two images, and its derivative, for one pair after another in the same memory.

    `method` is EXACT, HALF (the fixed image in sub-bins) or COUNTS (both images, at most 2^28 samples in less than 2^24
    pairs of sub-bins). One evaluation is `add` for every lane and `tabulate`; `fill_tables` and then `differentiate`
    for any ranges follow if the derivative is wanted. Each releases the GIL.
    """

    cdef readonly int bins, fixed_per_bin, moving_per_bin
    cdef int method, rows, columns  # sub-bins of fixed, and of moving in COUNTS
    cdef double low, high
    cdef Image fixed, moving
    cdef Mapping fixed_mapping, moving_mapping
    cdef double[:, :, ::1] parts  # of EXACT and HALF: a histogram per lane
    cdef list windows  # of EXACT and HALF: tables to sum in, all zero, one for each thread that has asked
    cdef uint64_t[:, ::1] counts  # of COUNTS: a table per lane, and a cell for the missing samples
    cdef unsigned int[::1] cells  # of COUNTS: where each sample was counted
    # The windows of sub-bins; of moving in COUNTS a pair for each, see `place_windows`.
    cdef int[::1] fixed_first, moving_first
    cdef double[:, ::1] fixed_weights, moving_weights, moving_slopes
    cdef double[::1] half_table, line
    cdef double[::1] work
    cdef readonly double[:, ::1] joint, slopes
    cdef readonly double[:, ::1] marginals
    cdef readonly double[::1] figures
    # Slopes by sub-bin of fixed, and what COUNTS looks up.
    cdef float[::1] single_table
    cdef double[::1] double_table
    cdef unsigned int[::1] words

    def __init__(
        self, int bins, double low, double high, int method, int fixed_per_bin, int moving_per_bin, int lanes
    ):
        import numpy as np
        cdef int image
        self.bins, self.low, self.high, self.method = bins, low, high, method
        self.fixed_per_bin, self.moving_per_bin = fixed_per_bin, moving_per_bin
        self.rows = bins if method == EXACT else sub_bin_count(low, high, fixed_per_bin)
        if method == COUNTS:
            self.columns = sub_bin_count(low, high, moving_per_bin)
            self.counts = np.zeros((lanes, self.rows * self.columns + 1), np.uint64)
            self.words = np.zeros(self.rows * self.columns + 1, np.uintc)
            self.moving_first = np.zeros(2 * self.columns, np.intc)
            self.moving_weights, self.moving_slopes = np.zeros((2, 2 * self.columns, 4))
            self.half_table, self.line = np.zeros(bins * 2 * self.columns), np.zeros(2 * self.columns)
        else:
            self.parts, self.windows = np.zeros((lanes, bins, bins)), []
            self.single_table, self.double_table = np.zeros(self.rows * bins, np.float32), np.zeros(self.rows * bins)
        if method != EXACT:
            self.fixed_first = np.zeros(self.rows, np.intc)
            self.fixed_weights = np.zeros((self.rows, 4))
            for image in range(2):
                self.set_levels(image, 0, 0)
        self.cells = np.zeros(0, np.uintc)
        self.joint, self.slopes = np.zeros((bins, bins)), np.zeros((bins, bins))
        self.marginals, self.work, self.figures = np.zeros((2, bins)), np.zeros(2 * bins), np.zeros(5)

    def set_levels(self, int image, double one, double step):
        """The fixed (0) or moving (1) image has values at the coordinate `one` and multiples of `step` from it only.

        Of use where the image is put into sub-bins; `step` is 0 where there are no levels, as in the beginning.
        """
        cdef Levels levels = Levels(one, step)
        if image == 0 and self.method != EXACT:
            sub_bin_windows(self.bins, self.low, self.high, self.fixed_per_bin, &levels, &self.fixed_first[0],
                            &self.fixed_weights[0, 0], NULL)
        elif image == 1 and self.method == COUNTS:
            place_windows(self.bins, self.low, self.high, self.moving_per_bin, &levels,
                          &self.moving_first[0], &self.moving_weights[0, 0], &self.moving_slopes[0, 0])

    def take(self, Image fixed not None, double fixed_origin, double fixed_scale, Image moving not None,
             double moving_origin, double moving_scale):
        """The images to compare, and the intensities at `low` and bins per intensity that map them."""
        if fixed.samples.size != moving.samples.size or fixed.single != moving.single:
            raise ValueError("images to compare have the same number of samples and one precision")
        self.fixed, self.moving = fixed, moving
        self.fixed_mapping = Mapping(fixed_origin, self.low, fixed_scale, self.low, self.high)
        self.moving_mapping = Mapping(moving_origin, self.low, moving_scale, self.low, self.high)
        cdef Py_ssize_t whole_steps = (fixed.samples.size + STEP - 1) // STEP * STEP, first
        cdef unsigned int[::1] memory
        if self.method == COUNTS and self.cells.shape[0] != whole_steps + STEP:
            import numpy as np
            # A step of the derivative may begin anywhere; groups are written on whole lines.
            memory = np.zeros(whole_steps + 2 * STEP, np.uintc)
            first = -<Py_ssize_t>&memory[0] // <Py_ssize_t>sizeof(unsigned int) & 15
            self.cells = memory[first:first + whole_steps + STEP]

    def add(self, int lane, Py_ssize_t start, Py_ssize_t stop):
        """The joint histogram of samples [start, stop), in the place of what was in this lane.

        `start` is a multiple of STEP.
        """
        cdef float singles[2 * BLOCK]
        cdef double doubles[2 * BLOCK]
        cdef double[::1] windows = None
        cdef double *sums = NULL
        if self.method == COUNTS:
            memset(&self.counts[lane, 0], 0, sizeof(uint64_t) * self.counts.shape[1])
        else:
            if self.windows:
                windows = self.windows.pop()
            elif self.method == EXACT:
                windows = no_windows(self.bins)
            else:
                import numpy as np
                windows = np.zeros(self.rows * self.bins)
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

    cdef void settle(self, double *sums, double *part) noexcept nogil:
        """Make a histogram of the windows that were summed, which become 0."""
        cdef int bins = self.bins
        if self.method == HALF:
            gather_rows(<const double *>sums, self.rows, bins, &self.fixed_first[0], &self.fixed_weights[0, 0], bins,
                        part)
            memset(sums, 0, sizeof(double) * self.rows * bins)
        else:
            memset(part, 0, sizeof(double) * bins * bins)
            fold(sums, stretched(bins), bins, bins, part)
            memset(sums, 0, sizeof(double) * bins * stretched(bins))

    def tabulate(self, int lanes):
        """Sum the first `lanes` lanes, and make of them the joint histogram and its figures."""
        cdef Py_ssize_t i
        cdef int lane, bins = self.bins, columns = self.columns
        with nogil:
            if self.method == COUNTS:
                for lane in range(1, lanes):
                    for i in range(self.counts.shape[1]):
                        self.counts[0, i] += self.counts[lane, i]
                gather_counts(&self.counts[0, 0], self.rows, columns, &self.fixed_first[0], &self.fixed_weights[0, 0],
                              bins, &self.line[0], &self.half_table[0])
                gather_columns(&self.half_table[0], bins, 2 * columns, &self.moving_first[0],
                               &self.moving_weights[0, 0], bins, &self.joint[0, 0])
            else:
                memcpy(&self.joint[0, 0], &self.parts[0, 0, 0], sizeof(double) * bins * bins)
                for lane in range(1, lanes):
                    for i in range(bins * bins):
                        (&self.joint[0, 0])[i] += (&self.parts[lane, 0, 0])[i]
            tabulate(&self.joint[0, 0], bins, &self.marginals[0, 0], &self.marginals[1, 0], &self.slopes[0, 0],
                     &self.work[0], &self.figures[0])

    def fill_tables(self):
        """Make the tables of slopes that `differentiate` reads, once after `tabulate`."""
        cdef Py_ssize_t i
        cdef int bins = self.bins, rows = self.rows, columns = self.columns
        cdef double scale = self.moving_mapping.scale  # slopes are per unit of intensity of moving
        cdef double *slopes = &self.slopes[0, 0]
        with nogil:
            for i in range(bins * bins):
                slopes[i] *= scale
            if self.method == COUNTS:
                spread_columns(slopes, bins, bins, 2 * columns, &self.moving_first[0], &self.moving_slopes[0, 0],
                               &self.half_table[0])
                spread_slopes(&self.half_table[0], columns, rows, &self.fixed_first[0], &self.fixed_weights[0, 0],
                              &self.words[0])
            elif self.method == EXACT:
                for i in range(bins * bins):
                    self.single_table[i] = <float>slopes[i]
                    self.double_table[i] = slopes[i]
            elif self.fixed.single:
                spread_rows(slopes, bins, rows, &self.fixed_first[0], &self.fixed_weights[0, 0], &self.single_table[0])
            else:
                spread_rows(slopes, bins, rows, &self.fixed_first[0], &self.fixed_weights[0, 0], &self.double_table[0])

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
    cdef bint streamed = w.cells.shape[0] * <Py_ssize_t>sizeof(unsigned int) >= STREAMED
    cdef unsigned int waiting[GROUP]
    cdef Ahead ahead
    ahead.count = 0
    expect_samples(&ahead, &w.fixed.samples)
    expect_samples(&ahead, &w.moving.samples)
    if w.method == COUNTS:
        if not streamed:
            expect(&ahead, &w.cells[0], sizeof(unsigned int))
        for first in range(GROUP):
            waiting[first] = w.rows * w.columns * PLACES
    while start < stop:
        count = <int>min(BLOCK, stop - start)
        f = look(&w.fixed.samples, start, count, STEP, scratch)
        m = look(&w.moving.samples, start, count, STEP, scratch + BLOCK)
        for first in range(0, count, 64):  # STEP
            bring(&ahead, start + first)
            if w.method == EXACT:
                add_exact(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, sums, w.bins)
            elif w.method == HALF:
                add_half(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.fixed_per_bin, sums, w.bins)
            else:
                add_counts(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.fixed_per_bin, w.moving_per_bin,
                           &w.counts[lane, 0], waiting, streamed, &w.cells[start + first])
        start += count
    if w.method == COUNTS:
        count_cells(&w.counts[lane, 0], waiting, GROUP)
        if streamed:
            end_stream()


cdef inline void slopes_of(Workspace w, Py_ssize_t start, int count, real *scratch, real *out) noexcept nogil:
    # `scratch` has room for two blocks.
    cdef int first
    cdef const real *f
    cdef const real *m
    cdef const real *table
    if w.method == COUNTS:
        for first in range(0, count, 64):  # STEP
            look_up(&w.words[0], &w.cells[start + first], out + first)
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
            slope_half(f + first, m + first, &w.fixed_mapping, &w.moving_mapping, w.fixed_per_bin, table, w.bins,
                       out + first)


cdef void multiply_slopes(
    Workspace w, const Samples *field, result *out, Py_ssize_t start, Py_ssize_t stop, real *scratch
) noexcept nogil:
    # `scratch` has room for three blocks.
    cdef result block[BLOCK]
    cdef real *slope = scratch + 2 * BLOCK
    cdef const result *component
    cdef Py_ssize_t size = w.fixed.samples.size, offset
    cdef int i, count, most, lead = 0
    cdef bint plain = field == NULL or field.plain
    cdef bint streamed = max(size, 0 if field == NULL else field.size) * sizeof(result) >= STREAMED
    cdef Ahead ahead
    ahead.count = 0
    if streamed:
        lead = to_line(out + start)
    if w.method == COUNTS:
        expect(&ahead, &w.cells[0], sizeof(unsigned int))
    else:
        expect_samples(&ahead, &w.fixed.samples)
        expect_samples(&ahead, &w.moving.samples)
        plain = plain and w.fixed.samples.plain and w.moving.samples.plain
    offset = 0
    while offset < (size if field == NULL else field.size):
        if field != NULL and field.plain:
            expect(&ahead, field.data + offset * field.itemsize, field.itemsize)
        if not streamed or beyond_line(out + start + lead + offset) != 0:
            expect(&ahead, out + offset, sizeof(result))
        offset += size
    # Fetching costs something for each call.
    most = STEP if plain else BLOCK
    while start < stop:
        count = <int>min(lead if lead else most, stop - start)
        lead = 0
        for i in range(0, count, 64):  # STEP
            bring(&ahead, start + i)
        slopes_of(w, start, count, scratch, slope)
        offset = start
        while offset < (size if field == NULL else field.size):
            component = NULL if field == NULL else look(field, offset, count, 1, block)
            for i in range(0, count, 64):  # STEP
                write_products(slope + i, NULL if component == NULL else component + i, min(count - i, STEP), streamed,
                               out + offset + i)
            offset += size
        start += count
    if streamed:
        end_stream()
