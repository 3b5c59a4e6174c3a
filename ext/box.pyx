"""Box filters by sums that take about the same time for any size.

Across, windows are put together from sums of 1, 2, 4, ... neighbours. Down, there are two ways, neither of which lets
anything drift or depend on where a slab begins. Whole numbers of 8 and 16 bits run: a sum for every column takes in
the row that enters the window and gives up the one that leaves it, exactly. Floating point sums only add, so that NaN
goes no further than the box: rows are cut into blocks as high as the box, and a window is the rest of one block, summed
upwards from its end, and the beginning of the next, summed downwards (van Herk 1992, Gil & Werman 1993, with sums
instead of maxima).
"""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from border cimport border_index
from pixels cimport (Source, Store, choose_load, choose_store, close_images, larger, load_segment, open_images,
                     premultiply, smaller, unpremultiply)

cdef extern from "simd.h" nogil:
    enum: VECTOR_BYTES
    ctypedef float float_vector
    ctypedef double double_vector
    ctypedef unsigned short word16_vector
    ctypedef unsigned int word32_vector

cdef extern from "means.h" nogil:
    void means_16_float_to_8(const word16_vector *, Py_ssize_t, bint, double, uint8_t *)
    void means_16_float_to_16(const word16_vector *, Py_ssize_t, bint, double, uint16_t *)
    void means_32_float_to_8(const word32_vector *, Py_ssize_t, bint, double, uint8_t *)
    void means_32_float_to_16(const word32_vector *, Py_ssize_t, bint, double, uint16_t *)
    void means_32_double_to_8(const word32_vector *, Py_ssize_t, bint, double, uint8_t *)
    void means_32_double_to_16(const word32_vector *, Py_ssize_t, bint, double, uint16_t *)
    void run_across(const uint32_t *line, Py_ssize_t width, Py_ssize_t step, Py_ssize_t count, word32_vector *goal)

cdef enum:
    PANEL_BYTES = 1 << 19
    RUNNING_WIDTH = 5  # from here on sums that run across are faster than those put together

ctypedef fused real:
    float
    double

ctypedef fused whole:
    uint8_t
    int8_t
    uint16_t
    int16_t

# Sums of whole numbers count modulo 2^16 or 2^32: what is left of them in the end fits, with a sign or without.
ctypedef fused word:
    uint16_t
    uint32_t

ctypedef fused vector:
    float_vector
    double_vector

ctypedef fused lanes:
    float_vector
    double_vector
    word16_vector
    word32_vector

cdef struct Task:
    int border
    Py_ssize_t begin, end, first, columns, pitch  # of the output: rows and columns to work on, and all of a row
    Py_ssize_t top, left  # how far the box reaches up and left of an output pixel's place in the source
    Py_ssize_t height, width  # of the box

ctypedef void (*Slide)(const Source *, const char *, const char *, void *) noexcept nogil


