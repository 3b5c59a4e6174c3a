"""Transform files: imgtool's own, ITK's text, and displacement fields; numbers of ITK come from SimpleITK 2.5.7."""

import gzip
import io as streams
import json
import re
import struct
import zipfile

import numpy as np
import pytest

from imgtool import ImgtoolError, io
from imgtool.io.transforms import read_transform, write_transform
from imgtool.transforms import BSplineTransform, Composite, DisplacementField, MatrixTransform, Transform
from imgtool.transforms.itk import Geometry, from_itk, to_itk

POINTS = np.array([[10.0, 20.0], [0.0, 0.0], [75.5, 31.25]])
CENTRE = "49.5 29.5"


def itk_text(*entries):
    lines = ["#Insight Transform File V1.0"]
    for number, (kind, parameters, fixed) in enumerate(entries):
        lines += [f"#Transform {number}", f"Transform: {kind}"]
        if parameters is not None:
            lines += [f"Parameters: {parameters}", f"FixedParameters: {fixed}"]
    return "\n".join(lines) + "\n"


EULER = ("Euler2DTransform_double_2_2", "0.2 3 -4", CENTRE)
SIMILARITY = ("Similarity2DTransform_double_2_2", "1.1 0.2 3 -4", CENTRE)
AFFINE = ("AffineTransform_double_2_2", "1.1 0.2 -0.1 0.9 5 6", CENTRE)
TRANSLATION = ("TranslationTransform_double_2_2", "3 -4", "")
SCALE = ("ScaleTransform_double_2_2", "1.2 0.8", CENTRE)
COMPOSITE = ("CompositeTransform_double_2_2", None, None)


# What SimpleITK's TransformPoint makes of (10, 20) by the same text.
@pytest.mark.parametrize(
    ("entries", "model", "expected"),
    [
        ([TRANSLATION], "translation", (13, 16)),
        ([EULER], "rigid", (15.674728817824038, 8.34192894410329)),
        ([SIMILARITY], "similarity", (11.992201699606436, 6.626121838513615)),
        ([AFFINE], "affine", (9.15, 30.9)),
        ([SCALE], "affine", (2.1, 21.9)),
        ([COMPOSITE, EULER, SIMILARITY], "similarity", (20.284198544404006, -4.369572679620793)),
    ],
)
def test_itk_transforms_take_points_where_itk_takes_them(entries, model, expected):
    transform = from_itk(itk_text(*entries))
    assert transform.model == model
    np.testing.assert_allclose(transform([[10, 20]]), [expected], atol=1e-12)


def test_a_spline_of_itk_takes_points_where_itk_takes_them():
    grid = np.arange(56.0).reshape(7, 8)
    coefficients = np.concatenate([np.sin(grid).ravel(), np.cos(grid).ravel()])
    parameters, fixed = " ".join(map(repr, coefficients.tolist())), "8 7 -20.675 -15.6875 20.05 15.0625 1 0 0 1"
    spline = from_itk(itk_text(("BSplineTransform_double_2_2", parameters, fixed)))
    expected = [
        (9.677060875215789, 20.384703987118186),
        (0.16812688966157854, -0.4951670978737625),
        (75.16124348022906, 30.856376209175984),
    ]
    np.testing.assert_allclose(spline(POINTS), expected, atol=1e-12)


def rigid(angle=0.3):
    cos, sin = np.cos(angle), np.sin(angle)
    return MatrixTransform([[cos, -sin, 4.25], [sin, cos, -3.5], [0, 0, 1]], "rigid", (60, 100), (50, 90))


def transforms_of_every_kind(rng):
    similar = np.vstack([1.3 * rigid().matrix[:2], [0, 0, 1]])
    sizes = (60, 100), (50, 90)
    return {
        "translation": MatrixTransform([[1, 0, 1 / 3], [0, 1, -7], [0, 0, 1]], "translation", *sizes),
        "rigid": rigid(),
        "similarity": MatrixTransform(similar, "similarity", *sizes),
        "affine": MatrixTransform([[0.9, -0.3, 4.25], [0.35, 1.05, -3.5], [0, 0, 1]], "affine", *sizes),
        "projective": MatrixTransform([[0.9, -0.3, 4], [0.35, 1, -3], [1e-3, -2e-3, 1]], "projective", *sizes),
        "displacement": DisplacementField(rng.standard_normal((60, 100, 2)), (50, 90)),
        "float32": DisplacementField(rng.standard_normal((60, 100, 2)).astype(np.float32), (50, 90), 0.03),
        "bspline": BSplineTransform(rng.standard_normal((2, 7, 8)), (20, 21.5), (-0.5, -1.25), similar, *sizes),
        "composite": Composite((rigid(), DisplacementField(rng.standard_normal((50, 90, 2)), (50, 90)))),
    }


