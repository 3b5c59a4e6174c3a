"""Box filters by sums that take the same time for any size, and only add: nothing drifts, and NaN goes no further.

Across, windows are put together from sums of 1, 2, 4, ... neighbours. Down, rows are cut into blocks as high as the
box: a window is the rest of one block, summed upwards from its end, and the beginning of the next, summed downwards
(van Herk 1992, Gil & Werman 1993, with sums instead of maxima). The blocks lie alike for every slab, so slabs change
no bit.
"""

from cpython.buffer cimport PyBuffer_Release
from libc.stdlib cimport calloc, free

from pixels cimport (Source, Store, choose_load, choose_store, larger, load_segment, open_goal, open_source,
                     premultiply, smaller, unpremultiply)

cdef extern from "simd.h" nogil:
    enum: VECTOR_BYTES
    ctypedef float float_vector
    ctypedef double double_vector

cdef enum:
    PANEL_BYTES = 1 << 19

ctypedef fused real:
    float
    double

ctypedef fused vector:
    float_vector
    double_vector

cdef struct Task:
    int border
    Py_ssize_t begin, end, first, columns, pitch  # of the output: rows and columns to work on, and all of a row
    Py_ssize_t top, left  # how far the box reaches up and left of an output pixel's place in the source
    Py_ssize_t height, width  # of the box


