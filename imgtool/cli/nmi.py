"""imgtool nmi."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import ImgtoolError
from .command import command
from .common import CommonFile
from .options import Batch, Reading, inputs_argument, work_options
from .plan import Item, make_plan, named_outputs
from .run import Done, execute, size_of
from .values import FILE, parsed

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..metrics import Similarity, Workspace


def _bins(value: Any) -> int:
    from ..metrics import bin_count

    return bin_count(value)


def _percentiles(text: str) -> tuple[float, float]:
    from ..metrics import percentile_pair

    return percentile_pair(text.split(","))


@command
@click.argument("fixed", type=FILE)
@inputs_argument("moving", "MOVING")
@click.option(
    "--bins", type=int, default=64, metavar="N", callback=parsed(_bins), help="Histogram bins for each image, 4 to 256."
)
@click.option(
    "--percentiles",
    metavar="LOW,HIGH",
    default="0.1,99.9",
    callback=parsed(_percentiles),
    help="The bins lie between these percentiles of each image; intensities beyond share the outermost ones.",
)
@click.option("--mask", metavar="FILE", type=FILE, help="Image that is 0 where pixels do not count.")
@click.option(
    "--gradient",
    metavar="FILE|DIR/",
    type=FILE,
    help="Write the gradient of NMI by a displacement of each pixel, x and y as pages (.tif) or (2, height, width).",
)
@click.option(
    "--joint-histogram",
    metavar="FILE|DIR/",
    type=FILE,
    help="Draw the joint histogram, or write its numbers (.npy). For several moving images name a folder, DIR/.",
)
@click.option(
    "--auto-orient", is_flag=True, help="Compare images, and the mask, upright, as the orientation in their files asks."
)
@work_options
def nmi(
    fixed: str,
    moving: tuple[str, ...],
    bins: int,
    percentiles: tuple[float, float],
    mask: str | None,
    gradient: str | None,
    joint_histogram: str | None,
    batch: Batch,
) -> int:
    """Measure what images share: NMI and mutual information.

    \b
    imgtool nmi ct.png mr.png
    imgtool nmi ct.png mr_before.png mr_after.png --json
    imgtool nmi ct.png mr.png --joint-histogram joint.png --gradient force.tif

    NMI is (H(FIXED) + H(MOVING)) / H(both), from 1 (nothing in common) to 2 (each determines the other); mutual
    information and entropies H are in nats. All images lie on one grid. Colours are compared by their luminance;
    pixels that are transparent, NaN or infinite in either image, or 0 in the mask, do not count.

    In the picture of the joint histogram fixed intensities rise to the right and moving ones upwards, brightness tells
    the number of pixels on a logarithmic scale. The gradient is that of NMI by the place where each pixel of MOVING is
    sampled: moving it along the gradient makes NMI rise. It is 0 where a pixel or its neighbour does not count.
    """
    items: list[dict[str, Path]] = [{} for _ in moving]
    folders: list[Path] = []
    for what, name, ext in ("gradient", gradient, ".tif"), ("joint_histogram", joint_histogram, ".png"):
        if name is not None:
            paths, folder = named_outputs(f"--{what.replace('_', '-')}", name, moving, ext, batch)
            folders += [] if folder is None else [folder]
            for outputs, path in zip(items, paths, strict=True):
                outputs[what] = path
    common = [CommonFile.found(name) for name in (fixed, mask) if name is not None]
    comparing = Comparing(common[0], common[1] if mask is not None else None, bins, percentiles, batch.reading)
    plan = make_plan(
        [Item(name, outputs) for name, outputs in zip(moving, items, strict=True)],
        batch,
        fits=partial(_fits, auto_orient=batch.auto_orient),
        others=[file.name for file in common],
        common=common,
        folders=folders,
    )
    _fixed(comparing)  # what is wrong with it is wrong for all images
    work = partial(compare_file, comparing=comparing, overwrite=batch.overwrite)
    parameters = {
        "fixed": fixed,
        "bins": bins,
        "percentiles": percentiles,
        "mask": mask,
        "auto_orient": batch.auto_orient,
    }
    return execute("nmi", plan, work, batch, parameters=parameters, in_order=True)


@dataclass(frozen=True)
class Comparing:
    """What images are compared with, and how."""

    fixed: CommonFile
    mask: CommonFile | None
    bins: int
    percentiles: tuple[float, float]
    reading: Reading


class _Fixed(NamedTuple):
    """What is compared of the fixed image, which of its pixels count, and the range of its bins."""

    plane: "Array"
    keep: "Array | None"
    limits: tuple[float, float]


@lru_cache(maxsize=2)
def _fixed(comparing: Comparing) -> _Fixed:
    from .. import io
    from ..metrics import image_array, intensity_range, pixel_mask

    keep = None
    with _naming(comparing.fixed.name):
        plane = _plane(io.read(comparing.fixed.here, **comparing.reading._asdict()))
    if comparing.mask is not None:
        with _naming(comparing.mask.name):
            mask = _counted(io.read(comparing.mask.here, **comparing.reading._asdict()))
            keep = pixel_mask(mask, plane.shape, "mask")
    with _naming(comparing.fixed.name):
        limits = intensity_range(image_array(plane, "fixed"), "fixed", mask=keep, percentiles=comparing.percentiles)
    return _Fixed(plane, keep, limits)


def _fits(item: Item, *, auto_orient: bool) -> int:
    """Refuse an image or outputs by the header of the image; how much memory the work needs."""
    from .. import io

    info = io.probe(item.input, auto_orient=auto_orient)
    for what, output in item.outputs.items():
        if output.suffix == ".npy":
            continue
        if what == "joint_histogram":
            io.check_output(output, dtype="uint8", channels=3)
        elif info.pages > 1:
            raise ImgtoolError(f"{output}: the gradient of a stack has four axes; use .npy")
        else:
            io.check_output(output, dtype="float32", pages=2)
    # Luminance of colours is another plane; the gradient takes three for each axis, and one.
    planes = (info.channel_axis is not None) + (1 + 3 * (2 + (info.pages > 1))) * ("gradient" in item.outputs)
    return item.encoded + size_of(info) + 4 * planes * info.pixels


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the name of a file before the error of a function that does not know it."""
    try:
        yield
    except ImgtoolError as error:
        raise error if name in str(error) else ImgtoolError(f"{name}: {error}") from error