KINDS = list(transforms_of_every_kind(np.random.default_rng(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_transform_survives_json_to_the_last_bit(tmp_path, kind):
    before = transforms_of_every_kind(np.random.default_rng(1))[kind]
    write_transform(tmp_path / "t.json", before, figures={"nmi_after": 1.25})
    after = read_transform(tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["nmi_after"] == 1.25
    assert type(after) is type(before)
    assert after.to_dict() == before.to_dict()
    assert (after.fixed_shape, after.moving_shape) == ((60, 100), (50, 90))
    np.testing.assert_array_equal(after(POINTS), before(POINTS))


@pytest.mark.parametrize("kind", ["translation", "rigid", "similarity", "affine", "bspline"])
def test_transforms_survive_itk_text_with_their_model_and_sizes(tmp_path, kind):
    before = transforms_of_every_kind(np.random.default_rng(1))[kind]
    write_transform(tmp_path / "t.tfm", before)
    after = read_transform(tmp_path / "t.tfm")
    assert (after.model, after.fixed_shape, after.moving_shape) == (kind, (60, 100), (50, 90))
    np.testing.assert_allclose(after(POINTS), before(POINTS), atol=1e-12)


def test_a_rigid_transform_whose_matrix_is_none_is_written_as_affine():
    bent = MatrixTransform(rigid().matrix + np.diag([1e-9, 0, 0]), "rigid", None, None)
    assert "AffineTransform" in to_itk(bent)
    np.testing.assert_allclose(from_itk(to_itk(bent)).matrix, bent.matrix, rtol=0, atol=1e-15)


def test_spacing_and_origin_are_those_of_the_images_in_itk():
    fixed, moving = Geometry((0.5, 2.0), (10.0, -20.0)), Geometry((0.25, 0.5), (3.0, 4.0))
    inside = from_itk(itk_text(AFFINE), fixed=fixed, moving=moving)
    physical = from_itk(itk_text(AFFINE))
    expected = (physical(POINTS * fixed.spacing + fixed.origin) - moving.origin) / moving.spacing
    np.testing.assert_allclose(inside(POINTS), expected, atol=1e-10)
    text = to_itk(inside, fixed=fixed, moving=moving)
    np.testing.assert_allclose(from_itk(text)(POINTS), physical(POINTS), atol=1e-10)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line"),
        ("#Insight Transform File V1.0\n", "holds no transform"),
        (itk_text(EULER, SIMILARITY), "several transforms"),
        (itk_text(COMPOSITE), "holds no transform"),
        (itk_text(("AffineTransform_double_3_3", "1 2", "")), "no transform of the plane"),
        (itk_text(("VersorTransform_double_2_2", "1 2", "")), "VersorTransform are not read"),
        (itk_text(("AffineTransform_double_2_2", "1 0 0", CENTRE)), "has 6 parameters and a centre of 2"),
        (itk_text(("AffineTransform_double_2_2", "1 0 0 1 a 2", CENTRE)), "not all numbers"),
        (itk_text(("AffineTransform_double_2_2", "1 0 0 1 nan 2", CENTRE)), "not all finite"),
        (itk_text(("AffineTransform_double_2_2", "1 1 1 1 0 2", CENTRE)), "singular"),
        (itk_text(("BSplineTransform_double_3_3", "1 2", "")), "no transform of the plane"),
        (itk_text(("BSplineTransform_double_2_2", "1 2", "4 4 0 0 1 1 1 0 0 1")), "gives 10 and 2"),
        (itk_text(("BSplineTransform_double_2_2", "0 " * 32, "4 4 0 0 1 1 0 1 1 0")), "turned against the axes"),
        (itk_text(("BSplineTransform_double_2_2", "0 " * 18, "3 3 0 0 1 1 1 0 0 1")), "4 rows and columns"),
        (itk_text(("BSplineTransform_double_2_2", "0 " * 32, "4 4 0 0 0 1 1 0 0 1")), "spacing must be more than 0"),
        (itk_text(TRANSLATION) + "Something: else\n", "no parameter: 'Something'"),
        (itk_text(TRANSLATION).replace("#Transform 0", "# imgtool {}"), "is damaged"),
    ],
)
def test_damaged_itk_text_is_refused_in_a_sentence(tmp_path, text, words):
    (tmp_path / "bad.tfm").write_text(text or "#Insight?")
    with pytest.raises(ImgtoolError, match=words) as caught:
        read_transform(tmp_path / "bad.tfm")
    assert str(caught.value).startswith(f"{tmp_path / 'bad.tfm'}: ")


@pytest.mark.parametrize("kind", ["projective", "displacement"])
def test_what_itk_text_cannot_hold_is_refused_and_nothing_is_written(tmp_path, kind):
    transform = transforms_of_every_kind(np.random.default_rng(1))[kind]
    with pytest.raises(ImgtoolError, match=rf"t.tfm: ITK's text files hold no {kind} transforms"):
        write_transform(tmp_path / "t.tfm", transform)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.tif", "f.nii", "f.nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_field_survives_every_field_format_to_the_last_bit(tmp_path, name, dtype):
    before = DisplacementField(np.random.default_rng(2).standard_normal((6, 9, 2)).astype(dtype), (5, 7))
    write_transform(tmp_path / name, before)
    after = read_transform(tmp_path / name)
    assert after.field.dtype == dtype
    np.testing.assert_array_equal(after.field, before.field)
    assert after.moving_shape == ((5, 7) if name in ("f.npz", "f.tif") else None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("displacement", "float32")])
def test_any_transform_can_be_written_as_a_field(tmp_path, kind):
    transform = transforms_of_every_kind(np.random.default_rng(1))[kind]
    write_transform(tmp_path / "t.npz", transform)
    field = read_transform(tmp_path / "t.npz")
    pixels = np.array([[0.0, 0.0], [99.0, 0.0], [40.0, 59.0]])
    np.testing.assert_allclose(field(pixels), transform(pixels), atol=1e-12)


def test_a_field_without_a_grid_is_not_written(tmp_path):
    shift = MatrixTransform(np.eye(3), "translation", None, None)
    with pytest.raises(ImgtoolError, match="does not say how large the fixed image is"):
        write_transform(tmp_path / "t.npz", shift)


def test_itk_fields_in_other_units_come_back_in_pixels(tmp_path):
    field = np.random.default_rng(3).standard_normal((4, 5, 2))
    write_transform(tmp_path / "f.nii", DisplacementField(field * (0.5, 2.0)))
    content = bytearray((tmp_path / "f.nii").read_bytes())
    struct.pack_into("<12f", content, 280, -0.5, 0, 0, 7, 0, -2, 0, 8, 0, 0, 1, 0)
    (tmp_path / "f.nii").write_bytes(content)
    np.testing.assert_allclose(read_transform(tmp_path / "f.nii").field, field, atol=1e-12)
    # The same by the quaternion: half a turn about z, and spacings.
    struct.pack_into("<h", content, 254, 0)
    struct.pack_into("<4f", content, 76, 1, 0.5, 2, 1)
    (tmp_path / "f.nii").write_bytes(content)
    np.testing.assert_allclose(read_transform(tmp_path / "f.nii").field, field, atol=1e-12)


def test_a_field_as_two_pages_of_a_tiff_is_read(tmp_path):
    planes = np.random.default_rng(4).standard_normal((2, 6, 9)).astype(np.float32)
    io.write(tmp_path / "f.tif", io.Image(planes))
    np.testing.assert_array_equal(read_transform(tmp_path / "f.tif").field, np.moveaxis(planes, 0, -1))


def npz(**arrays):
    stream = streams.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def packed(field):
    stream = streams.BytesIO()
    np.savez_compressed(stream, displacement=field)
    return stream.getvalue()


def garbled(archive):
    """An archive whose deflated bytes begin with a kind of block that there is not."""
    start = archive.index(b"displacement.npy") + len(b"displacement.npy")
    start += int.from_bytes(archive[28:30], "little")
    return archive[:start] + b"\xff" * 8 + archive[start + 8 :]


def npy(array):
    stream = streams.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def nifti(**changes):
    stream = streams.BytesIO()
    from imgtool.io._nifti import write_field

    write_field(stream, np.zeros((3, 4, 2)), compressed=False)
    content = bytearray(stream.getvalue())
    for name, value in changes.items():
        offset, kind = {"intent": (68, "<h"), "width": (42, "<h"), "kind": (70, "<h"), "offset": (108, "<f"),
                        "tilt": (316, "<f")}[name]  # fmt: skip
        struct.pack_into(kind, content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[1, 2]", "this is not an imgtool transform"),
        (npy(np.zeros((3, 4))), r"has shape \(height, width, 2\), not \(3, 4\)"),
        (npy(np.zeros((3, 4, 2)))[:-1], "cut off"),
        (npy(np.full((3, 4, 2), np.nan)), "not finite"),
        (npy(np.zeros((3, 4, 2), object)), "of object"),
        (npy(np.zeros((3, 4, 2)))[:20], "damaged"),
        (npz(a=np.zeros((3, 4, 2)), b=np.zeros(3)), "no array called displacement, but a.npy, b.npy"),
        (npz(displacement=np.zeros((3, 4, 2)))[:200], "damaged or cut off"),
        (garbled(packed(np.random.default_rng(0).random((9, 9, 2)))), "damaged or cut off"),
        (npz(displacement=np.zeros((3, 4, 2)), moving_shape=np.zeros((2, 2))), "moving_shape must be"),
        (npy(np.zeros((3, 4, 2))).replace(b"'descr'", b"( 'escr"), "damaged"),
        (npz(displacement=np.zeros((3, 4, 2)), moving_shape=np.array([0, 1])), "moving_shape must be"),
        (nifti()[:400], "cut off"),
        (nifti(intent=1005), "not a displacement field of the plane"),
        (nifti(width=-4), "not a displacement field of the plane"),
        (nifti(kind=4), "data type 4"),
        (nifti(offset=np.nan), "begin nowhere"),
        (nifti(tilt=0.5), "does not lie in the plane"),
        (gzip.compress(nifti(), mtime=0)[:-30], "damaged or cut off"),
        (gzip.compress(b"no", mtime=0), "not a NIfTI-1 file"),
    ],
)
def test_damaged_files_are_refused_in_a_sentence(tmp_path, content, words):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ImgtoolError, match=words) as caught:
        read_transform(tmp_path / "bad")
    assert str(caught.value).startswith(f"{tmp_path / 'bad'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.tif", "f.nii.gz"])
