"""imgtool convolve: what ends up in the file."""

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from imgtool import filters, io
from imgtool.kernels import parse_kernel


def test_the_result_is_that_of_the_library(call, picture, tmp_path):
    image = picture("a.png")
    assert call("convolve", "a.png", "-k", "gaussian:sigma=1.5", "-o", "b.png").exit_code == 0
    expected = filters.convolve(image, parse_kernel("gaussian:1.5").arrays[0])
    assert_array_equal(iio.imread(tmp_path / "b.png"), expected)
    assert_allclose(expected.astype(float), ndimage.gaussian_filter(image.astype(float), 1.5), atol=0.5 + 1e-6)


def test_integers_are_rounded_and_saturated_and_it_is_said(call, tmp_path):
    iio.imwrite(tmp_path / "a.png", np.array([[1, 2, 200, 3]], np.uint8))
    result = call("convolve", "a.png", "-k", "1 1 1/2", "--border", "constant", "-o", "b.png")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ""
    assert iio.imread(tmp_path / "b.png").tolist() == [[3, 202, 204, 103]]  # 202.5 is halfway: to even
    result = call("convolve", "a.png", "-k", "2", "-o", "c.png")
    assert result.stderr == "a.png: 1 value saturated at uint8; use --dtype float32 to keep them\n"
    assert iio.imread(tmp_path / "c.png").tolist() == [[2, 4, 255, 6]]


def test_dtype_keeps_what_would_be_cut(call, tmp_path):
    iio.imwrite(tmp_path / "a.png", np.array([[1, 2, 200]], np.uint8))
    for dtype in ("int16", "float32", "float64"):
        result = call("convolve", "a.png", "-k", "-2", "--dtype", dtype, "-o", f"{dtype}.npy")
        assert (result.exit_code, result.stderr) == (0, "")
        written = np.load(tmp_path / f"{dtype}.npy")
        assert written.dtype == dtype
        assert written.tolist() == [[-2, -4, -400]]


def test_a_kernel_that_begins_with_a_minus_is_a_value(call, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 5, 2]]))
    assert call("convolve", "a.npy", "-k", "-1 0 1", "--border", "constant", "-o", "b.npy").exit_code == 0
    assert np.load(tmp_path / "b.npy").tolist() == [[-5, -1, 5]]


def test_correlate_leaves_the_kernel_unflipped(call, tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 5, 2]]))
    words = ("convolve", "a.npy", "-k", "sobel:x")
    assert call(*words, "-o", "b.npy").exit_code == call(*words, "--correlate", "-o", "c.npy").exit_code == 0
    assert_array_equal(np.load(tmp_path / "b.npy"), -np.load(tmp_path / "c.npy"))
    assert np.load(tmp_path / "b.npy")[0, 0] > 0  # brighter to the right


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], [3, 4, 7, 8]),
        (["--border", "symmetric"], [3, 4, 7, 8]),
        (["--border", "mirror"], [4, 4, 7, 6]),
        (["--border", "edge"], [3, 4, 7, 8]),
        (["--border", "wrap"], [7, 4, 7, 4]),
        (["--border", "constant"], [2, 4, 7, 3]),
        (["--border", "zero"], [2, 4, 7, 3]),
        (["--border", "constant", "--cval", "7"], [9, 4, 7, 10]),
    ],
)
def test_borders(call, tmp_path, options, expected):
    np.save(tmp_path / "a.npy", np.array([[1, 2, 3, 5]]))
    call("convolve", "a.npy", "-k", "1 0 1", *options, "-o", "b.npy")
    assert np.load(tmp_path / "b.npy").tolist() == [expected]


def test_normalize_makes_the_sum_1(call, tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 3), 8.0))
    assert call("convolve", "a.npy", "-k", "1 2 1; 2 4 2; 1 2 1", "--normalize", "-o", "b.npy").exit_code == 0
    assert_array_equal(np.load(tmp_path / "b.npy"), np.full((3, 3), 8.0))


def test_magnitude_is_the_root_of_the_sum_of_squares(call, picture, tmp_path):
    image = picture("a.npy", dtype=np.float64)
    call("convolve", "a.npy", "-k", "sobel", "-o", "b.npy")
    assert_allclose(np.load(tmp_path / "b.npy"), np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1)), atol=1e-12)


def test_pages_are_filtered_one_by_one(call, picture, tmp_path):
    pages = np.stack([picture("x.npy", shift=(n, 0), dtype=np.uint16) for n in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    assert call("convolve", "a.tif", "-k", "box:5", "-o", "b.tif").exit_code == 0
    expected = [filters.convolve(page, np.full((5, 5), 1 / 25)) for page in pages]
    assert_array_equal(io.read(tmp_path / "b.tif").data, expected)


def test_colours_are_weighted_by_alpha(call, tmp_path):
    image = np.zeros((9, 9, 4), np.uint8)
    image[:, :4] = (200, 100, 50, 255)
    image[:, 4:] = (0, 255, 0, 0)  # invisible green
    iio.imwrite(tmp_path / "a.png", image)
    assert call("convolve", "a.png", "-k", "box", "-o", "b.png").exit_code == 0
    result = iio.imread(tmp_path / "b.png")
    assert result[4, 4].tolist() == [200, 100, 50, 85]


def test_metadata_is_kept(call, tmp_path):
    picture = io.Image(np.zeros((4, 4), np.uint8), None, {"resolution": (300.0, 300.0, "inch")})
    io.write(tmp_path / "a.tif", picture)
    assert call("convolve", "a.tif", "-k", "box", "-o", "b.tif").exit_code == 0
    assert io.read(tmp_path / "b.tif").metadata["resolution"] == (300.0, 300.0, "inch")


def test_a_kernel_file_is_read(call, picture, tmp_path):
    image = picture("a.png")
    (tmp_path / "identity.csv").write_text("0,0,0\n0,1,0\n0,0,0\n")
    assert call("convolve", "a.png", "-k", "@identity.csv", "-o", "b.png").exit_code == 0
    assert_array_equal(iio.imread(tmp_path / "b.png"), image)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cval", "1"], "--cval is the value of --border constant; it has no effect with --border reflect"),
        (["--border", "zero", "--cval", "1"], "it has no effect with --border zero"),
        (["--dtype", "uint9"], "'--dtype'"),
        (["--dtype", "object"], "'--dtype'"),
        (["--border", "Wrap"], "'Wrap' is unknown; did you mean wrap?"),
    ],
)
def test_options_without_sense_are_refused(call, picture, files, options, sentence):
    picture("a.png")
    result = call("convolve", "a.png", "-k", "box", *options, "-o", "b.png")
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert files() == ["a.png"]
