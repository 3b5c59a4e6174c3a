"""Orientation fields: what the search before the climb compares instead of intensities."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from . import _ext

Matrix = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]

_SIGMA = 0.7
# Gradients this near to an edge of what exists, in pixels, would show that edge.
_MARGIN = 2
# Gradients of less than the median are mostly noise; the constant, in image ranges per pixel, keeps flat images at 0.
_LEAST_NOISE = 1e-3
# Samples of weaker orientation carry no information worth their time.
_LEAST_ORIENTATION = 0.05


@dataclass(frozen=True, eq=False)
class Field:
    """The gradient of an image at one resolution, 0 beside edges of what exists, and the share of each pixel that does.

    `noise` is the squared gradient at which orientation begins to count; `to_full` maps its pixels (x, y, 1) to those
    of the image.
    """

    pixels: npt.NDArray[np.float32]  # (height, width, 4): the gradient's x and y, the share that exists, 0
    noise: float
    to_full: Matrix
    from_full: Matrix

    @classmethod
    def of(cls, plane: Plane, shape: tuple[int, int]) -> "Field":
        """The field of `plane`, intensities in [0, 1] with NaN where pixels are missing, averaged to `shape`."""
        small, weight = resized(plane, shape)
        exists = weight >= 0.5
        if not exists.all():
            small[~exists] = small[exists].mean() if exists.any() else 0
        inside = _eroded(exists)
        pixels = np.zeros((*shape, 4), np.float32)
        for i, gradient in enumerate(_gradient(small)):
            pixels[..., i] = np.where(inside, gradient, np.float32(0))
        pixels[..., 2] = weight
        strength = np.hypot(pixels[..., 0], pixels[..., 1])[inside]
        noise = (float(np.median(strength)) if strength.size else 0.0) + _LEAST_NOISE
        y, x = (full / size for full, size in zip(plane.shape, shape, strict=True))
        to_full = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
        return cls(pixels, noise**2, to_full, np.linalg.inv(to_full))

    @property
    def weight(self) -> Plane:
        """The share of each pixel that exists."""
        return self.pixels[..., 2]

    @cached_property
    def orientation(self) -> tuple[Plane, Plane]:
        """Twice the gradient's angle, as the real and imaginary part of a number of magnitude below 1."""
        gx, gy = self.pixels[..., 0], self.pixels[..., 1]
        norm = np.float32(1) / (gx**2 + gy**2 + np.float32(self.noise))
        return np.asarray((gx**2 - gy**2) * norm), np.asarray(2 * gx * gy * norm)

    @cached_property
    def samples(self) -> npt.NDArray[np.float32]:
        """x, y and both parts of the orientation of the pixels that have one; zeros up to a multiple of 16."""
        real, imaginary = self.orientation
        y, x = np.nonzero(real**2 + imaginary**2 > _LEAST_ORIENTATION**2)
        out = np.zeros((4, -(-x.size // 16) * 16), np.float32)
        out[:, : x.size] = x, y, real[y, x], imaginary[y, x]
        return out


def resized(plane: Plane, shape: tuple[int, int]) -> tuple[Plane, Plane]:
    """`plane` averaged over areas, 0 where nothing exists, and the share of each area that does."""
    means, weights = np.empty((2, *shape), np.float32)
    _ext.area_means(np.ascontiguousarray(plane, np.float32), means, weights)
    return means, weights


def _gradient(image: Plane) -> tuple[Plane, Plane]:
    radius = math.ceil(4 * _SIGMA)
    place = np.arange(-radius, radius + 1, dtype=np.float64)
    smooth = np.exp(-(place**2) / (2 * _SIGMA**2))
    smooth /= smooth.sum()
    slope = place * smooth
    slope /= (place * slope).sum()
    padded = np.pad(image, radius, mode="edge")

    def along(values: Plane, taps: npt.NDArray[np.float64], axis: int) -> Plane:
        length = values.shape[axis] - 2 * radius
        out = np.zeros([length if i == axis else size for i, size in enumerate(values.shape)], np.float32)
        for i, tap in enumerate(taps):
            out += np.float32(tap) * (values[i : i + length] if axis == 0 else values[:, i : i + length])
        return out

    return along(along(padded, smooth, 0), slope, 1), along(along(padded, slope, 0), smooth, 1)


def _eroded(exists: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The pixels with none missing, and no edge of the image, within `_MARGIN` pixels."""
    out = exists.copy()
    for axis in (0, 1):
        along = np.moveaxis(out, axis, 0)
        before = np.pad(along, ((_MARGIN, _MARGIN), (0, 0)))
        shrunk = np.ones_like(along)
        for i in range(2 * _MARGIN + 1):
            shrunk &= before[i : i + len(along)]
        out = np.moveaxis(shrunk, 0, axis)
    return out
