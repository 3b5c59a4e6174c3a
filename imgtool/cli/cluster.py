"""Work on a dask.distributed cluster: paths travel to the workers, which read and write the files themselves."""

import logging
import os
import re
import socket
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from .. import __version__
from .. import batch as batches
from ..errors import ImgtoolError, one_line
from .options import Sharing
from .plan import Item, Plan, output_folders
from .report import Done

if TYPE_CHECKING:
    from distributed import Client

    from .run import Run

Pair = tuple[Item, Item]

_PATIENCE = 10  # seconds for a scheduler to answer
_WORKER_PATIENCE = 30  # and for a first worker to come
_LONELY_PATIENCE = 60  # and for another one, when the last has gone
# A message costs scheduler, worker and this process some milliseconds: an image that takes no longer shares it.
_TASK_SECONDS = 0.2
_MOST_ITEMS = 16


@contextmanager
def connected(plan: Plan, sharing: Sharing) -> Iterator["Run"]:
    """A function that does the work on the cluster that --scheduler names, whose workers have been looked at."""
    assert sharing.scheduler is not None
    if sharing.profiled:
        raise click.UsageError("--profile-out is about work in this process; it has no meaning with --scheduler")
    for name in (*(item.input for item in plan.ready), *(file.name for file in plan.common)):
        if not os.path.isfile(name):  # noqa: PTH113  never raises
            raise ImgtoolError(f"{name}: not a file; a cluster cannot read it")
    address = _address(sharing.scheduler)
    try:
        if not _greets(address):
            raise TimeoutError
        from distributed import Client

        _silence("distributed", "tornado")  # which logs what goes wrong between the two
        with warnings.catch_warnings(action="ignore"):
            client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except ImportError as error:
        raise ImgtoolError(f"--scheduler needs dask.distributed ({error}); pip install 'imgtool[dask]'") from None
    except (OSError, ValueError):
        raise ImgtoolError(
            f"--scheduler {sharing.scheduler}: no scheduler answers within {_PATIENCE} s; start one with dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_WORKER_PATIENCE)
        except (OSError, TimeoutError):
            raise ImgtoolError(
                f"--scheduler {sharing.scheduler}: has no workers; start some with dask worker"
            ) from None
        with output_folders(plan):
            with _marked(plan) as paths:
                for worker, found in client.run(look, paths, on_error="return").items():
                    _refuse_unfit(worker, found)
            # What is running when an error ends the block is cancelled, not waited for, as leaving the executor would.
            yield partial(_run, client, plan, sharing)


def _silence(*libraries: str) -> None:
    """Drop what libraries log, now and by modules that they load later: imgtool says it in one sentence."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in libraries:
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [logging.NullHandler()], False


def _address(scheduler: str) -> str:
    """The address that --scheduler gives, or the file that it names."""
    if scheduler.startswith("file:"):
        from .. import io

        path = scheduler.removeprefix("file:")
        content = io.read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("address"), str):
            raise ImgtoolError(f"{path}: holds no address; dask scheduler --scheduler-file writes such files")
        return str(content["address"])
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", scheduler):
        raise click.BadParameter(
            f"{scheduler!r} is neither tcp://HOST:PORT nor file:SCHEDULER.json", param_hint="'--scheduler'"
        )
    return scheduler


def _greets(address: str) -> bool:
    """Whether somebody at `address` speaks first, as a scheduler does; distributed itself would wait for ever."""
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as connection:
        return scheme != "tcp" or connection.recv(1) != b""


@contextmanager
def _marked(plan: Plan) -> Iterator[dict[str, int | None]]:
    """What every worker must see: an input of each folder and what all need, with sizes, and marks for outputs."""
    from .. import io

    inputs = {os.path.dirname(path): path for path in (os.path.abspath(item.input) for item in plan.ready)}  # noqa: PTH100, PTH120
    folders = {Path(os.path.abspath(output)).parent for item in plan.ready for output in item.outputs.values()}  # noqa: PTH100
    needed = [*inputs.values(), *(file.path for file in plan.common)]
    seen: dict[str, int | None] = {path: Path(path).stat().st_size for path in needed}
    with ExitStack() as made:
        yield seen | {str(made.enter_context(io.scratch(folder))): None for folder in folders}


def look(paths: Mapping[str, int | None]) -> dict[str, Any]:
    """What a worker is, and the first of `paths` that it does not see as it should: with this size, or writable."""
    from .._ext import ISA

    return {"version": __version__, "isa": ISA, "unseen": next((path for path in paths if _unseen(path, paths)), None)}


def _unseen(path: str, sizes: Mapping[str, int | None]) -> bool:
    try:
        size = Path(path).stat().st_size
    except OSError:
        return True
    return size != sizes[path] if sizes[path] is not None else not os.access(Path(path).parent, os.W_OK | os.X_OK)


def _refuse_unfit(worker: str, found: dict[str, Any] | Exception) -> None:
    from .._ext import ISA

    if isinstance(found, Exception):
        raise ImgtoolError(f"worker {worker}: cannot run imgtool ({found}); install {__version__} there")
    if found["version"] != __version__:
        raise ImgtoolError(f"worker {worker}: has imgtool {found['version']}, not {__version__}; install the same")
    if found["isa"] != ISA:
        raise ImgtoolError(
            f"worker {worker}: uses the {found['isa']} build of the kernels and this process {ISA}, whose results can "
            "differ in the last bit; set IMGTOOL_ISA to one that both run, such as base"
        )
    if found["unseen"] is not None:
        path = Path(found["unseen"])
        shown = path.parent if path.name.startswith(".imgtool-") else path
        raise ImgtoolError(f"worker {worker}: does not see {shown} as this process does; use a folder that all share")


class _Watch:
    """Looks whether there is still anybody who works."""

    def __init__(self, client: "Client", sharing: Sharing) -> None:
        self._client, self._sharing = client, sharing
        self.lonely_since: float | None = None

    def refuse_lost(self) -> None:
        """An ImgtoolError when the connection to the scheduler is lost: what is submitted then never finishes."""
        if self._client.status != "running":
            raise ImgtoolError(
                f"--scheduler {self._sharing.scheduler}: the scheduler has gone; start it again, and "
                f"{self._sharing.resume}"
            )

    def __call__(self) -> None:
        """An ImgtoolError when the scheduler has gone, or for long all workers."""
        self.refuse_lost()
        try:
            workers = self._client.nthreads()
        except (OSError, TimeoutError):  # of a scheduler that is going
            return
        if workers:
            self.lonely_since = None
        elif self.lonely_since is None:
            self.lonely_since = monotonic()
        elif monotonic() - self.lonely_since > _LONELY_PATIENCE:
            raise ImgtoolError(
                f"--scheduler {self._sharing.scheduler}: has had no workers for {_LONELY_PATIENCE} s; start some with "
                f"dask worker, and {self._sharing.resume}"
            )


def _run(
    client: "Client", plan: Plan, sharing: Sharing, work: Callable[[Item], Done], items: Iterable[Item]
) -> Generator[tuple[Item, Done | Exception], None, None]:
    """Do the work on items at the workers; yield each with its result or its error."""
    slots = sum(client.nthreads().values()) or 1
    executor = client.get_executor(pure=False, retries=sharing.retries or 0)
    watch = _Watch(client, sharing)
    # One by one where it matters what becomes of the one before the next begins, and for dask to try again.
    alone = sharing.fail_fast or sharing.retries is not None
    seconds = count = 0.0

    def groups() -> Iterator[list[Pair]]:
        waiting, left = iter(items), len(plan.ready)
        while True:
            size = min(int(_TASK_SECONDS * count / seconds), _MOST_ITEMS, left // (2 * slots)) if seconds else 1
            group = [(_absolute(item), item) for item in islice(waiting, 1 if alone else max(1, size))]
            if not group:
                return
            left -= len(group)
            yield group

    window = sharing.jobs or (slots if sharing.fail_fast else 2 * slots)
    at_workers = partial(at_worker, work, alone)
    with closing(batches.run(at_workers, groups(), executor, window=window, check=watch)) as results:
        for group, found in results:
            watch.lonely_since = None
            if isinstance(found, CancelledError):
                watch.refuse_lost()
            each = found if isinstance(found, list) else [found] * len(group)
            for (_, item), result in zip(group, each, strict=True):
                if isinstance(result, Done):
                    seconds, count = seconds + sum(result.seconds.values()), count + 1
                yield item, result


def _absolute(item: Item) -> Item:
    """The item for workers, whose current folders are their own."""
    outputs = {what: Path(os.path.abspath(path)) for what, path in item.outputs.items()}  # noqa: PTH100
    return item._replace(input=os.path.abspath(item.input), outputs=outputs)  # noqa: PTH100


def at_worker(work: Callable[[Item], Done], alone: bool, pairs: Sequence[Pair]) -> list[Done | Exception]:
    """Do the work on items, each beside what it was given as, and speak of their files by the names that were given.

    The error of one that is `alone` is raised, so that the scheduler sees it; others are results among results.
    """
    results: list[Done | Exception] = []
    for item, given in pairs:
        try:
            done = work(item)
            done.line = None if done.line is None else _renamed(done.line, item, given)
            results.append(done)
        except Exception as error:
            results.append(_portable(error, item, given))
        if alone and isinstance(results[-1], Exception):
            raise results[-1]
    return results


def _portable(error: Exception, item: Item, given: Item) -> Exception:
    """The same error with the names that were given, as it can travel."""
    if isinstance(error, ImgtoolError):
        return ImgtoolError(_renamed(str(error), item, given))
    if type(error).__module__ != "builtins":  # which may not be made again of what they are pickled to
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = _renamed(error.filename, item, given)
    error.add_note("".join(traceback.format_tb(error.__traceback__)).rstrip())  # tracebacks themselves stay here
    return error


def _renamed(text: str, item: Item, given: Item) -> str:
    pairs = [(item.input, given.input)]
    pairs += [(str(item.outputs[what]), str(given.outputs[what])) for what in item.outputs]
    for there, here in sorted(pairs, key=lambda pair: -len(pair[0])):
        text = text.replace(there, here).replace(one_line(there), one_line(here))
    return text
