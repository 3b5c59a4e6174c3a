"""imgtool stack."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from ..errors import ImgtoolError
from .command import command
from .inputs import gather_all
from .options import (
    Reading,
    Writing,
    image_options,
    input_options,
    inputs_argument,
    max_pixels_option,
    path_option,
    sampling_options,
)
from .plan import Item, below, check_packing
from .planes import Look, Series, engine_options, look_of_one
from .run import Done, check_holds, prepared
from .single import check_output_free, exists_option, quiet_option, warn
from .values import FILE, extension, parsed

if TYPE_CHECKING:
    from ..io import Image
    from ..stack import Aligned
    from ..transforms import MatrixTransform

Thing = TypeVar("Thing")
# What is written beside the images: for imgtool stack --apply, for spreadsheets, for the eye.
TABLES = ("transforms.json", "drift.csv", "drift.png")
_COLUMNS = ("page", "input", "x", "y", "rotation", "scale", "nmi", "overlap", "confidence", "confident")


def _reference(text: str) -> str | int:
    if text in ("first", "previous", "mean"):
        return text
    if text.isascii() and text.isdecimal() and 0 < len(text) <= 9 and int(text) > 0:
        return int(text) - 1
    raise ImgtoolError(f"{text!r} is no reference; use first, previous, mean or the number of a page, counted from 1")


@command
@inputs_argument("names", "INPUT")
@input_options
@path_option(
    "-O",
    "--output-dir",
    "folder",
    required=True,
    metavar="DIR",
    help="Write into this folder, which is made if need be: the images under their names, transforms.json, drift.csv "
    "and drift.png.",
)
@click.option("--ext", metavar="EXT", callback=parsed(extension), help="Write the images in another format.")
@click.option(
    "--reference",
    default="first",
    metavar="first|previous|mean|N",
    callback=parsed(_reference),
    help="What pages are aligned to: the first, the one before each, the mean of all, or page N, counted from 1.",
)
@click.option(
    "-m",
    "--model",
    type=click.Choice(["translation", "rigid", "similarity", "affine"]),
    default="rigid",
    help="How pages may move: shifts; and rotation; and one scale; and two scales and shear.",
)
@look_of_one
@engine_options
@click.option(
    "--apply",
    "source",
    metavar="transforms.json",
    type=FILE,
    help="Register nothing: move the pages as those of another channel, whose alignment wrote this file.",
)
@click.option("--strict", is_flag=True, help="Fail, and write nothing, where the place of a page is not certain.")
@sampling_options
@exists_option
@click.option("--threads", type=click.IntRange(min=1), metavar="N", help="Default: every processor.")
@max_pixels_option
@image_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per page on standard output.")
@quiet_option
def stack(
    names: tuple[str, ...],
    recursive: bool,
    files_from: str | None,
    null: bool,
    folder: Path,
    ext: str | None,
    reference: str | int,
    model: str,
    channel: Any,
    nodata: float | None,
    search: str,
    background: str,
    bins: int,
    source: str | None,
    strict: bool,
    interpolation: str,
    fill: float,
    exists: str,
    threads: int | None,
    max_pixels: int,
    strip: bool,
    auto_orient: bool,
    png_level: int | None,
    compression: str | None,
    as_json: bool,
    quiet: int,
) -> None:
    """Align the pages of a stack, or a series of images.

    \b
    imgtool stack cells.tif -O aligned/
    imgtool stack section*.png -O aligned/ --reference previous -m affine
    imgtool stack red.tif -O out/ && imgtool stack green.tif -O out/ --apply out/transforms.json

    For time series that drift and for serial sections. Pages are those of all inputs, in order; one is in memory at a
    time, beside what it is compared with. Each begins where its neighbour ended. Transforms are composed and pixels are
    resampled once, so nothing blurs. drift.csv tells how the content of each page has moved from its place in the
    reference: x and y of the image's centre in pixels, rotation in degrees; drift.png draws it.

    Pages that cannot be registered move as their neighbours do, and are named on standard error.
    """
    began = perf_counter()
    inputs = gather_all(names, files_from=files_from, null=null, recursive=recursive, leave_out=[folder])
    with Series(inputs, Look(channel, nodata), Reading(max_pixels, auto_orient)) as series:
        outputs = plan_images(series, folder, ext)
        packing: dict[str, Any] = {"png_level": png_level, "compression": compression}
        writing = Writing(overwrite=exists == "overwrite", strip=strip, **packing)
        check_packing(outputs.values(), writing)
        tables = [] if source is not None else [folder / name for name in TABLES]
        _check_outputs(outputs, tables, exists, [*inputs, *([] if source is None else [source])])
        if source is None:
            if isinstance(reference, int) and reference >= len(series):
                raise ImgtoolError(f"--reference: there is no page {reference + 1}; the series has {len(series)}")
            options = {"search": search, "background": background, "bins": bins, "threads": threads}
            found = find_transforms(series, options | {"reference": reference, "model": model}, quiet)
            _judge(found, series, strict, quiet)
            transforms = [page.transform for page in found]
        else:
            _refuse_what_has_no_effect()
            found, transforms = [], read_transforms(source, series)
        for parent in {output.parent for output in [*outputs.values(), *tables]}:
            _make_folder(parent)
        sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill, "threads": threads}
        write_images(series, transforms, outputs, sampling, writing=writing, quiet=quiet)
        rows = [drift_row(page, series) for page in found]
        if found:
            write_tables(rows, transforms, folder, overwrite=exists == "overwrite")
        _tell(series, outputs, transforms, rows, as_json, perf_counter() - began)


def plan_images(series: Series, folder: Path, ext: str | None) -> dict[str, Path]:
    """The file to write for each input, whose format must hold its pages."""
    outputs: dict[str, Path] = {}
    for name, info in zip(series.inputs, series.infos, strict=True):
        if name in outputs:
            raise click.UsageError(f"{name} is given twice; give each file once")
        output = below(folder, name, "", ext)
        check_holds(Item(name, {"output": output}), info)
        outputs[name] = output
    if len(series) < 2:
        raise ImgtoolError(f"{series.inputs[0]}: is a single image; a series needs two pages or files, or more")
    return outputs


def _check_outputs(outputs: Mapping[str, Path], tables: Sequence[Path], exists: str, inputs: Sequence[str]) -> None:
    seen: dict[str, str] = {str(table).casefold(): "a table of the drift" for table in tables}
    for name, output in outputs.items():
        other = seen.setdefault(str(output).casefold(), name)
        if other != name:
            raise click.UsageError(f"{other} and {name} would both be written to {output}; give them other names")
    for output in [*outputs.values(), *tables]:
        check_output_free(output, exists, inputs)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImgtoolError(f"{folder}: the folder cannot be made ({error.strerror}); choose another") from error


def _refuse_what_has_no_effect() -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        name = str(parameter.name)
        registering = name in ("reference", "model", "channel", "nodata", "search", "background", "bins", "strict")
        if registering and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} has no effect with --apply, which registers nothing")


def find_transforms(series: Series, options: dict[str, Any], quiet: int) -> "list[Aligned]":
    """The transform of each page, in the order of the pages."""
    from ..stack import align

    _warn_of_order(series.inputs, quiet)
    found = align(series, **options)
    return sorted(_shown(found, "register", len(series), quiet), key=lambda page: page.page)


def _warn_of_order(inputs: Sequence[str], quiet: int) -> None:
    """A shell sorts t10 before t2; whoever numbers like this means another order."""
    numbered = sorted(inputs, key=lambda name: [int(part) if part.isdigit() else part for part in _parts(name)])
    if list(inputs) == sorted(inputs) != numbered:
        place = next(n for n, (one, other) in enumerate(zip(inputs, numbered, strict=True)) if one != other)
        warn(
            f"the order is {inputs[place]} before {numbered[place]}; if that is wrong, pad the numbers by zeros", quiet
        )


def _parts(name: str) -> list[str]:
    # Words and numbers in turn, beginning with a word, so that like is compared with like.
    return re.split(r"([0-9]+)", name)


def _shown(items: Iterable[Thing], what: str, total: int, quiet: int) -> Iterator[Thing]:
    """`items` with a progress bar, if somebody is there to see it."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, total=total, file=sys.stderr, unit="page", desc=what, leave=False)