def test_fields_beyond_the_limit_are_refused_before_they_are_decoded(tmp_path, name):
    write_transform(tmp_path / name, DisplacementField(np.zeros((30, 40, 2))))
    with pytest.raises(ImgtoolError, match="limit is"):
        read_transform(tmp_path / name, max_pixels=100)


def test_images_that_are_no_fields_are_refused(tmp_path):
    for image, words in (
        (io.Image(np.zeros((5, 6, 3), np.float32), -1), "has 2 channels, or 2 pages"),
        (io.Image(np.zeros((5, 6, 2), np.uint8), -1), "floating point numbers, not of uint8"),
    ):
        io.write(tmp_path / "f.tif", image, overwrite=True)
        with pytest.raises(ImgtoolError, match=words):
            read_transform(tmp_path / "f.tif")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"field": {"dtype": "float64", "shape": [2, 2, 2], "zlib_base64": "!!"}}, "field is damaged"),
        ({"field": {"dtype": "object", "shape": [2, 2, 2], "zlib_base64": ""}}, "field is damaged"),
        ({"field": {"dtype": "float64", "shape": [10**9, 10**9, 2], "zlib_base64": ""}}, "field is damaged"),
        ({"field": {"dtype": "float64", "shape": [-1, 2, 2], "zlib_base64": ""}}, "field is damaged"),
        ({"field": None}, "must be a .height, width, 2. array"),
        ({"field": [[[1, 2]], [[3]]]}, "field is damaged"),
        ({"fixed_shape": [9, 9]}, "but its fixed_shape"),
        ({"residual": "small"}, "residual must be"),
        ({"moving_shape": [0, 1]}, "moving_shape must be"),
    ],
)
def test_a_damaged_field_in_json_is_refused_in_a_sentence(change, words):
    fields = DisplacementField(np.zeros((3, 4, 2))).to_dict() | change
    with pytest.raises(ImgtoolError, match=words):
        Transform.from_dict(fields)


