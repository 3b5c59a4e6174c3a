"""imgtool stack: pages and files aligned, the tables beside them, other channels moved alike."""

import csv
import json
import subprocess
import sys

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose, assert_array_equal
from scenes import texture

from imgtool import io, stack
from imgtool.transforms import warp

SHIFTS = [(0, 0), (1.5, -0.5), (2.2, -1.4), (3.6, -2.0)]


def pages():
    y, x = np.indices((64, 60), float)
    return np.stack([texture(x - dx, y - dy) for dx, dy in SHIFTS])


@pytest.fixture
def cells(tmp_path):
    """A stack that drifts, in cells.tif."""
    data = np.rint(pages() * 6000 + 32000).astype(np.uint16)
    io.write(tmp_path / "cells.tif", io.Image(data, None, {"resolution": (3.0, 3.0, "cm")}))
    return data


@pytest.fixture
def sections(tmp_path):
    """The same as single files."""
    for number, page in enumerate(pages()):
        iio.imwrite(tmp_path / f"s{number}.png", np.rint(page * 30 + 128).clip(0, 255).astype(np.uint8))
    return [f"s{number}.png" for number in range(len(SHIFTS))]


def transforms(path):
    return stack.from_dict(json.loads(path.read_text()))


def shifts(path):
    return [t([[30, 30]])[0] - 30 for t in transforms(path)]


@pytest.mark.parametrize("reference", ["first", "previous", "mean", "3"])
def test_a_stack_is_aligned_page_by_page(call, files, tmp_path, cells, reference):
    result = call("stack", "cells.tif", "-O", "out", "-m", "translation", "--reference", reference)
    assert (result.exit_code, result.stderr) == (0, "")
    assert files() == ["cells.tif", "out/cells.tif", "out/drift.csv", "out/drift.png", "out/transforms.json"]
    origin = SHIFTS[2] if reference == "3" else SHIFTS[0]
    assert_allclose(shifts(tmp_path / "out/transforms.json"), np.subtract(SHIFTS, origin), atol=0.1)
    out = io.read(tmp_path / "out/cells.tif")
    assert (out.data.shape, out.data.dtype) == (cells.shape, cells.dtype)
    assert out.metadata["resolution"] == (3.0, 3.0, "cm")
    middle = out.data[:, 8:-8, 8:-8].astype(float)
    assert np.abs(middle - middle[0]).mean() < 150  # of 65535
    expected = [warp(page, t) for page, t in zip(cells, transforms(tmp_path / "out/transforms.json"), strict=True)]
    assert_array_equal(out.data, expected)


def test_the_drift_is_told_in_a_line_a_table_and_a_chart(call, tmp_path, cells):
    line = call("stack", "cells.tif", "-O", "out", "-m", "translation").stdout
    assert line.startswith("4 pages aligned in ")
    assert line.endswith("px (page 4), rotation up to 0.00 degrees\n")
    with (tmp_path / "out/drift.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["page"] for row in rows] == ["1", "2", "3", "4"]
    assert_allclose([[float(row["x"]), float(row["y"])] for row in rows], SHIFTS, atol=0.1)
    assert {row["confident"] for row in rows} == {"true"}
    assert rows[0]["nmi"] == ""
    assert iio.imread(tmp_path / "out/drift.png").shape == (240, 640, 3)


def test_files_are_a_series_too(call, files, tmp_path, sections):
    result = call("stack", *sections, "-O", "out", "-m", "translation", "--json")
    assert result.exit_code == 0
    assert [name for name in files() if name.endswith(".png") and name.startswith("out/s")] == [
        f"out/{name}" for name in sections
    ]
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(r["input"], r["page"], r["output"]) for r in records] == [
        (name, page, f"out/{name}") for page, name in enumerate(sections, 1)
    ]
    assert_allclose([(r["x"], r["y"]) for r in records], SHIFTS, atol=0.1)
    first, last = iio.imread(tmp_path / "out/s0.png"), iio.imread(tmp_path / "out/s3.png")
    assert np.abs(first[8:-8, 8:-8].astype(int) - last[8:-8, 8:-8]).max() <= 6


