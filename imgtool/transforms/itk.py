"""Transforms as the text that ITK, SimpleITK, ANTs and elastix exchange (.tfm, .txt).

ITK's transforms map points of the fixed image to points of the moving one as well, x before y, in the units of the
images' spacing; those of a composite are applied from the last to the first.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .._check import Array
from ..errors import ImgtoolError
from ._base import Transform, known_shape
from ._grid import Shape
from .composite import Composite
from .matrix import Matrix, MatrixTransform

SIGNATURE = "#Insight Transform File V1.0"
# A comment to ITK: what a transform file of imgtool says and one of ITK does not.
_SIZES = "# imgtool "

Numbers = Sequence[float]


class Geometry(NamedTuple):
    """Where the pixels of an image lie in ITK's physical space; by default, the coordinates are pixels."""

    spacing: tuple[float, float] = (1.0, 1.0)  # x, y
    origin: tuple[float, float] = (0.0, 0.0)  # of the first pixel's centre

    @property
    def matrix(self) -> Matrix:
        """From pixels to physical coordinates."""
        out = np.diag([*self.spacing, 1.0])
        out[:2, 2] = self.origin
        return out


class _Entry(NamedTuple):
    """One transform of a file."""

    kind: str
    parameters: list[float] | None  # a composite has none
    fixed_parameters: list[float] | None


def from_itk(text: str, *, fixed: Geometry = Geometry(), moving: Geometry = Geometry()) -> Transform:  # noqa: B008
    """The transform in the text of an ITK transform file.

    Parameters
    ----------
    text : str
        Of translations, rigid, similarity, scale and affine transforms of the plane, of cubic B-splines, or of a
        composite of these. Sizes of images are known only where imgtool wrote the file.
    fixed, moving : Geometry
        The spacing and origin that the images had in ITK.

    Raises
    ------
    ImgtoolError
        If the text is damaged, or a transform is not of these kinds.

    Examples
    --------
    >>> from imgtool.transforms.itk import from_itk
    >>> text = '''#Insight Transform File V1.0
    ... #Transform 0
    ... Transform: TranslationTransform_double_2_2
    ... Parameters: 3 -4
    ... FixedParameters:
    ... '''
    >>> from_itk(text)([[10, 20]])
    array([[13., 16.]])
    """
    lines = [line.strip() for line in text.splitlines()]
    if not lines or lines[0] != SIGNATURE:
        raise ImgtoolError(f"not an ITK transform file: its first line is not {SIGNATURE}")
    entries = list(_entries(lines))
    if entries and entries[0].kind == "CompositeTransform":
        entries = entries[:0:-1]  # the last one comes first
    elif len(entries) > 1:
        raise ImgtoolError("the ITK transform file has several transforms that are no composite; keep one of them")
    if not entries:
        raise ImgtoolError("the ITK transform file holds no transform")
    fixed_shape, moving_shape = _sizes(lines)
    shapes = [fixed_shape, *[None] * (len(entries) - 1), moving_shape]
    parts = [_transform(entry, *shapes[i : i + 2]) for i, entry in enumerate(entries)]
    return _between(parts, fixed.matrix, np.linalg.inv(moving.matrix))


def to_itk(transform: Transform, *, fixed: Geometry = Geometry(), moving: Geometry = Geometry()) -> str:  # noqa: B008
    """The text of an ITK transform file; `from_itk` reads it, and so does everything that is built on ITK.

    Parameters
    ----------
    transform : Transform
        A matrix transform or a B-spline, or a composite of these.
    fixed, moving : Geometry
        The spacing and origin that the images have in ITK.

    Raises
    ------
    ImgtoolError
        If ITK has no such transform in text files: projective ones and displacement fields.
    """
    whole = _between(
        list(transform.transforms if isinstance(transform, Composite) else (transform,)),
        np.linalg.inv(fixed.matrix),
        moving.matrix,
    )
    parts = whole.transforms if isinstance(whole, Composite) else (whole,)
    entries = [_entry(part) for part in reversed(parts)]
    if len(entries) > 1:
        entries.insert(0, _Entry("CompositeTransform", None, None))
    sizes = {"fixed_shape": transform.fixed_shape, "moving_shape": transform.moving_shape}
    lines = [SIGNATURE, _SIZES + json.dumps(sizes)]
    for number, entry in enumerate(entries):
        lines += [f"#Transform {number}", f"Transform: {entry.kind}_double_2_2"]
        if entry.parameters is not None and entry.fixed_parameters is not None:
            lines.append(" ".join(["Parameters:", *(repr(float(value)) for value in entry.parameters)]))
            lines.append(" ".join(["FixedParameters:", *(repr(float(value)) for value in entry.fixed_parameters)]))
    return "\n".join(lines) + "\n"


def _between(parts: list[Transform], before: Array, after: Array) -> Transform:
    """The transforms with a matrix before and one after them, which are left out where they do nothing."""
    if not np.array_equal(before, np.eye(3)):
        parts = [MatrixTransform(before, "affine", parts[0].fixed_shape, None), *parts]
    if not np.array_equal(after, np.eye(3)):
        parts = [*parts, MatrixTransform(after, "affine", None, parts[-1].moving_shape)]
    return Composite.of(parts)


def _sizes(lines: Sequence[str]) -> tuple[Shape | None, Shape | None]:
    for line in lines:
        if line.startswith(_SIZES):
            try:
                fields = json.loads(line.removeprefix(_SIZES))
                return known_shape(fields["fixed_shape"], "fixed_shape"), known_shape(
                    fields["moving_shape"], "moving_shape"
                )
            except (KeyError, TypeError, ValueError):  # ImgtoolErrors, too
                raise ImgtoolError(f"the line {line!r} of the ITK transform file is damaged") from None
    return None, None


