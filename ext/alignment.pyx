"""NMI of a fixed plane and a moving one seen through a matrix, and its derivative with respect to the matrix.

One evaluation is two passes over the pixels of the fixed plane. The first interpolates moving, together with the
derivative of the interpolant, and counts the joint histogram in sub-bins; the second looks the derivative of NMI up for
each pixel and sums it. Counts are whole numbers and add up to the same in any order; sums are kept for each slab.
"""

from libc.math cimport NAN
from libc.string cimport memset
from area cimport inside
from windows cimport to_sub_bins
from tables cimport (Levels, gather_columns, gather_rows, spread_columns, spread_rows, sub_bin_count, sub_bin_windows,
                     tabulate)

cdef extern from *:
    """
    /* Two neighbouring floats. Wide gathers are slower than loading such pairs one by one. */
    typedef double pair __attribute__((aligned(4), may_alias));
    """
    ctypedef double pair

cdef enum:
    CHUNK = 64  # the widest tile of sample offsets
    LANES = 16  # sums side by side, for every instruction set the same
    NOWHERE = 65535  # the sub-bin of a missing pixel


cdef struct Plane:
    const float *values
    int height, width


cdef struct Chunk:
    # Samples (column + k + x_offsets[k], row + y_offsets[k]), k < count.
    int row, column, count
    const float *x_offsets
    const float *y_offsets


cdef inline void locate(
    const Chunk *chunk, const double *matrix, const Plane *plane, int *corner, float *u, float *v, float *x_scale,
    float *y_scale
) noexcept nogil:
    """The pixel above and to the left of each position, where between it and the next the position lies, and by how
    much the position held on the plane moves with it (1 or 0); u is NaN outside."""
    cdef int k, x0, y0, last_x = plane.width - 2, last_y = plane.height - 2, width = plane.width
    cdef int row = chunk.row, column = chunk.column, count = chunk.count
    cdef double x, y, w, held_x, held_y, most_x = plane.width - 1, most_y = plane.height - 1
    cdef float fraction
    cdef double inner_x[CHUNK]
    cdef double inner_y[CHUNK]
    for k in range(count):
        x, y = column + k + chunk.x_offsets[k], row + chunk.y_offsets[k]
        inner_x[k] = matrix[0] * x + (matrix[1] * y + matrix[2])
        inner_y[k] = matrix[3] * x + (matrix[4] * y + matrix[5])
    if matrix[6] != 0 or matrix[7] != 0 or matrix[8] != 1:
        for k in range(count):
            x, y = column + k + chunk.x_offsets[k], row + chunk.y_offsets[k]
            w = matrix[6] * x + (matrix[7] * y + matrix[8])
            # Behind the horizon there is nothing.
            inner_x[k] = inner_x[k] / w if w > 0 else -1e9
            inner_y[k] = inner_y[k] / w if w > 0 else -1e9
    for k in range(count):
        x, y = inner_x[k], inner_y[k]
        held_x = x if x > 0 else 0
        held_x = held_x if held_x < most_x else most_x
        held_y = y if y > 0 else 0
        held_y = held_y if held_y < most_y else most_y
        x_scale[k] = 1 if held_x == x else 0
        y_scale[k] = 1 if held_y == y else 0
        x0, y0 = <int>held_x, <int>held_y
        x0 = x0 if x0 < last_x else last_x
        y0 = y0 if y0 < last_y else last_y
        fraction = <float>(held_x - x0)
        v[k] = <float>(held_y - y0)
        u[k] = fraction if inside(x, plane.width) & inside(y, plane.height) else NAN
        corner[k] = y0 * width + x0


cdef inline void interpolate(
    const Plane *plane, const int *corner, const float *u, const float *v, int count, float *value, float *along_x,
    float *along_y
) noexcept nogil:
    """The bilinear interpolant and its derivatives; NaN outside and beside a NaN."""
    cdef int k
    cdef float top, bottom, top_step, bottom_step
    cdef float upper[2 * CHUNK]
    cdef float lower[2 * CHUNK]
    for k in range(count):
        (<pair *>upper)[k] = (<const pair *>(plane.values + corner[k]))[0]
        (<pair *>lower)[k] = (<const pair *>(plane.values + plane.width + corner[k]))[0]
    for k in range(count):
        top, bottom = upper[2 * k], lower[2 * k]
        top_step, bottom_step = upper[2 * k + 1] - top, lower[2 * k + 1] - bottom
        top, bottom = top + u[k] * top_step, bottom + u[k] * bottom_step
        value[k] = top + v[k] * (bottom - top)
        along_x[k] = top_step + v[k] * (bottom_step - top_step)
        along_y[k] = bottom - top


