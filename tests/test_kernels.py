"""Kernels by name, in numbers and from files; and a sentence for everything that is none."""

import doctest
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage, signal

from imgtool import kernels
from imgtool.errors import ImgtoolError
from imgtool.kernels import parse_kernel

SHARPEN = [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]


def array(spec):
    (only,) = parse_kernel(spec).arrays
    return only


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(kernels)
    assert results.attempted == 3
    assert results.failed == 0


@pytest.mark.parametrize(
    "text",
    [
        "0 -1 0; -1 5 -1; 0 -1 0",
        "0,-1,0;-1,5,-1;0,-1,0",
        " 0 , -1 0;\n-1 5e0 -1\n\n0 -2/2 .0 ;",
        "0 -1 0\n-1 5. -1\n0 -1 0\n",
        "sharpen",
        "  Sharpen ",
    ],
)
def test_one_kernel_can_be_written_in_many_ways(text):
    assert_array_equal(array(text), SHARPEN)


def test_a_row_is_one_row_high_and_a_column_one_column_wide():
    assert array("1/4 1/2 1/4").shape == (1, 3)
    assert array("1; 2; 1").shape == (3, 1)
    assert array("5").shape == (1, 1)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e300, 1e300)))
def test_numbers_survive_being_written_out(values):
    text = "; ".join(" ".join(repr(float(v)) for v in row) for row in values)
    assert_array_equal(array(text), values)


@given(st.text(max_size=40))
def test_any_text_is_a_kernel_or_a_sentence(text):
    if text.strip().startswith("@"):
        text = text.replace("@", "")  # no files here
    try:
        kernel = parse_kernel(text)
    except ImgtoolError as error:
        assert str(error)
    else:
        assert all(a.ndim == 2 and a.dtype == np.float64 and np.isfinite(a).all() for a in kernel.arrays)


# Named kernels


