"""Frames that do not move with what they show: the black round a retina, the sector of an ultrasound probe."""

import numpy as np
import numpy.typing as npt

from ._fields import resized
from .filters import convolve

Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# The longer side on which frames are looked for.
_SIDE = 256
# What is flat: within this share of the image's range of the commonest value on its border.
_FLAT = 0.03
# Noise widens that to so many standard deviations; values further away than this are none of the background's.
_DEVIATIONS, _NOISY = 4.0, 0.1
_NORMAL = 1.4826  # the standard deviation over the median magnitude of normal numbers
_NEIGHBOURS = np.full((3, 3), 1 / 9)
_LEAST_BORDER, _LEAST_AREA, _LARGEST_AREA = 0.1, 0.02, 0.9
_LEAST_SIDE = 32
# The share of each background's outline that must lie on the other's, within a pixel of the reduced images.
_LEAST_COINCIDENCE = 0.3


def static_frame(fixed: Plane, moving: Plane) -> Mask | None:
    """Where both images show the same flat background, if its outline is at the same place in both.

    Such an outline says that the images coincide as they are, whatever the motion inside; so it must not count. Where
    the coincidence is no artefact, what lies inside says the same, and nothing is lost.
    """
    if fixed.shape != moving.shape or min(fixed.shape) < _LEAST_SIDE:
        return None
    factor = -(-max(fixed.shape) // _SIDE)
    shape = max(4, fixed.shape[0] // factor), max(4, fixed.shape[1] // factor)
    one, other = (_background(plane, shape) for plane in (fixed, moving))
    if one is None or other is None:
        return None
    coincidence = min(_share_on(_outline(one), _outline(other)), _share_on(_outline(other), _outline(one)))
    if coincidence < _LEAST_COINCIDENCE:
        return None
    static = _grown(one & other)
    return _enlarged(static, fixed.shape) if static.mean() <= _LARGEST_AREA else None


def _background(plane: Plane, shape: tuple[int, int]) -> Mask | None:
    """The flat pixels that a straight line along a row or a column joins to the image's border."""
    border = np.concatenate([plane[:2].ravel(), plane[-2:].ravel(), plane[:, :2].ravel(), plane[:, -2:].ravel()])
    border = border[~np.isnan(border)]
    if not border.size:
        return None
    counts, edges = np.histogram(border, 64, (0.0, 1.0))
    commonest = np.median(border[np.abs(border - (edges[counts.argmax()] + 1 / 128)) <= 1 / 128])
    away = np.abs(border - commonest)
    if np.count_nonzero(away <= _FLAT) < _LEAST_BORDER * border.size:
        return None
    noise = _DEVIATIONS * _NORMAL * float(np.median(away[away <= _NOISY]))
    with np.errstate(invalid="ignore"):
        differs = (np.abs(plane - commonest) > max(_FLAT, noise)).astype(np.float32)
    flat = resized(differs, shape)[0] < 0.02
    if noise > _FLAT:  # what one pixel does not tell from it the mean of some does
        means, exists = resized(plane, shape)
        means = convolve(means, _NEIGHBOURS, border="nearest", threads=1)
        flat &= (np.abs(means - commonest) <= max(_FLAT, noise / 3)) | (exists < 1)
    reached = np.zeros_like(flat)
    for axis in (0, 1):
        for way in (slice(None), slice(None, None, -1)):
            along = np.moveaxis(flat, axis, 0)[way]
            np.moveaxis(reached, axis, 0)[way] |= np.logical_and.accumulate(along, axis=0)
    return reached if reached.mean() >= _LEAST_AREA else None


def _outline(background: Mask) -> Mask:
    """Pixels of the background beside others."""
    return background & _grown(~background)


def _share_on(outline: Mask, other: Mask) -> float:
    """The share of one outline that lies on the other, within a pixel."""
    return int(np.count_nonzero(outline & _grown(other))) / max(int(np.count_nonzero(outline)), 1)


def _grown(mask: Mask) -> Mask:
    out = mask.copy()
    for axis in (0, 1):
        before, after = np.moveaxis(out, axis, 0), np.moveaxis(out.copy(), axis, 0)
        before[1:] |= after[:-1]
        before[:-1] |= after[1:]
    return out


def _enlarged(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """`mask` at a larger size, each pixel that of the area it lies in."""
    rows, columns = (np.arange(size) * small // size for size, small in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]
