"""Reading and writing rows of any number type: the door between images and the kernels' accumulators."""

from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
                             PyObject_GetBuffer, Py_buffer)
from libc.math cimport rint, rintf
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from border cimport border_index

cdef extern from "simd.h" nogil:
    ctypedef long long wide

cdef extern from "store.h" nogil:
    Py_ssize_t store_float_u1(const float *, Py_ssize_t, uint8_t *, Py_ssize_t *)
    Py_ssize_t store_float_i1(const float *, Py_ssize_t, int8_t *, Py_ssize_t *)
    Py_ssize_t store_float_u2(const float *, Py_ssize_t, uint16_t *, Py_ssize_t *)
    Py_ssize_t store_float_i2(const float *, Py_ssize_t, int16_t *, Py_ssize_t *)
    Py_ssize_t store_double_u1(const double *, Py_ssize_t, uint8_t *, Py_ssize_t *)
    Py_ssize_t store_double_i1(const double *, Py_ssize_t, int8_t *, Py_ssize_t *)
    Py_ssize_t store_double_u2(const double *, Py_ssize_t, uint16_t *, Py_ssize_t *)
    Py_ssize_t store_double_i2(const double *, Py_ssize_t, int16_t *, Py_ssize_t *)

ctypedef fused real:
    float
    double
    wide

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
ctypedef Py_ssize_t (*Store)(const void *, Py_ssize_t, void *, Py_ssize_t) noexcept nogil

cdef struct Source:
    const char *data
    Py_ssize_t height, width, channels
    Py_ssize_t row_stride, pixel_stride, channel_stride
    Load load

