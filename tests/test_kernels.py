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
from scipy import ndimage

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
        ("zzz", "no kernel named 'zzz'; known are binomial, box, gaussian, identity"),
        ("nan", "no kernel named 'nan'"),
        ("gaussian:sigma=0", "kernel gaussian: sigma must be a number above 0, not '0'"),
        ("gaussian:sigma=-1", "sigma must be a number above 0, not '-1'"),
        ("gaussian:sigma=nan", "sigma must be a number above 0, not 'nan'"),
        ("gaussian:sigma=1e999", "sigma must be a number above 0, not '1e999'"),
        ("gaussian:", "kernel gaussian: sigma must be a number above 0, not ''"),
        ("gaussian:width=2", "kernel gaussian has no argument 'width=2'; it takes sigma and truncate"),
        ("gaussian:2,3", "kernel gaussian has no argument '3'"),
        ("gaussian:2,sigma=3", "kernel gaussian is given sigma twice"),
        ("gaussian:sigma=200", "kernel gaussian: 2563201 numbers are more than the limit of 1048576"),
        ("gaussian:sigma=1e300", "more than the limit"),
        ("box:2000", "kernel box: 4000000 numbers are more than the limit of 1048576"),
        ("box:999999999x999999999", "more than the limit"),
        ("box:0", "kernel box: size must be a whole number such as 3, or WIDTHxHEIGHT such as 5x3, not '0'"),
        ("box:3x", "size must be a whole number"),
        ("box:1x2x3", "size must be a whole number"),
        ("box:" + "9" * 5000, "size must be a whole number"),
        ("binomial:64", "a whole number from 1 to 63, not '64'"),
        ("sobel:z", "kernel sobel: direction must be x, y or magnitude, not 'z'"),
        ("laplacian:5", "neighbours must be 4 or 8, not '5'"),
        ("@", "@: a kernel file must be one of .txt, .csv, .json, .npy"),
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
        ("k.json", b"[[[1]]]", "row 1, column 1 is [1], not a number"),
        ("k.json", b"[[1, true]]", "row 1, column 2 is true, not a number"),
        ("k.json", b"[[1, NaN]]", "row 1, column 2 is not finite"),
        ("k.json", b"[[1, 1" + b"0" * 400 + b"]]", "row 1, column 2 is not finite"),
        ("k.json", b"[[1" + b"0" * 5000 + b"]]", "not a kernel that can be read"),
        ("k.json", b"[]", "has no numbers in it"),
        ("k.json", b"[[1, 2]", "not JSON (line 1:"),
        ("k.json", b"[" * 200_000, "not lists nested without end"),
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
        (np.ones((2, 2, 2)), "two dimensions"),
        (np.ones((2, 2), complex), "real numbers"),
        (np.array([["a"]]), "real numbers"),
        (np.array(3.0), "two dimensions"),
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
