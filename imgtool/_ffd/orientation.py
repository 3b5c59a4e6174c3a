"""The orientation of edges, which different contrasts of one scene have in common whatever their intensities are."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..filters import convolve

Plane = npt.NDArray[np.floating[Any]]

_SIGMA, _RADIUS = 0.7, 2  # pixels
# Gradients below the median are mostly noise; the constant, in image ranges per pixel, keeps flat images at 0.
_LEAST_NOISE = 1e-3
# The median is taken of about this many pixels.
_SAMPLES = 1 << 16


def orientation(plane: Plane, angle: float, threads: int) -> Plane:
    """(gx + i gy)^2 / (|g|^2 + e^2) for the gradient g of a plane turned by `angle`, as (2, height, width).

    The square makes an edge from dark to bright the same as one from bright to dark. e is the median of |g|, so flat
    regions, where the direction is that of the noise, come out small. Where a pixel nearby is missing it is 0.
    """
    taps = np.arange(-_RADIUS, _RADIUS + 1)
    smooth = np.exp(-(taps**2) / (2 * _SIGMA**2))
    smooth /= smooth.sum()
    slope = smooth * taps / _SIGMA**2
    gx, gy = (
        convolve(plane, np.outer(down, across), threads=threads) for down, across in ((smooth, slope), (slope, smooth))
    )
    strength = gx**2 + gy**2
    step = max(1, math.isqrt(strength.size // _SAMPLES))
    sample = strength[::step, ::step]
    sample = sample[~np.isnan(sample)]
    noise = (math.sqrt(float(np.median(sample))) if sample.size else 0.0) + _LEAST_NOISE
    strength += plane.dtype.type(noise**2)
    real, imaginary = (gx**2 - gy**2) / strength, 2 * gx * gy / strength
    cos, sin = (plane.dtype.type(turn) for turn in (math.cos(2 * angle), math.sin(2 * angle)))
    out = np.stack([cos * real - sin * imaginary, sin * real + cos * imaginary])
    np.nan_to_num(out, copy=False)
    return out
