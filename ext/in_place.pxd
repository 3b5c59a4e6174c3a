"""Correlation of an image of the accumulator's type into one of the same type: nothing is copied."""

from libc.stdlib cimport free, malloc

from block cimport BLOCK_ROWS, COLUMNS, VECTOR_BYTES, block, double_vector, float_vector, vector
from border cimport CONSTANT, border_index
from pixels cimport Source, larger, real, smaller, wide


cdef struct Task:
    int border
    Py_ssize_t begin, end  # rows of the output
    Py_ssize_t top, left  # how far the kernel reaches up and left of an output pixel's place in the source
    Py_ssize_t first, columns, pitch  # of the output: those to work on, and all of a row
    Py_ssize_t depth, height, width  # of the kernel


cdef struct Edge:
    Py_ssize_t begin, end  # columns of the output
    Py_ssize_t reach  # of the source under them
    Py_ssize_t *places  # their columns in the source, -1 for beyond it


cdef inline void edge_rows(const real **lines, const Edge *edge, Py_ssize_t channels, Py_ssize_t rows,
                           const real *kernel, Py_ssize_t height, Py_ssize_t width, const real *outside, real bias,
                           real *strip, real *out, Py_ssize_t out_stride, const vector *_) noexcept nogil:
    """The columns of an edge, for at most COLUMNS vectors of rows, summed like `block`, value for value.

    lines: rows + height - 1 rows of the source. They are transposed into `strip`, where vectors run down the columns
    and a border is a matter of looking up places; it holds COLUMNS vectors + height - 1 values for each column and
    channel in reach, and COLUMNS vectors more. out: the first of the rows.
    """
    cdef Py_ssize_t span = COLUMNS * (VECTOR_BYTES // sizeof(real)), pitch = span + height - 1, y, x, j, c, ky, kx
    cdef const vector *column
    cdef real *goal = strip
    cdef vector t0, t1, t2, t3
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for j in range(edge.reach):
            for c in range(channels):
                if edge.places[j] < 0:
                    for y in range(rows + height - 1):
                        goal[y] = outside[c]
                else:
                    x = edge.places[j] * channels + c
                    for y in range(rows + height - 1):
                        goal[y] = lines[y][x]
                goal += pitch
        for x in range((edge.end - edge.begin) * channels):
            for y in range(span):
                goal[y] = bias
            t0, t1, t2, t3 = (<vector *>goal)[0], (<vector *>goal)[1], (<vector *>goal)[2], (<vector *>goal)[3]
            for ky in range(height):
                for kx in range(width):
                    column = <const vector *>(strip + (x + kx * channels) * pitch + ky)
                    t0 += kernel[ky * width + kx] * column[0]
                    t1 += kernel[ky * width + kx] * column[1]
                    t2 += kernel[ky * width + kx] * column[2]
                    t3 += kernel[ky * width + kx] * column[3]
            (<vector *>goal)[0], (<vector *>goal)[1], (<vector *>goal)[2], (<vector *>goal)[3] = t0, t1, t2, t3
            for y in range(rows):
                out[y * out_stride + edge.begin * channels + x] = goal[y]


cdef inline void edge_block(const real **lines, const Edge *edge, Py_ssize_t channels, const real *kernel,
                            Py_ssize_t height, Py_ssize_t width, const real *outside, real bias, real *out,
                            Py_ssize_t out_stride) noexcept nogil:
    """As `edge_rows` for BLOCK_ROWS rows, value for value: faster for small kernels while the rows are in cache."""
    cdef Py_ssize_t x, c, ky, kx, r, place
    cdef real[BLOCK_ROWS] totals
    cdef real tap
    for x in range(edge.end - edge.begin):
        for c in range(channels):
            for r in range(BLOCK_ROWS):
                totals[r] = bias
            for ky in range(height):
                for kx in range(width):
                    tap = kernel[ky * width + kx]
                    place = edge.places[x + kx]
                    if place < 0:
                        for r in range(BLOCK_ROWS):
                            totals[r] += tap * outside[c]
                    else:
                        place = place * channels + c
                        for r in range(BLOCK_ROWS):
                            totals[r] += tap * lines[r + ky][place]
            for r in range(BLOCK_ROWS):
                out[r * out_stride + (edge.begin + x) * channels + c] = totals[r]


cdef inline Py_ssize_t correlate_in_place(const Source *source, const Task *task, const real *kernel,
                                          const real *outside, real bias, real *out,
                                          const vector *_) except -1 nogil:
    """All columns where source and output are of the accumulator's type: blocks read and write both where they lie.

    The last block of a row and the last rows of a slab are moved back to end where they end: what is summed twice comes
    out the same. Columns whose reach crosses the border are `edge_rows`. The output has at least BLOCK_ROWS rows, and
    columns for a block between the edges.
    """
    cdef Py_ssize_t height = task.height, width = task.width, channels = source.channels
    cdef Py_ssize_t tile_width = COLUMNS * (1 if real is wide else VECTOR_BYTES // sizeof(real))
    cdef Py_ssize_t band = BLOCK_ROWS if height * width <= 25 else tile_width // BLOCK_ROWS * BLOCK_ROWS
    cdef Py_ssize_t row_values = task.pitch * channels
    cdef Py_ssize_t beyond = source.width * channels if task.border == CONSTANT else 0
    cdef Py_ssize_t strip_pitch = tile_width + height - 1
    cdef Py_ssize_t begin = task.begin, end, y, x, last, back, i, at
    cdef Edge[2] edges
    cdef char *memory
    cdef const real **lines
    cdef real *offsets
    cdef real *nothing
    cdef real *strip
    edges[0].begin, edges[0].end = 0, larger(task.left, 0)
    edges[1].begin, edges[1].end = smaller(task.columns, source.width - (width - 1 - task.left)), task.columns
    for i in range(2):
        edges[i].reach = edges[i].end - edges[i].begin + width - 1
    memory = <char *>malloc((band + height + edges[0].reach + edges[1].reach) * sizeof(void *) + sizeof(real) * (
        2 * tile_width + beyond + larger(edges[0].reach, edges[1].reach) * channels * strip_pitch))
    if memory == NULL:
        raise MemoryError()
    lines = <const real **>memory
    edges[0].places = <Py_ssize_t *>(lines + band + height)
    edges[1].places = edges[0].places + edges[0].reach
    offsets = <real *>(edges[1].places + edges[1].reach)
    nothing = offsets + tile_width
    strip = nothing + beyond
    for x in range(tile_width):
        offsets[x] = bias
    for x in range(beyond):
        nothing[x] = outside[x % channels]
    for i in range(2):
        for x in range(edges[i].reach):
            edges[i].places[x] = border_index(edges[i].begin - task.left + x, source.width, task.border)
    last = edges[1].begin * channels - tile_width
    while begin < task.end:
        end = smaller(begin + band, task.end)
        begin = smaller(begin, end - BLOCK_ROWS)
        for i in range(end - begin + height - 1):
            at = border_index(begin - task.top + i, source.height, task.border)
            lines[i] = nothing if at < 0 else <const real *>(source.data + at * source.row_stride)
        y = begin
        while y < end:
            y = smaller(y, end - BLOCK_ROWS)
            x = edges[0].end * channels
            # From the second block on begin at a cache line's border, unless that takes one block more.
            back = <size_t>(out + y * row_values + x) % VECTOR_BYTES // sizeof(real)
            if (last - x - 1) % tile_width + 1 + back > tile_width:
                back = 0
            while True:
                block(lines + (y - begin), kernel, height, width, channels, x - task.left * channels, offsets, 0,
                      out + y * row_values + x, row_values)
                if x >= last:
                    break
                x = smaller(x + tile_width - back, last)
                back = 0
            y += BLOCK_ROWS
        for i in range(2):
            if band == BLOCK_ROWS:
                edge_block(lines, &edges[i], channels, kernel, height, width, outside, bias,
                           out + begin * row_values, row_values)
            elif edges[i].begin < edges[i].end:
                edge_rows(lines, &edges[i], channels, end - begin, kernel, height, width, outside, bias, strip,
                          out + begin * row_values, row_values, _)
        begin = end
    free(memory)
    return 0
