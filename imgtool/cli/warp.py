"""imgtool warp."""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import ImgtoolError
from .command import command
from .common import CommonFile
from .options import Batch, Reading, batch_options, inputs_argument, sampling_options, with_options
from .plan import Item
from .run import Done
from .steps import apply_steps
from .values import FILE

if TYPE_CHECKING:
    import numpy as np

    from .._check import Array
    from ..io import Image, Info
    from ..transforms import Transform


_OPTIONS = (
    click.option(
        "-t",
        "--transform",
        "sources",
        metavar="FILE",
        required=True,
        multiple=True,
        type=FILE,
        help="The transform: .json, ITK's .tfm, or a displacement field (.npy, .npz, .tif, .nii, .nii.gz). Several "
        "lead from the fixed image over others to the moving one, in this order.",
    ),
    click.option(
        "--like",
        metavar="IMAGE",
        type=FILE,
        help="Put the result on the grid of this image.  [default: the fixed image's]",
    ),
    click.option("--labels", is_flag=True, help="The images hold labels: copy pixels, never mix them."),
    click.option("--force", is_flag=True, help="Accept images of another size than a transform was made for."),
    sampling_options,
)


@command
@inputs_argument("moving", "MOVING")
@with_options(*_OPTIONS)
@batch_options
def warp(moving: tuple[str, ...], batch: Batch, **given: Any) -> int:
    """Warp images by a transform that register wrote.

    \b
    imgtool register ct.png mr.png -t mr.json
    imgtool warp mr_labels.png -t mr.json --labels -o labels.png
    imgtool warp day3.png -t day1_to_day2.json -t day2_to_day3.json -o day3_on_day1.png

    The result lies on the grid of the fixed image, or on that of the moving one where the transform's file does not say
    how large the fixed one is. Several transforms become one before the image is sampled, once. Pages of a stack are
    warped one by one.
    """
    chosen = warping(**given, reading=batch.reading)
    return apply_steps("warp", moving, [chosen], batch, parameters=chosen.parameters)


@command
@with_options(*_OPTIONS)
@click.pass_obj
def step(batch: Batch, /, **given: Any) -> "Warping":
    """Warp as a step of imgtool pipe."""
    return warping(**given, reading=batch.reading)


def warping(
    sources: tuple[str, ...],
    *,
    like: str | None,
    labels: bool,
    force: bool,
    interpolation: str,
    fill: float,
    reading: Reading,
) -> "Warping":
    """The warping that the options describe."""
    if labels:
        given = click.get_current_context().get_parameter_source("interpolation")
        if given is not ParameterSource.DEFAULT and interpolation != "nearest":
            raise click.UsageError(f"--labels copies pixels, so --interpolation {interpolation} has no meaning with it")
        interpolation = "nearest"
    sampling = {"interpolation": interpolation, "fill": fill}
    found = Warping(
        sources=tuple(map(CommonFile.found, sources)),
        grid=None if like is None else _size(_probe(like, reading)),
        force=force,
        sampling=sampling,
        files=(*sources, *(() if like is None else (like,))),
        parameters={"transform": list(sources), "like": like, "labels": labels, "force": force, **sampling},
    )
    _ = found.transform  # what is wrong with it is wrong for all images
    return found


@dataclass(frozen=True)
class Warping:
    """A warping with all its options; see `steps.Step`. The transform travels as the names of its files."""

    sources: tuple[CommonFile, ...]
    grid: tuple[int, int] | None
    force: bool
    sampling: dict[str, Any]
    files: tuple[str, ...]
    parameters: dict[str, Any]
    dtype: None = None
    together: bool = False

    @property
    def common(self) -> tuple[CommonFile, ...]:
        """The files of the transform."""
        return self.sources

    @property
    def transform(self) -> "Transform":
        """The transforms in all files as one."""
        return _transform(self.sources, self.force)

    def fits(self, item: Item, info: "Info") -> "Info":
        """What the header of the result will say; an ImgtoolError if there can be none."""
        size, wanted = _size(info), self.transform.moving_shape
        if not (self.force or wanted in (None, size)):
            made = f"{wanted[1]}x{wanted[0]}" if wanted else ""
            raise ImgtoolError(
                f"{item.input}: is {size[1]}x{size[0]} pixels, but the transform is for {made}; "
                "--force applies it nevertheless"
            )
        grid, colours = self._grid(size), () if info.channel_axis is None else info.shape[-1:]
        return info._replace(shape=(*((info.pages,) if info.pages > 1 else ()), *grid, *colours))

    def memory(self, info: "Info") -> int:
        """The work is done in small tiles; see `steps.Step`."""
        return 0

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.grid or self.transform.fixed_shape or size

    def change(
        self, image: "Image", item: Item, done: Done, *, threads: int, dtype: "np.dtype[Any]", full: float
    ) -> "Array":
        """The warped pixels; see `steps.Step`."""
        done.moved = True
        pages = image.pages
        grid = self._grid(pages[0].shape[:2])
        out = _room((len(pages), *grid, *pages[0].shape[2:]), dtype, item.scratch)
        for page, goal in zip(pages, out, strict=True):
            self.transform.warp(
                page,
                shape=grid,
                **self.sampling,
                channel_axis=image.channel_axis,
                has_alpha=image.has_alpha,
                force=self.force,
                threads=threads,
                out=goal,
            )
        return out if image.data.ndim > pages[0].ndim else out[0]


@lru_cache(maxsize=4)
def _transform(sources: tuple[CommonFile, ...], force: bool) -> "Transform":
    return load_transforms([source.here for source in sources], force=force)


def load_transform(path: str) -> "Transform":
    """The transform in a file of any kind."""
    from ..io.transforms import read_transform

    return read_transform(path)


def load_transforms(paths: Sequence[str], *, force: bool) -> "Transform":
    """The transforms in these files as one, which does the first of them first."""

    def compose(first: "Transform", path: str) -> "Transform":
        after = load_transform(path)
        try:
            return first.compose(after, force=force)
        except ImgtoolError as error:
            raise ImgtoolError(f"{path}: {error}") from error

    return reduce(compose, paths[1:], load_transform(paths[0]))


def _probe(path: str, reading: Reading) -> "Info":
    from .. import io

    return io.probe(path, auto_orient=reading.auto_orient)


def _size(info: "Info") -> tuple[int, int]:
    height, width = (info.shape if info.channel_axis is None else info.shape[:-1])[-2:]
    return height, width


def _room(shape: tuple[int, ...], dtype: "np.dtype[Any]", folder: Path) -> "Array":
    """An array for a result; a large one need not fit into memory but lies in a nameless file beside the output."""
    import numpy as np

    from .. import io

    if math.prod(shape) * dtype.itemsize < io.MAPPED:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, dtype, "w+", shape=shape)
