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
