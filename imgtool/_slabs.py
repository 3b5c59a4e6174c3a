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

    `work` releases the GIL for most of its time. A single slab, or a single thread, runs in the calling thread: handing
    work to a pool costs about 0.1 ms.
    """
    starts = range(0, rows, slab_rows)
    stops = [min(start + slab_rows, rows) for start in starts]
    if threads == 1 or len(starts) <= 1:
        return [work(start, stop) for start, stop in zip(starts, stops, strict=True)]
    return list(_pool(threads, os.getpid()).map(work, starts, stops))
