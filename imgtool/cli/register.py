"""imgtool register."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, parsed, sampling_options
from .plan import Item, below, image_outputs, make_plan
from .run import Done, channel_count, check_fit, execute
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..registration import Registration


def _bins(value: Any) -> int:
    from ..metrics import bin_count

    return bin_count(value)


def _spacing(value: float) -> float:
    from .._ffd import checked_spacing

    return checked_spacing(value)


@click.command(context_settings=HELP)
@click.argument("fixed", type=FILE)
@click.argument("moving", metavar="MOVING...", nargs=-1, required=True, type=FILE)
@click.option(
    "-m",
    "--model",
    type=click.Choice(["translation", "rigid", "similarity", "affine", "bspline"]),
    default="affine",
    help="What may happen to the moving image: shifts; and rotation; and one scale; and two scales and shear; and a "
    "smooth deformation that folds nowhere.",
)
@click.option(
    "--grid-spacing",
    type=float,
    metavar="PX",
    callback=parsed(_spacing),
    help="Distance of the control points of -m bspline in pixels of the fixed image, 1 or more; 16 if not given.",
)
@click.option(
    "-t",
    "--transform",
    metavar="FILE.json|DIR/",
    type=FILE,
    help="Write the transform, for imgtool warp; for several moving images into a folder, as DIR/NAME.json.",
)
@click.option("--fixed-mask", metavar="FILE", type=FILE, help="Image that is 0 where the fixed one does not count.")
@click.option("--moving-mask", metavar="FILE", type=FILE, help="Image that is 0 where the moving one does not count.")
@click.option(
    "--bins", type=int, default=64, metavar="N", callback=parsed(_bins), help="Histogram bins for each image, 4 to 256."
)
@sampling_options
@batch_options
def register(
    fixed: str,
    moving: tuple[str, ...],
    model: str,
    grid_spacing: float | None,
    transform: str | None,
    fixed_mask: str | None,
    moving_mask: str | None,
    bins: int,
    interpolation: str,
    fill: float,
    batch: Batch,
) -> int:
    """Register moving images to a fixed one.

    \b
    imgtool register ct.png mr.png -o mr_on_ct.png
    imgtool register ct.png mr.png -m rigid -t mr.json
    imgtool register day0.tif day[1-9].tif -O aligned/ -t transforms/

    Finds the transform that makes the normalized mutual information (NMI) of the two largest, so the images may come
    from different devices, and writes the moving image on the grid of the fixed one, the transform, or both. Colours
    are compared by their luminance; transparent pixels do not count.

    The transform maps pixel coordinates (x, y) of the fixed image to those of the moving one. A line on standard output
    tells what was found. Where NMI did not grow, nothing is written, and the exit status is 1.
    """
    if grid_spacing is not None and model != "bspline":
        raise click.UsageError(f"--grid-spacing is for -m bspline; the model is {model}")
    items, folders = plan_outputs(moving, transform, batch)
    others = [name for name in (fixed, fixed_mask, moving_mask) if name is not None]
    for name in others:
        _check_single(Item(name, {}))
    plan = make_plan(items, batch, fits=_check_single, others=others, folders=folders)
    sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill}
    work = partial(
        register_file,
        references=read_references(fixed, fixed_mask, moving_mask, max_pixels=batch.max_pixels),
        model=model,
        grid_spacing=grid_spacing,
        bins=bins,
        **sampling,
        max_pixels=batch.max_pixels,
        overwrite=batch.overwrite,
    )
    parameters: dict[str, Any] = {"fixed": fixed, "model": model, "grid_spacing": grid_spacing, "bins": bins}
    parameters |= {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
    return execute("register", plan, work, batch, parameters=parameters | sampling)


def plan_outputs(moving: Sequence[str], transform: str | None, batch: Batch) -> tuple[list[Item], list[Path]]:
    """What to write for each moving image, and the folder for transforms, if there is to be one."""
    outputs: list[dict[str, Path]] = [{} for _ in moving]
    folders = []
    wants_image = any(value is not None for value in (batch.output, batch.output_dir, batch.suffix, batch.ext))
    if wants_image or transform is None:
        for output, path in zip(outputs, image_outputs(moving, batch), strict=True):
            output["output"] = path
    if transform is not None and (transform.endswith("/") or Path(transform).is_dir()):
        folders.append(Path(transform))
        for output, name in zip(outputs, moving, strict=True):
            output["transform"] = below(folders[0], name, "", ".json")
    elif transform is not None:
        folder = Path(transform).with_suffix("")
        if len(moving) > 1:
            raise click.UsageError(
                f"-t names one file, but there are {len(moving)} moving images; give it a folder: -t {folder}/"
            )
        if not transform.endswith(".json"):
            raise click.UsageError(f"-t writes JSON; name a .json file, or a folder with a slash at its end: {folder}/")
        outputs[0]["transform"] = Path(transform)
    return [Item(name, output) for name, output in zip(moving, outputs, strict=True)], folders


def _check_single(item: Item) -> None:
    info = check_fit(item)
    channels = channel_count(info)
    if info.pages > 1:
        raise ImgtoolError(f"{item.input}: has {info.pages} pages; extract one, only single images are registered")
    if channels - info.has_alpha not in (1, 3):
        raise ImgtoolError(f"{item.input}: has {channels} channels; only gray and RGB images are registered")


class References(NamedTuple):
    """What every moving image is registered to and by."""

    name: str
    fixed: "Image"
    fixed_mask: "Array | None"
    moving_mask: "Array | None"


def read_references(fixed: str, fixed_mask: str | None, moving_mask: str | None, *, max_pixels: int) -> References:
    """Read the fixed image and the masks."""
    import numpy as np

    from .. import io

    def mask(name: str | None) -> "Array | None":
        if name is None:
            return None
        image = io.read(name, max_pixels=max_pixels)
        if image.channel_axis is None:
            return image.data
        # Masks get saved as RGB, too: a pixel counts where any colour is not 0.
        return np.asarray(image.data[..., : image.channels - image.has_alpha].any(axis=-1))

    return References(fixed, io.read(fixed, max_pixels=max_pixels), mask(fixed_mask), mask(moving_mask))


def register_file(
    item: Item,
    threads: int,
    *,
    references: References,
    model: str,
    grid_spacing: float | None,
    bins: int,
    interpolation: str,
    fill: float,
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Register the image in one file, and write it warped, its transform, or both."""
    from .. import io, registration

    done = Done()
    with done.timed("read"):
        moving = io.read(item.input, max_pixels=max_pixels)
    with done.timed("register"):
        try:
            result = registration.register(
                references.fixed.data,
                moving.data,
                model=model,
                grid_spacing=grid_spacing,
                bins=bins,
                fixed_mask=references.fixed_mask,
                moving_mask=references.moving_mask,
                channel_axis=-1,
                threads=threads,
            )
        except ImgtoolError as error:
            raise ImgtoolError(f"{item.input} onto {references.name}: {error}") from error
    if not result.improved:
        raise ImgtoolError(
            f"{item.input}: NMI would fall from {result.nmi_before:.6f} to {result.nmi_after:.6f}, so nothing is "
            "written; try a simpler --model, or masks"
        )
    if "output" in item.outputs:
        with done.timed("warp"):
            data = _warped(result, moving, interpolation, fill, threads)
        done.saw(data)
    with done.timed("write"):
        if "output" in item.outputs:
            io.write(item.outputs["output"], replace(moving, data=data), overwrite=overwrite)
        if "transform" in item.outputs:
            io.write_text(item.outputs["transform"], transform_text(result), overwrite=overwrite)
    _describe(result, item, done)
    return done


