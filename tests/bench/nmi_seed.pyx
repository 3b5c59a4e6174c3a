"""The peers of tests/bench/nmi.py: a twin of the kernel that this project began with (NiftyReg's gradient of NMI by
voxel as a Cython loop), and a plain histogram with the same windows, their weights computed once per pixel."""

cimport cython
from libc.math cimport fabs


cdef double weight(double u):
    u = fabs(u)
    if u < 1:
        return 2. / 3 - u * u + 0.5 * u * u * u
    if u < 2:
        return (2 - u) * (2 - u) * (2 - u) / 6
    return 0


cdef double slope(double u):
    cdef double a = fabs(u)
    cdef double v
    if a < 1:
        return (1.5 * a - 2) * u
    if a < 2:
        v = -0.5 * (a - 2) * (a - 2)
        return -v if u < 0 else v
    return 0


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def gradient_2d(
    double[:, ::1] reference, double[:, ::1] warped, double[:, ::1] war_x, double[:, ::1] war_y,
    double[:, ::1] res_x, double[:, ::1] res_y, double[:] entropies, double[:, ::1] jhlog, double[:] reflog,
    double[:] warlog
):
    cdef double nmi = (entropies[0] + entropies[1]) / entropies[2]
    cdef double norm = entropies[2] * entropies[3]
    cdef double ref, war, c, cx, cy, joint_x, joint_y, ref_x, ref_y, war_sum_x, war_sum_y
    cdef int bins = <int>jhlog.shape[0]
    cdef int x, y, r, w
    for y in range(reference.shape[0]):
        for x in range(reference.shape[1]):
            ref, war = reference[y, x], warped[y, x]
            joint_x = joint_y = ref_x = ref_y = war_sum_x = war_sum_y = 0
            for r in range(int(ref - 1), int(ref + 3)):
                if -1 < r and r < bins:
                    for w in range(int(war - 1), int(war + 3)):
                        if -1 < w and w < bins:
                            c = weight(ref - r) * slope(war - w)
                            cx, cy = c * war_x[y, x], c * war_y[y, x]
                            joint_x += cx * jhlog[r, w]
                            ref_x += cx * reflog[r]
                            war_sum_x += cx * warlog[w]
                            joint_y += cy * jhlog[r, w]
                            ref_y += cy * reflog[r]
                            war_sum_y += cy * warlog[w]
            res_x[y, x] = (ref_x + war_sum_x - nmi * joint_x) / norm
            res_y[y, x] = (ref_y + war_sum_y - nmi * joint_y) / norm


@cython.boundscheck(False)
@cython.wraparound(False)
@cython.cdivision(True)
def histogram_2d(double[:, ::1] reference, double[:, ::1] warped, double[:, ::1] table):
    cdef double f[4]
    cdef double w[4]
    cdef int x, y, r, s, row, column
    table[:] = 0
    for y in range(reference.shape[0]):
        for x in range(reference.shape[1]):
            row, column = <int>reference[y, x] - 1, <int>warped[y, x] - 1
            for r in range(4):
                f[r] = weight(reference[y, x] - row - r)
                w[r] = weight(warped[y, x] - column - r)
            for r in range(4):
                for s in range(4):
                    table[row + r, column + s] += f[r] * w[s]
