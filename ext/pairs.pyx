"""Correlation of 16-bit images with fractions: in fixed point, two products to an instruction, without a rounding.

A kernel of fractions needs more than float32's 24 bits before its sums are rounded to 16, and in float64 vectors are
half as long. Input rows go through a ring in which they fit the block's reach; see pairs.h for the sums.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from border cimport border_index
from pixels cimport Source, close_images, larger, open_images, smaller

cdef extern from "pairs.h" nogil:
    enum: PAIR_ROWS
    enum: PAIR_VALUES
    bint runs_pairs "pairs_supported"()
    Py_ssize_t pair_block(const int16_t **rows, const int32_t *highs, const int32_t *lows, Py_ssize_t height,
                          Py_ssize_t pairs, Py_ssize_t step, Py_ssize_t x, int shift, Py_ssize_t carry,
                          int32_t start_high, int32_t start_low, int point, uint16_t *out, Py_ssize_t out_stride,
                          Py_ssize_t width_left, Py_ssize_t height_left)

cdef enum:
    BIAS = 0x8000  # added to a uint16 makes it an int16 that is less by 2**15


def pairs_supported():
    """Whether this build and processor have the instruction for it (AVX-512 VNNI)."""
    return runs_pairs()


cdef void load_line(const Source *source, Py_ssize_t y, Py_ssize_t x, Py_ssize_t count, int border, uint16_t outside,
                    uint16_t *line) noexcept nogil:
    """`count` pixels of row y from column x on, which may lie outside, each less 2**15."""
    cdef Py_ssize_t channels = source.channels, i, c, at
    cdef Py_ssize_t first = smaller(larger(-x, 0), count), last = larger(smaller(source.width - x, count), first)
    cdef const uint16_t *inside
    cdef const char *row
    y = border_index(y, source.height, border)
    row = source.data + y * source.row_stride
    if y < 0:
        first = last = 0
    if source.channel_stride == sizeof(uint16_t) and source.pixel_stride == channels * source.channel_stride:
        inside = <const uint16_t *>(row + (x + first) * source.pixel_stride)
        for i in range((last - first) * channels):
            line[first * channels + i] = inside[i] ^ BIAS
    else:
        for i in range(first, last):
            for c in range(channels):
                line[i * channels + c] = BIAS ^ (
                    <const uint16_t *>(row + (x + i) * source.pixel_stride + c * source.channel_stride))[0]
    i = 0
    while i < count:
        if i == first and last > first:
            i = last
            continue
        at = border_index(x + i, source.width, border) if y >= 0 else -1
        for c in range(channels):
            line[i * channels + c] = BIAS ^ (outside if at < 0 else (
                <const uint16_t *>(row + at * source.pixel_stride + c * source.channel_stride))[0])
        i += 1


cdef class Pairs:
    """A kernel in fixed point made ready.

    halves: high and low halves of the taps x rows x columns, as it is laid on the image without flipping; the columns
    are filled up with zeros to an even number. A tap is (high * 2**shift + low) / 2**(point + shift), low between
    -2**(shift - 1) and 2**(shift - 1). carry: after how many rows the sums of the low halves are carried over: so many
    neighbouring rows' magnitudes sum to less than 2**16 - 1. start: what sums begin with, in the same units: for the
    2**15 that every value is less by, the bias, and less 2**15 - 1/4 for the result itself. border, outside, top,
    left: as for `Correlation`.
    """

    cdef int32_t *taps  # the high halves, then the low ones
    cdef Py_ssize_t height, pairs, width, carry, top, left
    cdef int32_t start_high, start_low
    cdef int shift, point, border
    cdef uint16_t outside

    def __cinit__(self, const int16_t[:, :, ::1] halves, int point, int shift, Py_ssize_t carry, int64_t start,
                  int border, uint16_t outside, Py_ssize_t top, Py_ssize_t left):
        if halves.shape[0] != 2 or not halves.shape[1] or not halves.shape[2] or halves.shape[2] % 2 or carry < 1 or (
                not 1 < point <= 24 or not 0 < shift <= 15):
            raise ValueError("halves must be two of rows x an even number of columns, carried over within 16 bits")
        self.height, self.pairs, self.width = halves.shape[1], halves.shape[2] // 2, halves.shape[2]
        self.point, self.shift = point, shift
        self.carry = carry if carry < self.height else self.height + PAIR_ROWS  # never, before the end
        self.start_high, self.start_low = <int32_t>(start >> shift), <int32_t>(start & ((1 << shift) - 1))
        self.border, self.outside, self.top, self.left = border, outside, top, left
        self.taps = <int32_t *>malloc(2 * self.height * self.pairs * sizeof(int32_t))
        if self.taps == NULL:
            raise MemoryError()
        memcpy(self.taps, &halves[0, 0, 0], 2 * self.height * self.pairs * sizeof(int32_t))

    def __dealloc__(self):
        free(self.taps)

    def slab(self, source, out, planes, Py_ssize_t begin, Py_ssize_t end):
        """Rows [begin, end) of `out`; returns how many values were saturated.

        source, out: uint16 of rows x columns (x channels), source not empty, out C-contiguous. planes: None.
        """
        cdef Py_buffer pixels, result
        cdef Source plane
        cdef Py_ssize_t saturated
        open_images(source, out, &pixels, &result, &plane)
        try:
            if pixels.format[0] != c"H" or result.format[0] != c"H" or planes is not None:
                raise ValueError("source and out must be planes of uint16")
            if not 0 <= begin <= end <= result.shape[0]:
                raise ValueError("out has no such rows")
            with nogil:
                saturated = correlate_pairs(self, &plane, <uint16_t *>result.buf, result.shape[1], begin, end)
            return saturated
        finally:
            close_images(&pixels, &result)


cdef Py_ssize_t correlate_pairs(Pairs self, const Source *source, uint16_t *out, Py_ssize_t columns, Py_ssize_t begin,
                                Py_ssize_t end) except -1 nogil:
    cdef Py_ssize_t channels = source.channels, height = self.height, row_values = columns * channels
    cdef Py_ssize_t reach = columns + self.width - 1, ring_rows = height + PAIR_ROWS - 1
    # The last block reads on behind the row; lines are whole cache lines.
    cdef Py_ssize_t slot = (row_values + PAIR_VALUES + self.width * channels + 31) // 32 * 32
    cdef char *memory = <char *>calloc(ring_rows * (slot * sizeof(int16_t) + 2 * sizeof(void *)) + 64, 1)
    cdef const int16_t **slots = <const int16_t **>memory
    cdef const int16_t **rows = slots + ring_rows
    cdef int16_t *ring = <int16_t *>(<size_t>(rows + ring_rows + 7) // 64 * 64)
    cdef Py_ssize_t y = begin, x, r, i, loaded = begin, filled = 0, oldest = 0, saturated = 0
    if memory == NULL:
        raise MemoryError()
    for r in range(ring_rows):
        slots[r] = ring  # the last group's rows beyond the image are read, and their sums thrown away
    while y < end:
        while loaded < smaller(y + ring_rows, end + height - 1):
            load_line(source, loaded - self.top, -self.left, reach, self.border, self.outside,
                      <uint16_t *>ring + filled * slot)
            slots[filled] = ring + filled * slot
            loaded += 1
            filled = filled + 1 if filled + 1 < ring_rows else 0
        for r in range(ring_rows):
            i = oldest + r if oldest + r < ring_rows else oldest + r - ring_rows
            rows[r] = slots[i]
        oldest = (oldest + PAIR_ROWS) % ring_rows
        x = 0
        while x < row_values:
            saturated += pair_block(rows, self.taps, self.taps + height * self.pairs, height, self.pairs, channels,
                                    x, self.shift, self.carry, self.start_high, self.start_low, self.point,
                                    out + y * row_values + x, row_values, row_values - x, end - y)
            x += PAIR_VALUES
        y += PAIR_ROWS
    free(memory)
    return saturated
