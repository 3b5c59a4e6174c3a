"""The matrix between two planes: found by search and climb, judged, and accounted for."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._chance import fit_as_they_are
from ._climb import GAIN, WORTH_GAIN, Start, Summit, climb, levels_of
from ._frame import Frame
from ._judge import Judge
from ._layout import Layout, layout
from ._level import Planes
from ._pyramid import to_full_size
from ._search import ELSEWHERE, Candidate, Found, Search
from .errors import ImgtoolError
from .transforms import MatrixTransform

Matrix = npt.NDArray[np.float64]

# A result that moves the corners by less than this, in pixels, and is worse than the start, is the start.
_SAME_PLACE = 0.1
# One that moves them by less than this is the start, too, if the images say nothing against it but what noise may say:
# those that fit from the beginning come back unchanged.
_BESIDE = 0.5
# How many times the score of the runner-up that of the result must be for equal odds that it is right, and how steeply
# the odds rise: see docs/accuracy.md, "Confidence".
_EVEN_RATIO, _STEEPNESS = 1.45, 8
# A rival with less than this share of the result's score leaves little doubt, whether it is one or not.
_HARMLESS = 0.5


class Finding(NamedTuple):
    """What was found, and what is known of it; fields as those of `imgtool.registration.Registration`."""

    begin: Matrix  # what `nmi_before` is of
    matrix: Matrix
    model: str
    steps: int
    nmi_before: float
    nmi_after: float
    confidence: float
    search: str
    reason: str


class _Way(NamedTuple):
    """Moving as it is, or mirrored: models turn and stretch, and a mirrored transform is one of them after a mirror."""

    mirror: Matrix  # between pixels of moving and of `planes`[1], either way; the identity for moving as it is
    planes: Planes
    look: Search


def find(
    planes: Planes, model: str, search: str, flips: bool, initial: MatrixTransform | None, bins: int, threads: int
) -> Finding:
    """The matrix of `model` ("auto": of the model that it takes) from fixed to moving pixels.

    Planes are intensities in [0, 1], NaN where a pixel does not count; the rest is as for `imgtool.register`. Whatever
    order the two planes come in, and however they are mirrored or transposed, they are compared in one layout: swapped
    images give the inverse, mirrored ones the mirrored transform.
    """
    find_in = partial(
        _find_in, planes, initial=initial, model=model, search=search, flips=flips, bins=bins, threads=threads
    )
    best = layout(*planes)
    try:
        return find_in(best)
    except ImgtoolError:
        if not best.swapped:
            raise
    # The horizon of a perspective may lie beside the one image and across the other.
    return find_in(best._replace(swapped=False))


def _find_in(planes: Planes, how: Layout, *, initial: MatrixTransform | None, **options: Any) -> Finding:
    """`find` by the planes in that layout."""
    laid_out = how.planes(planes)
    start = initial and _transform(how.enter(initial.matrix, planes), initial.model, laid_out)
    found = _find(laid_out, start, **options)
    back = _transform(how.leave(found.matrix, planes), found.model, planes)
    return found._replace(begin=how.leave(found.begin, planes), matrix=back.matrix)


def _transform(matrix: Matrix, model: str, planes: Planes) -> MatrixTransform:
    shapes = [(plane.shape[0], plane.shape[1]) for plane in planes]
    return MatrixTransform(matrix, model, *shapes)


def _find(
    planes: Planes,
    initial: MatrixTransform | None,
    *,
    model: str,
    search: str,
    flips: bool,
    bins: int,
    threads: int,
) -> Finding:
    """`find` for planes in their layout."""
    frame = Frame.of(planes[0].shape, planes[1].shape)
    begin = frame.matrix("translation", np.zeros(2)) if initial is None else initial.matrix
    # The simplest model that "auto" may end with where nothing better than the start is found.
    least = "rigid" if initial is None else initial.model
    # An initial transform is mirrored or not, and no search may change that.
    mirrored = (False, True) if flips else (frame.scales(begin)[1] < 0,)
    ways = [_way(planes, each, frame, threads) for each in mirrored]
    way, found = ways[0], None
    if search != "none" and initial is None:
        way, found = _searched(ways, search)
    begin = way.mirror @ begin
    levels = levels_of(way.planes, searched=found is not None)
    judged = _judging(*levels[0], bins, threads)
    nmi_before, common = judged(begin)
    if found is not None:
        start = Start(found.best.matrix, found.best.model, searched=True)
    elif common:
        start = Start(begin, least, searched=False)
    else:
        raise ImgtoolError("fixed and moving have no pixel in common where the climb begins; check masks and initial")
    top = climb(levels, start, model, bins, frame, way.look.fine, threads)
    nmi_after, _ = judged(top.matrix)
    score, alike = way.look.fine.score(top.matrix), planes[0].shape == planes[1].shape
    moved = frame.distance(top.matrix, begin)
    worse = nmi_after < nmi_before and (moved < _SAME_PLACE or score <= way.look.fine.score(begin))
    beside = initial is None and alike and moved < _BESIDE
    # Between modalities NMI errs by some tenths of a pixel in the size of what is round, more than by noise; so "auto"
    # asks of its simplest model whether anything is needed.
    simplest = least if model == "auto" else model
    stay = worse or (beside and fit_as_they_are(levels[0][1], simplest, bins, threads))
    if stay:
        top = top._replace(matrix=begin, model=simplest)
        nmi_after, score = nmi_before, way.look.fine.score(begin)
    rivals = way.look.rivals(top.matrix) if found is None else [found.best, *found.rivals]
    return Finding(
        way.mirror @ begin,
        way.mirror @ top.matrix,
        top.model,
        top.steps,
        nmi_before,
        nmi_after,
        _confidence(score, rivals, top, way.look, frame),
        "none" if found is None else found.kind,
        _reason(model, start, top, stay),
    )


def _judging(factor: int, planes: Planes, bins: int, threads: int) -> Callable[[Matrix], tuple[float, int]]:
    """NMI of the planes of a level, and the pixels in common, for a matrix between those of full size."""
    judge, to_full = Judge(*planes, bins, threads), to_full_size(factor)

    def judged(matrix: Matrix) -> tuple[float, int]:
        inner = np.linalg.inv(to_full) @ matrix @ to_full
        return judge.evaluate(MatrixTransform(inner, "projective", planes[0].shape, None))

    return judged


def _way(planes: Planes, mirrored: bool, frame: Frame, threads: int) -> _Way:
    mirror = np.eye(3)
    if mirrored:
        planes = planes[0], np.ascontiguousarray(planes[1][:, ::-1])
        mirror[0] = -1, 0, planes[1].shape[1] - 1
    return _Way(mirror, planes, Search(planes, frame, threads))


def _searched(ways: list[_Way], search: str) -> tuple[_Way, Found | None]:
    """The way on which edges agree best, and what was found there, with what was found on others among the rivals."""
    found = [(way, result) for way in ways if (result := way.look.run(search)) is not None]
    if not found:
        return ways[0], None
    way, best = max(found, key=lambda each: each[1].best.worth)
    for other, result in found:
        if other is not way:
            across = way.mirror @ other.mirror
            others = [rival._replace(matrix=across @ rival.matrix) for rival in (result.best, *result.rivals)]
            best = best._replace(rivals=best.rivals + others)
    return way, best


def _confidence(score: float, rivals: list[Candidate], top: Summit, look: Search, frame: Frame) -> float:
    """From 0 to 1, by how much the edges agree better here than where they agree best elsewhere.

    Rivals are charged for what they do to sizes and angles beyond what the result does.
    """
    if score <= 0:
        return 0.0
    doubt = look.fine.doubt(top.matrix)
    charged = [
        (min(rival.score, rival.worth + doubt), rival)
        for rival in rivals
        if not frame.same(rival.matrix, top.matrix, ELSEWHERE)
    ]
    charged.sort(key=lambda each: -each[0])
    runner_up = next(
        (
            least
            for least, rival in charged
            if least < _HARMLESS * score or not look.leads_to(rival, top.matrix, top.model)
        ),
        0.0,
    )
    return 1 / (1 + (_EVEN_RATIO * max(runner_up, 0.0) / score) ** _STEEPNESS)


def _reason(model: str, start: Start, top: Summit, stay: bool) -> str:
    """Why the transform is of the model that it is."""
    if model != "auto":
        return f"{model} was asked for"
    if stay:
        return "no model led to anything better than the start, beyond what noise may do"
    if start.searched:
        parts = [f"{start.model} is the simplest model whose edges agree as well as any in the search"]
    else:
        parts = [f"{start.model} is where auto begins"]
    parts += [f"{trial.model} improved {_gains(trial.height, trial.worth)}" for trial in top.trials if trial.taken]
    if top.trials and not top.trials[-1].taken:
        wider, height, worth, _ = top.trials[-1]
        asked = f"{100 * np.expm1(GAIN):.1f} % and {WORTH_GAIN:.1f}"
        parts.append(f"{wider} would change {_gains(height, worth)}, and {asked} are asked for")
    return "; ".join(parts)


def _gains(height: float, worth: float) -> str:
    return f"the fit by {100 * np.expm1(height):+.1f} % and the edges by {worth:+.1f} deviations"
