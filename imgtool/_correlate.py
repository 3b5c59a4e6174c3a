"""Running a plan: rows, tiles or planes, a slab for each thread."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from . import _ext
from ._check import Array, empty
from ._plan import BORDER_CODES, Plan, direct_plan
from ._slabs import run_slabs

# A slab should be worth the 0.1 ms that handing it to a thread costs.
_SLAB_NANOSECONDS = 200_000

# A tile whose mean square exceeds that of its faintest row by more is no work for a transform of its precision.
_CONTRAST = {"f4": 2.0**14, "f8": 2.0**14}
_CONTRAST_AGAIN = 2.0**60  # float32 pixels in a float64 transform
_PROBES = 4  # tile pairs that show whether float32 will do


def correlate(source: Array, found: Plan, shape: tuple[int, ...], threads: int) -> tuple[Array, int]:
    """Run a plan on an array of axes + channels; the result has `shape` and as many channels.

    Returns the result and how many of its values were saturated.
    """
    result = empty((*shape, source.shape[-1]), found.request.target)
    return result, _run(source, found, result, threads) if result.size else 0


def _run(source: Array, found: Plan, result: Array, threads: int) -> int:
    if found.parts is not None:
        return _by_axes(source, found.parts, result, threads)
    if result.ndim > 3:
        return _by_planes(source, found, result, threads)
    plane, goal = (source[np.newaxis], result[np.newaxis]) if result.ndim == 2 else (source, result)
    return (_by_pairs if found.method == "fft" else _by_rows)(plane, found, goal, threads)


def _by_axes(source: Array, parts: tuple[Plan, Plan], result: Array, threads: int) -> int:
    """Each plane by itself into a floating point copy, then along the first axis."""
    planes, along = parts
    between = empty((source.shape[0], *result.shape[1:]), planes.request.target)

    def filtered(begin: int, end: int) -> int:
        return sum(_run(source[z], planes, between[z], 1) for z in range(begin, end))

    run_slabs(filtered, source.shape[0], 1, threads)
    lines = (-1, result.shape[-1])
    return _by_rows(between.reshape(between.shape[0], *lines), along, result.reshape(result.shape[0], *lines), threads)


def _by_rows(source: Array, found: Plan, result: Array, threads: int) -> int:
    height, width, channels = result.shape
    # Slabs change no bit, but each begins with rows that the one before it had made already.
    ready, at_once = found.ready, height if threads == 1 else slab_rows(found, width * channels)
    return sum(run_slabs(lambda begin, end: ready.slab(source, result, None, begin, end), height, at_once, threads))


def slab_rows(found: Plan, values: int) -> int:
    """Rows of so many values that are worth a thread's while: whole blocks of 3 or 5 rows."""
    rows = max(int(_SLAB_NANOSECONDS / (found.nanoseconds * values)), 4 * int((1, *found.taps.shape)[-2]))
    return -(-rows // 15) * 15


def _by_pairs(source: Array, found: Plan, result: Array, threads: int) -> int:
    """Tile pairs; those beyond the transform's precision again in float64, and those beyond that directly."""
    request, spectrum = found.request, found.spectrum
    top, left = request.origin
    border = BORDER_CODES[request.border]

    def over(plan: "_ext.Spectrum", contrast: float, chosen: Sequence[int]) -> tuple[int, list[int]]:
        """Neighbours together: while one pair is worked on the next is fetched."""
        starts = [i for i, pair in enumerate(chosen) if i == 0 or pair != chosen[i - 1] + 1]
        runs = zip(starts, [*starts[1:], len(chosen)], strict=True)
        spans = [chosen[i : min(i + at_once, end)] for start, end in runs for i in range(start, end, at_once)]
        tolerance = found.tolerance if plan.single else 0.0
        idle: list[_ext.TilePair] = []

        def pairs(index: int, _: int) -> tuple[int, list[int]]:
            try:
                tiles = idle.pop()
            except IndexError:
                tiles = _ext.TilePair(plan)
            ends = spans[index][0], spans[index][-1] + 1
            done = tiles.correlate(
                source, result, border, request.cval, request.bias, contrast, tolerance, top, left, *ends
            )
            idle.append(tiles)
            return done

        done = run_slabs(pairs, len(spans), 1, threads)
        return sum(number for number, _ in done), [pair for _, rest in done for pair in rest]

    count = _ext.pair_count(spectrum, *result.shape)
    at_once = max(1, int(_SLAB_NANOSECONDS / (found.nanoseconds * result.size / count)))
    contrast = _CONTRAST[found.accumulator] if request.source.kind == "f" else 0.0
    saturated, poor = 0, list(range(count))
    probes = poor[:: -(-count // _PROBES)]
    if not found.tolerance or 2 * len(over(spectrum, contrast, probes)[1]) <= len(probes):
        saturated, poor = over(spectrum, contrast, poor)
    if poor and found.accumulator == "f4":
        number, poor = over(found.precise, _CONTRAST_AGAIN if contrast else 0.0, poor)
        saturated += number
    if poor:
        direct = direct_plan(request._replace(method="direct"), found.taps)
        rows, columns, channels = result.shape
        tiles = [tile for pair in poor for tile in _ext.tiles_in_pair(spectrum, rows, columns, channels, pair)]

        def patches(begin: int, end: int) -> int:
            number = 0
            for channel, y, x, height, width in tiles[begin:end]:
                patch = np.empty((height, width, 1), result.dtype)
                ready = direct.correlation(top - y, left - x)
                number += ready.slab(source[..., channel : channel + 1], patch, None, 0, height)
                result[y : y + height, x : x + width, channel] = patch[..., 0]
            return number

        saturated += sum(run_slabs(patches, len(tiles), 1, threads))
    return saturated


def _by_planes(source: Array, found: Plan, result: Array, threads: int) -> int:
    """Arrays of more than two axes: each plane of the result sums the planes of the source under the kernel's."""
    outer = result.shape[:-3]
    height = result.shape[-3]
    offsets = _plane_offsets(source, result.shape, found)
    places = list(product(*map(range, outer)))
    first = source[(0,) * len(outer)]
    ready = found.ready

    def planes(begin: int, end: int) -> int:
        return sum(ready.slab(first, result[place], offsets(place), 0, height) for place in places[begin:end])

    cost = found.nanoseconds * result.size / len(places)
    return sum(run_slabs(planes, len(places), max(1, int(_SLAB_NANOSECONDS / cost)), threads))


def _plane_offsets(
    source: Array, shape: tuple[int, ...], found: Plan
) -> Callable[[tuple[int, ...]], npt.NDArray[np.intp]]:
    """A function that gives, for a plane of the result, the offset in bytes of the plane under each kernel plane."""
    request = found.request
    tables = []
    for axis in range(len(shape) - 3):
        table = np.empty((shape[axis], request.shape[axis]), np.intp)
        _ext.border_table(BORDER_CODES[request.border], source.shape[axis], request.origin[axis], table)
        tables.append(table)

    def offsets(place: tuple[int, ...]) -> npt.NDArray[np.intp]:
        rows = np.ix_(*(table[where] for table, where in zip(tables, place, strict=True)))
        total = sum(row * stride for row, stride in zip(rows, source.strides, strict=False))
        inside = np.logical_and.reduce(np.broadcast_arrays(*(row >= 0 for row in rows)))
        return np.ascontiguousarray(np.where(inside, total, _ext.OUTSIDE_PLANE).ravel())

    return offsets
