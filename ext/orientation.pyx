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


cdef extern from "simd.h" nogil:
    ctypedef float quad

cdef enum:
    LANES = 16  # samples worked on together, in loops that the compiler vectorises


cdef struct Field:  # (gx, gy, share of the pixel that exists, unused) by pixel
    const float *pixels
    Py_ssize_t height, width
    float noise


cdef inline Field field_of(const float[:, :, ::1] pixels, float noise) noexcept nogil:
    return Field(pixels=&pixels[0, 0, 0], height=pixels.shape[0], width=pixels.shape[1], noise=noise)


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
            forward(<float_vector *>tile + i * stride, n, twiddles, True)
        for i in range(n // lanes):
            transform_rows(<float_vector *>tile, stride, n, i, twiddles, <float_vector *>spectrum + 2 * i * n, True)
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
        self, const float[:, :, ::1] pixels, float noise, const double[::1] angles, double least,
        double[:, :, ::1] peaks, Py_ssize_t start, Py_ssize_t stop
    ):
        """The highest local maxima of agreement / sqrt(overlap) over all shifts, for the angles [start, stop).

        pixels: the moving field, (height, width, 4) of gx, gy, the share of the pixel that exists, and anything.
        `peaks`[angle] receives rows (score, x, y), the best first and of score 0 where there are no more: fixed pixel p
        lies on moving pixel R(angle) (p - centre of fixed + (x, y)) + centre of moving. `least` is the smallest
        overlap, in pixels.
        """
        cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), n = self.n, stride = strip_stride(n), i
        cdef Py_ssize_t size = n // lanes * stride * lanes
        cdef Field field = field_of(pixels, noise)
        # Two tiles of orientations, one whose parts are their weights, the transform's work space and the scores.
        cdef float *memory = <float *>allocate((3 * size + 2 * n * lanes + n * n) * sizeof(float))
        cdef float *overlap = memory + 2 * size
        cdef float *work = overlap + size
        cdef float *scores = work + 2 * n * lanes
        cdef Region idle[REGIONS]
        with nogil:
            for i in range(REGIONS):
                idle[i].rows = idle[i].row = 0
            i = start
            while i < stop:
                lay_down(&field, angles[i], n, stride, memory, overlap)
                # The last angle of an odd number is its own partner: rounding must not depend on what lay there before.
                lay_down(&field, angles[min(i + 1, stop - 1)], n, stride, memory + size, overlap + lanes)
                filter_tile(<float_vector *>overlap, stride, n, <float_vector *>self.weights, self.twiddles,
                            <float_vector *>work, 1, 0, idle, 0)
                self.find(memory, overlap, least, work, scores, idle, &peaks[i, 0, 0], peaks.shape[1])
                if i + 1 < stop:
                    self.find(memory + size, overlap + lanes, least, work, scores, idle, &peaks[i + 1, 0, 0],
                              peaks.shape[1])
                i += 2
        free(memory)

    cdef void find(self, float *tile, const float *overlap, double least, float *work, float *scores, Region *idle,
                   double *peaks, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), n = self.n, stride = strip_stride(n)
        cdef Py_ssize_t y, x, i, j, s, around_y, around_x
        cdef float score, shared, floor_of_overlap = <float>least
        cdef bint highest
        filter_tile(<float_vector *>tile, stride, n, <float_vector *>self.orientations, self.twiddles,
                    <float_vector *>work, 1, 0, idle, 0)
        for s in range(n // lanes):
            for y in range(n):
                i = (s * stride + 2 * y) * lanes
                for x in range(lanes):
                    shared = overlap[i + x]
                    scores[y * n + s * lanes + x] = tile[i + x] / sqrt(shared) if shared >= floor_of_overlap else 0
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
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(float), y, x, i, x0, y0
    cdef Py_ssize_t last_x = field.width - 2, last_y = field.height - 2, row = 4 * field.width
    cdef float c = <float>cos(angle), s = <float>sin(angle), middle = <float>(0.5 * (n - 1)), dx, dy, u, v, gx, gy
    cdef float centre_x = <float>(0.5 * (field.width - 1)), centre_y = <float>(0.5 * (field.height - 1)), p, q, norm
    cdef const float *corner
    cdef quad top, bottom, mixed
    for y in range(n):
        dy = y - middle
        for x in range(n):
            i = place(y, x, stride)
            dx = x - middle
            u, v = c * dx - s * dy + centre_x, s * dx + c * dy + centre_y
            if not ((u >= 0) & (v >= 0) & (u <= last_x + 1) & (v <= last_y + 1)):
                tile[i] = tile[i + lanes] = overlap[i] = 0
                continue
            x0, y0 = min(<Py_ssize_t>u, last_x), min(<Py_ssize_t>v, last_y)
            u, v = u - x0, v - y0
            corner = field.pixels + y0 * row + 4 * x0
            top = (<const quad *>corner)[0]
            top = top + u * ((<const quad *>(corner + 4))[0] - top)
            bottom = (<const quad *>(corner + row))[0]
            bottom = bottom + u * ((<const quad *>(corner + row + 4))[0] - bottom)
            mixed = top + v * (bottom - top)
            gx, gy = (<float *>&mixed)[0], (<float *>&mixed)[1]
            p, q = c * gx + s * gy, c * gy - s * gx
            norm = 1 / (p * p + q * q + field.noise)
            tile[i] = (p * p - q * q) * norm
            tile[i + lanes] = 2 * p * q * norm
            overlap[i] = (<float *>&mixed)[2]


def orientation_sums(
    const float[:, ::1] samples, const float[:, :, ::1] pixels, float noise, const double[:, ::1] matrix,
    double[::1] sums
):
    """Agreement of fixed samples with a moving field seen through a matrix, and its derivatives.

    samples: x, y and the real and imaginary part of the orientation, (4, a multiple of 16); orientations of 0 count
    for nothing. pixels: as for `Shifts.scan`. matrix: 3x3, from (x, y, 1) to pixels of the field; the orientation is
    that of the gradient of the warped image. sums: 0 is the agreement; 1 the sum of |z_fixed|^2 |z_moving|^2; 2 that of
    |z_fixed|^2 times the share of the pixel that exists; 3 to 10 the derivatives of the agreement with respect to the
    first eight entries of the matrix; 11 to 18 those of sum 1.
    """
    cdef Py_ssize_t i, j, k, count = samples.shape[1]
    cdef Field field = field_of(pixels, noise)
    cdef float partial[19][LANES]
    cdef float m[9]
    with nogil:
        for j in range(19):
            for k in range(LANES):
                partial[j][k] = 0
        for j in range(9):
            m[j] = <float>matrix[j // 3, j % 3]
        for i in range(count // LANES):
            add_block(&field, m, &samples[0, LANES * i], count, partial)
        for j in range(19):
            sums[j] = 0
            for k in range(LANES):
                sums[j] += partial[j][k]


cdef void add_block(const Field *field, const float *m, const float *samples, Py_ssize_t count,
                    float (*sums)[LANES]) noexcept nogil:
    cdef float u[LANES]
    cdef float v[LANES]
    cdef float d[LANES]
    cdef float s[LANES]
    cdef float t[LANES]
    cdef int first[LANES]
    cdef float fr[LANES]
    cdef float fi[LANES]
    cdef float at[3][LANES]  # gx, gy and the weight at the place
    cdef float along_x[2][LANES]
    cdef float along_y[2][LANES]
    cdef int k, x0, y0, width = <int>field.width, last_x = width - 2, last_y = <int>field.height - 2
    cdef bint inside
    cdef const float *corner
    cdef quad top, bottom, left, right, mixed
    for k in range(LANES):
        d[k] = m[6] * samples[k] + m[7] * samples[count + k] + m[8]
        # A horizon goes to a place outside.
        inside = d[k] > 0
        d[k] = 1 / d[k] if inside else 0
        u[k] = (m[0] * samples[k] + m[1] * samples[count + k] + m[2]) * d[k]
        v[k] = (m[3] * samples[k] + m[4] * samples[count + k] + m[5]) * d[k]
        inside = inside & (u[k] >= 0) & (v[k] >= 0) & (u[k] <= last_x + 1) & (v[k] <= last_y + 1)
        u[k] = u[k] if inside else 0
        v[k] = v[k] if inside else 0
        fr[k] = samples[2 * count + k] if inside else 0
        fi[k] = samples[3 * count + k] if inside else 0
        x0 = <int>u[k]
        y0 = <int>v[k]
        x0 = x0 if x0 < last_x else last_x
        y0 = y0 if y0 < last_y else last_y
        s[k], t[k] = u[k] - x0, v[k] - y0
        first[k] = 4 * (y0 * width + x0)
    for k in range(LANES):
        corner = field.pixels + first[k]
        top = (<const quad *>corner)[0]
        right = (<const quad *>(corner + 4))[0] - top
        bottom = (<const quad *>(corner + 4 * width))[0]
        left = (<const quad *>(corner + 4 * width + 4))[0] - bottom
        mixed = right + t[k] * (left - right)
        along_x[0][k], along_x[1][k] = (<float *>&mixed)[0], (<float *>&mixed)[1]
        top = top + s[k] * right
        bottom = bottom + s[k] * left - top
        along_y[0][k], along_y[1][k] = (<float *>&bottom)[0], (<float *>&bottom)[1]
        top = top + t[k] * bottom
        at[0][k], at[1][k], at[2][k] = (<float *>&top)[0], (<float *>&top)[1], (<float *>&top)[2]
    for k in range(LANES):
        add_sample(
            m, samples[k], samples[count + k], d[k], u[k], v[k], at[0][k], along_x[0][k], along_y[0][k], at[1][k],
            along_x[1][k], along_y[1][k], at[2][k], fr[k], fi[k], field.noise, k, sums)


cdef inline void add_sample(
    const float *m, float px, float py, float d, float u, float v, float a, float ax, float ay, float b, float bx,
    float by, float weight, float fr, float fi, float noise, int k, float (*sums)[LANES]
) noexcept nogil:
    """Add one sample: the matrix takes it to (u, v), where the gradient is (a, b); d is 1 / denominator."""
    cdef float f = fr * fr + fi * fi
    # The Jacobian, by which the gradient of the warped image is (p, q) = J^T (a, b).
    cdef float j00 = (m[0] - u * m[6]) * d, j01 = (m[1] - u * m[7]) * d
    cdef float j10 = (m[3] - v * m[6]) * d, j11 = (m[4] - v * m[7]) * d
    cdef float p = j00 * a + j10 * b, q = j01 * a + j11 * b
    cdef float norm = 1 / (p * p + q * q + noise)
    cdef float agreement = (fr * (p * p - q * q) + 2 * fi * p * q) * norm
    cdef float magnitude = (p * p + q * q) * norm
    cdef float slope = 4 * f * magnitude * norm * (1 - magnitude)
    sums[0][k] += agreement
    sums[1][k] += f * magnitude * magnitude
    sums[2][k] += f * weight
    add_derivatives(m, px, py, d, u, v, a, ax, ay, b, bx, by, j00, j01, j10, j11,
                    2 * norm * (fr * p + fi * q - agreement * p), 2 * norm * (fi * p - fr * q - agreement * q), k,
                    sums + 3)
    add_derivatives(m, px, py, d, u, v, a, ax, ay, b, bx, by, j00, j01, j10, j11, slope * p, slope * q, k, sums + 11)


cdef inline void add_derivatives(
    const float *m, float px, float py, float d, float u, float v, float a, float ax, float ay, float b, float bx,
    float by, float j00, float j01, float j10, float j11, float by_p, float by_q, int k, float (*out)[LANES]
) noexcept nogil:
    """Add the derivatives with respect to the matrix, given those with respect to (p, q).

    The matrix moves the place at which (a, b) is read, and its Jacobian turns it.
    """
    cdef float k00 = by_p * a, k01 = by_q * a, k10 = by_p * b, k11 = by_q * b
    cdef float by_a = by_p * j00 + by_q * j01, by_b = by_p * j10 + by_q * j11
    cdef float by_u = by_a * ax + by_b * bx - (k00 * m[6] + k01 * m[7]) * d
    cdef float by_v = by_a * ay + by_b * by - (k10 * m[6] + k11 * m[7]) * d
    cdef float by_denominator = -(k00 * j00 + k01 * j01 + k10 * j10 + k11 * j11 + by_u * u + by_v * v) * d
    out[0][k] += (by_u * px + k00) * d
    out[1][k] += (by_u * py + k01) * d
    out[2][k] += by_u * d
    out[3][k] += (by_v * px + k10) * d
    out[4][k] += (by_v * py + k11) * d
    out[5][k] += by_v * d
    out[6][k] += by_denominator * px - (k00 * u + k10 * v) * d
    out[7][k] += by_denominator * py - (k01 * u + k11 * v) * d


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
