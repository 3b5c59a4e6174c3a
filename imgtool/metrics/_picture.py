"""The joint histogram as a picture that people can look at."""

import numpy as np
import numpy.typing as npt

from ._workspace import Table

_SIDE = 512  # pixels that the square of the histogram should about have
# From nothing over little to much: dark, violet, red, orange, pale yellow; brightness rises evenly.
_COLOURS = np.array([[8, 6, 28], [70, 20, 110], [160, 42, 100], [226, 98, 50], [250, 182, 60], [252, 250, 200]])
_PAPER, _BAR = 255, 90

Picture = npt.NDArray[np.uint8]


def picture(joint: Table) -> Picture:
    """A joint histogram (fixed bins, moving bins) in colour, brighter for more pixels on a logarithmic scale.

    Fixed intensities rise to the right and moving ones upwards, as the gray wedges along both axes show; the histograms
    of either image alone stand beyond the opposite sides. Images that match give lines or spots, others clouds.

    Returns
    -------
    (height, width, 3) uint8 array
    """
    cell = max(1, _SIDE // len(joint))
    side, strip = cell * len(joint), 24
    gap = strip // 4
    out = np.full((side + 4 * strip + 2 * gap, side + 4 * strip + 2 * gap, 3), _PAPER, np.uint8)
    top, left = 3 * strip + gap, strip + gap
    out[top : top + side, left : left + side] = _tile(_coloured(joint.T[::-1]), cell)
    wedge = np.linspace(0, 255, len(joint)).astype(np.uint8)
    out[top + side + gap :, left : left + side] = _tile(wedge[np.newaxis, :, np.newaxis], cell)[:1]
    out[top : top + side, :strip] = _tile(wedge[::-1, np.newaxis, np.newaxis], cell)[:, :1]
    fixed, moving = (_bars(joint.sum(axis=axis), cell, 3 * strip) for axis in (1, 0))
    out[: 3 * strip, left : left + side] = fixed[..., np.newaxis]
    out[top : top + side, left + side + gap :] = moving[::-1].T[::-1, :, np.newaxis]
    return out


def _coloured(table: Table) -> Picture:
    # A single pixel's window spreads over sixteen bins: its tails are nothing to be seen.
    share = np.log1p(table) / max(float(np.log1p(table).max()), 1e-300)
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(share, places, channel) for channel in _COLOURS.T], axis=-1).round().astype(np.uint8)


def _tile(image: Picture, cell: int) -> Picture:
    return image.repeat(cell, axis=0).repeat(cell, axis=1)


def _bars(histogram: npt.NDArray[np.float64], cell: int, height: int) -> Picture:
    """A bar for each bin, upwards, on a square-root scale, which shows the small beside the large."""
    tops = np.rint(np.sqrt(histogram / histogram.max()) * height).repeat(cell)
    return np.where(np.arange(height)[::-1, np.newaxis] < tops, _BAR, _PAPER).astype(np.uint8)
