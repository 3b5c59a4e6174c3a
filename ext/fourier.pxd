# Fourier transforms of square tiles, for every kernel that convolves by them.
#
# A tile lies in strips one vector wide, so that transforms down the columns are plain vector code; the transforms along
# the rows run on blocks of rows transposed into the same shape. Forward transforms decimate in frequency and inverse
# ones in time: nothing is ever put back into natural order.

from libc.math cimport cos, pi, sin
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

cdef enum:
    REGIONS = 4  # what is fetched meanwhile: the two tiles to be stored and the next two to be read

ctypedef fused real:
    float
    double

ctypedef fused vector:
    float_vector
    double_vector


cdef inline void smallest(vector *x, Py_ssize_t n, Py_ssize_t size, Py_ssize_t second,
                          Py_ssize_t fourth) noexcept nogil:
    """Transform blocks of `size` vectors, 4 or 2: forward with `second` and `fourth` 2 and 6, inverse with 6 and 2."""
    cdef Py_ssize_t block
    cdef vector *a
    cdef vector sr, si, tr, ti, ur, ui, vr, vi
    for block in range(n // size):
        a = x + 2 * size * block
        if size == 4:
            sr, si = a[0] + a[4], a[1] + a[5]
            tr, ti = a[0] - a[4], a[1] - a[5]
            ur, ui = a[2] + a[6], a[3] + a[7]
            vr, vi = a[second + 1] - a[fourth + 1], a[fourth] - a[second]
            a[0], a[1] = sr + ur, si + ui
            a[2], a[3] = tr + vr, ti + vi
            a[4], a[5] = sr - ur, si - ui
            a[6], a[7] = tr - vr, ti - vi
        else:
            sr, si = a[0] + a[2], a[1] + a[3]
            tr, ti = a[0] - a[2], a[1] - a[3]
            a[0], a[1] = sr, si
            a[2], a[3] = tr, ti


cdef inline void forward(vector *x, Py_ssize_t n, const real *twiddles) noexcept nogil:
    """Transform n complex vectors (real, imaginary, real, ...) in place, the result in digit-reversed order."""
    cdef Py_ssize_t size = n, quarter, j, block
    cdef vector *a
    cdef vector *b
    cdef vector *c
    cdef vector *d
    cdef vector sr, si, tr, ti, ur, ui, vr, vi, wr, wi
    cdef real w1r, w1i, w2r, w2i, w3r, w3i
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        while size > 4:
            quarter = size // 4
            for j in range(quarter):
                w1r, w1i, w2r = twiddles[6 * j], twiddles[6 * j + 1], twiddles[6 * j + 2]
                w2i, w3r, w3i = twiddles[6 * j + 3], twiddles[6 * j + 4], twiddles[6 * j + 5]
                for block in range(n // size):
                    a = x + 2 * (block * size + j)
                    b = a + 2 * quarter
                    c = b + 2 * quarter
                    d = c + 2 * quarter
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
            twiddles += 6 * quarter
            size = quarter
        smallest(x, n, size, 2, 6)


cdef inline void inverse(vector *x, Py_ssize_t n, const real *twiddles) noexcept nogil:
    """Undo `forward`, but for the factor n; `twiddles` are the same."""
    cdef Py_ssize_t size, quarter, j, block
    cdef vector *a
    cdef vector *b
    cdef vector *c
    cdef vector *d
    cdef vector sr, si, tr, ti, ur, ui, vr, vi, br, bi, cr, ci, dr, di
    cdef real w1r, w1i, w2r, w2i, w3r, w3i
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        size = n
        while size > 4:
            twiddles += 6 * (size // 4)
            size //= 4
        smallest(x, n, size, 6, 2)
        while size < n:
            quarter = size
            size *= 4
            twiddles -= 6 * quarter
            for j in range(quarter):
                w1r, w1i, w2r = twiddles[6 * j], twiddles[6 * j + 1], twiddles[6 * j + 2]
                w2i, w3r, w3i = twiddles[6 * j + 3], twiddles[6 * j + 4], twiddles[6 * j + 5]
                for block in range(n // size):
                    a = x + 2 * (block * size + j)
                    b = a + 2 * quarter
                    c = b + 2 * quarter
                    d = c + 2 * quarter
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


cdef inline void fill_twiddles(real *twiddles, Py_ssize_t n) noexcept nogil:
    """exp(-2 pi i j k / size) for k = 1, 2, 3, all j, and each size from n down to the last above 4."""
    cdef Py_ssize_t size = n, j, k
    cdef double angle
    while size > 4:
        for j in range(size // 4):
            for k in range(1, 4):
                angle = -2 * pi * j * k / size
                twiddles[0] = <real>cos(angle)
                twiddles[1] = <real>sin(angle)
                twiddles += 2
        size //= 4


cdef inline void transpose(const vector *source, vector *goal) noexcept nogil:
    """Transpose a square of one vector's lanes; both lie in every second vector."""
    if vector is float_vector:
        transpose_float(source, goal)
    else:
        transpose_double(source, goal)


cdef inline void transform_rows(const vector *tile, Py_ssize_t stride, Py_ssize_t n, Py_ssize_t group,
                                const real *twiddles, vector *rows) noexcept nogil:
    """Transform one group of rows, as many as a vector has lanes, into `rows`: n complex vectors across the rows."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real), s
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for s in range(n // lanes):
            transpose(tile + s * stride + 2 * group * lanes, rows + 2 * s * lanes)
            transpose(tile + s * stride + 2 * group * lanes + 1, rows + 2 * s * lanes + 1)
        forward(rows, n, twiddles)


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


cdef inline void filter_tile(vector *tile, Py_ssize_t stride, Py_ssize_t n, const vector *spectrum,
                             const real *twiddles, vector *rows, Region *soon, Py_ssize_t lines) noexcept nogil:
    """Replace a complex tile of n x n by its circular convolution with the kernel of this spectrum.

    Meanwhile up to `lines` cache lines of each region are fetched.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(real)
    cdef Py_ssize_t strips = n // lanes, s, g, i, share = lines // (3 * (n // lanes)) + 1
    cdef const vector *gain
    cdef vector xr, xi
    if (real is float and vector is float_vector) or (real is double and vector is double_vector):
        for s in range(strips):
            forward(tile + s * stride, n, twiddles)
            fetch(soon, share)
        for g in range(strips):
            fetch(soon, share)
            transform_rows(tile, stride, n, g, twiddles, rows)
            gain = spectrum + 2 * g * n
            for i in range(n):
                xr, xi = rows[2 * i], rows[2 * i + 1]
                rows[2 * i] = gain[2 * i] * xr - gain[2 * i + 1] * xi
                rows[2 * i + 1] = gain[2 * i] * xi + gain[2 * i + 1] * xr
            inverse(rows, n, twiddles)
            for s in range(strips):
                transpose(rows + 2 * s * lanes, tile + s * stride + 2 * g * lanes)
                transpose(rows + 2 * s * lanes + 1, tile + s * stride + 2 * g * lanes + 1)
        for s in range(strips):
            inverse(tile + s * stride, n, twiddles)
            fetch(soon, share)


cdef inline Py_ssize_t strip_stride(Py_ssize_t n) noexcept nogil:
    """Vectors from strip to strip: no power of two, or the strips would share their cache lines' places."""
    return 2 * n + 4


cdef inline void *allocate(size_t size) except NULL:
    """Zeroed memory on a cache line's border."""
    cdef void *memory = NULL
    if posix_memalign(&memory, 64, size):
        raise MemoryError()
    memset(memory, 0, size)
    return memory
