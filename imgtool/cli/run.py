"""A plan carried out: items through their work, and told of as they finish."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from .. import batch as batches
from .garbage import collected_as_usual
from .options import Batch, Reading, Sharing, Writing
from .plan import Item, Plan, check_free, output_folders
from .report import INTERRUPTED, Report
from .report import Done as Done

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image, Info

Results = Generator[tuple[Item, Done | Exception], None, None]
# Does work on items, and yields each with its result or its error.
Run = Callable[[Callable[[Item], Done], Iterable[Item]], Results]


def change_image(
    item: Item,
    change: Callable[["Image", Done], "Array"],
    *,
    reading: Reading,
    writing: Writing,
    together: bool = False,
    long: bool = False,
) -> Done:
    """Read an image, write what `change` makes of its pixels; all else that the file holds is kept.

    Of a stack or an animation one page is in memory at a time, unless `change` needs all of them `together`. With
    `long` the limit of pixels is that of a page, not of all.
    """
    from .. import io

    done = Done()
    with ExitStack() as opened:
        with done.timed("read"):
            if together:
                images, count = iter([io.read(item.input, **reading._asdict())]), 1
            else:
                pages = opened.enter_context(io.open_pages(item.input, **reading._asdict(), together=not long))
                images, count = iter(pages), len(pages)
        changed = _changed(images, change, done)
        first = next(changed)
        if count == 1:
            with done.timed("write"):
                write_image(item, first, done, writing=writing)
            done.saw(first.data)
        else:
            _write_pages(item, first, changed, count, done, writing=writing)
    return done


def _changed(images: "Iterator[Image]", change: Callable[["Image", Done], "Array"], done: Done) -> "Iterator[Image]":
    while True:
        with done.timed("read"):
            image = next(images, None)
        if image is None:
            return
        with done.timed("compute"):
            image = image.with_data(change(image, done))
        yield image


def _write_pages(
    item: Item, first: "Image", others: "Iterator[Image]", count: int, done: Done, *, writing: Writing
) -> None:
    """Write pages as they come, which are all like the first."""
    from .. import io

    collected_as_usual()
    first = prepared(item, first, done, writing=writing, pages=count)
    with io.page_writer(item.outputs["output"], first, count, **writing.options, extension=item.format) as append:
        for image in chain([first], others):
            with done.timed("write"):
                append(image.data)
    done.saw(first.data)
    done.shape = (count, *first.data.shape)


def write_image(item: Item, image: "Image", done: Done, *, writing: Writing) -> None:
    """Write the image made of an item to its file or to standard output."""
    from .. import io

    image = prepared(item, image, done, writing=writing)
    io.write(item.outputs["output"], image, **writing.options, extension=item.format)


def prepared(item: Item, image: "Image", done: Done, *, writing: Writing, pages: int | None = None) -> "Image":
    """The image as it will be written; of metadata that its file cannot hold it is said so in one note."""
    from .. import io

    if writing.strip:
        if image.metadata.get("orientation", 1) != 1:
            done.warnings.append("shows turned without its orientation; add --auto-orient to turn the pixels instead")
        return io.stripped(image)
    if done.moved:
        image, place = io.displaced(image)
        if place:
            done.warnings.append(f"{place} tells of the place where the image was, and is not kept")
    if lost := io.unkept(item.outputs["output"], image, pages=pages, extension=item.format):
        done.warnings.append(f"the output cannot hold {lost}; --strip drops all metadata without this note")
    return image


def by_page(image: "Image", change: Callable[["Array"], "Array"]) -> "Array":
    """`change` applied to each page of a stack, or to a still."""
    import numpy as np

    pages = [change(page) for page in image.pages]
    return np.stack(pages) if image.data.ndim > pages[0].ndim else pages[0]


def check_holds(item: Item, result: "Info") -> None:
    """Refuse an output that cannot hold an image with this header."""
    from .. import io

    io.check_output(
        item.outputs["output"],
        dtype=result.dtype,
        channels=channel_count(result),
        has_alpha=result.has_alpha,
        pages=result.pages,
        animated=result.animated,
        extension=item.format,
    )


def size_of(info: "Info") -> int:
    """How many bytes the pixels take that a header tells of."""
    return math.prod(info.shape) * info.dtype.itemsize


def channel_count(info: "Info") -> int:
    """The number of channels that a header tells of."""
    return 1 if info.channel_axis is None else info.shape[info.channel_axis]


def execute(
    operation: str,
    plan: Plan,
    work: Callable[..., Done],
    batch: Batch,
    *,
    parameters: Mapping[str, Any],
    in_order: bool = False,
) -> int:
    """Carry out `plan` by `work(item, threads=n)`, tell of each item, and return the exit status.

    Items are told of as they finish, or `in_order` of the inputs, for operations whose results are lines.
    """
    report = Report(operation, plan, batch, parameters)
    if batch.dry_run:
        return report.planned(share_processors(batch.jobs, batch.threads, len(plan.ready))[0])
    with crew(plan, batch.sharing, len(plan.ready)) as (run, threads), _profiled(batch), report.bar():
        _carry_out(partial(work, threads=threads), plan, batch, report, run, in_order=in_order)
    return report.finish()


def _carry_out(
    work: Callable[[Item], Done], plan: Plan, batch: Batch, report: Report, run: Run, *, in_order: bool
) -> None:
    def wanted() -> Iterator[Item]:
        for item in plan.ready:
            if batch.fail_fast and report.failed:
                return
            yield item

    with closing(run(work, wanted())) as results:
        for item, result in _ordered(results, plan.ready) if in_order else results:
            report.tell(item, result)


def _ordered(
    results: Iterable[tuple[Item, Done | Exception]], items: Iterable[Item]
) -> Iterator[tuple[Item, Done | Exception]]:
    """`results` in the order of `items`; those that come early wait."""
    early: dict[int, Done | Exception] = {}
    waiting = iter(items)
    first = next(waiting, None)
    for item, result in results:
        early[id(item)] = result
        while first is not None and id(first) in early:
            yield first, early.pop(id(first))
            first = next(waiting, None)


@contextmanager
def crew(plan: Plan, sharing: Sharing, items: int) -> Iterator[tuple[Run, int]]:
    """Who does the work of so many items, and with how many threads for each; the folders of the outputs are there."""
    if items > 1:
        collected_as_usual()
    if sharing.scheduler is not None:
        from .cluster import connected

        with connected(plan, sharing) as run, _interruptible():
            yield run, sharing.threads or 1
        return
    if sharing.retries is not None:
        raise click.UsageError("--retries is for work on a cluster; without --scheduler it has no effect")
    jobs, threads = share_processors(sharing.jobs, sharing.threads, items)
    with output_folders(plan):
        if jobs == 1 or sharing.profiled:
            with _interruptible():
                yield partial(batches.run, executor=None, window=1), threads
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(jobs) as executor, _interruptible():
            # A second item for each job waits in line, so that no job has to.
            yield partial(batches.run, executor=executor, window=jobs if sharing.fail_fast else 2 * jobs), threads


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have what threads are doing end where its next stage would begin, when an error or a signal ends the work."""
    INTERRUPTED.clear()
    try:
        yield
    except BaseException:
        INTERRUPTED.set()
        raise


@contextmanager
def _profiled(batch: Batch) -> Iterator[None]:
    """Write --profile-out, if it is asked for."""
    if batch.profile_out is None:
        yield
        return
    import marshal
    from cProfile import Profile

    from .. import io

    check_free(batch.profile_out, batch)
    profile = Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        profile.create_stats()
        io.write_bytes(batch.profile_out, marshal.dumps(profile.stats), overwrite=batch.overwrite)


def share_processors(jobs: int | None, threads: int | None, items: int) -> tuple[int, int]:
    """Jobs at once and threads for each; what is not given is chosen so that together they fill the processors."""
    from .._check import thread_count

    processors = thread_count(None)
    if jobs is None:
        jobs = max(1, min(items, processors // (threads or 1)))
    if threads is None:
        threads = max(1, processors // jobs)
    return jobs, threads
