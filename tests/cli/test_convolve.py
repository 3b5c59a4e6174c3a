"""imgtool convolve: what ends up in the file."""

import json

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


def convolved(call, tmp_path, array, *words):
    """What a command line makes of an array."""
    np.save(tmp_path / "in.npy", array)
    result = call("convolve", "in.npy", *words, "-o", "out.npy", "--exists", "overwrite")
    assert result.exit_code == 0, result.stderr
    return np.load(tmp_path / "out.npy")


def test_a_row_may_be_valid_same_or_full(call, tmp_path):
    row, kernel = np.array([[1, 2, 3, 5]]), ("-k", "1 10 100", "--border", "zero")
    for shape in ("same", "valid", "full"):
        expected = [np.convolve(row[0], [1, 10, 100], shape)]
        assert_array_equal(convolved(call, tmp_path, row, *kernel, "--shape", shape), expected)


def test_another_place_of_the_kernel_may_lie_on_the_pixel(call, tmp_path):
    row = np.array([[1, 2, 3, 5]])
    assert convolved(call, tmp_path, row, "-k", "1 0 0", "--anchor", "0,0").tolist() == [[1, 2, 3, 5]]
    assert convolved(call, tmp_path, row, "-k", "1 0 0", "--anchor", "0, 2", "--border", "wrap").tolist() == [
        [3, 5, 1, 2]
    ]


def test_scale_and_bias_are_applied_before_rounding(call, tmp_path):
    row = np.array([[9, 18, 27]], np.uint8)
    assert convolved(call, tmp_path, row, "-k", "1", "--scale", "1/9").tolist() == [[1, 2, 3]]
    assert convolved(call, tmp_path, row, "-k", "1", "--scale", "-1/9", "--bias", "128.5").tolist() == [[128, 126, 126]]
    assert convolved(call, tmp_path, row, "-k", "2", "--normalize", "--scale", "3").tolist() == [[27, 54, 81]]


def test_the_offset_of_a_libvips_matrix_is_the_bias_unless_one_is_given(call, tmp_path):
    (tmp_path / "k.mat").write_text("1 1 2 100\n4\n")
    assert convolved(call, tmp_path, np.array([[3, 5]]), "-k", "@k.mat").tolist() == [[106, 110]]
    assert convolved(call, tmp_path, np.array([[3, 5]]), "-k", "@k.mat", "--bias", "1").tolist() == [[7, 11]]


def test_renormalize_makes_up_for_what_falls_outside(call, tmp_path):
    row = np.array([[2.0, 4, 9]])
    result = convolved(call, tmp_path, row, "-k", "box:3x1", "--border", "renormalize")
    assert_allclose(result, [[3, 5, 6.5]])


def test_a_mask_and_nan_are_left_out(call, tmp_path):
    iio.imwrite(tmp_path / "mask.png", np.array([[255, 0, 1, 1]], np.uint8))
    row = np.array([[1.0, 50, 3, np.nan]])
    words = ("-k", "box:3x1", "--mask", "mask.png", "--border", "renormalize")
    assert_allclose(convolved(call, tmp_path, row, *words, "--nan", "ignore"), [[1, 2, 3, 3]])
    assert_array_equal(np.isnan(convolved(call, tmp_path, row, *words)), [[False, False, True, True]])


def test_linear_light_is_brighter_than_the_mean_of_srgb(call, tmp_path):
    row = np.array([[0, 0, 255, 255]], np.uint8)
    words = ("-k", "1/2 1/2", "--border", "nearest")
    assert convolved(call, tmp_path, row, *words).tolist() == [[0, 0, 128, 255]]
    assert convolved(call, tmp_path, row, *words, "--linear").tolist() == [[0, 0, 188, 255]]


@pytest.mark.parametrize("method", ["direct", "separable", "fft"])
def test_every_method_gives_the_same_picture(call, picture, tmp_path, method):
    picture("a.png")
    assert call("convolve", "a.png", "-k", "binomial:9", "-o", "auto.png").exit_code == 0
    assert call("convolve", "a.png", "-k", "binomial:9", "--method", method, "-o", "b.png").exit_code == 0
    difference = iio.imread(tmp_path / "auto.png").astype(int) - iio.imread(tmp_path / "b.png")
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) < 5


