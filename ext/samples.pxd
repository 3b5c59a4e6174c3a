"""An image as flat samples in C order, whatever its axes, strides, byte size or mask: blocks of them are fetched."""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.math cimport NAN

cdef extern from *:
    """
    #define fetch_line(place) __builtin_prefetch((place), 0, 2)
    """
    void fetch_line(const void *place) noexcept nogil

from pixels cimport Load, choose_load
from bspline cimport real

cdef enum:
    MOST_AXES = 64  # NumPy's limit

cdef struct Samples:
    const char *data
    bint plain  # one row of the wanted type, all of which count
    const char *mask  # a byte per sample, zero where it does not count; NULL if all count
    Py_ssize_t size, itemsize
    Load load
    int axes
    Py_ssize_t shape[MOST_AXES]
    Py_ssize_t stride[MOST_AXES]
    Py_ssize_t mask_stride[MOST_AXES]


cdef inline void describe(const Py_buffer *image, const Py_buffer *mask, const real *kind, Samples *samples) except *:
    """The samples of an image and its mask (or NULL) of one shape; neighbouring axes become one where strides allow."""
    cdef int axis, last = 0
    cdef Py_ssize_t step, mask_step
    samples.load = choose_load(image, kind)
    samples.data, samples.itemsize = <const char *>image.buf, image.itemsize
    samples.mask = NULL
    if mask != NULL:
        samples.mask = <const char *>mask.buf
    samples.size = 1
    samples.shape[0], samples.stride[0], samples.mask_stride[0] = 1, image.itemsize, 1
    for axis in range(image.ndim):
        samples.size *= image.shape[axis]
        if image.shape[axis] == 1:
            continue
        step, mask_step = image.strides[axis], 0 if mask == NULL else mask.strides[axis]
        if samples.shape[last] > 1 and (
                samples.stride[last] != step * image.shape[axis]
                or samples.mask_stride[last] != mask_step * image.shape[axis]):
            last += 1
            samples.shape[last] = 1
        samples.shape[last] *= image.shape[axis]
        samples.stride[last], samples.mask_stride[last] = step, mask_step
    samples.axes = last + 1
    samples.plain = last == 0 and mask == NULL and samples.stride[0] == sizeof(real)
    if real is float:
        samples.plain = samples.plain and image.format[0] == c"f"
    else:
        samples.plain = samples.plain and image.format[0] == c"d"


cdef inline void fetch(const Samples *samples, Py_ssize_t start, Py_ssize_t count, real *out) noexcept nogil:
    """Samples [start, start + count) as `real`, NaN where the mask is zero."""
    cdef int axis, last = samples.axes - 1
    cdef Py_ssize_t place[MOST_AXES]
    cdef Py_ssize_t i, run, rest = start
    cdef const char *source = samples.data
    cdef const char *mask = samples.mask
    for axis in range(last, -1, -1):
        place[axis] = rest % samples.shape[axis] if axis else rest
        rest = rest // samples.shape[axis]
        source += place[axis] * samples.stride[axis]
        mask += place[axis] * samples.mask_stride[axis]
    while True:
        run = min(count, samples.shape[last] - place[last])
        samples.load(source, run, 1, samples.stride[last], samples.itemsize, out)
        if samples.mask != NULL:
            for i in range(run):
                out[i] = out[i] if mask[i * samples.mask_stride[last]] else <real>NAN
        count -= run
        if count == 0:
            return
        out += run
        source -= place[last] * samples.stride[last]
        mask -= place[last] * samples.mask_stride[last]
        place[last] = 0
        axis = last - 1
        while True:
            place[axis] += 1
            source += samples.stride[axis]
            mask += samples.mask_stride[axis]
            if place[axis] < samples.shape[axis]:
                break
            source -= place[axis] * samples.stride[axis]
            mask -= place[axis] * samples.mask_stride[axis]
            place[axis] = 0
            axis -= 1


# Everything that vectorises is done for a whole step of samples, before the scattered reads and writes. A step is
# short, so that the processor, which looks some hundreds of instructions ahead, brings memory for one while it
# computes another.
cdef enum:
    STEP = 64
    BLOCK = 256  # samples that are fetched at a time where they do not lie in memory as they are wanted


cdef inline const real *padded(const real *values, Py_ssize_t count, int unit, real *block) noexcept nogil:
    """`values` where they lie, if their number is a multiple of `unit`, or else in `block` with NaN up to one."""
    cdef Py_ssize_t i
    if count % unit == 0:
        return values
    for i in range(count):
        block[i] = values[i]
    for i in range(count, (count + unit - 1) // unit * unit):
        block[i] = <real>NAN
    return block


cdef inline const real *look(
    const Samples *samples, Py_ssize_t start, Py_ssize_t count, int unit, real *block
) noexcept nogil:
    """Samples [start, start + count), where they lie if possible, padded with NaN to a multiple of `unit`."""
    if samples.plain:
        return padded(<const real *>samples.data + start, count, unit, block)
    fetch(samples, start, count, block)
    return padded(<const real *>block, count, unit, block)


# The processor foresees lines of memory within a page of 4096 bytes only. So every step asks for what the eighth step
# after it reads and writes.
cdef enum:
    MOST_STREAMS = 10

cdef struct Ahead:
    int count
    const char *place[MOST_STREAMS]
    Py_ssize_t itemsize[MOST_STREAMS]


cdef inline void expect(Ahead *ahead, const void *place, Py_ssize_t itemsize) noexcept nogil:
    """Have values of an array brought ahead, whose first is that of sample 0."""
    if ahead.count < MOST_STREAMS:
        ahead.place[ahead.count], ahead.itemsize[ahead.count] = <const char *>place + 8 * STEP * itemsize, itemsize
        ahead.count += 1


cdef inline void expect_samples(Ahead *ahead, const Samples *samples) noexcept nogil:
    if samples.plain:
        expect(ahead, samples.data, samples.itemsize)


cdef inline void bring(const Ahead *ahead, Py_ssize_t sample) noexcept nogil:
    """Bring what is wanted eight steps after that of `sample`."""
    cdef int i, line
    cdef const char *place
    for i in range(ahead.count):
        place = ahead.place[i] + sample * ahead.itemsize[i]
        # A step is 64 samples, a line 64 bytes.
        for line in range(<int>ahead.itemsize[i]):
            fetch_line(place + 64 * line)
