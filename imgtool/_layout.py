"""How two images are laid out to be compared, whatever order and orientation they come in."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Plane = npt.NDArray[np.float32]
Planes = tuple[Plane, Plane]

# Lines of larger images are left out until about this many pixels remain.
_ENOUGH_PIXELS = 1 << 16
_LEVELS = 255
# Rows that are transposed at a time, so that what is read and written stays in the cache.
_STRIP = 32


class Layout(NamedTuple):
    """What is done to two images before they are compared; both are mirrored, and then transposed, alike."""

    swapped: bool
    mirrored: tuple[bool, bool]  # across and down
    transposed: bool

    def planes(self, planes: Planes) -> Planes:
        """Both in this layout."""
        one, other = (self._laid_out(plane) for plane in planes)
        return (other, one) if self.swapped else (one, other)

    def enter(self, matrix: Matrix, planes: Planes) -> Matrix:
        """The matrix between `planes` as one between them in this layout."""
        to_fixed, to_moving = (self._to_given(plane) for plane in planes)
        inner: Matrix = np.linalg.inv(to_moving) @ matrix @ to_fixed
        return _normal(np.linalg.inv(inner) if self.swapped else inner)

    def leave(self, matrix: Matrix, planes: Planes) -> Matrix:
        """The matrix between planes in this layout as one between `planes`."""
        to_fixed, to_moving = (self._to_given(plane) for plane in planes)
        inner = np.linalg.inv(matrix) if self.swapped else matrix
        return _normal(to_moving @ inner @ np.linalg.inv(to_fixed))

    def _laid_out(self, plane: Plane) -> Plane:
        across, down = (slice(None, None, -1 if mirrored else 1) for mirrored in self.mirrored)
        plane = plane[down, across]
        if not self.transposed:
            return np.ascontiguousarray(plane)
        out = np.empty(plane.shape[::-1], np.float32)
        for row in range(0, len(plane), _STRIP):
            out[:, row : row + _STRIP] = plane[row : row + _STRIP].T
        return out

    def _to_given(self, plane: Plane) -> Matrix:
        """The matrix from the pixels of this plane laid out to those of the plane as it came."""
        matrix = np.eye(3)
        for axis, (mirrored, size) in enumerate(zip(self.mirrored, plane.shape[::-1], strict=True)):
            if mirrored:
                matrix[axis, axis], matrix[axis, 2] = -1, size - 1
        return matrix[:, [1, 0, 2]] if self.transposed else matrix


def layout(fixed: Plane, moving: Plane) -> Layout:
    """The one layout of two planes of values in [0, 1], NaN where pixels are missing.

    First comes the smaller one, because the search sees most of it; or of two with as many pixels the one that varies
    more, because interpolation loses less of the smoother one. It is mirrored until it varies more on the right and
    below, and lies so that it varies more across than down. Linear changes of intensity do not alter that. Only of
    images alike in all this the bytes decide.
    """
    planes = fixed, moving
    counts = [int(np.count_nonzero(~np.isnan(plane))) for plane in planes]
    profiles = [_profiles(plane) for plane in planes]
    ranks = [(count, -float(across.sum() + down.sum())) for count, (across, down) in zip(counts, profiles, strict=True)]
    swapped = ranks[0] > ranks[1] or (ranks[0] == ranks[1] and fixed.tobytes() > moving.tobytes())
    across, down = profiles[swapped]
    return Layout(swapped, (_lean(across) < 0, _lean(down) < 0), bool(down.sum() > across.sum()))


def _profiles(plane: Plane) -> tuple[Vector, Vector]:
    """The sums of the differences of neighbours across, by column, and down, by row.

    They are in whole levels, which add up to the same in any order.
    """
    step = max(1, round(math.sqrt(plane.size / _ENOUGH_PIXELS)))
    sums = []
    for lines in (plane[::step], plane.T[::step]):
        difference = np.abs(lines[:, 1:] - lines[:, :-1])
        difference *= _LEVELS
        np.rint(difference, out=difference)
        # Of two numbers of which one is NaN, this takes the other.
        sums.append(np.fmax(difference, 0, out=difference).sum(axis=0, dtype=np.float64))
    return sums[0], sums[1]


def _lean(profile: Vector) -> float:
    """More than 0 if there is more in the second half, less than 0 if in the first."""
    return float(profile @ (2 * np.arange(profile.size) - (profile.size - 1)))


def _normal(matrix: npt.NDArray[np.floating[Any]]) -> Matrix:
    return np.asarray(matrix / matrix[2, 2])
