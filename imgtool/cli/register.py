"""imgtool register."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, inputs_argument, parsed, sampling_options
from .plan import Item, below, image_outputs, make_plan
from .planes import Look, Spacing, check_channels, look_options, plane_of, spacing, spacing_of
from .run import Done, check_fit, execute, write_image
from .warp import load_transform
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..registration import Registration
    from ..transforms import MatrixTransform

Function = TypeVar("Function", bound=Callable[..., Any])

PICTURES = ("overlay", "checkerboard")
# What the file of a transform says beside it.
FIGURES = ("nmi_before", "nmi_after", "overlap", "confidence", "confident")


def _bins(value: Any) -> int:
    from ..metrics import bin_count

    return bin_count(value)


def _spacing(value: float) -> float:
    from .._ffd import checked_spacing

    return checked_spacing(value)


def engine_options(command: Function) -> Function:
    """Give `command` the options on how a registration is done; its body gets `search`, `background` and `bins`."""
    options = (
        click.option(
            "--search",
            type=click.Choice(["auto", "none", "shift", "rotation", "full"]),
            default="auto",
            help="How far apart the two may be at the start: as far as need be, hardly at all, shifted, turned by any "
            "angle as well, of another size as well.",
        ),
        click.option(
            "--background",
            type=click.Choice(["auto", "none"]),
            default="auto",
            help="Whether to look for a frame that stands still in both images, such as the black sector round an "
            "ultrasound image, and leave it out.",
        ),
        click.option(
            "--bins",
            type=int,
            default=64,
            metavar="N",
            callback=parsed(_bins),
            help="Histogram bins for each image, 4 to 256.",
        ),
    )
    return functools.reduce(lambda function, option: option(function), reversed(options), command)


@click.command(context_settings=HELP)
@click.argument("fixed", type=FILE)
@inputs_argument("moving", "MOVING")
@click.option(
    "-m",
    "--model",
    type=click.Choice(["auto", "translation", "rigid", "similarity", "affine", "projective", "bspline"]),
    default="auto",
    help="What may happen to the moving image: shifts; and rotation; and one scale; and two scales and shear; and "
    "perspective; or two scales, shear and a smooth deformation that folds nowhere. auto decides by the images, but "
    "for the last, and says what it took.",
)
@click.option(
    "--grid-spacing",
    type=float,
    metavar="PX",
    callback=parsed(_spacing),
    help="Distance of the control points of -m bspline in pixels of the fixed image, 1 or more; 16 if not given.",
)
@click.option("--initial", metavar="FILE", type=FILE, help="Begin at this transform instead of searching.")
@click.option(
    "--landmarks",
    metavar="FILE.csv",
    type=FILE,
    help="Begin where matched points are: columns x_fixed, y_fixed, x_moving, y_moving, or just these four.",
)
@click.option("--fixed-mask", metavar="FILE", type=FILE, help="Image that is 0 where the fixed one does not count.")
@click.option("--moving-mask", metavar="FILE", type=FILE, help="Image that is 0 where the moving one does not count.")
@look_options
@click.option(
    "--spacing",
    "pixel_size",
    metavar="X[,Y]|tags",
    callback=parsed(spacing),
    help="Width and height of a pixel, or as the resolution in the files' tags: models and scales are then those of "
    "the things in the images, not of pixels.",
)
@click.option(
    "--moving-spacing",
    metavar="X[,Y]|tags",
    callback=parsed(spacing),
    help="The same for the moving images, where theirs differs.",
)
@engine_options
@click.option(
    "-t",
    "--transform",
    metavar="FILE|DIR/",
    type=FILE,
    help="Write the transform, as .json, .tfm (ITK), or a field: .npy, .npz, .tif, .nii.gz; for several moving images "
    "into a folder, as DIR/NAME.json.",
)
@click.option(
    "--overlay",
    metavar="FILE|DIR/",
    type=FILE,
    help="Write a picture of the result: fixed in red, moving in cyan, gray where they fit; DIR/NAME.png in a folder.",
)
@click.option(
    "--checkerboard",
    metavar="FILE|DIR/",
    type=FILE,
    help="Write a picture of the result: squares of both in turn.",
)
@click.option("--strict", is_flag=True, help="Fail, and write nothing, where the result is not certain.")
@sampling_options
@batch_options
def register(
    fixed: str,
    moving: tuple[str, ...],
    model: str,
    grid_spacing: float | None,
    search: str,
    background: str,
    initial: str | None,
    landmarks: str | None,
    fixed_mask: str | None,
    moving_mask: str | None,
    channel: tuple[Any, Any],
    nodata: tuple[float, float] | None,
    pixel_size: Spacing | str | None,
    moving_spacing: Spacing | str | None,
    bins: int,
    transform: str | None,
    overlay: str | None,
    checkerboard: str | None,
    strict: bool,
    interpolation: str,
    fill: float,
    batch: Batch,
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
    if grid_spacing is not None and model != "bspline":
        raise click.UsageError(f"--grid-spacing is for -m bspline; the model is {model}")
    if initial is not None and landmarks is not None:
        raise click.UsageError("--initial and --landmarks both say where to begin; give one of them")
    if moving_spacing is not None and pixel_size is None:
        raise click.UsageError("--moving-spacing needs --spacing, the pixel size of the fixed image")
    items, folders = plan_outputs(
        moving, {"transform": transform, "overlay": overlay, "checkerboard": checkerboard}, batch
    )
    nodata_values = nodata or (None, None)
    looks = Look(channel[0], nodata_values[0]), Look(channel[1], nodata_values[1])
    others = [name for name in (fixed, fixed_mask, moving_mask, initial, landmarks) if name is not None]
    _check_single(Item(fixed, {}), looks[0])
    for name in (fixed_mask, moving_mask):
        if name is not None:
            check_fit(Item(name, {}))
    plan = make_plan(items, batch, fits=partial(_check_single, look=looks[1]), others=others, folders=folders)
    settings = {
        "model": model,
        "grid_spacing": grid_spacing,
        "search": search,
        "background": background,
        "bins": bins,
    }
    sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill}
    work = partial(
        register_file,
        references=read_references(
            fixed, fixed_mask, moving_mask, looks[0], pixel_size, initial, landmarks, max_pixels=batch.max_pixels
        ),
        look=looks[1],
        moving_spacing=moving_spacing or pixel_size,
        settings=settings,
        strict=strict,
        sampling=sampling,
        max_pixels=batch.max_pixels,
        overwrite=batch.overwrite,
    )
    parameters = {
        "fixed": fixed,
        **settings,
        "initial": initial,
        "landmarks": landmarks,
        "fixed_mask": fixed_mask,
        "moving_mask": moving_mask,
        "channel": channel,
        "nodata": nodata,
        "spacing": pixel_size,
        "moving_spacing": moving_spacing,
        "strict": strict,
    }
    return execute("register", plan, work, batch, parameters=parameters | sampling)


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
            paths, folder = _named_outputs(what, name, moving, batch)
            folders += [] if folder is None else [folder]
            for output, path in zip(outputs, paths, strict=True):
                output[what] = path
    return [Item(name, output) for name, output in zip(moving, outputs, strict=True)], folders


def _named_outputs(what: str, name: str, moving: Sequence[str], batch: Batch) -> tuple[list[Path], Path | None]:
    """The files that an option such as -t names for each moving image, and their folder if it names one."""
    from ..io.transforms import check_transform_name

    option, ext = ("-t", ".json") if what == "transform" else (f"--{what}", ".png")
    if not name:
        raise click.UsageError(f"the name at {option} is empty; write ./ for the current folder")
    if name.endswith("/") or Path(name).is_dir():
        folder = Path(name)
        return [below(folder, batch.place(each), "", ext) for each in moving], folder
    place = f"{option} {Path(name).with_suffix('')}/"
    if len(moving) > 1:
        raise click.UsageError(
            f"{option} names one file, but there are {len(moving)} moving images; give it a folder: {place}"
        )
    if what == "transform":
        try:
            check_transform_name(name)
        except ImgtoolError as error:
            raise click.UsageError(f"{error}, or into a folder with a slash at its end: {place}") from error
    return [Path(name)] * len(moving), None


def _check_single(item: Item, look: Look) -> None:
    from .. import io

    info = check_fit(item)
    if info.pages > 1:
        raise ImgtoolError(f"{item.input}: has {info.pages} pages; align them by imgtool stack, or extract one")
    check_channels(item.input, info, look)
    for what in PICTURES:
        if what in item.outputs:
            io.check_output(item.outputs[what], dtype="uint8", channels=3 if what == "overlay" else 1)


@dataclass(frozen=True)
class References:
    """What every moving image is registered to and by."""

    name: str
    fixed: "Array"
    spacing: Spacing | None
    masks: "dict[str, Array | None]"
    initial: "MatrixTransform | None"
    landmarks: "tuple[Array, Array] | None"
    landmarks_name: str


def read_references(
    fixed: str,
    fixed_mask: str | None,
    moving_mask: str | None,
    look: Look,
    pixel_size: Spacing | str | None,
    initial: str | None,
    landmarks: str | None,
    *,
    max_pixels: int,
) -> References:
    """Read the fixed image, the masks, and where to begin."""
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

    image = io.read(fixed, max_pixels=max_pixels)
    return References(
        fixed,
        plane_of(fixed, image, image.data, look),
        spacing_of(fixed, image, pixel_size),
        {"fixed_mask": mask(fixed_mask), "moving_mask": mask(moving_mask)},
        None if initial is None else _matrix(initial),
        None if landmarks is None else io.read_matches(landmarks),
        landmarks or "",
    )


def _matrix(initial: str) -> "MatrixTransform":
    from ..transforms import MatrixTransform

    found = load_transform(initial)
    if not isinstance(found, MatrixTransform):
        raise ImgtoolError(f"{initial}: a registration begins at a matrix, not at a {found.models[0]}")
    return found


def register_file(
    item: Item,
    threads: int,
    *,
    references: References,
    look: Look,
    moving_spacing: Spacing | str | None,
    settings: dict[str, Any],
    strict: bool,
    sampling: dict[str, Any],
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Register the image in one file, and write what is wanted of it."""
    from .. import io
    from ..io.transforms import write_transform

    done = Done()
    with done.timed("read"):
        moving = io.read(item.input, max_pixels=max_pixels)
        plane = plane_of(item.input, moving, moving.data, look)
        size = spacing_of(item.input, moving, moving_spacing)
    with done.timed("register"):
        try:
            result = _registered(references, plane, size, settings, threads)
        except ImgtoolError as error:
            raise ImgtoolError(f"{item.input} onto {references.name}: {error}") from error
    _judge(result, item, strict, done)
    with done.timed("warp"):
        images = _images(result, references.fixed, moving, plane, item, sampling, threads)
    with done.timed("write"):
        for what, image in images.items():
            if what == "output":
                write_image(item, image, overwrite=overwrite)
            else:
                io.write(item.outputs[what], image, overwrite=overwrite)
        if "transform" in item.outputs:
            figures = {name: getattr(result, name) for name in FIGURES}
            write_transform(item.outputs["transform"], result.transform, figures=figures, overwrite=overwrite)
    if "output" in images:
        done.saw(images["output"].data)
    _describe(result, item, done)
    return done


