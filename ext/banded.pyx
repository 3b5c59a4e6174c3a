"""Symmetric positive definite systems whose matrix has few diagonals."""

from libc.math cimport NAN, log, sqrt

cdef enum:
    # Rows that are subtracted from those below them together: a row is loaded and stored once for all.
    GROUP = 4


def banded_cholesky(double[:, ::1] rows):
    """Factorise A = U' U in place, and return log det A; NaN if A is not positive definite.

    `rows[i, k]` is A[i, i + k], then U[i, i + k]; what lies beyond the matrix is neither read nor written. (Golub & Van
    Loan, Matrix Computations, 2013, 4.3.5.)
    """
    cdef Py_ssize_t count = rows.shape[0], width = rows.shape[1], first = 0, last, row, pivot, k, reach
    cdef double total = 0, scale
    cdef double *line
    with nogil:
        while first < count:
            last = min(first + GROUP, count)
            for pivot in range(first, last):
                line = &rows[pivot, 0]
                if not line[0] > 0:
                    total = NAN
                    break
                total += log(line[0])
                reach = min(width, count - pivot)
                scale = 1 / sqrt(line[0])
                for k in range(reach):
                    line[k] *= scale
                for row in range(pivot + 1, min(pivot + reach, last)):
                    subtract(&rows[row, 0], line + row - pivot, line[row - pivot], reach - row + pivot)
            if total != total:
                break
            for row in range(last, min(last - 1 + width, count)):
                subtract_group(&rows[0, 0], width, count, first, last, row)
            first = last
    return total


cdef inline void subtract(double *target, const double *source, double factor, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(count):
        target[k] -= factor * source[k]


cdef inline void subtract_group(
    double *rows, Py_ssize_t width, Py_ssize_t count, Py_ssize_t first, Py_ssize_t last, Py_ssize_t row
) noexcept nogil:
    # From a row, the multiples of the rows [first, last) that they hold for it.
    cdef Py_ssize_t pivot, k, own, shared = max(min(width, count - first) - row + first, 0)
    cdef double *target = rows + row * width
    cdef const double *a = rows + first * width + row - first
    cdef const double *b = a + width - 1
    cdef const double *c = b + width - 1
    cdef const double *d = c + width - 1
    cdef double by_a, by_b, by_c, by_d
    if last - first < GROUP:
        shared = 0
    elif shared > 0:
        by_a, by_b, by_c, by_d = a[0], b[0], c[0], d[0]
        for k in range(shared):
            target[k] -= by_a * a[k] + by_b * b[k] + (by_c * c[k] + by_d * d[k])
    # Later rows reach further.
    for pivot in range(first, last):
        a = rows + pivot * width + row - pivot
        own = min(width, count - pivot) - row + pivot
        if own > shared:
            subtract(target + shared, a + shared, a[0], own - shared)


def banded_solve(const double[:, ::1] factor, double[::1] vector):
    """Replace b by the solution x of A x = b, A factorised by `banded_cholesky`."""
    cdef Py_ssize_t count = factor.shape[0], width = factor.shape[1], row, k
    cdef double value
    cdef const double *line
    with nogil:
        for row in range(count):
            line = &factor[row, 0]
            value = vector[row] / line[0]
            vector[row] = value
            for k in range(1, min(width, count - row)):
                vector[row + k] -= line[k] * value
        for row in range(count - 1, -1, -1):
            line = &factor[row, 0]
            value = vector[row]
            for k in range(1, min(width, count - row)):
                value -= line[k] * vector[row + k]
            vector[row] = value / line[0]
