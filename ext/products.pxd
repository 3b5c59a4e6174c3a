"""Products of slopes and the components of a field, written past the caches where that is quicker."""

from bspline cimport real
from samples cimport STEP
from windows cimport result

cdef extern from "products.h" nogil:
    enum:
        LINE
    void stream(const void *source, size_t size, void *out)
    void end_stream()
    Py_ssize_t beyond_line(const void *place)
    void multiply_float_float(const float *slope, const float *component, float *out, int count)
    void multiply_float_double(const float *slope, const double *component, double *out, int count)
    void multiply_double_float(const double *slope, const float *component, float *out, int count)
    void multiply_double_double(const double *slope, const double *component, double *out, int count)


cdef inline int to_line(const result *out) noexcept nogil:
    """Values from here to the next line of memory."""
    return <int>((LINE - beyond_line(out)) % LINE // <Py_ssize_t>sizeof(result))


cdef inline void multiply(const real *slope, const result *component, int count, result *out) noexcept nogil:
    if real is float and result is float:
        multiply_float_float(slope, component, out, count)
    elif real is float:
        multiply_float_double(slope, component, out, count)
    elif result is float:
        multiply_double_float(slope, component, out, count)
    else:
        multiply_double_double(slope, component, out, count)


cdef inline void write_products(
    const real *slope, const result *component, int count, bint streamed, result *out
) noexcept nogil:
    """Slopes times a component, or slopes alone if it is NULL; `streamed` is for results larger than the caches."""
    cdef int i
    cdef result block[STEP]
    cdef result *goal = out
    streamed = streamed and count == STEP and beyond_line(out) == 0
    if streamed:
        goal = block
    if component == NULL:
        for i in range(count):
            goal[i] = <result>slope[i]
    elif count == STEP:
        multiply(slope, component, STEP, goal)
    else:
        multiply(slope, component, count, goal)
    if streamed:
        stream(block, sizeof(block), out)