def _warped(result: "Registration", moving: "Image", interpolation: str, fill: float, threads: int) -> "Array":
    from ..transforms import warp

    if interpolation == "linear" and fill == 0:
        return result.warped
    return warp(
        moving.data,
        result.transform,
        interpolation=interpolation,
        fill=fill,
        channel_axis=moving.channel_axis,
        has_alpha=moving.has_alpha,
        threads=threads,
    )


def transform_text(result: "Registration") -> str:
    """The transform file: JSON, one field a line."""
    fields = result.transform.to_dict() | {
        "nmi_before": result.nmi_before,
        "nmi_after": result.nmi_after,
        "overlap": result.overlap,
    }
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _describe(result: "Registration", item: Item, done: Done) -> None:
    motion = result.transform.describe()
    scales = sorted({f"{scale:.4f}" for scale in motion.scales})
    done.line = (
        f"{item.input}: NMI {result.nmi_before:.4f} -> {result.nmi_after:.4f} in {result.iterations} iterations, "
        f"{result.seconds:.2f} s; shift {motion.shift[0]:.2f}, {motion.shift[1]:.2f} px, "
        f"rotation {motion.rotation:.2f} degrees, scale {' and '.join(scales)}"
    )
    done.details = {
        "nmi_before": result.nmi_before,
        "nmi_after": result.nmi_after,
        "iterations": result.iterations,
        "overlap": result.overlap,
        "matrix": result.transform.matrix.tolist(),
        "shift": motion.shift,
        "rotation": motion.rotation,
        "scales": motion.scales,
    }
