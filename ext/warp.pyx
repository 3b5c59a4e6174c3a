"""Resampling of planes at affine-mapped positions, and the sampling pass of registration.

`matrix` maps output pixels to input pixels, both as (x, y, 1); rows of the output [start, stop) are computed. An output
pixel is inside if its input position lies on the area of the input pixels, which ends half a pixel beyond the outermost
centres; beyond these centres the image is continued by its border pixels.
"""

from libc.math cimport NAN, floor
from bspline cimport cubic_weights, real

# Bit patterns of any one-component dtype: nearest-neighbour copies pixels and never looks at their values.
ctypedef fused bits:
    unsigned char
    unsigned short
    unsigned int
    unsigned long long

cdef extern from *:
    """
    /* Half a pixel and a little more: a shift by just half a pixel is inside whatever rounding makes of it. */
    #define MARGIN (0.5 + 1e-6)
    """
    const double MARGIN


# The widest tile of sample offsets.
cdef enum:
    CHUNK = 64


cdef inline bint inside(double x, Py_ssize_t size) noexcept nogil:
    return (x >= -MARGIN) & (x <= size - 1 + MARGIN)


cdef inline double held(double x, Py_ssize_t size) noexcept nogil:
    x = x if x > 0 else 0
    return x if x < size - 1 else size - 1


cdef inline Py_ssize_t mirrored(Py_ssize_t i, Py_ssize_t size) noexcept nogil:
    # Reflection about the centres of the border pixels; taps reach at most two pixels outside.
    if size == 1:
        return 0
    i = i if i >= 0 else -i
    i = i % (2 * size - 2)
    return i if i < size else 2 * size - 2 - i


def warp_nearest(
    const bits[:, :] image, const double[:, ::1] matrix, bits fill, bits[:, :] out, Py_ssize_t start,
    Py_ssize_t stop
):
    """The pixel nearest to each position, halves rounded up; `fill` outside."""
    cdef Py_ssize_t r, c, x0, y0, height = image.shape[0], width = image.shape[1]
    cdef double x, y
    with nogil:
        for r in range(start, stop):
            for c in range(out.shape[1]):
                x = matrix[0, 0] * c + (matrix[0, 1] * r + matrix[0, 2])
                y = matrix[1, 0] * c + (matrix[1, 1] * r + matrix[1, 2])
                if inside(x, width) and inside(y, height):
                    y0, x0 = <Py_ssize_t>floor(held(y, height) + 0.5), <Py_ssize_t>floor(held(x, width) + 0.5)
                    out[r, c] = image[y0, x0]
                else:
                    out[r, c] = fill


def warp_linear(
    const real[:, ::1] image, const double[:, ::1] matrix, real fill, real[:, ::1] out, Py_ssize_t start,
    Py_ssize_t stop
):
    """Bilinear interpolation; `fill` outside."""
    cdef Py_ssize_t r, c, x0, x1, y0, y1, height = image.shape[0], width = image.shape[1]
    cdef double x, y
    cdef real u, v
    with nogil:
        for r in range(start, stop):
            for c in range(out.shape[1]):
                x = matrix[0, 0] * c + (matrix[0, 1] * r + matrix[0, 2])
                y = matrix[1, 0] * c + (matrix[1, 1] * r + matrix[1, 2])
                if not (inside(x, width) and inside(y, height)):
                    out[r, c] = fill
                    continue
                x, y = held(x, width), held(y, height)
                x0, y0 = <Py_ssize_t>x, <Py_ssize_t>y
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                u, v = <real>(x - x0), <real>(y - y0)
                out[r, c] = (
                    (1 - v) * ((1 - u) * image[y0, x0] + u * image[y0, x1])
                    + v * ((1 - u) * image[y1, x0] + u * image[y1, x1]))


