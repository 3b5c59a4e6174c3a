"""OME-Zarr folders through the command line: images, not folders of images."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from imgtool import io
from imgtool.io.transforms import write_transform
from imgtool.transforms import MatrixTransform

zarr = pytest.importorskip("zarr", reason="OME-Zarr needs the extra zarr")


@pytest.fixture
def stack(tmp_path):
    """Three planes in the folder in/deep/a.ome.zarr, beside in/b.tif."""
    data = np.random.default_rng(0).integers(0, 99, (3, 20, 30)).astype(np.uint16)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    io.write(tmp_path / "in" / "deep" / "a.ome.zarr", io.Image(data))
    io.write(tmp_path / "in" / "b.tif", io.Image(data[0]))
    return data


def test_a_folder_is_an_image_wherever_images_are_looked_for(call, tmp_path, stack):
    result = call("convolve", "-r", "in", "-k", "identity", "-O", "out")
    assert result.exit_code == 0, result.stderr
    assert_array_equal(io.read(tmp_path / "out/in/deep/a.ome.zarr").data, stack)
    assert sorted(path.name for path in (tmp_path / "out/in/deep").iterdir()) == ["a.ome.zarr"]
    told = call("info", "in/deep/a.ome.zarr/").stdout
    assert "OME-Zarr, 30 x 20, gray, uint16, 3 pages; OME-Zarr (z=3)" in told


def test_a_folder_is_replaced_as_a_file_is(call, tmp_path, stack):
    words = ("convolve", "in/deep/a.ome.zarr", "-k", "box:size=3", "-o", "out.zarr/")
    assert call(*words).exit_code == 0
    once = io.read(tmp_path / "out.zarr").data
    again = call(*words)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    made = (tmp_path / "out.zarr").stat().st_ino
    assert call(*words, "--exists", "skip").exit_code == 0
    assert (tmp_path / "out.zarr").stat().st_ino == made
    assert call("convolve", "out.zarr", "-k", "box:size=3", "--in-place").exit_code == 0
    assert io.read(tmp_path / "out.zarr").data.std() < once.std()
    assert call(*words, "--exists", "overwrite").exit_code == 0
    assert_array_equal(io.read(tmp_path / "out.zarr").data, once)
    assert call("convolve", "out.zarr/", "-k", "box:size=3", "-o", "out.zarr", "--exists", "overwrite").exit_code == 2


def test_a_folder_does_not_go_to_standard_output(call, stack):
    result = call("convolve", "in/b.tif", "-k", "identity", "-o", "-", "--format", "zarr")
    assert (result.exit_code, "folders, which standard output cannot hold" in result.stderr) == (1, True)


def test_planes_of_a_folder_are_warped(call, tmp_path, stack):
    shift = MatrixTransform([[1, 0, 2], [0, 1, 1], [0, 0, 1]], "translation", (20, 30), (20, 30))
    write_transform(tmp_path / "shift.json", shift)
    result = call("warp", "in/deep/a.ome.zarr", "-t", "shift.json", "-o", "moved.zarr", "--interpolation", "nearest")
    assert result.exit_code == 0, result.stderr
    assert_array_equal(io.read(tmp_path / "moved.zarr").data[:, :-1, :-2], stack[:, 1:, 2:])
