"""Matched points of two images: the transform that fits them best, and how far a transform is from them."""

from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ._check import as_array
from .errors import ImgtoolError

Matrix = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]

# The fewest pairs of points that determine a transform of each model.
LEAST_PAIRS = {"translation": 1, "rigid": 2, "similarity": 2, "affine": 3, "projective": 4}
# Points whose spread across is less than this share of that along lie on a line, as far as anyone can click.
_FLAT = 1e-6


class Transform(Protocol):
    """What is needed of a transform here; those of `imgtool.transforms` have it."""

    def __call__(self, points: npt.ArrayLike) -> Points: ...

    def solve(self, points: npt.ArrayLike) -> Points: ...


def fit(fixed: npt.ArrayLike, moving: npt.ArrayLike, model: str) -> Matrix:
    """The matrix that maps `fixed` to `moving` with the least sum of squared distances, in closed form.

    Translation, rigid and similarity are solved in the complex plane, affine by linear least squares. The projective
    one is the direct linear transform of normalised coordinates [1]_, which is exact for exact points and minimises an
    algebraic error otherwise.

    Parameters
    ----------
    fixed, moving : array_like, (N, 2)
        x, y of the same spots in both images.
    model : {"translation", "rigid", "similarity", "affine", "projective"}

    Returns
    -------
    (3, 3) ndarray
        Maps (x, y, 1) of the fixed image to that of the moving one.

    Raises
    ------
    ImgtoolError
        If the points are too few, lie on one place or line where that leaves the transform undetermined, or are not
        finite.

    References
    ----------
    .. [1] R. Hartley, "In defense of the eight-point algorithm", IEEE Transactions on Pattern Analysis and Machine
       Intelligence 19(6), 580-593 (1997).

    Examples
    --------
    >>> fit([[0, 0], [10, 0]], [[5, 5], [5, 15]], "rigid").round(6) + 0.0
    array([[ 0., -1.,  5.],
           [ 1.,  0.,  5.],
           [ 0.,  0.,  1.]])
    """
    if model not in LEAST_PAIRS:
        raise ImgtoolError(f"model {model!r} is unknown; use {', '.join(LEAST_PAIRS)}")
    f, m = _pairs(fixed, moving)
    if len(f) < LEAST_PAIRS[model]:
        what = f"{LEAST_PAIRS[model]} landmarks or more, not {len(f)}"
        raise ImgtoolError(f"{_an(model)} transform needs {what}; add some or choose a simpler model")
    # About the centroids the numbers are small, and the shift takes care of itself.
    centres = f.mean(axis=0), m.mean(axis=0)
    about = _FITS[model](f - centres[0], m - centres[1])
    matrix = _shifted(centres[1]) @ about @ _shifted(-centres[0])
    # Points and the image's origin are on the same side of the horizon, or the image would be torn.
    if matrix[2, 2] <= _FLAT:
        raise _contradiction(model)
    return np.asarray(matrix / matrix[2, 2])


def model_for(pairs: int, model: str) -> str:
    """`model`, or where so many pairs of points do not determine it, the richest of those below it that they do."""
    names = list(LEAST_PAIRS)
    return [name for name in names[: names.index(model) + 1] if LEAST_PAIRS[name] <= pairs][-1]


def _pairs(fixed: npt.ArrayLike, moving: npt.ArrayLike) -> tuple[Points, Points]:
    out = []
    for values, name in ((fixed, "fixed"), (moving, "moving")):
        points = as_array(values, f"the {name} landmarks")
        if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind == "c":
            raise ImgtoolError(f"the {name} landmarks must be an (N, 2) array of x, y, not of shape {points.shape}")
        finite = np.isfinite(points).all(axis=1)
        if not finite.all():
            raise ImgtoolError(
                f"{name} landmark {1 + int(np.argmin(finite))} is not finite; remove it from both images"
            )
        out.append(points.astype(np.float64))
    if len(out[0]) != len(out[1]):
        raise ImgtoolError(
            f"there are {len(out[0])} fixed landmarks and {len(out[1])} moving ones; they must match one by one"
        )
    if not len(out[0]):
        raise ImgtoolError("there are no landmarks; give one or more")
    return out[0], out[1]


def _translation(_fixed: Points, _moving: Points) -> Matrix:
    return np.eye(3)


def _similarity(fixed: Points, moving: Points, *, rigid: bool = False) -> Matrix:
    f, m = (points @ [1, 1j] for points in (fixed, moving))
    power, product = np.vdot(f, f).real, np.vdot(f, m)
    # With real and imaginary part for x and y, a factor turns and scales; this is its least-squares solution.
    if power == 0 or abs(product) <= _FLAT * np.sqrt(power * np.vdot(m, m).real):
        raise ImgtoolError(
            "the landmarks lie on one spot or contradict each other, so no rotation can be found; add some"
        )
    factor = product / (abs(product) if rigid else power)
    out = np.eye(3)
    out[:2, :2] = [[factor.real, -factor.imag], [factor.imag, factor.real]]
    return out


def _rigid(fixed: Points, moving: Points) -> Matrix:
    return _similarity(fixed, moving, rigid=True)


