# Fourier transforms of square tiles, for every kernel that convolves by them.
#
# A tile lies in strips one vector wide, so that transforms down the columns are plain vector code; the transforms along
# the rows run on blocks of rows transposed into the same shape. Forward transforms decimate in frequency and inverse
# ones in time: nothing is ever put back into natural order.

from libc.math cimport cos, pi, sin, sqrt
from libc.string cimport memset

cdef extern from "simd.h" nogil:
    enum: VECTOR_BYTES
    ctypedef float float_vector
    ctypedef double double_vector
    void transpose_float(const float_vector *source, float_vector *goal)
    void transpose_double(const double_vector *source, double_vector *goal)

cdef extern from *:
    void __builtin_prefetch(const void *, int, int) nogil

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef extern from "eighths.h" nogil:
    void eighths_float(float_vector *r, float_vector *i)
    void eighths_double(double_vector *r, double_vector *i)

cdef enum:
    MAX_STEPS = 6  # of a transform of 4096
    REGIONS = 4  # what is fetched meanwhile: the two tiles to be stored and the next two to be read

ctypedef fused real:
    float
    double

ctypedef fused vector:
    float_vector
    double_vector


cdef inline void eighths(vector *r, vector *i) noexcept nogil:
    """Transform eight complex vectors of which these are the parts."""
    if vector is float_vector:
        eighths_float(r, i)
    else:
        eighths_double(r, i)


cdef inline Py_ssize_t radix(Py_ssize_t size) noexcept nogil:
    """Into how many a transform of this size is taken apart, so that one of eight is the last."""
    cdef Py_ssize_t doublings = 0
    while 8 << doublings < size:
        doublings += 1
    return 4 if doublings % 3 else 8