cdef inline void load_row(const element *source, Py_ssize_t width, Py_ssize_t channels, Py_ssize_t pixel_stride,
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


cdef inline Py_ssize_t smaller(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a < b else b


cdef inline Py_ssize_t larger(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    return a if a > b else b


cdef inline void load_segment(const Source *source, Py_ssize_t y, Py_ssize_t x, Py_ssize_t count, int border,
                              const real *outside, real *row) noexcept nogil:
    """`count` pixels of line y from column x on, which may lie outside; `outside` holds a value per channel."""
    cdef Py_ssize_t channels = source.channels, c, i, place, at
    cdef Py_ssize_t first = smaller(larger(-x, 0), count), last = larger(smaller(source.width - x, count), first)
    cdef const char *line
    y = border_index(y, source.height, border)
    if y < 0:
        for i in range(count):
            for c in range(channels):
                row[i * channels + c] = outside[c]
        return
    line = source.data + y * source.row_stride
    source.load(line + (x + first) * source.pixel_stride, last - first, channels, source.pixel_stride,
                source.channel_stride, row + first * channels)
    for i in range(count - (last - first)):
        place = i if i < first else i + last - first
        at = border_index(x + place, source.width, border)
        if at < 0:
            for c in range(channels):
                row[place * channels + c] = outside[c]
        elif first <= at - x < last:
            for c in range(channels):
                row[place * channels + c] = row[(at - x) * channels + c]
        else:
            source.load(line + at * source.pixel_stride, 1, channels, source.pixel_stride, source.channel_stride,
                        row + place * channels)


cdef inline void premultiply(real *values, Py_ssize_t pixels, Py_ssize_t channels, real alpha_one) noexcept nogil:
    """Scale alpha, the last channel, from `alpha_one` to 1 and multiply the colours by it."""
    cdef Py_ssize_t c
    for _ in range(pixels):
        values[channels - 1] /= alpha_one
        for c in range(channels - 1):
            values[c] *= values[channels - 1]
        values += channels


cdef inline void unpremultiply(real *values, Py_ssize_t pixels, Py_ssize_t channels, real alpha_one, real kernel_sum,
                               real bias) noexcept nogil:
    """Divide colours by the share of opaque weight, which is exactly 1 where all alpha under the kernel is opaque."""
    cdef Py_ssize_t c
    cdef real share
    for _ in range(pixels):
        share = values[channels - 1] / kernel_sum
        for c in range(channels - 1):
            values[c] = (values[c] / share if share > 0 else 0) + bias
        values[channels - 1] = alpha_one * (1 if share > 1 else share if share > 0 else 0)
        values += channels


cdef inline Py_ssize_t store_values(const real *values, Py_ssize_t count, element *out, Py_ssize_t step) noexcept nogil:
    """Round half to even and saturate into an integer type, NaN as 0; returns how many values were saturated."""
    cdef Py_ssize_t i, saturated = 0
    cdef real v, low, high
    if element is float or element is double:
        for i in range(count):
            out[i * step] = <element>values[i]
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
                out[i * step] = <element>(low if v < low else high if v > high else v)
        elif sizeof(element) == 8 or (real is float and sizeof(element) == 4):
            # `high` is no floating point number here but was rounded up, to one that no longer fits.
            for i in range(count):
                v = rint(values[i])
                saturated += v < low or v >= high
                if v >= high:
                    out[i * step] = (<element>-1 if low == 0 else
                                     <element>((<uint64_t>1 << (8 * sizeof(element) - 1)) - 1))
                elif v < low:
                    out[i * step] = <element>low
                else:
                    out[i * step] = <element>v if v == v else 0
        else:
            for i in range(count):
                v = rintf(values[i]) if real is float else rint(values[i])
                saturated += (v < low) | (v > high)
                v = v if v == v else 0
                v = v if v > low else low
                v = v if v < high else high
                out[i * step] = <element>v
        return saturated


cdef inline Py_ssize_t store_vectors(const real *values, Py_ssize_t count, element *out,
                                     Py_ssize_t *saturated) noexcept nogil:
    """Store whole vectors of the types that images have most often; returns how many values that were."""
    if real is float:
        if element is uint8_t:
            return store_float_u1(values, count, out, saturated)
        elif element is int8_t:
            return store_float_i1(values, count, out, saturated)
        elif element is uint16_t:
            return store_float_u2(values, count, out, saturated)
        elif element is int16_t:
            return store_float_i2(values, count, out, saturated)
    elif real is double:
        if element is uint8_t:
            return store_double_u1(values, count, out, saturated)
        elif element is int8_t:
            return store_double_i1(values, count, out, saturated)
        elif element is uint16_t:
            return store_double_u2(values, count, out, saturated)
        elif element is int16_t:
            return store_double_i2(values, count, out, saturated)
    return 0


cdef inline Py_ssize_t store_row(const real *values, Py_ssize_t count, element *out, Py_ssize_t step) noexcept nogil:
    """Store neighbouring values `step` apart; the usual step of 1 is vectorised."""
    cdef Py_ssize_t saturated = 0, done
    if step == 1:
        done = store_vectors(values, count, out, &saturated)
        return saturated + store_values(values + done, count - done, out + done, 1)
    return store_values(values, count, out, step)


cdef inline Load choose_load(const Py_buffer *view, const real *_) except NULL:
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


cdef inline Store choose_store(const Py_buffer *view, const real *_) except NULL:
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


cdef inline int open_images(object source, object out, Py_buffer *pixels, Py_buffer *result,
                            Source *plane) except -1:
    """Describe rows x columns (x channels) of any strides, and open a C-contiguous array of as many channels.

    The caller ends with `close_images`, but not where this raises.
    """
    PyObject_GetBuffer(source, pixels, PyBUF_FORMAT | PyBUF_STRIDES)
    try:
        if pixels.ndim != 2 and pixels.ndim != 3:
            raise ValueError("source must be rows x columns (x channels)")
        plane.data = <const char *>pixels.buf
        plane.height, plane.width = pixels.shape[0], pixels.shape[1]
        plane.row_stride, plane.pixel_stride = pixels.strides[0], pixels.strides[1]
        plane.channels = pixels.shape[2] if pixels.ndim == 3 else 1
        plane.channel_stride = pixels.strides[2] if pixels.ndim == 3 else pixels.itemsize
        PyObject_GetBuffer(out, result, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
    except BaseException:
        PyBuffer_Release(pixels)
        raise
    if result.ndim != 2 and result.ndim != 3 or (result.shape[2] if result.ndim == 3 else 1) != plane.channels:
        close_images(pixels, result)
        raise ValueError("out must be rows x columns (x the channels of source)")
    return 0


cdef inline void close_images(Py_buffer *pixels, Py_buffer *result) noexcept:
    PyBuffer_Release(pixels)
    PyBuffer_Release(result)