@pytest.mark.parametrize(("sigma", "truncate"), [(1, 4), (0.3, 4), (2.5, 3), (2, 1.1)])
def test_gaussian_is_scipys(sigma, truncate):
    kernel = array(f"gaussian:sigma={sigma},truncate={truncate}")
    delta = np.zeros(np.array(kernel.shape) + 4)
    delta[delta.shape[0] // 2, delta.shape[1] // 2] = 1
    expected = ndimage.gaussian_filter(delta, sigma, truncate=truncate, mode="constant")[2:-2, 2:-2]
    assert_allclose(kernel, expected, rtol=1e-13, atol=1e-17)
    assert math.isclose(kernel.sum(), 1, rel_tol=1e-14)


def test_a_tiny_sigma_puts_all_weight_on_the_centre():
    assert_array_equal(array("gaussian:sigma=1e-300,truncate=1e300"), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_a_bare_value_is_the_first_argument():
    assert_array_equal(array("gaussian:2"), array("gaussian:sigma=2"))
    assert_array_equal(array("gaussian:2,truncate=3"), array("gaussian:truncate=3,sigma=2"))


def test_box_is_given_as_width_by_height():
    assert_array_equal(array("box"), np.full((3, 3), 1 / 9))
    assert array("box:5x3").shape == (3, 5)
    assert array("box:size=4").shape == (4, 4)
    assert_array_equal(array("identity"), [[1]])


def test_binomial_rows_are_pascals_triangle():
    assert_array_equal(array("binomial") * 16, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    assert array("binomial:63").sum() == 1


@pytest.mark.parametrize("name", ["sobel", "prewitt", "scharr"])
def test_directional_kernels_are_positive_where_the_image_grows_brighter(name):
    y, x = np.mgrid[:5, :5].astype(float)
    across, down = array(f"{name}:x"), array(f"{name}:direction=y")
    assert ndimage.convolve(x, across)[2, 2] > 0
    assert ndimage.convolve(y, down)[2, 2] > 0
    assert ndimage.convolve(y, across)[2, 2] == ndimage.convolve(x, down)[2, 2] == 0
    both = parse_kernel(name).arrays
    assert_array_equal(both, parse_kernel(f"{name}:magnitude").arrays)
    assert_array_equal(both, [across, down])


@pytest.mark.parametrize("name", ["sobel", "prewitt"])
def test_directional_kernels_are_scipys(name):
    image = np.random.default_rng(5).random((9, 8))
    expected = getattr(ndimage, name)(image, axis=1)
    assert_allclose(ndimage.convolve(image, array(f"{name}:x")), expected, atol=1e-14)


def test_laplacian_has_four_or_eight_neighbours():
    assert_array_equal(array("laplacian"), [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    assert_array_equal(array("laplacian:8"), [[1, 1, 1], [1, -8, 1], [1, 1, 1]])


def test_normalizing_divides_by_the_sum():
    assert_array_equal(parse_kernel("1 2; 3 4").normalized().arrays[0], np.array([[1, 2], [3, 4]]) / 10)
    assert_array_equal(parse_kernel("1e308 1e308; 1e308 1e308").normalized().arrays[0], np.full((2, 2), 0.25))


@pytest.mark.parametrize("spec", ["0 0; 0 0", "laplacian", "0.1 0.2 -0.3", "sobel:x", "sobel"])
def test_a_kernel_that_sums_to_0_cannot_be_normalized(spec):
    with pytest.raises(ImgtoolError, match=f"{re.escape(spec)}.*sums to 0"):
        parse_kernel(spec).normalized()


# The other named kernels, each against a formula or SciPy


def impulse_response(function, size, **options):
    """What a SciPy filter makes of a single bright pixel."""
    delta = np.zeros(size)
    delta[tuple(n // 2 for n in size)] = 1
    return function(delta, mode="constant", **options)


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 0), (1, 1), (3, 0), (0, 4)])
def test_derivatives_of_a_gaussian_are_scipys_and_answer_to_no_constant(order):
    kernel = array(f"gaussian:sigma=1.7,truncate=9,order={order[1]}x{order[0]}")
    expected = impulse_response(ndimage.gaussian_filter, kernel.shape, sigma=1.7, order=order, truncate=9)
    assert_allclose(kernel, expected, atol=1e-12)
    assert abs(array(f"gaussian:sigma=1,order={order[1]}x{order[0]}").sum()) < 1e-14


def test_a_derivative_is_positive_where_the_image_grows_brighter():
    y, x = np.mgrid[:21, :21].astype(float)
    assert_allclose(ndimage.convolve(3 * x, array("gaussian:sigma=1.5,truncate=6,order=1x0"))[10, 10], 3, rtol=1e-6)
    assert_allclose(ndimage.convolve(y**2, array("gaussian:sigma=1.5,truncate=6,order=0x2"))[10, 10], 2, rtol=1e-6)


def test_one_value_stands_for_every_axis_and_x_comes_first():
    assert_array_equal(array("gaussian:sigma=2x1"), array("gaussian:sigma=1x2").T)
    assert array("gaussian:sigma=2x1").shape == (9, 17)
    assert_array_equal(array("gaussian:2,order=1"), array("gaussian:2x2,order=1x1"))


def test_laplacian_of_gaussian_is_scipys_and_sums_to_0():
    kernel = array("log:sigma=1.6,truncate=9")
    expected = impulse_response(ndimage.gaussian_laplace, kernel.shape, sigma=1.6, truncate=9)
    assert_allclose(kernel, expected, atol=1e-12)
    assert abs(array("log").sum()) < 1e-14


def test_difference_of_gaussians():
    kernel = array("dog:sigma=2,ratio=1.5")
    narrow = impulse_response(ndimage.gaussian_filter, kernel.shape, sigma=2)
    assert_allclose(kernel, narrow - impulse_response(ndimage.gaussian_filter, kernel.shape, sigma=3), atol=1e-15)
    assert abs(kernel.sum()) < 1e-14


def test_unsharp_adds_what_a_gaussian_removes():
    image = np.random.default_rng(2).random((30, 30))
    expected = image + 0.7 * (image - ndimage.gaussian_filter(image, 1.3))
    assert_allclose(ndimage.convolve(image, array("unsharp:sigma=1.3,amount=0.7")), expected, atol=1e-13)


@pytest.mark.parametrize("radius", [0.3, 1, 2.5, 3.2])
def test_disk_weighs_pixels_by_their_area_inside(radius):
    kernel = array(f"disk:{radius}")
    reach, fine = kernel.shape[0] // 2, 200
    x = (np.arange(kernel.shape[0] * fine) + 0.5) / fine - reach - 0.5
    inside = np.hypot(x[:, np.newaxis], x) <= radius
    counted = inside.reshape(kernel.shape[0], fine, kernel.shape[0], fine).mean((1, 3))
    assert_allclose(kernel, counted / counted.sum(), atol=1e-3 / radius)
    assert kernel[reach].min() > 0


def test_motion_is_a_line_of_a_length_and_an_angle():
    assert_allclose(array("motion:5"), np.full((1, 5), 0.2))
    assert_allclose(array("motion:length=5,angle=90"), np.full((5, 1), 0.2), atol=1e-12)
    rising = array("motion:length=9,angle=30")
    y, x = np.argwhere(rising > 0).T - np.array(rising.shape)[:, np.newaxis] // 2
    weights = rising[rising > 0]
    # The line's moments: its direction, up for a positive angle, and its length.
    angle = 0.5 * np.arctan2(-2 * (weights * x * y).sum(), (weights * (x**2 - y**2)).sum())
    assert math.isclose(math.degrees(angle), 30, abs_tol=2)
    assert math.isclose(rising.sum(), 1)


def test_gabor_is_daugmans_function():
    kernel = array("gabor:sigma=3,wavelength=5,angle=20,gamma=0.6,phase=40")
    turn = math.radians(20)
    envelope, wave = np.empty(kernel.shape), np.empty(kernel.shape)
    for (i, j), _ in np.ndenumerate(kernel):
        x, up = j - kernel.shape[1] // 2, kernel.shape[0] // 2 - i
        u, v = x * math.cos(turn) + up * math.sin(turn), up * math.cos(turn) - x * math.sin(turn)
        envelope[i, j] = math.exp(-(u**2 + 0.6**2 * v**2) / (2 * 3**2))
        wave[i, j] = math.cos(2 * math.pi * u / 5 + math.radians(40))
    assert_allclose(kernel, envelope / envelope.sum() * wave, atol=1e-15)


def test_roberts_kernels_are_the_diagonal_differences():
    image = np.random.default_rng(4).random((6, 6))
    falling = image[1:, 1:] - image[:-1, :-1]
    rising = image[1:, :-1] - image[:-1, 1:]
    for direction, expected in (("x", falling), ("y", rising)):
        full = signal.convolve2d(image, array(f"roberts:{direction}"), mode="valid")
        assert_allclose(full, expected, atol=1e-15)


def test_kirsch_has_eight_directions_whose_maximum_counts():
    kernel = parse_kernel("kirsch")
    assert (len(kernel.arrays), kernel.combine) == (8, "maximum")
    assert len({each.tobytes() for each in kernel.arrays}) == 8
    for each in kernel.arrays:
        assert sorted(each.ravel()) == [-3] * 5 + [0] + [5] * 3
    y, x = np.mgrid[:5, :5].astype(float)
    for name, ramp in {"e": x, "s": y, "w": -x, "n": -y, "se": x + y, "ne": x - y, "sw": y - x, "nw": -x - y}.items():
        answers = [ndimage.convolve(ramp, each)[2, 2] for each in kernel.arrays]
        assert ndimage.convolve(ramp, array(f"kirsch:{name}"))[2, 2] == max(answers) > 0
    assert_array_equal(array("kirsch:x"), [[5, -3, -3], [5, 0, -3], [5, -3, -3]])
    assert_array_equal(array("kirsch:y"), array("kirsch:s"))


def test_emboss_is_brighter_on_slopes_that_face_the_top_left():
    y, x = np.mgrid[:5, :5].astype(float)
    assert ndimage.convolve(x + y, array("emboss"))[2, 2] > (x + y)[2, 2]
    assert array("emboss").sum() == 1


@pytest.mark.parametrize("name", [name for name, entry in kernels.CATALOGUE.items() if entry.volume])
def test_some_kernels_have_three_axes_too(name):
    (volume,) = parse_kernel(name, axes=3).arrays
    plane = array(name)
    assert volume.ndim == 3
    if plane.sum() > 0.5:
        assert_allclose([plane.sum(), volume.sum()], 1)
    else:
        assert_allclose([plane.sum(), volume.sum()], 0, atol=1e-14)
    assert_array_equal(volume, np.flip(volume))


def test_volumes_of_one_kernel_are_scipys():
    (kernel,) = parse_kernel("gaussian:sigma=1x1.5x2,order=1x0x0", axes=3).arrays
    expected = impulse_response(ndimage.gaussian_filter, kernel.shape, sigma=(2, 1.5, 1), order=(0, 0, 1))
    assert_allclose(kernel, expected, atol=1e-9)
    assert parse_kernel("box:5x4x3", axes=3).arrays[0].shape == (3, 4, 5)
    assert_array_equal(parse_kernel("laplacian", axes=3).arrays[0][1], [[0, 1, 0], [1, -6, 1], [0, 1, 0]])
    assert parse_kernel("laplacian:8", axes=3).arrays[0][1, 1, 1] == -26
    for spec in ("sobel", "1 2 1", "gaussian:1x2"):
        with pytest.raises(ImgtoolError, match="3"):
            parse_kernel(spec, axes=3)


@pytest.mark.parametrize("name", kernels.CATALOGUE)
def test_every_default_is_what_its_argument_takes(name):
    entry = kernels.CATALOGUE[name]
    spelled = ",".join(f"{key}={argument.default}" for key, argument in entry.arguments.items())
    for one, other in zip(parse_kernel(name).arrays, parse_kernel(f"{name}:{spelled}".rstrip(":")).arrays, strict=True):
        assert_array_equal(one, other)
    for key in entry.arguments:
        with pytest.raises(ImgtoolError, match=f"kernel {name}: {key} must be .*, not 'fish'"):
            parse_kernel(f"{name}:{key}=fish")


# What is no kernel


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "kernel '': has no numbers in it"),
        ("  \n ", "has no numbers in it"),
        (";", "has no numbers in it"),
        ("1 2; 3", "row 2 is 1 long where row 1 is 2 long"),
        ("1 2;; 3 4", "row 2 is 0 long where row 1 is 2 long"),
        ("1 2; 3 x", "row 2, column 2 is 'x', not a number"),
        ("1,,2", "row 1, column 2 is empty"),
        ("1 2,", "row 1, column 3 is empty"),
        ("1_0 2", "column 1 is '1_0', not a number"),
        ("\u0661 2", "column 1 is '\u0661', not a number"),
        ("1/2/3", "column 1 is '1/2/3', not a number"),
        ("1/", "column 1 is '1/', not a number"),
        ("1 nan", "row 1, column 2 is not finite"),
        ("1 -Inf", "row 1, column 2 is not finite"),
        ("1e999", "row 1, column 1 is not finite"),
        ("0 1e308/1e-308", "row 1, column 2 is not finite"),
        ("2 1/0", "row 1, column 2, 1/0, divides by zero"),
        ("gausian", "there is no kernel named 'gausian'; did you mean gaussian?"),
        ("gausian:sigma=2", "did you mean gaussian?"),
        ("zzz", "no kernel named 'zzz'; known are binomial, box, disk, dog, emboss"),
        ("nan", "no kernel named 'nan'"),
        (
            "gaussian:sigma=0",
            "kernel gaussian: sigma must be a number above 0, or one for each axis such as 2x1.5, not '0'",
        ),
        ("gaussian:sigma=-1", "such as 2x1.5, not '-1'"),
        ("gaussian:sigma=nan", "such as 2x1.5, not 'nan'"),
        ("gaussian:sigma=1e999", "such as 2x1.5, not '1e999'"),
        ("gaussian:", "kernel gaussian: sigma must be a number above 0, or one for each axis such as 2x1.5, not ''"),
        ("gaussian:width=2", "kernel gaussian has no argument 'width=2'; it takes sigma, truncate and order"),
        ("gaussian:2,3", "kernel gaussian has no argument '3'"),
        ("gaussian:2,sigma=3", "kernel gaussian is given sigma twice"),
        ("gaussian:sigma=200", "kernel gaussian: 2563201 numbers are more than the limit of 1048576"),
        ("gaussian:sigma=1e300", "more than the limit"),
        ("box:2000", "kernel box: 4000000 numbers are more than the limit of 1048576"),
        ("box:999999999x999999999", "more than the limit"),
        ("box:0", "kernel box: size must be a whole number such as 3, or WIDTHxHEIGHT such as 5x3, not '0'"),
        ("box:3x", "size must be a whole number"),
        ("box:1x2x3", "kernel box: size has 3 values for 2 axes; give one, or one for each"),
        ("box:1x2x3x4", "size must be a whole number"),
        ("box:" + "9" * 5000, "size must be a whole number"),
        ("disk:1e9", "more than the limit"),
        ("motion:1e30,angle=1", "more than the limit"),
        ("motion:0.5", "length must be a number from 1 on"),
        ("gabor:sigma=1e200", "more than the limit"),
        ("gabor:wavelength=0", "wavelength must be a number above 0"),
        ("log:sigma=1e9", "more than the limit"),
        ("dog:ratio=1", "ratio must be a number above 1"),
        ("dog:sigma=30,ratio=1e5", "more than the limit"),
        ("gaussian:sigma=1e-100,order=4", "sigma 1e-100 is too small for a derivative"),
        ("log:sigma=0.1", "kernel log: sigma 0.1 is too small for a derivative"),
        ("gaussian:sigma=1e-80,truncate=1e81,order=4", "sigma 1e-80 is too small"),
        ("unsharp:amount=inf", "amount must be a number, not 'inf'"),
        ("kirsch:north", "direction must be x, y, magnitude, e, se, s, sw, w, nw, n or ne, not 'north'"),
        ("binomial:64", "a whole number from 1 to 63, not '64'"),
        ("sobel:z", "kernel sobel: direction must be x, y or magnitude, not 'z'"),
        ("laplacian:5", "neighbours must be 4 or 8, not '5'"),
        ("@", "@: a kernel file must be one of .txt, .csv, .json, .npy, .mat"),
        ("sharpen:2", "kernel sharpen has no argument '2'; it takes no arguments"),
        ("1 " * (kernels.MAX_TAPS + 1), "1048577 numbers are more than the limit of 1048576"),
    ],
)
def test_what_is_no_kernel_is_told_with_the_place_of_the_fault(spec, message):
    with pytest.raises(ImgtoolError) as caught:
        parse_kernel(spec)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


# Files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("k.txt", "0 -1 0\n-1 5 -1\n0 -1 0\n"),
        ("k.txt", "0 -1 0; -1 5 -1; 0 -1 0"),
        ("k.TXT", "# sharpen\n0, -1, 0;\n-1 5 -1;  # the middle\r\n0 -1 0\r\n\n"),
        ("k.csv", "\ufeff0,-1,0\r\n-1,5,-1\r\n0,-1,0\r\n"),
        ("k.json", json.dumps(SHARPEN)),
    ],
)
def test_kernel_files(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert_array_equal(array(f"@{tmp_path / name}"), SHARPEN)


@pytest.mark.parametrize("dtype", ["float64", ">i2", "float32", "bool"])
def test_an_npy_file_may_have_any_real_type(tmp_path, dtype):
    values = (np.arange(6).reshape(3, 2) % 3 == 0).astype(dtype)
    np.save(tmp_path / "k.npy", np.asfortranarray(values))
    assert_array_equal(array(f"@{tmp_path / 'k.npy'}"), values)


def test_a_libvips_matrix_has_a_scale_and_an_offset(tmp_path):
    for text, values, bias in [
        ("3 2\n1 2 3\n4 5 6\n", [[1, 2, 3], [4, 5, 6]], 0),
        ("3 1 4\n1,2,1\n", [[0.25, 0.5, 0.25]], 0),
        ("\n2\t1 -2 128.5\r\n1 -1\r\n\r\n", [[-0.5, 0.5]], 128.5),
    ]:
        (tmp_path / "k.mat").write_text(text, newline="")
        kernel = parse_kernel(f"@{tmp_path / 'k.mat'}")
        assert_array_equal(kernel.arrays[0], values)
        assert kernel.bias == bias


def test_volumes_come_from_json_and_npy_files(tmp_path):
    values = np.arange(12.0).reshape(2, 3, 2)
    np.save(tmp_path / "k.npy", values)
    (tmp_path / "k.json").write_text(json.dumps(values.tolist()))
    for name in ("k.npy", "k.json"):
        assert_array_equal(parse_kernel(f"@{tmp_path / name}", axes=3).arrays[0], values)


def test_an_image_is_a_kernel_for_who_can_read_it():
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    kernel = parse_kernel("@k.png", read_image={"k.png": pixels}.__getitem__)
    assert_array_equal(kernel.arrays[0], pixels)
    with pytest.raises(ImgtoolError, match=r"k\.png: must hold real numbers in two or three"):
        parse_kernel("@k.png", read_image=lambda _: np.ones((2, 2), complex))
    with pytest.raises(ImgtoolError, match=r"folder: a kernel file must be one of .* or an image"):
        parse_kernel("@folder", read_image={}.__getitem__)


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(-1e300, 1e300)))
def test_a_kernel_written_as_text_is_read_as_the_same(values):
    assert_array_equal(array(kernels.text(values)), values)
    assert_array_equal(array(kernels.text(values, ", ")), values)