cdef class Alignment:
    """Two planes of bin coordinates in [low, high], NaN where a pixel is missing, 2 x 2 pixels or larger.

    Sample (row, column) lies at p = (column, row) + `offsets`[:, row, column], an array that repeats like tiles at most
    64 columns wide: at `fineness` p in the fixed plane, and where `matrix` takes it, as (x, y, 1), in the moving plane.
    One evaluation is `add` for every lane, `tabulate`, then `differentiate` for every slab of rows.
    """

    cdef readonly int bins, per_bin, columns, height, width
    cdef int fineness
    cdef float low, high
    cdef const float[:, ::1] moving
    cdef const float[:, :, ::1] offsets
    cdef unsigned short[:, ::1] fixed_sub_bins
    cdef int[:, ::1] cells
    cdef float[:, ::1] along_x, along_y
    cdef unsigned int[:, ::1] counts  # a table per lane, and a cell for the missing samples
    cdef int[::1] first
    cdef double[:, ::1] weights, narrow_slopes
    cdef double[::1] half_table, work
    cdef float[::1] table
    cdef readonly double[:, ::1] joint, slopes, marginals
    cdef readonly double[::1] figures

    def __init__(self, const float[:, ::1] fixed, const float[:, ::1] moving, const float[:, :, ::1] offsets, int bins,
                 float low, float high, int per_bin, int lanes, int fineness):
        cdef Py_ssize_t i
        cdef bint beside
        cdef int columns = sub_bin_count(low, high, per_bin)
        cdef Levels no_levels = Levels(0, 0)
        if min(fixed.shape[0], fixed.shape[1], moving.shape[0], moving.shape[1]) < 2:
            raise ValueError("planes are 2 x 2 pixels or larger")
        if offsets.shape[0] != 2 or not 0 < offsets.shape[2] <= CHUNK:
            raise ValueError("offsets are (2, rows, columns), at most 64 columns")
        self.bins, self.per_bin, self.columns, self.low, self.high = bins, per_bin, columns, low, high
        self.fineness = fineness
        self.height, self.width = <int>(fixed.shape[0] - 1) // fineness + 1, <int>(fixed.shape[1] - 1) // fineness + 1
        self.moving, self.offsets = moving, offsets
        import numpy as np  # here, because --version loads the kernels and should not wait for NumPy
        self.fixed_sub_bins = np.empty((self.height, self.width), np.uint16)
        self.cells = np.empty((self.height, self.width), np.intc)
        self.along_x, self.along_y = (np.empty((self.height, self.width), np.float32) for _ in range(2))
        self.counts = np.zeros((lanes, columns * columns + 1), np.uint32)
        self.first, self.weights, self.narrow_slopes = (
            np.zeros(columns, np.intc), np.zeros((columns, 4)), np.zeros((columns, 4)))
        sub_bin_windows(bins, low, high, per_bin, &no_levels, &self.first[0], &self.weights[0, 0],
                        &self.narrow_slopes[0, 0])
        self.half_table, self.work = np.zeros(bins * columns), np.zeros(2 * bins)
        self.table = np.zeros(columns * columns + 1, np.float32)
        self.joint, self.slopes, self.marginals = (
            np.zeros((bins, bins)), np.zeros((bins, bins)), np.zeros((2, bins)))
        self.figures = np.zeros(5)
        with nogil:
            beside = False
            for i in range(offsets.shape[1] * offsets.shape[2] * 2):
                beside |= (&offsets[0, 0, 0])[i] != 0
            self.place_fixed(fixed, beside)

    cdef Chunk chunk_at(self, int row, int column) noexcept nogil:
        cdef Chunk chunk
        cdef Py_ssize_t line = row % self.offsets.shape[1]
        chunk.row, chunk.column = row, column
        chunk.count = min(<int>self.offsets.shape[2], self.width - column)
        chunk.x_offsets, chunk.y_offsets = &self.offsets[0, line, 0], &self.offsets[1, line, 0]
        return chunk

    cdef void place_fixed(self, const float[:, ::1] fixed, bint beside) noexcept nogil:
        """The sub-bins of the fixed plane, sampled in the same way as moving if samples lie beside the pixels."""
        cdef double[9] matrix = [self.fineness, 0, 0, 0, self.fineness, 0, 0, 0, 1]
        cdef Plane plane = Plane(&fixed[0, 0], <int>fixed.shape[0], <int>fixed.shape[1])
        cdef Chunk chunk
        cdef int row, column, k
        cdef float u[CHUNK]
        cdef float v[CHUNK]
        cdef float value[CHUNK]
        cdef float along_x[CHUNK]
        cdef float along_y[CHUNK]
        cdef int corner[CHUNK]
        cdef int sub_bin[CHUNK]
        for row in range(self.height):
            column = 0
            while column < self.width:
                chunk = self.chunk_at(row, column)
                locate(&chunk, matrix, &plane, corner, u, v, along_x, along_y)
                interpolate(&plane, corner, u, v, chunk.count, value, along_x, along_y)
                if not beside:
                    # A pixel is there also where its neighbour is missing.
                    for k in range(chunk.count):
                        value[k] = fixed[row * self.fineness, (column + k) * self.fineness]
                to_sub_bins(value, chunk.count, self.low, self.high, self.per_bin, sub_bin)
                for k in range(chunk.count):
                    sub_bin[k] = sub_bin[k] if value[k] == value[k] else NOWHERE
                    self.fixed_sub_bins[row, column + k] = <unsigned short>sub_bin[k]
                column += chunk.count

    def add(self, const double[:, ::1] matrix, int lane, int start, int stop):
        """Count rows [start, stop) in this lane, in the place of what was there."""
        cdef Plane plane = Plane(&self.moving[0, 0], <int>self.moving.shape[0], <int>self.moving.shape[1])
        cdef int row, column
        cdef Chunk chunk
        with nogil:
            memset(&self.counts[lane, 0], 0, sizeof(unsigned int) * self.counts.shape[1])
            for row in range(start, stop):
                column = 0
                while column < self.width:
                    chunk = self.chunk_at(row, column)
                    count_chunk(&chunk, &matrix[0, 0], &plane, self.low, self.high, self.per_bin, self.columns,
                                &self.fixed_sub_bins[row, column], &self.cells[row, column],
                                &self.along_x[row, column], &self.along_y[row, column], &self.counts[lane, 0])
                    column += chunk.count

    def tabulate(self, int lanes):
        """Sum the first `lanes` lanes, and make of them the joint histogram, its figures and the table of slopes."""
        cdef int bins = self.bins, columns = self.columns, lane
        cdef Py_ssize_t i
        cdef int *first = &self.first[0]
        cdef double *half = &self.half_table[0]
        with nogil:
            for lane in range(1, lanes):
                for i in range(self.counts.shape[1]):
                    self.counts[0, i] += self.counts[lane, i]
            gather_rows(&self.counts[0, 0], columns, columns, first, &self.weights[0, 0], bins, half)
            gather_columns(half, bins, columns, first, &self.weights[0, 0], bins, &self.joint[0, 0])
            tabulate(&self.joint[0, 0], bins, &self.marginals[0, 0], &self.marginals[1, 0], &self.slopes[0, 0],
                     &self.work[0], &self.figures[0])
            spread_columns(&self.slopes[0, 0], bins, bins, columns, first, &self.narrow_slopes[0, 0], half)
            spread_rows(half, columns, columns, first, &self.weights[0, 0], &self.table[0])

    def differentiate(self, const double[:, ::1] matrix, bint projective, double[:, ::1] out, int start, int stop):
        """Write the derivative of NMI by the 3 x 3 `matrix` of the last `add`, as far as rows [start, stop) contribute.

        Its last row is computed only if `projective`, and 0 otherwise.
        """
        cdef int row, column, i, j
        cdef double total[3]
        cdef float lanes[9][LANES]
        cdef Chunk chunk
        with nogil:
            memset(&out[0, 0], 0, 9 * sizeof(double))
            for row in range(start, stop):
                memset(lanes, 0, sizeof(lanes))
                column = 0
                while column < self.width:
                    chunk = self.chunk_at(row, column)
                    sum_chunk(&chunk, &matrix[0, 0], projective, &self.table[0], &self.cells[row, column],
                              &self.along_x[row, column], &self.along_y[row, column], lanes)
                    column += chunk.count
                for i in range(3):
                    memset(total, 0, sizeof(total))
                    for j in range(LANES):
                        total[0] += lanes[3 * i][j]
                        total[1] += lanes[3 * i + 1][j]
                        total[2] += lanes[3 * i + 2][j]
                    out[i, 0] += total[0]
                    out[i, 1] += total[1] + row * total[2]
                    out[i, 2] += total[2]


