"""imgtool convolve."""

import math
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import ImgtoolError
from .command import command
from .common import CommonFile
from .options import Batch, Reading, batch_options, inputs_argument, with_options
from .plan import Item
from .run import Done, by_page
from .steps import apply_steps, told_saturation
from .values import FILE, completing, kernel_from, kernel_names, nearest_of, number, parsed

if TYPE_CHECKING:
    import numpy as np

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


_OPTIONS = (
    click.option(
        "-k",
        "--kernel",
        metavar="SPEC",
        required=True,
        callback=kernel_from("axes"),
        shell_complete=completing(kernel_names),
        help="A named kernel, rows of numbers, or @FILE; see above.",
    ),
    click.option(
        "--border",
        callback=parsed(nearest_of(_borders)),
        shell_complete=completing(_borders),
        metavar="NAME",
        default="reflect",
        help="What lies beyond the edge: reflect (c b a | a b c), mirror (c b | a b c), nearest, wrap, constant, or "
        "nothing (renormalize, which makes up for the weights that fall outside).",
    ),
    click.option("--cval", type=float, metavar="VALUE", help="With --border constant: its value.  [default: 0]"),
    click.option("--correlate", is_flag=True, help="Do not flip the kernel."),
    click.option(
        "--shape",
        type=click.Choice(["same", "valid", "full"]),
        default="same",
        help="Size of the result: that of the input, only where the kernel lies inside, or wherever it touches "
        "the image.",
    ),
    click.option(
        "--anchor",
        metavar="Y,X",
        callback=parsed(_anchor),
        help="The place in the kernel, counted from 0, that lies on the output pixel.  [default: its centre]",
    ),
    click.option("--normalize", is_flag=True, help="Divide the kernel by its sum."),
    click.option(
        "--scale", metavar="S", callback=parsed(number), default="1", help="Multiply the kernel by this, such as 1/9."
    ),
    click.option("--bias", metavar="B", callback=parsed(number), help="Add this to every result.  [default: 0]"),
    click.option("--mask", metavar="FILE", type=FILE, help="Count only pixels where this image is not 0."),
    click.option(
        "--nan",
        type=click.Choice(["propagate", "ignore"]),
        default="propagate",
        help="NaN spreads as far as the kernel reaches, or is masked.",
    ),
    click.option("--linear", is_flag=True, help="Filter sRGB images in linear light."),
    click.option(
        "--axes",
        type=click.Choice(["yx", "zyx"]),
        default="yx",
        is_eager=True,
        help="Filter the pages of a stack one by one, or the stack as a volume.",
    ),
    click.option(
        "--dtype",
        type=click.Choice(_DTYPES),
        metavar="TYPE",
        help=f"Type of the result, the input's by default: {', '.join(_DTYPES)}.",
    ),
    click.option(
        "--method",
        type=click.Choice(["auto", "direct", "separable", "box", "fft"]),
        default="auto",
        help="How to compute it; auto takes the fastest.",
    ),
    click.option("--explain", is_flag=True, help="Say for each image what was chosen, and why."),
)


@command
@inputs_argument("inputs", "INPUT")
@with_options(*_OPTIONS)
@batch_options
def convolve(inputs: tuple[str, ...], batch: Batch, **given: Any) -> int:
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
    chosen = convolution(**given, reading=batch.reading)
    return apply_steps("convolve", inputs, [chosen], batch, parameters=chosen.parameters)


@command
@with_options(*_OPTIONS)
@click.pass_obj
def step(batch: Batch, /, **given: Any) -> "Convolution":
    """Convolve as a step of imgtool pipe."""
    return convolution(**given, reading=batch.reading)


def convolution(
    kernel: "Kernel", *, explain: bool, axes: str, dtype: str | None, mask: str | None, reading: Reading, **given: Any
) -> "Convolution":
    """The convolution that the options describe."""
    settings = _settings(kernel, **given)
    arrays = settings.pop("arrays")
    used = {name: settings[name] for name in ("border", "cval", "bias")}
    mask_file = None if mask is None else CommonFile.found(mask)
    if mask_file is not None:
        _read_mask(mask_file, reading)  # what is wrong with it is wrong for all images
    return Convolution(
        arrays=arrays,
        settings=settings,
        dtype=dtype,
        mask_file=mask_file,
        reading=reading,
        volume=axes == "zyx",
        explain=explain,
        files=tuple(name for name in (mask, kernel.file) if name is not None),
        parameters={"kernel": kernel.name, "dtype": dtype, "mask": mask, **given, **used, "axes": axes},
    )


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


@lru_cache(maxsize=4)
def _read_mask(file: CommonFile, reading: Reading) -> "Array":
    from .. import io

    image = io.read(file.here, **reading._asdict())
    if image.channel_axis is not None:
        raise ImgtoolError(f"{file.name}: a mask is a gray image, but this one has {image.channels} channels")
    return image.data


