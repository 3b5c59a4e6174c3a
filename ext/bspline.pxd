# Cubic B-spline weights. A point at `first + 1 + t`, 0 <= t <= 1, touches the four taps first ... first + 3.

ctypedef fused real:
    float
    double


cdef inline void cubic_weights(real t, real *w) noexcept nogil:
    # Numbers with a type of their own: Cython writes plain ones as doubles, and so all of the sum becomes double.
    cdef real one = 1, half = 0.5, sixth = <real>(1. / 6.), two_thirds = <real>(2. / 3.), u = one - t
    w[0] = u * u * u * sixth
    w[1] = two_thirds - t * t * (one - half * t)
    w[2] = two_thirds - u * u * (one - half * u)
    w[3] = t * t * t * sixth


cdef inline void cubic_slopes(real t, real *w) noexcept nogil:
    # Derivatives of the weights with respect to the position of the point; they sum to zero.
    cdef real one = 1, half = 0.5, three_halves = 1.5, two = 2, u = one - t
    w[0] = -half * u * u
    w[1] = t * (three_halves * t - two)
    w[2] = u * (two - three_halves * u)
    w[3] = half * t * t