cdef void count_chunk(
    const Chunk *chunk, const double *matrix, const Plane *plane, float low, float high, int per_bin, int columns,
    const unsigned short *fixed, int *cells, float *along_x, float *along_y, unsigned int *counts
) noexcept nogil:
    cdef int k, count = chunk.count
    cdef int corner[CHUNK]
    cdef int cell[CHUNK]
    cdef float u[CHUNK]
    cdef float v[CHUNK]
    cdef float x_scale[CHUNK]
    cdef float y_scale[CHUNK]
    cdef float value[CHUNK]
    cdef float step_x[CHUNK]
    cdef float step_y[CHUNK]
    locate(chunk, matrix, plane, corner, u, v, x_scale, y_scale)
    interpolate(plane, corner, u, v, count, value, step_x, step_y)
    to_sub_bins(value, count, low, high, per_bin, cell)
    for k in range(count):
        # Missing samples are counted in a cell behind all others, whose slope is 0; their steps may be NaN.
        cell[k] = fixed[k] * columns + cell[k] if (fixed[k] != NOWHERE) & (value[k] == value[k]) else columns * columns
        step_x[k] = step_x[k] * x_scale[k] if cell[k] != columns * columns else 0
        step_y[k] = step_y[k] * y_scale[k] if cell[k] != columns * columns else 0
    for k in range(count):
        cells[k] = cell[k]
        along_x[k], along_y[k] = step_x[k], step_y[k]
    for k in range(count):
        counts[cell[k]] += 1


