"""Measure the costs by which imgtool chooses between direct, separable and Fourier convolution.

    python tests/bench/cutover.py

prints the constants at the top of imgtool/_plan.py as this machine has them: nanoseconds per output value, one
thread, fitted by least squares to minima (other work only adds) over images of 1024 x 1024. Only their ratios decide.
"""

from functools import partial

import numpy as np
from timing import once

from imgtool import _correlate, _ext, filters
from imgtool._options import Options

SIDE = 1024
KINDS = {"f4": np.float32, "f8": np.float64, "i4": np.uint16}


def nanoseconds(image, kernel, method):
    """Nanoseconds per value of one method."""
    options = Options("mirror", 0.0, False, None, "same", None, 1.0, 0.0, False, "propagate", method, 1)
    found, shape = filters.planned(kernel, image, image.dtype, options, False)
    return min(once(lambda: _correlate.correlate(image, found, shape, 1), 2) for _ in range(9)) * 1e9 / SIDE**2


def fitted(taps, times):
    """Nanoseconds per tap and per value."""
    columns = np.stack([taps, np.ones(len(taps))], axis=1)
    # Relative errors count: the short kernels must be as right as the long ones.
    weights = 1 / np.asarray(times)
    slope, base = np.linalg.lstsq(columns * weights[:, None], np.ones(len(times)), rcond=None)[0]
    return slope, base


def boxes(dtypes, rng):
    """What a value of a box takes, and a doubling of its width, where sums are of the types that these images need."""
    for dtype in dtypes:
        for sizes in ([3, 7, 15], [31, 63, 101]):
            image = (rng.random((SIDE, SIDE, 1)) * 255).astype(dtype)
            times = [nanoseconds(image, np.full((k, k), 1 / k**2), "box") for k in sizes]
            doubling, value = fitted([k.bit_length() for k in sizes], times)
            print(
                f"{np.dtype(dtype)}: _BOX {value:.3f} _BOX_DOUBLING {doubling:.3f}   "
                + " ".join(f"{k}:{t:.2f}" for k, t in zip(sizes, times, strict=True))
            )


def main():
    rng = np.random.default_rng(0)
    boxes(["u1", "u2"], rng)
    for kind, dtype in KINDS.items():
        image = (rng.random((SIDE, SIDE, 1)) * (60000 if kind == "i4" else 1)).astype(dtype)
        sizes = np.array([3, 5, 7, 9] if kind == "i4" else [3, 5, 7, 9, 11, 13])
        direct = [nanoseconds(image, rng.random((k, k)) / k**2, "direct") for k in sizes]
        tap, value = fitted(sizes**2, direct)
        print(
            f"{kind}: _TAP {tap:.4f} _VALUE {value:.3f}   direct "
            + " ".join(f"{k}:{t:.2f}" for k, t in zip(sizes, direct, strict=True))
        )
        if kind == "i4":
            continue
        sizes = np.array([5, 9, 15, 25, 41, 81])
        passes = [nanoseconds(image, np.outer(rng.random(k), rng.random(k)), "separable") for k in sizes]
        tap, value = fitted(2 * sizes, passes)
        print(
            f"{kind}: _PASS_TAP {tap:.4f} with {value:.3f} per value   separable "
            + " ".join(f"{k}:{t:.2f}" for k, t in zip(sizes, passes, strict=True))
        )
        boxes([dtype], rng)
        for tile in (32, 64, 128, 256, 512, 1024):
            out = np.empty_like(image)
            plan = _ext.Spectrum(rng.random((tile // 4, tile // 4)), tile, kind == "f4")
            pairs = _ext.pair_count(plan, SIDE, SIDE, 1)
            work = partial(_ext.TilePair(plan).correlate, image, out, 1, 0.0, 0.0, 1e30, 0.0, 1, 1, 0, pairs)
            seconds = min(once(work, 1) for _ in range(9))
            each = seconds * 1e9 / (2 * pairs) / (tile * tile * (tile.bit_length() - 1))
            print(f"{kind}: _TRANSFORM at {tile}: {each:.4f} per point and doubling, with loading and storing")


if __name__ == "__main__":
    main()