def test_a_field_in_json_may_be_written_by_hand():
    fields = DisplacementField(np.ones((1, 2, 2))).to_dict() | {"field": [[[1, 2], [3, 4]]]}
    assert DisplacementField.from_dict(fields)([[1, 0]]).tolist() == [[4, 4]]


def test_a_composite_that_is_no_list_is_refused():
    fields = Composite((rigid(), rigid())).to_dict()
    with pytest.raises(ImgtoolError, match="must be a list"):
        Transform.from_dict(fields | {"transforms": "none"})
    with pytest.raises(ImgtoolError, match="at least one"):
        Transform.from_dict(fields | {"transforms": []})


def test_names_no_transform_is_written_under_are_refused(tmp_path):
    with pytest.raises(ImgtoolError, match=re.escape("t.yaml: a transform is written as one of .json")):
        write_transform(tmp_path / "t.yaml", rigid())


def test_an_npz_without_the_moving_size_is_read(tmp_path):
    (tmp_path / "f.npz").write_bytes(npz(anything=np.ones((3, 4, 2), np.float32)))
    assert zipfile.is_zipfile(tmp_path / "f.npz")
    assert read_transform(tmp_path / "f.npz")([[1, 1]]).tolist() == [[2, 2]]


# SimpleITK's wrapper warns about itself when it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestAgainstSimpleITK:
    @pytest.fixture(scope="class")
    def sitk(self):
        return pytest.importorskip("SimpleITK", reason="compares with SimpleITK where it is installed")

    @pytest.mark.parametrize("kind", ["translation", "rigid", "similarity", "affine", "bspline"])
    def test_itk_reads_what_imgtool_writes(self, sitk, tmp_path, kind):
        transform = transforms_of_every_kind(np.random.default_rng(1))[kind]
        write_transform(tmp_path / "t.tfm", transform)
        theirs = sitk.ReadTransform(str(tmp_path / "t.tfm"))
        expected = [theirs.TransformPoint(point) for point in POINTS.tolist()]
        np.testing.assert_allclose(transform(POINTS), expected, atol=1e-10)

    def test_imgtool_reads_what_itk_writes(self, sitk, tmp_path):
        affine = sitk.AffineTransform(2)
        affine.SetMatrix((1.1, 0.2, -0.1, 0.9))
        affine.SetTranslation((5, 6))
        affine.SetCenter((49.5, 29.5))
        composite = sitk.CompositeTransform([affine, sitk.Euler2DTransform((3.0, 4.0), 0.2, (3.0, -4.0))])
        sitk.WriteTransform(composite, str(tmp_path / "t.tfm"))
        expected = [composite.TransformPoint(point) for point in POINTS.tolist()]
        np.testing.assert_allclose(read_transform(tmp_path / "t.tfm")(POINTS), expected, atol=1e-10)

    def test_splines_go_both_ways(self, sitk, tmp_path):
        theirs = sitk.BSplineTransformInitializer(sitk.Image(100, 60, sitk.sitkFloat32), (5, 4))
        theirs.SetParameters(np.random.default_rng(0).standard_normal(len(theirs.GetParameters())).tolist())
        sitk.WriteTransform(theirs, str(tmp_path / "t.tfm"))
        ours = read_transform(tmp_path / "t.tfm")
        expected = [theirs.TransformPoint(point) for point in POINTS.tolist()]
        np.testing.assert_allclose(ours(POINTS), expected, atol=1e-10)
        write_transform(tmp_path / "back.tfm", ours)
        back = sitk.ReadTransform(str(tmp_path / "back.tfm"))
        np.testing.assert_allclose([back.TransformPoint(p) for p in POINTS.tolist()], expected, atol=1e-10)

    def test_fields_go_both_ways_through_nifti(self, sitk, tmp_path):
        field = np.random.default_rng(5).standard_normal((12, 15, 2))
        points = [[3.25, 4.5], [10.0, 11.0], [0.5, 0.25]]
        write_transform(tmp_path / "ours.nii.gz", DisplacementField(field))
        theirs = sitk.DisplacementFieldTransform(
            sitk.Cast(sitk.ReadImage(str(tmp_path / "ours.nii.gz")), sitk.sitkVectorFloat64)
        )
        expected = [theirs.TransformPoint(point) for point in points]
        np.testing.assert_allclose(DisplacementField(field)(points), expected, atol=1e-6)
        image = sitk.GetImageFromArray(field, isVector=True)
        sitk.WriteImage(image, str(tmp_path / "theirs.nii.gz"))
        np.testing.assert_array_equal(read_transform(tmp_path / "theirs.nii.gz").field, field)
        # Spacing and origin: ITK's displacements are in its physical units.
        image.SetSpacing((0.5, 2.0))
        image.SetOrigin((7.0, -3.0))
        sitk.WriteImage(image, str(tmp_path / "spaced.nii.gz"))
        np.testing.assert_allclose(read_transform(tmp_path / "spaced.nii.gz").field, field / (0.5, 2.0), atol=1e-6)
