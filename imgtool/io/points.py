"""Points in text files: a line for each, x and y among its columns."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ImgtoolError
from ._files import PathLike, opened, shown

Points = npt.NDArray[np.float64]
Parsed = TypeVar("Parsed")

_LIMIT = 1 << 26
_DELIMITERS = "\t;,"
_MATCH_COLUMNS = ("x_fixed", "y_fixed", "x_moving", "y_moving")


@dataclass(frozen=True)
class PointTable:
    """A table of points as it stood in its file; `columns` are those of x and y.

    Examples
    --------
    >>> table = parse_points("name,x,y\\nnose,10,20.5\\n")
    >>> table.points
    array([[10. , 20.5]])
    >>> print(table.text(table.points + 1), end="")
    name,x,y
    nose,11,21.5
    """

    header: list[str] | None
    rows: list[list[str]]
    delimiter: str
    columns: tuple[int, int]
    points: Points = field(repr=False)

    def text(self, points: Points) -> str:
        """The table with `points`, one for each row, in the place of its own; all other columns are kept."""
        rows = [] if self.header is None else [self.header]
        for row, point in zip(self.rows, points, strict=True):
            cells = list(row)
            for column, value in zip(self.columns, point, strict=True):
                cells[column] = format(float(value), ".12g")
            rows.append(cells)
        return "".join(f"{self.delimiter.join(_quoted(cell, self.delimiter) for cell in row)}\n" for row in rows)


def _quoted(cell: str, delimiter: str) -> str:
    special = delimiter in cell or any(mark in cell for mark in '"\r\n')
    return '"' + cell.replace('"', '""') + '"' if special else cell


def read_points(path: PathLike) -> PointTable:
    """The points in a text file, a line for each, and whatever other columns it has.

    Columns are separated by commas, semicolons, tabs or spaces. A first line that names columns x and y, in any case,
    is a header; without one x and y are the first two columns. Empty lines are left out.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    PointTable

    Raises
    ------
    ImgtoolError
        If there is no such file, it is no text, has no points, or a line is damaged; the message names the line.
    """
    return _explained(path, parse_points)


def read_matches(path: PathLike) -> tuple[Points, Points]:
    """Matched points: in each line x and y in the fixed image, and x and y of the same spot in the moving one.

    The columns are named x_fixed, y_fixed, x_moving and y_moving, among others and in any order, or there are exactly
    these four.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    fixed, moving : (N, 2) arrays of x, y in pixels

    Raises
    ------
    ImgtoolError
        As for `read_points`.
    """
    return _explained(path, parse_matches)


def _explained(path: PathLike, parse: Callable[[str], Parsed]) -> Parsed:
    with opened(path) as stream:
        content = stream.read(_LIMIT + 1)
    try:
        if len(content) > _LIMIT:
            raise ImgtoolError(f"larger than {_LIMIT >> 20} MiB; not a table of points")
        return parse(_decoded(content))
    except ImgtoolError as error:
        raise ImgtoolError(f"{shown(path)}: {error}") from None


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ImgtoolError("is no UTF-8 text; save the points as CSV")
    return text


def parse_points(text: str) -> PointTable:
    """The table that `read_points` reads, from the text itself."""
    delimiter, lines = _lines(text)
    first = lines[0][1]
    names = [cell.strip().lower() for cell in first]
    if "x" in names or "y" in names:
        if names.count("x") != 1 or names.count("y") != 1:
            raise ImgtoolError("its header must name one column x and one y")
        header, columns = first, (names.index("x"), names.index("y"))
    else:
        header, columns = None, (0, 1)
        if len(first) < 2 or not all(_is_number(cell) for cell in first[:2]):
            raise ImgtoolError(
                f"its first line must name columns x and y, or begin with two numbers, not {_row(first)}"
            )
    rows = lines if header is None else lines[1:]
    points = _numbers(rows, columns, ("x", "y"), len(first))
    return PointTable(header, [row for _, row in rows], delimiter, columns, points)


def parse_matches(text: str) -> tuple[Points, Points]:
    """The points that `read_matches` reads, from the text itself."""
    _, lines = _lines(text)
    first = lines[0][1]
    # "x_fixed", "Fixed X" and "fixed.x" are the same name.
    names = ["_".join(sorted(re.findall("[a-z]+", cell.lower()), key=len)) for cell in first]
    if all(names.count(name) == 1 for name in _MATCH_COLUMNS):
        columns, rows = tuple(map(names.index, _MATCH_COLUMNS)), lines[1:]
    elif len(first) == 4:
        columns, rows = (0, 1, 2, 3), lines[not all(_is_number(cell) for cell in first) :]
    else:
        raise ImgtoolError(
            f"matched points need the columns {', '.join(_MATCH_COLUMNS)}; the first line is {_row(first)}"
        )
    values = _numbers(rows, columns, _MATCH_COLUMNS, len(first))
    return values[:, :2], values[:, 2:]


def _lines(text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """The delimiter, and the number and cells of each line that is not empty."""
    import csv  # here, because images are read without it

    # Windows marks text by the first, NumPy's savetxt a header by the second.
    text = text.removeprefix("\ufeff").removeprefix("#")
    first = next(filter(str.strip, text.splitlines()), "").strip()
    delimiter = next((mark for mark in _DELIMITERS if mark in first), " ")
    if delimiter == " ":
        found = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)]
    else:
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True, skipinitialspace=True)
        found = []
        try:
            found.extend((reader.line_num, row) for row in reader)
        except csv.Error as error:
            raise ImgtoolError(f"line {reader.line_num} is damaged ({error})") from None
    lines = [(number, row) for number, row in found if any(map(str.strip, row))]
    if not lines:
        raise ImgtoolError("is empty; points need a line x,y each")
    return delimiter, lines


def _numbers(rows: list[tuple[int, list[str]]], columns: tuple[int, ...], names: tuple[str, ...], width: int) -> Points:
    if not rows:
        raise ImgtoolError("has a header but no points")
    values = np.empty((len(rows), len(columns)))
    for place, (number, row) in enumerate(rows):
        if len(row) != width:
            raise ImgtoolError(f"line {number} has {len(row)} columns where the first has {width}")
        for entry, (column, name) in enumerate(zip(columns, names, strict=True)):
            if not _is_number(row[column]):
                raise ImgtoolError(f"line {number}: {name} is {_row([row[column]])}, not a number")
            values[place, entry] = float(row[column])
        if not np.isfinite(values[place]).all():
            raise ImgtoolError(f"line {number}: {_row(row)} is no place in an image; remove the line")
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _row(cells: list[str]) -> str:
    text = ", ".join(cells)
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
