"""Correlation of a row slab with a small kernel, directly.

Input rows are converted to the accumulator's type one at a time into a ring of padded rows, where the border is
written out; blocks of BLOCK_ROWS rows x COLUMNS vectors of the output stay in registers while every loaded vector feeds
all their rows. Nothing but the ring is ever copied, every source type and stride goes through the same loops, and every
output value is summed in one order (kernel rows, then columns), whatever the slab, the block or the thread.
"""

from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_GetBuffer)
from libc.math cimport rint, rintf
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from border cimport border_index

cdef extern from *:
    const Py_ssize_t PY_SSIZE_T_MIN

cdef extern from "simd.h" nogil:
    enum: BLOCK_ROWS
    enum: VECTOR_BYTES
    ctypedef float float_vector
    ctypedef double double_vector
    ctypedef long long wide
    ctypedef long long wide_vector

cdef enum:
    COLUMNS = 4  # vectors side by side in a block

cdef Py_ssize_t OUTSIDE = PY_SSIZE_T_MIN
OUTSIDE_PLANE = OUTSIDE

ctypedef fused real:
    float
    double
    wide

ctypedef fused vector:
    float_vector
    double_vector
    wide_vector

ctypedef fused element:
    uint8_t
    int8_t
    uint16_t
    int16_t
    uint32_t
    int32_t
    uint64_t
    int64_t
    float
    double

ctypedef void (*Load)(const char *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, void *) noexcept nogil
ctypedef Py_ssize_t (*Store)(const void *, Py_ssize_t, void *) noexcept nogil

cdef struct Source:
    const char *data
    Py_ssize_t height, width, channels
    Py_ssize_t row_stride, pixel_stride, channel_stride
    Load load

cdef struct Task:
    int border
    Py_ssize_t begin, end
    Py_ssize_t depth, height, width  # of the kernel


cdef void load_row(const element *source, Py_ssize_t width, Py_ssize_t channels, Py_ssize_t pixel_stride,
                   Py_ssize_t channel_stride, real *row) noexcept nogil:
    """Convert one row of `width` pixels of `channels` values, strides in bytes."""
    cdef Py_ssize_t x, c
    if channel_stride == sizeof(element) and pixel_stride == channels * channel_stride:
        for x in range(width * channels):
            row[x] = <real>source[x]
    else:
        for x in range(width):
            for c in range(channels):
                row[x * channels + c] = <real>(
                    <const element *>(<const char *>source + x * pixel_stride + c * channel_stride))[0]


cdef Py_ssize_t store_row(const real *values, Py_ssize_t count, element *out) noexcept nogil:
    """Round half to even and saturate into an integer type, NaN as 0; returns how many values were saturated."""
    cdef Py_ssize_t i, saturated = 0
    cdef real v, low, high
    if element is float or element is double:
        for i in range(count):
            out[i] = <element>values[i]
        return 0
    else:
        if element is uint8_t or element is uint16_t or element is uint32_t or element is uint64_t:
            low = 0
            high = <real>(<element>-1)
        else:
            high = <real>((<uint64_t>1 << (8 * sizeof(element) - 1)) - 1)
            low = -high - 1
        if real is wide:
            for i in range(count):
                v = values[i]
                saturated += v < low or v > high
                out[i] = <element>(low if v < low else high if v > high else v)
        elif element is uint64_t or element is int64_t:
            # `high` is no floating point number here but was rounded up, to one that no longer fits.
            for i in range(count):
                v = rint(values[i])
                saturated += v < low or v >= high
                if v >= high:
                    out[i] = <element>-1 if element is uint64_t else <element>0x7FFFFFFFFFFFFFFF
                elif v < low:
                    out[i] = <element>low
                else:
                    out[i] = <element>v if v == v else 0
        else:
            for i in range(count):
                v = rintf(values[i]) if real is float else rint(values[i])
                saturated += (v < low) | (v > high)
                v = v if v == v else 0
                v = v if v > low else low
                v = v if v < high else high
                out[i] = <element>v
        return saturated


cdef void fill_row(const Source *source, Py_ssize_t y, int border, const real *outside, const Py_ssize_t *edge,
                   Py_ssize_t left, Py_ssize_t right, real alpha_one, real *row) noexcept nogil:
    """Row `y` of the source, which may lie outside of it, with `left` and `right` border pixels written out.

    `edge` holds the columns that stand for these pixels, -1 for `outside`. Where `alpha_one` is not 0 the last channel
    is alpha, of which that value is opaque: colours are multiplied by it and it is scaled to 1.
    """
    cdef Py_ssize_t channels = source.channels, width = source.width
    cdef Py_ssize_t x, c
    cdef real *pixels = row + left * channels
    cdef real *goal
    y = border_index(y, source.height, border)
    if y < 0:
        for x in range(left + width + right):
            for c in range(channels):
                row[x * channels + c] = outside[c]
        return
    source.load(source.data + y * source.row_stride, width, channels, source.pixel_stride, source.channel_stride,
                pixels)
    if alpha_one != 0:
        for x in range(width):
            goal = pixels + x * channels
            goal[channels - 1] /= alpha_one
            for c in range(channels - 1):
                goal[c] *= goal[channels - 1]
    for x in range(left + right):
        goal = row + (x if x < left else x + width) * channels
        for c in range(channels):
            goal[c] = outside[c] if edge[x] < 0 else pixels[edge[x] * channels + c]


