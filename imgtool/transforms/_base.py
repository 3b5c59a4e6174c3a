"""What every transform can do, and how each is written to and read from a dictionary."""

import base64
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from .._check import Array
from ..errors import ImgtoolError
from ._grid import Points, Shape, checked_points, checked_shape, pixel_points, size_text

FORMAT, VERSION = "imgtool-transform", 1
# How many pixels of a dense result are worked on at once.
BAND_PIXELS = 1 << 16


class Transform(ABC):
    """A map of fixed pixel coordinates to moving pixel coordinates.

    A class of transforms says how points go (`__call__`), what its inverse is, and which fields describe it; the rest
    follows from these. It may do better where it knows more, as `MatrixTransform` does for the determinant.
    `fixed_shape` and `moving_shape` are the (height, width) of the grids it connects, None where that is not known.
    """

    fixed_shape: Shape | None
    moving_shape: Shape | None

    #: The names by which dictionaries call the transforms of this class.
    models: ClassVar[tuple[str, ...]] = ()
    _classes: ClassVar[dict[str, type["Transform"]]] = {}

    def __init_subclass__(cls) -> None:
        Transform._classes |= dict.fromkeys(cls.models, cls)

    @abstractmethod
    def __call__(self, points: npt.ArrayLike) -> Points:
        """The moving coordinates of `points`, an (N, 2) array of fixed x, y."""

    @abstractmethod
    def inverse(self) -> "Transform":
        """The transform from moving to fixed coordinates."""

    def solve(self, points: npt.ArrayLike) -> Points:
        """The fixed coordinates that the transform takes to `points`, an (N, 2) array of moving x, y.

        Each is solved by itself, to a millionth of a pixel: no field of the inverse is made or interpolated. Where the
        transform folds there are several, or none; the result is then one of them, or what comes close.

        Examples
        --------
        >>> import numpy as np
        >>> from imgtool.transforms import BSplineTransform
        >>> coefficients = np.zeros((2, 7, 7))
        >>> coefficients[:, 3, 3] = 2
        >>> bump = BSplineTransform(coefficients, (10, 10), fixed_shape=(40, 40))
        >>> bump.solve(bump([[12, 17]])).round(6)
        array([[12., 17.]])
        """
        from .inversion import solved_points

        return solved_points(self, checked_points(points))

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The transform as JSON types, as `from_dict` reads it."""

    @classmethod
    @abstractmethod
    def _from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """The transform that the fields describe, whose format and version are right."""

    @classmethod
    def from_dict(cls, fields: Any) -> Self:
        """The transform that `to_dict` described; fields that are not its own are left alone.

        `Transform.from_dict` reads every class of transforms, that of a class its own only.

        Raises
        ------
        ImgtoolError
            If it is damaged, or not such a transform.
        """
        if not isinstance(fields, Mapping) or fields.get("format") != FORMAT:
            raise ImgtoolError(f'this is not an imgtool transform: it lacks "format": "{FORMAT}"')
        version = fields.get("version")
        if version != VERSION or isinstance(version, bool):
            raise ImgtoolError(f"transform version {version!r} is unknown; this imgtool reads version {VERSION}")
        model = field_of(fields, "model")
        found = Transform._classes.get(model) if isinstance(model, str) else None
        if found is None or not issubclass(found, cls):
            known = [name for name, other in Transform._classes.items() if issubclass(other, cls)]
            raise ImgtoolError(f"the transform's model {model!r} is unknown here; it can be {', '.join(known)}")
        return found._from_fields(fields)

    def positions(self, rows: range, columns: range) -> Points:
        """The moving coordinates of a window of pixels of the fixed grid, as a (2, rows, columns) array of x and y."""
        points = pixel_points(rows, columns)
        return np.ascontiguousarray(self(points.reshape(2, -1).T).T).reshape(points.shape)

    def displacement(self, shape: Shape | None = None) -> npt.NDArray[np.float64]:
        """How far each pixel of the fixed grid moves: transform(p) - p, as a (height, width, 2) array of x, y.

        Parameters
        ----------
        shape : (height, width), optional
            The grid, from pixel (0, 0) on. Default: `fixed_shape`.
        """
        height, width = self.grid(shape)
        out = np.empty((height, width, 2))
        band = max(1, BAND_PIXELS // width)
        for top in range(0, height, band):
            rows, columns = range(top, min(top + band, height)), range(width)
            out[rows.start : rows.stop] = np.moveaxis(
                self.positions(rows, columns) - pixel_points(rows, columns), 0, -1
            )
        return out

    def jacobian_determinant(self, shape: Shape | None = None) -> npt.NDArray[np.float64]:
        """How much larger an area becomes at each pixel, as a (height, width) array; 0 or less where the plane folds.

        Here it comes from central differences between neighbouring pixels, one-sided at the border. Along an axis of
        one pixel the transform is taken to leave lengths as they are.

        Parameters
        ----------
        shape : (height, width), optional
            The grid, from pixel (0, 0) on. Default: `fixed_shape`.
        """
        field = self.displacement(shape)
        (xx, xy), (yx, yy) = (
            [_slope(field[..., component], axis) + (1 - component == axis) for axis in (1, 0)] for component in (0, 1)
        )
        return np.asarray(xx * yy - xy * yx)

    def compose(self, after: "Transform", *, force: bool = False) -> "Transform":
        """The transform that does this one first and then `after`.

        An image on the grid that `after` leads to is warped by it once, with no second interpolation.

        Parameters
        ----------
        after : Transform
            From the grid that this one leads to.
        force : bool
            Accept an `after` that was made for another size.

        Raises
        ------
        ImgtoolError
            If the sizes do not match.

        Examples
        --------
        >>> from imgtool.transforms import MatrixTransform
        >>> double = MatrixTransform([[2, 0, 0], [0, 2, 0], [0, 0, 1]], "similarity", (5, 5), (10, 10))
        >>> shift = MatrixTransform([[1, 0, 7], [0, 1, 0], [0, 0, 1]], "translation", (10, 10), (10, 10))
        >>> double.compose(shift)([[1, 1]])
        array([[9., 2.]])
        """
        from .composite import Composite

        if not force:
            check_sizes(self, after)
        return Composite.of((self, after))

    def warp(self, moving: npt.ArrayLike, *, shape: Shape | None = None, **options: Any) -> Array:
        """`moving` on the fixed grid; the options are those of `imgtool.transforms.warp`."""
        from .warping import warp

        return warp(moving, self, shape=shape, **options)

    def grid(self, shape: Shape | None) -> Shape:
        """`shape` if there is one, else the fixed grid's."""
        if shape is not None:
            return checked_shape(shape, "shape")
        if self.fixed_shape is None:
            raise ImgtoolError("the transform does not say how large the fixed image is; give the shape")
        return self.fixed_shape


