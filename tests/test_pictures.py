"""Overlays, checkerboards and charts."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from imgtool.chart import chart
from imgtool.errors import ImgtoolError
from imgtool.pictures import checkerboard, gray_levels, overlay


def ramp(dtype=np.uint16, height=20, width=30):
    return np.arange(height * width).reshape(height, width).astype(dtype)


def test_an_image_on_itself_is_gray():
    picture = overlay(ramp(), ramp(np.float32))
    assert picture.dtype == np.uint8
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (picture[..., 1] == picture[..., 2]).all()
    assert (picture.min(), picture.max()) == (0, 255)


def test_where_the_moving_image_does_not_reach_only_red_is_left():
    warped = ramp(float)
    warped[:, :10] = np.nan
    picture = overlay(ramp(), warped)
    assert not picture[:, :10, 1:].any()
    assert picture[5, 5, 0] > 0


def test_squares_alternate():
    board = checkerboard(np.tile([0, 1], (8, 4)), np.tile([1, 0], (8, 4)), size=2)
    expected = np.tile([0, 255], (8, 4)) ^ np.where(np.add.outer(np.arange(8) // 2, np.arange(8) // 2) % 2, 255, 0)
    assert_array_equal(board, expected)


def test_a_few_hot_pixels_do_not_darken_the_rest():
    plane = ramp(float)
    plane[0, 0] = 1e9
    assert gray_levels(plane)[-1, -1] > 250


@pytest.mark.parametrize(
    ("plane", "level"), [(np.zeros((4, 4)), 128), (np.full((4, 4), np.nan), 0), (np.ones((4, 4), bool), 128)]
)
def test_a_picture_of_nothing_is_even(plane, level):
    assert (gray_levels(plane) == level).all()


def test_a_sparse_image_is_not_lost():
    plane = np.zeros((100, 100))
    plane[50, 50] = 7
    assert gray_levels(plane)[50, 50] == 255


@pytest.mark.parametrize("picture", [overlay, checkerboard])
def test_planes_of_two_sizes_make_no_picture(picture):
    with pytest.raises(ImgtoolError, match="two planes of one size"):
        picture(np.zeros((3, 4)), np.zeros((4, 3)))


def colours(picture):
    return {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}


def test_a_chart_draws_each_curve_in_a_colour_of_its_own():
    one = chart({"x": np.arange(5.0)})
    two = chart({"x": np.arange(5.0), "y": -np.arange(5.0)})
    assert one.shape == two.shape == (240, 640, 3)
    assert (200, 40, 40) in colours(one)
    assert (40, 90, 200) in colours(two) - colours(one)


def test_a_curve_goes_up_where_numbers_grow():
    red = (chart({"": [0.0, 10.0]})[30:210] == [200, 40, 40]).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert rows[columns.argmax()] < rows[columns.argmin()] - 100


@pytest.mark.parametrize("values", [[3.0], [0.0, 0.0], [np.nan, np.nan], [1e-9, 2e-9], [-1e6, 1e6], [1.0, np.nan, 2.0]])
def test_odd_numbers_make_a_chart_too(values):
    assert chart({"x px": values}).shape == (240, 640, 3)
