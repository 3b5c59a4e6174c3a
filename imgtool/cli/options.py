"""Options that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path, PurePath
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from .inputs import Inputs, gather, place
from .values import (
    FILE,
    Shard,
    count_or_auto,
    extension,
    file_name_part,
    format_extension,
    output,
    parsed,
    path,
    shard,
    template,
)

if TYPE_CHECKING:
    from .template import Template

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_PIXELS = 2**30
COMPRESSIONS = ("none", "packbits", "lzw", "deflate", "zstd")


class Reading(NamedTuple):
    """How images are read, as arguments of `io.read` and `io.open_pages`."""

    max_pixels: int = MAX_PIXELS
    auto_orient: bool = False


class Writing(NamedTuple):
    """How images are written."""

    overwrite: bool
    strip: bool = False
    png_level: int | None = None
    compression: str | None = None
    quality: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `io.write` and `io.page_writer`."""
        return {name: value for name, value in self._asdict().items() if name != "strip"}


class Sharing(NamedTuple):
    """Who does the work, and how much of it at once."""

    jobs: int | None
    threads: int | None
    scheduler: str | None
    retries: int | None
    fail_fast: bool = False  # whether nothing more is begun after a failure
    profiled: bool = False  # in this thread alone, where a profile sees it
    resume: str = "do what is left by --exists skip"  # the advice when a cluster has gone


class Batch(NamedTuple):
    """The values of the options of `batch_options`, and what --recursive found."""

    exists: str
    recursive: bool
    files_from: str | None
    null: bool
    shard: Shard | None
    dry_run: bool
    jobs: int | None
    threads: int | None
    scheduler: str | None
    retries: int | None
    max_pixels: int
    fail_fast: bool
    as_json: bool
    profile: bool
    profile_out: Path | None
    progress: str
    verbose: int
    quiet: int
    found: Inputs
    start_up: float  # seconds of processor time until the command was called
    called: float  # when that was, by perf_counter
    output: Path | None = None
    output_dir: Path | None = None
    suffix: str | None = None
    ext: str | None = None
    template: "Template | None" = None
    in_place: bool = False
    format: str | None = None
    strip: bool = False
    auto_orient: bool = False
    png_level: int | None = None
    compression: str | None = None
    quality: int | None = None

    @property
    def verbosity(self) -> int:
        """Above 0 everything is said, at 0 what matters, at -1 errors, below that nothing."""
        return self.verbose - self.quiet

    @property
    def overwrite(self) -> bool:
        """Whether an output may be replaced by the time it is written."""
        # On a cluster an item may run twice, when its worker was lost after it had written: that is no collision.
        return self.exists in ("overwrite", "newer") or self.in_place or self.scheduler is not None

    @property
    def sharing(self) -> Sharing:
        """Who does the work."""
        profiled = self.profile_out is not None
        return Sharing(self.jobs, self.threads, self.scheduler, self.retries, self.fail_fast, profiled)

    @property
    def reading(self) -> Reading:
        """How images are read."""
        return Reading(self.max_pixels, self.auto_orient)

    @property
    def writing(self) -> Writing:
        """How images are written."""
        return Writing(self.overwrite, self.strip, self.png_level, self.compression, self.quality)

    def place(self, name: str) -> PurePath:
        """Where an input stands in the tree of outputs."""
        return self.found.places.get(name) or place(name)


def path_option(*names: str, parse: Callable[[str], Path] = path, **settings: Any) -> Callable[[Function], Function]:
    """An option whose value is a path to write to."""
    return click.option(*names, callback=parsed(parse), **settings)


