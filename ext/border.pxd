"""Which pixel stands for one outside the image."""

cdef enum Border:  # the order of imgtool._check.BORDER_CODES
    REFLECT = 0
    MIRROR = 1
    NEAREST = 2
    WRAP = 3
    CONSTANT = 4


cdef inline Py_ssize_t border_index(Py_ssize_t i, Py_ssize_t n, int border) noexcept nogil:
    """The index in [0, n) that stands for i, or -1 for the constant; n >= 1, any distance from the image."""
    cdef Py_ssize_t period
    if 0 <= i < n:
        return i
    if border == CONSTANT:
        return -1
    if border == NEAREST:
        return 0 if i < 0 else n - 1
    if border == WRAP:
        i %= n
        return i + n if i < 0 else i
    if border == MIRROR:
        if n == 1:
            return 0
        period = 2 * n - 2
        i %= period
        if i < 0:
            i += period
        return i if i < n else period - i
    period = 2 * n
    i %= period
    if i < 0:
        i += period
    return i if i < n else period - 1 - i
