# Cubic B-spline weights. A point at `first + 1 + t`, 0 <= t <= 1, touches the four taps first ... first + 3.

ctypedef fused real:
    float
    double


cdef inline void cubic_weights(real t, real *w) noexcept nogil:
    cdef real u = 1 - t
    w[0] = u * u * u * <real>(1. / 6.)
    w[1] = <real>(2. / 3.) - t * t * (1 - <real>0.5 * t)
    w[2] = <real>(2. / 3.) - u * u * (1 - <real>0.5 * u)
    w[3] = t * t * t * <real>(1. / 6.)


cdef inline void cubic_slopes(real t, real *w) noexcept nogil:
    # Derivatives of the weights with respect to the position of the point; they sum to zero.
    cdef real u = 1 - t
    w[0] = <real>-0.5 * u * u
    w[1] = t * (<real>1.5 * t - 2)
    w[2] = u * (2 - <real>1.5 * u)
    w[3] = <real>0.5 * t * t