def test_images_can_be_written_in_another_format(call, files, cells):
    assert call("stack", "cells.tif", "-O", "out", "--ext", "npy").exit_code == 0
    assert np.load("out/cells.npy").shape == cells.shape
    result = call("stack", "cells.tif", "-O", "png", "--ext", "png")
    assert (result.exit_code, result.stderr) == (
        1, "Error: png/cells.png: PNG cannot hold 4 pages; use .tif or .npy\n"
    )  # fmt: skip
    assert not [name for name in files() if name.startswith("png")]


def test_another_channel_moves_alike(call, files, tmp_path, cells):
    io.write(tmp_path / "other.tif", io.Image(cells[:, ::-1].copy()))
    assert call("stack", "cells.tif", "-O", "out").exit_code == 0
    result = call("stack", "other.tif", "-O", "out", "--apply", "out/transforms.json", "--interpolation", "nearest")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("4 pages moved in ")
    found = transforms(tmp_path / "out/transforms.json")
    expected = [warp(page, t, interpolation="nearest") for page, t in zip(cells[:, ::-1], found, strict=True)]
    assert_array_equal(io.read(tmp_path / "out/other.tif").data, expected)


def test_colour_pages_are_compared_as_told_and_moved_whole(call, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 60), dtype=np.uint8)
    content = np.rint(pages() * 30 + 128).clip(0, 255).astype(np.uint8)
    io.write(tmp_path / "rgb.tif", io.Image(np.stack([noise, content, noise], axis=-1), -1))
    assert call("stack", "rgb.tif", "-O", "out", "-m", "translation", "--channel", "green").exit_code == 0
    assert_allclose(shifts(tmp_path / "out/transforms.json"), SHIFTS, atol=0.1)
    assert io.read(tmp_path / "out/rgb.tif").data.shape == (4, 64, 60, 3)


def test_a_page_that_cannot_be_registered_is_named(call, files, tmp_path, cells):
    cells[2] = 5
    io.write(tmp_path / "blank.tif", io.Image(cells))
    result = call("stack", "blank.tif", "-O", "out", "-m", "translation")
    assert result.exit_code == 0
    assert "blank.tif page 3: " in result.stderr
    assert "constant" in result.stderr
    assert result.stderr.endswith("; it moves as its neighbour does\n")
    assert "1 not certain" in result.stdout
    assert_allclose(shifts(tmp_path / "out/transforms.json")[3], SHIFTS[3], atol=0.1)
    result = call("stack", "blank.tif", "-O", "strict", "--strict")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: blank.tif page 3: ")
    assert not [name for name in files() if name.startswith("strict")]


def test_the_order_of_a_shell_is_doubted(call, picture):
    for number in (1, 2, 10):
        picture(f"t{number}.png", shift=(number / 5, 0))
    result = call("stack", "t1.png", "t10.png", "t2.png", "-O", "out", "-m", "translation")
    assert result.stderr == "the order is t10.png before t2.png; if that is wrong, pad the numbers by zeros\n"
    assert call("stack", "t1.png", "t2.png", "t10.png", "-O", "in_order", "-m", "translation").stderr == ""


