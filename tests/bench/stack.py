"""How exactly series are aligned, and how fast, beside pystackreg if it is installed.

python tests/bench/stack.py [STACK.tif ALIGNED_BY_PYSTACKREG.tif]
"""

import sys
import time
from pathlib import Path

import numpy as np

from imgtool import io
from imgtool.stack import align
from imgtool.transforms import MatrixTransform, warp

BRAIN = Path(__file__).parents[1] / "data" / "itk" / "pd.png"
PAGES = 24


def series(noise, seed):
    """A slice on PAGES pages, turned and shifted more and more, with noise; and how."""
    data = io.read(BRAIN).data
    source = (data if data.ndim == 2 else data[..., 0]).astype(np.float32)
    rng = np.random.default_rng(seed)
    truth, pages = [], []
    for page in range(PAGES):
        turn = np.radians(2 * np.sin(page / 4))
        cos, sin, about = np.cos(turn), np.sin(turn), (np.array(source.shape[::-1]) - 1) / 2
        matrix = np.array([[cos, -sin, 0.5 * page], [sin, cos, 3 * np.sin(page / 3)], [0, 0, 1]])
        matrix[:2, 2] += about - matrix[:2, :2] @ about
        truth.append(MatrixTransform(matrix, "rigid", source.shape, source.shape))
        moved = warp(source, truth[-1].inverse(), interpolation="cubic")
        pages.append(moved + rng.normal(0, noise * 255, source.shape).astype(np.float32))
    return np.stack(pages), truth


def errors(found, truth):
    """The mean distance over a grid between where the found and the true transform take a point, by page."""
    height, width = truth[0].fixed_shape
    grid = [(x, y) for x in np.linspace(20, width - 20, 9) for y in np.linspace(20, height - 20, 9)]
    return [np.linalg.norm(one(grid) - other(grid), axis=1).mean() for one, other in zip(found, truth, strict=True)]


def by_imgtool(pages, reference):
    found = sorted(align(pages, reference=reference), key=lambda page: page.page)
    return [page.transform for page in found]


def by_pystackreg(pages, reference):
    from pystackreg import StackReg

    shape = pages[0].shape
    found = StackReg(StackReg.RIGID_BODY).register_stack(pages, reference=reference)
    return [MatrixTransform(matrix, "rigid", shape, shape) for matrix in found]


def exactness():
    methods = {"imgtool": by_imgtool}
    try:
        import pystackreg  # noqa: F401

        methods["pystackreg"] = by_pystackreg
    except ImportError:
        print("pystackreg is not installed: pip install pystackreg")
    print(f"{PAGES} pages of 221x257, rigid: mean and largest error in px, and seconds")
    for noise in (0.0, 0.05, 0.15):
        pages, truth = series(noise, 1)
        for reference in ("first", "previous", "mean"):
            for name, method in methods.items():
                if (name, reference) == ("pystackreg", "mean"):
                    continue  # its mean is that of the pages as they were, on a grid of its own
                began = time.perf_counter()
                off = errors(method(pages, reference), truth)
                seconds = time.perf_counter() - began
                words = f"noise {noise:4.0%}  {reference:8}  {name:10}"
                print(f"{words}  {np.mean(off):.3f}  {np.max(off):.3f}  {seconds:.2f} s")


def likeness(stack, aligned):
    """How much the pages of an aligned stack differ from the first, away from the borders."""
    versions = {"as it was": stack, "by pystackreg": aligned}
    for reference in ("first", "previous", "mean"):
        found = by_imgtool(stack, reference)
        versions[f"by imgtool, {reference}"] = np.stack([warp(page, t) for page, t in zip(stack, found, strict=True)])
    print("root mean square difference to the first page")
    for name, data in versions.items():
        inside = data[:, 30:-30, 30:-30].astype(float)
        print(f"{name:24} {np.sqrt(np.mean((inside[1:] - inside[0]) ** 2)):.1f}")


if __name__ == "__main__":
    exactness()
    if len(sys.argv) == 3:
        likeness(*(io.read(name).data for name in sys.argv[1:]))