def check_sizes(first: Transform, after: Transform) -> None:
    """Raise an ImgtoolError if `after` was made for another size than `first` leads to."""
    leads_to, starts_from = first.moving_shape, after.fixed_shape
    if leads_to is not None and starts_from is not None and leads_to != starts_from:
        raise ImgtoolError(
            f"one transform leads to an image of {size_text(leads_to)} pixels, but the next was made for one of "
            f"{size_text(starts_from)}; check their order, or compose them nevertheless (--force, force=True)"
        )


def _slope(values: npt.NDArray[np.float64], axis: int) -> Array:
    return np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)


def described(transform: Transform, model: str, **content: Any) -> dict[str, Any]:
    """A dictionary for `to_dict`."""
    shapes = {"fixed_shape": transform.fixed_shape, "moving_shape": transform.moving_shape}
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        **content,
        **{name: None if shape is None else list(shape) for name, shape in shapes.items()},
    }


def field_of(fields: Mapping[str, Any], name: str) -> Any:
    """The field `name`, which must be there."""
    if name not in fields:
        raise ImgtoolError(f"the transform lacks {name}; write it again with imgtool register -t")
    return fields[name]


def known_shape(values: Any, name: str) -> Shape | None:
    """`values` as (height, width), or None for a size that is not known."""
    return None if values is None else checked_shape(values, name)


def packed(values: Array) -> dict[str, Any]:
    """An array as JSON types, bit by bit: its type, its shape, and its little-endian bytes, compressed, as text."""
    plain = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    text = base64.b64encode(zlib.compress(plain.tobytes(), 1)).decode()
    return {"dtype": plain.dtype.name, "shape": list(plain.shape), "zlib_base64": text}


def unpacked(value: Any, name: str) -> Array:
    """The array of real numbers that `packed` described, or that nested lists hold."""
    try:
        if not isinstance(value, Mapping):
            return np.array(value, dtype=np.float64)
        dtype, shape = value["dtype"], tuple(value["shape"])
        if dtype not in ("float32", "float64") or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError
        plain = np.dtype(dtype).newbyteorder("<")
        # Decompression ends where the array does: a few bytes cannot claim more memory than they say.
        size = prod(shape) * plain.itemsize
        content = zlib.decompressobj().decompress(base64.b64decode(value["zlib_base64"], validate=True), size)
        return np.frombuffer(content, plain).reshape(shape).astype(dtype)
    except (KeyError, TypeError, ValueError, OverflowError, MemoryError, zlib.error):
        raise ImgtoolError(f"the transform's {name} is damaged: it is no array of numbers") from None
