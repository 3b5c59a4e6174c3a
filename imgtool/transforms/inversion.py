"""Inverses of transforms that have none in closed form."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .. import _ext
from .._check import Array, thread_count
from .._slabs import run_slabs
from ..errors import ImgtoolError
from ._base import BAND_PIXELS, Transform
from ._grid import Points, Shape, pixel_points
from .field import DisplacementField

# Pixels: solved. Linear interpolation between the pixels of the inverse errs by a thousand times as much.
_CLOSE = 1e-6
# Pixels between the points that are solved first; between them the others begin.
_LATTICE = 8
_ROUNDS = 40
_LONGEST_STEP = 8.0  # pixels, of one Newton step
_DIFFERENCE = 0.25  # pixels to either side, for derivatives

Matrix = npt.NDArray[np.float64]


def inverse_field(transform: Transform, shape: Shape | None = None, *, threads: int | None = None) -> DisplacementField:
    """The inverse of any transform, as a displacement for each pixel of its moving grid.

    Each pixel q is solved for the point p with transform(p) = q, first by fixed-point steps [1]_ about the matrix that
    is most like the transform, then, where these do not converge, by damped Newton steps. Every eighth pixel of every
    eighth row comes first; the others begin with what lies between these.

    Parameters
    ----------
    transform : Transform
    shape : (height, width), optional
        The grid of the inverse. Default: the transform's `moving_shape`, or its `fixed_shape` if that is not known.
    threads : int, optional
        Default: every processor. The result does not depend on it.

    Returns
    -------
    DisplacementField
        Its `residual` is the largest distance of transform(inverse(q)) from q, in pixels, at the pixels and half way
        between them, among those whose inverse lies in the fixed image, a pixel or more from its border. It is large
        where the transform folds: there is no inverse there.

    Raises
    ------
    ImgtoolError
        If neither size is known.

    References
    ----------
    .. [1] M. Chen et al., "A simple fixed-point approach to invert a deformation field", Medical Physics 35(1), 81-88
       (2008).

    Examples
    --------
    >>> import numpy as np
    >>> from imgtool.transforms import DisplacementField, inverse_field
    >>> y, x = np.mgrid[:40, :40]
    >>> wave = DisplacementField(np.dstack([np.sin(y / 8), np.cos(x / 8)]))
    >>> back = inverse_field(wave)
    >>> back.residual < 0.02
    True
    >>> back(wave([[20.5, 15]])).round(1)
    array([[20.5, 15. ]])
    """
    fixed_shape, threads = transform.grid(None), thread_count(threads)
    height, width = shape or transform.moving_shape or fixed_shape
    about = _matrix_like(transform, fixed_shape)
    lattice = _solved_lattice(transform, (height, width), about)
    field = np.empty((height, width, 2))
    band = max(1, BAND_PIXELS // width)

    def solve(top: int, stop: int) -> float:
        goals = pixel_points(range(top, stop), range(width))
        starts = np.empty_like(goals)
        _ext.displace(lattice, goals / _LATTICE, starts)
        starts -= goals / _LATTICE
        goals = goals.reshape(2, -1).T
        points, error = _solved(transform, goals, _before_matrix(goals, about) + starts.reshape(2, -1).T, about)
        field[top:stop] = (points - goals).reshape(stop - top, width, 2)
        return float(error[_inside(points, fixed_shape)].max(initial=0.0))

    residual = max(run_slabs(solve, height, band, threads))
    inverse = DisplacementField(field, fixed_shape)

    def largest_miss(top: int, stop: int) -> float:
        """Half way between pixels; beyond the last centre the inverse is continued, not interpolated."""
        goals = pixel_points(range(top, stop), range(width - 1)).reshape(2, -1).T + 0.5
        points = inverse(goals)
        inside = _inside(points, fixed_shape)
        miss = transform(points[inside]) - goals[inside]
        return float(np.hypot(*miss.T).max(initial=0.0))

    return replace(inverse, residual=max([residual, *run_slabs(largest_miss, height - 1, band, threads)]))


def _inside(points: Points, shape: Shape) -> npt.NDArray[np.bool_]:
    """Whether points lie a pixel or more from the border: at the very border a field has a kink, where it goes on."""
    return np.asarray(((points >= 1) & (points <= np.array(shape[::-1]) - 2)).all(axis=1))


def _before_matrix(goals: Points, matrix: Matrix) -> Points:
    """The points that a matrix takes to `goals`."""
    return np.asarray((goals - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T)


def _solved_lattice(transform: Transform, shape: Shape, about: Matrix) -> npt.NDArray[np.float64]:
    """How far from where `about` says the solutions lie, on a lattice over all pixels: (rows, columns, 2)."""
    rows, columns = (-(-(size - 1) // _LATTICE) + 1 for size in shape)
    goals = pixel_points(range(rows), range(columns)).reshape(2, -1).T * _LATTICE
    starts = _before_matrix(goals, about)
    points, _ = _solved(transform, goals, starts, about)
    return np.ascontiguousarray((points - starts).reshape(rows, columns, 2))


def solved_points(transform: Transform, points: Points) -> Points:
    """The points that the transform takes to `points`, without an inverse for all pixels."""
    if not len(points):
        return points.copy()
    about = _matrix_like(transform, transform.grid(None))
    return _solved(transform, points, _before_matrix(points, about), about)[0]


def _matrix_like(transform: Transform, shape: Shape) -> Matrix:
    """The affine matrix (2, 3) that is closest to the transform on a coarse grid over the fixed image."""
    y, x = (np.linspace(0, size - 1, 17) for size in shape)
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    # An axis of one pixel says nothing about its direction; the displacement, not the position, is then 0 along it.
    about = np.hstack([points, np.ones((len(points), 1))])
    fitted, *_ = np.linalg.lstsq(about, transform(points) - points, rcond=None)
    matrix: Matrix = fitted.T + np.eye(2, 3)
    if abs(np.linalg.det(matrix[:, :2])) < 1e-6:
        raise ImgtoolError("the transform maps the whole image to a line or a point, so it has no inverse")
    return matrix


def _solved(transform: Transform, goals: Points, starts: Points, about: Matrix) -> tuple[Points, Points]:
    """The points that the transform takes to `goals`, as well as they can be found, and how far each misses."""
    back = np.linalg.inv(about[:, :2]).T
    points = starts.copy()
    miss = transform(points) - goals
    error = np.hypot(*miss.T)
    for _ in range(_ROUNDS):  # all of them at once, as long as that serves all of them
        if not (error > _CLOSE).any():
            return points, error
        tried = points - miss @ back
        tried_miss = transform(tried) - goals
        tried_error = np.hypot(*tried_miss.T)
        if not tried_error.max() <= error.max() / 2:  # nor where there is a NaN
            break
        points, miss, error = tried, tried_miss, tried_error
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero(error > _CLOSE)
        if not open_.size:
            return points, error
        tried = points[open_] - miss[open_] @ back
        if _keep_better(transform, goals, points, miss, error, open_, tried) < 0.5:
            break
    _newton(transform, goals, points, miss, error)
    return points, error


def _newton(transform: Transform, goals: Points, points: Points, miss: Points, error: Points) -> None:
    """Damped Newton steps, in place, for the points that are not solved yet."""
    damping = np.ones(len(points))
    for _ in range(_ROUNDS):
        open_ = np.flatnonzero((error > _CLOSE) & (damping > 1e-3))
        if not open_.size:
            return
        steps = _newton_steps(transform, points[open_], miss[open_]) * damping[open_, None]
        before = error[open_]
        _keep_better(transform, goals, points, miss, error, open_, points[open_] - steps)
        better = error[open_] < before
        damping[open_] = np.where(better, np.minimum(2 * damping[open_], 1), damping[open_] / 2)


def _newton_steps(transform: Transform, points: Points, miss: Points) -> Points:
    """The solutions of derivative * step = miss, none of them longer than the longest step."""
    xx, yx, xy, yy = (
        component
        for step in ((_DIFFERENCE, 0.0), (0.0, _DIFFERENCE))
        for component in ((transform(points + step) - transform(points - step)) / (2 * _DIFFERENCE)).T
    )
    determinant = xx * yy - xy * yx
    determinant[np.abs(determinant) < 1e-3] = 1e-3
    x, y = miss.T
    steps = np.stack([yy * x - xy * y, xx * y - yx * x], axis=1) / determinant[:, None]
    length = np.hypot(*steps.T)
    return np.asarray(steps * (_LONGEST_STEP / np.maximum(length, _LONGEST_STEP))[:, None])


def _keep_better(
    transform: Transform, goals: Points, points: Points, miss: Points, error: Points, which: Array, tried: Points
) -> float:
    """Take over those of the points tried that miss by less, in place; their share."""
    new_miss = transform(tried) - goals[which]
    new_error = np.hypot(*new_miss.T)
    better = new_error < error[which]
    chosen = which[better]
    points[chosen], miss[chosen], error[chosen] = tried[better], new_miss[better], new_error[better]
    return float(better.mean())
