"""How well the edges of two images agree: over all shifts at once by the Fourier transform, and at one matrix.

The orientation of a gradient (gx, gy) is the complex number z = (gx + i gy)^2 / (gx^2 + gy^2 + noise): twice its angle,
so that an edge from dark to bright equals one from bright to dark, and nearly 0 where nothing but noise is. Agreement
is the sum of Re conj(z_fixed) z_moving.
"""

from libc.math cimport ceil, cos, floor, sin, sqrt
from libc.stdlib cimport free

from fourier cimport (
    REGIONS, VECTOR_BYTES, Region, allocate, fill_twiddles, filter_tile, float_vector, forward, strip_stride,
    transform_rows)


cdef struct Field:  # a gradient, and how much of each pixel exists
    const float *gx
    const float *gy
    const float *weight
    Py_ssize_t height, width
    float noise


cdef inline bint sample(const Field *field, double x, double y, float *gx, float *gy, float *weight) noexcept nogil:
    """Bilinear interpolation; False outside."""
    cdef Py_ssize_t x0, y0, i
    cdef float u, v, a, b, c, d
    if not (x >= 0 and y >= 0 and x <= field.width - 1 and y <= field.height - 1):
        return False
    x0, y0 = <Py_ssize_t>x, <Py_ssize_t>y
    x0 -= x0 == field.width - 1
    y0 -= y0 == field.height - 1
    u, v = <float>(x - x0), <float>(y - y0)
    i = y0 * field.width + x0
    a, b, c, d = (1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v
    gx[0] = (a * field.gx[i] + b * field.gx[i + 1] + c * field.gx[i + field.width] + d * field.gx[i + field.width + 1])
    gy[0] = (a * field.gy[i] + b * field.gy[i + 1] + c * field.gy[i + field.width] + d * field.gy[i + field.width + 1])
    weight[0] = (a * field.weight[i] + b * field.weight[i + 1] + c * field.weight[i + field.width]
                 + d * field.weight[i + field.width + 1])
    return True


cdef inline Py_ssize_t place(Py_ssize_t y, Py_ssize_t x, Py_ssize_t stride) noexcept nogil:
    """Where the real part of a pixel lies in a tile; the imaginary one lies a vector further."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float)
    return (x // lanes * stride + 2 * y) * lanes + x % lanes


cdef int spectrum_of(const float[:, ::1] real_part, const float[:, ::1] imaginary_part, bint with_imaginary,
                     Py_ssize_t n, const float *twiddles, float *spectrum) except -1:
    """The spectrum with which `filter_tile` correlates a tile with the conjugate of this kernel."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), stride = strip_stride(n), y, x, i
    cdef float *tile = <float *>allocate(n // lanes * stride * VECTOR_BYTES)
    with nogil:
        for y in range(real_part.shape[0]):
            for x in range(real_part.shape[1]):
                i = place((n - y) % n, (n - x) % n, stride)
                tile[i] = real_part[y, x] / (n * n)
                if with_imaginary:
                    tile[i + lanes] = -imaginary_part[y, x] / (n * n)
        for i in range(n // lanes):
            forward(<float_vector *>tile + i * stride, n, twiddles)
        for i in range(n // lanes):
            transform_rows(<float_vector *>tile, stride, n, i, twiddles, <float_vector *>spectrum + 2 * i * n)
    free(tile)
    return 0


cdef class Shifts:
    """A fixed field of orientations and its weights (height, width), to be laid on moving ones at every shift.

    n: a power of two from 32 to 1024, at least the height and the width; shifts wrap around after n pixels.
    """

    cdef readonly Py_ssize_t n, height, width
    cdef float *orientations
    cdef float *weights
    cdef float *twiddles

    def __cinit__(
        self, const float[:, ::1] real_part, const float[:, ::1] imaginary_part, const float[:, ::1] weight,
        Py_ssize_t n
    ):
        self.n, self.height, self.width = n, weight.shape[0], weight.shape[1]
        if n < 32 or n > 1024 or n & (n - 1) or self.height > n or self.width > n:
            raise ValueError("the tile must be a power of two from 32 to 1024 and hold the field")
        self.twiddles = <float *>allocate(4 * n * sizeof(float))
        self.orientations = <float *>allocate(2 * n * n * sizeof(float))
        self.weights = <float *>allocate(2 * n * n * sizeof(float))
        fill_twiddles(self.twiddles, n)
        spectrum_of(real_part, imaginary_part, True, n, self.twiddles, self.orientations)
        spectrum_of(weight, weight, False, n, self.twiddles, self.weights)

    def __dealloc__(self):
        free(self.orientations)
        free(self.weights)
        free(self.twiddles)

    def scan(
        self, const float[:, ::1] gx, const float[:, ::1] gy, const float[:, ::1] weight, float noise,
        const double[::1] angles, double least, double[:, :, ::1] peaks, Py_ssize_t start, Py_ssize_t stop
    ):
        """The highest local maxima of agreement / sqrt(overlap) over all shifts, for the angles [start, stop).

        `peaks`[angle] receives rows (score, x, y), the best first and of score 0 where there are no more: fixed pixel p
        lies on moving pixel R(angle) (p - centre of fixed + (x, y)) + centre of moving. `least` is the smallest overlap,
        in pixels. Returns the sum of the squared scores and their number, over all shifts that overlap enough.
        """
        cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), n = self.n, stride = strip_stride(n), i
        cdef Py_ssize_t size = n // lanes * stride * lanes
        cdef Field field = Field(gx=&gx[0, 0], gy=&gy[0, 0], weight=&weight[0, 0], height=gx.shape[0],
                                 width=gx.shape[1], noise=noise)
        # Two tiles of orientations, one whose parts are their weights, the transform's work space and the scores.
        cdef float *memory = <float *>allocate((3 * size + 2 * n * lanes + n * n) * sizeof(float))
        cdef float *overlap = memory + 2 * size
        cdef float *work = overlap + size
        cdef float *scores = work + 2 * n * lanes
        cdef double totals[2]
        cdef Region idle[REGIONS]
        totals[0] = totals[1] = 0
        with nogil:
            for i in range(REGIONS):
                idle[i].rows = idle[i].row = 0
            i = start
            while i < stop:
                lay_down(&field, angles[i], n, stride, memory, overlap)
                if i + 1 < stop:
                    lay_down(&field, angles[i + 1], n, stride, memory + size, overlap + lanes)
                filter_tile(<float_vector *>overlap, stride, n, <float_vector *>self.weights, self.twiddles,
                            <float_vector *>work, idle, 0)
                self.find(memory, overlap, least, work, scores, idle, &peaks[i, 0, 0], peaks.shape[1], totals)
                if i + 1 < stop:
                    self.find(memory + size, overlap + lanes, least, work, scores, idle, &peaks[i + 1, 0, 0],
                              peaks.shape[1], totals)
                i += 2
        free(memory)
        return totals[0], totals[1]

    cdef void find(self, float *tile, const float *overlap, double least, float *work, float *scores, Region *idle,
                   double *peaks, Py_ssize_t count, double *totals) noexcept nogil:
        cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), n = self.n, stride = strip_stride(n)
        cdef Py_ssize_t y, x, i, j, s, around_y, around_x
        cdef float score, shared, floor_of_overlap = <float>least
        cdef double squares = 0, number = 0
        cdef bint highest
        filter_tile(<float_vector *>tile, stride, n, <float_vector *>self.orientations, self.twiddles,
                    <float_vector *>work, idle, 0)
        for s in range(n // lanes):
            for y in range(n):
                i = (s * stride + 2 * y) * lanes
                for x in range(lanes):
                    shared = overlap[i + x]
                    scores[y * n + s * lanes + x] = tile[i + x] / sqrt(shared) if shared >= floor_of_overlap else 0
        for i in range(n * n):
            squares += scores[i] * scores[i]
            number += scores[i] != 0
        totals[0] += squares
        totals[1] += number
        for y in range(n):
            for x in range(n):
                score = scores[y * n + x]
                if score <= peaks[3 * count - 3]:
                    continue
                highest = True
                for around_y in range(-2, 3):
                    for around_x in range(-2, 3):
                        i = ((y + around_y) & (n - 1)) * n + ((x + around_x) & (n - 1))
                        # Of equal neighbours the first is the maximum.
                        if scores[i] > score or (scores[i] == score and i < y * n + x):
                            highest = False
                if not highest:
                    continue
                j = count - 1
                while j > 0 and peaks[3 * j - 3] < score:
                    peaks[3 * j], peaks[3 * j + 1], peaks[3 * j + 2] = (
                        peaks[3 * j - 3], peaks[3 * j - 2], peaks[3 * j - 1])
                    j -= 1
                peaks[3 * j] = score
                # From the corner of the tile to the centres on each other, and around the end.
                peaks[3 * j + 1] = wrapped(x - 0.5 * (n - self.width), n)
                peaks[3 * j + 2] = wrapped(y - 0.5 * (n - self.height), n)


cdef inline double wrapped(double shift, Py_ssize_t n) noexcept nogil:
    return shift - n * floor(shift / n + 0.5)


cdef void lay_down(const Field *field, double angle, Py_ssize_t n, Py_ssize_t stride, float *tile,
                   float *overlap) noexcept nogil:
    """Turn a field about its centre into the middle of a tile of orientations, and its weights into one part of one."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), y, x, i
    cdef double c = cos(angle), s = sin(angle), dx, dy
    cdef float gx, gy, p, q, weight, norm
    for y in range(n):
        for x in range(n):
            i = place(y, x, stride)
            dx, dy = x - 0.5 * (n - 1), y - 0.5 * (n - 1)
            if sample(field, c * dx - s * dy + 0.5 * (field.width - 1), s * dx + c * dy + 0.5 * (field.height - 1),
                      &gx, &gy, &weight):
                p, q = <float>c * gx + <float>s * gy, <float>c * gy - <float>s * gx
                norm = 1 / (p * p + q * q + field.noise)
                tile[i] = (p * p - q * q) * norm
                tile[i + lanes] = 2 * p * q * norm
                overlap[i] = weight
            else:
                tile[i] = tile[i + lanes] = overlap[i] = 0


def orientation_sums(
    const float[::1] x, const float[::1] y, const float[::1] real_part, const float[::1] imaginary_part,
    const float[:, ::1] gx, const float[:, ::1] gy, const float[:, ::1] weight, float noise,
    const double[:, ::1] matrix, double[::1] sums
):
    """Agreement of fixed samples with a moving field seen through a matrix, and its derivatives.

    x, y, real_part, imaginary_part: places and orientations of the samples. matrix: 3x3, from (x, y, 1) to pixels of the
    field, its last entry 1; the orientation is that of the gradient of the warped image. sums: 0 is the agreement; 1 the
    sum of |z_fixed|^2 |z_moving|^2; 2 that of |z_fixed|^2 weight; 3 to 10 the derivatives of the agreement with respect
    to the first eight entries of the matrix; 11 to 18 those of sum 1.
    """
    cdef Py_ssize_t i, j, x0, y0, k, width = gx.shape[1], height = gx.shape[0]
    cdef double m[9]
    cdef double u, v, px, py, d
    cdef double a, ax, ay, b, bx, by, s, t, top, bottom, w
    cdef double j00, j01, j10, j11, p, q, norm, zr, zi, fr, fi, f, c, e, cp, cq, ep, eq
    cdef double total[19]
    with nogil:
        for j in range(19):
            total[j] = 0
        for j in range(9):
            m[j] = matrix[j // 3, j % 3]
        for i in range(x.shape[0]):
            px, py = x[i], y[i]
            d = m[6] * px + m[7] * py + m[8]
            if d <= 0:
                continue
            d = 1 / d
            u, v = (m[0] * px + m[1] * py + m[2]) * d, (m[3] * px + m[4] * py + m[5]) * d
            if not (u >= 0 and v >= 0 and u <= width - 1 and v <= height - 1):
                continue
            x0, y0 = <Py_ssize_t>u, <Py_ssize_t>v
            x0 -= x0 == width - 1
            y0 -= y0 == height - 1
            s, t = u - x0, v - y0
            fr, fi = real_part[i], imaginary_part[i]
            f = fr * fr + fi * fi
            top = weight[y0, x0] + s * (weight[y0, x0 + 1] - weight[y0, x0])
            bottom = weight[y0 + 1, x0] + s * (weight[y0 + 1, x0 + 1] - weight[y0 + 1, x0])
            w = top + t * (bottom - top)
            total[2] += f * w
            top = gx[y0, x0] + s * (gx[y0, x0 + 1] - gx[y0, x0])
            bottom = gx[y0 + 1, x0] + s * (gx[y0 + 1, x0 + 1] - gx[y0 + 1, x0])
            a, ay = top + t * (bottom - top), bottom - top
            ax = (1 - t) * (gx[y0, x0 + 1] - gx[y0, x0]) + t * (gx[y0 + 1, x0 + 1] - gx[y0 + 1, x0])
            top = gy[y0, x0] + s * (gy[y0, x0 + 1] - gy[y0, x0])
            bottom = gy[y0 + 1, x0] + s * (gy[y0 + 1, x0 + 1] - gy[y0 + 1, x0])
            b, by = top + t * (bottom - top), bottom - top
            bx = (1 - t) * (gy[y0, x0 + 1] - gy[y0, x0]) + t * (gy[y0 + 1, x0 + 1] - gy[y0 + 1, x0])
            j00, j01 = (m[0] - u * m[6]) * d, (m[1] - u * m[7]) * d
            j10, j11 = (m[3] - v * m[6]) * d, (m[4] - v * m[7]) * d
            p, q = j00 * a + j10 * b, j01 * a + j11 * b
            norm = 1 / (p * p + q * q + noise)
            zr, zi = (p * p - q * q) * norm, 2 * p * q * norm
            c = fr * zr + fi * zi
            # |z|^2 = ((p^2 + q^2) norm)^2
            e = (p * p + q * q) * norm
            total[0] += c
            total[1] += f * e * e
            cp, cq = 2 * norm * (fr * p + fi * q - c * p), 2 * norm * (fi * p - fr * q - c * q)
            ep, eq = 4 * f * e * norm * (1 - e) * p, 4 * f * e * norm * (1 - e) * q
            matrix_derivatives(m, px, py, d, u, v, a, ax, ay, b, bx, by, j00, j01, j10, j11, cp, cq, total + 3)
            matrix_derivatives(m, px, py, d, u, v, a, ax, ay, b, bx, by, j00, j01, j10, j11, ep, eq, total + 11)
        for k in range(19):
            sums[k] = total[k]


def area_means(const float[:, ::1] image, float[:, ::1] means, float[:, ::1] weights):
    """Means of `image` over the areas of larger pixels, and the share of each area where it is not NaN.

    The mean is 0 where all is missing. `means` has at most as many rows and columns as `image`.
    """
    cdef Py_ssize_t r, c, x, y, rows = means.shape[0], columns = means.shape[1], height = image.shape[0]
    cdef Py_ssize_t width = image.shape[1]
    cdef double step_y = <double>height / rows, step_x = <double>width / columns, begin, end
    cdef float share, total, number
    cdef float *sums = <float *>allocate(2 * width * sizeof(float))
    cdef float *counts = sums + width
    with nogil:
        for r in range(rows):
            for x in range(width):
                sums[x] = counts[x] = 0
            begin, end = r * step_y, (r + 1) * step_y
            for y in range(<Py_ssize_t>begin, min(height, <Py_ssize_t>ceil(end - 1e-9))):
                share = <float>(min(end, y + 1) - max(begin, y))
                for x in range(width):
                    if image[y, x] == image[y, x]:
                        sums[x] += share * image[y, x]
                        counts[x] += share
            for c in range(columns):
                begin, end = c * step_x, (c + 1) * step_x
                total = number = 0
                for x in range(<Py_ssize_t>begin, min(width, <Py_ssize_t>ceil(end - 1e-9))):
                    share = <float>(min(end, x + 1) - max(begin, x))
                    total += share * sums[x]
                    number += share * counts[x]
                means[r, c] = total / number if number > 0 else 0
                weights[r, c] = number / <float>(step_y * step_x)
    free(sums)


cdef inline void matrix_derivatives(
    const double *m, double px, double py, double d, double u, double v, double a, double ax, double ay, double b,
    double bx, double by, double j00, double j01, double j10, double j11, double by_p, double by_q, double *out
) noexcept nogil:
    """Add the derivatives of one sample, given those with respect to the gradient (p, q) = J^T (a, b) of the warped image.

    The matrix moves the place (u, v), at which (a, b) is read, and its Jacobian J, which turns it; d is 1 / denominator.
    """
    cdef double k00 = by_p * a, k01 = by_q * a, k10 = by_p * b, k11 = by_q * b
    cdef double by_a = by_p * j00 + by_q * j01, by_b = by_p * j10 + by_q * j11
    cdef double by_u = by_a * ax + by_b * bx - (k00 * m[6] + k01 * m[7]) * d
    cdef double by_v = by_a * ay + by_b * by - (k10 * m[6] + k11 * m[7]) * d
    cdef double by_denominator = -(k00 * j00 + k01 * j01 + k10 * j10 + k11 * j11 + by_u * u + by_v * v) * d
    out[0] += (by_u * px + k00) * d
    out[1] += (by_u * py + k01) * d
    out[2] += by_u * d
    out[3] += (by_v * px + k10) * d
    out[4] += (by_v * py + k11) * d
    out[5] += by_v * d
    out[6] += by_denominator * px - (k00 * u + k10 * v) * d
    out[7] += by_denominator * py - (k01 * u + k11 * v) * d
