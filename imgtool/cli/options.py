"""Options that several commands share, and how their values are read."""

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import ImgtoolError
from .words import advice

Function = TypeVar("Function", bound=Callable[..., Any])

FILE = click.Path()  # text as it was typed; whether there is such a file is a fault of its item alone


def parsed(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads an option's value by `parse`, whose ImgtoolError is wrong usage."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return None if value is None else parse(value)
        except ImgtoolError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return callback


def number(text: str) -> float:
    """A finite number or a fraction."""
    from ..kernels import parse_number

    value = parse_number(text)
    if value is None:
        raise ImgtoolError(f"{text!r} is no number such as 2, -0.5, 1e-3 or 1/9")
    return value


def kernel_from(axes: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that reads a kernel, of as many axes as the eager option `axes` has letters."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        from ..kernels import parse_kernel

        return parsed(partial(parse_kernel, axes=len(ctx.params[axes]), read_image=_kernel_image))(ctx, param, value)

    return callback


def _kernel_image(name: str) -> Any:
    from .. import io

    image = io.read(name)
    if image.channel_axis is not None:
        raise ImgtoolError(f"{name}: a kernel is a gray image, but this one has {image.channels} channels")
    return image.data


def nearest_of(names: Callable[[], Collection[str]]) -> Callable[[str], str]:
    """Accepts one of `names`, which are asked for only when there is a value to check, and suggests the nearest."""

    def parse(value: str) -> str:
        known = names()
        if value in known:
            return value
        raise ImgtoolError(f"{value!r} is unknown; {advice(value, known)}")

    return parse


def _count_or_auto(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isdecimal() and len(text) <= 4 and int(text) > 0):
        raise ImgtoolError(f"{text!r} is neither a number from 1 to 9999 nor auto")
    return int(text)


def _file_name_part(text: str) -> str:
    if "/" in text or "\\" in text or text in (".", ".."):
        raise ImgtoolError(f"{text!r} is no part of a file name; folders are given by -O")
    return text


def _extension(text: str) -> str:
    return _file_name_part(text if text.startswith(".") else f".{text}")


@dataclass(frozen=True)
class Batch:
    """The values of the options of `batch_options`."""

    output: Path | None
    output_dir: Path | None
    suffix: str | None
    ext: str | None
    exists: str
    jobs: int | None
    threads: int | None
    max_pixels: int
    as_json: bool
    progress: str
    verbose: int
    quiet: int

    @property
    def verbosity(self) -> int:
        """Above 0 everything is said, at 0 what matters, at -1 errors, below that nothing."""
        return self.verbose - self.quiet

    @property
    def overwrite(self) -> bool:
        """Whether an output that is there already may be replaced."""
        return self.exists in ("overwrite", "newer")


_BATCH = (
    click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to this file (for a single input)."),
    click.option(
        "-O",
        "--output-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Write into this folder, which is made if need be. Inputs keep their relative path below it; those given "
        "by an absolute path or through '..' keep their name alone.",
    ),
    click.option(
        "--suffix", metavar="TEXT", callback=parsed(_file_name_part), help="With -O: put this before the extension."
    ),
    click.option("--ext", metavar="EXT", callback=parsed(_extension), help="With -O: replace the extension."),
    click.option(
        "--exists",
        type=click.Choice(["error", "skip", "overwrite", "newer"]),
        default="error",
        help="When an output exists: fail, skip the input, overwrite, or overwrite only if an input is newer.",
    ),
    click.option(
        "-j",
        "--jobs",
        callback=parsed(_count_or_auto),
        default="auto",
        metavar="N|auto",
        help="Images worked on at once.",
    ),
    click.option(
        "--threads", callback=parsed(_count_or_auto), default="auto", metavar="N|auto", help="Threads for each image."
    ),
    click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        default=2**30,
        metavar="N",
        help="Refuse images of more pixels before decoding them.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input on standard output."),
    click.option(
        "--progress",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        help="Progress bar: auto shows it for several inputs on a terminal.",
    ),
    click.option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Say more: a line for each image, the traceback of a bug.",
    ),
    click.option(
        "-q", "--quiet", count=True, show_default=False, help="Say less: errors only; twice for nothing at all."
    ),
)


def batch_options(command: Function) -> Function:
    """Give `command` the options on outputs, jobs and words; it gets their values as one `batch`."""

    @functools.wraps(command)
    def with_batch(**values: Any) -> Any:
        shared = {field.name: values.pop(field.name) for field in fields(Batch)}
        program = click.get_current_context().parent
        for name in ("verbose", "quiet"):
            shared[name] += 0 if program is None else program.params[name]
        return command(**values, batch=Batch(**shared))

    return functools.reduce(lambda function, option: option(function), reversed(_BATCH), with_batch)  # type: ignore[return-value]


def sampling_options(command: Function) -> Function:
    """Give `command` the options on how a moving image is resampled."""
    interpolation = click.option(
        "--interpolation",
        type=click.Choice(["nearest", "linear", "cubic", "lanczos"]),
        default="linear",
        help="How values between pixels are made: nearest copies one, linear mixes 2x2, cubic (a B-spline) and lanczos "
        "(a windowed sinc of 6x6) are sharper.",
    )
    fill = click.option(
        "--fill",
        type=float,
        default=0.0,
        metavar="VALUE",
        help="Value outside the moving image; with alpha, it is transparent there.",
    )
    return interpolation(fill(command))
