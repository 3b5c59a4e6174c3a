"""imgtool warp."""

from collections.abc import Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, sampling_options
from .plan import Item, image_outputs, make_plan
from .run import Done, by_page, change_image, check_fit, execute
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image, Info
    from ..transforms import Transform


@click.command(context_settings=HELP)
@click.argument("moving", metavar="MOVING...", nargs=-1, required=True, type=FILE)
@click.option(
    "-t",
    "--transform",
    "sources",
    metavar="FILE",
    required=True,
    multiple=True,
    type=FILE,
    help="The transform: .json, ITK's .tfm, or a displacement field (.npy, .npz, .tif, .nii, .nii.gz). Several lead "
    "from the fixed image over others to the moving one, in this order.",
)
@click.option(
    "--like", metavar="IMAGE", type=FILE, help="Put the result on the grid of this image.  [default: the fixed image's]"
)
@click.option("--labels", is_flag=True, help="The images hold labels: copy pixels, never mix them.")
@click.option("--force", is_flag=True, help="Accept images of another size than a transform was made for.")
@sampling_options
@batch_options
@click.pass_context
def warp(
    ctx: click.Context,
    moving: tuple[str, ...],
    sources: tuple[str, ...],
    like: str | None,
    labels: bool,
    force: bool,
    interpolation: str,
    fill: float,
    batch: Batch,
) -> int:
    """Warp images by a transform that register wrote.

    \b
    imgtool register ct.png mr.png -t mr.json
    imgtool warp mr_labels.png -t mr.json --labels -o labels.png
    imgtool warp day3.png -t day1_to_day2.json -t day2_to_day3.json -o day3_on_day1.png

    The result lies on the grid of the fixed image, or on that of the moving one where the transform's file does not say
    how large the fixed one is. Several transforms become one before the image is sampled, once. Pages of a stack are
    warped one by one.
    """
    if labels:
        given = ctx.get_parameter_source("interpolation") is not click.core.ParameterSource.DEFAULT
        if given and interpolation != "nearest":
            raise click.UsageError(f"--labels copies pixels, so --interpolation {interpolation} has no meaning with it")
        interpolation = "nearest"
    transform = load_transforms(sources, force=force)
    shape = None if like is None else _size(_probe(like))
    items = [Item(name, {"output": output}) for name, output in zip(moving, image_outputs(moving, batch), strict=True)]
    others = [*sources, *([] if like is None else [like])]
    plan = make_plan(items, batch, fits=partial(_check_size, transform=transform, force=force), others=others)
    sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill}
    work = partial(
        warp_file,
        transform=transform,
        shape=shape,
        force=force,
        **sampling,
        max_pixels=batch.max_pixels,
        overwrite=batch.overwrite,
    )
    parameters = {"transform": list(sources), "like": like, "labels": labels, "force": force, **sampling}
    return execute("warp", plan, work, batch, parameters=parameters)


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


def _probe(path: str) -> "Info":
    from .. import io

    return io.probe(path)


def _size(info: "Info") -> tuple[int, int]:
    height, width = (info.shape if info.channel_axis is None else info.shape[:-1])[-2:]
    return height, width


def _check_size(item: Item, *, transform: "Transform", force: bool) -> None:
    size = _size(check_fit(item))
    if force or transform.moving_shape is None or size == transform.moving_shape:
        return
    (height, width), (wanted_height, wanted_width) = size, transform.moving_shape
    raise ImgtoolError(
        f"{item.input}: is {width}x{height} pixels, but the transform is for {wanted_width}x{wanted_height}; "
        "--force applies it nevertheless"
    )


def warp_file(
    item: Item,
    threads: int,
    *,
    transform: "Transform",
    shape: tuple[int, int] | None,
    force: bool,
    interpolation: str,
    fill: float,
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Warp the image in one file, whatever its size."""

    def change(image: "Image", _: Done) -> "Array":
        return by_page(image, partial(warped, image=image))

    def warped(page: "Array", image: "Image") -> "Array":
        return transform.warp(
            page,
            shape=shape or transform.fixed_shape or page.shape[:2],
            interpolation=interpolation,
            fill=fill,
            channel_axis=image.channel_axis,
            has_alpha=image.has_alpha,
            force=force,
            threads=threads,
        )

    return change_image(item, change, max_pixels=max_pixels, overwrite=overwrite)
