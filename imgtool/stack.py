"""Series of images aligned: time series and serial sections, page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ._check import Array, thread_count
from .errors import ImgtoolError
from .registration import Registration, register
from .transforms import MatrixTransform, warp
from .transforms.matrix import product

FORMAT, VERSION = "imgtool-transforms", 1
REFERENCES = ("first", "previous", "mean")
# How far a composed transform may be from what the first page itself says before the latter is disbelieved, in pixels
# at the corners for each step of the chain, and at least one pixel.
_DRIFT_PER_STEP = 0.25

Matrix = npt.NDArray[np.float64]


class Planes(Protocol):
    """A sequence of planes, each made when it is asked for: an array (pages, height, width), or pages in files."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Array: ...


@dataclass(frozen=True, eq=False)
class Aligned:
    """What was found of one page."""

    page: int  # counted from 0
    transform: MatrixTransform  # from the reference's pixels to this page's
    nmi: float | None  # with what it was registered to, None for the reference itself
    overlap: float
    confidence: float
    confident: bool
    problem: str | None = None  # why the page could not be registered; it then moves as its neighbour does


def align(
    planes: Planes,
    *,
    reference: str | int = "first",
    model: str = "rigid",
    threads: int | None = None,
    **options: Any,
) -> Iterator[Aligned]:
    """The transform of each page of a series onto one grid, in an order in which they can be found.

    Every page begins where its neighbour ended, and searches further only where that is not certain. Transforms are
    composed and pixels resampled once, at the end, by whoever warps them.

    Parameters
    ----------
    planes : sequence of (height, width) arrays of real numbers
        At least two. No more than the page at hand and the one it is compared with are taken at a time. NaN pixels do
        not count.
    reference : {"first", "previous", "mean"} or int
        A page, counted from 0, to which every other is registered. Or "previous": each to the page before it, for
        series whose content changes; so that the errors of the chain do not add up, its composed transform is then
        settled on the first page, as far as the two still have enough in common. Or "mean": as "previous", and then
        each to the mean of all aligned pages, which has little noise; its grid is that of the first page.
    model : str
        As for `imgtool.register`.
    threads : int, optional
        Default: every processor.
    **options
        As for `imgtool.register`.

    Yields
    ------
    Aligned
        Each page once.

    Raises
    ------
    ImgtoolError
        If there are fewer than two pages, or no such reference.

    Examples
    --------
    >>> import numpy as np
    >>> y, x = np.mgrid[:64, :64]
    >>> planes = [np.sin((x - n) / 5) + np.cos((y + n) / 7) + (x - n) / 64 for n in range(3)]
    >>> for found in align(planes, model="translation"):
    ...     print(found.page, found.transform([[20, 20]]).round(1))
    0 [[20. 20.]]
    1 [[21. 19.]]
    2 [[22. 18.]]
    """
    if len(planes) < 2:
        raise ImgtoolError(f"a series needs two pages or more, not {len(planes)}")
    if model == "bspline":
        raise ImgtoolError("a series is aligned by matrices; bspline is a model of imgtool.register")
    work = _Series(planes, model, {**options, "threads": thread_count(threads)})
    if reference == "previous":
        yield from work.chained()
    elif reference == "mean":
        yield from work.on_mean()
    elif isinstance(reference, str) and reference != "first":
        raise ImgtoolError(f"reference {reference!r} is unknown; use {', '.join(REFERENCES)} or the number of a page")
    else:
        number = 0 if isinstance(reference, str) else reference
        if not 0 <= number < len(planes):
            raise ImgtoolError(f"there is no page {number} in a series of {len(planes)}, counted from 0")
        yield from work.on_page(number)


