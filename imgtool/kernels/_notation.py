"""The notations of a kernel: rows of numbers, and files that hold them."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError, one_line
from ._arrays import Array, check_taps, shortened

ReadImage = Callable[[str], npt.NDArray[np.generic]]

_MAX_FILE_BYTES = 2**26  # MAX_TAPS numbers of full precision need less than half of this
_FILE_TYPES = (".txt", ".csv", ".json", ".npy", ".mat")
# No patterns here: to compile one takes as long as to make a kernel. float() knows more than decimal notation.
_DECIMAL = frozenset("0123456789+-.eE")


def as_spec(text: str) -> tuple[str, str | None] | None:
    """The name and the arguments, if any, in a text such as ``gaussian:sigma=2``; None for other texts."""
    name, colon, arguments = text.partition(":")
    name = name.rstrip()
    if name.startswith("-") or not (name.isascii() and name.replace("-", "_").isidentifier()):
        return None
    return name.lower(), arguments if colon else None


def parse_number(text: str) -> float | None:
    """A finite number or a fraction such as 1/9; None for anything else."""
    try:
        value = _number(text.strip(), "", 0, 0)
    except ImgtoolError:
        return None
    return value if math.isfinite(value) else None


def rows_of_text(text: str, where: str) -> Array:
    """Rows of numbers separated by semicolons or newlines."""
    return _parse_rows(text.split("\n"), where, semicolons=True)


def read_file(name: str, read_image: ReadImage | None) -> tuple[Array, float]:
    """The kernel in a file, and its bias, which only a libvips matrix has."""
    path, where = Path(name), one_line(name)
    kind = path.suffix.lower()
    if kind not in _FILE_TYPES:
        if not kind or read_image is None:
            images = "" if read_image is None else " or an image"
            raise ImgtoolError(f"{where or '@'}: a kernel file must be one of {', '.join(_FILE_TYPES)}{images}")
        return _checked(read_image(name), where), 0.0
    try:
        if not path.exists():
            raise ImgtoolError(f"{where}: no such kernel file")
        if not path.is_file():
            raise ImgtoolError(f"{where}: not a regular file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ImgtoolError(f"{where}: a kernel file may have {_MAX_FILE_BYTES} bytes at most")
        if kind == ".npy":
            # Mapped, not loaded: a header that promises terabytes costs nothing. np.load would open archives as well.
            return _checked(np.lib.format.open_memmap(path, mode="r"), where), 0.0
        text = path.read_text(encoding="utf-8-sig")
        if kind == ".json":
            return _json_array(_json(text, where), where), 0.0
    except OSError as error:
        raise ImgtoolError(f"{where}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ImgtoolError(f"{where}: not text in UTF-8") from error
    except (ValueError, EOFError) as error:
        if isinstance(error, ImgtoolError):
            raise
        raise ImgtoolError(f"{where}: not a kernel that can be read ({one_line(str(error))})") from error
    if kind == ".mat":
        return _vips_matrix(text, where)
    lines = [line.partition("#")[0] for line in text.split("\n")]
    # Semicolons separate rows in a .txt; in a .csv they would separate columns for half of the world.
    return _parse_rows(lines, where, semicolons=kind == ".txt"), 0.0


def _vips_matrix(text: str, where: str) -> tuple[Array, float]:
    """A libvips matrix: ``width height [scale [offset]]``, then its rows, to be divided by the scale."""
    if text.startswith("MATLAB"):
        raise ImgtoolError(f"{where}: a MATLAB file, not a libvips matrix; save the kernel as .csv or .npy")
    first, _, rest = text.lstrip().partition("\n")
    head = [parse_number(token) for token in re.split(r"[\s,;]+", first.strip())]
    if not 2 <= len(head) <= 4 or None in head:
        raise ImgtoolError(
            f"{where}: must begin with width, height and perhaps scale and offset, not {shortened(first)!r}"
        )
    width, height, scale, offset = [float(number or 0) for number in head] + [1.0, 0.0][len(head) - 2 :]
    if scale == 0:
        raise ImgtoolError(f"{where}: the scale, by which its numbers are divided, is 0")
    array = _parse_rows(rest.split("\n"), where, semicolons=False)
    if array.shape != (height, width):
        found = f"{array.shape[1]} x {array.shape[0]}"
        raise ImgtoolError(f"{where}: holds {found} numbers where its first line says {width:g} x {height:g}")
    with np.errstate(over="ignore"):
        return _checked(array / scale, where), offset


def _json(text: str, where: str) -> Any:
    import json  # 1 ms, which few kernels need

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ImgtoolError(f"{where}: not JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError as error:
        raise ImgtoolError(f"{where}: must hold a list of rows of numbers, not lists nested without end") from error


def _json_array(values: Any, where: str) -> Array:
    """Nested lists: a row, rows, or planes of rows."""
    if isinstance(values, list) and values and not any(isinstance(row, list) for row in values):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(row, list) for row in values):
        raise ImgtoolError(f"{where}: must hold a list of rows, such as [[0, 1, 0], [1, -4, 1], [0, 1, 0]]")
    if not values or not all(row and all(isinstance(entry, list) for entry in row) for row in values):
        _check_json_rows(values, where)
        return _checked(values, where)
    for i, plane in enumerate(values, 1):
        _check_json_rows(plane, f"{where}: plane {i}")
        if (len(plane), len(plane[0])) != (len(values[0]), len(values[0][0])):
            raise ImgtoolError(f"{where}: plane {i} has another size than plane 1")
    return _checked(values, where)


def _check_json_rows(rows: list[list[Any]], where: str) -> None:
    for i, row in enumerate(rows, 1):
        for j, value in enumerate(row, 1):
            if isinstance(value, bool) or not isinstance(value, int | float):
                from json import dumps

                raise ImgtoolError(f"{where}: row {i}, column {j} is {shortened(dumps(value))}, not a number")
            if abs(value) >= 2**1024:
                raise ImgtoolError(f"{where}: row {i}, column {j} is not finite")
    _check_rows(rows, where)


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
    if token.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise ImgtoolError(f"{place} is not finite")
    try:
        values = [float(part) for part in parts if _DECIMAL.issuperset(part)]
    except ValueError:
        values = []
    if not 0 < len(values) == len(parts) < 3:
        raise ImgtoolError(f"{place} is {shortened(token)!r}, not a number such as 2, -0.5, 1e-3 or 1/9")
    if not all(map(math.isfinite, values)):
        raise ImgtoolError(f"{place} is not finite")
    if len(values) == 1:
        return values[0]
    if values[1] == 0:
        raise ImgtoolError(f"{place}, {shortened(token)}, divides by zero")
    return values[0] / values[1]  # an overflow here is found with the array


def _checked(values: npt.ArrayLike, where: str) -> Array:
    """`values` as a plain float64 array of two or three axes within the limits; one row may come as a list."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2, 3):
        raise ImgtoolError(
            f"{where}: must hold real numbers in two or three dimensions, not {array.dtype} of shape {array.shape}"
        )
    check_taps(array.size, where)
    if array.size == 0:
        raise ImgtoolError(f"{where}: has no numbers in it; give at least one")
    with np.errstate(over="ignore"):
        plain = np.array(np.atleast_2d(array), dtype=np.float64, order="C")
    if not np.isfinite(plain).all():
        *plane, i, j = np.argwhere(~np.isfinite(plain))[0] + 1
        place = f"plane {plane[0]}, " if plane else ""
        raise ImgtoolError(f"{where}: {place}row {i}, column {j} is not finite")
    return plain
