"""Correlation of an image of the accumulator's type into one of the same type: nothing is copied."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from block cimport BLOCK_ROWS, COLUMNS, VECTOR_BYTES, block, double_vector, float_vector, vector
from border cimport CONSTANT, border_index
from pixels cimport Source, larger, real, smaller, wide

cdef extern from "edges.h" nogil:
    void edges_float(const float **rows, Py_ssize_t row_values, const float *kernel, Py_ssize_t height,
                     Py_ssize_t width, const void *numbers, const void *kept, const void *constant, float bias,
                     void *taken, float *out, Py_ssize_t out_values, Py_ssize_t out_stride, int left, int right)
    void edges_double(const double **rows, Py_ssize_t row_values, const double *kernel, Py_ssize_t height,
                      Py_ssize_t width, const void *numbers, const void *kept, const void *constant, double bias,
                      void *taken, double *out, Py_ssize_t out_values, Py_ssize_t out_stride, int left, int right)


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


cdef struct Lanes:  # as edges.h tells
    int left, right
    char *numbers
    char *kept
    char *constant
    char *taken


cdef inline bint in_lanes(Lanes *lanes, const Edge *edges, Py_ssize_t channels, Py_ssize_t row_values,
                          Py_ssize_t width, const real *outside, char *room) noexcept nogil:
    """Whether both edges fit the lanes of a vector, and what is under them a row's first vector and its last."""
    cdef Py_ssize_t count = VECTOR_BYTES // sizeof(real), e, x, i, c, lane, place
    cdef Py_ssize_t lefts = (edges[0].end - edges[0].begin) * channels
    cdef Py_ssize_t rights = (edges[1].end - edges[1].begin) * channels
    cdef bint constant = False
    if real is wide or row_values < count or lefts + rights > count:
        return False
    lanes.left, lanes.right = <int>lefts, <int>rights
    lanes.numbers, lanes.kept = room, room + width * VECTOR_BYTES
    lanes.constant, lanes.taken = room + 2 * width * VECTOR_BYTES, room + 3 * width * VECTOR_BYTES
    memset(lanes.numbers, 0, width * VECTOR_BYTES)
    memset(lanes.kept, 0xff, width * VECTOR_BYTES)
    memset(lanes.constant, 0, width * VECTOR_BYTES)
    for e in range(2):
        for x in range(edges[e].end - edges[e].begin):
            for i in range(width):
                for c in range(channels):
                    lane = i * count + x * channels + c + e * (count - rights)
                    place = edges[e].places[x + i] * channels + c
                    if place < 0:
                        constant = True
                        memset(lanes.kept + lane * sizeof(real), 0, sizeof(real))
                        (<real *>lanes.constant)[lane] = outside[c]
                        continue
                    if place >= count:
                        place -= row_values - 2 * count
                        if place < count:
                            return False
                    if real is float:
                        (<int32_t *>lanes.numbers)[lane] = <int32_t>place
                    else:
                        (<int64_t *>lanes.numbers)[lane] = place
    if not constant:
        lanes.kept = lanes.constant = NULL
    return True


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
    cdef Py_ssize_t tall = tile_width // BLOCK_ROWS * BLOCK_ROWS, band = tall
    cdef Py_ssize_t row_values = task.pitch * channels
    cdef Py_ssize_t beyond = source.width * channels if task.border == CONSTANT else 0
    cdef Py_ssize_t strip_pitch = tile_width + height - 1
    cdef Py_ssize_t begin = task.begin, end, y, x, last, back, i, at, room
    cdef Edge[2] edges
    cdef Lanes lanes
    cdef char *memory
    cdef char *start
    cdef const real **lines
    cdef real *offsets
    cdef real *nothing
    cdef real *strip
    edges[0].begin, edges[0].end = 0, larger(task.left, 0)
    edges[1].begin, edges[1].end = smaller(task.columns, source.width - (width - 1 - task.left)), task.columns
    for i in range(2):
        edges[i].reach = edges[i].end - edges[i].begin + width - 1
    # The edges of small kernels are summed while the rows are in cache, if they fit a vector's lanes.
    room = (3 + height + BLOCK_ROWS) * width * VECTOR_BYTES if height * width <= 25 else 0
    memory = <char *>malloc((tall + height + edges[0].reach + edges[1].reach) * sizeof(void *) + sizeof(real) * (
        2 * tile_width + beyond + larger(edges[0].reach, edges[1].reach) * channels * strip_pitch) + room + 64)
    if memory == NULL:
        raise MemoryError()
    start = memory + 64 - <size_t>memory % 64  # vectors are aligned
    lines = <const real **>(start + room)
    edges[0].places = <Py_ssize_t *>(lines + tall + height)
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
    if room and in_lanes(&lanes, edges, channels, source.width * channels, width, outside, start):
        band = BLOCK_ROWS
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
        if band == BLOCK_ROWS:
            if real is float:
                edges_float(lines, source.width * channels, kernel, height, width, lanes.numbers, lanes.kept,
                            lanes.constant, bias, lanes.taken, out + begin * row_values, task.columns * channels,
                            row_values, lanes.left, lanes.right)
            elif real is double:
                edges_double(lines, source.width * channels, kernel, height, width, lanes.numbers, lanes.kept,
                             lanes.constant, bias, lanes.taken, out + begin * row_values, task.columns * channels,
                             row_values, lanes.left, lanes.right)
        else:
            for i in range(2):
                if edges[i].begin < edges[i].end:
                    edge_rows(lines, &edges[i], channels, end - begin, kernel, height, width, outside, bias, strip,
                              out + begin * row_values, row_values, _)
        begin = end
    free(memory)
    return 0