def _entries(lines: Sequence[str]) -> Iterator[_Entry]:
    """The transforms of a file; every line is a key and its value, and each transform begins with its kind."""
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    for number, (key, colon, value) in enumerate(pairs):
        if not colon or key not in ("Transform", "Parameters", "FixedParameters"):
            raise ImgtoolError(f"the ITK transform file has a line that is no parameter: {key[:40]!r}")
        if key == "Transform":
            kind, dimensions = _kind(value.strip())
            if dimensions != ["2", "2"] and kind != "BSplineTransform":
                raise ImgtoolError(f"{value.strip()} is no transform of the plane; imgtool has those only")
            following = dict[str, list[float]]()
            for next_key, _, text in pairs[number + 1 : number + 3]:
                if next_key == "Transform":
                    break
                following[next_key] = _numbers(text, next_key)
            yield _Entry(kind, following.get("Parameters"), following.get("FixedParameters"))


def _kind(name: str) -> tuple[str, list[str]]:
    """The kind of a transform and its dimensions: AffineTransform_double_2_2."""
    kind, *rest = name.split("_")
    return kind, rest[1:]


def _numbers(text: str, key: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        raise ImgtoolError(f"the {key} of the ITK transform file are not all numbers") from None
    if not all(map(math.isfinite, numbers)):
        raise ImgtoolError(f"the {key} of the ITK transform file are not all finite")
    return numbers


def _turn(angle: float, scale: float = 1.0) -> Matrix:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


class _Kind(NamedTuple):
    """A kind of matrix transforms, all of them T(p) = linear (p - centre) + centre + shift."""

    model: str
    size: int  # how many parameters it has
    parts: Callable[[Numbers], tuple[Any, Numbers, Numbers]]  # linear, shift, centre


# `p` are the parameters and, behind them, the centre.
_MATRICES = {
    "IdentityTransform": _Kind("translation", 0, lambda p: (np.eye(2), (0, 0), (0, 0))),
    "TranslationTransform": _Kind("translation", 2, lambda p: (np.eye(2), p[:2], (0, 0))),
    "Euler2DTransform": _Kind("rigid", 3, lambda p: (_turn(p[0]), p[1:3], p[3:])),
    "Rigid2DTransform": _Kind("rigid", 3, lambda p: (_turn(p[0]), p[1:3], p[3:])),
    "CenteredEuler2DTransform": _Kind("rigid", 5, lambda p: (_turn(p[0]), p[3:5], p[1:3])),
    "CenteredRigid2DTransform": _Kind("rigid", 5, lambda p: (_turn(p[0]), p[3:5], p[1:3])),
    "Similarity2DTransform": _Kind("similarity", 4, lambda p: (_turn(p[1], p[0]), p[2:4], p[4:])),
    "CenteredSimilarity2DTransform": _Kind("similarity", 6, lambda p: (_turn(p[1], p[0]), p[4:6], p[2:4])),
    "ScaleTransform": _Kind("affine", 2, lambda p: (np.diag(p[:2]), (0, 0), p[2:])),
    "AffineTransform": _Kind("affine", 6, lambda p: (np.reshape(p[:4], (2, 2)), p[4:6], p[6:])),
    "MatrixOffsetTransformBase": _Kind("affine", 6, lambda p: (np.reshape(p[:4], (2, 2)), p[4:6], p[6:])),
}


def _transform(entry: _Entry, fixed_shape: Shape | None, moving_shape: Shape | None) -> Transform:
    if entry.kind not in _MATRICES:
        known = ", ".join([*_MATRICES, "CompositeTransform"])
        raise ImgtoolError(f"transforms of ITK's kind {entry.kind} are not read; imgtool reads {known}")
    kind = _MATRICES[entry.kind]
    parameters, centre = entry.parameters or [], entry.fixed_parameters or []
    if len(parameters) != kind.size or len(centre) not in (0, 2):
        raise ImgtoolError(
            f"ITK's {entry.kind} has {kind.size} parameters and a centre of 2, "
            f"but the file gives {len(parameters)} and {len(centre)}"
        )
    linear, shift, about = kind.parts([*parameters, *(centre or (0.0, 0.0))])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = np.array(about) + shift - linear @ np.array(about)
    return MatrixTransform(matrix, kind.model, fixed_shape, moving_shape)


def _entry(transform: Transform) -> _Entry:
    if not isinstance(transform, MatrixTransform) or transform.model == "projective":
        what = transform.model if isinstance(transform, MatrixTransform) else transform.models[0]
        raise ImgtoolError(f"ITK's text files hold no {what} transforms; write .json, or a field as .nii.gz or .npz")
    linear, shift = transform.matrix[:2, :2], transform.matrix[:2, 2].tolist()
    if transform.model == "translation" and np.array_equal(linear, np.eye(2)):
        return _Entry("TranslationTransform", shift, [])
    # A rigid or similarity transform is written as one only if its matrix is one: nothing else would be read back.
    scale, angle = math.hypot(linear[0, 0], linear[1, 0]), math.atan2(linear[1, 0], linear[0, 0])
    if transform.model == "rigid" and np.allclose(linear, _turn(angle), rtol=0, atol=1e-15):
        return _Entry("Euler2DTransform", [angle, *shift], [0.0, 0.0])
    if transform.model == "similarity" and np.allclose(linear, _turn(angle, scale), rtol=0, atol=1e-15 * scale):
        return _Entry("Similarity2DTransform", [scale, angle, *shift], [0.0, 0.0])
    return _Entry("AffineTransform", [*linear.ravel().tolist(), *shift], [0.0, 0.0])
