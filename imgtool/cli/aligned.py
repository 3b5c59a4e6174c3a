"""What becomes of the pages of a series: registered, warped, written and told of."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import lru_cache, partial
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import ImgtoolError
from .common import CommonFile
from .options import Reading, Writing
from .plan import Item
from .planes import Look, PageFiles, Series
from .report import sentence
from .run import Done, Run, change_image
from .single import remark, warn

if TYPE_CHECKING:
    from .._check import Array
    from ..io import Image
    from ..stack import Aligned, Task
    from ..transforms import MatrixTransform

Thing = TypeVar("Thing")
# What is written beside the images: for imgtool stack --apply, for spreadsheets, for the eye.
TABLES = ("transforms.json", "drift.csv", "drift.png")
_COLUMNS = ("page", "input", "x", "y", "rotation", "scale", "nmi", "overlap", "confidence", "confident")


class _Page(NamedTuple):
    """A page to register, by the file that it is in and the one that it is registered to."""

    page: int
    fixed: CommonFile
    fixed_page: int
    task: "Task"


class Registrations(NamedTuple):
    """What registers pages of a series: the jobs of this process, or of a cluster."""

    series: Series
    files: Series | PageFiles
    work_on: Run
    options: dict[str, Any]
    folder: Path  # for the mean of a series, which workers must see
    quiet: int

    def run(self, tasks: "Sequence[Task]", mean: "Array | None") -> "Iterator[tuple[Task, Aligned]]":
        """Carry out tasks as `stack.align` wants it."""
        import numpy as np

        from .. import io

        with ExitStack() as needed:
            mean_file = CommonFile("", "", 0)
            if mean is not None:
                content = BytesIO()
                np.save(content, mean)
                path = needed.enter_context(io.scratch(self.folder, content.getvalue()))
                mean_file = CommonFile.found(str(path))
            work = partial(register_page, files=self.files, options=self.options)
            items = (self._item(task, mean_file) for task in tasks)
            results = needed.enter_context(closing(self.work_on(work, items)))
            for item, result in _shown(results, "register", len(tasks), self.quiet):
                yield item.more.task, _done(item, result).details["aligned"]

    def _item(self, task: "Task", mean_file: CommonFile) -> Item:
        name, page = self.series.places[task.page]
        fixed, fixed_page = mean_file, 0
        if task.fixed is not None:
            fixed_name, fixed_page = self.series.places[task.fixed]
            fixed = CommonFile.found(fixed_name)
        return Item(name, {}, more=_Page(page, fixed, fixed_page, task))


def register_page(item: Item, *, files: Series | PageFiles, options: dict[str, Any]) -> Done:
    """Register a page; what was found of it is among the details."""
    from ..stack import fit

    done, page = Done(), item.more
    with done.timed("read"):
        fixed = _fixed_plane(files, page.task.fixed, page.fixed, page.fixed_page)
        moving = files.plane(item.input, page.page)
    with done.timed("register"):
        done.details["aligned"] = fit(page.task, fixed, moving, **options)
    return done


@lru_cache(maxsize=2)
def _fixed_plane(files: Series | PageFiles, number: int | None, file: CommonFile, page: int) -> "Array":
    if number is None:  # the mean, which has no channels
        return PageFiles(Look(), Reading()).plane(file.here, 0)
    return files.plane(file.here, page)


def _done(item: Item, result: Done | Exception) -> Done:
    """What was done of an item; an ImgtoolError if it failed, for a series is whole or it is none."""
    if isinstance(result, Exception):
        raise ImgtoolError(sentence(item, result)) from result
    return result


def _shown(items: Iterable[Thing], what: str, total: int, quiet: int, unit: str = "page") -> Iterator[Thing]:
    """`items` with a progress bar, if somebody is there to see it."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, total=total, file=sys.stderr, unit=unit, desc=what, leave=False)


def write_images(
    series: Series,
    transforms: "Sequence[MatrixTransform]",
    items: Sequence[Item],
    run: Run,
    work: Callable[[Item], Done],
    *,
    verbose: int,
    quiet: int,
) -> None:
    """Every input again, its pages warped."""
    left = iter(transforms)
    full = [item._replace(more=tuple(islice(left, info.pages))) for item, info in zip(items, series.infos, strict=True)]
    with closing(run(work, full)) as results:
        for item, result in _shown(results, "warp", len(full), quiet, unit="file"):
            done = _done(item, result)
            for note in done.notes:
                warn(f"{item.input}: {note}", quiet)
            seconds = sum(done.seconds.values())
            remark(f"{item.input}: {item.outputs['output']} written in {seconds:.3f} s", verbose, quiet)


def warp_file(item: Item, *, sampling: dict[str, Any], reading: Reading, writing: Writing) -> Done:
    """Write the image in a file with its pages warped, each by its transform."""
    transforms = iter(item.more)

    def warped(image: "Image", _: Done) -> "Array":
        from ..transforms import warp

        axes: dict[str, Any] = {"channel_axis": image.channel_axis, "has_alpha": image.has_alpha}
        return warp(image.data, next(transforms), **sampling, **axes)

    return change_image(item, warped, reading=reading, writing=writing, long=True)


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