def _judge(found: "Sequence[Aligned]", series: Series, strict: bool, quiet: int) -> None:
    doubts = [
        f"{series.name(page.page)}: {page.problem}; it moves as its neighbour does"
        if page.problem is not None
        else f"{series.name(page.page)}: its place is not certain (confidence {page.confidence:.2f})"
        for page in found
        if not page.confident
    ]
    if doubts and strict:
        more = f" ({len(doubts)} such pages; nothing is written)" if len(doubts) > 1 else " (nothing is written)"
        raise ImgtoolError(doubts[0] + more)
    for doubt in doubts:
        warn(doubt, quiet)


def read_transforms(source: str, series: Series) -> "list[MatrixTransform]":
    """The transforms in a file that an earlier run wrote, checked to be for such pages."""
    from .. import io
    from ..stack import from_dict

    fields = io.read_json(source)
    try:
        transforms = from_dict(fields)
    except ImgtoolError as error:
        raise ImgtoolError(f"{source}: {error}") from error
    if len(transforms) != len(series):
        raise ImgtoolError(f"{source}: is for {len(transforms)} pages, but the inputs have {len(series)}")
    shapes = [info.shape[info.pages > 1 :][:2] for info in series.infos for _ in range(info.pages)]
    for number, (transform, (height, width)) in enumerate(zip(transforms, shapes, strict=True)):
        if transform.moving_shape not in (None, (height, width)):
            made = f"{transform.moving_shape[1]}x{transform.moving_shape[0]}"
            raise ImgtoolError(f"{series.name(number)}: is {width}x{height} pixels, but {source} is for {made}")
    return transforms


