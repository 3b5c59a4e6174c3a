"""What became of the items: words, results and JSON where they belong, and the exit status."""

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from ..errors import ImgtoolError, one_line
from .options import Batch
from .plan import Item, Plan

if TYPE_CHECKING:
    from tqdm import tqdm

    from .._check import Array

INTERRUPTED = Event()
_BASE = 60 << 20  # bytes that Python, NumPy and the codecs take before the first pixel


class Done:
    """What became of one item."""

    def __init__(self, details: dict[str, Any] | None = None) -> None:
        self.shape: tuple[int, ...] | None = None
        self.dtype: str | None = None
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.moved = False  # whether the pixels lie elsewhere than those of the input
        self.saturated: dict[str, int] = {}  # how many values did not fit into a type
        self.details = details or {}
        self.line: str | None = None  # for standard output, where --json does not replace it
        self.remarks: list[str] = []  # for standard error, where --json does not replace them

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Enter the seconds spent inside under the name `stage`."""
        if INTERRUPTED.is_set():
            raise ImgtoolError("interrupted")  # nobody is told: it only ends the thread's work
        start = perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + perf_counter() - start, 6)

    @property
    def notes(self) -> list[str]:
        """All that there is to warn of."""
        words = [f"{count} value{'s' * (count > 1)} saturated at {dtype}" for dtype, count in self.saturated.items()]
        return self.warnings + [f"{text}; use --dtype float32 to keep them" for text in words]

    def saw(self, data: "Array") -> None:
        """Enter the shape and type of the result."""
        self.shape, self.dtype = data.shape, str(data.dtype)


def sentence(item: Item, error: Exception) -> str:
    """What to tell of an item that failed: one sentence that names its file."""
    from concurrent.futures import CancelledError

    if isinstance(error, ImgtoolError):
        text = str(error)
    elif isinstance(error, MemoryError):
        text = "not enough memory; try -j 1"
    elif isinstance(error, CancelledError) or type(error).__module__.startswith("distributed"):
        text = f"the cluster gave it up ({error or 'cancelled'}); see the logs of its workers"
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        text = f"internal error, please report it ({type(error).__name__}: {error}); -v shows where"
    text = one_line(text)
    named = any(one_line(str(path)) in text for path in (item.input, *item.outputs.values()))
    return text if named else one_line(f"{item.input}: {text}")


class Report:
    """Tells of a batch, item by item."""

    def __init__(self, operation: str, plan: Plan, batch: Batch, parameters: Mapping[str, Any]) -> None:
        self._operation, self._batch = operation, batch
        self._parameters = {**parameters, "auto_orient": True} if batch.auto_orient else parameters
        self._total = len(plan.ready) + len(plan.skipped) + len(plan.failed)
        self._ready = len(plan.ready)
        self._plan = plan
        self._done = self.failed = 0
        self._skipped = len(plan.skipped)
        self._stages: dict[str, float] = {}
        self._planned = perf_counter()
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
        """Tell of a finished item."""
        if isinstance(result, BrokenPipeError):
            raise result  # whoever read our standard output has gone
        if isinstance(result, Exception):
            self._fail(item, result)
        else:
            self._done += 1
            for stage, seconds in result.seconds.items():
                self._stages[stage] = self._stages.get(stage, 0.0) + seconds
            for warning in result.notes:
                self._say(f"{item.input}: {warning}", verbosity=0)
            for remark in [] if self._batch.as_json else result.remarks:
                self._say(f"{item.input}: {remark}", verbosity=0)
            self._say(f"{item.input}: {_names(item)} written in {sum(result.seconds.values()):.3f} s", verbosity=1)
            self._json(item, "done", result)
            if result.line is not None and not self._batch.as_json:
                self._write(one_line(result.line), err=item.to_stdout)
        if self._bar is not None:
            self._bar.update()

    def finish(self) -> int:
        """Sum up; the exit status."""
        if self._total != 1:
            left = self._total - self._done - self._skipped - self.failed
            counts = ((self._skipped, "skipped"), (self.failed, "failed"), (left, "not begun"))
            parts = [f"{self._done} of {self._total} images done", *(f"{n} {what}" for n, what in counts if n)]
            self._say(", ".join(parts), verbosity=0)
        if self._batch.profile:
            self._tell_times()
        return 1 if self.failed else 0

    def _tell_times(self) -> None:
        worked = perf_counter() - self._planned
        times = {"start-up": self._batch.start_up, "planning": self._planned - self._batch.called, "working": worked}
        for what, seconds in times.items():
            self._write(f"{what:10} {seconds:9.3f} s", err=True)
        total = sum(self._stages.values())
        for stage, seconds in self._stages.items():  # of all jobs together, which overlap
            self._write(f"  {stage:8} {seconds:9.3f} s {100 * seconds / total:6.1f} %", err=True)

    def planned(self, jobs: int) -> int:
        """Print what would be done by so many jobs, and what memory it takes; the exit status of the plan itself."""
        for item in self._plan.ready:
            self._json(item, "planned", Done(details={"memory": item.memory}))
            if not self._batch.as_json:
                self._print(f"{item.input} -> {_names(item)}" if item.outputs else item.input)
        largest = (_BASE + sum(sorted(item.memory for item in self._plan.ready)[-jobs:])) / 2**20
        parts = [f"{self._ready} of {self._total} images would be done, {jobs} at once in about {largest:.0f} MiB"]
        parts += [f"{n} {what}" for n, what in ((self._skipped, "skipped"), (self.failed, "failed")) if n]
        self._say(", ".join(parts), verbosity=0)
        return 1 if self.failed else 0

    def _fail(self, item: Item, error: Exception) -> None:
        self.failed += 1
        text = sentence(item, error)
        self._say(f"Error: {text}", verbosity=-1)
        if self._batch.verbosity > 0 and not isinstance(error, ImgtoolError | OSError | MemoryError):
            from traceback import format_exception

            self._write("".join(format_exception(error)).rstrip(), err=True)
        self._json(item, "failed", Done(), text)

    def _json(self, item: Item, status: str, done: Done, error: str | None = None) -> None:
        if not self._batch.as_json:
            return
        import json

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
            "warnings": done.notes,
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