def _registered(
    references: References, moving: "Array", size: Spacing | None, settings: dict[str, Any], threads: int
) -> "Registration":
    from .. import registration

    options = settings | references.masks | {"threads": threads}
    options["initial"] = _initial(references, moving, settings["model"])
    if references.spacing is None or size is None:
        return registration.register(references.fixed, moving, **options)
    from .. import physical  # which imports filters

    return physical.register(references.fixed, moving, references.spacing, size, **options)


def _initial(references: References, moving: "Array", model: str) -> "MatrixTransform | None":
    from ..landmarks import fit, model_for
    from ..transforms import MatrixTransform

    shapes = references.fixed.shape, moving.shape
    initial = references.initial
    if references.landmarks is not None:
        pairs = len(references.landmarks[0])
        simplest = model_for(pairs, "affine" if model == "auto" else model)
        try:
            initial = MatrixTransform(fit(*references.landmarks, simplest), simplest, *shapes)
        except ImgtoolError as error:
            raise ImgtoolError(f"{references.landmarks_name}: {error}") from error
    elif initial is not None:
        for shape, made, which in zip(
            shapes, (initial.fixed_shape, initial.moving_shape), ("fixed", "moving"), strict=True
        ):
            if made not in (None, shape):
                what = f"a {which} image of {made[1]}x{made[0]} pixels, but this one has {shape[1]}x{shape[0]}"
                raise ImgtoolError(f"the initial transform is for {what}")
    return initial