def warp_cubic(
    const real[:, ::1] coefficients, const double[:, ::1] matrix, real fill, real[:, ::1] out, Py_ssize_t start,
    Py_ssize_t stop
):
    """The cubic B-spline with these coefficients, mirrored about the border pixels; `fill` outside."""
    cdef Py_ssize_t r, c, i, j, x0, y0, height = coefficients.shape[0], width = coefficients.shape[1]
    cdef double x, y
    cdef real row_sum, total
    cdef real u[4]
    cdef real v[4]
    cdef Py_ssize_t columns[4]
    with nogil:
        for r in range(start, stop):
            for c in range(out.shape[1]):
                x = matrix[0, 0] * c + (matrix[0, 1] * r + matrix[0, 2])
                y = matrix[1, 0] * c + (matrix[1, 1] * r + matrix[1, 2])
                if not (inside(x, width) and inside(y, height)):
                    out[r, c] = fill
                    continue
                x, y = held(x, width), held(y, height)
                x0, y0 = <Py_ssize_t>x, <Py_ssize_t>y
                cubic_weights(<real>(x - x0), u)
                cubic_weights(<real>(y - y0), v)
                for i in range(4):
                    columns[i] = mirrored(x0 - 1 + i, width)
                total = 0
                for j in range(4):
                    i = mirrored(y0 - 1 + j, height)
                    row_sum = 0
                    row_sum = row_sum + u[0] * coefficients[i, columns[0]] + u[1] * coefficients[i, columns[1]]
                    row_sum = row_sum + u[2] * coefficients[i, columns[2]] + u[3] * coefficients[i, columns[3]]
                    total = total + v[j] * row_sum
                out[r, c] = total


def spline_columns(real[:, ::1] image, Py_ssize_t start, Py_ssize_t stop):
    """Replace columns [start, stop) by their cubic B-spline coefficients, mirrored at the borders (Unser 1999)."""
    cdef Py_ssize_t i, c, horizon, height = image.shape[0]
    cdef real pole = <real>-0.26794919243112270647  # sqrt(3) - 2
    cdef real power
    if height == 1:
        return
    with nogil:
        # The causal start is a sum over the mirrored column; from the 40th term on it is below 1e-22 of the rest.
        horizon = min(height, 40)
        for c in range(start, stop):
            image[0, c] *= 6
        power = pole
        for i in range(1, horizon):
            for c in range(start, stop):
                image[0, c] += 6 * power * image[i, c]
            power *= pole
        if horizon == height:
            # A short column is summed over its whole period of 2 height - 2; `power` is now pole^height.
            for i in range(height - 2, 0, -1):
                for c in range(start, stop):
                    image[0, c] += 6 * power * image[i, c]
                power *= pole
            for c in range(start, stop):
                image[0, c] /= 1 - power
        for i in range(1, height):
            for c in range(start, stop):
                image[i, c] = 6 * image[i, c] + pole * image[i - 1, c]
        for c in range(start, stop):
            image[height - 1, c] = pole / (pole * pole - 1) * (image[height - 1, c] + pole * image[height - 2, c])
        for i in range(height - 2, -1, -1):
            for c in range(start, stop):
                image[i, c] = pole * (image[i + 1, c] - image[i, c])


