"""Series aligned: drift found, errors that do not add up, pages that cannot be registered."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scenes import texture

from imgtool import stack
from imgtool.errors import ImgtoolError
from imgtool.registration import register
from imgtool.stack import align

CENTRE = [[30, 30]]


def page(shift, noise=0.0, seed=0, shape=(64, 60)):
    """The texture whose content lies `shift` (x, y) further right and down."""
    y, x = np.indices(shape, float)
    return texture(x - shift[0], y - shift[1]) + np.random.default_rng(seed).normal(0, noise, shape)


DRIFT = [(0, 0), (0.7, -0.4), (1.6, -0.6), (2.2, -1.5), (3.4, -1.3), (4.1, -2.2), (5.0, -2.0), (5.5, -3.1)]


def noisy():
    return [page(shift, 0.15, seed) for seed, shift in enumerate(DRIFT)]


def shifts(found):
    return np.array([f.transform(CENTRE)[0] - CENTRE[0] for f in sorted(found, key=lambda f: f.page)])


@pytest.mark.parametrize("reference", ["first", "previous", "mean", 0, 3, 7])
def test_the_drift_is_found_whatever_the_reference(reference):
    found = shifts(align(noisy(), reference=reference, model="translation"))
    origin = DRIFT[reference] if isinstance(reference, int) else (0, 0)
    tolerance = 0.12 if reference != "mean" else 0.15
    assert_allclose(found, np.subtract(DRIFT, origin), atol=tolerance)


def test_errors_of_a_chain_do_not_add_up():
    planes = [page((0.3 * n, -0.2 * n), 0.3, n) for n in range(24)]
    truth = np.array([(0.3 * n, -0.2 * n) for n in range(24)])
    error = np.linalg.norm(shifts(align(planes, reference="previous", model="translation")) - truth, axis=1)
    assert error[-6:].mean() < 0.1 + error[1:7].mean()


def test_a_chain_holds_where_the_first_page_has_nothing_in_common(monkeypatch):
    # The first page does not find itself in any but its neighbour.
    planes = noisy()

    def doubtful(fixed, moving, **options):
        found = register(fixed, moving, **options)
        far = fixed is planes[0] and moving is not planes[1]
        return stack.replace(found, confident=not far)

    monkeypatch.setattr(stack, "register", doubtful)
    assert_allclose(shifts(align(planes, reference="previous", model="translation")), DRIFT, atol=0.3)


def test_a_page_that_only_a_wide_search_finds_is_found(monkeypatch):
    asked = []

    def nearsighted(fixed, moving, **options):
        asked.append(options.get("search", "auto"))
        found = register(fixed, moving, **options)
        return stack.replace(found, confident=asked[-1] != "none")

    monkeypatch.setattr(stack, "register", nearsighted)
    found = list(align(noisy()[:3], model="translation"))
    assert asked == ["none", "auto"] * 2
    assert all(f.confident for f in found)
    asked.clear()
    list(align(noisy()[:3], model="translation", search="none"))
    assert asked == ["none"] * 3  # the last once more from where its neighbour ended


def test_where_only_a_page_near_by_leads_to_its_place_the_page_begins_there(monkeypatch):
    starts = []

    def nearsighted(fixed, moving, **options):
        start = options.get("initial")
        starts.append(None if start is None else tuple(start(CENTRE)[0] - CENTRE[0]))
        found = register(fixed, moving, **options)
        near = start is not None and np.linalg.norm(found.transform(CENTRE)[0] - start(CENTRE)[0]) < 2
        return stack.replace(found, confident=bool(near), nmi_after=found.nmi_after + near)

    monkeypatch.setattr(stack, "register", nearsighted)
    found = list(align(noisy(), model="translation"))
    assert all(f.confident for f in found)
    assert_allclose(shifts(found), DRIFT, atol=0.12)
    assert starts.count((0, 0)) == len(DRIFT) - 1
    assert starts[-1] == pytest.approx(DRIFT[-2], abs=0.12)


@pytest.mark.parametrize("reference", ["first", "previous", "mean", 3])
def test_the_order_of_registrations_changes_nothing(reference):
    planes = noisy()[:5]
    planes[2] = np.full((64, 60), 7.0)

    def backwards(tasks, mean):
        for task in reversed(tasks):
            fixed = mean if task.fixed is None else planes[task.fixed]
            yield task, stack.fit(task, fixed, planes[task.page], model="translation")

    found = {f.page: f.transform for f in align(planes, reference=reference, model="translation")}
    again = {f.page: f.transform for f in align(planes, reference=reference, model="translation", run=backwards)}
    assert sorted(found) == sorted(again) == list(range(5))
    assert all((again[page].matrix == found[page].matrix).all() for page in found)


def test_where_the_climb_makes_it_worse_the_start_stays(monkeypatch):
    def falling(fixed, moving, **options):
        found = register(fixed, moving, **options)
        return stack.replace(found, nmi_after=found.nmi_before - 0.1)

    monkeypatch.setattr(stack, "register", falling)
    assert_allclose(shifts(align(noisy()[:3], model="translation")), 0)


def test_a_page_without_content_moves_as_its_neighbour_does():
    planes = noisy()
    planes[3] = np.full((64, 60), 7.0)
    found = sorted(align(planes, model="translation"), key=lambda f: f.page)
    assert "constant" in found[3].problem
    assert not found[3].confident
    assert_allclose(found[3].transform.matrix, found[2].transform.matrix)
    assert_allclose(shifts(found)[4:], DRIFT[4:], atol=0.12)


def test_pages_of_other_sizes_lie_on_the_grid_of_the_first():
    planes = [page((0, 0)), page((1, 2))[:, :50], page((2, 1))[:56]]
    for reference in ("first", "previous", "mean"):
        found = sorted(align(planes, reference=reference, model="translation"), key=lambda f: f.page)
        assert [f.transform.fixed_shape for f in found] == [(64, 60)] * 3
        assert [f.transform.moving_shape for f in found] == [plane.shape for plane in planes]
        assert_allclose(shifts(found), [(0, 0), (1, 2), (2, 1)], atol=0.1)


def test_no_more_than_two_pages_are_asked_for_at_a_time():
    class Counting(list):
        asked = 0

        def __getitem__(self, number):
            Counting.asked += 1
            return super().__getitem__(number)

    planes = Counting(noisy())
    list(align(planes, model="translation"))
    assert Counting.asked == len(DRIFT)


def test_threads_change_no_bit():
    one, two = (shifts(align(noisy()[:3], threads=threads)) for threads in (1, 2))
    assert (one == two).all()


@pytest.mark.parametrize(
    ("planes", "reference", "said"),
    [
        (DRIFT[:1], "first", "needs two pages or more, not 1"),
        (DRIFT, "last", "reference 'last' is unknown; use first, previous, mean"),
        (DRIFT, 8, "there is no page 8 in a series of 8"),
        (DRIFT, -1, "there is no page -1"),
    ],
)
def test_what_is_no_series_is_refused(planes, reference, said):
    with pytest.raises(ImgtoolError, match=said):
        list(align([page(shift) for shift in planes], reference=reference))


def test_a_series_is_not_deformed():
    with pytest.raises(ImgtoolError, match="a series is aligned by matrices"):
        list(align(noisy()[:2], model="bspline"))


def test_transforms_of_a_series_survive_json():
    transforms = [f.transform for f in align(noisy()[:3], model="translation")]
    again = stack.from_dict(stack.to_dict(transforms))
    assert [t.to_dict() for t in again] == [t.to_dict() for t in transforms]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([], "these are not the transforms of a series"),
        ({"format": "imgtool-transform"}, "these are not the transforms of a series"),
        ({"format": "imgtool-transforms", "version": 2}, "version 2 is unknown"),
        ({"format": "imgtool-transforms", "version": True}, "version True is unknown"),
        ({"format": "imgtool-transforms", "version": 1}, "the list of transforms is missing or empty"),
        ({"format": "imgtool-transforms", "version": 1, "transforms": [3]}, "page 1: "),
    ],
)
def test_damaged_transforms_of_a_series_are_refused(fields, said):
    with pytest.raises(ImgtoolError, match=said):
        stack.from_dict(fields)
