"""A plan carried out: items through their work, words and results where they belong, the exit status."""

import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from .. import batch as batches
from ..errors import ImgtoolError
from .options import Batch
from .plan import Item, Plan
from .words import one_line

if TYPE_CHECKING:
    from tqdm import tqdm

    from .._check import Array
    from ..io import Image, Info


@dataclass
class Done:
    """What became of one item."""

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    line: str | None = None  # for standard output, where --json does not replace it

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Enter the seconds spent inside under the name `stage`."""
        start = perf_counter()
        yield
        self.seconds[stage] = round(perf_counter() - start, 6)

    def saw(self, data: "Array") -> None:
        """Enter the shape and type of the result."""
        self.shape, self.dtype = data.shape, str(data.dtype)


def change_image(item: Item, change: Callable[["Image", Done], "Array"], *, max_pixels: int, overwrite: bool) -> Done:
    """Read an image, write what `change` makes of its pixels; all else that the file holds is kept."""
    from .. import io

    done = Done()
    with done.timed("read"):
        image = io.read(item.input, max_pixels=max_pixels)
    with done.timed("compute"):
        data = change(image, done)
    with done.timed("write"):
        io.write(item.outputs["output"], replace(image, data=data), overwrite=overwrite)
    done.saw(data)
    return done


def by_page(image: "Image", change: Callable[["Array"], "Array"]) -> "Array":
    """`change` applied to each page of a stack, or to a still."""
    import numpy as np

    pages = [change(page) for page in image.pages]
    return np.stack(pages) if image.data.ndim > pages[0].ndim else pages[0]


def check_fit(item: Item, dtype: str | None = None) -> "Info":
    """The header of the item's input; an ImgtoolError if its output cannot hold such an image with this type."""
    from .. import io

    info = io.probe(item.input)
    if "output" in item.outputs:
        io.check_output(
            item.outputs["output"],
            dtype=dtype or info.dtype,
            channels=channel_count(info),
            has_alpha=info.has_alpha,
            pages=info.pages,
        )
    return info


def channel_count(info: "Info") -> int:
    """The number of channels that a header tells of."""
    return 1 if info.channel_axis is None else info.shape[info.channel_axis]


def execute(
    operation: str, plan: Plan, work: Callable[..., Done], batch: Batch, *, parameters: Mapping[str, Any]
) -> int:
    """Carry out `plan` by `work(item, threads=n)`, tell of each item, and return the exit status."""
    jobs, threads = share_processors(batch.jobs, batch.threads, len(plan.ready))
    report = _Report(operation, plan, batch, parameters)
    task = partial(work, threads=threads)
    with (
        report.bar(),
        ThreadPoolExecutor(jobs) as executor,
        closing(batches.run(task, plan.ready, executor, window=2 * jobs)) as results,
    ):
        for item, result in results:
            report.tell(item, result)
    return report.finish()


def share_processors(jobs: int | None, threads: int | None, items: int) -> tuple[int, int]:
    """Jobs at once and threads for each; what is not given is chosen so that together they fill the processors."""
    from .._check import thread_count

    processors = thread_count(None)
    if jobs is None:
        jobs = max(1, min(items, processors // (threads or 1)))
    if threads is None:
        threads = max(1, processors // jobs)
    return jobs, threads


def sentence(item: Item, error: Exception) -> str:
    """What to tell of an item that failed: one sentence that names its file."""
    if isinstance(error, ImgtoolError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory; try -j 1"
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        text = f"internal error, please report it ({type(error).__name__}: {error}); -v shows where"
    text = one_line(text)
    named = any(one_line(str(path)) in text for path in (item.input, *item.outputs.values()))
    return text if named else one_line(f"{item.input}: {text}")


class _Report:
    def __init__(self, operation: str, plan: Plan, batch: Batch, parameters: Mapping[str, Any]) -> None:
        self._operation, self._batch, self._parameters = operation, batch, parameters
        self._total = len(plan.ready) + len(plan.skipped) + len(plan.failed)
        self._ready = len(plan.ready)
        self._done = self._failed = 0
        self._skipped = len(plan.skipped)
        self._bar: tqdm[Any] | None = None
        for item in plan.skipped:
            self._say(f"{item.input}: skipped, {_names(item)} exists", verbosity=1)
            self._json(item, "skipped", Done())
        for item, error in plan.failed:
            self._fail(item, error)

    @contextmanager
    def bar(self) -> Iterator[None]:
        """A progress bar for as long as the batch runs, if one is wanted."""
        if not self._wants_bar():
            yield
            return
        from tqdm import tqdm

        with tqdm(total=self._ready, file=sys.stderr, unit="image", desc=self._operation, leave=False) as self._bar:
            yield
        self._bar = None

    def _wants_bar(self) -> bool:
        if sys.stderr is None or self._batch.progress != "auto":  # None: closed by the shell
            return sys.stderr is not None and self._batch.progress == "always"
        return self._ready > 1 and self._batch.verbosity >= 0 and sys.stderr.isatty()

    def tell(self, item: Item, result: Done | Exception) -> None:
        if isinstance(result, Exception):
            self._fail(item, result)
        else:
            self._done += 1
            for warning in result.warnings:
                self._say(f"{item.input}: {warning}", verbosity=0)
            self._say(f"{item.input}: {_names(item)} written in {sum(result.seconds.values()):.3f} s", verbosity=1)
            self._json(item, "done", result)
            if result.line is not None and not self._batch.as_json:
                self._print(result.line)
        if self._bar is not None:
            self._bar.update()

    def finish(self) -> int:
        if self._total > 1:
            parts = [f"{self._done} of {self._total} images done"]
            parts += [f"{n} {what}" for n, what in ((self._skipped, "skipped"), (self._failed, "failed")) if n]
            self._say(", ".join(parts), verbosity=0)
        return 1 if self._failed else 0

    def _fail(self, item: Item, error: Exception) -> None:
        self._failed += 1
        text = sentence(item, error)
        self._say(f"Error: {text}", verbosity=-1)
        if self._batch.verbosity > 0 and not isinstance(error, ImgtoolError | OSError | MemoryError):
            self._write("".join(traceback.format_exception(error)).rstrip(), err=True)
        self._json(item, "failed", Done(), text)

    def _json(self, item: Item, status: str, done: Done, error: str | None = None) -> None:
        if not self._batch.as_json:
            return
        record = {
            "input": item.input,
            "output": None,
            **{what: str(path) for what, path in item.outputs.items()},
            "operation": self._operation,
            "status": status,
            "parameters": self._parameters,
            "shape": done.shape,
            "dtype": done.dtype,
            "seconds": done.seconds,
            "warnings": done.warnings,
            "error": error,
            **done.details,
        }
        self._print(json.dumps(_plain(record), allow_nan=False))

    def _say(self, text: str, *, verbosity: int) -> None:
        if self._batch.verbosity >= verbosity:
            self._write(one_line(text), err=True)

    def _print(self, text: str) -> None:
        self._write(one_line(text), err=False)

    def _write(self, text: str, *, err: bool) -> None:
        if self._bar is not None:
            self._bar.clear()
        click.echo(text, err=err)
        if self._bar is not None:
            self._bar.refresh()


def _names(item: Item) -> str:
    return " and ".join(map(str, item.outputs.values()))


def _plain(value: Any) -> Any:
    """`value` for JSON, which has no infinities: they become words."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
