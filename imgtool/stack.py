"""Series of images aligned: time series and serial sections, page by page."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

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
_ELSEWHERE = 0.05  # pixels at the corners: a climb from nearer would end at the same place

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


class Task(NamedTuple):
    """A page to register, for which nothing need be known of the pages that are registered beside it."""

    page: int
    fixed: int | None  # the page that it is registered to, None for the mean
    start: MatrixTransform | None  # where it begins, None for centre on centre
    wide: bool  # whether to search where the place that the start leads to is not certain


# Carries tasks out, in any order, several at once or not; the array is the mean of the series, if they need it.
Run = Callable[[Sequence[Task], Array | None], Iterable[tuple[Task, Aligned]]]


def align(
    planes: Planes,
    *,
    reference: str | int = "first",
    model: str = "rigid",
    threads: int | None = None,
    run: Run | None = None,
    **options: Any,
) -> Iterator[Aligned]:
    """The transform of each page of a series onto one grid, in an order in which they can be found.

    Pages are registered independently of each other, so that several may be worked on at once; one whose place is not
    certain then begins where its neighbour ended. Transforms are composed and pixels resampled once, at the end, by
    whoever warps them.

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
    run : callable, optional
        Does the registrations, by `fit`, elsewhere or several at once; by default they are done here one by one.
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
    options = {**options, "model": model, "threads": thread_count(threads)}
    kept = _Kept(planes)

    def one_by_one(tasks: Sequence[Task], mean: Array | None) -> Iterator[tuple[Task, Aligned]]:
        for task in tasks:
            *fixed, moving = kept.take(*(() if task.fixed is None else (task.fixed,)), task.page)
            yield task, fit(task, fixed[0] if mean is None else mean, moving, **options)

    work = _Series(kept, run or one_by_one, options["threads"])
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


def fit(task: Task, fixed: Array, moving: Array, **options: Any) -> Aligned:
    """Carry out a task: its page registered from where the task begins, and from anywhere where that is not certain.

    Parameters
    ----------
    task : Task
        What to do.
    fixed, moving : (height, width) arrays of real numbers
        What the page is registered to, and the page.
    **options
        As for `imgtool.register`.

    Returns
    -------
    Aligned
        With its `problem` where the page cannot be registered.
    """
    start = task.start
    if start is None or moving.shape != start.moving_shape:
        start = _centred(fixed, moving)
    try:
        found = register(fixed, moving, **{**options, "search": "none", "initial": start})
        if task.wide and not found.confident and options.get("search") != "none":
            wider = register(fixed, moving, **options)
            found = max(found, wider, key=lambda result: (result.confident, result.nmi_after))
    except ImgtoolError as error:
        return Aligned(task.page, start, None, 0.0, 0.0, False, str(error))
    if not found.improved:  # the start was better
        return Aligned(task.page, start, found.nmi_before, found.overlap, found.confidence, found.confident)
    return Aligned(task.page, _matrix(found), found.nmi_after, found.overlap, found.confidence, found.confident)


class _Kept:
    """Planes, of which those asked for last are kept: a page is often compared with the one before it."""

    def __init__(self, planes: Planes) -> None:
        self._planes = planes
        self._kept: dict[int, Array] = {}

    def __len__(self) -> int:
        return len(self._planes)

    def take(self, *pages: int) -> list[Array]:
        """These pages, and only these from now on."""
        self._kept = {page: plane for page, plane in self._kept.items() if page in pages}
        for page in pages:
            if page not in self._kept:
                self._kept[page] = self._planes[page]
        return [self._kept[page] for page in pages]


class _Series(NamedTuple):
    """The ways to align planes, by tasks for `run`."""

    planes: _Kept
    run: Run
    threads: int

    def on_page(self, number: int) -> Iterator[Aligned]:
        """Every page on one of them."""
        start = self._standing_still(number)
        yield start
        others = [page for page in range(len(self.planes)) if page != number]
        found = {}
        for _, aligned in self.run([Task(page, number, None, wide=True) for page in others], None):
            found[aligned.page] = aligned
            if aligned.confident:
                yield aligned
        for order in (range(number + 1, len(self.planes)), range(number - 1, -1, -1)):
            near = start
            for page in order:
                if not found[page].confident:
                    if near is not start:
                        found[page] = self._again(found[page], number, near)
                    yield found[page]
                near = found[page]

    def _again(self, doubtful: Aligned, fixed: int, near: Aligned) -> Aligned:
        """A page of which it is not certain where it lies, from where its neighbour does."""
        task = Task(doubtful.page, fixed, near.transform, wide=False)
        ((_, again),) = self.run([task], None)
        known = [aligned for aligned in (again, doubtful) if aligned.problem is None]
        return max(known, key=lambda aligned: (aligned.confident, aligned.nmi), default=again)

    def chained(self) -> Iterator[Aligned]:
        """Every page on the one before it, and then on the first where that agrees with the chain."""
        first = self._standing_still(0)
        pages = range(1, len(self.planes))
        steps = {task.page: step for task, step in self.run([Task(n, n - 1, None, wide=True) for n in pages], None)}
        settled: dict[int, Aligned] = {}

        def chain() -> list[MatrixTransform]:
            places = [first.transform]
            for page in pages:
                found = settled.get(page)
                places.append(product(places[-1], steps[page].transform) if found is None else found.transform)
            return places

        # A climb that stays at its start tells nothing: it is tried again where settled neighbours lead elsewhere.
        left = [page for page in pages[1:] if steps[page].problem is None]
        for may_stay in (False, True):
            starts = chain()
            for task, direct in self.run([Task(page, 0, starts[page], wide=False) for page in left], None):
                moved = _apart(direct.transform, starts[task.page])
                near = moved <= max(1.0, _DRIFT_PER_STEP * task.page)
                if direct.confident and near and (moved > 0 or may_stay):
                    settled[task.page] = direct
            places = chain()
            left = [page for page in left if page not in settled and _apart(places[page], starts[page]) > _ELSEWHERE]
        yield first
        for page, place in zip(pages, chain()[1:], strict=True):
            overlap = settled[page].overlap if page in settled else steps[page].overlap
            yield replace(steps[page], transform=place, overlap=overlap)

    def on_mean(self) -> Iterator[Aligned]:
        """Every page on the mean of all, as they lie on the first."""
        mean = _Mean()
        before = []
        for found in self.chained():
            before.append(found)
            (plane,) = self.planes.take(found.page)
            mean.add(plane, found.transform, self.threads)
        tasks = [Task(found.page, None, found.transform, wide=True) for found in before]
        for _, aligned in self.run(tasks, mean.plane):
            yield aligned

    def _standing_still(self, number: int) -> Aligned:
        """A page on itself."""
        (plane,) = self.planes.take(number)
        return Aligned(number, _centred(plane, plane), None, 1.0, 1.0, True)


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


def _centred(fixed: Array, moving: Array) -> MatrixTransform:
    """Centre on centre."""
    matrix = np.eye(3)
    matrix[:2, 2] = (np.array(moving.shape[1::-1]) - fixed.shape[1::-1]) / 2
    return MatrixTransform(matrix, "translation", _size(fixed), _size(moving))


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