max_pixels_option = click.option(
    "--max-pixels",
    type=click.IntRange(min=1),
    default=MAX_PIXELS,
    metavar="N",
    help="Refuse images of more pixels before decoding them.",
)
_INPUTS = (
    click.option("-r", "--recursive", is_flag=True, help="Take the images in folders given as inputs, and below."),
    click.option(
        "--files-from", metavar="FILE|-", type=FILE, help="Take more inputs from this list, one name on each line."
    ),
    click.option("-0", "--null", is_flag=True, help="The names of --files-from end with a zero byte: find -print0."),
)
_IMAGES = (
    click.option(
        "--strip", is_flag=True, help="Drop the metadata: ICC profile, EXIF, XMP, texts, resolution and so on."
    ),
    click.option(
        "--auto-orient",
        is_flag=True,
        help="Turn images upright, as the orientation in the file asks, and set that to 1; else both stay as they are.",
    ),
    click.option(
        "--png-level",
        type=click.IntRange(0, 9),
        metavar="0-9",
        help="Effort to make PNG files small: 0 is none, 1 fast, 6 what most programs take. Default: 1.",
    ),
    click.option(
        "--compression",
        type=click.Choice(COMPRESSIONS),
        help="Compression of TIFF files. Default: that of an input in TIFF, or none.",
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        metavar="1-100",
        help="Quality of JPEG and WebP files. Default: 95 for JPEG with colours at full resolution, which are halved "
        "below 90; WebP without loss.",
    ),
)
_OUTPUTS = (
    path_option("-o", "--output", parse=output, metavar="FILE", help="Write to this file (for a single input)."),
    path_option(
        "-O",
        "--output-dir",
        metavar="DIR",
        help="Write into this folder, which is made if need be. Inputs keep their relative path below it; those given "
        "by an absolute path or through '..' keep their name alone.",
    ),
    click.option(
        "--suffix", metavar="TEXT", callback=parsed(file_name_part), help="With -O: put this before the extension."
    ),
    click.option("--ext", metavar="EXT", callback=parsed(extension), help="With -O: replace the extension."),
    click.option(
        "--template",
        metavar="TEXT",
        callback=parsed(template),
        help="With -O: the path below it, made of {dir}, {name}, {stem}, {suffix}, {ext} and {index}, the number of "
        "the input counted from 1.  [default: {dir}/{stem}{suffix}{ext}]",
    ),
    click.option("--in-place", is_flag=True, help="Replace the inputs themselves."),
    click.option(
        "--format",
        metavar="EXT",
        callback=parsed(format_extension),
        help="Format for standard output, which is named -; it is the default where - is the input.",
    ),
    *_IMAGES,
)
_SHARING = (
    click.option(
        "-j",
        "--jobs",
        callback=parsed(count_or_auto),
        default="auto",
        metavar="N|auto",
        help="Images worked on at once.",
    ),
    click.option(
        "--threads", callback=parsed(count_or_auto), default="auto", metavar="N|auto", help="Threads for each image."
    ),
    click.option(
        "--scheduler",
        metavar="ADDRESS",
        callback=lambda _ctx, _param, value: None if value == "local" else value,
        help="Work on a dask.distributed cluster that shares the files: tcp://HOST:8786, or file:SCHEDULER.json; or "
        "local, as without it.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, 100),
        metavar="N",
        help="With --scheduler: try an image that failed so many times more.  [default: 0]",
    ),
)
_WORK = (
    click.option(
        "--exists",
        type=click.Choice(["error", "skip", "overwrite", "newer"]),
        default="error",
        help="When an output exists: fail, skip the input, overwrite, or overwrite only if an input is newer.",
    ),
    *_INPUTS,
    click.option(
        "--shard", metavar="I/N", callback=parsed(shard), help="Do only the I-th of N equal parts of the inputs."
    ),
    click.option(
        "-n", "--dry-run", is_flag=True, help="Print what would be done, and how much memory it needs; do nothing."
    ),
    *_SHARING,
    max_pixels_option,
    click.option("--fail-fast", is_flag=True, help="Begin no more images after the first that failed."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object per input on standard output."),
    click.option("--profile", is_flag=True, help="Say at the end where the time went."),
    path_option(
        "--profile-out",
        metavar="FILE",
        help="Write a profile for pstats or snakeviz; images are then worked on one by one.",
    ),
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


def with_options(*options: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Give a command these options, which its help lists in this order."""
    return lambda command: functools.reduce(lambda function, option: option(function), reversed(options), command)


def inputs_argument(name: str, metavar: str) -> Callable[[Function], Function]:
    """The inputs of a command with `batch_options`, which --files-from may give as well."""
    return click.argument(name, metavar=f"{metavar}...", nargs=-1, type=FILE)


# The options that name more inputs, for `gather`.
input_options = with_options(*_INPUTS)
# Those on who does the work; their values are those of `Sharing`.
sharing_options = with_options(*_SHARING)
# The options on metadata, orientation and packing of the images that a command writes.
image_options = with_options(*_IMAGES)


def batch_options(command: Function) -> Function:
    """Give `command` the options on inputs, outputs, jobs and words; it gets their values as one `batch`.

    Its argument of any number of values gets the inputs of --files-from and --recursive as well.
    """
    return with_options(*_OUTPUTS)(work_options(command))


def work_options(command: Function) -> Function:
    """`batch_options` for a command that makes no image of each input: without those on outputs."""

    @functools.wraps(command)
    def with_batch(**values: Any) -> Any:
        start_up, called = process_time(), perf_counter()
        context = click.get_current_context()
        shared = {name: values.pop(name) for name in Batch._fields if name in values}
        for name in ("verbose", "quiet"):
            shared[name] += 0 if context.parent is None else context.parent.params[name]
        variadic = next(p for p in context.command.params if isinstance(p, click.Argument) and p.nargs == -1)
        names = values[str(variadic.name)]
        folders = [] if shared.get("output_dir") is None else [shared["output_dir"]]
        chosen = {name: shared[name] for name in ("files_from", "null", "recursive")}
        found = gather(names, **chosen, leave_out=folders)
        values[str(variadic.name)] = found.names
        return command(**values, batch=Batch(**shared, found=found, start_up=start_up, called=called))

    return with_options(*_WORK)(with_batch)  # type: ignore[return-value]


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
    return with_options(interpolation, fill)(command)
