# The area of an image, which ends half a pixel beyond the outermost centres; and how the image goes on beyond these.

cdef extern from *:
    """
    /* Half a pixel and a little more: a shift by just half a pixel is inside whatever rounding makes of it. */
    #define MARGIN (0.5 + 1e-6)
    """
    const double MARGIN


cdef inline bint inside(double x, Py_ssize_t size) noexcept nogil:
    return (x >= -MARGIN) & (x <= size - 1 + MARGIN)


cdef inline double held(double x, Py_ssize_t size) noexcept nogil:
    x = x if x > 0 else 0
    return x if x < size - 1 else size - 1


cdef inline Py_ssize_t mirrored(Py_ssize_t i, Py_ssize_t size) noexcept nogil:
    # Reflection about the centres of the border pixels.
    if size == 1:
        return 0
    i = i if i >= 0 else -i
    i = i % (2 * size - 2)
    return i if i < size else 2 * size - 2 - i
