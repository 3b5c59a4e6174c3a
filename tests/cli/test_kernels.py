"""imgtool kernels: the list, one kernel's numbers, its picture and its files."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from imgtool.kernels import CATALOGUE, parse_kernel


def test_the_list_names_every_kernel_with_its_arguments(call):
    result = call("kernels")
    assert (result.exit_code, result.stderr) == (0, "")
    for entry in CATALOGUE.values():
        assert entry.summary in result.stdout
        for key, argument in entry.arguments.items():
            assert f"{key}: {argument.wanted}" in result.stdout
    assert "gabor:sigma=2,wavelength=4,angle=0,gamma=0.5,phase=0\n" in result.stdout


def test_what_the_list_spells_can_be_typed(call):
    lines = [line for line in call("kernels").stdout.splitlines() if not line.startswith(" ")]
    assert [line.partition(":")[0] for line in lines] == list(CATALOGUE)
    for line in lines:
        for one, other in zip(parse_kernel(line).arrays, parse_kernel(line.partition(":")[0]).arrays, strict=True):
            assert_array_equal(one, other)


def test_the_list_as_json_and_of_volumes(call):
    records = [json.loads(line) for line in call("kernels", "--json", "--axes", "zyx").stdout.splitlines()]
    assert [record["name"] for record in records] == [name for name, entry in CATALOGUE.items() if entry.volume]
    (box,) = (record for record in records if record["name"] == "box")
    assert box["arguments"]["size"]["default"] == "3"


@pytest.mark.parametrize("spec", ["gaussian:sigma=0.7", "1 2; 3 4", "laplacian", "-1/3"])
def test_printed_numbers_are_a_kernel_file(call, tmp_path, spec):
    printed = call("kernels", "--", spec).stdout
    (tmp_path / "k.txt").write_text(printed)
    (expected,) = parse_kernel(spec).arrays
    assert_array_equal(parse_kernel(f"@{tmp_path / 'k.txt'}").arrays[0], expected)


def test_size_sum_and_rank_are_said(call):
    assert call("kernels", "box:5x3").stdout.startswith("# box:5x3: 5x3, sum 1, rank 1\n0.0666")
    assert call("kernels", "1 2; 3 5").stdout == "# 1 2; 3 5: 2x2, sum 11, rank 2\n1 2\n3 5\n"
    assert call("kernels", "1 2; 3 4", "--normalize").stdout.endswith("0.1 0.2\n0.3 0.4\n")
    both = call("kernels", "sobel").stdout
    assert "sobel (magnitude of 2, number 1): 3x3, sum 0, rank 1\n1 0 -1\n2 0 -2\n" in both
    assert "number 2): 3x3" in both
    volume = call("kernels", "box:2", "--axes", "zyx").stdout
    assert volume == "# box:2: 2x2x2, sum 1, rank 1\n" + "0.125 0.125\n0.125 0.125\n\n0.125 0.125\n0.125 0.125\n"


def test_one_kernel_as_json(call, tmp_path):
    (tmp_path / "k.mat").write_text("2 1 2 7\n1 3\n")
    found = json.loads(call("kernels", "@k.mat", "--json").stdout)
    assert found == {
        "kernel": "@k.mat", "combine": None, "bias": 7.0,
        "arrays": [{"shape": [1, 2], "sum": 2.0, "rank": 1, "values": [[0.5, 1.5]]}],
    }  # fmt: skip
    assert call("kernels", "@k.mat").stdout == "# @k.mat: 2x1, sum 2, rank 1, bias 7\n0.5 1.5\n"
    assert json.loads(call("kernels", "kirsch", "--json").stdout)["combine"] == "maximum"


def test_a_kernel_is_drawn(call, tmp_path):
    assert call("kernels", "log:sigma=2", "-o", "log.png").exit_code == 0
    drawn = iio.imread(tmp_path / "log.png").astype(int)
    middle, corner = drawn[drawn.shape[0] // 2, drawn.shape[1] // 2], drawn[10, 10]
    assert min(drawn.shape[:2]) > 300
    assert middle[2] > middle[0] + 50  # negative: blue
    assert np.ptp(corner) <= 2  # zero: gray


@pytest.mark.parametrize("name", ["k.npy", "k.txt", "k.csv", "k.json"])
def test_a_kernel_is_written_in_numbers_that_read_back_the_same(call, tmp_path, name):
    assert call("kernels", "gaussian:0.8", "-o", name).exit_code == 0
    assert_array_equal(parse_kernel(f"@{tmp_path / name}").arrays[0], parse_kernel("gaussian:0.8").arrays[0])
    assert call("kernels", "box", "-o", name).exit_code == 1
    assert call("kernels", "box", "-o", name, "--exists", "overwrite").exit_code == 0
    assert_array_equal(parse_kernel(f"@{tmp_path / name}").arrays[0], np.full((3, 3), 1 / 9))


@pytest.mark.parametrize("name", ["k.npy", "k.json"])
def test_a_volume_is_written_too(call, tmp_path, name):
    assert call("kernels", "laplacian", "--axes", "zyx", "-o", name).exit_code == 0
    expected = parse_kernel("laplacian", axes=3).arrays[0]
    assert_array_equal(parse_kernel(f"@{tmp_path / name}", axes=3).arrays[0], expected)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["gausian"], 2, "did you mean gaussian?"),
        (
            ["sobel", "-o", "k.npy"],
            1,
            "k.npy: sobel is 2 kernels and a file holds one; choose a direction, such as sobel:x",
        ),
        (["box", "--axes", "zyx", "-o", "k.txt"], 1, "k.txt: a kernel of three axes cannot be text; use .npy or .json"),
        (["sobel", "--axes", "zyx"], 2, "kernel sobel has no form with 3 axes"),
        (["box", "-o", "k.xyz"], 1, "k.xyz: .xyz files are not written"),
        (["box", "-o", "k.pgm"], 1, "k.pgm: "),
        (["laplacian", "--normalize"], 2, "'--normalize': kernel 'laplacian' sums to 0"),
        (["-o", "k.png"], 2, "--normalize and -o need a kernel"),
        (["box:99999"], 2, "kernel box: 9999800001 numbers are more than the limit"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(call, files, words, status, said):
    result = call("kernels", *words)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert files() == []
