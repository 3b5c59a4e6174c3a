"""Slow, plain references that the kernels are held against."""

import itertools

import numpy as np

BORDERS = ("reflect", "mirror", "nearest", "wrap", "constant")
_NUMPY_PAD = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "nearest": "edge",
    "wrap": "wrap",
}


def padded(image, kernel_shape, border, cval=0):
    """The image with as much border on each side as the kernel reaches."""
    width = [(size // 2, size - 1 - size // 2) for size in kernel_shape]
    if border == "constant":  # numpy.pad would turn Python's whole numbers into machine words
        around = np.full([n + sum(w) for n, w in zip(image.shape, width, strict=True)], cval, image.dtype)
        around[tuple(slice(before, before + n) for n, (before, _) in zip(image.shape, width, strict=True))] = image
        return around
    return np.pad(image, width, mode=_NUMPY_PAD[border])


def convolve(image, kernel, border="reflect", cval=0):
    """out[p] = sum over i of kernel[i] * image[p + centre - i], in the numbers' own arithmetic (object: exact)."""
    image, kernel = np.asarray(image), np.asarray(kernel)
    around = padded(image, kernel.shape, border, cval)
    total = np.zeros(image.shape, np.result_type(image, kernel))
    for place in itertools.product(*map(range, kernel.shape)):
        window = tuple(
            slice(size - 1 - i, size - 1 - i + n) for i, size, n in zip(place, kernel.shape, image.shape, strict=True)
        )
        total = total + kernel[place] * around[window]
    return total


def saturated(values, dtype):
    """Exact whole numbers clipped to an integer type."""
    info = np.iinfo(dtype)
    return np.clip(values, info.min, info.max).astype(dtype)


def random_image(rng, shape, dtype):
    """Numbers over the whole range of an integer type, or normal deviates."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def _index(i, n, border):
    """Where a place outside 0..n - 1 is read, step by step; n for the constant."""
    while not 0 <= i < n:
        if border == "constant":
            return n
        if border == "wrap":
            i += n if i < 0 else -n
        elif border == "nearest":
            i = 0 if i < 0 else n - 1
        elif border == "reflect":
            i = -1 - i if i < 0 else 2 * n - 1 - i
        else:
            i = 0 if n == 1 else -i if i < 0 else 2 * n - 2 - i
    return i


def filtered(image, kernel, *, border="reflect", cval=0, correlate=False, shape="same", anchor=None):
    """What `imgtool.convolve` promises, in the numbers' own arithmetic: one gather for each number of the kernel."""
    image, kernel = np.asarray(image), np.asarray(kernel)
    if correlate:
        kernel, anchor = (
            np.flip(kernel).conj(),
            anchor and [k - 1 - a for k, a in zip(kernel.shape, anchor, strict=True)],
        )
    anchor = anchor or [(k - 1) // 2 for k in kernel.shape]
    first = {"same": anchor, "full": [0] * kernel.ndim, "valid": [k - 1 for k in kernel.shape]}[shape]
    extra = {"same": 0, "full": 1, "valid": -1}[shape]
    size = [n + extra * (k - 1) for n, k in zip(image.shape, kernel.shape, strict=True)]
    around = np.pad(image, [(0, 1)] * image.ndim)
    for axis in range(image.ndim):
        around[(slice(None),) * axis + (-1,)] = cval
    total = np.zeros(size, np.result_type(image, kernel))
    for place in itertools.product(*map(range, kernel.shape)):
        tables = [
            [_index(p + start - i, n, border) for p in range(count)]
            for i, n, start, count in zip(place, image.shape, first, size, strict=True)
        ]
        total = total + kernel[place] * around[np.ix_(*tables)]
    return total


def cubic(u):
    """The cubic B-spline."""
    u = np.abs(u)
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.where(u < 2, (2 - u) ** 3 / 6, 0))


def cubic_slope(u):
    """Its derivative."""
    a = np.abs(u)
    return np.sign(u) * np.where(a < 1, 1.5 * a**2 - 2 * a, np.where(a < 2, -((2 - a) ** 2) / 2, 0))


def cubic_rows(positions, bins, function=cubic):
    """For each position a row of what `bins` bins get of it; a missing position gives nothing."""
    rows = function(np.asarray(positions, np.float64)[:, None] - np.arange(bins))
    return np.nan_to_num(rows, nan=0.0)
