"""What writers of animations share: the part of a frame that has changed, and how long each is seen."""

from typing import NamedTuple

import numpy as np

from ._image import Array, Metadata


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of an image."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, data: Array) -> Array:
        """The part of an image inside."""
        part: Array = data[self.top : self.bottom, self.left : self.right]
        return part


def changed(before: Array | None, after: Array, *, even: bool = False) -> Box:
    """The smallest box that holds every pixel that differs; at least a pixel, all of it without a frame before.

    `even` asks for corners at even places, which is all that WebP has.

    >>> one, other = np.zeros((2, 4, 6))
    >>> other[1:3, 4] = 1
    >>> changed(one, other)
    Box(top=1, bottom=3, left=4, right=5)
    """
    height, width = after.shape[:2]
    if before is None:
        return Box(0, height, 0, width)
    differs = before != after
    differs = differs.any(axis=2) if differs.ndim == 3 else differs
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    if not rows.size:
        return Box(0, 1, 0, 1)
    top, left = int(rows[0]), int(columns[0])
    return Box(top - even * (top % 2), int(rows[-1]) + 1, left - even * (left % 2), int(columns[-1]) + 1)


def durations(metadata: Metadata, frames: int) -> list[float]:
    """For how many milliseconds each of so many frames is seen."""
    given: list[float] = list(metadata["frames"]["durations"])
    return (given + given[-1:] * frames)[:frames]


def ticks(spans: list[float], unit: float) -> list[int]:
    """Spans of milliseconds as whole numbers of `unit` such that errors do not add up.

    >>> ticks([33.3, 33.3, 33.4], 10)
    [3, 4, 3]
    """
    ends = [round(float(end) / unit) for end in np.cumsum(spans)]
    return [after - before for before, after in zip([0, *ends], ends, strict=False)]