def test_explain_says_what_was_chosen_and_why(call, picture):
    picture("a.png")
    result = call("convolve", "a.png", "-k", "box:5x3", "--scale", "3", "-o", "b.png", "--explain", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    result = call("convolve", "a.png", "-k", "box:5x3", "--scale", "3", "-o", "c.png", "--explain")
    assert result.stderr.startswith("a.png: ")
    assert "5x3, sum 3, rank 1; " in result.stderr
    assert "million operations" in result.stderr
    result = call("convolve", "a.png", "-k", "sobel", "-o", "d.png", "--explain", "--json", "--method", "direct")
    found = json.loads(result.stdout)["explain"]
    assert found["method"] == "direct"
    assert found["kernels"] == 2
    assert found["kernel"] == [3, 3]
    assert found["flops"] == 2 * 2 * 9 * 48 * 40
    assert found["memory"] > 2 * 8 * 48 * 40
    assert "million" not in result.stderr


def test_a_stack_may_be_filtered_as_a_volume(call, tmp_path):
    pages = np.random.default_rng(6).integers(0, 999, (4, 9, 8)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    words = ("convolve", "a.tif", "--axes", "zyx")
    assert call(*words, "-k", "gaussian:0.7", "-o", "b.tif").exit_code == 0
    expected = np.rint(ndimage.gaussian_filter(pages.astype(float), 0.7))
    assert_allclose(io.read(tmp_path / "b.tif").data.astype(float), expected, atol=1)
    assert call(*words, "-k", "box:1x1x2", "--shape", "valid", "--dtype", "float64", "-o", "c.tif").exit_code == 0
    assert_allclose(io.read(tmp_path / "c.tif").data, (pages[1:] + pages[:-1].astype(float)) / 2)
    assert call(*words, "-k", "box:1x1x4", "--shape", "valid", "--dtype", "float64", "-o", "d.tif").exit_code == 0
    assert_allclose(io.read(tmp_path / "d.tif").data, pages.mean(0))


def test_volumes_of_colours_with_alpha(call, tmp_path):
    pages = np.random.default_rng(7).integers(0, 255, (3, 5, 6, 4)).astype(np.uint8)
    pages[..., 3] = 255
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="rgb", extrasamples=["unassalpha"])
    assert call("convolve", "a.tif", "--axes", "zyx", "-k", "binomial", "-o", "b.tif").exit_code == 0
    (kernel,) = parse_kernel("binomial", axes=3).arrays
    result = io.read(tmp_path / "b.tif").data
    assert_array_equal(result[..., :3], filters.convolve(pages[..., :3], kernel, channel_axis=-1))
    assert (result[..., 3] == 255).all()


def test_complex_arrays_have_channels_but_no_alpha(call, tmp_path):
    values = np.random.default_rng(1).random((5, 6, 4)) * (1 + 2j)
    expected = filters.convolve(values, np.full((3, 3), 1 / 9), channel_axis=-1)
    assert_allclose(convolved(call, tmp_path, values, "-k", "box"), expected)


def test_a_gray_image_is_a_kernel(call, tmp_path):
    iio.imwrite(tmp_path / "k.png", np.array([[1, 3]], np.uint8))
    assert_array_equal(convolved(call, tmp_path, np.array([[4.0, 8]]), "-k", "@k.png", "--normalize"), [[4, 5]])


def test_kirsch_takes_the_largest_of_eight(call, picture, tmp_path):
    image = picture("a.npy", dtype=np.float64)
    assert call("convolve", "a.npy", "-k", "kirsch", "-o", "b.npy").exit_code == 0
    answers = [ndimage.convolve(image, each) for each in parse_kernel("kirsch").arrays]
    assert_allclose(np.load(tmp_path / "b.npy"), np.max(answers, axis=0), atol=1e-10)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cval", "1"], "--cval is the value of --border constant; it has no effect with --border reflect"),
        (["--border", "zero", "--cval", "1"], "it has no effect with --border zero"),
        (["--border", "constant", "--shape", "valid", "--cval", "1"], "--cval has no effect with --shape valid"),
        (
            ["--shape", "full", "--anchor", "0,0"],
            "--anchor moves the kernel on the image; it has no meaning with --shape",
        ),
        (["--anchor", "3,0"], "'--anchor': 3,0 lies outside the kernel, whose last place is 2,2"),
        (["--anchor", "1"], "'--anchor': 1 lies outside the kernel"),
        (["--anchor", "1,-1"], "'--anchor': '1,-1' is no place in a kernel"),
        (["--scale", "1/0"], "'--scale': '1/0' is no number such as 2, -0.5, 1e-3 or 1/9"),
        (["--scale", "inf"], "'--scale': 'inf' is no number"),
        (["--bias", "much"], "'--bias': 'much' is no number"),
        (["--nan", "drop"], "'--nan'"),
        (["--shape", "half"], "'--shape'"),
        (["--axes", "xyz"], "'--axes'"),
        (["--axes", "zyx", "-k", "1 2 1"], "kernel '1 2 1' has 2 axes where the images are filtered along 3"),
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
