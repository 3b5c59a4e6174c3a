"""NIfTI volumes: planes as pages, with the header that they came with."""

import gzip
import json
import struct

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import Image
from imgtool.io.summary import summary

AFFINE = (-2.0, 0.1, 0.0, 30.0, 0.0, 2.5, -0.2, -40.0, 0.0, 0.3, 3.0, -16.0)


def nifti(data, code, *, order="<", slope=1.0, intercept=0.0, extension=b"", version=1):
    """A file of `data`, whose axes are (..., z, y, x), made without the code under test."""
    sizes = data.shape[::-1]
    dim = (len(sizes), *sizes, *(1,) * (7 - len(sizes)))
    size = 348 if version == 1 else 540
    head = bytearray(size + 4)
    offset = len(head) + len(extension)
    struct.pack_into(f"{order}i", head, 0, size)
    if version == 1:
        struct.pack_into(f"{order}8h", head, 40, *dim)
        struct.pack_into(f"{order}2h", head, 70, code, data.dtype.itemsize * 8)
        struct.pack_into(f"{order}8f", head, 76, 1, 2, 2.5, 3, 1, 1, 1, 1)
        struct.pack_into(f"{order}3f", head, 108, offset, slope, intercept)
        head[123] = 2
        struct.pack_into(f"{order}h", head, 254, 1)
        struct.pack_into(f"{order}12f", head, 280, *AFFINE)
        head[344:348] = b"n+1\0"
    else:
        head[4:12] = b"n+2\0\r\n\x1a\n"
        struct.pack_into(f"{order}2h8q", head, 12, code, data.dtype.itemsize * 8, *dim)
        struct.pack_into(f"{order}8d", head, 104, 1, 2, 2.5, 3, 1, 1, 1, 1)
        struct.pack_into(f"{order}q2d", head, 168, offset, slope, intercept)
        struct.pack_into(f"{order}i", head, 500, 2)
    if extension:
        head[size] = 1
    return bytes(head) + extension + data.astype(data.dtype.newbyteorder(order)).tobytes()


def numbers(shape=(4, 5, 6), dtype="int16"):
    return np.random.default_rng(0).integers(0, 999, shape).astype(dtype)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_volume_comes_back_with_its_header(tmp_path, name, order, version):
    data = numbers()
    content = nifti(data, 4, order=order, version=version, extension=struct.pack(f"{order}2i", 16, 6) + b"a note\0\0")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    image = io.read(tmp_path / name)
    assert_array_equal(image.data, data, strict=True)
    info = io.probe(tmp_path / name)
    assert (info.format, info.shape, info.dtype, info.pages) == ("NIfTI", data.shape, data.dtype, 4)
    io.write(tmp_path / f"b-{name}", image)
    again = (tmp_path / f"b-{name}").read_bytes()
    assert (gzip.decompress(again) if name.endswith("gz") else again) == content


def test_values_of_another_type_change_the_header_no_more_than_they_must(tmp_path):
    (tmp_path / "a.nii").write_bytes(nifti(numbers(), 4))
    image = io.read(tmp_path / "a.nii")
    io.write(tmp_path / "b.nii", Image(image.data.astype(np.float32) / 2, None, image.metadata))
    head = (tmp_path / "b.nii").read_bytes()[:352]
    assert struct.unpack_from("<2h", head, 70) == (16, 32)
    assert struct.unpack_from("<12f", head, 280) == pytest.approx(AFFINE)
    same = bytearray(head)
    same[70:74] = (tmp_path / "a.nii").read_bytes()[70:74]
    assert bytes(same) == (tmp_path / "a.nii").read_bytes()[:352]
    assert_array_equal(io.read(tmp_path / "b.nii").data, image.data / np.float32(2))


