"""Correlation with large kernels by overlap-save on tiles that live in the cache, with a Fourier transform of our own.

Two real tiles are the real and the imaginary part of one complex tile: the kernel is real in space, so multiplying by
its spectrum keeps them apart. How a tile lies in memory is told in fourier.pxd.
"""

from libc.math cimport rint, rintf, sqrt
from libc.stdlib cimport calloc, free

from fourier cimport (
    REGIONS, VECTOR_BYTES, Region, allocate, double_vector, fill_twiddles, filter_tile, float_vector, forward, real,
    strip_stride, sum_of, transform_rows, vector)
from pixels cimport (Source, Store, choose_load, choose_store, close_images, larger, load_segment, open_images,
                     smaller)


cdef class Spectrum:
    """The spectrum of a kernel on tiles of n x n, in float32 or float64, as `filter_tile` needs it.

    kernel: rows x columns, as it is laid on the image without flipping, each side at most n; n: a power of two from 32
    to 4096.
    """

    cdef readonly Py_ssize_t n, height, width
    cdef readonly bint single
    cdef double total, norm  # the kernel's sum, and the root of the sum of its squares
    cdef void *values  # 2 * n * n numbers
    cdef void *twiddles

    def __cinit__(self, const double[:, ::1] kernel, Py_ssize_t n, bint single):
        if n < 32 or n > 4096 or n & (n - 1) or not 0 < kernel.shape[0] <= n or not 0 < kernel.shape[1] <= n:
            raise ValueError("the tile must be a power of two from 32 to 4096 and hold the kernel")
        self.n, self.height, self.width, self.single = n, kernel.shape[0], kernel.shape[1], single
        cdef size_t size = 4 if single else 8
        cdef Py_ssize_t y, x
        self.total = self.norm = 0
        for y in range(self.height):
            for x in range(self.width):
                self.total += kernel[y, x]
                self.norm += kernel[y, x] ** 2
        self.norm = sqrt(self.norm)
        self.values = allocate(2 * n * n * size)
        self.twiddles = allocate(4 * n * size)
        if single:
            fill_spectrum(self, kernel, <float *>self.values, <float *>self.twiddles, <float_vector *>NULL)
        else:
            fill_spectrum(self, kernel, <double *>self.values, <double *>self.twiddles, <double_vector *>NULL)

    def __dealloc__(self):
        free(self.values)
        free(self.twiddles)