@pytest.mark.usefixtures("cells")
def test_nothing_is_overwritten_unless_told_to(call, tmp_path):
    assert call("stack", "cells.tif", "-O", "out").exit_code == 0
    (tmp_path / "out/cells.tif").unlink()
    result = call("stack", "cells.tif", "-O", "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: out/transforms.json: exists already; use --exists overwrite")
    assert not (tmp_path / "out/cells.tif").exists()
    assert call("stack", "cells.tif", "-O", "out", "--exists", "overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("cells.tif -O out --reference last", 2, "'last' is no reference; use first, previous, mean or the number of"),
        ("cells.tif -O out --reference 0", 2, "'0' is no reference"),
        ("cells.tif -O out --reference 5", 1, "there is no page 5; the series has 4"),
        ("cells.tif cells.tif -O out", 2, "cells.tif is given twice; give each file once"),
        ("cells.tif sub/../cells.tif -O out", 2, "would both be written to out/cells.tif; give them other names"),
        ("cells.tif -O .", 2, "cells.tif is an input as well; choose another name"),
        ("one.png -O out", 1, "one.png: is a single image; a series needs two pages or files"),
        ("cells.tif none.tif -O out", 1, "none.tif: no such file"),
        ("cells.tif -O one.png", 1, "one.png: the folder cannot be made"),
        ("cells.tif -O out --channel 2", 1, "cells.tif: has 1 channel, so choose it by --channel 1"),
        ("cells.tif -O out --apply one.png", 1, "one.png: "),
        ("cells.tif -O out --apply t.json -m affine", 2, "--model has no effect with --apply"),
        ("cells.tif -O out --apply t.json", 1, "t.json: is for 1 pages, but the inputs have 4"),
        ("one.png two.png -O out --apply two.json", 1, "one.png: is 40x48 pixels, but two.json is for 60x64"),
        ("cells.tif", 2, "Missing option '-O'"),
    ],
)
def test_wrong_series_are_one_sentence(call, files, picture, tmp_path, cells, words, status, said):
    picture("one.png")
    picture("two.png")
    (tmp_path / "sub").mkdir()
    place = stack.MatrixTransform(np.eye(3), "rigid", (64, 60), (64, 60))
    for name, count in (("t.json", 1), ("two.json", 2)):
        (tmp_path / name).write_text(json.dumps(stack.to_dict([place] * count)))
    before = files()
    result = call("stack", *words.split())
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_memory_does_not_grow_with_the_pages(tmp_path):
    page = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    place = stack.MatrixTransform([[1, 0, 0.5], [0, 1, 0], [0, 0, 1]], "translation", page.shape, page.shape)
    peaks = []
    for count in (3, 33):
        tifffile.imwrite(tmp_path / f"{count}.tif", np.stack([page] * count), photometric="minisblack")
        (tmp_path / f"{count}.json").write_text(json.dumps(stack.to_dict([place] * count)))
        program = (
            "from imgtool.cli import main\n"
            f"try: main(['stack', '{count}.tif', '-O', 'out', '--apply', '{count}.json'])\n"
            # Not getrusage, which begins with what the parent had.
            "except SystemExit: print(open('/proc/self/status').read())"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.partition("VmHWM:")[2].split()[0]))
    assert peaks[1] - peaks[0] < 8 * 1024  # kB: a fraction of the 30 pages of 1 MB that came in addition


def test_a_series_may_be_a_list_or_a_folder(call, sections, files, tmp_path):
    assert call("stack", *sections, "-O", "one", "-m", "translation", "-q").exit_code == 0
    (tmp_path / "list").write_text("\0".join(sections))
    assert call("stack", "--files-from", "list", "-0", "-O", "two", "-m", "translation", "-q").exit_code == 0
    (tmp_path / "in").mkdir()
    for name in sections:
        (tmp_path / name).rename(tmp_path / "in" / name)
    assert call("stack", "-r", "in", "-O", "in/three", "-m", "translation", "-q").exit_code == 0
    first = (tmp_path / "one" / "transforms.json").read_bytes()
    assert (tmp_path / "two" / "transforms.json").read_bytes() == first
    assert (tmp_path / "in" / "three" / "transforms.json").read_bytes() == first
    assert "in/three/in/s0.png" in files()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ([], 2, "Missing argument 'INPUT...'"),
        (["empty"], 1, "empty: a directory, not a file; --recursive takes the images in it"),
        (["-r", "empty"], 1, "empty: no image in it"),
        (["--files-from", "empty/list"], 2, "--files-from empty/list: no such file"),
    ],
)
def test_a_series_of_nothing_is_told(call, tmp_path, words, status, sentence):
    (tmp_path / "empty").mkdir()
    result = call("stack", *words, "-O", "out")
    assert (result.exit_code, result.stderr.count("\n")) == (status, 1)
    assert sentence in result.stderr


def test_any_name_will_do(call, sections, tmp_path):
    odd = [f"{sections[0][:-4]}\n.png", "\udcff\udcfe.png", "²3.png", "- .png"]
    for name, other in zip(sections, odd, strict=True):
        (tmp_path / name).rename(tmp_path / other)
    result = call("stack", "-O", "out", "-m", "translation", "-v", "--", *odd)
    assert result.exit_code == 0
    assert "²3.png: out/²3.png written in " in result.stderr
    assert all((tmp_path / "out" / name).is_file() for name in odd)
    assert b",\xff\xfe.png," in (tmp_path / "out/drift.csv").read_bytes()


def test_a_full_disk_is_one_sentence(finish, sections, tmp_path):
    import resource

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    status, out, err = finish("stack", *sections, "-O", "out", "--reference", "mean", preexec_fn=small_files)
    assert (status, out) == (1, "")
    assert err == "Error: out: cannot be written: the file would be larger than this system allows\n"
    assert not (tmp_path / "out").exists()
