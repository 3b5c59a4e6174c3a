"""Many items through one function on any executor, each with its result or its error."""

from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    executor: "Executor | None",
    *,
    window: int,
    check: Callable[[], None] | None = None,
) -> Generator[tuple[Item, Result | Exception], None, None]:
    """Yield (item, result of `work`, or the exception it raised) as the items finish.

    Parameters
    ----------
    work : callable of one item
        An exception ends its own item alone; the caller tells a user's fault (`ImgtoolError`) from a bug.
    items : iterable
        Taken one by one, as places come free.
    executor : concurrent.futures.Executor or None
        Any: threads, processes, a cluster's. None works in the calling thread, one item after another.
    window : int
        How many items may be submitted and unfinished at once.
    check : callable, optional
        Called every second in which nothing has finished; the error that it raises ends the batch.

    Closing the generator early, or an interrupt, cancels what has not begun.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(1) as executor:
    ...     list(run(lambda n: 6 // n, [3, 0], executor, window=1))
    [(3, 2), (0, ZeroDivisionError('integer division or modulo by zero'))]
    """
    if executor is None:
        for item in items:
            try:
                result: Result | Exception = work(item)
            except Exception as raised:
                result = raised
            yield item, result
        return
    # Here, because a single image needs no executor, and 4 ms for the import are much of its time.
    from concurrent.futures import FIRST_COMPLETED, CancelledError, wait

    waiting = iter(items)
    pending: dict[Future[Result], Item] = {}
    try:
        while True:
            for item in islice(waiting, window - len(pending)):
                pending[executor.submit(work, item)] = item
            if not pending:
                return
            finished = wait(pending, None if check is None else 1.0, FIRST_COMPLETED).done
            if check is not None and not finished:
                check()
            for future in finished:
                item = pending.pop(future)
                # An executor may cancel by itself: a cluster that shuts down does.
                error = CancelledError() if future.cancelled() else future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield item, future.result() if error is None else error
    finally:
        for future in pending:
            future.cancel()
