"""Slabs of rows on threads: order, faults and who does the work."""

import threading

import pytest

from imgtool._slabs import run_slabs


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(("rows", "slab"), [(0, 3), (3, 3), (10, 3), (100, 1)])
def test_slabs_cover_all_rows_in_order(rows, slab, threads):
    found = run_slabs(lambda start, stop: list(range(start, stop)), rows, slab, threads)
    assert [row for part in found for row in part] == list(range(rows))
    assert len(found) == -(-rows // slab)


def test_the_calling_thread_does_its_share_and_another_the_rest():
    together = threading.Barrier(2, timeout=20)

    def work(start, stop):
        together.wait()  # two slabs at a time, or never
        return threading.get_ident()

    assert threading.get_ident() in run_slabs(work, 2, 1, 2)


@pytest.mark.parametrize("bad", [0, 7, 19])
def test_a_fault_in_any_slab_is_that_of_the_whole_and_ends_it(bad):
    done = []

    def work(start, stop):
        if start == bad:
            raise ZeroDivisionError
        done.append(start)

    with pytest.raises(ZeroDivisionError):
        run_slabs(work, 20, 1, 2)
    assert bad not in done
    count = len(done)
    assert run_slabs(lambda start, stop: start, 4, 1, 2) == [0, 1, 2, 3]
    assert len(done) == count