cdef inline void forward(vector *x, Py_ssize_t n, const real *twiddles, bint last) noexcept nogil:
    """Transform n complex vectors (real, imaginary, real, ...) in place, the result in digit-reversed order.

    Without `last` the transforms of eight neighbours that remain are left to do.
    """
    cdef Py_ssize_t size = n, part, j, k, block
    cdef vector *a
    cdef vector *b
    cdef vector *c
    cdef vector *d
    cdef vector sr, si, tr, ti, ur, ui, vr, vi, wr, wi
    cdef vector[8] r, i
    cdef real w1r, w1i, w2r, w2i, w3r, w3i
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        while size > 8:
            part = size // radix(size)
            if 8 * part == size:
                for j in range(part):
                    for block in range(n // size):
                        a = x + 2 * (block * size + j)
                        for k in range(8):
                            r[k], i[k] = a[2 * k * part], a[2 * k * part + 1]
                        eighths(r, i)
                        a[0], a[1] = r[0], i[0]
                        for k in range(1, 8):
                            w1r, w1i = twiddles[2 * k], twiddles[2 * k + 1]
                            a[2 * k * part] = w1r * r[k] - w1i * i[k]
                            a[2 * k * part + 1] = w1r * i[k] + w1i * r[k]
                    twiddles += 16
            else:
                for j in range(part):
                    w1r, w1i, w2r, w2i, w3r, w3i = (twiddles[2], twiddles[3], twiddles[4], twiddles[5], twiddles[6],
                                                    twiddles[7])
                    for block in range(n // size):
                        a = x + 2 * (block * size + j)
                        b = a + 2 * part
                        c = b + 2 * part
                        d = c + 2 * part
                        sr, si = a[0] + c[0], a[1] + c[1]
                        tr, ti = a[0] - c[0], a[1] - c[1]
                        ur, ui = b[0] + d[0], b[1] + d[1]
                        vr, vi = b[1] - d[1], d[0] - b[0]
                        a[0], a[1] = sr + ur, si + ui
                        wr, wi = tr + vr, ti + vi
                        b[0], b[1] = w1r * wr - w1i * wi, w1r * wi + w1i * wr
                        wr, wi = sr - ur, si - ui
                        c[0], c[1] = w2r * wr - w2i * wi, w2r * wi + w2i * wr
                        wr, wi = tr - vr, ti - vi
                        d[0], d[1] = w3r * wr - w3i * wi, w3r * wi + w3i * wr
                    twiddles += 8
            size = part
        if last:
            for block in range(n // 8):
                a = x + 16 * block
                for k in range(8):
                    r[k], i[k] = a[2 * k], a[2 * k + 1]
                eighths(r, i)
                for k in range(8):
                    a[2 * k], a[2 * k + 1] = r[k], i[k]


cdef inline void inverse(vector *x, Py_ssize_t n, const real *twiddles, bint first) noexcept nogil:
    """Undo `forward`, but for the factor n; `twiddles` are the same.

    Without `first` the transforms of eight neighbours have been done.
    """
    cdef Py_ssize_t[MAX_STEPS] sizes
    cdef Py_ssize_t size = n, part, j, k, block, steps = 0
    cdef vector *a
    cdef vector *b
    cdef vector *c
    cdef vector *d
    cdef vector sr, si, tr, ti, ur, ui, vr, vi, br, bi, cr, ci, dr, di
    cdef vector[8] r, i
    cdef real w1r, w1i, w2r, w2i, w3r, w3i
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        while size > 8:
            sizes[steps] = size
            steps += 1
            part = size // radix(size)
            twiddles += 2 * size
            size = part
        if first:
            for block in range(n // 8):
                a = x + 16 * block
                for k in range(8):
                    r[k], i[k] = a[2 * k], a[2 * k + 1]
                eighths(r, i)
                for k in range(8):
                    a[2 * (-k & 7)], a[2 * (-k & 7) + 1] = r[k], i[k]
        while steps > 0:
            steps -= 1
            part, size = size, sizes[steps]
            twiddles -= 2 * size
            if 8 * part == size:
                for j in range(part):
                    for block in range(n // size):
                        a = x + 2 * (block * size + j)
                        r[0], i[0] = a[0], a[1]
                        for k in range(1, 8):
                            w1r, w1i = twiddles[16 * j + 2 * k], twiddles[16 * j + 2 * k + 1]
                            r[k] = w1r * a[2 * k * part] + w1i * a[2 * k * part + 1]
                            i[k] = w1r * a[2 * k * part + 1] - w1i * a[2 * k * part]
                        eighths(r, i)
                        for k in range(8):
                            a[2 * (-k & 7) * part], a[2 * (-k & 7) * part + 1] = r[k], i[k]
            else:
                for j in range(part):
                    w1r, w1i, w2r = twiddles[8 * j + 2], twiddles[8 * j + 3], twiddles[8 * j + 4]
                    w2i, w3r, w3i = twiddles[8 * j + 5], twiddles[8 * j + 6], twiddles[8 * j + 7]
                    for block in range(n // size):
                        a = x + 2 * (block * size + j)
                        b = a + 2 * part
                        c = b + 2 * part
                        d = c + 2 * part
                        br, bi = w1r * b[0] + w1i * b[1], w1r * b[1] - w1i * b[0]
                        cr, ci = w2r * c[0] + w2i * c[1], w2r * c[1] - w2i * c[0]
                        dr, di = w3r * d[0] + w3i * d[1], w3r * d[1] - w3i * d[0]
                        sr, si = a[0] + cr, a[1] + ci
                        tr, ti = a[0] - cr, a[1] - ci
                        ur, ui = br + dr, bi + di
                        vr, vi = di - bi, br - dr
                        a[0], a[1] = sr + ur, si + ui
                        b[0], b[1] = tr + vr, ti + vi
                        c[0], c[1] = sr - ur, si - ui
                        d[0], d[1] = tr - vr, ti - vi


cdef inline void multiply(vector *x, Py_ssize_t n, const vector *gain, vector *before, vector *after) noexcept nogil:
    """The end of `forward`, a product with a spectrum, and the beginning of `inverse`, eight vectors at a time.

    The squares of the factors and of the products are added to `before` and `after`, unless that is NULL.
    """
    cdef Py_ssize_t k
    cdef vector[8] r, i
    cdef vector product
    for _block in range(n // 8):
        for k in range(8):
            r[k], i[k] = x[2 * k], x[2 * k + 1]
        eighths(r, i)
        if after != NULL:
            for k in range(8):
                before[0] += r[k] * r[k] + i[k] * i[k]
        for k in range(8):
            product = gain[2 * k] * r[k] - gain[2 * k + 1] * i[k]
            i[k] = gain[2 * k] * i[k] + gain[2 * k + 1] * r[k]
            r[k] = product
        if after != NULL:
            for k in range(8):
                after[0] += r[k] * r[k] + i[k] * i[k]
        eighths(r, i)
        for k in range(8):
            x[2 * (-k & 7)], x[2 * (-k & 7) + 1] = r[k], i[k]
        x += 16
        gain += 16


cdef inline void fill_twiddles(real *twiddles, Py_ssize_t n) noexcept nogil:
    """exp(-2 pi i j k / size) for all k below the radix, for all j, for each size from n down to the last above 8."""
    cdef Py_ssize_t size = n, parts, j, k
    cdef double angle
    while size > 8:
        parts = radix(size)
        for j in range(size // parts):
            for k in range(parts):
                angle = -2 * pi * j * k / size
                twiddles[0] = <real>cos(angle)
                twiddles[1] = <real>sin(angle)
                twiddles += 2
        size //= parts


cdef inline void transpose(const vector *source, vector *goal) noexcept nogil:
    """Transpose a square of one vector's lanes; both lie in every second vector."""
    if vector is float_vector:
        transpose_float(source, goal)
    else:
        transpose_double(source, goal)


cdef inline void transform_rows(const vector *tile, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t group,
                                const real *twiddles, vector *rows, bint last) noexcept nogil:
    """Transform one group of rows, as many as a vector has lanes, into `rows`: n complex vectors across the rows."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), s
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for s in range(n // lanes):
            transpose(tile + s * stride + 2 * group * lanes, rows + 2 * s * lanes)
            transpose(tile + s * stride + 2 * group * lanes + 1, rows + 2 * s * lanes + 1)
        forward(rows, n, twiddles, last)


cdef struct Region:  # bytes of an image that will be wanted soon, row by row
    const char *data
    Py_ssize_t row_stride, row_bytes, rows
    Py_ssize_t row, byte  # the next to fetch
    bint written


cdef inline void fetch(Region *regions, Py_ssize_t lines) noexcept nogil:
    """Ask for up to so many cache lines of each region.

    Rows of a tile are too short for the processor to foresee the next: waiting for memory would take as long as work.
    """
    cdef Py_ssize_t i
    cdef Region *region
    for i in range(REGIONS):
        region = regions + i
        for _ in range(lines):
            if region.row >= region.rows:
                break
            if region.written:
                __builtin_prefetch(region.data + region.row * region.row_stride + region.byte, 1, 2)
            else:
                __builtin_prefetch(region.data + region.row * region.row_stride + region.byte, 0, 2)
            region.byte += 64
            if region.byte >= region.row_bytes:
                region.byte = 0
                region.row += 1


cdef inline Py_ssize_t strip_stride(Py_ssize_t n) noexcept nogil:
    """Vectors from strip to strip: no power of two, or the strips would share their cache lines' places."""
    return 2 * n + 4


cdef inline double sum_of(const vector *lanes) noexcept nogil:
    """The sum of a vector's lanes, by halves."""
    cdef vector sums = lanes[0]
    cdef Py_ssize_t half = VECTOR_BYTES // (4 if vector is float_vector else 8) // 2, i
    while half > 0:
        for i in range(half):
            if vector is float_vector:
                (<float *>&sums)[i] += (<float *>&sums)[half + i]
            else:
                (<double *>&sums)[i] += (<double *>&sums)[half + i]
        half //= 2
    return (<float *>&sums)[0] if vector is float_vector else (<double *>&sums)[0]


cdef inline double filter_tile(vector *tile, Py_ssize_t stride, Py_ssize_t n, const vector *spectrum,
                               const real *twiddles, vector *rows, double norm, double tolerance, Region *soon,
                               Py_ssize_t lines) noexcept nogil:
    """Replace a complex tile of n x n by its circular convolution with the kernel of this spectrum and 2-norm.

    Meanwhile up to `lines` cache lines of each region are fetched.

    Returns the standard deviation of the rounding errors to expect if there is a `tolerance`, else 0. If it exceeds the
    tolerance the tile is left as it is by then.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), strips = n // lanes, s, g
    cdef Py_ssize_t share = lines // (3 * strips) + 1
    cdef vector before, after
    # The standard deviation of a transform's errors, in roundings of what the kernel spreads and of the result: an
    # upper bound of what was measured on noise, waves, slopes, steps, points and random walks.
    cdef double spread = 1.15, result = 2.6
    cdef double deviation = 0
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for s in range(strips):
            forward(tile + s * stride, n, twiddles, True)
            fetch(soon, share)
        for s in range(lanes):
            (<real *>&before)[s] = (<real *>&after)[s] = 0
        for g in range(strips):
            fetch(soon, share)
            transform_rows(tile, stride, n, g, twiddles, rows, False)
            multiply(rows, n, spectrum + 2 * g * n, &before, &after if tolerance > 0 else NULL)
            inverse(rows, n, twiddles, False)
            for s in range(strips):
                transpose(rows + 2 * s * lanes, tile + s * stride + 2 * g * lanes)
                transpose(rows + 2 * s * lanes + 1, tile + s * stride + 2 * g * lanes + 1)
        if tolerance > 0:
            # Errors of the way there are spread by the kernel like noise; those of the way back are one of the result.
            deviation = (2.0 ** -24 if real is float else 2.0 ** -53) * (
                spread * norm * sqrt(sum_of(&before)) / (n * n) + result * sqrt(sum_of(&after)))
            if deviation > tolerance:
                return deviation
        for s in range(strips):
            inverse(tile + s * stride, n, twiddles, True)
            fetch(soon, share)
    return deviation


cdef inline void *allocate(size_t size) except NULL:
    """Zeroed memory on a cache line's border."""
    cdef void *memory = NULL
    if posix_memalign(&memory, 64, size):
        raise MemoryError()
    memset(memory, 0, size)
    return memory