def write_images(
    series: Series,
    transforms: "Sequence[MatrixTransform]",
    outputs: Mapping[str, Path],
    sampling: dict[str, Any],
    *,
    writing: Writing,
    quiet: int,
) -> None:
    """Every input again, its pages warped; one page is in memory at a time."""
    from .. import io
    from ..transforms import warp

    numbers = iter(_shown(range(len(series)), "warp", len(series), quiet))

    def warped() -> "Image":
        number = next(numbers)
        image = series.image(number)
        axes: dict[str, Any] = {"channel_axis": image.channel_axis, "has_alpha": image.has_alpha}
        return image.with_data(warp(image.data, transforms[number], **sampling, **axes))

    for (name, output), info in zip(outputs.items(), series.infos, strict=True):
        done = Done()
        first = prepared(Item(name, {"output": output}), warped(), done, writing=writing, pages=info.pages)
        for note in done.warnings:
            warn(f"{name}: {note}", quiet)
        if info.pages == 1:
            io.write(output, first, **writing.options)
            continue
        with io.page_writer(output, first, info.pages, **writing.options) as append:
            append(first.data)
            for _ in range(info.pages - 1):
                append(warped().data)
    next(numbers, None)  # the progress bar ends


def drift_row(page: "Aligned", series: Series) -> dict[str, Any]:
    """How a page has moved, by the names of the columns of drift.csv."""
    motion = page.transform.describe()
    return {
        "page": page.page + 1,
        "input": series.places[page.page][0],
        "x": motion.shift[0],
        "y": motion.shift[1],
        "rotation": motion.rotation,
        "scale": (motion.scales[0] * motion.scales[1]) ** 0.5,
        "nmi": page.nmi,
        "overlap": page.overlap,
        "confidence": page.confidence,
        "confident": page.confident,
    }


def write_tables(
    rows: Sequence[dict[str, Any]], transforms: "Sequence[MatrixTransform]", folder: Path, *, overwrite: bool
) -> None:
    """transforms.json, drift.csv and drift.png."""
    import csv
    from io import StringIO

    from .. import io
    from ..chart import chart
    from ..stack import to_dict

    table = StringIO()
    writer = csv.DictWriter(table, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(value) for name, value in row.items()} for row in rows)
    curves = {"x px": "x", "y px": "y", "rotation deg": "rotation"}
    picture = chart({title: [row[name] for row in rows] for title, name in curves.items()})
    names = [folder / name for name in TABLES]
    io.write_text(names[0], json.dumps(to_dict(transforms), indent=1) + "\n", overwrite=overwrite)
    io.write_text(names[1], table.getvalue(), overwrite=overwrite)
    io.write(names[2], io.Image(picture, -1), overwrite=overwrite)


def _rounded(value: Any) -> Any:
    return (
        ""
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value:.6g}"
        if isinstance(value, float)
        else value
    )


def _tell(
    series: Series,
    outputs: Mapping[str, Path],
    transforms: "Sequence[MatrixTransform]",
    rows: Sequence[dict[str, Any]],
    as_json: bool,
    seconds: float,
) -> None:
    if as_json:
        for number, transform in enumerate(transforms):
            name, page = series.places[number]
            record = {"input": name, "input_page": page + 1, "output": str(outputs[name]), "operation": "stack"}
            record |= rows[number] if rows else {"page": number + 1}
            click.echo(json.dumps(record | {"matrix": transform.matrix.tolist()}))
    elif not rows:
        click.echo(f"{len(series)} pages moved in {seconds:.2f} s")
    else:
        farthest = max(rows, key=lambda row: float(row["x"] ** 2 + row["y"] ** 2))
        turned = max(abs(row["rotation"]) for row in rows)
        doubtful = sum(not row["confident"] for row in rows)
        click.echo(
            f"{len(rows)} pages aligned in {seconds:.2f} s; drift up to {farthest['x']:.2f}, {farthest['y']:.2f} px "
            f"(page {farthest['page']}), rotation up to {turned:.2f} degrees"
            + f"; {doubtful} not certain"
            * bool(doubtful)
        )
