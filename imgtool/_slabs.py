"""Row slabs on a small thread pool.

Slabs are a function of the image alone, never of the number of threads, and results come back in slab order: whatever
is computed from them is the same to the last bit for any number of threads.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # 4 ms that a small image does not spend

    # Keyed by process: a forked child must not wait for threads that stayed behind in its parent.
    return ThreadPoolExecutor(threads, thread_name_prefix=f"imgtool-{process}")


def run_slabs(work: Callable[[int, int], T], rows: int, slab_rows: int, threads: int) -> list[T]:
    """`[work(start, stop), ...]` for slabs of `slab_rows` rows that cover `range(rows)`, in order.

    `work` releases the GIL for most of its time. The calling thread does its share: waking another costs about 0.1 ms,
    and where all is done by then nobody waits for it.
    """
    slabs = [(start, min(start + slab_rows, rows)) for start in range(0, rows, slab_rows)]
    if threads == 1 or len(slabs) <= 1:
        return [work(start, stop) for start, stop in slabs]
    results: dict[int, T] = {}
    left = iter(range(len(slabs)))  # one for all: whoever is free takes the next

    def share() -> None:
        for number in left:
            results[number] = work(*slabs[number])

    pool = _pool(threads, os.getpid())
    others = [pool.submit(share) for _ in range(min(threads, len(slabs)) - 1)]
    try:
        share()
    finally:
        for _ in left:  # after an error the rest is not worth doing
            pass
        failures = [other.exception() for other in others if not other.cancel()]
    for failure in filter(None, failures):
        raise failure
    return [results[number] for number in range(len(slabs))]
