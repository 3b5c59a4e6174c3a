"""imgtool convolve."""

from collections.abc import Collection
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError
from .options import FILE, Batch, batch_options, inputs_argument, kernel_from, nearest_of, number, parsed
from .plan import Item, image_outputs, make_plan
from .run import Done, by_page, change_image, check_fit, execute
from .words import HELP

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image, Info
    from ..kernels import Kernel

_DTYPES = tuple(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)) + (
    "float16",
    "float32",
    "float64",
)


def _borders() -> Collection[str]:
    from ..filters import BORDERS

    return BORDERS


def _anchor(text: str) -> tuple[int, ...]:
    places = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in places):
        raise ImgtoolError(f"{text!r} is no place in a kernel; give row,column counted from 0, such as 0,0")
    return tuple(map(int, places))


@click.command(context_settings=HELP)
@inputs_argument("inputs", "INPUT")
@click.option(
    "-k",
    "--kernel",
    metavar="SPEC",
    required=True,
    callback=kernel_from("axes"),
    help="A named kernel, rows of numbers, or @FILE; see above.",
)
@click.option(
    "--border",
    callback=parsed(nearest_of(_borders)),
    metavar="NAME",
    default="reflect",
    help="What lies beyond the edge: reflect (c b a | a b c), mirror (c b | a b c), nearest, wrap, constant, or "
    "nothing (renormalize, which makes up for the weights that fall outside).",
)
@click.option("--cval", type=float, metavar="VALUE", help="With --border constant: its value.  [default: 0]")
@click.option("--correlate", is_flag=True, help="Do not flip the kernel.")
@click.option(
    "--shape",
    type=click.Choice(["same", "valid", "full"]),
    default="same",
    help="Size of the result: that of the input, only where the kernel lies inside, or wherever it touches the image.",
)
@click.option(
    "--anchor",
    metavar="Y,X",
    callback=parsed(_anchor),
    help="The place in the kernel, counted from 0, that lies on the output pixel.  [default: its centre]",
)
@click.option("--normalize", is_flag=True, help="Divide the kernel by its sum.")
@click.option(
    "--scale", metavar="S", callback=parsed(number), default="1", help="Multiply the kernel by this, such as 1/9."
)
@click.option("--bias", metavar="B", callback=parsed(number), help="Add this to every result.  [default: 0]")
@click.option("--mask", metavar="FILE", type=FILE, help="Count only pixels where this image is not 0.")
@click.option(
    "--nan",
    type=click.Choice(["propagate", "ignore"]),
    default="propagate",
    help="NaN spreads as far as the kernel reaches, or is masked.",
)
@click.option("--linear", is_flag=True, help="Filter sRGB images in linear light.")
@click.option(
    "--axes",
    type=click.Choice(["yx", "zyx"]),
    default="yx",
    is_eager=True,
    help="Filter the pages of a stack one by one, or the stack as a volume.",
)
@click.option(
    "--dtype",
    type=click.Choice(_DTYPES),
    metavar="TYPE",
    help=f"Type of the result, the input's by default: {', '.join(_DTYPES)}.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "direct", "separable", "box", "fft"]),
    default="auto",
    help="How to compute it; auto takes the fastest.",
)
@click.option("--explain", is_flag=True, help="Say for each image what was chosen, and why.")
@batch_options
def convolve(inputs: tuple[str, ...], kernel: "Kernel", explain: bool, axes: str, batch: Batch, **given: Any) -> int:
    """Convolve images with a kernel.

    \b
    imgtool convolve photo.png -k gaussian:sigma=2 -o soft.png
    imgtool convolve scans/*.tif -k sobel --dtype float32 -O edges/
    imgtool convolve photo.png -k "0 -1 0; -1 5 -1; 0 -1 0" -o sharp.png

    SPEC is a name with arguments, such as box:5x3 or gaussian:sigma=2 ("imgtool kernels" lists all); or rows of
    numbers, fractions too, separated by semicolons; or @FILE with such rows (.txt, .csv), nested lists (.json), an
    array (.npy), a libvips matrix (.mat: its scale divides, its offset is the bias), or a gray image, whose pixels are
    the numbers.

    The kernel is flipped, as in mathematics; named kernels are written for that, so sobel:x is positive where the image
    grows brighter to the right. Integer results are rounded half to even and saturated, and it is said how many values
    were. Channels are filtered alike, colours weighted by alpha.
    """
    settings = _settings(kernel, **given)
    used = {name: settings[name] for name in ("border", "cval", "bias")}
    parameters = {"kernel": kernel.name, **given, **used, "axes": axes}
    if given["mask"] is not None:
        settings["mask"] = _mask(given["mask"], batch.max_pixels)
    volume = axes == "zyx"
    items = [Item(name, {"output": output}) for name, output in zip(inputs, image_outputs(inputs, batch), strict=True)]
    fits = partial(_check, settings=settings, mask_name=given["mask"], volume=volume)
    others = [name for name in (given["mask"], kernel.file) if name is not None]
    plan = make_plan(items, batch, fits=fits, others=others)
    work = partial(
        convolve_file,
        arrays=settings.pop("arrays"),
        settings=settings,
        volume=volume,
        explain=explain,
        max_pixels=batch.max_pixels,
        overwrite=batch.overwrite,
    )
    return execute("convolve", plan, work, batch, parameters=parameters)