def _plane(image: "Image") -> "Array":
    """What is compared of an image: gray or luminance, NaN where it is transparent."""
    import numpy as np

    from .._colour import gray

    if image.channel_axis is None:
        return image.data
    if image.channels - image.has_alpha not in (1, 3):
        raise ImgtoolError(f"has {image.channels} channels; only gray and RGB images are compared")
    plane, visible = gray(image.data, image.has_alpha)
    return plane if visible is None else np.where(visible, plane, plane.dtype.type(np.nan))


def _counted(mask: "Image") -> "Array":
    """Where a mask counts: masks get saved as RGB, too, so where any colour is not 0."""
    import numpy as np

    if mask.channel_axis is None:
        return mask.data
    return np.asarray(mask.data[..., : mask.channels - mask.has_alpha].any(axis=-1))


def compare_file(item: Item, threads: int, *, comparing: Comparing, overwrite: bool) -> Done:
    """Compare the image in a file with the fixed one, and write what is wanted of the comparison."""
    from .. import io
    from ..metrics import Workspace

    done = Done()
    with done.timed("read"):
        fixed = _fixed(comparing)
        image = io.read(item.input, **comparing.reading._asdict())
    with done.timed("compute"), _naming(item.input):
        plane = _plane(image)
        workspace = Workspace(bins=comparing.bins, percentiles=comparing.percentiles, threads=threads)
        workspace.set_fixed(fixed.plane, mask=fixed.keep, limits=fixed.limits)
        workspace.set_moving(plane)
        found = workspace.evaluate()
    with done.timed("write"):
        for what, output in item.outputs.items():
            if what == "gradient":
                _write_gradient(workspace, plane, output, overwrite=overwrite)
            else:
                _write_joint(workspace, output, overwrite=overwrite)
    done.line, done.details = _line(item.input, found), found.as_dict()
    return done


def _write_gradient(workspace: "Workspace", plane: "Array", output: Path, *, overwrite: bool) -> None:
    import numpy as np

    from .. import io

    if min(plane.shape) < 2:
        raise ImgtoolError(f"{output}: there is no gradient of an image one pixel wide; leave --gradient out")
    # x, y as in every file, and float32, as forces need no more.
    with np.errstate(invalid="ignore", over="ignore"):
        steps: list[Array] = list(np.gradient(plane.astype(np.float32)))
    field = np.stack(steps[::-1])
    field[~np.isfinite(field)] = 0
    gradient = workspace.gradient(field, np.empty(field.shape, np.float32))
    if output.suffix == ".npy":
        _write_npy(gradient, output, overwrite=overwrite)
    else:
        io.write(output, io.Image(gradient), overwrite=overwrite)


def _write_joint(workspace: "Workspace", output: Path, *, overwrite: bool) -> None:
    from .. import io
    from ..metrics import picture

    if output.suffix == ".npy":
        _write_npy(workspace.joint, output, overwrite=overwrite)
    else:
        io.write(output, io.Image(picture(workspace.joint), -1), overwrite=overwrite)


def _write_npy(array: "Array", output: Path, *, overwrite: bool) -> None:
    import numpy as np

    from .. import io

    buffer = BytesIO()
    np.save(buffer, array)
    io.write_bytes(output, buffer.getvalue(), overwrite=overwrite)


def _line(name: str, found: "Similarity") -> str:
    missing = f", {found.missing} NaN, infinite or transparent" if found.missing else ""
    return (
        f"{name}: NMI {found.nmi:.6f}, MI {found.mutual_information:.6f}; H fixed {found.fixed_entropy:.4f}, "
        f"moving {found.moving_entropy:.4f}, joint {found.joint_entropy:.4f}; overlap {100 * found.overlap:.1f} % "
        f"({found.samples} pixels{missing})"
    )