def test_a_picture_shows_signs_and_sizes():
    drawn = kernels.picture((np.array([[0.0, 2.0, -2.0, 1.0]]),))
    assert drawn.dtype == np.uint8
    assert max(drawn.shape[:2]) >= 256
    cell = (drawn.shape[1] - 16) // 4
    zero, most, least, half = (drawn[drawn.shape[0] // 2, 8 + cell * i + cell // 2].astype(int) for i in range(4))
    assert zero[0] == zero[1] == zero[2]
    assert most[0] > zero[0] > least[0]
    assert least[2] > most[2]
    assert_allclose(half, (zero + most) / 2, atol=1)
    two = kernels.picture(parse_kernel("sobel").arrays)
    assert two.shape[1] > two.shape[0] * 1.8
    assert len(np.unique(kernels.picture((np.zeros((3, 3)),)))) == 3  # paper, lines and zero


def test_one_row_may_come_as_a_flat_list(tmp_path):
    (tmp_path / "k.json").write_text("[1, 2, 1]")
    assert_array_equal(array(f"@{tmp_path / 'k.json'}"), [[1, 2, 1]])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k.txt", b"", "has no numbers in it"),
        ("k.txt", b"1 2\n3\n", "row 2 is 1 long where row 1 is 2 long"),
        ("k.txt", b"\xff\xfe1 2", "not text in UTF-8"),
        ("k.csv", b"0;1;0\n1;2;1\n", "row 1, column 1 is '0;1;0', not a number"),
        ("k.json", b"[[1, 2], [3]]", "row 2 is 1 long where row 1 is 2 long"),
        ("k.json", b"[[1, 2], 3]", "must hold a list of rows"),
        ("k.json", b'{"a": 1}', "must hold a list of rows"),
        ("k.json", b"[[[[1]]]]", "plane 1: row 1, column 1 is [1], not a number"),
        ("k.json", b"[[[1], 2]]", "row 1, column 1 is [1], not a number"),
        ("k.json", b"[[[1]], [[1, 2]]]", "plane 2 has another size than plane 1"),
        ("k.json", b"[[1, true]]", "row 1, column 2 is true, not a number"),
        ("k.json", b"[[1, NaN]]", "row 1, column 2 is not finite"),
        ("k.json", b"[[1, 1" + b"0" * 400 + b"]]", "row 1, column 2 is not finite"),
        ("k.json", b"[[1" + b"0" * 5000 + b"]]", "not a kernel that can be read"),
        ("k.json", b"[]", "has no numbers in it"),
        ("k.json", b"[[1, 2]", "not JSON (line 1:"),
        ("k.json", b"[" * 200_000, "not lists nested without end"),
        ("k.mat", b"", "must begin with width, height"),
        ("k.mat", b"3\n1 2 3\n", "must begin with width, height and perhaps scale and offset, not '3'"),
        ("k.mat", b"1 1 1 1 1\n1\n", "must begin with width, height"),
        ("k.mat", b"x 1\n1\n", "must begin with width, height"),
        ("k.mat", b"2 1 0\n1 2\n", "the scale, by which its numbers are divided, is 0"),
        ("k.mat", b"2 2\n1 2\n", "holds 2 x 1 numbers where its first line says 2 x 2"),
        ("k.mat", b"2 1 1e-300\n1e300 2\n", "row 1, column 1 is not finite"),
        ("k.mat", b"MATLAB 5.0 MAT-file", "a MATLAB file, not a libvips matrix"),
        ("k.npy", b"\x93NUMPY", "not a kernel that can be read"),
        ("k.npy", b"", "not a kernel that can be read"),
        ("k.png", b"", "a kernel file must be one of .txt, .csv, .json, .npy"),
    ],
)
def test_damaged_kernel_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImgtoolError) as caught:
        parse_kernel(f"@{path}")
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 2, 2, 2)), "two or three dimensions"),
        (np.ones((2, 2, 2)), "3 axes where the images are filtered along 2"),
        (np.full((2, 2, 2), np.nan), "plane 1, row 1, column 1 is not finite"),
        (np.ones((2, 2), complex), "real numbers"),
        (np.array([["a"]]), "real numbers"),
        (np.array(3.0), "two or three dimensions"),
        (np.ones((0, 3)), "has no numbers in it"),
        (np.array([[1, np.nan]]), "row 1, column 2 is not finite"),
        (np.ones(kernels.MAX_TAPS + 1, np.uint8), "more than the limit"),
    ],
)
def test_an_npy_file_with_something_else_is_refused(tmp_path, values, message):
    np.save(tmp_path / "k.npy", values)
    with pytest.raises(ImgtoolError, match=message):
        parse_kernel(f"@{tmp_path / 'k.npy'}")


def test_a_pickled_npy_file_is_never_loaded(tmp_path):
    np.save(tmp_path / "k.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ImgtoolError, match="not a kernel that can be read"):
        parse_kernel(f"@{tmp_path / 'k.npy'}")


def test_missing_and_odd_kernel_files_are_named(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(2**27)
    for name, message in [
        ("none.txt", "no such kernel file"),
        ("folder.txt", "not a regular file"),
        ("huge.txt", "may have 67108864 bytes at most"),
        ("x" * 300 + ".txt", "File name too long"),
    ]:
        with pytest.raises(ImgtoolError, match=f"{name}: .*{message}"):
            parse_kernel(f"@{tmp_path / name}")
