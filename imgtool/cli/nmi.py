"""imgtool nmi."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .options import FILE, max_pixels_option, parsed
from .plan import below
from .words import HELP, one_line

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


@click.command(context_settings=HELP)
@click.argument("fixed", type=FILE)
@click.argument("moving", metavar="MOVING...", nargs=-1, required=True, type=FILE)
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
@click.option("--exists", type=click.Choice(["error", "overwrite"]), default="error", help="When an output exists.")
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Threads; every processor by default.")
@max_pixels_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per moving image.")
def nmi(
    fixed: str,
    moving: tuple[str, ...],
    bins: int,
    percentiles: tuple[float, float],
    mask: str | None,
    gradient: str | None,
    joint_histogram: str | None,
    exists: str,
    threads: int | None,
    max_pixels: int,
    as_json: bool,
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
    from .. import io
    from ..metrics import Workspace

    outputs = [
        {
            what: _output(target, name, ext, several=len(moving) > 1, option=option)
            for what, target, ext, option in (
                ("gradient", gradient, ".tif", "--gradient"),
                ("joint_histogram", joint_histogram, ".png", "--joint-histogram"),
            )
            if target is not None
        }
        for name in moving
    ]
    _refuse_collisions([fixed, *moving, *([] if mask is None else [mask])], outputs)
    workspace = Workspace(bins=bins, percentiles=percentiles, threads=threads)
    keep = None if mask is None else _counted(io.read(mask, max_pixels=max_pixels))
    with _naming(fixed):
        workspace.set_fixed(_plane(io.read(fixed, max_pixels=max_pixels)), mask=keep)
    status = 0
    for name, wanted in zip(moving, outputs, strict=True):
        record: dict[str, Any] = {"fixed": fixed, "moving": name}
        try:
            with _naming(name):
                found = _compare(workspace, name, wanted, max_pixels=max_pixels, overwrite=exists == "overwrite")
            record |= {"bins": bins, **found.as_dict(), **{what: str(path) for what, path in wanted.items()}}
            line = _line(name, found)
        except (ImgtoolError, OSError, MemoryError) as error:
            status, line = 1, None
            record["error"] = str(error) or "not enough memory"
            click.echo(f"Error: {one_line(record['error'])}", err=True)
        if as_json:
            click.echo(json.dumps(record))
        elif line is not None:
            click.echo(one_line(line))
    return status


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the name of a file before the error of a function that does not know it."""
    try:
        yield
    except ImgtoolError as error:
        raise error if name in str(error) else ImgtoolError(f"{name}: {error}") from error


def _output(target: str, name: str, ext: str, *, several: bool, option: str) -> Path:
    """The file to write for the moving image `name`: `target`, or one below it if it is a folder."""
    if target.endswith("/") or Path(target).is_dir():
        return below(Path(target), name, "", ext)
    if several:
        folder = Path(target).with_suffix("")
        raise click.UsageError(
            f"{option} names one file, but there are several moving images; give it a folder: {folder}/"
        )
    return Path(target)


def _refuse_collisions(inputs: list[str], outputs: list[dict[str, Path]]) -> None:
    seen = {Path(name).absolute(): name for name in inputs}
    for output in (path for paths in outputs for path in paths.values()):
        if output.absolute() in seen:
            raise click.UsageError(f"{output} would be written twice or is an input as well; choose another name")
        seen[output.absolute()] = str(output)


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


def _compare(
    workspace: "Workspace", name: str, outputs: dict[str, Path], *, max_pixels: int, overwrite: bool
) -> "Similarity":
    """Compare the image in a file and write what is wanted of the comparison."""
    from .. import io

    for output in outputs.values():
        if output.exists() and not overwrite:
            raise ImgtoolError(f"{output}: exists already; use --exists overwrite")
    image = io.read(name, max_pixels=max_pixels)
    plane = _plane(image)
    if "gradient" in outputs and outputs["gradient"].suffix != ".npy":
        io.check_output(outputs["gradient"], dtype="float32", pages=plane.ndim)
        if plane.ndim > 2:
            raise ImgtoolError(f"{outputs['gradient']}: the gradient of a stack has four axes; use .npy")
    if "joint_histogram" in outputs and outputs["joint_histogram"].suffix != ".npy":
        io.check_output(outputs["joint_histogram"], dtype="uint8", channels=3)
    workspace.set_moving(plane)
    found = workspace.evaluate()
    for what, output in outputs.items():
        output.parent.mkdir(parents=True, exist_ok=True)
        if what == "gradient":
            _write_gradient(workspace, plane, output, overwrite=overwrite)
        else:
            _write_joint(workspace, output, overwrite=overwrite)
    return found


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
