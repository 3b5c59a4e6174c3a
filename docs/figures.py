"""Make the pictures of README.md and the tutorial with imgtool itself: python docs/figures.py"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from imgtool import io

HERE = Path(__file__).parent
BRAINS = HERE.parent / "tests" / "data" / "itk"
PALE = 235


def gray(path: Path) -> np.ndarray:
    """The pixels of a picture whose colours are all grays."""
    data = io.read(path).data
    return data if data.ndim == 2 else data[..., 0]


def imgtool(*words: object) -> None:
    subprocess.run(["imgtool", *map(str, words), "--exists", "overwrite", "-q"], check=True, stdout=subprocess.DEVNULL)


def checkerboard(one: np.ndarray, other: np.ndarray, size: int = 32) -> np.ndarray:
    """Squares of the one and the other in turn: outlines run on where the two are aligned."""
    y, x = np.indices(one.shape)
    return np.where((y // size + x // size) % 2, one, other)


def side_by_side(*panels: np.ndarray, gap: int = 8) -> np.ndarray:
    space = np.full((panels[0].shape[0], gap), PALE, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, space)][:-1])


def save(name: str, data: np.ndarray) -> None:
    (HERE / "images").mkdir(exist_ok=True)
    io.write(HERE / "images" / name, io.Image(np.ascontiguousarray(data)), overwrite=True)


def registration(folder: Path) -> None:
    """A T1 and a moved proton density slice; checkerboards of the two before and after."""
    fixed, moving = BRAINS / "t1.png", BRAINS / "pd_rigid.png"
    imgtool("register", fixed, moving, "-o", folder / "registered.png")
    f, m, r = gray(fixed), gray(moving), gray(folder / "registered.png")
    save("registration.png", side_by_side(f, m, checkerboard(f, m), checkerboard(f, r)))


def filters(folder: Path) -> None:
    """A slice, smoothed, its edges, and sharpened."""
    source = BRAINS / "t1.png"
    panels = [gray(source)]
    for kernel in ("gaussian:sigma=2", "sobel", "sharpen"):
        imgtool("convolve", source, "-k", kernel, "-o", folder / "filtered.png")
        panels.append(gray(folder / "filtered.png"))
    save("filters.png", side_by_side(*panels))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        registration(Path(scratch))
        filters(Path(scratch))
