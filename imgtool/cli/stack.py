"""imgtool stack."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..errors import ImgtoolError
from .aligned import TABLES, Registrations, drift_row, warp_file, write_images, write_tables
from .command import command
from .inputs import gather_all
from .options import (
    Reading,
    Sharing,
    Writing,
    image_options,
    input_options,
    inputs_argument,
    max_pixels_option,
    path_option,
    sampling_options,
    sharing_options,
)
from .plan import Item, Plan, below, check_packing, checked_folders
from .planes import Look, PageFiles, Series, engine_options, look_of_one
from .run import check_holds, crew, share_processors
from .single import check_output_free, exists_option, quiet_option, verbose_option, warn
from .values import FILE, extension, parsed

if TYPE_CHECKING:
    from ..stack import Aligned
    from ..transforms import MatrixTransform


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
@sharing_options
@max_pixels_option
@image_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per page on standard output.")
@verbose_option
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
    max_pixels: int,
    auto_orient: bool,
    as_json: bool,
    verbose: int,
    quiet: int,
    **given: Any,
) -> None:
    """Align the pages of a stack, or a series of images.

    \b
    imgtool stack cells.tif -O aligned/
    imgtool stack section*.png -O aligned/ --reference previous -m affine
    imgtool stack red.tif -O out/ && imgtool stack green.tif -O out/ --apply out/transforms.json

    For time series that drift and for serial sections. Pages are those of all inputs, in order; each job has one in
    memory, beside what it is compared with. Where the place of a page is not certain, it is looked for once more where
    its neighbour lies. Transforms are composed and pixels are resampled once, so nothing blurs. drift.csv tells how the
    content of each page has moved from its place in the reference: x and y of the image's centre in pixels, rotation in
    degrees; drift.png draws it.

    Pages that cannot be registered move as their neighbours do, and are named on standard error.
    """
    from ..stack import align

    began = perf_counter()
    chosen = {name: given.pop(name) for name in Sharing._fields if name in given}
    sharing = Sharing(**chosen, resume="do all of it again by --exists overwrite")
    writing = Writing(overwrite=exists == "overwrite" or sharing.scheduler is not None, **given)
    reading = Reading(max_pixels, auto_orient)
    inputs = gather_all(names, files_from=files_from, null=null, recursive=recursive, leave_out=[folder])
    with Series(inputs, Look(channel, nodata), reading) as series:
        outputs = plan_images(series, folder, ext)
        check_packing(outputs.values(), writing)
        tables = [] if source is not None else [folder / name for name in TABLES]
        _check_outputs(outputs, tables, exists, [*inputs, *([] if source is None else [source])])
        transforms: list[MatrixTransform] = []
        if source is not None:
            _refuse_what_has_no_effect()
            transforms = read_transforms(source, series)
        elif isinstance(reference, int) and reference >= len(series):
            raise ImgtoolError(f"--reference: there is no page {reference + 1}; the series has {len(series)}")
        else:
            _warn_of_order(inputs, quiet)
        items = [Item(name, {"output": output}) for name, output in outputs.items()]
        goals = {output.parent: output for output in [*tables, *outputs.values()]}
        plan = Plan(items, [], [], (), checked_folders(goals, [folder]))
        with crew(plan, sharing, len(series)) as (run, threads):
            found: list[Aligned] = []
            if source is None:
                options = {"model": model, "search": search, "background": background, "bins": bins}
                files = series if sharing.scheduler is None else PageFiles(Look(channel, nodata), reading)
                pages = Registrations(series, files, run, options | {"threads": threads}, folder, quiet)
                found = sorted(align(series, reference=reference, run=pages.run), key=lambda page: page.page)
                _judge(found, series, strict, quiet)
                transforms = [page.transform for page in found]
            if sharing.scheduler is None:  # there are fewer files than pages, and each is the work of one job
                threads = share_processors(sharing.jobs, sharing.threads, len(items))[1]
            sampling: dict[str, Any] = {"interpolation": interpolation, "fill": fill, "threads": threads}
            work = partial(warp_file, sampling=sampling, reading=reading, writing=writing)
            write_images(series, transforms, items, run, work, verbose=verbose, quiet=quiet)
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


def _refuse_what_has_no_effect() -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        name = str(parameter.name)
        registering = name in ("reference", "model", "channel", "nodata", "search", "background", "bins", "strict")
        if registering and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[-1]} has no effect with --apply, which registers nothing")


def _warn_of_order(inputs: Sequence[str], quiet: int) -> None:
    """A shell sorts t10 before t2; whoever numbers like this means another order."""
    numbered = sorted(inputs, key=_parts)
    if list(inputs) == sorted(inputs) != numbered:
        place = next(n for n, (one, other) in enumerate(zip(inputs, numbered, strict=True)) if one != other)
        warn(
            f"the order is {inputs[place]} before {numbered[place]}; if that is wrong, pad the numbers by zeros", quiet
        )


def _parts(name: str) -> list[str | int]:
    # Words and numbers in turn, beginning with a word, so that like is compared with like.
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


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
