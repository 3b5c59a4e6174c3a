"""imgtool convolve."""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, nearest_of, parsed
from .plan import Item, image_outputs, make_plan
from .run import Done, by_page, change_image, check_fit, execute
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..kernels import Kernel

_DTYPES = tuple(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)) + (
    "float16",
    "float32",
    "float64",
)


def _kernel(text: str) -> "Kernel":
    from ..kernels import parse_kernel

    return parse_kernel(text)


def _borders() -> Collection[str]:
    from ..filters import BORDERS

    return BORDERS


@click.command(context_settings=HELP)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=FILE)
@click.option(
    "-k",
    "--kernel",
    metavar="SPEC",
    required=True,
    callback=parsed(_kernel),
    help="A named kernel, rows of numbers, or @FILE; see above.",
)
@click.option(
    "--border",
    callback=parsed(nearest_of(_borders)),
    metavar="NAME",
    default="reflect",
    help="What lies beyond the edge: reflect (c b a | a b c), mirror (c b | a b c), nearest, wrap, constant.",
)
@click.option("--cval", type=float, metavar="VALUE", help="With --border constant: its value.  [default: 0]")
@click.option("--correlate", is_flag=True, help="Do not flip the kernel.")
@click.option("--normalize", is_flag=True, help="Divide the kernel by its sum.")
@click.option(
    "--dtype",
    type=click.Choice(_DTYPES),
    metavar="TYPE",
    help=f"Type of the result, the input's by default: {', '.join(_DTYPES)}.",
)
@batch_options
def convolve(
    inputs: tuple[str, ...],
    kernel: "Kernel",
    border: str,
    cval: float | None,
    correlate: bool,
    normalize: bool,
    dtype: str | None,
    batch: Batch,
) -> int:
    """Convolve images with a kernel.

    \b
    imgtool convolve photo.png -k gaussian:sigma=2 -o soft.png
    imgtool convolve scans/*.tif -k sobel --dtype float32 -O edges/
    imgtool convolve photo.png -k "0 -1 0; -1 5 -1; 0 -1 0" -o sharp.png

    SPEC is a name: identity, box:SIZE or box:WIDTHxHEIGHT, gaussian:sigma=S,truncate=4, binomial:SIZE, laplacian:4 or
    :8, sharpen, sobel, prewitt or scharr (each with :x, :y or :magnitude, the default); or rows of numbers, fractions
    too, separated by semicolons; or @FILE with such rows (.txt, .csv), nested lists (.json) or an array (.npy).

    The kernel is flipped, as in mathematics; named kernels are written for that, so sobel:x is positive where the image
    grows brighter to the right. Integer results are rounded half to even and saturated, and it is said how many values
    were. Channels are filtered alike, colours weighted by alpha; pages of a stack are filtered one by one.
    """
    settings = _settings(kernel, border, cval, correlate, normalize, dtype)
    items = [Item(name, {"output": output}) for name, output in zip(inputs, image_outputs(inputs, batch), strict=True)]
    plan = make_plan(items, batch, fits=partial(check_fit, dtype=dtype))
    work = partial(convolve_file, **settings, max_pixels=batch.max_pixels, overwrite=batch.overwrite)
    return execute(
        "convolve", plan, work, batch, parameters={**settings, "kernel": kernel.name, "normalize": normalize}
    )


def _settings(
    kernel: "Kernel", border: str, cval: float | None, correlate: bool, normalize: bool, dtype: str | None
) -> dict[str, Any]:
    from ..filters import BORDERS

    if cval is not None and (BORDERS[border] != "constant" or border == "zero"):
        raise click.UsageError(f"--cval is the value of --border constant; it has no effect with --border {border}")
    if normalize:
        try:
            kernel = kernel.normalized()
        except ImgtoolError as error:
            raise click.BadParameter(f"{error}; leave the option out", param_hint="'--normalize'") from error
    return {
        "kernel": kernel,
        "border": BORDERS[border],
        "cval": 0.0 if cval is None else cval,
        "correlate": correlate,
        "dtype": dtype,
    }


def convolve_file(
    item: Item, threads: int, *, kernel: "Kernel", max_pixels: int, overwrite: bool, **settings: Any
) -> Done:
    """Convolve the image in one file; `settings` are those of `filters.apply_kernel`."""
    from ..filters import apply_kernel

    def change(image: "Image", done: Done) -> "Array":
        saturated = 0

        def convolved(page: "Array") -> "Array":
            nonlocal saturated
            result, count = apply_kernel(
                page,
                kernel.arrays,
                channel_axis=image.channel_axis,
                has_alpha=image.has_alpha,
                threads=threads,
                **settings,
            )
            saturated += count
            return result

        data = by_page(image, convolved)
        if saturated:
            values = "value" if saturated == 1 else "values"
            done.warnings.append(f"{saturated} {values} saturated at {data.dtype}; use --dtype float32 to keep them")
        return data

    return change_image(item, change, max_pixels=max_pixels, overwrite=overwrite)