cdef void sum_chunk(
    const Chunk *chunk, const double *matrix, bint projective, const float *table, const int *cells,
    const float *along_x, const float *along_y, float[LANES] *lanes
) noexcept nogil:
    """Add the derivatives by the nine elements, rows counted from this one.

    With p = (x, y, 1), q = matrix p, slope g of NMI by moving's value and steps (a, b) of that value, they are
    g a p / q_2, g b p / q_2 and -g (a q_0 + b q_1) p / q_2^2.
    """
    cdef float x[CHUNK]
    cdef float y[CHUNK]
    cdef float a[CHUNK]
    cdef float b[CHUNK]
    cdef float c[CHUNK]
    cdef int j, k, count = chunk.count
    for k in range(count):
        x[k] = chunk.column + k + chunk.x_offsets[k]
        y[k] = chunk.y_offsets[k]
        a[k] = table[cells[k]]
    for k in range(count):
        b[k] = a[k] * along_y[k]
        a[k] = a[k] * along_x[k]
    if projective:
        divide(matrix, x, y, chunk.row, count, a, b, c)
    # Whole groups of lanes.
    for k in range(count, (count + LANES - 1) // LANES * LANES):
        x[k] = y[k] = a[k] = b[k] = c[k] = 0
    for k in range(0, count, 16):  # LANES
        for j in range(LANES):
            lanes[0][j] += a[k + j] * x[k + j]
            lanes[1][j] += a[k + j] * y[k + j]
            lanes[2][j] += a[k + j]
            lanes[3][j] += b[k + j] * x[k + j]
            lanes[4][j] += b[k + j] * y[k + j]
            lanes[5][j] += b[k + j]
    if projective:
        for k in range(0, count, 16):  # LANES
            for j in range(LANES):
                lanes[6][j] += c[k + j] * x[k + j]
                lanes[7][j] += c[k + j] * y[k + j]
                lanes[8][j] += c[k + j]


cdef inline void divide(
    const double *matrix, const float *x, const float *y, int row, int count, float *a, float *b, float *c
) noexcept nogil:
    """Put a / q_2 and b / q_2 in the place of a and b, and -(a q_0 + b q_1) / q_2^2 into c."""
    cdef int k
    cdef double q0, q1, q2
    for k in range(count):
        q0 = matrix[0] * x[k] + (matrix[1] * (row + y[k]) + matrix[2])
        q1 = matrix[3] * x[k] + (matrix[4] * (row + y[k]) + matrix[5])
        q2 = matrix[6] * x[k] + (matrix[7] * (row + y[k]) + matrix[8])
        # Behind the horizon nothing is seen, and a and b are 0.
        q2 = 1 / q2 if q2 > 0 else 0
        a[k], b[k] = <float>(a[k] * q2), <float>(b[k] * q2)
        c[k] = -<float>((a[k] * q0 + b[k] * q1) * q2)
