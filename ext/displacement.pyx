"""Points and pixels moved by fields that hold a displacement for each pixel."""

from area cimport held
from bspline cimport real


def displace(const real[:, :, ::1] field, const double[:, :, ::1] points, double[:, :, ::1] out):
    """out[x and y] = points + field there: `field` holds x, y per pixel, goes linearly between pixels and on beyond."""
    cdef Py_ssize_t r, c, i, x0, x1, y0, y1, height = field.shape[0], width = field.shape[1]
    cdef double x, y, top, bottom
    with nogil:
        for r in range(points.shape[1]):
            for c in range(points.shape[2]):
                x, y = held(points[0, r, c], width), held(points[1, r, c], height)
                x0, y0 = <Py_ssize_t>x, <Py_ssize_t>y
                x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                x, y = x - x0, y - y0
                for i in range(2):
                    top = (1 - x) * field[y0, x0, i] + x * field[y0, x1, i]
                    bottom = (1 - x) * field[y1, x0, i] + x * field[y1, x1, i]
                    out[i, r, c] = points[i, r, c] + ((1 - y) * top + y * bottom)


def displace_pixels(const real[:, :, ::1] field, Py_ssize_t row, Py_ssize_t column, double[:, :, ::1] out):
    """out[x and y] = the positions of a window of pixels, from (`row`, `column`) on, plus the field there."""
    cdef Py_ssize_t r, c
    cdef const real *line
    with nogil:
        for r in range(out.shape[1]):
            line = &field[row + r, column, 0]
            for c in range(out.shape[2]):
                out[0, r, c] = column + c + <double>line[2 * c]
                out[1, r, c] = row + r + <double>line[2 * c + 1]
