"""imgtool warp."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, sampling_options
from .plan import Item, image_outputs, make_plan
from .run import Done, by_page, change_image, check_fit, execute
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..transforms import MatrixTransform


@click.command(context_settings=HELP)
@click.argument("moving", metavar="MOVING...", nargs=-1, required=True, type=FILE)
@click.option("-t", "--transform", "source", metavar="FILE.json", required=True, type=FILE, help="The transform.")
@click.option("--force", is_flag=True, help="Accept moving images of another size than the transform was made for.")
@sampling_options
@batch_options
def warp(moving: tuple[str, ...], source: str, force: bool, interpolation: str, fill: float, batch: Batch) -> int:
    """Warp images by a transform that register wrote.

    \b
    imgtool register ct.png mr.png -t mr.json
    imgtool warp mr_labels.png -t mr.json --interpolation nearest -o labels.png

    The result lies on the grid of the fixed image. Pages of a stack are warped one by one.
    """
    transform = load_transform(source)
    items = [Item(name, {"output": output}) for name, output in zip(moving, image_outputs(moving, batch), strict=True)]
    plan = make_plan(items, batch, fits=partial(_check_size, transform=transform, force=force), others=[source])
    sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill}
    work = partial(warp_file, transform=transform, **sampling, max_pixels=batch.max_pixels, overwrite=batch.overwrite)
    return execute("warp", plan, work, batch, parameters={"transform": source, "force": force, **sampling})


def load_transform(path: str) -> "MatrixTransform":
    """The transform in a file."""
    from .. import io
    from ..transforms import MatrixTransform

    fields = io.read_json(path)
    try:
        return MatrixTransform.from_dict(fields)
    except ImgtoolError as error:
        raise ImgtoolError(f"{path}: {error}") from error


def _check_size(item: Item, *, transform: "MatrixTransform", force: bool) -> None:
    info = check_fit(item)
    spatial = info.shape if info.channel_axis is None else info.shape[:-1]
    if not force and transform.moving_shape not in (None, spatial[-2:]):
        (height, width), (wanted_height, wanted_width) = spatial[-2:], transform.moving_shape
        raise ImgtoolError(
            f"{item.input}: is {width}x{height} pixels, but the transform is for {wanted_width}x{wanted_height}; "
            "--force applies it nevertheless"
        )


def warp_file(
    item: Item,
    threads: int,
    *,
    transform: "MatrixTransform",
    interpolation: str,
    fill: float,
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Warp the image in one file, whatever its size."""

    def change(image: "Image", _: Done) -> "Array":
        return by_page(image, partial(warped, image=image))

    def warped(page: "Array", image: "Image") -> "Array":
        from .. import transforms

        return transforms.warp(
            page,
            replace(transform, moving_shape=page.shape[:2]),
            interpolation=interpolation,
            fill=fill,
            channel_axis=image.channel_axis,
            has_alpha=image.has_alpha,
            threads=threads,
        )

    return change_image(item, change, max_pixels=max_pixels, overwrite=overwrite)