cdef inline void add(vector *goal, const vector *one, const vector *other, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        goal[i] = one[i] + other[i]


cdef void sum_across(real *line, Py_ssize_t width, Py_ssize_t step, Py_ssize_t count, vector *goal) noexcept nogil:
    """Sums of `width` values `step` apart, as `count` vectors; `line` goes on for as long, and is used up."""
    cdef Py_ssize_t power = 1, done = 0, lanes = VECTOR_BYTES // sizeof(real), i
    cdef const vector *part
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        while True:
            if width & power:
                part = <const vector *>(line + done * step)
                if done == 0:
                    for i in range(count):
                        goal[i] = part[i]
                else:
                    add(goal, goal, part, count)
                done += power
            if done == width:
                return
            # Now the sums of twice as many; those that are still needed end with the line.
            add(<vector *>line, <vector *>line, <vector *>(line + power * step),
                count + ((width - 2 * power if width > 2 * power else 0) * step + lanes - 1) // lanes)
            power *= 2


cdef Py_ssize_t box(const Source *source, const Task *task, const real *outside, real weight, real bias, real alpha_one,
                    char *out, Py_ssize_t itemsize, Store store, const vector *_) except -1 nogil:
    """Rows [begin, end) of `columns` columns of the output; returns how many values were saturated."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), channels = source.channels, height = task.height
    cdef Py_ssize_t row_values = task.columns * channels, count = (row_values + lanes - 1) // lanes
    cdef Py_ssize_t pitch = count * lanes, reach = task.columns + task.width - 1
    cdef Py_ssize_t line_values = pitch + 2 * (task.width * channels + lanes)
    cdef real *memory = <real *>calloc((2 * height + 2) * pitch + line_values, sizeof(real))
    cdef real *rest = memory  # of the block that the window begins in: sums from each row to the block's end
    cdef real *rows = rest + height * pitch  # of the next block
    cdef real *start = rows + height * pitch  # the sum of those that the window holds
    cdef real *result = start + pitch
    cdef real *line = result + pitch
    cdef Py_ssize_t y, v, place, i, saturated = 0, loaded = task.begin
    cdef vector *sums
    if memory == NULL:
        raise MemoryError()
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        y = task.begin
        while y < task.end:
            place = y % height
            if y == task.begin or place == 0:
                rest, rows = rows, rest
            # Rows up to the window's last: into the block where they belong.
            while loaded < y + height:
                v = loaded % height
                sums = <vector *>((rest if loaded < y - place + height else rows) + v * pitch)
                load_segment(source, loaded - task.top, task.first - task.left, reach, task.border, outside, line)
                if alpha_one != 0:
                    premultiply(line, reach, channels, alpha_one)
                sum_across(line, task.width, channels, count, sums)
                if loaded >= y - place + height:
                    if v == 0:
                        for i in range(count):
                            (<vector *>start)[i] = sums[i]
                    else:
                        add(<vector *>start, <vector *>start, sums, count)
                loaded += 1
            if y == task.begin or place == 0:
                for i in range(height - 1 - place):
                    v = height - 2 - i
                    add(<vector *>(rest + v * pitch), <vector *>(rest + v * pitch), <vector *>(rest + (v + 1) * pitch),
                        count)
            sums = <vector *>(rest + place * pitch)
            for i in range(count):
                (<vector *>result)[i] = (sums[i] + (<vector *>start)[i] if place else sums[i]) * weight
            if alpha_one != 0:
                unpremultiply(result, task.columns, channels, alpha_one, <real>(height * task.width) * weight, bias)
            elif bias != 0:
                for i in range(row_values):
                    result[i] += bias
            saturated += store(result, row_values, out + (y * task.pitch + task.first) * channels * itemsize, 1)
            y += 1
    free(memory)
    return saturated


cdef class Box:
    """A box filter made ready: sums of height x width pixels, times `weight`, plus `bias`.

    single: sum in float32, else in float64. The other arguments are those of `Correlation`.
    """

    cdef Task task
    cdef bint single
    cdef double weight, outside, bias, alpha_one

    def __cinit__(self, Py_ssize_t height, Py_ssize_t width, double weight, bint single, int border, double outside,
                  double bias, double alpha_one, Py_ssize_t top, Py_ssize_t left):
        if height < 1 or width < 1:
            raise ValueError("a box has at least one row and one column")
        self.task.height, self.task.width, self.task.border = height, width, border
        self.task.top, self.task.left = top, left
        self.single, self.weight, self.outside, self.bias, self.alpha_one = single, weight, outside, bias, alpha_one

    def slab(self, source, out, planes, Py_ssize_t begin, Py_ssize_t end):
        """Rows [begin, end) of `out`; returns how many values were saturated. As `Correlation.slab` for one plane."""
        if planes is not None:
            raise ValueError("a box has one plane")
        if self.single:
            return box_slab(self, source, out, begin, end, <float>0, <float_vector *>NULL)
        return box_slab(self, source, out, begin, end, <double>0, <double_vector *>NULL)


cdef box_slab(Box self, source, out, Py_ssize_t begin, Py_ssize_t end, real zero, const vector *_):
    cdef Task task = self.task
    cdef Py_buffer pixels, result
    cdef Source plane
    cdef Store store
    cdef Py_ssize_t channel, columns, saturated = 0
    cdef real *outside
    open_source(source, &pixels, &plane)
    try:
        open_goal(out, &result, &plane)
        try:
            if not 0 <= begin <= end <= result.shape[0]:
                raise ValueError("out has no such rows")
            task.begin, task.end, task.pitch = begin, end, result.shape[1]
            # Two blocks of rows should stay in the second-level cache.
            columns = larger(PANEL_BYTES // (2 * task.height * plane.channels * <Py_ssize_t>sizeof(real)), 256)
            plane.load = choose_load(&pixels, &zero)
            store = choose_store(&result, &zero)
            outside = <real *>calloc(plane.channels + 1, sizeof(real))
            if outside == NULL:
                raise MemoryError()
            try:
                for channel in range(plane.channels):
                    outside[channel] = <real>self.outside
                if self.alpha_one != 0:
                    outside[plane.channels - 1] = <real>self.alpha_one
                with nogil:
                    task.first = 0
                    while task.first < task.pitch:
                        task.columns = smaller(columns, task.pitch - task.first)
                        saturated += box(&plane, &task, outside, <real>self.weight, <real>self.bias,
                                         <real>self.alpha_one, <char *>result.buf, result.itemsize, store, _)
                        task.first += task.columns
                return saturated
            finally:
                free(outside)
        finally:
            PyBuffer_Release(&result)
    finally:
        PyBuffer_Release(&pixels)
