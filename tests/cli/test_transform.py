"""imgtool transform: told of, composed, inverted, converted, made dense, fitted."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from imgtool import io
from imgtool.io.transforms import read_transform, write_transform
from imgtool.transforms import DisplacementField, MatrixTransform

POINTS = np.array([[3.0, 4.0], [20.5, 11.0], [30.0, 24.0]])
TURN = [[0.96, -0.28, 5], [0.28, 0.96, -4], [0, 0, 1]]


@pytest.fixture
def turn(tmp_path):
    """A rotation of a 40x30 image into one of 50x36, in turn.json."""
    found = MatrixTransform(TURN, "rigid", (30, 40), (36, 50))
    write_transform(tmp_path / "turn.json", found)
    return found


@pytest.fixture
def wave(tmp_path):
    """A smooth field from a 50x36 image to one of 50x36, in wave.npz."""
    y, x = np.mgrid[:36, :50]
    found = DisplacementField(np.dstack([np.sin(y / 8), 1.5 * np.cos(x / 9)]), (36, 50))
    write_transform(tmp_path / "wave.npz", found)
    return found


def test_what_a_matrix_does_is_told(call, turn):
    lines = call("transform", "info", "turn.json").stdout.splitlines()
    assert lines[0] == "turn.json: rigid, fixed image 40x30, moving image 50x36"
    assert "rotation 16.260 degrees" in lines[4]
    assert lines[-1] == "  determinant from 1 to 1, 0 folded pixels"
    facts = json.loads(call("transform", "info", "turn.json", "--json").stdout)
    assert facts["matrix"] == TURN
    assert (facts["fixed_shape"], facts["moving_shape"]) == ([30, 40], [36, 50])
    assert facts["displacement"]["max"] == pytest.approx(np.linalg.norm(turn.displacement(), axis=-1).max())


@pytest.mark.usefixtures("turn", "wave")
def test_what_is_made_of_parts_is_told_by_parts(call):
    assert call("transform", "compose", "turn.json", "wave.npz", "-o", "both.json").exit_code == 0
    facts = json.loads(call("transform", "info", "both.json", "--json").stdout)
    assert [part["model"] for part in facts["parts"]] == ["rigid", "displacement"]
    assert "both.json: composite of 2 transforms, fixed image 40x30, moving image 50x36" in (
        call("transform", "info", "both.json").stdout
    )


def test_folds_are_counted(call, tmp_path):
    field = np.zeros((10, 12, 2))
    field[:, 6:, 0] = -4
    write_transform(tmp_path / "fold.npy", DisplacementField(field))
    assert json.loads(call("transform", "info", "fold.npy", "--json").stdout)["determinant"]["folded"] == 20
    result = call("transform", "jacobian", "fold.npy", "-o", "j.tif")
    assert result.stdout == "j.tif: determinant from -1 to 1, 20 folded pixels\n"
    assert np.count_nonzero(io.read(tmp_path / "j.tif").data <= 0) == 20


def test_what_is_composed_does_one_after_the_other(call, tmp_path, turn, wave):
    assert call("transform", "compose", "turn.json", "wave.npz", "-o", "both.json").exit_code == 0
    assert_allclose(read_transform(tmp_path / "both.json")(POINTS), wave(turn(POINTS)), atol=1e-12)
    assert call("transform", "compose", "wave.npz", "turn.json", "-o", "wrong.json").exit_code == 1
    assert call("transform", "compose", "wave.npz", "turn.json", "-o", "forced.json", "--force").exit_code == 0


def test_points_follow_several_transforms_in_the_same_order(call, tmp_path, turn, wave):
    np.savetxt(tmp_path / "p.csv", POINTS, delimiter=",", header="x,y", comments="")
    assert call("points", "p.csv", "-t", "turn.json", "-t", "wave.npz", "--to", "moving", "-o", "q.csv").exit_code == 0
    assert_allclose(np.loadtxt("q.csv", delimiter=",", skiprows=1), wave(turn(POINTS)), atol=1e-9)
    assert call("points", "q.csv", "-t", "turn.json", "-t", "wave.npz", "--to", "fixed", "-o", "r.csv").exit_code == 0
    assert_allclose(np.loadtxt("r.csv", delimiter=",", skiprows=1), POINTS, atol=0.02)


def test_the_inverse_of_a_matrix_is_exact_and_says_nothing(call, tmp_path, turn):
    result = call("transform", "invert", "turn.json", "-o", "back.json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    back = read_transform(tmp_path / "back.json")
    assert_allclose(back(turn(POINTS)), POINTS, atol=1e-12)
    assert (back.fixed_shape, back.moving_shape) == ((36, 50), (30, 40))


def test_the_inverse_of_a_field_says_how_good_it_is(call, tmp_path, wave):
    result = call("transform", "invert", "wave.npz", "-o", "back.json")
    assert result.stdout.startswith("back.json: largest residual 0.0")
    assert result.stderr == ""
    assert_allclose(read_transform(tmp_path / "back.json")(wave(POINTS)), POINTS, atol=0.05)
    assert "an inverse, with a largest residual of" in call("transform", "info", "back.json").stdout


def test_a_fold_has_no_good_inverse(call, tmp_path):
    y, x = np.mgrid[:30, :30]
    write_transform(tmp_path / "fold.npy", DisplacementField(np.dstack([6 * np.sin(x / 3), 0.0 * y])))
    result = call("transform", "invert", "fold.npy", "-o", "back.npy")
    assert result.stderr.startswith("fold.npy: has no good inverse everywhere; see imgtool transform info")


@pytest.mark.parametrize("name", ["t.tfm", "t.json", "t.npy", "t.npz", "t.tif", "t.nii.gz"])
def test_every_format_holds_the_same_transform(call, tmp_path, turn, name):
    assert call("transform", "convert", "turn.json", "-o", name).exit_code == 0
    assert_allclose(read_transform(tmp_path / name)(POINTS), turn(POINTS), atol=1e-4)


def test_a_field_is_the_displacement_of_each_pixel(call, tmp_path, turn):
    assert call("transform", "field", "turn.json", "-o", "f.npy").exit_code == 0
    assert_allclose(np.load(tmp_path / "f.npy"), turn.displacement())
    (tmp_path / "bare.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: TranslationTransform_double_2_2\n"
        "Parameters: 3 -4\nFixedParameters:\n"
    )
    result = call("transform", "field", "bare.tfm", "-o", "g.npy")
    assert (result.exit_code, result.stderr) == (
        1, "Error: bare.tfm: the transform does not say how large the fixed image is; give the shape: --size WxH\n"
    )  # fmt: skip
    assert call("transform", "field", "bare.tfm", "-o", "g.npy", "--size", "5x4").exit_code == 0
    assert_allclose(np.load(tmp_path / "g.npy"), np.broadcast_to([3.0, -4.0], (4, 5, 2)))
    facts = call("transform", "info", "bare.tfm").stdout
    assert facts.startswith("bare.tfm: translation, fixed image of unknown size, moving image of unknown size\n")


def test_a_transform_is_fitted_to_points(call, tmp_path, turn):
    np.savetxt(tmp_path / "pairs.csv", np.hstack([POINTS, turn(POINTS)]), delimiter=",")
    words = ("transform", "fit", "pairs.csv", "-m", "rigid", "--fixed-size", "40x30", "--moving-size", "50x36")
    result = call(*words, "-o", "fit.json")
    assert result.stdout.startswith("fit.json: rigid from 3 pairs of points, off by 0.000 px")
    found = read_transform(tmp_path / "fit.json")
    assert_allclose(found.matrix, TURN, atol=1e-9)
    assert (found.fixed_shape, found.moving_shape) == ((30, 40), (36, 50))


@pytest.mark.usefixtures("turn", "wave")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("info none.json", 1, "none.json: no such file"),
        ("info bad.json", 1, "bad.json: "),
        ("invert bad.json -o b.json", 1, "bad.json: "),
        ("convert turn.json -o turn.json", 2, "turn.json is an input as well; choose another name"),
        ("convert turn.json -o wave.npz", 1, "wave.npz: exists already; use --exists overwrite"),
        ("convert turn.json -o t.xyz", 1, "t.xyz: a transform is written as one of .json, .tfm"),
        ("convert wave.npz -o t.tfm", 1, "t.tfm: "),
        ("convert turn.json -o none/t.json", 1, "none/t.json: cannot be written: there is no directory "),
        ("compose wave.npz turn.json -o t.json", 1, "turn.json: one transform leads to an image of 50x36 pixels"),
        ("field turn.json -o t.npy --size 5", 2, "'5' is no size in pixels; write WIDTHxHEIGHT"),
        ("field turn.json -o t.npy --size 0x5", 2, "'0x5' has no pixels"),
        ("jacobian turn.json -o j.png", 1, "j.png: PNG cannot hold float32 gray; use .tif"),
        ("fit short.csv -o t.json", 1, "short.csv: an affine transform needs 3 landmarks or more, not 1"),
        ("fit none.csv -o t.json", 1, "none.csv: no such file"),
        ("turn turn.json", 2, "No such command 'turn'"),
    ],
)
def test_what_cannot_be_is_one_sentence(call, files, tmp_path, words, status, said):
    (tmp_path / "bad.json").write_text('{"format": "imgtool-transform", "version": 7}')
    (tmp_path / "short.csv").write_text("1,2,3,4\n")
    before = files()
    result = call("transform", *words.split())
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert files() == before