cdef void sample_chunk(
    const real *image, Py_ssize_t height, Py_ssize_t width, const double *matrix, const double *x_offsets,
    const double *y_offsets, double row, double column, int count, real *value, real *along_x, real *along_y
) noexcept nogil:
    # Positions first, in a loop that vectorises; what is outside is held on the image and taken back at the end.
    cdef int k, x0, y0, last_x = <int>width - 2, last_y = <int>height - 2
    cdef double x, y, inner_x, inner_y
    cdef real u[CHUNK]
    cdef real v[CHUNK]
    cdef real x_scale[CHUNK]
    cdef real y_scale[CHUNK]
    cdef int x_first[CHUNK]
    cdef int y_first[CHUNK]
    cdef int within[CHUNK]
    cdef real top, bottom, top_step, bottom_step, w
    cdef const real *corner
    for k in range(count):
        x = column + k + x_offsets[k]
        y = row + y_offsets[k]
        inner_x = matrix[0] * x + (matrix[1] * y + matrix[2])
        inner_y = matrix[3] * x + (matrix[4] * y + matrix[5])
        within[k] = inside(inner_x, width) & inside(inner_y, height)
        x, y = held(inner_x, width), held(inner_y, height)
        x_scale[k] = 1 if x == inner_x else 0
        y_scale[k] = 1 if y == inner_y else 0
        x0, y0 = <int>x, <int>y
        x0 = x0 if x0 < last_x else last_x
        y0 = y0 if y0 < last_y else last_y
        u[k], v[k] = <real>(x - x0), <real>(y - y0)
        x_first[k], y_first[k] = x0, y0
    for k in range(count):
        corner = image + y_first[k] * width + x_first[k]
        top_step = corner[1] - corner[0]
        bottom_step = corner[width + 1] - corner[width]
        top = corner[0] + u[k] * top_step
        bottom = corner[width] + u[k] * bottom_step
        w = top + v[k] * (bottom - top)
        if within[k] and w == w:
            value[k] = w
            along_x[k] = x_scale[k] * (top_step + v[k] * (bottom_step - top_step))
            along_y[k] = y_scale[k] * (bottom - top)
        else:
            value[k] = NAN
            along_x[k] = along_y[k] = 0


def sample_affine(
    const real[:, ::1] image, const double[:, ::1] matrix, const double[:, :, ::1] offsets, real[:, ::1] value,
    real[:, ::1] along_x, real[:, ::1] along_y, Py_ssize_t start, Py_ssize_t stop
):
    """Bilinear interpolation and the exact derivatives of the interpolant with respect to the position in `image`.

    Sample (row, column) is taken for the output position (column, row) + `offsets`[:, row, column], which repeats like
    tiles at most 64 columns wide. Outside, and beside a NaN, the value is NaN and the derivatives are 0. `image` is 2x2
    pixels or larger.
    """
    cdef Py_ssize_t r, c, i, tile = offsets.shape[2], columns = value.shape[1]
    with nogil:
        for r in range(start, stop):
            i = r % offsets.shape[1]
            c = 0
            while c < columns:
                sample_chunk(
                    &image[0, 0], image.shape[0], image.shape[1], &matrix[0, 0], &offsets[0, i, 0], &offsets[1, i, 0],
                    r, c, <int>min(tile, columns - c), &value[r, c], &along_x[r, c], &along_y[r, c])
                c += tile


def affine_sums(
    const real[:, ::1] slope, const real[:, ::1] along_x, const real[:, ::1] along_y, const double[:, :, ::1] offsets,
    double[:, ::1] sums, Py_ssize_t start, Py_ssize_t stop
):
    """Add slope * (along_x, along_y) * (x, y, 1) to the 2 x 3 `sums`: derivatives with respect to the matrix.

    (x, y) is the output position of the sample, with its offset as in `sample_affine`.
    """
    cdef Py_ssize_t r, c, i, j, tile = offsets.shape[2]
    cdef double gx, gy, x, y, x_sum, xx_sum, xy_sum, y_sum, yx_sum, yy_sum
    with nogil:
        for r in range(start, stop):
            x_sum = xx_sum = xy_sum = y_sum = yx_sum = yy_sum = 0
            i = r % offsets.shape[1]
            j = -1
            for c in range(slope.shape[1]):
                j = j + 1 if j + 1 < tile else 0
                x, y = c + offsets[0, i, j], r + offsets[1, i, j]
                gx = <double>slope[r, c] * along_x[r, c]
                gy = <double>slope[r, c] * along_y[r, c]
                x_sum += gx
                xx_sum += gx * x
                xy_sum += gx * y
                y_sum += gy
                yx_sum += gy * x
                yy_sum += gy * y
            sums[0, 0] += xx_sum
            sums[0, 1] += xy_sum
            sums[0, 2] += x_sum
            sums[1, 0] += yx_sum
            sums[1, 1] += yy_sum
            sums[1, 2] += y_sum