cdef void unpremultiply(real *values, Py_ssize_t count, Py_ssize_t channels, real alpha_one,
                        real kernel_sum) noexcept nogil:
    """Divide colours by the share of opaque weight, which is exactly 1 where all alpha under the kernel is opaque."""
    cdef Py_ssize_t c
    cdef real share
    for _ in range(count // channels):
        share = values[channels - 1] / kernel_sum
        for c in range(channels - 1):
            values[c] = values[c] / share if share > 0 else 0
        values[channels - 1] = alpha_one * (1 if share > 1 else share if share > 0 else 0)
        values += channels


cdef void block(real **rows, const real *kernel, Py_ssize_t height, Py_ssize_t width, Py_ssize_t step, Py_ssize_t x,
                const real *start, Py_ssize_t start_stride, real *out, Py_ssize_t out_stride,
                const vector *_) noexcept nogil:
    """Add the correlation of BLOCK_ROWS rows of COLUMNS vectors at `x` to `start`, giving `out`.

    `step` is the distance of neighbouring pixels in a row, in values.
    """
    cdef vector total[BLOCK_ROWS][COLUMNS]
    cdef vector v0, v1, v2, v3
    cdef const vector *line
    cdef const real *taps
    cdef Py_ssize_t ky, kx, r
    # Of the nine pairs of the two fused types only these three exist; the condition is decided when Cython translates.
    if (real is float and vector is float_vector) or (real is double and vector is double_vector) or (
            real is wide and vector is wide_vector):
        for r in range(BLOCK_ROWS):
            line = <const vector *>(start + r * start_stride)
            for kx in range(COLUMNS):
                total[r][kx] = line[kx]
        for ky in range(height + BLOCK_ROWS - 1):
            for kx in range(width):
                line = <const vector *>(rows[ky] + x + kx * step)
                v0 = line[0]
                v1 = line[1]
                v2 = line[2]
                v3 = line[3]
                taps = kernel + ky * width + kx
                for r in range(BLOCK_ROWS):
                    if r <= ky < height + r:
                        total[r][0] += taps[-r * width] * v0
                        total[r][1] += taps[-r * width] * v1
                        total[r][2] += taps[-r * width] * v2
                        total[r][3] += taps[-r * width] * v3
        for r in range(BLOCK_ROWS):
            for kx in range(COLUMNS):
                (<vector *>(out + r * out_stride))[kx] = total[r][kx]


cdef inline Py_ssize_t smaller(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef Py_ssize_t correlate(const Source *source, const Task *task, const Py_ssize_t *planes, const real *kernel,
                          const real *outside, real alpha_one, real kernel_sum, char *out, Py_ssize_t out_itemsize,
                          bint in_place, Store store, const vector *_) except -1 nogil:
    """Rows [begin, end) of the output; returns how many values were saturated.

    `planes` holds for each plane of the kernel the offset in bytes of the source plane under it, OUTSIDE for one beyond
    the image. With `in_place` the output is of the accumulator's type: full blocks are written where they belong.
    """
    cdef Py_ssize_t begin = task.begin, end = task.end, depth = task.depth, height = task.height, width = task.width
    cdef Py_ssize_t channels = source.channels, row_values = source.width * channels
    cdef Py_ssize_t lanes = 1 if real is wide else VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t tile_width = COLUMNS * lanes
    cdef Py_ssize_t padded = (row_values + tile_width - 1) // tile_width * tile_width
    cdef Py_ssize_t ring_rows = height + BLOCK_ROWS - 1, pitch = padded + (width - 1) * channels
    cdef Py_ssize_t left = width // 2, right = width - 1 - left, top = height // 2
    cdef Py_ssize_t tile_size = BLOCK_ROWS * tile_width
    # A kernel of several planes sums them in accumulators for the whole slab; one plane needs only the tile.
    cdef Py_ssize_t sums_rows = end - begin + BLOCK_ROWS if depth > 1 else 0
    cdef Py_ssize_t values = ring_rows * pitch + 2 * tile_size + sums_rows * padded
    cdef Py_ssize_t scratch = (values * sizeof(real) + 15) // 16 * 16
    cdef real *ring = <real *>calloc(
        scratch + (left + right) * sizeof(Py_ssize_t) + ring_rows * sizeof(real *), 1)
    cdef real *zeros
    cdef real *tile
    cdef real *sums
    cdef real *goal
    cdef const real *start
    cdef real **rows
    cdef Py_ssize_t *edge
    cdef Source plane
    cdef Py_ssize_t t, group, strip, x, y, r, count, loaded, start_stride, goal_stride, saturated = 0
    if ring == NULL:
        raise MemoryError()
    zeros = ring + ring_rows * pitch
    tile = zeros + tile_size
    sums = tile + tile_size
    edge = <Py_ssize_t *>(<char *>ring + scratch)
    rows = <real **>(edge + left + right)
    for x in range(left):
        edge[x] = border_index(x - left, source.width, task.border)
    for x in range(right):
        edge[left + x] = border_index(source.width + x, source.width, task.border)
    plane = source[0]
    for t in range(depth):
        if planes[t] == OUTSIDE:
            plane.height = 0
        else:
            plane.height, plane.data = source.height, source.data + planes[t]
        loaded = begin
        for group in range((end - begin + BLOCK_ROWS - 1) // BLOCK_ROWS):
            y = begin + group * BLOCK_ROWS
            while loaded < smaller(y + ring_rows, end + height - 1):
                fill_row(&plane, loaded - top, task.border, outside, edge, left, right, alpha_one,
                         ring + (loaded - begin) % ring_rows * pitch)
                loaded += 1
            for r in range(ring_rows):
                rows[r] = ring + (y - begin + r) % ring_rows * pitch
            for strip in range(padded // tile_width):
                x = strip * tile_width
                start, start_stride = zeros, tile_width
                goal, goal_stride = tile, tile_width
                if t > 0:
                    start, start_stride = sums + (y - begin) * padded + x, padded
                if t < depth - 1:
                    goal, goal_stride = sums + (y - begin) * padded + x, padded
                elif in_place and x + tile_width <= row_values and y + BLOCK_ROWS <= end:
                    goal, goal_stride = <real *>out + y * row_values + x, row_values
                block(rows, kernel + t * height * width, height, width, channels, x, start, start_stride,
                      goal, goal_stride, _)
                if goal == tile:
                    count = smaller(tile_width, row_values - x)
                    for r in range(smaller(BLOCK_ROWS, end - y)):
                        if alpha_one != 0:
                            unpremultiply(tile + r * tile_width, count, channels, alpha_one, kernel_sum)
                        saturated += store(tile + r * tile_width, count,
                                           out + ((y + r) * row_values + x) * out_itemsize)
    free(ring)
    return saturated


cdef Load choose_load(const Py_buffer *view, const real *_) except NULL:
    cdef Py_ssize_t size = view.itemsize
    kind = chr(view.format[0])
    if kind == "f":
        return <Load>load_row[float, real]
    if kind == "d":
        return <Load>load_row[double, real]
    if kind in "?BHILQ":
        return (<Load>load_row[uint8_t, real] if size == 1 else <Load>load_row[uint16_t, real] if size == 2
                else <Load>load_row[uint32_t, real] if size == 4 else <Load>load_row[uint64_t, real])
    if kind in "bhilq":
        return (<Load>load_row[int8_t, real] if size == 1 else <Load>load_row[int16_t, real] if size == 2
                else <Load>load_row[int32_t, real] if size == 4 else <Load>load_row[int64_t, real])
    raise TypeError(f"no kernel reads {kind!r}")


cdef Store choose_store(const Py_buffer *view, const real *_) except NULL:
    cdef Py_ssize_t size = view.itemsize
    kind = chr(view.format[0])
    if kind == "f":
        return <Store>store_row[real, float]
    if kind == "d":
        return <Store>store_row[real, double]
    if kind in "BHILQ":
        return (<Store>store_row[real, uint8_t] if size == 1 else <Store>store_row[real, uint16_t] if size == 2
                else <Store>store_row[real, uint32_t] if size == 4 else <Store>store_row[real, uint64_t])
    if kind in "bhilq":
        return (<Store>store_row[real, int8_t] if size == 1 else <Store>store_row[real, int16_t] if size == 2
                else <Store>store_row[real, int32_t] if size == 4 else <Store>store_row[real, int64_t])
    raise TypeError(f"no kernel writes {kind!r}")


cdef Py_ssize_t run(object source, object out, const Task *task, const Py_ssize_t *planes, const real *kernel,
                    const real *outside, Py_ssize_t channels, real alpha_one, real kernel_sum,
                    const vector *_) except -1:
    """Take the two arrays apart and correlate without the GIL."""
    cdef Py_buffer pixels, result
    cdef Source plane
    cdef Store store
    cdef bint in_place
    cdef Py_ssize_t saturated
    PyObject_GetBuffer(source, &pixels, PyBUF_FORMAT | PyBUF_STRIDES)
    try:
        PyObject_GetBuffer(out, &result, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            if pixels.ndim != 3 or result.ndim != 3 or not 0 <= task.begin <= task.end <= pixels.shape[0]:
                raise ValueError("source and out must be rows x columns x channels, and hold the rows asked for")
            for axis in range(3):
                if pixels.shape[axis] != result.shape[axis]:
                    raise ValueError("source and out must have one shape")
            if channels != pixels.shape[2]:
                raise ValueError("one border value per channel is needed")
            plane.data = <const char *>pixels.buf
            plane.height, plane.width, plane.channels = pixels.shape[0], pixels.shape[1], pixels.shape[2]
            plane.row_stride, plane.pixel_stride = pixels.strides[0], pixels.strides[1]
            plane.channel_stride = pixels.strides[2]
            plane.load = choose_load(&pixels, outside)
            store = choose_store(&result, outside)
            in_place = alpha_one == 0 and (
                (real is float and result.format[0] == c"f") or (real is double and result.format[0] == c"d"))
            with nogil:
                saturated = correlate(&plane, task, planes, kernel, outside, alpha_one, kernel_sum,
                                      <char *>result.buf, result.itemsize, in_place, store, _)
            return saturated
        finally:
            PyBuffer_Release(&result)
    finally:
        PyBuffer_Release(&pixels)


cdef Task task_of(int border, Py_ssize_t begin, Py_ssize_t end, Py_ssize_t depth, Py_ssize_t height, Py_ssize_t width,
                  Py_ssize_t planes) except *:
    if depth != planes:
        raise ValueError("one offset per plane of the kernel is needed")
    return Task(border=border, begin=begin, end=end, depth=depth, height=height, width=width)


def correlate_slab_f32(source, out, const Py_ssize_t[::1] planes, const float[:, :, ::1] kernel, int border,
                       const float[::1] outside, float alpha_one, float kernel_sum, Py_ssize_t begin, Py_ssize_t end):
    """Rows [begin, end) of `out`, summed in float32; returns how many values were saturated.

    source, out: rows x columns x channels of any real type (no float16), not empty, out C-contiguous. planes: for each
    plane of `kernel` (planes x rows x columns) the offset in bytes from `source` to the plane under it, OUTSIDE_PLANE
    for one outside of the image. border: `border.Border`. outside: per channel the value of the constant border.
    alpha_one: the value of opaque alpha in the last channel, 0 for no alpha; kernel_sum: the sum of the kernel in this
    type and in its order.
    """
    cdef Task task = task_of(border, begin, end, kernel.shape[0], kernel.shape[1], kernel.shape[2], planes.shape[0])
    return run(source, out, &task, &planes[0], &kernel[0, 0, 0], &outside[0], outside.shape[0], alpha_one, kernel_sum,
               <float_vector *>NULL)


def correlate_slab_f64(source, out, const Py_ssize_t[::1] planes, const double[:, :, ::1] kernel, int border,
                       const double[::1] outside, double alpha_one, double kernel_sum, Py_ssize_t begin,
                       Py_ssize_t end):
    """As correlate_slab_f32, summed in float64."""
    cdef Task task = task_of(border, begin, end, kernel.shape[0], kernel.shape[1], kernel.shape[2], planes.shape[0])
    return run(source, out, &task, &planes[0], &kernel[0, 0, 0], &outside[0], outside.shape[0], alpha_one, kernel_sum,
               <double_vector *>NULL)


def correlate_slab_exact(source, out, const Py_ssize_t[::1] planes, const int64_t[:, :, ::1] kernel, int border,
                         int64_t outside, Py_ssize_t begin, Py_ssize_t end):
    """As correlate_slab_f32 for integer types, summed exactly in 128 bits: sum|kernel| must be below 2**63."""
    cdef Task task = task_of(border, begin, end, kernel.shape[0], kernel.shape[1], kernel.shape[2], planes.shape[0])
    cdef Py_ssize_t i, taps = task.depth * task.height * task.width, channels = source.shape[2]
    cdef const int64_t *values = &kernel[0, 0, 0]
    cdef wide *numbers = <wide *>malloc((taps + channels) * sizeof(wide))
    if numbers == NULL:
        raise MemoryError()
    try:
        for i in range(taps):
            numbers[i] = values[i]
        for i in range(channels):
            numbers[taps + i] = outside
        return run(source, out, &task, &planes[0], numbers, numbers + taps, channels, <wide>0, <wide>0,
                   <wide_vector *>NULL)
    finally:
        free(numbers)


def border_table(int border, Py_ssize_t length, Py_ssize_t[:, ::1] table):
    """For each index of an axis the indices under a kernel as long as `table` is wide, -1 for the constant."""
    cdef Py_ssize_t i, j
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            table[i, j] = border_index(i + j - table.shape[1] // 2, length, border)
