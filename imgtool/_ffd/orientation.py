"""The orientation of edges, which different contrasts of one scene have in common whatever their intensities are."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from .._slabs import run_slabs
from ..filters import convolve

Plane = npt.NDArray[np.floating[Any]]

_SIGMA, _RADIUS = 0.6, 2  # pixels
_TAPS = np.arange(-_RADIUS, _RADIUS + 1)
_SMOOTH = np.exp(-(_TAPS**2) / (2 * _SIGMA**2))
_SMOOTH /= _SMOOTH.sum()
_SLOPE = _SMOOTH * _TAPS / _SIGMA**2
# Gradients below the median are mostly noise; the constant, in image ranges per pixel, keeps flat images at 0.
_LEAST_NOISE = 1e-3
# The median is taken of about this many pixels.
_SAMPLES = 1 << 16
_SLAB_PIXELS = 1 << 16


def orientation(plane: Plane, angle: float, threads: int) -> Plane:
    """(gx + i gy)^2 / (|g|^2 + e^2) for the gradient g of a plane turned by `angle`, as (2, height, width).

    The square makes an edge from dark to bright the same as one from bright to dark. e is the median of |g|, so flat
    regions, where the direction is that of the noise, come out small. Where a pixel nearby is missing it is 0.
    """
    out = np.empty((2, *plane.shape), plane.dtype)
    slab_rows = max(1, _SLAB_PIXELS // plane.shape[1])
    run_slabs(lambda start, stop: _store_gradient(plane, start, stop, out), len(plane), slab_rows, threads)
    step = max(1, math.isqrt(plane.size // _SAMPLES))
    strength = np.hypot(*out[:, ::step, ::step])
    strength = strength[~np.isnan(strength)]
    noise = (float(np.median(strength)) if strength.size else 0.0) + _LEAST_NOISE
    turn = complex(math.cos(2 * angle), math.sin(2 * angle))
    run_slabs(lambda start, stop: _double_angle(out[:, start:stop], noise, turn), len(plane), slab_rows, threads)
    return out


def _store_gradient(plane: Plane, start: int, stop: int, out: Plane) -> None:
    first = max(start - _RADIUS, 0)
    rows = plane[first : stop + _RADIUS]
    for kernel, component in ((np.outer(_SMOOTH, _SLOPE), out[0]), (np.outer(_SLOPE, _SMOOTH), out[1])):
        component[start:stop] = convolve(rows, kernel, threads=1)[start - first : stop - first]


def _double_angle(gradient: Plane, noise: float, turn: complex) -> None:
    """Replace gradients by their orientations."""
    gx, gy = gradient
    weight = 1 / (gx * gx + gy * gy + gradient.dtype.type(noise**2))
    real, imaginary = (gx * gx - gy * gy) * weight, 2 * gx * gy * weight
    gradient[0] = gradient.dtype.type(turn.real) * real - gradient.dtype.type(turn.imag) * imaginary
    gradient[1] = gradient.dtype.type(turn.imag) * real + gradient.dtype.type(turn.real) * imaginary
    np.nan_to_num(gradient, copy=False)
