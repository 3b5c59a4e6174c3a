"""Work on a dask.distributed cluster: paths travel to the workers, which read and write the files themselves."""

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import ImgtoolError
from .options import Batch
from .plan import Item, Plan
from .report import Done
from .words import one_line

_PATIENCE = 10  # seconds for a scheduler to answer, and for a first worker to come


@contextmanager
def connected(plan: Plan, batch: Batch) -> Iterator[tuple[Executor, int]]:
    """An executor on the cluster that --scheduler names, its workers looked at, and the number of their threads."""
    assert batch.scheduler is not None
    if batch.profile_out is not None:
        raise click.UsageError("--profile-out is about work in this process; it has no meaning with --scheduler")
    for item in plan.ready:
        if not os.path.isfile(item.input):  # noqa: PTH113  never raises
            raise ImgtoolError(f"{item.input}: not a file; a cluster cannot read it")
    address = _address(batch.scheduler)
    try:
        if not _greets(address):
            raise TimeoutError
        from distributed import Client

        _silence("distributed")
        with warnings.catch_warnings(action="ignore"):
            client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except ImportError as error:
        raise ImgtoolError(f"--scheduler needs dask.distributed ({error}); pip install 'imgtool[dask]'") from None
    except (OSError, ValueError):
        raise ImgtoolError(
            f"--scheduler {batch.scheduler}: no scheduler answers within {_PATIENCE} s; start one with dask scheduler"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except (OSError, TimeoutError):
            raise ImgtoolError(f"--scheduler {batch.scheduler}: has no workers; start some with dask worker") from None
        with _marked(plan) as paths:
            for worker, found in client.run(look, paths, on_error="return").items():
                _refuse_unfit(worker, found)
        slots = sum(client.nthreads().values())
        with client.get_executor(pure=False, retries=batch.retries or 0) as executor:
            yield _Remote(executor), slots


def _silence(library: str) -> None:
    """Drop what a library logs, by loggers that each have a handler of its own: imgtool says it in one sentence."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == library:
            logging.getLogger(name).disabled = True


def _address(scheduler: str) -> str:
    """The address that --scheduler gives, or the file that it names."""
    if scheduler.startswith("file:"):
        from .. import io

        path = scheduler.removeprefix("file:")
        content = io.read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("address"), str):
            raise ImgtoolError(f"{path}: holds no address; dask scheduler --scheduler-file writes such files")
        return str(content["address"])
    if not scheduler.startswith(("tcp://", "tls://")):
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
    """What every worker must see: an input of each folder with its size, and a mark in each folder of outputs."""
    inputs = {os.path.dirname(path): path for path in (os.path.abspath(item.input) for item in plan.ready)}  # noqa: PTH100, PTH120
    folders = {Path(os.path.abspath(output)).parent for item in plan.ready for output in item.outputs.values()}  # noqa: PTH100
    marks = [folder / f".imgtool-{os.urandom(8).hex()}.tmp" for folder in folders]
    seen: dict[str, int | None] = {path: Path(path).stat().st_size for path in inputs.values()}
    try:
        for mark in marks:
            mark.touch(exist_ok=False)
        yield seen | {str(mark): None for mark in marks}
    finally:
        for mark in marks:
            with suppress(OSError):
                mark.unlink()


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


class _Remote(Executor):
    """Submits items with absolute paths, for the workers' current folders are their own."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, work: Callable[[Item], Done], item: Item, /) -> "Future[Done]":  # type: ignore[override]
        there = {what: Path(os.path.abspath(path)) for what, path in item.outputs.items()}  # noqa: PTH100
        absolute = replace(item, input=os.path.abspath(item.input), outputs=there)  # noqa: PTH100
        return self._executor.submit(at_worker, work, absolute, item)


def at_worker(work: Callable[[Item], Done], item: Item, given: Item) -> Done:
    """Do the work on an item, and speak of its files by the names that were given."""
    try:
        done = work(item)
    except ImgtoolError as error:
        raise ImgtoolError(_renamed(str(error), item, given)) from None
    done.line = None if done.line is None else _renamed(done.line, item, given)
    return done


def _renamed(text: str, item: Item, given: Item) -> str:
    pairs = [(item.input, given.input)]
    pairs += [(str(item.outputs[what]), str(given.outputs[what])) for what in item.outputs]
    for there, here in sorted(pairs, key=lambda pair: -len(pair[0])):
        text = text.replace(there, here).replace(one_line(there), one_line(here))
    return text