def _affine(fixed: Points, moving: Points) -> Matrix:
    for points in (fixed, moving):
        spread = np.linalg.svd(points, compute_uv=False)
        if spread[1] <= _FLAT * spread[0]:
            raise ImgtoolError("the landmarks lie on a line, which determines no affine transform; add some beside it")
    out = np.eye(3)
    out[:2, :2] = np.linalg.lstsq(fixed, moving, rcond=None)[0].T
    if abs(np.linalg.det(out[:2, :2])) <= _FLAT * np.abs(out[:2, :2]).max() ** 2:
        raise _contradiction("affine")
    return out


def _projective(fixed: Points, moving: Points) -> Matrix:
    scales = [np.sqrt(2 / max(float((points**2).sum(axis=1).mean()), 1e-300)) for points in (fixed, moving)]
    f, m = fixed * scales[0], moving * scales[1]
    ones, zeros = np.ones((len(f), 1)), np.zeros((len(f), 3))
    source = np.hstack([f, ones])
    rows = np.vstack([np.hstack([source, zeros, -m[:, :1] * source]), np.hstack([zeros, source, -m[:, 1:] * source])])
    _, singular, directions = np.linalg.svd(rows)
    # Eight independent equations; fewer where three of four points lie on a line.
    if singular[7] <= _FLAT * singular[0]:
        raise ImgtoolError(
            "three or more of the landmarks lie on a line, which determines no projective transform; add some beside it"
        )
    about = directions[8].reshape(3, 3)
    depths = source @ about[2]
    # The sign of the whole is arbitrary.
    about = about * np.sign(depths[0])
    if about[2, 2] <= _FLAT or depths.min() * depths.max() <= 0 or abs(np.linalg.det(about)) <= _FLAT**2:
        raise _contradiction("projective")
    out = np.diag([1 / scales[1], 1 / scales[1], 1]) @ about @ np.diag([scales[0], scales[0], 1])
    return np.asarray(out / out[2, 2])


def _contradiction(model: str) -> ImgtoolError:
    return ImgtoolError(
        f"no {model} transform fits these landmarks; check their order, or choose a simpler model if they lie on lines"
    )


_FITS: dict[str, Any] = {
    "translation": _translation,
    "rigid": _rigid,
    "similarity": _similarity,
    "affine": _affine,
    "projective": _projective,
}


def _shifted(by: Points) -> Matrix:
    out = np.eye(3)
    out[:2, 2] = by
    return out


def _an(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


class Evaluation(NamedTuple):
    """Target registration errors, in pixels, of each pair of landmarks, and the diagonal they are relative to."""

    before: Points  # (N,), with the images as they lie: pixel upon pixel
    after: Points  # (N,), with the transform
    diagonal: float

    @property
    def robustness(self) -> float:
        """The share of the landmarks whose error fell."""
        return float(np.mean(self.after < self.before))

    def summary(self) -> dict[str, dict[str, float]]:
        """Median, mean and largest TRE and rTRE, before and after."""
        out = {}
        for when, errors in (("before", self.before), ("after", self.after)):
            figures = {"median": float(np.median(errors)), "mean": float(errors.mean()), "max": float(errors.max())}
            out[f"tre_{when}"] = figures
            out[f"rtre_{when}"] = {name: value / self.diagonal for name, value in figures.items()}
        return out


def evaluate(
    transform: Transform, fixed: npt.ArrayLike, moving: npt.ArrayLike, shape: tuple[int, int], *, frame: str = "fixed"
) -> Evaluation:
    """Target registration errors of `transform` at matched landmarks, as the ANHIR challenge defines them [1]_.

    The moving landmarks are brought into the fixed image, their distances to the fixed ones are the TRE, and those
    divided by the image's diagonal the relative TRE. With ``frame="moving"`` the fixed landmarks are brought into the
    moving image instead.

    Parameters
    ----------
    transform : transform
        Maps fixed to moving pixel coordinates.
    fixed, moving : array_like, (N, 2)
        x, y of the same spots in both images.
    shape : (height, width)
        Of the image in whose frame errors are measured.
    frame : {"fixed", "moving"}

    Returns
    -------
    Evaluation

    Raises
    ------
    ImgtoolError
        If the landmarks do not match one to one or are not finite.

    References
    ----------
    .. [1] J. Borovec et al., "ANHIR: automatic non-rigid histological image registration challenge", IEEE Transactions
       on Medical Imaging 39(10), 3042-3052 (2020).

    Examples
    --------
    >>> from imgtool.transforms import MatrixTransform
    >>> shift = MatrixTransform([[1, 0, 3], [0, 1, 4], [0, 0, 1]], "translation", (30, 40), (30, 40))
    >>> found = evaluate(shift, [[1, 1], [2, 2]], [[4, 5], [5, 6.5]], (30, 40))
    >>> found.after, found.diagonal
    (array([0. , 0.5]), 50.0)
    >>> found.summary()["rtre_after"]["max"]
    0.01
    """
    if frame not in ("fixed", "moving"):
        raise ImgtoolError(f"frame must be fixed or moving, not {frame!r}")
    f, m = _pairs(fixed, moving)
    found = transform.solve(m) - f if frame == "fixed" else transform(f) - m
    return Evaluation(np.linalg.norm(m - f, axis=1), np.linalg.norm(found, axis=1), float(np.hypot(*shape)))
