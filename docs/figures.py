"""Make the pictures of README.md and the tutorial with imgtool itself: python docs/figures.py"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from imgtool import io
from imgtool.pictures import overlay
from imgtool.transforms import MatrixTransform, warp

HERE = Path(__file__).parent
BRAINS = HERE.parent / "tests" / "data" / "itk"
PALE = 235


def gray(path: Path) -> np.ndarray:
    """The pixels of a picture whose colours are all grays."""
    data = io.read(path).data
    return data if data.ndim == 2 else data[..., 0]


def imgtool(*words: object) -> None:
    subprocess.run(["imgtool", *map(str, words), "--exists", "overwrite", "-q"], check=True, stdout=subprocess.DEVNULL)


def side_by_side(*panels: np.ndarray, gap: int = 8) -> np.ndarray:
    """Pictures in a row; if one of them is in colour, all are."""
    if any(panel.ndim == 3 for panel in panels):
        panels = tuple(panel if panel.ndim == 3 else np.dstack([panel] * 3) for panel in panels)
    space = np.full((panels[0].shape[0], gap, *panels[0].shape[2:]), PALE, np.uint8)
    return np.hstack([part for panel in panels for part in (panel, space)][:-1])


def save(name: str, data: np.ndarray) -> None:
    (HERE / "images").mkdir(exist_ok=True)
    image = io.Image(np.ascontiguousarray(data), -1 if data.ndim == 3 else None)
    io.write(HERE / "images" / name, image, overwrite=True)


def registration(folder: Path) -> None:
    """A T1 and a moved proton density slice; the overlay of the two before and after, and a checkerboard."""
    fixed, moving = BRAINS / "t1.png", BRAINS / "pd_rigid.png"
    after, board = folder / "overlay.png", folder / "checkerboard.png"
    imgtool("register", fixed, moving, "--overlay", after, "--checkerboard", board)
    f, m = gray(fixed), gray(moving)
    save("registration.png", side_by_side(f, m, overlay(f, m), io.read(after).data, io.read(board).data))


def drift(folder: Path) -> None:
    """The chart of a series whose pages are moved by known amounts."""
    source = gray(BRAINS / "pd.png")
    for page in range(24):
        turn = np.radians(2 * np.sin(page / 4))
        cos, sin, about = np.cos(turn), np.sin(turn), (np.array(source.shape[::-1]) - 1) / 2
        matrix = np.array([[cos, -sin, 0.5 * page], [sin, cos, 3 * np.sin(page / 3)], [0, 0, 1]])
        matrix[:2, 2] += about - matrix[:2, :2] @ about
        moved = warp(source, MatrixTransform(matrix, "rigid", source.shape, source.shape).inverse())
        io.write(folder / f"page{page:02}.png", io.Image(moved))
    imgtool("stack", *sorted(folder.glob("page*.png")), "-O", folder / "aligned")
    save("drift.png", io.read(folder / "aligned" / "drift.png").data)


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
        drift(Path(scratch))
