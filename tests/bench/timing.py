"""Ratios of two functions' times, measured so that a noisy machine cannot favour either."""

import statistics
import time
from collections.abc import Callable

Work = Callable[[], object]

# The clock. On a busy machine `time.thread_time` tells more of work in one thread: it stands still while others run.
clock = time.perf_counter


def once(work: Work, repeats: int) -> float:
    """Seconds per call."""
    start = clock()
    for _ in range(repeats):
        work()
    return (clock() - start) / repeats


def ratio(ours: Work, peer: Work, rounds: int = 7, at_least: float = 0.02) -> tuple[float, float, float]:
    """Median seconds of each and peer / ours, the two in turn and each round in the other order."""
    repeats = {work: max(1, int(at_least / max(once(work, 1), 1e-7))) for work in (ours, peer)}
    times: dict[Work, list[float]] = {ours: [], peer: []}
    for number in range(rounds):
        for work in (ours, peer) if number % 2 else (peer, ours):
            times[work].append(once(work, repeats[work]))
    mine, theirs = statistics.median(times[ours]), statistics.median(times[peer])
    return mine, theirs, theirs / mine
