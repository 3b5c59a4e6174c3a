"""imgtool points and imgtool evaluate."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from numpy.testing import assert_allclose

from imgtool.transforms import MatrixTransform

MATRIX = [[0.9, -0.2, 12], [0.3, 1.1, -4], [0, 0, 1]]


@pytest.fixture
def transform(tmp_path):
    """A transform from a 40x30 image to a 50x60 one, in t.json."""
    found = MatrixTransform(MATRIX, "affine", (30, 40), (60, 50))
    (tmp_path / "t.json").write_text(json.dumps(found.to_dict()))
    return found


def table(path):
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


def test_points_go_there_and_back(call, tmp_path, transform):
    points = np.random.default_rng(0).uniform(5, 25, (9, 2))
    np.savetxt(tmp_path / "p.csv", points, delimiter=",", header="x,y", comments="")
    assert call("points", "p.csv", "-t", "t.json", "--to", "moving", "-o", "q.csv").exit_code == 0
    assert_allclose(table(tmp_path / "q.csv"), transform(points), atol=1e-9)
    assert call("points", "q.csv", "-t", "t.json", "--to", "fixed", "-o", "r.csv").exit_code == 0
    assert_allclose(table(tmp_path / "r.csv"), points, atol=1e-9)


@pytest.mark.usefixtures("transform")
def test_other_columns_stay_and_standard_output_is_the_default(call, tmp_path):
    (tmp_path / "p.csv").write_text("cell,y,x\nA,10,20\n")
    result = call("points", "p.csv", "-t", "t.json", "--to", "moving")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "cell,y,x\nA,13,28\n", "")


@pytest.mark.usefixtures("transform")
def test_points_outside_the_image_are_counted(call, tmp_path):
    (tmp_path / "p.csv").write_text("20,10\n-500,0\n0,700\n")
    words = ("points", "p.csv", "-t", "t.json", "--to", "moving")
    assert call(*words).stderr == "p.csv: 2 of 3 points lie outside the moving image\n"
    assert call(*words, "-q").stderr == ""
    assert call("-q", *words).stderr == ""


@pytest.mark.usefixtures("transform")
def test_outputs_are_not_overwritten_unless_told_to(call, tmp_path):
    (tmp_path / "p.csv").write_text("20,10\n")
    (tmp_path / "q.csv").write_text("old")
    words = ("points", "p.csv", "-t", "t.json", "--to", "moving", "-o", "q.csv")
    assert call(*words).exit_code == 1
    assert (tmp_path / "q.csv").read_text() == "old"
    assert call(*words, "--exists", "overwrite").exit_code == 0
    assert (tmp_path / "q.csv").read_text() == "28,13\n"


def test_points_and_images_agree_on_the_direction(call, tmp_path):
    # A dot of the moving image appears in the warped image where its point goes --to fixed.
    matrix = np.array([[0.9, -0.2, 12], [0.3, 1.1, -4], [0, 0, 1]])
    fixed_place = np.array([[21.0, 17.0]])
    place = fixed_place @ matrix[:2, :2].T + matrix[:2, 2]
    transform = MatrixTransform(matrix, "affine", (40, 40), (60, 50))
    (tmp_path / "t.json").write_text(json.dumps(transform.to_dict()))
    y, x = np.indices((60, 50))
    dot = np.exp(-((x - place[0, 0]) ** 2 + (y - place[0, 1]) ** 2) / 6) * 255
    iio.imwrite(tmp_path / "m.png", dot.astype(np.uint8))
    np.savetxt(tmp_path / "m.csv", place, delimiter=",", header="x,y", comments="")
    assert call("warp", "m.png", "-t", "t.json", "-o", "w.png").exit_code == 0
    assert call("points", "m.csv", "-t", "t.json", "--to", "fixed", "-o", "f.csv").exit_code == 0
    warped = iio.imread(tmp_path / "w.png")
    assert np.unravel_index(warped.argmax(), warped.shape) == (17, 21)
    assert_allclose(table(tmp_path / "f.csv"), fixed_place, atol=1e-9)


# evaluate


@pytest.fixture
def landmarks(tmp_path, transform):
    """Landmarks that fit but for one, which is 2 fixed pixels off."""
    fixed = np.array([[10, 10], [30, 5], [20, 25], [33.0, 20]])
    moving = transform(fixed + [[0, 0], [0, 0], [2, 0], [0, 0]])
    for name, points in (("f.csv", fixed), ("m.csv", moving)):
        np.savetxt(tmp_path / name, points, delimiter=",", header="x,y", comments="")
    return fixed, moving


@pytest.mark.usefixtures("landmarks")
def test_errors_are_told_by_point_and_in_sum(call):
    lines = call("evaluate", "-t", "t.json", "--landmarks", "f.csv", "m.csv").stdout.splitlines()
    assert lines[0].split() == ["point", "TRE", "before", "TRE", "after", "rTRE", "after"]
    assert [line.split()[0] for line in lines[1:8]] == ["1", "2", "3", "4", "median", "mean", "max"]
    assert lines[3].split()[2:] == ["2.000", "0.04000"]
    assert lines[6].split()[2:] == ["0.500", "0.01000"]
    assert lines[8] == "robustness 1.000; 4 landmarks, in pixels of the fixed image, diagonal 50.0"


def test_json_has_it_all(call, landmarks, transform):
    fixed, moving = landmarks
    record = json.loads(call("evaluate", "-t", "t.json", "--landmarks", "f.csv", "m.csv", "--json").stdout)
    assert (record["count"], record["diagonal"], record["frame"]) == (4, 50, "fixed")
    assert_allclose([p["tre_after"] for p in record["points"]], [0, 0, 2, 0], atol=1e-9)
    assert_allclose([p["rtre_after"] for p in record["points"]], [0, 0, 0.04, 0], atol=1e-9)
    assert_allclose([p["tre_before"] for p in record["points"]], np.linalg.norm(moving - fixed, axis=1))
    assert record["tre_after"]["max"] == pytest.approx(2)
    assert record["rtre_after"]["median"] == pytest.approx(0, abs=1e-9)
    assert record["robustness"] == 1
    there = json.loads(
        call("evaluate", "-t", "t.json", "--landmarks", "f.csv", "m.csv", "--json", "--in", "moving").stdout
    )
    assert there["diagonal"] == pytest.approx(np.hypot(60, 50))
    assert_allclose(there["points"][2]["tre_after"], np.linalg.norm(transform(fixed) - moving, axis=1)[2])


@pytest.mark.usefixtures("landmarks")
def test_the_table_can_go_to_a_file(call, files):
    result = call("evaluate", "-t", "t.json", "--landmarks", "f.csv", "m.csv", "-o", "errors.txt")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "errors.txt" in files()