class Convolution(NamedTuple):
    """A convolution with all its options; `settings` are those of `filters.apply_kernel`."""

    arrays: "tuple[Array, ...]"
    settings: dict[str, Any]
    dtype: str | None
    mask_file: CommonFile | None
    reading: Reading
    volume: bool
    explain: bool
    files: tuple[str, ...]
    parameters: dict[str, Any]

    @property
    def common(self) -> list[CommonFile]:
        """The mask, if there is one; the kernel itself travels."""
        return [] if self.mask_file is None else [self.mask_file]

    @property
    def mask(self) -> "Array | None":
        """What the mask holds, if there is one."""
        return None if self.mask_file is None else _read_mask(self.mask_file, self.reading)

    @property
    def together(self) -> bool:
        """Whether the pages are a volume; see `steps.Step`."""
        return self.volume

    def fits(self, item: Item, info: "Info") -> "Info":
        """What the header of the result will say; an ImgtoolError if there can be none."""
        import numpy as np

        if self.volume and info.volumes > 1:
            raise ImgtoolError(f"{item.input}: holds {info.volumes} volumes; --axes zyx filters one, so split the file")
        size, kernel = _spatial(info, self.volume), self.arrays[0].shape
        if self.mask_file is not None and self.mask is not None and self.mask.shape != size:
            raise ImgtoolError(
                f"{item.input}: is {_by(size)} pixels, but the mask {self.mask_file.name} is {_by(self.mask.shape)}; "
                "they must agree"
            )
        if self.settings["shape"] == "valid" and any(k > n for k, n in zip(kernel, size, strict=True)):
            raise ImgtoolError(
                f"{item.input}: is {_by(size)} pixels, smaller than the kernel of {_by(kernel)}; use --shape same"
            )
        if self.settings["linear"]:
            from .._colour import check_linear

            try:
                check_linear(info.dtype)
            except ImgtoolError as error:
                raise ImgtoolError(f"{item.input}: {error}; leave out --linear") from error
        return info._replace(shape=self._shape(info), dtype=np.dtype(self.dtype or info.dtype))

    def memory(self, info: "Info") -> int:
        """What whole images in floating point take, where one pass over small blocks will not do; see `steps.Step`."""
        masked = self.mask_file is not None or self.settings["nan"] == "ignore"
        if masked or self.settings["border"] == "renormalize":
            planes = 11
        else:
            planes = 7 if len(self.arrays) > 1 else 3 * self.settings["linear"]
        # Of float32, as measured at 4096x4096.
        return planes * 4 * math.prod(info.shape if self.volume else info.shape[info.pages > 1 :])

    def _shape(self, info: "Info") -> tuple[int, ...]:
        grown = {"same": 0, "valid": -1, "full": 1}[self.settings["shape"]]
        pixels = info.shape if info.channel_axis is None else info.shape[:-1]
        kernel = (1,) * (len(pixels) - self.arrays[0].ndim) + self.arrays[0].shape[-len(pixels) :]
        result = tuple(n + grown * (k - 1) for n, k in zip(pixels, kernel, strict=True))
        return result + info.shape[len(pixels) :]

    def change(
        self, image: "Image", item: Item, done: Done, *, threads: int, dtype: "np.dtype[Any]", full: float
    ) -> "Array":
        """The convolved pixels; see `steps.Step`."""
        from .. import filters

        saturated = 0
        linear = self.settings["linear"] and image.data.dtype.kind == "f" and full != 1
        unit = full if linear else 1.0
        # A complex array of two or four channels has no opacity among them.
        has_alpha = image.has_alpha and image.data.dtype.kind != "c"
        options = {
            **self.settings,
            "cval": self.settings["cval"] / unit,
            "bias": self.settings["bias"] / unit,
            "dtype": dtype,
            "mask": self.mask,
            "channel_axis": image.channel_axis,
            "has_alpha": has_alpha,
        }
        if unit != 1:  # sRGB values of floating point are 0..1 in linear light; those of a pipe are 0..full
            image = image.with_data(_scaled_colours(image, 1 / unit))

        def convolved(values: "Array") -> "Array":
            nonlocal saturated
            result, count = filters.apply_kernel(values, self.arrays, threads=threads, **options)
            saturated += count
            return result

        pages = image.pages
        stack = image.data.reshape(-1, *pages[0].shape) if self.volume else pages[0]
        if self.explain:
            from ..explain import explain as explained

            plain = {name: value for name, value in options.items() if name != "combine"}
            _tell(explained(stack, self.arrays, **plain), done)
        data = convolved(stack) if self.volume else by_page(image, convolved)
        told_saturation(saturated, data.dtype, done)
        return data if unit == 1 else _scaled_colours(image.with_data(data), unit)


def _scaled_colours(image: "Image", factor: float) -> "Array":
    data: Array = image.data * image.data.dtype.type(factor)
    if image.has_alpha:
        data[..., -1] = image.data[..., -1]
    return data


def _spatial(info: "Info", volume: bool) -> tuple[int, ...]:
    """The size that the kernel sees: a page, or a volume of pages."""
    shape = info.shape if info.channel_axis is None else info.shape[:-1]
    return (info.pages, *shape[-2:]) if volume else shape[-2:]


def _by(shape: tuple[int, ...]) -> str:
    """A size as people write it, the width first."""
    return "x".join(map(str, reversed(shape)))


def _tell(found: dict[str, Any], done: Done) -> None:
    """Enter what was chosen, in words and in numbers."""
    count = "" if found["kernels"] == 1 else f"{found['kernels']} kernels "
    remark = (
        f"{found['method']} in {found['accumulator']} ({found['reason']}); {count}{_by(found['kernel'])}, "
        f"sum {found['sum']:.6g}, rank {found['rank']}; {found['flops'] / 1e6:.4g} million operations, "
        f"{found['memory'] / 2**20:.4g} MiB of working memory"
    )
    if remark not in done.remarks:  # of the page before
        done.remarks.append(remark)
    done.details["explain"] = found