def _judge(result: "Registration", item: Item, strict: bool, done: Done) -> None:
    """Refuse a result that is no better than the start, and doubt one that is not certain."""
    if not result.improved:
        raise ImgtoolError(
            f"{item.input}: NMI would fall from {result.nmi_before:.6f} to {result.nmi_after:.6f}, so nothing is "
            "written; try a simpler --model, or masks"
        )
    if result.confident:
        return
    doubt = f"the result is not certain (confidence {result.confidence:.2f})"
    if strict:
        raise ImgtoolError(f"{item.input}: {doubt}, so nothing is written; look at it by --overlay without --strict")
    done.warnings.append(f"{doubt}; look at it by --overlay or --checkerboard")


def _images(
    result: "Registration",
    fixed: "Array",
    moving: "Image",
    plane: "Array",
    item: Item,
    sampling: dict[str, Any],
    threads: int,
) -> "dict[str, Image]":
    """The image and the pictures that are wanted, by what they are called in the item's outputs."""
    import numpy as np

    from .. import pictures
    from ..io import Image
    from ..transforms import warp

    images: dict[str, Image] = {}
    if "output" in item.outputs:
        axes: dict[str, Any] = {"channel_axis": moving.channel_axis, "has_alpha": moving.has_alpha}
        images["output"] = replace(
            moving, data=warp(moving.data, result.transform, **sampling, **axes, threads=threads)
        )
    shown = [what for what in PICTURES if what in item.outputs]
    if shown:
        values = plane.astype(np.result_type(plane, np.float32), copy=False)
        warped = warp(values, result.transform, fill=np.nan, threads=threads)
        for what in shown:
            picture = getattr(pictures, what)(fixed, warped)
            images[what] = Image(picture, -1 if picture.ndim == 3 else None)
    return images


def _describe(result: "Registration", item: Item, done: Done) -> None:
    transform, motion = result.transform, result.transform.describe()
    scales = sorted({f"{scale:.4f}" for scale in motion.scales})
    done.line = (
        f"{item.input}: NMI {result.nmi_before:.4f} -> {result.nmi_after:.4f} in {result.iterations} iterations, "
        f"{result.seconds:.2f} s; {transform.model}: shift {motion.shift[0]:.2f}, {motion.shift[1]:.2f} px, "
        f"rotation {motion.rotation:.2f} degrees, scale {' and '.join(scales)}"
    )
    done.details = {
        "nmi_before": result.nmi_before,
        "nmi_after": result.nmi_after,
        "iterations": result.iterations,
        "overlap": result.overlap,
        "confidence": result.confidence,
        "confident": result.confident,
        "search": result.search,
        "static_frame": result.static_frame,
        "model": transform.model,
        "matrix": transform.matrix.tolist(),
        "shift": motion.shift,
        "rotation": motion.rotation,
        "scales": motion.scales,
    }
