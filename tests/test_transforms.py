"""Transforms and warping."""

import doctest
import json
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from imgtool import ImgtoolError
from imgtool._check import rounded_to
from imgtool.transforms import INTERPOLATIONS, MatrixTransform, warp

TURN = [[0.9, -0.3, 4.25], [0.35, 1.05, -3.5], [0, 0, 1]]


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def transform(matrix, fixed_shape, moving_shape=None, model="affine"):
    return MatrixTransform(matrix, model, fixed_shape, moving_shape or fixed_shape)


def shift(x, y, shape):
    return transform([[1, 0, x], [0, 1, y], [0, 0, 1]], shape, model="translation")


def reference(image, matrix, shape, order):
    """SciPy's resampling, NaN outside."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    u, v = (row[0] * x + row[1] * y + row[2] for row in matrix[:2])
    height, width = image.shape
    held = [np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)]
    out = ndimage.map_coordinates(image.astype(float), held, order=order, mode="mirror")
    out[(u < -0.5) | (v < -0.5) | (u > width - 0.5) | (v > height - 0.5)] = np.nan
    return out


def test_points_go_from_fixed_to_moving_and_back_as_x_y():
    there = transform([[2, 0, 1], [0, 3, -5], [0, 0, 1]], (10, 20), (30, 40))
    np.testing.assert_array_equal(there([[1, 2], [0, 0]]), [[3, 1], [1, -5]])
    back = there.inverse()
    assert (back.fixed_shape, back.moving_shape) == ((30, 40), (10, 20))
    np.testing.assert_allclose(back(there([[7, 8]])), [[7, 8]])


@given(st.lists(st.floats(-100, 100), min_size=6, max_size=6))
@settings(max_examples=50, deadline=None)
def test_a_transform_survives_json_to_the_last_bit(numbers):
    matrix = np.vstack([np.reshape(numbers, (2, 3)), [0, 0, 1]])
    if abs(np.linalg.det(matrix[:2, :2])) < 1e-3:
        return
    before = transform(matrix, (5, 6), (7, 8))
    after = MatrixTransform.from_dict(json.loads(json.dumps(before.to_dict())))
    assert after.matrix.tobytes() == before.matrix.tobytes()
    assert after.to_dict() == before.to_dict()


def test_fields_of_others_in_a_transform_file_are_left_alone():
    fields = transform(TURN, (5, 6)).to_dict() | {"nmi_after": 1.2}
    assert MatrixTransform.from_dict(fields).matrix.tolist() == TURN


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "not an imgtool transform"),
        ({"version": 2}, "version 2 is unknown"),
        ({"version": None}, "version None is unknown"),
        ({"model": "magic"}, "model 'magic' is unknown"),
        ({"model": ["affine"]}, "is unknown"),
        ({"matrix": [[1, 0], [0, 1]]}, "3 rows of 3 numbers, not of shape"),
        ({"matrix": [[1, 0, 0], [0, 1], [0, 0, 1]]}, "3 rows of 3 numbers"),
        ({"matrix": "abc"}, "3 rows of 3 numbers"),
        ({"matrix": None}, "3 rows of 3 numbers"),
        ({"matrix": [[1, 0, float("nan")], [0, 1, 0], [0, 0, 1]]}, "not finite"),
        ({"matrix": [[1, 2, 0], [2, 4, 0], [0, 0, 1]]}, "singular"),
        ({"matrix": [[0, 0, 0], [0, 0, 0], [0, 0, 1]]}, "singular"),
        ({"matrix": [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]]}, "last row"),
        (
            {"model": "projective", "matrix": [[1, 0, 0], [0, 1, 0], [-1, 0, 3]]},
            "inside the image of 6x5 pixels to inf",
        ),
        ({"model": "projective", "matrix": [[1, 0, 0], [0, 1, 0], [1, 0, 0]]}, "to infinity"),
        ({"model": "projective", "matrix": [[1, 0, 1], [0, 1, 1], [0.5, 0.5, 1]]}, "singular"),
        ({"fixed_shape": [0, 5]}, "fixed_shape must be"),
        ({"fixed_shape": [5, 5, 3]}, "fixed_shape must be"),
        ({"fixed_shape": [5, 5.5]}, "fixed_shape must be"),
        ({"moving_shape": "ab"}, "moving_shape must be"),
        ({"moving_shape": 7}, "moving_shape must be"),
        ({"moving_shape": [True, 2]}, "moving_shape must be"),
    ],
)
def test_a_damaged_transform_is_refused_in_a_sentence(change, words):
    with pytest.raises(ImgtoolError, match=words):
        MatrixTransform.from_dict(transform(TURN, (5, 6)).to_dict() | change)


@pytest.mark.parametrize("name", ["matrix", "model", "fixed_shape", "moving_shape"])
def test_a_missing_field_is_named(name):
    fields = transform(TURN, (5, 6)).to_dict()
    del fields[name]
    with pytest.raises(ImgtoolError, match=f"lacks {name}"):
        MatrixTransform.from_dict(fields)


@pytest.mark.parametrize("fields", [None, [], 3, "text", {}])
def test_json_that_is_no_transform_is_refused(fields):
    with pytest.raises(ImgtoolError, match="not an imgtool transform"):
        MatrixTransform.from_dict(fields)


@pytest.mark.parametrize("angle", [-170, -30, 0, 45, 120])
def test_a_transform_describes_its_motion(angle):
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1.3, 0.8])
    centre = np.array([49.5, 29.5])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre + [3, -4] - linear @ centre
    motion = transform(matrix, (60, 100)).describe()
    assert motion.shift == pytest.approx((3, -4))
    assert motion.rotation == pytest.approx(angle)
    assert motion.scales == pytest.approx((1.3, 0.8))


@pytest.mark.parametrize("points", [[1, 2], [[1, 2, 3]], [[1j, 2]]])
def test_points_of_another_shape_are_refused(points):
    with pytest.raises(ImgtoolError, match="points must be"):
        transform(TURN, (5, 6))(points)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", ">u2", ">f8"])
def test_the_identity_returns_every_pixel_bit_by_bit(rng, interpolation, dtype):
    image = np.frombuffer(rng.bytes(8 * 35), dtype)[:35].reshape(5, 7) if dtype != "?" else rng.random((5, 7)) < 0.5
    out = warp(image, shift(0, 0, (5, 7)), interpolation=interpolation)
    assert out.dtype == image.dtype.newbyteorder("=")
    assert out.tobytes() == image.astype(out.dtype).tobytes()


@pytest.mark.parametrize(("interpolation", "order"), [("linear", 1), ("cubic", 3)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_interpolation_agrees_with_scipy(rng, interpolation, order, dtype):
    image = (rng.random((40, 50)) * 200 - (100 if dtype in ("i2", "i4", "f4", "f8") else 0)).astype(dtype)
    out = warp(image, transform(TURN, (33, 44), image.shape), interpolation=interpolation, fill=1)
    expected = reference(image, TURN, (33, 44), order)
    expected[np.isnan(expected)] = 1
    assert out.dtype == dtype
    if image.dtype.kind == "f":
        np.testing.assert_allclose(out, expected, atol=1e-4 if dtype == "f4" else 1e-10)
    else:
        limits = np.iinfo(dtype)
        assert np.abs(out - np.clip(expected, limits.min, limits.max)).max() < 0.501


def test_an_overshoot_saturates_and_halves_round_to_even():
    image = np.array([[0, 0, 255, 255, 0, 0]], np.uint8)
    steep = warp(image, shift(0.25, 0, (1, 6)), interpolation="cubic")
    assert steep[0, 2] == 255
    assert steep[0, 4] == 0
    assert warp(np.array([[0, 1, 2, 3]]), shift(0.5, 0, (1, 4)), fill=-7).tolist() == [[0, 2, 2, 3]]
    assert warp(np.array([[0, 1, 2, 3]]), shift(1.5, 0, (1, 4)), fill=-7).tolist() == [[2, 2, 3, -7]]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i4", "u8", "i8"])
@pytest.mark.parametrize("real", ["f2", "f4", "f8"])
def test_every_float_is_rounded_and_saturated_into_every_integer(dtype, real):
    limits = np.iinfo(dtype)
    values = np.array([[2.5, np.nan], [np.inf, -np.inf]], real)
    assert rounded_to(values, dtype).tolist() == [[2, 0], [limits.max, limits.min]]


def test_64_bit_integers_move_exactly_by_whole_pixels(rng):
    image = rng.integers(2**62, 2**63 - 1, (6, 7))
    for interpolation in INTERPOLATIONS:
        out = warp(image, shift(2, -1, (6, 7)), interpolation=interpolation, fill=-1)
        np.testing.assert_array_equal(out[1:, :5], image[:5, 2:])
        assert (out[0] == -1).all()
        assert (out[:, 5:] == -1).all()


def test_channels_are_warped_alike(rng):
    image = rng.random((20, 30, 5))
    turn = transform(TURN, (20, 30))
    for interpolation in INTERPOLATIONS:
        out = warp(image, turn, interpolation=interpolation, channel_axis=-1, fill=0.5)
        for channel in range(5):
            plane = warp(image[..., channel], turn, interpolation=interpolation, fill=0.5)
            np.testing.assert_array_equal(out[..., channel], plane)


def test_what_is_transparent_does_not_bleed_into_colours():
    image = np.zeros((4, 6, 4), np.uint8)
    image[..., :3] = 255, 0, 9  # magenta under transparent pixels
    image[:, 3:] = 40, 50, 60, 255
    out = warp(image, shift(1.5, 0, (4, 6)), channel_axis=-1, has_alpha=True)
    assert out[0, 1].tolist() == [40, 50, 60, 128]
    assert out[0, 0].tolist() == [0, 0, 0, 0]
    assert out[0, 5].tolist() == [0, 0, 0, 0]
    hidden = image.astype(float)
    hidden[:, :3, :3] = np.nan
    np.testing.assert_array_equal(
        warp(hidden, shift(1.5, 0, (4, 6)), channel_axis=-1, has_alpha=True)[0, 1], [40, 50, 60, 127.5]
    )


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_nan_reaches_only_its_neighbours(rng, interpolation):
    image = rng.random((12, 12))
    image[5, 5] = np.nan
    out = warp(image, shift(0.5, 0.5, (12, 12)), interpolation=interpolation)
    expected = np.zeros((12, 12), bool)
    expected[4:6, 4:6] = True
    np.testing.assert_array_equal(np.isnan(out), expected)


@pytest.mark.parametrize("interpolation", ["cubic", "lanczos"])
def test_what_is_missing_leaves_no_waves_around_it(interpolation):
    image = np.full((20, 30), 1000.0)
    image[:4], image[10, 7:9] = np.nan, np.inf
    out = warp(image, shift(0.25, 0.5, (20, 30)), interpolation=interpolation)
    np.testing.assert_allclose(out[~np.isnan(out) & (out != 0)], 1000)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_warping_is_the_same_to_the_last_bit_for_any_number_of_threads(rng, interpolation):
    image = rng.random((500, 600)).astype(np.float32)
    turn = transform(TURN, (500, 600))
    results = {warp(image, turn, interpolation=interpolation, threads=n).tobytes() for n in (1, 2, 5)}
    assert len(results) == 1


def test_strides_and_read_only_arrays_change_nothing(rng):
    image = rng.random((40, 60))
    expected = warp(image, transform(TURN, (40, 60)))
    image.flags.writeable = False
    np.testing.assert_array_equal(warp(np.asfortranarray(image), transform(TURN, (40, 60))), expected)
    np.testing.assert_array_equal(warp(image[::-1][::-1], transform(TURN, (40, 60))), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (2, 2)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_smallest_images_can_be_warped(rng, size, interpolation):
    image = rng.random(size)
    stretched = transform([[0.4, 0, 0], [0, 0.4, 0], [0, 0, 1]], (3, 3), size)
    out = warp(image, stretched, interpolation=interpolation, fill=9)
    assert out[0, 0] == pytest.approx(image[0, 0])
    assert (out[2, 2] == 9) == (min(size) == 1)


@pytest.mark.parametrize(
    ("image", "keywords", "words"),
    [
        (np.zeros((5, 5)), {}, "moving is 5x5 pixels but the transform was made for 6x5"),
        (np.zeros((5, 6, 3)), {}, "moving has 3 axes but must have 2"),
        (np.zeros((5, 6)), {"channel_axis": -1}, "moving has 2 axes but must have 3"),
        (np.zeros((3, 5, 6)), {"channel_axis": 0}, "channel_axis must be -1"),
        (np.zeros((5, 6)), {"interpolation": "magic"}, "interpolation 'magic' is unknown"),
        (np.zeros((5, 6)), {"has_alpha": True}, "has_alpha needs"),
        (np.zeros((5, 6)) * 1j, {}, "moving is complex"),
        (np.zeros((0, 6)), {}, "no pixels"),
        (np.zeros((5, 6)), {"shape": (0, 1)}, "shape must be"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(image, keywords, words):
    with pytest.raises(ImgtoolError, match=words):
        warp(image, transform(TURN, (5, 6)), **keywords)


@pytest.mark.parametrize("module", ["_base", "composite", "field", "inversion", "matrix", "warping"])
def test_the_examples_in_the_docstrings_run(module):
    results = doctest.testmod(import_module(f"imgtool.transforms.{module}"))
    assert results.attempted > 0
    assert results.failed == 0
