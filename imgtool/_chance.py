"""Whether images that differ in place by a fraction of a pixel may differ by chance alone."""

import math

import numpy as np
import numpy.typing as npt

from . import metrics
from ._check import Array
from ._level import Planes
from .filters import convolve

Plane = npt.NDArray[np.float32]

# Noise of neighbours may be alike, so what pixels say counts as independent block by block, this many pixels wide.
_BLOCK = 4
# Where noise is all there is the statistic has a mean of one and a variance of two for each parameter; what exceeds the
# mean by more standard deviations than this, once in about 70 times, is no chance.
_CHANCE = 3.0
# The derivative across (Sobel & Feldman 1968), which has no share in the pixel that it is taken at: their noise is not
# the same. Transposed, it is the one down.
_ACROSS = np.array([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8


def fit_as_they_are(planes: Planes, model: str, bins: int, threads: int) -> bool:
    """Whether two images of one size say no more against fitting pixel upon pixel than noise would.

    That is the score test (C. R. Rao, Mathematical Proceedings of the Cambridge Philosophical Society 44, 1948) of the
    parameters of `model`: the gradient of NMI with respect to them, over its own covariance. The latter comes from sums
    over blocks of pixels (H. White, Econometrica 50, 1982) and not from the curvature of NMI, for the histogram does
    not explain all that images show. At the pixels' centres nothing is interpolated: noise remains what it is.
    """
    fixed, moving = planes
    across, down = (_pull(fixed, moving, bins, threads) - _pull(moving, fixed, bins, threads)) / 2
    # In halves of the longer side, so that no parameter has much larger sums than others.
    y, x = np.indices(across.shape)
    half = max(across.shape) / 2
    x, y = ((each - each.max() / 2) / half for each in (x, y))
    along = x * across + y * down
    columns = {
        "translation": [across, down],
        "rigid": [across, down, x * down - y * across],
        "similarity": [across, down, x * down - y * across, along],
        "affine": [across, down, x * across, y * across, x * down, y * down],
        "projective": [across, down, x * across, y * across, x * down, y * down, x * along, y * along],
    }[model]
    scores = np.stack([column.ravel() for column in columns])
    total, covariance = scores.sum(axis=1), scores @ scores.T
    statistic = float(total @ np.linalg.lstsq(covariance, total)[0])
    return statistic < len(columns) + _CHANCE * math.sqrt(2 * len(columns))


def _pull(fixed: Plane, moving: Plane, bins: int, threads: int) -> Array:
    """By how much NMI grows as the pixels of moving are taken further right and down, summed over blocks."""
    workspace = metrics.Workspace(bins=bins, threads=threads)
    workspace.set_fixed(fixed, limits=(0.0, 1.0))
    workspace.set_moving(moving, limits=(0.0, 1.0))
    workspace.evaluate()
    by_value = workspace.derivative()
    starts = [range(0, size, _BLOCK) for size in moving.shape]
    sums = []
    for kernel in (_ACROSS, _ACROSS.T):
        slope = convolve(moving, kernel, correlate=True, border="nearest", threads=threads)
        pull = np.nan_to_num(by_value * slope, copy=False).astype(np.float64)
        sums.append(np.add.reduceat(np.add.reduceat(pull, starts[0], axis=0), starts[1], axis=1))
    return np.stack(sums)
