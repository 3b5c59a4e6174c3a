"""imgtool register."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..errors import ImgtoolError
from .command import command
from .common import CommonFile
from .options import Batch, Reading, batch_options, inputs_argument, sampling_options, with_options
from .plan import Item, image_outputs, make_plan, named_outputs
from .planes import Look, Spacing, engine_options, look_options, spacing
from .registered import PICTURES, ReferenceFiles, Registering, register_file
from .run import check_holds, execute, size_of
from .values import FILE, parsed


def _spacing(value: float) -> float:
    from .._ffd import checked_spacing

    return checked_spacing(value)


_FIXED = click.argument("fixed", type=FILE)
# What is found, and how.
_ENGINE = (
    click.option(
        "-m",
        "--model",
        type=click.Choice(["auto", "translation", "rigid", "similarity", "affine", "projective", "bspline"]),
        default="auto",
        help="What may happen to the moving image: shifts; and rotation; and one scale; and two scales and shear; and "
        "perspective; or two scales, shear and a smooth deformation that folds nowhere. auto decides by the images, "
        "but for the last, and says what it took.",
    ),
    click.option(
        "--grid-spacing",
        type=float,
        metavar="PX",
        callback=parsed(_spacing),
        help="Distance of the control points of -m bspline in pixels of the fixed image, 1 or more; 16 if not given.",
    ),
    click.option("--flips", is_flag=True, help="Try mirror images as well: a slide may lie either way up."),
    click.option("--initial", metavar="FILE", type=FILE, help="Begin at this transform instead of searching."),
    click.option(
        "--landmarks",
        metavar="FILE.csv",
        type=FILE,
        help="Begin where matched points are: columns x_fixed, y_fixed, x_moving, y_moving, or just these four.",
    ),
    click.option("--fixed-mask", metavar="FILE", type=FILE, help="Image that is 0 where the fixed one does not count."),
    click.option(
        "--moving-mask", metavar="FILE", type=FILE, help="Image that is 0 where the moving one does not count."
    ),
    look_options,
    click.option(
        "--spacing",
        "pixel_size",
        metavar="X[,Y]|tags",
        callback=parsed(spacing),
        help="Width and height of a pixel, or as the resolution in the files' tags: models and scales are then those "
        "of the things in the images, not of pixels.",
    ),
    click.option(
        "--moving-spacing",
        metavar="X[,Y]|tags",
        callback=parsed(spacing),
        help="The same for the moving images, where theirs differs.",
    ),
    engine_options,
)
# What is written of it.
_RESULTS = (
    click.option(
        "-t",
        "--transform",
        metavar="FILE|DIR/",
        type=FILE,
        help="Write the transform, as .json, .tfm (ITK), or a field: .npy, .npz, .tif, .nii.gz; for several moving "
        "images into a folder, as DIR/NAME.json.",
    ),
    click.option(
        "--overlay",
        metavar="FILE|DIR/",
        type=FILE,
        help="Write a picture of the result: fixed in red, moving in cyan, gray where they fit; DIR/NAME.png in a "
        "folder.",
    ),
    click.option(
        "--checkerboard",
        metavar="FILE|DIR/",
        type=FILE,
        help="Write a picture of the result: squares of both in turn.",
    ),
)
_STRICT = click.option("--strict", is_flag=True, help="Fail, and write nothing, where the result is not certain.")


@command
@_FIXED
@inputs_argument("moving", "MOVING")
@with_options(*_ENGINE, *_RESULTS, _STRICT, sampling_options)
@batch_options
def register(
    moving: tuple[str, ...],
    transform: str | None,
    overlay: str | None,
    checkerboard: str | None,
    batch: Batch,
    **given: Any,
) -> int:
    """Register moving images to a fixed one.

    \b
    imgtool register ct.png mr.png -o mr_on_ct.png
    imgtool register ct.png mr.png -m rigid -t mr.json --overlay check.png
    imgtool register day0.tif day[1-9].tif -O aligned/ -t transforms/ --strict

    Finds the transform that makes the normalized mutual information (NMI) of the two largest, so the images may come
    from different devices, and writes the moving image on the grid of the fixed one, the transform, pictures of the
    two, or all of these. Transparent pixels do not count.

    The transform maps pixel coordinates (x, y) of the fixed image to those of the moving one. A line on standard output
    tells what was found. Where the result is not certain a warning says so; where NMI did not grow, nothing is written,
    and the exit status is 1.
    """
    chosen = registering(**given, reading=batch.reading)
    items, folders = plan_outputs(
        moving, {"transform": transform, "overlay": overlay, "checkerboard": checkerboard}, batch
    )
    fits = partial(_fits, registering=chosen, reading=batch.reading)
    plan = make_plan(items, batch, fits=fits, others=chosen.files, common=chosen.common, folders=folders)
    chosen.references.read()
    work = partial(register_file, registering=chosen, reading=batch.reading, writing=batch.writing)
    return execute("register", plan, work, batch, parameters=chosen.parameters)


@command
@_FIXED
@with_options(*_ENGINE, _STRICT, sampling_options)
@click.pass_obj
def step(batch: Batch, /, **given: Any) -> Registering:
    """Register as a step of imgtool pipe."""
    chosen = registering(**given, reading=batch.reading)
    chosen.references.read()
    return chosen


def registering(
    fixed: str,
    *,
    model: str,
    grid_spacing: float | None,
    search: str,
    background: str,
    flips: bool,
    bins: int,
    initial: str | None,
    landmarks: str | None,
    fixed_mask: str | None,
    moving_mask: str | None,
    channel: tuple[Any, Any],
    nodata: tuple[float, float] | None,
    pixel_size: Spacing | str | None,
    moving_spacing: Spacing | str | None,
    strict: bool,
    interpolation: str,
    fill: float,
    reading: Reading,
) -> Registering:
    """The registration that the options describe."""
    if grid_spacing is not None and model != "bspline":
        raise click.UsageError(f"--grid-spacing is for -m bspline; the model is {model}")
    if flips and model == "bspline":
        raise click.UsageError("--flips is for models that are matrices; flip the moving image before -m bspline")
    if flips and (search == "none" or initial is not None or landmarks is not None):
        raise click.UsageError("--flips is for a search to try; leave out --search none, --initial and --landmarks")
    if initial is not None and landmarks is not None:
        raise click.UsageError("--initial and --landmarks both say where to begin; give one of them")
    if moving_spacing is not None and pixel_size is None:
        raise click.UsageError("--moving-spacing needs --spacing, the pixel size of the fixed image")
    nodata_values = nodata or (None, None)
    looks = Look(channel[0], nodata_values[0]), Look(channel[1], nodata_values[1])
    files = {
        "fixed": fixed,
        "initial": initial,
        "landmarks": landmarks,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
    }
    settings = {
        "model": model,
        "grid_spacing": grid_spacing,
        "search": search,
        "background": background,
        "flips": flips,
        "bins": bins,
    }
    sampling = {"interpolation": interpolation, "fill": fill}
    common: dict[str, Any] = {what: None if name is None else CommonFile.found(name) for what, name in files.items()}
    looked_at = {"channel": channel, "nodata": nodata, "spacing": pixel_size, "moving_spacing": moving_spacing}
    references = ReferenceFiles(**common, look=looks[0], pixel_size=pixel_size, reading=reading)
    _ = references.shape  # what is wrong with them is wrong for all images
    return Registering(
        references=references,
        look=looks[1],
        moving_spacing=moving_spacing or pixel_size,
        settings=settings,
        strict=strict,
        sampling=sampling,
        parameters={**files, **settings, **looked_at, "strict": strict, **sampling},
    )


def plan_outputs(moving: Sequence[str], wanted: dict[str, str | None], batch: Batch) -> tuple[list[Item], list[Path]]:
    """What to write for each moving image, and the folders to make for it.

    `wanted` says for each kind of output beside the image which file or folder was named.
    """
    outputs: list[dict[str, Path]] = [{} for _ in moving]
    folders: list[Path] = []
    wants_image = any(value is not None for value in (batch.output, batch.output_dir, batch.suffix, batch.ext))
    if wants_image or batch.in_place or all(name is None for name in wanted.values()):
        for output, path in zip(outputs, image_outputs(moving, batch), strict=True):
            output["output"] = path
    for what, name in wanted.items():
        if name is not None:
            option, ext = ("-t", ".json") if what == "transform" else (f"--{what}", ".png")
            paths, folder = named_outputs(option, name, moving, ext, batch)
            if folder is None and what == "transform":
                _check_transform_name(name)
            folders += [] if folder is None else [folder]
            for output, path in zip(outputs, paths, strict=True):
                output[what] = path
    return [Item(name, output) for name, output in zip(moving, outputs, strict=True)], folders


def _check_transform_name(name: str) -> None:
    from ..io.transforms import check_transform_name

    try:
        check_transform_name(name)
    except ImgtoolError as error:
        folder = f"{Path(name).with_suffix('')}/"
        raise click.UsageError(f"{error}, or into a folder with a slash at its end: -t {folder}") from error


def _fits(item: Item, *, registering: Registering, reading: Reading) -> int:
    from .. import io

    info = io.probe(item.input, auto_orient=reading.auto_orient)
    result = registering.fits(item, info)
    if "output" in item.outputs:
        check_holds(item, result)
    for what in PICTURES:
        if what in item.outputs:
            io.check_output(item.outputs[what], dtype="uint8", channels=3 if what == "overlay" else 1)
    return item.encoded + size_of(info) + 2 * size_of(result) + registering.memory(info)
