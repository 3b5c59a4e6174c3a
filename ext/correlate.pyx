"""Correlation of a row slab with a kernel, directly or axis by axis.

An image of the accumulator's type is read and written where it lies. Otherwise input rows are converted to that type,
one at a time, into a ring of padded rows, where the border is written out. Blocks of BLOCK_ROWS rows x COLUMNS vectors
of the output stay in registers while every loaded vector feeds all their rows. A separable kernel filters each row on
its way into the ring. Nothing but the ring is ever copied, and every output value is summed in one order (kernel rows,
then columns), whatever the slab, the block or the thread.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc

from block cimport (BLOCK_ROWS, COLUMNS, VECTOR_BYTES, block, double_vector, float_vector, vector,
                    wide_vector)
from border cimport border_index
from in_place cimport Task, correlate_in_place
from pixels cimport (Source, Store, choose_load, choose_store, close_images, larger, load_segment, open_images,
                     premultiply, real, smaller, unpremultiply, wide)

cdef extern from *:
    const Py_ssize_t PY_SSIZE_T_MIN

cdef enum:
    TOGETHER = 4  # blocks side by side whose rows are stored together

cdef Py_ssize_t OUTSIDE = PY_SSIZE_T_MIN
OUTSIDE_PLANE = OUTSIDE

cdef void filter_row(const real *row, const real *taps, Py_ssize_t count, Py_ssize_t step, Py_ssize_t values, real *out,
                     const vector *_) noexcept nogil:
    """Correlate one padded row with `count` taps; `values` is a multiple of two blocks' width."""
    cdef vector t0, t1, t2, t3, t4, t5, t6, t7
    cdef const vector *line
    cdef vector *goal
    cdef Py_ssize_t k, lanes = 1 if real is wide else VECTOR_BYTES // sizeof(real)
    if (real is float and vector is float_vector) or (real is double and vector is double_vector) or (
            real is wide and vector is wide_vector):
        for _x in range(values // (2 * COLUMNS * lanes)):
            line = <const vector *>row
            t0, t1, t2, t3 = taps[0] * line[0], taps[0] * line[1], taps[0] * line[2], taps[0] * line[3]
            t4, t5, t6, t7 = taps[0] * line[4], taps[0] * line[5], taps[0] * line[6], taps[0] * line[7]
            for k in range(1, count):
                line = <const vector *>(row + k * step)
                t0 += taps[k] * line[0]
                t1 += taps[k] * line[1]
                t2 += taps[k] * line[2]
                t3 += taps[k] * line[3]
                t4 += taps[k] * line[4]
                t5 += taps[k] * line[5]
                t6 += taps[k] * line[6]
                t7 += taps[k] * line[7]
            goal = <vector *>out
            goal[0], goal[1], goal[2], goal[3] = t0, t1, t2, t3
            goal[4], goal[5], goal[6], goal[7] = t4, t5, t6, t7
            row += 2 * COLUMNS * lanes
            out += 2 * COLUMNS * lanes


cdef Py_ssize_t correlate(const Source *source, const Task *task, const Py_ssize_t *planes, const real *kernel,
                          const real *across, const real *outside, real bias, real alpha_one, real kernel_sum,
                          char *out, Py_ssize_t out_itemsize, bint bare, bint in_place, Store store,
                          const vector *_) except -1 nogil:
    """Rows [begin, end) of `columns` columns of the output; returns how many values were saturated.

    `planes` holds for each plane of the kernel the offset in bytes of the source plane under it, OUTSIDE for one beyond
    the image. `across`, if not NULL, are `task.width` taps that filter each row, and `kernel` has one column then.
    `bare`: the source is of the accumulator's type, contiguous, and holds every column in reach; its rows are used
    where they lie. `in_place`: the output is of the accumulator's type; full blocks are written where they belong.
    """
    cdef Py_ssize_t begin = task.begin, end = task.end, depth = task.depth, height = task.height
    cdef Py_ssize_t width = task.width if across == NULL else 1  # of the kernel on the ring's rows
    cdef Py_ssize_t channels = source.channels, row_values = task.columns * channels
    cdef Py_ssize_t tile_width = COLUMNS * (1 if real is wide else VECTOR_BYTES // sizeof(real))
    cdef Py_ssize_t padded = (row_values + 2 * tile_width - 1) // (2 * tile_width) * 2 * tile_width
    cdef Py_ssize_t reach = task.columns + task.width - 1, reach_values = padded + (task.width - 1) * channels
    cdef Py_ssize_t ring_rows = height + BLOCK_ROWS - 1
    # One vector more than a row, or rows of a power of two would all fall on the same lines of the first-level cache.
    cdef Py_ssize_t slot_values = padded + tile_width // COLUMNS if across != NULL else 0 if bare else reach_values
    # A kernel of several planes sums them in accumulators for the whole slab; one plane needs only the tile.
    cdef Py_ssize_t sums_rows = end - begin + BLOCK_ROWS if depth > 1 else 0
    cdef Py_ssize_t together = 1 if in_place else TOGETHER
    cdef Py_ssize_t values = (
        ring_rows * slot_values + (1 + together * BLOCK_ROWS) * tile_width + reach_values + sums_rows * padded)
    cdef Py_ssize_t scratch = (values * sizeof(real) + 15) // 16 * 16
    cdef real *ring = <real *>calloc(scratch + 2 * ring_rows * sizeof(real *), 1)
    cdef real *offsets
    cdef real *tile
    cdef real *line
    cdef real *sums
    cdef real *goal
    cdef const real *start
    cdef const real **slots
    cdef const real **rows
    cdef Source plane
    cdef Py_ssize_t t, group, strip, strips, place, x, y, r, at, count, loaded, filled, oldest
    cdef Py_ssize_t start_stride, goal_stride
    cdef Py_ssize_t saturated = 0
    if ring == NULL:
        raise MemoryError()
    offsets = ring + ring_rows * slot_values
    tile = offsets + tile_width
    line = tile + together * BLOCK_ROWS * tile_width
    sums = line + reach_values
    slots = <const real **>(<char *>ring + scratch)
    rows = slots + ring_rows
    for r in range(ring_rows):
        slots[r] = line  # the last group's rows beyond the image are read, and their sums thrown away
    if alpha_one == 0:
        for x in range(tile_width):
            offsets[x] = bias
    plane = source[0]
    for t in range(depth):
        if planes[t] == OUTSIDE:
            plane.height = 0
        else:
            plane.height, plane.data = source.height, source.data + planes[t]
        loaded = begin
        filled = oldest = 0
        for group in range((end - begin + BLOCK_ROWS - 1) // BLOCK_ROWS):
            y = begin + group * BLOCK_ROWS
            while loaded < smaller(y + ring_rows, end + height - 1):
                goal = line if across != NULL or bare else ring + filled * slot_values
                at = border_index(loaded - task.top, plane.height, task.border) if bare else -1
                if at >= 0:
                    slots[filled] = <const real *>(plane.data + at * plane.row_stride)
                    slots[filled] += (task.first - task.left) * channels
                else:
                    load_segment(&plane, loaded - task.top, task.first - task.left, reach, task.border, outside, goal)
                    if alpha_one != 0:
                        premultiply(goal, reach, channels, alpha_one)
                    slots[filled] = goal
                if across != NULL:
                    goal = ring + filled * slot_values
                    filter_row(slots[filled], across, task.width, channels, padded, goal, _)
                    slots[filled] = goal
                loaded += 1
                filled = filled + 1 if filled + 1 < ring_rows else 0
            for r in range(ring_rows - oldest):
                rows[r] = slots[oldest + r]
            for r in range(oldest):
                rows[ring_rows - oldest + r] = slots[r]
            oldest = oldest + BLOCK_ROWS if oldest + BLOCK_ROWS < ring_rows else oldest + BLOCK_ROWS - ring_rows
            strips = (row_values + tile_width - 1) // tile_width
            for strip in range(strips):
                x = strip * tile_width
                start, start_stride = offsets, 0
                place = strip % together
                goal, goal_stride = tile + place * tile_width, together * tile_width
                if t > 0:
                    start, start_stride = sums + (y - begin) * padded + x, padded
                if t < depth - 1:
                    goal, goal_stride = sums + (y - begin) * padded + x, padded
                elif in_place and x + tile_width <= row_values and y + BLOCK_ROWS <= end:
                    goal = <real *>out + (y * task.pitch + task.first) * channels + x
                    goal_stride = task.pitch * channels
                block(rows, kernel + t * height * width, height, width, channels, x, start, start_stride,
                      goal, goal_stride)
                if goal == tile + place * tile_width and (place == together - 1 or strip == strips - 1):
                    x -= place * tile_width
                    count = smaller((place + 1) * tile_width, row_values - x)
                    for r in range(smaller(BLOCK_ROWS, end - y)):
                        if alpha_one != 0:
                            unpremultiply(tile + r * goal_stride, count // channels, channels, alpha_one, kernel_sum,
                                          bias)
                        saturated += store(
                            tile + r * goal_stride, count,
                            out + (((y + r) * task.pitch + task.first) * channels + x) * out_itemsize, 1)
    free(ring)
    return saturated


cdef Py_ssize_t correlate_panels(const Source *source, Task task, const Py_ssize_t *planes, const real *kernel,
                                 const real *across, const real *outside, real bias, real alpha_one, real kernel_sum,
                                 char *out, Py_ssize_t out_itemsize, bint same_type, bint in_place, Store store,
                                 const vector *_) except -1 nogil:
    """All columns: those whose reach lies inside a fitting source without a copy, the others beside them."""
    cdef Py_ssize_t channels = source.channels, columns = task.columns, saturated = 0, i
    cdef Py_ssize_t step = 2 * COLUMNS * (1 if real is wide else VECTOR_BYTES // sizeof(real))
    cdef Py_ssize_t edges[4]
    cdef Source plane
    # A separable kernel gains nothing: what it saves in copies is lost in the columns beside.
    cdef bint fits = (same_type and across == NULL and alpha_one == 0 and source.channel_stride == sizeof(real)
                      and source.pixel_stride == channels * source.channel_stride)
    edges[0], edges[1], edges[2], edges[3] = 0, larger(task.left, 0), 0, columns
    edges[2] = smaller(columns, source.width - (task.width - 1 - task.left))
    if fits and in_place and across == NULL and task.depth == 1 and planes[0] != OUTSIDE and (
            task.end - task.begin >= BLOCK_ROWS) and 2 * (edges[2] - edges[1]) * channels >= step:
        plane = source[0]
        plane.data += planes[0]
        return correlate_in_place(&plane, &task, kernel, outside, bias, <real *>out, _)
    if step % channels == 0:  # whole blocks of whole pixels
        step //= channels
    edges[2] = edges[1] + larger(edges[2] - edges[1], 0) // step * step
    if not fits or edges[2] - edges[1] < 4 * step:
        edges[1] = edges[2] = columns
    for i in range(3):
        task.first, task.columns = edges[i], edges[i + 1] - edges[i]
        if task.columns > 0:
            saturated += correlate(source, &task, planes, kernel, across, outside, bias, alpha_one, kernel_sum, out,
                                   out_itemsize, i == 1, in_place, store, _)
    return saturated


cdef class Correlation:
    """A kernel made ready: its taps in the accumulator's type, its border and its place on the image.

    taps: the kernel's values one after the other, float64, or int64 for `kind` "i8", as it is laid on the image without
    flipping. shape: its planes, rows and columns. across: 0, or how many more taps follow that filter every row first;
    the kernel has one column then. kind: the accumulator, "f4", "f8" or "i8" (exact in 128 bits: the sum of magnitudes
    must stay below 2**63). border: `border.Border`, with `outside` as the constant. bias is added to every sum.
    alpha_one: the value of opaque alpha in the last channel, 0 for no alpha. top and left: how far the kernel reaches
    up and left of an output pixel's place.
    """

    cdef void *taps  # the kernel's, then those across
    cdef Task task
    cdef Py_ssize_t in_kernel
    cdef bint separable
    cdef str kind
    cdef object outside, bias
    cdef double alpha_one

    def __cinit__(self, taps, shape, Py_ssize_t across, str kind, int border, outside, bias, double alpha_one,
                  Py_ssize_t top, Py_ssize_t left):
        cdef Py_ssize_t i
        cdef const double[::1] reals
        cdef const int64_t[::1] wholes
        self.task.depth, self.task.height, self.task.width = shape
        self.in_kernel = self.task.depth * self.task.height * self.task.width
        self.separable = across > 0
        self.task.border, self.task.top, self.task.left = border, top, left
        self.kind, self.outside, self.bias, self.alpha_one = kind, outside, bias, alpha_one
        if self.in_kernel <= 0 or len(taps) != self.in_kernel + across or across and self.task.width != 1 or (
                kind == "i8" and alpha_one != 0):
            raise ValueError("the kernel is empty, does not fit its shape or taps across, or is exact with alpha")
        self.taps = malloc((self.in_kernel + across) * sizeof(wide))
        if self.taps == NULL:
            raise MemoryError()
        if kind == "i8":
            wholes = taps
            for i in range(wholes.shape[0]):
                (<wide *>self.taps)[i] = wholes[i]
        else:
            reals = taps
            for i in range(reals.shape[0]):
                if kind == "f4":
                    (<float *>self.taps)[i] = <float>reals[i]
                else:
                    (<double *>self.taps)[i] = reals[i]
        if self.separable:
            self.task.width = across

    def __dealloc__(self):
        free(self.taps)

    def slab(self, source, out, planes, Py_ssize_t begin, Py_ssize_t end):
        """Rows [begin, end) of `out`; returns how many values were saturated.

        source, out: rows x columns (x channels) of any real type but float16, source not empty, out C-contiguous.
        planes: None for a kernel of one plane, or for each of its planes the offset in bytes from `source` to the plane
        under it, OUTSIDE_PLANE for one beyond the image.
        """
        if self.kind == "f4":
            return correlate_slab(self, <float *>self.taps, source, out, planes, begin, end, <float_vector *>NULL)
        if self.kind == "f8":
            return correlate_slab(self, <double *>self.taps, source, out, planes, begin, end, <double_vector *>NULL)
        return correlate_slab(self, <wide *>self.taps, source, out, planes, begin, end, <wide_vector *>NULL)


cdef real sum_of_ones(const real *taps, Py_ssize_t count, const real *across, Py_ssize_t width) noexcept nogil:
    """What the kernel makes of a source of ones, rounded as the kernel itself rounds it."""
    cdef real total = 0, one = 1
    cdef Py_ssize_t i
    if across != NULL:
        one = across[0]
        for i in range(1, width):
            one += across[i]
    for i in range(count):
        total += taps[i] * one
    return total


cdef correlate_slab(Correlation self, const real *taps, source, out, planes, Py_ssize_t begin, Py_ssize_t end,
                    const vector *_):
    """Take the two arrays apart and correlate without the GIL."""
    cdef Task task = self.task
    cdef const real *across = taps + self.in_kernel if self.separable else NULL
    cdef Py_buffer pixels, result
    cdef Source plane
    cdef Store store
    cdef bint same_type, in_place
    cdef Py_ssize_t channel, here = 0, saturated
    cdef const Py_ssize_t[::1] offsets
    cdef const Py_ssize_t *places = &here
    cdef real *outside
    cdef real bias
    if planes is not None:
        offsets = planes
        places = &offsets[0]
    if task.depth != (1 if planes is None else offsets.shape[0]):
        raise ValueError("one offset per plane of the kernel is needed")
    open_images(source, out, &pixels, &result, &plane)
    try:
        if not 0 <= begin <= end <= result.shape[0]:
            raise ValueError("out has no such rows")
        task.begin, task.end, task.columns, task.pitch = begin, end, result.shape[1], result.shape[1]
        plane.load = choose_load(&pixels, taps)
        store = choose_store(&result, taps)
        same_type = (real is float and pixels.format[0] == c"f") or (real is double and pixels.format[0] == c"d")
        in_place = self.alpha_one == 0 and (
            (real is float and result.format[0] == c"f") or (real is double and result.format[0] == c"d"))
        outside = <real *>malloc(plane.channels * sizeof(real))
        if outside == NULL:
            raise MemoryError()
        try:
            for channel in range(plane.channels):
                if real is wide:
                    outside[channel] = <int64_t>self.outside
                else:
                    outside[channel] = <double>self.outside
            if self.alpha_one != 0:
                outside[plane.channels - 1] = <real>self.alpha_one
            if real is wide:
                bias = <real><int64_t>self.bias
            else:
                bias = <real><double>self.bias
            with nogil:
                saturated = correlate_panels(&plane, task, places, taps, across, outside, bias,
                                             <real>self.alpha_one,
                                             sum_of_ones(taps, self.in_kernel, across, task.width),
                                             <char *>result.buf, result.itemsize, same_type, in_place, store, _)
            return saturated
        finally:
            free(outside)
    finally:
        close_images(&pixels, &result)


def border_table(int border, Py_ssize_t length, Py_ssize_t before, Py_ssize_t[:, ::1] table):
    """For each place of an axis the indices under a kernel as long as a row of `table`, -1 for the constant.

    length: of the source; before: how far the kernel reaches before its place.
    """
    cdef Py_ssize_t i, j
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            table[i, j] = border_index(i + j - before, length, border)
