"""A small chart of numbers over pages, drawn with NumPy alone."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ._check import Array

Picture = npt.NDArray[np.uint8]

_COLOURS = ((200, 40, 40), (40, 90, 200), (40, 140, 60))
_PAPER, _INK, _GRID = 255, 70, 225
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 24, 24  # margins in pixels
_ZOOM = 2
_TICKS = 5
# Three columns by five rows of dots: a digit is a row, its bits the dots.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "-": "00700", ".": "00002", " ": "00000", "a": "06357", "d": "11757", "e": "07746",
    "g": "75717", "h": "44755", "i": "20222", "n": "07555", "o": "07557", "p": "07574", "r": "07444", "s": "03616",
    "t": "27222", "x": "05225", "y": "05717", "=": "07070",
}  # fmt: skip


def chart(series: Mapping[str, npt.ArrayLike], *, width: int = 640, height: int = 240) -> Picture:
    """Curves over the numbers 1, 2, 3 ... of pages, each in a colour of its own, with axes and names.

    Parameters
    ----------
    series : mapping from name to values
        At most three, all of one length; NaN leaves a gap. Names are made of small letters, digits, . - and =.
    width, height : int
        In pixels.

    Returns
    -------
    (height, width, 3) ndarray of uint8
    """
    curves = {name: np.asarray(values, float) for name, values in series.items()}
    pages = max(len(values) for values in curves.values())
    out = np.full((height, width, 3), _PAPER, np.uint8)
    every = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
    ticks = _round_ticks(*((every.min(), every.max()) if every.size else (0.0, 0.0)))
    plot = _Plot(out, (1, max(pages, 2)), (float(ticks[0]), float(ticks[-1])))
    step = ticks[1] - ticks[0]
    decimals = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    for tick in ticks:
        row = round(plot.y(float(tick)))
        out[row, _LEFT : width - _RIGHT] = _GRID
        _write(out, f"{tick + 0.0:.{decimals}f}", row - 5, right=_LEFT - 6)
    for page in sorted({1, (1 + pages) // 2, pages}):
        _write(out, str(page), height - _BOTTOM + 6, centre=plot.x(page))
    for (name, values), colour, place in zip(curves.items(), _COLOURS, range(3), strict=False):
        plot.curve(values, colour)
        _write(out, name, 6, left=_LEFT + place * 190, colour=colour)
    return out


def _round_ticks(low: float, high: float) -> Array:
    """About five round numbers that enclose an interval."""
    span = max(high - low, 1e-3)
    unit = 10 ** np.floor(np.log10(span / (_TICKS - 1)))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * (_TICKS - 1) >= span)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return np.asarray(np.arange(first, max(last, first + 1) + 1) * step)


class _Plot:
    """The area inside the margins of a picture, and where numbers lie in it."""

    def __init__(self, out: Picture, pages: tuple[float, float], values: tuple[float, float]) -> None:
        self.out, self.pages, self.values = out, pages, values

    def x(self, page: float) -> float:
        share = (page - self.pages[0]) / (self.pages[1] - self.pages[0])
        return float(_LEFT + 4 + share * (self.out.shape[1] - _LEFT - _RIGHT - 8))

    def y(self, value: float) -> float:
        share = (value - self.values[0]) / (self.values[1] - self.values[0])
        return float(self.out.shape[0] - _BOTTOM - share * (self.out.shape[0] - _TOP - _BOTTOM))

    def curve(self, values: Array, colour: tuple[int, int, int]) -> None:
        points = [(self.x(page), self.y(value)) for page, value in enumerate(values, 1)]
        for one, other in zip(points, points[1:] or points, strict=False):
            if np.isfinite([one, other]).all():
                self._line(one, other, colour)

    def _line(self, one: tuple[float, float], other: tuple[float, float], colour: tuple[int, int, int]) -> None:
        """A line with soft edges: a pixel's cover follows from its distance to the line."""
        ends = np.array([one, other])
        low, high = np.floor(ends.min(axis=0) - 2), np.ceil(ends.max(axis=0) + 3)
        (left, top), (right, bottom) = np.maximum(low, 0).astype(int), high.astype(int)
        part = self.out[top:bottom, left:right]
        y, x = np.indices(part.shape[:2]) + [[[top]], [[left]]]
        along = ends[1] - ends[0]
        share = ((x - ends[0, 0]) * along[0] + (y - ends[0, 1]) * along[1]) / max(float(along @ along), 1e-9)
        share = np.clip(share, 0, 1)
        distance = np.hypot(x - ends[0, 0] - share * along[0], y - ends[0, 1] - share * along[1])
        cover = np.clip(1.4 - distance, 0, 1)[..., None]
        part[:] = np.rint(part * (1 - cover) + np.array(colour) * cover)


def _write(
    out: Picture,
    text: str,
    top: int,
    *,
    left: float | None = None,
    right: float | None = None,
    centre: float = 0.0,
    colour: tuple[int, int, int] = (_INK, _INK, _INK),
) -> None:
    """`text` in dots; one of `left`, `right` and `centre` says where."""
    if not text:
        return
    rows = [[int(row) for row in _GLYPHS.get(letter, _GLYPHS["-"])] for letter in text]
    dots = np.array([[[row >> bit & 1 for bit in (2, 1, 0, 3)] for row in glyph] for glyph in rows], bool)
    dots = np.kron(np.hstack(list(dots)), np.ones((_ZOOM, _ZOOM), bool))
    size = dots.shape[1]
    start = left if left is not None else right - size if right is not None else centre - size / 2
    column = int(np.clip(round(start), 0, max(0, out.shape[1] - size)))
    top = int(np.clip(top, 0, out.shape[0] - dots.shape[0]))
    out[top : top + dots.shape[0], column : column + size][dots[:, : out.shape[1]]] = colour