def _settings(
    kernel: "Kernel",
    *,
    border: str,
    cval: float | None,
    anchor: tuple[int, ...] | None,
    shape: str,
    normalize: bool,
    bias: float | None,
    linear: bool,
    **others: Any,
) -> dict[str, Any]:
    """The arguments of `filters.apply_kernel`; an ImgtoolError or wrong usage where they cannot go together."""
    from ..filters import BORDERS

    if cval is not None and (BORDERS[border] != "constant" or border == "zero"):
        raise click.UsageError(f"--cval is the value of --border constant; it has no effect with --border {border}")
    if cval is not None and shape == "valid":
        raise click.UsageError("--cval has no effect with --shape valid, where the kernel never leaves the image")
    if normalize:
        try:
            kernel = kernel.normalized()
        except ImgtoolError as error:
            raise click.BadParameter(f"{error}; leave the option out", param_hint="'--normalize'") from error
    size = kernel.arrays[0].shape
    if anchor is not None:
        if shape != "same":
            raise click.UsageError(f"--anchor moves the kernel on the image; it has no meaning with --shape {shape}")
        if len(anchor) != len(size) or any(a >= n for a, n in zip(anchor, size, strict=True)):
            last, given = ",".join(str(n - 1) for n in size), ",".join(map(str, anchor))
            raise click.BadParameter(
                f"{given} lies outside the kernel, whose last place is {last}", param_hint="'--anchor'"
            )
    return {
        **others,
        "arrays": kernel.arrays,
        "combine": kernel.combine,
        "border": BORDERS[border],
        "cval": 0.0 if cval is None else cval,
        "anchor": anchor,
        "shape": shape,
        "bias": kernel.bias if bias is None else bias,
        "linear": linear,
    }


def _mask(name: str, max_pixels: int) -> "Array":
    from .. import io

    image = io.read(name, max_pixels=max_pixels)
    if image.channel_axis is not None:
        raise ImgtoolError(f"{name}: a mask is a gray image, but this one has {image.channels} channels")
    return image.data


def _check(item: Item, *, settings: dict[str, Any], mask_name: str | None, volume: bool) -> None:
    """Find out from the input's header that it cannot be filtered so."""
    info = check_fit(item, dtype=settings["dtype"])
    size = _spatial(info, volume)
    mask = settings["mask"]
    if mask is not None and mask.shape != size:
        raise ImgtoolError(
            f"{item.input}: is {_by(size)} pixels, but the mask {mask_name} is {_by(mask.shape)}; they must agree"
        )
    if settings["shape"] == "valid":
        kernel = settings["arrays"][0].shape
        if any(k > n for k, n in zip(kernel, size, strict=True)):
            raise ImgtoolError(
                f"{item.input}: is {_by(size)} pixels, smaller than the kernel of {_by(kernel)}; use --shape same"
            )
    if settings["linear"]:
        from .._colour import check_linear

        try:
            check_linear(info.dtype)
        except ImgtoolError as error:
            raise ImgtoolError(f"{item.input}: {error}; leave out --linear") from error


def _spatial(info: "Info", volume: bool) -> tuple[int, ...]:
    """The size that the kernel sees: a page, or a volume of pages."""
    shape = info.shape if info.channel_axis is None else info.shape[:-1]
    return (info.pages, *shape[-2:]) if volume else shape[-2:]


def _by(shape: tuple[int, ...]) -> str:
    """A size as people write it, the width first."""
    return "x".join(map(str, reversed(shape)))


def convolve_file(
    item: Item,
    threads: int,
    *,
    arrays: "tuple[Array, ...]",
    settings: dict[str, Any],
    volume: bool,
    explain: bool,
    max_pixels: int,
    overwrite: bool,
) -> Done:
    """Convolve the image in one file; `settings` are those of `filters.apply_kernel`."""
    from .. import filters
    from ..explain import explain as explained

    def change(image: "Image", done: Done) -> "Array":
        saturated = 0
        # A complex array of two or four channels has no opacity among them.
        has_alpha = image.has_alpha and image.data.dtype.kind != "c"
        options = {**settings, "channel_axis": image.channel_axis, "has_alpha": has_alpha}

        def convolved(values: "Array") -> "Array":
            nonlocal saturated
            result, count = filters.apply_kernel(values, arrays, threads=threads, **options)
            saturated += count
            return result

        pages = image.pages
        if explain:
            plain = {name: value for name, value in options.items() if name != "combine"}
            _tell(explained(image.data.reshape(-1, *pages[0].shape) if volume else pages[0], arrays, **plain), done)
        data = convolved(image.data.reshape(-1, *pages[0].shape)) if volume else by_page(image, convolved)
        if saturated:
            values = "value" if saturated == 1 else "values"
            done.warnings.append(f"{saturated} {values} saturated at {data.dtype}; use --dtype float32 to keep them")
        return data

    return change_image(item, change, max_pixels=max_pixels, overwrite=overwrite)


def _tell(found: dict[str, Any], done: Done) -> None:
    """Enter what was chosen, in words and in numbers."""
    count = "" if found["kernels"] == 1 else f"{found['kernels']} kernels "
    done.remarks.append(
        f"{found['method']} in {found['accumulator']} ({found['reason']}); {count}{_by(found['kernel'])}, "
        f"sum {found['sum']:.6g}, rank {found['rank']}; {found['flops'] / 1e6:.4g} million operations, "
        f"{found['memory'] / 2**20:.4g} MiB of working memory"
    )
    done.details["explain"] = found
