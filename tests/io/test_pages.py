"""Stacks page by page, in and out."""

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image


def stack(shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


def collected(path, **limits):
    with io.open_pages(path, **limits) as pages:
        return [pages[number] for number in range(len(pages))]


@pytest.mark.parametrize(
    ("name", "shape", "channel_axis"),
    [
        ("a.tif", (4, 9, 7), None),
        ("a.tif", (3, 9, 7, 3), -1),
        ("a.tif", (3, 9, 7, 4), -1),
        ("a.npy", (4, 9, 7), None),
        ("a.npy", (2, 9, 7, 3), -1),
        ("a.npz", (4, 9, 7), None),
        ("a.npz", (9, 7, 3), -1),
        ("a.tif", (9, 7), None),
        ("a.npy", (9, 7, 3), -1),
        ("a.png", (9, 7, 3), -1),
    ],
)
def test_pages_are_those_that_reading_gives(tmp_path, name, shape, channel_axis):
    image = Image(stack(shape), channel_axis, {"resolution": (3.0, 4.0, "cm")})
    io.write(tmp_path / name, image)
    whole = io.read(tmp_path / name)
    pages = collected(tmp_path / name)
    assert [page.channel_axis for page in pages] == [channel_axis] * len(whole.pages)
    assert [page.metadata for page in pages] == [whole.metadata] * len(pages)
    assert_array_equal([page.data for page in pages], whole.pages)


def test_one_page_can_be_asked_for_again(tmp_path):
    io.write(tmp_path / "a.tif", Image(stack((4, 9, 7))))
    with io.open_pages(tmp_path / "a.tif") as pages:
        assert_array_equal(pages[2].data, pages[2].data)
        assert_array_equal(pages[0].data, stack((4, 9, 7))[0])
        with pytest.raises(IndexError, match="page 4 of 4"):
            pages[4]


def test_pages_that_lie_behind_one_another_without_a_directory_are_found(tmp_path):
    data = stack((5, 9, 7))
    tifffile.imwrite(tmp_path / "shaped.tif", data, metadata={"axes": "ZYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "volume.tif", data, volumetric=True, photometric="minisblack", tile=(1, 16, 16))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(data))
    for name in ("shaped.tif", "volume.tif", "fortran.npy"):
        assert_array_equal([page.data for page in collected(tmp_path / name)], data)


def test_pages_of_a_large_stack_of_imagej_are_read_singly(tmp_path):
    # More than 4 GiB are one directory, and a note of how many pages lie behind it.
    data = stack((5, 9, 7))
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, byteorder=">", metadata={"axes": "ZYX"})
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        link = page.offset + 2 + 12 * len(page.tags)
        end = page.dataoffsets[0] + data.nbytes
    content[link : link + 4] = bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    with io.open_pages(tmp_path / "a.tif") as pages:
        assert len(pages) == 5
        assert_array_equal([pages[number].data for number in (3, 0, 4)], data[[3, 0, 4]])
        assert pages._all is None
    (tmp_path / "a.tif").write_bytes(content[: end - 1])
    with pytest.raises(ImgtoolError, match="cut off"):
        io.probe(tmp_path / "a.tif")


def test_the_limit_of_pixels_is_that_of_a_page(tmp_path):
    io.write(tmp_path / "a.tif", Image(stack((4, 9, 7))))
    assert len(collected(tmp_path / "a.tif", max_pixels=63)) == 4
    with pytest.raises(ImgtoolError, match=r"a\.tif: 7 x 9 is 63 pixels and the limit is 62; raise it"):
        collected(tmp_path / "a.tif", max_pixels=62)


def test_a_damaged_page_is_named_when_it_is_taken(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", stack((3, 64, 64)), compression="zlib", photometric="minisblack")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start, size = file.pages[1].dataoffsets[0], file.pages[1].databytecounts[0]
    content[start : start + size] = b"\xff" * size
    (tmp_path / "a.tif").write_bytes(content)
    with io.open_pages(tmp_path / "a.tif") as pages:
        assert_array_equal(pages[2].data, stack((3, 64, 64))[2])
        with pytest.raises(ImgtoolError, match=r"a\.tif: the image is damaged or cut off"):
            pages[1]


@pytest.mark.parametrize(
    ("name", "shape", "channel_axis"),
    [
        ("b.tif", (4, 9, 7), None),
        ("b.tif", (3, 9, 7, 4), -1),
        ("b.npy", (4, 9, 7), None),
        ("b.npy", (2, 9, 7, 3), -1),
        ("b.npz", (2, 9, 7, 3), -1),
    ],
)
def test_pages_written_one_by_one_are_the_image_written_at_once(tmp_path, name, shape, channel_axis):
    data, metadata = stack(shape), {"resolution": (3.0, 4.0, "cm"), "description": "cells", "icc_profile": b"profile"}
    with io.page_writer(tmp_path / name, Image(data[0], channel_axis, metadata), len(data)) as append:
        for page in data:
            append(page[::-1][::-1])
    io.write(tmp_path / f"whole-{name}", Image(data, channel_axis, metadata))
    one, whole = io.read(tmp_path / name), io.read(tmp_path / f"whole-{name}")
    assert_array_equal(one.data, whole.data)
    assert (one.channel_axis, one.metadata) == (whole.channel_axis, whole.metadata)


def test_an_error_on_the_way_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), io.page_writer(tmp_path / "b.tif", Image(stack((9, 7))), 3) as append:
        append(stack((9, 7)))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_holds_no_pages_is_refused_before(tmp_path):
    with (
        pytest.raises(ImgtoolError, match=r"b\.png: PNG cannot hold 3 pages; use \.tif or \.npy"),
        io.page_writer(tmp_path / "b.png", Image(stack((9, 7))), 3),
    ):
        pass
    with (
        pytest.raises(ImgtoolError, match=r"pages and channels of shape .* would be mistaken"),
        io.page_writer(tmp_path / "b.npy", Image(stack((9, 3))), 3),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