cdef int fill_spectrum(Spectrum plan, const double[:, ::1] kernel, real *values, real *twiddles,
                       const vector *_) except -1:
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), n = plan.n, stride = strip_stride(n), y, x, ty, tx, g, s
    cdef real *tile = <real *>allocate(n // lanes * stride * VECTOR_BYTES)
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        with nogil:
            fill_twiddles(twiddles, n)
            for y in range(plan.height):
                for x in range(plan.width):
                    # At minus its place, so that the circular convolution is a correlation, complete from 0 on.
                    ty, tx = (n - y) % n, (n - x) % n
                    tile[(tx // lanes * stride + 2 * ty) * lanes + tx % lanes] = <real>(kernel[y, x] / (n * n))
            for s in range(n // lanes):
                forward(<vector *>tile + s * stride, n, twiddles, True)
            for g in range(n // lanes):
                transform_rows(<vector *>tile, stride, n, g, twiddles, <vector *>values + 2 * g * n, True)
    free(tile)
    return 0


cdef struct Tiles:  # a grid over one channel after the other; neighbours in this order make a pair
    Py_ssize_t height, width, channels  # of the output
    Py_ssize_t step_y, step_x  # of a tile's output
    Py_ssize_t across, per_channel, count


cdef struct Tile:
    Py_ssize_t channel, y, x, height, width  # of its output


cdef Tiles tiles_of(Spectrum plan, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels):
    cdef Tiles tiles
    tiles.height, tiles.width, tiles.channels = height, width, channels
    tiles.step_y, tiles.step_x = plan.n - plan.height + 1, plan.n - plan.width + 1
    tiles.across = (width + tiles.step_x - 1) // tiles.step_x
    tiles.per_channel = (height + tiles.step_y - 1) // tiles.step_y * tiles.across
    tiles.count = tiles.per_channel * channels
    return tiles


cdef Tile tile_at(const Tiles *tiles, Py_ssize_t index) noexcept nogil:
    cdef Tile tile
    tile.channel = index // tiles.per_channel
    tile.y = index % tiles.per_channel // tiles.across * tiles.step_y
    tile.x = index % tiles.per_channel % tiles.across * tiles.step_x
    tile.height, tile.width = smaller(tiles.step_y, tiles.height - tile.y), smaller(tiles.step_x, tiles.width - tile.x)
    return tile


cdef struct Task:
    int border
    double outside, bias
    double contrast, tolerance
    Py_ssize_t top, left, begin, end
    bint same_type  # the source's values are those of the transform


cdef double load_tile(const Source *source, Py_ssize_t y, Py_ssize_t x, Py_ssize_t rows, Py_ssize_t columns,
                      const Task *task, real offset, Py_ssize_t stride, Py_ssize_t n, real *row, real *tile,
                      const vector *_) noexcept nogil:
    """Read rows x columns pixels of one channel from (y, x) on, which may lie outside, into one part of a tile.

    `offset` is subtracted; the rest of the tile is 0. Returns how many times the mean square of the tile exceeds that
    of its faintest row that is not all 0: NaN or infinite where a number is, or where squares overflow. 0 if the task
    sets no limit.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), r, c, s
    cdef double energy, total = 0, faintest = 0
    cdef real outside = <real>task.outside
    cdef const vector *line
    cdef vector squares
    cdef bint bare = (task.same_type and source.pixel_stride == sizeof(real) and columns == n and 0 <= x
                      and x + n <= source.width)
    for c in range(n):
        row[c] = 0
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for r in range(n):
            line = <const vector *>row
            if r < rows and bare and 0 <= y + r < source.height:
                line = <const vector *>(<const real *>(source.data + (y + r) * source.row_stride) + x)
            elif r < rows:
                load_segment(source, y + r, x, columns, task.border, &outside, row)
                if offset != 0:
                    for c in range(columns):
                        row[c] -= offset
            elif r == rows:
                for c in range(columns):
                    row[c] = 0
            for s in range(n // lanes):
                (<vector *>tile + s * stride + 2 * r)[0] = line[s]
            if task.contrast > 0 and r < rows:
                squares = line[0] * line[0]
                for s in range(1, n // lanes):
                    squares += line[s] * line[s]
                energy = sum_of(&squares)
                total += energy
                if energy > 0 and (faintest == 0 or energy < faintest):
                    faintest = energy
    return total / (n * faintest) if total != 0 else 0


cdef real rough_mean(const Source *source, Py_ssize_t y, Py_ssize_t x, Py_ssize_t rows, Py_ssize_t columns,
                     const Task *task, Py_ssize_t n, real *row, const vector *_) noexcept nogil:
    """The mean of at most 32 of the rows that `load_tile` reads, as a whole number."""
    cdef real outside = <real>task.outside
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), count = smaller(rows, 32), r, s
    cdef double total = 0
    cdef vector sums
    for s in range(n):
        row[s] = 0
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for r in range(count):
            load_segment(source, y + r * rows // count, x, columns, task.border, &outside, row)
            sums = (<vector *>row)[0]
            for s in range(1, n // lanes):
                sums += (<vector *>row)[s]
            total += sum_of(&sums)
    return <real>rint(total / (columns * count))


cdef Py_ssize_t correlate_pairs(const Source *source, Spectrum plan, const Tiles *tiles, const Task *task, char *out,
                                Py_ssize_t itemsize, Store store, unsigned char *poor, real *memory,
                                const vector *_) noexcept nogil:
    """Tile pairs [begin, end); returns how many values were saturated.

    A pair that is not as exact as the task asks, or has numbers that are not finite, is left out and marked `poor`.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), n = plan.n, stride = strip_stride(n)
    cdef Py_ssize_t pair, part, index, lines, r, s, c, saturated = 0
    cdef Region soon[REGIONS]
    cdef real *work = memory + n // lanes * stride * lanes
    cdef real *row = work + 2 * n * lanes
    cdef real[2] offsets
    cdef real rest, whole
    cdef double added
    cdef bint good
    cdef Source channel = source[0]
    cdef Tile tile
    channel.channels = 1
    for pair in range(task.begin, task.end):
        good = True
        for part in range(2):
            if 2 * pair + part < tiles.count:
                tile = tile_at(tiles, 2 * pair + part)
            else:
                tile.height = tile.width = 1 - n  # nothing to read: the odd tile's partner is empty
                tile.channel = tile.y = tile.x = 0
            channel.data = source.data + tile.channel * source.channel_stride
            offsets[part] = 0
            if task.tolerance > 0 and tile.height > 0:
                offsets[part] = rough_mean(&channel, tile.y - task.top, tile.x - task.left,
                                           tile.height + plan.height - 1, tile.width + plan.width - 1, task, n, row, _)
            good &= load_tile(&channel, tile.y - task.top, tile.x - task.left, tile.height + plan.height - 1,
                              tile.width + plan.width - 1, task, offsets[part], stride, n, row, memory + part * lanes,
                              _) <= task.contrast
        if not good:
            poor[pair - task.begin] = 1
            continue
        lines = 0
        for part in range(REGIONS):
            soon[part].rows = soon[part].row = soon[part].byte = 0
            index = 2 * pair + part
            if index < tiles.count and index < 2 * task.end:
                tile = tile_at(tiles, index)
                if part < 2:
                    soon[part] = Region(
                        data=out + (tile.y * tiles.width + tile.x) * tiles.channels * itemsize,
                        row_stride=tiles.width * tiles.channels * itemsize, rows=tile.height,
                        row_bytes=tile.width * tiles.channels * itemsize, row=0, byte=0, written=True)
                else:
                    r = larger(tile.y - task.top, 0)
                    c = larger(tile.x - task.left, 0)
                    soon[part] = Region(
                        data=source.data + r * source.row_stride + c * source.pixel_stride,
                        row_stride=source.row_stride,
                        rows=smaller(tile.y - task.top + tile.height + plan.height - 1, source.height) - r,
                        row_bytes=(smaller(tile.x - task.left + tile.width + plan.width - 1, source.width) - c)
                        * source.pixel_stride, row=0, byte=0, written=False)
                lines = larger(lines, soon[part].rows * (soon[part].row_bytes // 64 + 1))
        if filter_tile(<vector *>memory, stride, n, <vector *>plan.values, <real *>plan.twiddles, <vector *>work,
                       plan.norm, task.tolerance, soon, lines) > task.tolerance:
            poor[pair - task.begin] = 1
            continue
        for part in range(smaller(2, tiles.count - 2 * pair)):
            tile = tile_at(tiles, 2 * pair + part)
            added = offsets[part] * plan.total + task.bias
            whole = <real>rint(added) if task.tolerance > 0 else 0
            rest = <real>(added - whole)
            for r in range(tile.height):
                if (real is float and vector is float_vector) or (real is double and vector is double_vector):
                    for s in range((tile.width + lanes - 1) // lanes):
                        (<vector *>row)[s] = (<vector *>memory + s * stride + 2 * r + part)[0]
                if task.tolerance > 0:  # a large sum has no room for fractions: they are rounded before
                    for c in range(tile.width):
                        row[c] = (rintf(row[c] + rest) if real is float else rint(row[c] + rest)) + whole
                elif task.bias != 0:
                    for c in range(tile.width):
                        row[c] += rest
                saturated += store(
                    row, tile.width,
                    out + (((tile.y + r) * tiles.width + tile.x) * tiles.channels + tile.channel) * itemsize,
                    tiles.channels)
    return saturated


cdef class TilePair:
    """Memory for a pair of tiles under a spectrum: for one thread at a time, and for any number of pairs.

    Allocated anew for every slab it would be zeroed each time, and be scattered over the heap (measured: 13 MB more for
    two threads and a 63 x 63 kernel).
    """

    cdef Spectrum plan
    cdef void *memory

    def __cinit__(self, Spectrum plan):
        self.plan = plan
        self.memory = allocate(strip_stride(plan.n) * plan.n * (4 if plan.single else 8) + 4 * VECTOR_BYTES * plan.n)

    def __dealloc__(self):
        free(self.memory)

    def correlate(self, source, out, int border, double outside, double bias, double contrast, double tolerance,
                  Py_ssize_t top, Py_ssize_t left, Py_ssize_t begin, Py_ssize_t end):
        """Tile pairs [begin, end) of `out`; returns how many values were saturated and the pairs that were left out.

        source, out, border, outside, bias, top, left: as for `Correlation`. contrast: the largest ratio of a tile's
        mean square to that of its faintest row that is not all 0 at which a pair is worked on; pairs with numbers that
        are not finite are left out in any case. 0 takes every pair as it is, which is right for integers. tolerance:
        for integer results the largest standard deviation of rounding errors, as estimated from the energies, at which
        a pair is kept; 0 keeps all.
        """
        cdef Py_buffer pixels, result
        cdef Source plane
        cdef Store store
        cdef Tiles tiles
        cdef Task task = Task(border=border, outside=outside, bias=bias, contrast=contrast, tolerance=tolerance,
                              top=top, left=left, begin=begin, end=end, same_type=False)
        cdef Py_ssize_t saturated
        cdef unsigned char *poor
        open_images(source, out, &pixels, &result, &plane)
        try:
            tiles = tiles_of(self.plan, result.shape[0], result.shape[1], plane.channels)
            if not 0 <= begin <= end <= (tiles.count + 1) // 2:
                raise ValueError("there are no such tile pairs")
            if self.plan.single:
                plane.load = choose_load(&pixels, <float *>NULL)
                store = choose_store(&result, <float *>NULL)
            else:
                plane.load = choose_load(&pixels, <double *>NULL)
                store = choose_store(&result, <double *>NULL)
            task.same_type = pixels.format[0] == (c"f" if self.plan.single else c"d")
            poor = <unsigned char *>calloc(end - begin + 1, 1)
            if poor == NULL:
                raise MemoryError()
            with nogil:
                if self.plan.single:
                    saturated = correlate_pairs(&plane, self.plan, &tiles, &task, <char *>result.buf,
                                                result.itemsize, store, poor, <float *>self.memory,
                                                <float_vector *>NULL)
                else:
                    saturated = correlate_pairs(&plane, self.plan, &tiles, &task, <char *>result.buf,
                                                result.itemsize, store, poor, <double *>self.memory,
                                                <double_vector *>NULL)
            left_out = [begin + i for i in range(end - begin) if poor[i]]
            free(poor)
            return saturated, left_out
        finally:
            close_images(&pixels, &result)


def pair_count(Spectrum plan, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels):
    """The number of tile pairs that cover an output of this shape."""
    return (tiles_of(plan, height, width, channels).count + 1) // 2


def tiles_in_pair(Spectrum plan, Py_ssize_t height, Py_ssize_t width, Py_ssize_t channels, Py_ssize_t pair):
    """The tiles of a pair of an output of this shape, each as (channel, y, x, height, width); none beyond the last."""
    cdef Tiles tiles = tiles_of(plan, height, width, channels)
    places = []
    for index in range(2 * pair, min(2 * pair + 2, tiles.count)):
        tile = tile_at(&tiles, index)
        places.append((tile.channel, tile.y, tile.x, tile.height, tile.width))
    return places
