"""Convolution kernels: named ones, and the notations in which users write their own."""

import difflib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ImgtoolError

Array = npt.NDArray[np.float64]

MAX_TAPS = 2**20
_MAX_FILE_BYTES = 2**26  # MAX_TAPS numbers of full precision need less than half of this
_FILE_TYPES = (".txt", ".csv", ".json", ".npy")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NON_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
_NAME = re.compile(r"([A-Za-z_][\w-]*)\s*(?::(.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel as `parse_kernel` returns it.

    Parameters
    ----------
    name : str
        The text it was made from.
    arrays : tuple of (h, w) float64 arrays
        One array is a linear filter; two are directional components (x, y), of whose responses the magnitude is taken.
    """

    name: str
    arrays: tuple[Array, ...]

    def normalized(self) -> "Kernel":
        """The kernel divided by its sum, so that it leaves a constant image as it is.

        Raises
        ------
        ImgtoolError
            The sum is 0, as it is for every edge detector.

        Examples
        --------
        >>> parse_kernel("1 2 1").normalized().arrays[0]
        array([[0.25, 0.5 , 0.25]])
        """
        return Kernel(self.name, tuple(_divided_by_sum(array, self.name) for array in self.arrays))


def parse_kernel(spec: str) -> Kernel:
    """The kernel that `spec` describes: a name with arguments, numbers, or @file.

    Parameters
    ----------
    spec : str
        A name (``"sobel"``), with one argument (``"gaussian:2"``) or several (``"gaussian:sigma=2,truncate=3"``); rows
        of numbers separated by ``;`` or newlines, numbers by blanks or commas, fractions allowed (``"1/4 1/2 1/4"``);
        or ``"@FILE"``: such text in .txt or .csv, nested lists in .json, an array in .npy.

    Returns
    -------
    Kernel
        Arrays for true convolution: element (i, j) weights the pixel i - (h - 1) // 2 rows above and j - (w - 1) // 2
        columns left of the output pixel. So ``sobel:x`` is positive where the image grows brighter to the right, and
        ``sobel:y`` where it grows brighter downwards.

    Raises
    ------
    ImgtoolError
        The text is not a kernel; the message names the place of the fault.

    Examples
    --------
    >>> parse_kernel("0 -1 0; -1 5 -1; 0 -1 0").arrays[0]
    array([[ 0., -1.,  0.],
           [-1.,  5., -1.],
           [ 0., -1.,  0.]])
    >>> parse_kernel("sobel:x").arrays[0]
    array([[ 1.,  0., -1.],
           [ 2.,  0., -2.],
           [ 1.,  0., -1.]])
    """
    text = spec.strip()
    if text.startswith("@"):
        return Kernel(text, (_read_file(text[1:]),))
    named = _NAME.fullmatch(text)
    if named:
        return Kernel(text, _named(named[1].lower(), named[2]))
    return Kernel(text, (_parse_rows(text.split("\n"), f"kernel {_shortened(text)!r}", semicolons=True),))


# Named kernels


def _identity() -> tuple[Array, ...]:
    return (np.ones((1, 1)),)


def _box(size: tuple[int, int] = (3, 3)) -> tuple[Array, ...]:
    height, width = size
    return (np.full(size, 1 / (height * width)),)


def _gaussian(sigma: float = 1.0, truncate: float = 4.0) -> tuple[Array, ...]:
    # The radius is scipy.ndimage.gaussian_filter's, so that results can be compared.
    radius = int(min(truncate * sigma + 0.5, MAX_TAPS))
    _check_taps((2 * radius + 1) ** 2, "kernel gaussian")
    with np.errstate(over="ignore"):  # a tiny sigma: all weight falls on the centre
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    return (np.outer(weights, weights),)


def _binomial(size: int = 3) -> tuple[Array, ...]:
    row = [math.comb(size - 1, i) / 2 ** (size - 1) for i in range(size)]
    return (np.outer(row, row),)


def _directional(smoothing: tuple[int, int, int]) -> Callable[..., tuple[Array, ...]]:
    x = np.outer(smoothing, (1.0, 0.0, -1.0))

    def build(direction: str = "magnitude") -> tuple[Array, ...]:
        return {"x": (x,), "y": (x.T.copy(),), "magnitude": (x, x.T.copy())}[direction]

    return build


def _laplacian(neighbours: str = "4") -> tuple[Array, ...]:
    corner = 0.0 if neighbours == "4" else 1.0
    return (np.array([[corner, 1, corner], [1, -4 - 4 * corner, 1], [corner, 1, corner]]),)


def _sharpen() -> tuple[Array, ...]:
    return (np.array([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]]),)


# Argument readers: text -> value, or None when the text is not what `wanted` says.


@dataclass(frozen=True)
class _Argument:
    wanted: str
    read: Callable[[str], Any]


def _read_positive(text: str) -> float | None:
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    return value if 0 < value < math.inf else None


def _read_count(text: str) -> int | None:
    # More than nine digits are beyond every limit, and int() refuses thousands of them.
    return int(text) if re.fullmatch(r"0*[1-9][0-9]{0,8}", text) else None


def _read_size(text: str) -> tuple[int, int] | None:
    sides = [_read_count(side) for side in text.lower().split("x")]
    width, height = sides if len(sides) == 2 else sides * 2 if len(sides) == 1 else (None, None)
    if width is None or height is None:
        return None
    _check_taps(width * height, "kernel box")
    return height, width


def _read_binomial_size(text: str) -> int | None:
    size = _read_count(text)
    return size if size is None or size <= 63 else None


def _one_of(*choices: str) -> _Argument:
    words = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return _Argument(words, lambda text: text.lower() if text.lower() in choices else None)


_POSITIVE = _Argument("a number above 0", _read_positive)
_DIRECTION = {"direction": _one_of("x", "y", "magnitude")}

_NAMED: dict[str, tuple[Callable[..., tuple[Array, ...]], dict[str, _Argument]]] = {
    "identity": (_identity, {}),
    "box": (_box, {"size": _Argument("a whole number such as 3, or WIDTHxHEIGHT such as 5x3", _read_size)}),
    "gaussian": (_gaussian, {"sigma": _POSITIVE, "truncate": _POSITIVE}),
    "binomial": (_binomial, {"size": _Argument("a whole number from 1 to 63", _read_binomial_size)}),
    "sobel": (_directional((1, 2, 1)), _DIRECTION),
    "prewitt": (_directional((1, 1, 1)), _DIRECTION),
    "scharr": (_directional((3, 10, 3)), _DIRECTION),
    "laplacian": (_laplacian, {"neighbours": _one_of("4", "8")}),
    "sharpen": (_sharpen, {}),
}


def _named(name: str, arguments: str | None) -> tuple[Array, ...]:
    if name not in _NAMED:
        nearest = difflib.get_close_matches(name, _NAMED, n=1)
        suggestion = f"did you mean {nearest[0]}? Known are" if nearest else "known are"
        raise ImgtoolError(f"there is no kernel named {_shortened(name)!r}; {suggestion} {', '.join(sorted(_NAMED))}")
    build, readers = _NAMED[name]
    values: dict[str, Any] = {}
    for place, part in enumerate([] if arguments is None else arguments.split(",")):
        key, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals:  # a bare value is the first argument
            key, text = (next(iter(readers), ""), key) if place == 0 else (key, "")
        if key not in readers:
            takes = f"takes {' and '.join(readers)}" if readers else "takes no arguments"
            raise ImgtoolError(f"kernel {name} has no argument {_shortened(part.strip())!r}; it {takes}")
        if key in values:
            raise ImgtoolError(f"kernel {name} is given {key} twice; give it once")
        values[key] = readers[key].read(text)
        if values[key] is None:
            raise ImgtoolError(f"kernel {name}: {key} must be {readers[key].wanted}, not {_shortened(text)!r}")
    return build(**values)


# Kernels in numbers


def _read_file(name: str) -> Array:
    path = Path(name)
    if path.suffix.lower() not in _FILE_TYPES:
        raise ImgtoolError(f"{name or '@'}: a kernel file must be one of {', '.join(_FILE_TYPES)}")
    try:
        if not path.exists():
            raise ImgtoolError(f"{name}: no such kernel file")
        if not path.is_file():
            raise ImgtoolError(f"{name}: not a regular file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ImgtoolError(f"{name}: a kernel file may have {_MAX_FILE_BYTES} bytes at most")
        if path.suffix.lower() == ".npy":
            # Mapped, not loaded: a header that promises terabytes costs nothing.
            return _checked(np.load(path, mmap_mode="r", allow_pickle=False), name)
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            return _checked(_json_rows(json.loads(text), name), name)
    except OSError as error:
        raise ImgtoolError(f"{name}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ImgtoolError(f"{name}: not text in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ImgtoolError(f"{name}: not JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError as error:
        raise ImgtoolError(f"{name}: must hold a list of rows of numbers, not lists nested without end") from error
    except (ValueError, EOFError) as error:
        if isinstance(error, ImgtoolError):
            raise
        raise ImgtoolError(f"{name}: not a kernel that can be read ({error})") from error
    lines = [line.partition("#")[0] for line in text.split("\n")]
    # Semicolons separate rows in a .txt; in a .csv they would separate columns for half of the world.
    return _parse_rows(lines, name, semicolons=path.suffix.lower() == ".txt")


def _json_rows(values: Any, where: str) -> list[list[float]]:
    if isinstance(values, list) and values and not any(isinstance(row, list) for row in values):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise ImgtoolError(f"{where}: must hold a list of rows, such as [[0, 1, 0], [1, -4, 1], [0, 1, 0]]")
    for i, row in enumerate(values, 1):
        for j, value in enumerate(row, 1):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ImgtoolError(f"{where}: row {i}, column {j} is {_shortened(json.dumps(value))}, not a number")
            if abs(value) >= 2**1024:
                raise ImgtoolError(f"{where}: row {i}, column {j} is not finite")
    _check_rows(values, where)
    return values


def _parse_rows(lines: Sequence[str], where: str, *, semicolons: bool) -> Array:
    texts = [line.strip() for line in lines if line.strip()]
    if semicolons:
        texts = [row.strip() for text in texts for row in text.removesuffix(";").split(";")]
    rows = [
        [_number(token, where, i, j) for j, token in enumerate(re.split(r"\s*,\s*|\s+", text) if text else [], 1)]
        for i, text in enumerate(texts, 1)
    ]
    _check_rows(rows, where)
    return _checked(rows, where)


def _check_rows(rows: Sequence[Sequence[float]], where: str) -> None:
    for i, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ImgtoolError(f"{where}: row {i} is {len(row)} long where row 1 is {len(rows[0])} long")


def _number(token: str, where: str, row: int, column: int) -> float:
    place = f"{where}: row {row}, column {column}"
    parts = token.split("/")
    if not token:
        raise ImgtoolError(f"{place} is empty")
    if _NON_FINITE.fullmatch(token):
        raise ImgtoolError(f"{place} is not finite")
    if len(parts) > 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        raise ImgtoolError(f"{place} is {_shortened(token)!r}, not a number such as 2, -0.5, 1e-3 or 1/9")
    values = [float(part) for part in parts]
    if not all(map(math.isfinite, values)):
        raise ImgtoolError(f"{place} is not finite")
    if len(values) == 1:
        return values[0]
    if values[1] == 0:
        raise ImgtoolError(f"{place}, {_shortened(token)}, divides by zero")
    return values[0] / values[1]  # an overflow here is found with the array


def _checked(values: npt.ArrayLike, where: str) -> Array:
    """`values` as a plain 2-D float64 array of numbers within the limits; one row may come as a list."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2):
        raise ImgtoolError(
            f"{where}: must hold real numbers in two dimensions, not {array.dtype} of shape {array.shape}"
        )
    _check_taps(array.size, where)
    if array.size == 0:
        raise ImgtoolError(f"{where}: has no numbers in it; give at least one")
    with np.errstate(over="ignore"):
        plain = np.array(np.atleast_2d(array), dtype=np.float64, order="C")
    if not np.isfinite(plain).all():
        i, j = np.argwhere(~np.isfinite(plain))[0] + 1
        raise ImgtoolError(f"{where}: row {i}, column {j} is not finite")
    return plain


def _check_taps(taps: int, where: str) -> None:
    if taps > MAX_TAPS:
        raise ImgtoolError(f"{where}: {taps} numbers are more than the limit of {MAX_TAPS}")


def _divided_by_sum(array: Array, name: str) -> Array:
    # A power of two costs no digit and keeps the sum of huge numbers finite.
    scaled = np.ldexp(array, -np.frexp(np.abs(array).max())[1])
    total = math.fsum(scaled.flat)
    # 0.1 + 0.2 - 0.3 is 0 to whoever wrote it.
    if abs(total) <= 4 * np.finfo(np.float64).eps * math.fsum(np.abs(scaled).flat):
        raise ImgtoolError(f"kernel {_shortened(name)!r} sums to 0 and cannot be normalized")
    return np.asarray(scaled / total)


def _shortened(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