@dataclass
class _Series:
    planes: Planes
    model: str
    options: dict[str, Any]

    def on_page(self, number: int) -> Iterator[Aligned]:
        fixed = self.planes[number]
        start = _standing_still(number, fixed, fixed)
        yield start
        for order in (range(number + 1, len(self.planes)), range(number - 1, -1, -1)):
            last = start
            for page in order:
                last = self._aligned(page, fixed, self.planes[page], last)
                yield last

    def chained(self) -> Iterator[Aligned]:
        first = previous = self.planes[0]
        last = _standing_still(0, first, first)
        yield last
        for page in range(1, len(self.planes)):
            plane = self.planes[page]
            step = self._aligned(page, previous, plane, _standing_still(page, previous, plane))
            last = self._settled(replace(step, transform=product(last.transform, step.transform)), first, plane)
            previous = plane
            yield last

    def _settled(self, chained: Aligned, first: Array, plane: Array) -> Aligned:
        """The page on the first one, where that agrees with the chain that led to it; else the chain."""
        if chained.page == 1 or chained.problem is not None:
            return chained
        try:
            direct = self._registered(first, plane, search="none", initial=chained.transform)
        except ImgtoolError:
            return chained
        allowed = max(1.0, _DRIFT_PER_STEP * chained.page)
        if direct.confident and _apart(_matrix(direct), chained.transform) <= allowed:
            return replace(chained, transform=_matrix(direct), overlap=direct.overlap)
        return chained

    def on_mean(self) -> Iterator[Aligned]:
        mean = _Mean()
        before = []
        for found in self.chained():
            before.append(found)
            mean.add(self.planes[found.page], found.transform, self.options["threads"])
        for found in before:
            yield self._aligned(found.page, mean.plane, self.planes[found.page], found)

    def _aligned(self, page: int, fixed: Array, moving: Array, near: Aligned) -> Aligned:
        """`moving` registered to `fixed` from where `near` is, and from anywhere where that is not certain."""
        start = near.transform
        if moving.shape != start.moving_shape:
            start = _standing_still(page, fixed, moving).transform
        try:
            found = self._registered(fixed, moving, search="none", initial=start)
            if not found.confident and self.options.get("search") != "none":
                wider = self._registered(fixed, moving)
                found = max(found, wider, key=lambda result: (result.confident, result.nmi_after))
        except ImgtoolError as error:
            return Aligned(page, start, None, 0.0, 0.0, False, str(error))
        if not found.improved:  # the start was better
            return Aligned(page, start, found.nmi_before, found.overlap, found.confidence, found.confident)
        return Aligned(page, _matrix(found), found.nmi_after, found.overlap, found.confidence, found.confident)

    def _registered(self, fixed: Array, moving: Array, **how: Any) -> Registration:
        return register(fixed, moving, model=self.model, **{**self.options, **how})


class _Mean:
    """The mean of warped pages, over those that reach a pixel."""

    def __init__(self) -> None:
        self._sum: Array | None = None
        self._count: Array | None = None

    def add(self, plane: Array, transform: MatrixTransform, threads: int) -> None:
        values = plane.astype(np.result_type(plane, np.float32))
        warped = warp(values, transform, fill=np.nan, threads=threads)
        reached = np.isfinite(warped)
        if self._sum is None or self._count is None:
            self._sum, self._count = np.zeros(warped.shape), np.zeros(warped.shape, np.int64)
        self._sum[reached] += warped[reached]
        self._count += reached

    @property
    def plane(self) -> Array:
        assert self._sum is not None and self._count is not None
        with np.errstate(invalid="ignore"):
            return self._sum / self._count


def _standing_still(page: int, fixed: Array, moving: Array) -> Aligned:
    """A page that lies on the fixed one, centre on centre."""
    matrix = np.eye(3)
    matrix[:2, 2] = (np.array(moving.shape[1::-1]) - fixed.shape[1::-1]) / 2
    transform = MatrixTransform(matrix, "translation", _size(fixed), _size(moving))
    return Aligned(page, transform, None, 1.0, 1.0, True)


def _matrix(found: Registration) -> MatrixTransform:
    assert isinstance(found.transform, MatrixTransform)  # `align` refuses models that are none
    return found.transform


def _size(plane: Array) -> tuple[int, int]:
    return int(plane.shape[0]), int(plane.shape[1])


def _apart(one: MatrixTransform, other: MatrixTransform) -> float:
    """How far apart two transforms take the corners of the fixed image, at most, in pixels."""
    height, width = one.grid(None)
    corners = [(x, y) for x in (0, width - 1) for y in (0, height - 1)]
    return float(np.linalg.norm(one(corners) - other(corners), axis=1).max())


def to_dict(transforms: Sequence[MatrixTransform]) -> dict[str, Any]:
    """The transforms of a series as JSON types, as `from_dict` reads them."""
    return {"format": FORMAT, "version": VERSION, "transforms": [transform.to_dict() for transform in transforms]}


def from_dict(fields: Any) -> list[MatrixTransform]:
    """The transforms that `to_dict` described.

    Raises
    ------
    ImgtoolError
        If they are damaged, or not those of a series.
    """
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise ImgtoolError(f'these are not the transforms of a series: the file lacks "format": "{FORMAT}"')
    if fields.get("version") != VERSION or isinstance(fields["version"], bool):
        raise ImgtoolError(f"version {fields.get('version')!r} is unknown; this imgtool reads version {VERSION}")
    entries = fields.get("transforms")
    if not isinstance(entries, list) or not entries:
        raise ImgtoolError("the list of transforms is missing or empty; write it again with imgtool stack")
    out = []
    for number, entry in enumerate(entries, 1):
        try:
            out.append(MatrixTransform.from_dict(entry))
        except ImgtoolError as error:
            raise ImgtoolError(f"page {number}: {error}") from error
    return out