def test_scaled_values_are_what_they_mean(tmp_path):
    data = numbers()
    (tmp_path / "a.nii").write_bytes(nifti(data, 4, slope=0.5, intercept=-7.0))
    image = io.read(tmp_path / "a.nii")
    assert image.data.dtype == np.float32
    assert_allclose(image.data, data * 0.5 - 7)
    io.write(tmp_path / "b.nii", image)
    assert_array_equal(io.read(tmp_path / "b.nii").data, image.data, strict=True)
    for slope, intercept in ((0.0, 5.0), (np.nan, 1.0)):
        (tmp_path / "a.nii").write_bytes(nifti(data, 4, slope=slope, intercept=intercept))
        assert_array_equal(io.read(tmp_path / "a.nii").data, data, strict=True)


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5, 6), (1, 4, 5, 6), (1, 5, 6)])
def test_planes_of_all_volumes_are_pages(tmp_path, shape):
    data = numbers(shape)
    (tmp_path / "a.nii").write_bytes(nifti(data, 4))
    pages = data.reshape(-1, 5, 6)
    with io.open_pages(tmp_path / "a.nii") as found:
        assert found.info.volumes == (shape[0] if len(shape) == 4 else 1)
        assert_array_equal([page.data for page in found], pages)
    image = io.read(tmp_path / "a.nii")
    assert_array_equal(image.data, pages.squeeze())
    io.write(tmp_path / "b.nii", image)
    assert (tmp_path / "b.nii").read_bytes() == (tmp_path / "a.nii").read_bytes()


def test_a_volume_from_elsewhere_gets_a_header(tmp_path):
    for name, shape, axis in (("a.nii", (4, 5, 6), None), ("b.nii.gz", (4, 5, 6, 3), -1), ("c.nii", (5, 6), None)):
        data = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        io.write(tmp_path / name, Image(data, axis))
        back = io.read(tmp_path / name)
        assert_array_equal(back.data, data, strict=True)
        assert back.channel_axis == axis
    image = io.read(tmp_path / "a.nii")
    assert summary(image.metadata)["nifti"] == {
        "axes": {"Z": 4, "Y": 5, "X": 6},
        "pixel_size": {"x": (1.0, "mm"), "y": (1.0, "mm"), "z": (1.0, "mm")},
    }
    fewer = Image(image.data[1:], None, image.metadata)
    assert io.unkept("d.nii", fewer) == "the NIfTI header"
    io.write(tmp_path / "d.nii", fewer)
    assert io.read(tmp_path / "d.nii").data.shape == (3, 5, 6)
    with pytest.raises(ImgtoolError, match=r"NIfTI cannot hold float16 gray"):
        io.write(tmp_path / "e.nii", Image(np.zeros((4, 5), np.float16)))


def test_what_is_no_volume_is_refused_in_a_sentence(tmp_path):
    whole = nifti(numbers(), 4)
    odd = {
        "cut off": whole[:-1],
        "begin nowhere": whole[:108] + struct.pack("<f", 10.0) + whole[112:],
        "type 1536": nifti(numbers(), 1536),
        "5 axes": nifti(numbers((1, 1, 4, 5, 6)), 4),
        "data are in another file": whole[:344] + b"ni1\0" + whole[348:],
        "unpack it first": gzip.compress(b"text"),
    }
    for words, content in odd.items():
        (tmp_path / "a.nii").write_bytes(content)
        with pytest.raises(ImgtoolError, match=words):
            io.read(tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole)[:-20])
    with pytest.raises(ImgtoolError, match="cut off"):
        io.read(tmp_path / "a.nii.gz")
    huge = nifti(numbers(), 4)[:352]
    huge = huge[:40] + struct.pack("<8h", 3, 30000, 30000, 30000, 1, 1, 1, 1) + huge[56:]
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(huge))
    with pytest.raises(ImgtoolError, match="cut off"):
        io.read(tmp_path / "a.nii.gz")


def test_real_volumes_have_the_values_that_nibabel_gives(shared_data):
    compared = 0
    for entry in json.loads((shared_data / "formats" / "REFERENCE.json").read_text()):
        if entry["group"] != "nifti":
            continue
        image, expected = io.read(shared_data / "formats" / "nifti" / entry["file"]), entry["ref"]
        assert image.data.size == np.prod(expected["shape"])
        found = [image.data.min(), image.data.max(), image.data.mean(dtype=np.float64)]
        assert found == pytest.approx(expected["min_max_mean"], rel=1e-6)
        compared += 1
    assert compared == 7
