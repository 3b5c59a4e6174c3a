"""Noise averaged away between places of an image that look alike."""

from libc.stdlib cimport calloc, free

from bspline cimport real

cdef enum:
    REACH = 3  # of the places that a pixel is compared with, each way
    PATCH = 2  # of what is compared around each
    PATCH_ROWS = 2 * PATCH + 1
    PAD = REACH + PATCH
    # Columns go in blocks on the stack, where the compiler knows that nothing overlaps.
    BLOCK = 256

NONLOCAL_PAD = PAD


def nonlocal_means(const real[:, ::1] padded, double noise, double tolerance, real[:, ::1] out):
    """Every pixel's mean with those up to three rows and columns away around which the image looks alike.

    `padded` has `NONLOCAL_PAD` more rows and columns than `out` on each side. d, the mean squared difference of the
    5 x 5 pixels around two places, weighted by [1 4 6 4 1] each way, over twice `noise`, a variance, is 1 where the
    noise is all that differs. The weight of the other pixel is 1 up to there, and beyond it (1 - (d - 1) / (8
    `tolerance`))^8: much like an exponential function, but one that ends. Pixels without a whole patch of finite ones
    around them stay what they are.
    """
    cdef Py_ssize_t height = out.shape[0], width = out.shape[1], stride = padded.shape[1], y, down, across
    cdef real *weights = <real *>calloc(height * width, sizeof(real))
    cdef real *rows = <real *>calloc(PATCH_ROWS * width, sizeof(real))
    cdef real scale = <real>(1 / (16 * noise * tolerance)), least = <real>(1 / (8 * tolerance))
    cdef const real *here
    cdef const real *there
    try:
        if weights == NULL or rows == NULL:
            raise MemoryError
        with nogil:
            out[:, :] = 0
            for down in range(-REACH, REACH + 1):
                for across in range(-REACH, REACH + 1):
                    if down == 0 and across == 0:
                        continue
                    here = &padded[REACH, REACH]
                    there = &padded[REACH + down, REACH + across]
                    for y in range(height + PATCH_ROWS - 1):
                        differ(here + y * stride, there + y * stride, width, rows + (y % PATCH_ROWS) * width)
                        if y >= PATCH_ROWS - 1:
                            average(
                                rows, y % PATCH_ROWS, there + (y - PATCH) * stride + PATCH, width, scale, least,
                                &out[y - PATCH_ROWS + 1, 0], weights + (y - PATCH_ROWS + 1) * width)
            for y in range(height):
                settle(&padded[y + PAD, PAD], weights + y * width, width, &out[y, 0])
    finally:
        free(weights)
        free(rows)


cdef void differ(const real *here, const real *there, Py_ssize_t width, real *out) noexcept nogil:
    # The squared differences of two rows, weighted across; a missing pixel differs from everything.
    cdef real squares[BLOCK + PATCH_ROWS - 1]
    cdef real step, four = 4, six = 6, far = <real>1e12
    cdef Py_ssize_t first = 0, count, x
    while first < width:
        count = min(BLOCK, width - first)
        for x in range(count + PATCH_ROWS - 1):
            step = here[first + x] - there[first + x]
            squares[x] = step * step if step == step else far
        for x in range(count):
            out[first + x] = (
                squares[x] + squares[x + 4] + four * (squares[x + 1] + squares[x + 3]) + six * squares[x + 2])
        first += BLOCK


cdef void average(
    const real *rows, Py_ssize_t last, const real *there, Py_ssize_t width, real scale, real least, real *sums,
    real *weights
) noexcept nogil:
    # Add the pixels of `there`, weighted by how alike the patches are, of which `last` is the lowest row.
    cdef real weight[BLOCK]
    cdef const real *r0 = rows + (last + 1) % PATCH_ROWS * width
    cdef const real *r1 = rows + (last + 2) % PATCH_ROWS * width
    cdef const real *r2 = rows + (last + 3) % PATCH_ROWS * width
    cdef const real *r3 = rows + (last + 4) % PATCH_ROWS * width
    cdef const real *r4 = rows + last * width
    cdef real one = 1, four = 4, six = 6, share = scale / 256, apart, rest, value
    cdef Py_ssize_t first = 0, count, x
    while first < width:
        count = min(BLOCK, width - first)
        for x in range(count):
            weight[x] = r0[first + x] + r4[first + x] + four * (r1[first + x] + r3[first + x]) + six * r2[first + x]
        for x in range(count):
            apart = share * weight[x] - least
            rest = one - (apart if apart > 0 else 0)
            rest = rest if rest > 0 else 0
            rest *= rest
            rest *= rest
            weight[x] = rest * rest
        for x in range(count):
            value = there[first + x]
            # 0 times a missing pixel would be missing.
            sums[first + x] += weight[x] * (value if value == value else 0)
        for x in range(count):
            weights[first + x] += weight[x]
        first += BLOCK


cdef void settle(const real *row, const real *weights, Py_ssize_t width, real *out) noexcept nogil:
    cdef real one = 1
    cdef Py_ssize_t x
    for x in range(width):
        out[x] = (out[x] + row[x]) / (weights[x] + one)