cdef inline void add(lanes *goal, const lanes *one, const lanes *other, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        goal[i] = one[i] + other[i]


cdef void sum_across(const lanes *line, lanes *spare, Py_ssize_t width, Py_ssize_t step, Py_ssize_t count,
                     lanes *goal) noexcept nogil:
    """Sums of `width` values `step` bytes apart, as `count` vectors; `line` and `spare` go on for as long."""
    cdef Py_ssize_t power = 1, done = 0, i
    cdef const lanes *part = line  # sums of `power` neighbours
    cdef const lanes *second = <const lanes *>(<const char *>line + step)
    cdef const lanes *third = <const lanes *>(<const char *>second + step)
    if width == 3:
        for i in range(count):
            goal[i] = line[i] + (second[i] + third[i])
        return
    while True:
        if width & power:
            if done > 0:
                add(goal, line if done == 1 else goal, <const lanes *>(<const char *>part + done * step), count)
            elif power > 1 or width == 1:
                for i in range(count):
                    goal[i] = part[i]
            done += power
        if done == width:
            return
        # Now the sums of twice as many; those that are still needed end with the line.
        add(spare, part, <const lanes *>(<const char *>part + power * step),
            count + ((width - 2 * power if width > 2 * power else 0) * step + VECTOR_BYTES - 1) // VECTOR_BYTES)
        part = spare
        power *= 2


cdef Py_ssize_t box(const Source *source, const Task *task, const real *outside, real weight, real bias, real alpha_one,
                    char *out, Py_ssize_t itemsize, Store store, const vector *_) except -1 nogil:
    """Rows [begin, end) of `columns` columns of the output; returns how many values were saturated."""
    cdef Py_ssize_t at_once = VECTOR_BYTES // sizeof(real), channels = source.channels, height = task.height
    cdef Py_ssize_t row_values = task.columns * channels, count = (row_values + at_once - 1) // at_once
    cdef Py_ssize_t pitch = count * at_once, reach = task.columns + task.width - 1
    cdef Py_ssize_t line_values = pitch + task.width * channels + 2 * at_once
    cdef real *memory = <real *>calloc((2 * height + 2) * pitch + 2 * line_values, sizeof(real))
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
                sum_across(<const vector *>line, <vector *>(line + line_values), task.width,
                           channels * sizeof(real), count, sums)
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


cdef void slide(const Source *source, const char *fresh, const char *stale, word *sums, whole _) noexcept nogil:
    """Add the row `fresh` to the sums and take `stale` off, each unless it is NULL."""
    cdef Py_ssize_t values = source.width * source.channels, i
    if source.channel_stride != sizeof(whole) or source.pixel_stride != source.channels * sizeof(whole):
        if fresh != NULL:
            gather(source, fresh, <word>1, sums, _)
        if stale != NULL:
            gather(source, stale, <word>-1, sums, _)
    elif fresh != NULL and stale != NULL:
        for i in range(values):
            sums[i] += <word>((<const whole *>fresh)[i] - (<const whole *>stale)[i])
    elif fresh != NULL:
        for i in range(values):
            sums[i] += <word>(<const whole *>fresh)[i]
    elif stale != NULL:
        for i in range(values):
            sums[i] -= <word>(<const whole *>stale)[i]


cdef void gather(const Source *source, const char *row, word sign, word *sums, whole _) noexcept nogil:
    """Add a row of any strides."""
    cdef Py_ssize_t x, c
    for x in range(source.width):
        for c in range(source.channels):
            sums[x * source.channels + c] += sign * <word>(
                <const whole *>(row + x * source.pixel_stride + c * source.channel_stride))[0]


cdef void weighed(const word *sums, Py_ssize_t count, bint negative, real weight, real bias,
                  real *result) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        if word is uint32_t and (negative or real is float):  # below 2^24 a sign does no harm, and is faster
            result[i] = <real><int32_t>sums[i] * weight
        elif negative:
            result[i] = <real><int16_t>sums[i] * weight
        else:
            result[i] = <real>sums[i] * weight
    if bias != 0:
        for i in range(count):
            result[i] += bias


cdef void store_means(const word *sums, Py_ssize_t values, bint negative, bint single, double weight, char *out,
                      Py_ssize_t itemsize) noexcept nogil:
    """Round to numbers of one or two bytes that hold every result."""
    if word is uint16_t:
        if itemsize == 1:
            means_16_float_to_8(<const word16_vector *>sums, values, negative, weight, <uint8_t *>out)
        else:
            means_16_float_to_16(<const word16_vector *>sums, values, negative, weight, <uint16_t *>out)
    elif single:
        if itemsize == 1:
            means_32_float_to_8(<const word32_vector *>sums, values, negative, weight, <uint8_t *>out)
        else:
            means_32_float_to_16(<const word32_vector *>sums, values, negative, weight, <uint16_t *>out)
    elif itemsize == 1:
        means_32_double_to_8(<const word32_vector *>sums, values, negative, weight, <uint8_t *>out)
    else:
        means_32_double_to_16(<const word32_vector *>sums, values, negative, weight, <uint16_t *>out)


cdef Py_ssize_t box_of_whole(const Source *source, const Task *task, int outside, Slide slide, bint negative,
                             bint single, bint fits, double weight, double bias, char *out, Py_ssize_t itemsize,
                             Store store, word unit) except -1 nogil:
    """Rows [begin, end) of the output; returns how many values were saturated.

    `negative`: sums have a sign. `fits`: every result lies in the range of `out`, of 8 or 16 bits, and there is no
    bias. `single`: float32 is precise enough for the product.
    """
    cdef Py_ssize_t at_once = VECTOR_BYTES // sizeof(word), channels = source.channels, height = task.height
    cdef Py_ssize_t row_values = task.pitch * channels, count = (row_values + at_once - 1) // at_once
    # The sums of all columns of the source with those in reach beyond it on both sides.
    cdef Py_ssize_t before = larger(task.left, 0)
    cdef Py_ssize_t beyond = larger(task.pitch + task.width - 1 - task.left - source.width, 0), outer = before + beyond
    cdef Py_ssize_t reach = (before + source.width + beyond) * channels
    cdef Py_ssize_t line_values = reach + count * at_once + task.width * channels + 2 * at_once
    cdef Py_ssize_t line_bytes = (line_values * <Py_ssize_t>sizeof(word) + 63) // 64 * 64
    cdef char *memory = <char *>calloc(3 * line_bytes + row_values * sizeof(double) + outer * sizeof(Py_ssize_t), 1)
    cdef word *line = <word *>memory
    cdef word *sums = line + before * channels
    cdef word *total = <word *>(memory + 2 * line_bytes)
    cdef void *result = memory + 3 * line_bytes
    cdef Py_ssize_t *twins = <Py_ssize_t *>(memory + 3 * line_bytes + row_values * sizeof(double))
    cdef Py_ssize_t y, i, c, at, last, saturated = 0
    cdef bint moves
    cdef word off
    if memory == NULL:
        raise MemoryError()
    for i in range(outer):
        twins[i] = border_index(i - before if i < before else source.width + i - before, source.width, task.border)
    for y in range(task.begin - height + 1, task.end):
        # The row of the source that enters the windows of row y, and the one that leaves them: the first are filled.
        moves = y > task.begin
        at = border_index(y - task.top + height - 1, source.height, task.border)
        last = border_index(y - 1 - task.top, source.height, task.border) if moves else -1
        slide(source, source.data + at * source.row_stride if at >= 0 else NULL,
              source.data + last * source.row_stride if last >= 0 else NULL, sums)
        off = <word>((outside if at < 0 else 0) - (outside if moves and last < 0 else 0))
        if off != 0:
            for i in range(source.width * channels):
                sums[i] += off
        if y < task.begin:
            continue
        for i in range(outer):
            at = (i if i < before else source.width + i) * channels
            for c in range(channels):
                line[at + c] = sums[twins[i] * channels + c] if twins[i] >= 0 else <word>(outside * height)
        if word is uint16_t:
            sum_across(<const word16_vector *>(sums - task.left * channels), <word16_vector *>(memory + line_bytes),
                       task.width, channels * sizeof(word), count, <word16_vector *>total)
        elif task.width > RUNNING_WIDTH and channels <= at_once:
            run_across(<uint32_t *>sums - task.left * channels, task.width, channels, count, <word32_vector *>total)
        else:
            sum_across(<const word32_vector *>(sums - task.left * channels), <word32_vector *>(memory + line_bytes),
                       task.width, channels * sizeof(word), count, <word32_vector *>total)
        if fits:
            store_means(total, row_values, negative, single, weight, out + y * row_values * itemsize, itemsize)
        else:
            if single:
                weighed(total, row_values, negative, <float>weight, <float>bias, <float *>result)
            else:
                weighed(total, row_values, negative, weight, bias, <double *>result)
            saturated += store(result, row_values, out + y * row_values * itemsize, 1)
    free(memory)
    return saturated


cdef Slide choose_slide(const Py_buffer *view, word _) except NULL:
    kind = chr(view.format[0])
    if kind in "?B":
        return <Slide>slide[word, uint8_t]
    if kind == "b":
        return <Slide>slide[word, int8_t]
    if kind == "H" and word is uint32_t:
        return <Slide>slide[word, uint16_t]
    if kind == "h" and word is uint32_t:
        return <Slide>slide[word, int16_t]
    raise TypeError(f"no sums of this size are made of {kind!r}")


cdef class Box:
    """A box filter made ready: sums of height x width pixels, times `weight`, plus `bias`.

    single: weigh, and without `word` sum, in float32, else in float64. word: 0, or the bytes of whole numbers modulo
    which the sums are right: 2 for images of 8 bits, 4 for those of 8 or 16 bits; `outside` is a value of the image
    then, and there is no alpha. fits: every result lies in the range of `out`, an integer type of 8 or 16 bits, and
    there is no bias; `single` needs results up to 256 and boxes of at most 4096 pixels then. The other arguments are
    those of `Correlation`.
    """

    cdef Task task
    cdef bint single, fits
    cdef int word
    cdef double weight, outside, bias, alpha_one

    def __cinit__(self, Py_ssize_t height, Py_ssize_t width, double weight, bint single, int border, double outside,
                  double bias, double alpha_one, Py_ssize_t top, Py_ssize_t left, int word=0, bint fits=False):
        if height < 1 or width < 1:
            raise ValueError("a box has at least one row and one column")
        if word not in (0, 2, 4) or word != 0 and alpha_one != 0 or fits and (word == 0 or bias != 0):
            raise ValueError("sums of whole numbers have 2 or 4 bytes and no alpha, and what fits has no bias")
        self.task.height, self.task.width, self.task.border = height, width, border
        self.task.top, self.task.left = top, left
        self.single, self.weight, self.outside, self.bias, self.alpha_one = single, weight, outside, bias, alpha_one
        self.word, self.fits = word, fits

    def slab(self, source, out, planes, Py_ssize_t begin, Py_ssize_t end):
        """Rows [begin, end) of `out`; returns how many values were saturated. As `Correlation.slab` for one plane."""
        if planes is not None:
            raise ValueError("a box has one plane")
        if self.single:
            return box_slab(self, source, out, begin, end, <float>0, <float_vector *>NULL)
        return box_slab(self, source, out, begin, end, <double>0, <double_vector *>NULL)


cdef box_slab(Box self, source, out, Py_ssize_t begin, Py_ssize_t end, real zero, const vector *_):
    """Take the two arrays apart and sum without the GIL."""
    cdef Task task = self.task
    cdef Py_buffer pixels, result
    cdef Source plane
    cdef Store store
    cdef bint negative
    open_images(source, out, &pixels, &result, &plane)
    try:
        if not 0 <= begin <= end <= result.shape[0]:
            raise ValueError("out has no such rows")
        task.begin, task.end, task.pitch = begin, end, result.shape[1]
        store = choose_store(&result, &zero)
        if self.word == 0:
            plane.load = choose_load(&pixels, &zero)
            return sum_panels(self, &plane, task, <char *>result.buf, result.itemsize, store, zero, _)
        if self.fits and result.itemsize > 2:
            raise ValueError("out is of an integer type of 8 or 16 bits where every result fits")
        negative = chr(pixels.format[0]) in "bh"
        if self.word == 2:
            return sum_whole(self, &plane, &task, &pixels, negative, &result, store, <uint16_t>0)
        return sum_whole(self, &plane, &task, &pixels, negative, &result, store, <uint32_t>0)
    finally:
        close_images(&pixels, &result)


cdef sum_whole(Box self, const Source *plane, const Task *task, const Py_buffer *pixels, bint negative,
               const Py_buffer *result, Store store, word zero):
    cdef Slide slide = choose_slide(pixels, zero)
    cdef Py_ssize_t saturated
    with nogil:
        saturated = box_of_whole(plane, task, <int>self.outside, slide, negative, self.single, self.fits, self.weight,
                                 self.bias, <char *>result.buf, result.itemsize, store, zero)
    return saturated


cdef sum_panels(Box self, const Source *plane, Task task, char *out, Py_ssize_t itemsize, Store store, real zero,
                const vector *_):
    """All columns, as many at once as leave two blocks of rows in the second-level cache."""
    cdef Py_ssize_t columns, channel, saturated = 0
    cdef real *outside = <real *>calloc(plane.channels + 1, sizeof(real))
    if outside == NULL:
        raise MemoryError()
    try:
        for channel in range(plane.channels):
            outside[channel] = <real>self.outside
        if self.alpha_one != 0:
            outside[plane.channels - 1] = <real>self.alpha_one
        columns = larger(PANEL_BYTES // (2 * task.height * plane.channels * <Py_ssize_t>sizeof(real)), 256)
        with nogil:
            task.first = 0
            while task.first < task.pitch:
                task.columns = smaller(columns, task.pitch - task.first)
                saturated += box(plane, &task, outside, <real>self.weight, <real>self.bias, <real>self.alpha_one, out,
                                 itemsize, store, _)
                task.first += task.columns
        return saturated
    finally:
        free(outside)
