"""Many inputs, and where their outputs go: names, folders, what exists already, words, JSON, jobs."""

import json
import os
import pstats
import re
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtool import io
from imgtool.cli.plan import below
from imgtool.cli.run import share_processors


def box(*words):
    return ("convolve", "-k", "box", *words)


# Where outputs go


def test_a_folder_mirrors_the_relative_tree_of_the_inputs(call, picture, files, tmp_path):
    for name in ("a.png", "sub/a.png", "sub/deep/b.png", "c.png", "d.png"):
        picture(name)
    (tmp_path / "sub" / "x").mkdir()
    inputs = ["a.png", "./sub/a.png", "sub/deep/b.png", tmp_path / "c.png", "sub/../d.png"]
    assert call(*box(*inputs, "-O", "out/new")).exit_code == 0
    assert [name for name in files() if name.startswith("out")] == [
        "out/new/a.png",
        "out/new/c.png",
        "out/new/d.png",
        "out/new/sub/a.png",
        "out/new/sub/deep/b.png",
    ]


@given(
    st.text(st.sampled_from("ab./\\~ \n"), min_size=1),
    st.sampled_from(["", "_s", ".."]),
    st.sampled_from([None, ".tif"]),
)
def test_outputs_stay_inside_their_folder_whatever_the_input_is_called(name, suffix, ext):
    output = below(Path("out"), name, suffix, ext)
    assert output.parts[0] == "out"
    assert ".." not in output.parts


def test_suffix_and_extension_make_the_name(call, picture, files):
    picture("a.b.png")
    for ext in ("tif", ".npy"):
        assert call(*box("a.b.png", "-O", ".", "--suffix", "_soft", "--ext", ext)).exit_code == 0
    assert files() == ["a.b.png", "a.b_soft.npy", "a.b_soft.tif"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["a.png", "b.png", "-o", "c.png"], "-o names one output, but there are 2 inputs; use -O DIR (see"),
        (["a.png", "-o", "c.png", "-O", "out"], "-o names one output and -O a folder for many; give one of them"),
        (["a.png", "-o", "c.png", "--suffix", "_s"], "--suffix and --ext make names below -O; without -O they have no"),
        (["a.png", "-O", "out", "--suffix", "/../x"], "'/../x' is no part of a file name"),
        (["a.png", "-O", "out", "--ext", "a/b"], "'.a/b' is no part of a file name"),
        (["a.png", "-o", "a.png"], "a.png is an input as well; choose another name, or add --suffix to -O (see"),
        (["a.png", "-O", "."], "a.png is an input as well"),
        (["a.png", "-o", "link.png"], "link.png is an input as well"),
        (["a.png", "a.png", "-O", "out"], "a.png and a.png would both be written to out/a.png"),
        (["a.png", "sub/../a.png", "-O", "out"], "a.png and sub/../a.png would both be written to out/a.png"),
        (["a.png", "A.png", "-O", "out"], "a.png and A.png would both be written to out/A.png"),
        (
            ["a.png", "b.png", "-O", "out", "-j", "0"],
            "'-j' / '--jobs': '0' is neither a number from 1 to 9999 nor auto",
        ),
        (["a.png", "-o", "b.png", "--threads", "two"], "'--threads': 'two' is neither a number"),
    ],
)
def test_outputs_that_cannot_be_meant_are_refused_before_anything_is_read(
    call, picture, files, tmp_path, words, sentence
):
    for name in ("a.png", "A.png", "b.png", "sub/c.png"):
        picture(name)
    (tmp_path / "link.png").symlink_to("a.png")
    before = files()
    result = call(*box(*words))
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert files() == before


def test_names_that_differ_only_in_how_letters_are_composed_collide(call, picture):
    picture("\u00e4.png")
    picture("a\u0308.png")
    result = call(*box("\u00e4.png", "a\u0308.png", "-O", "out"))
    assert result.exit_code == 2
    assert "would both be written" in result.stderr


# What exists already


def test_an_output_that_exists_is_kept_by_default(call, picture, tmp_path):
    picture("a.png")
    (tmp_path / "b.png").write_bytes(b"mine")
    result = call(*box("a.png", "-o", "b.png"))
    assert result.exit_code == 1
    assert result.stderr == "Error: b.png: exists already; use --exists overwrite, newer or skip\n"
    assert (tmp_path / "b.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("policy", "age", "rewritten"),
    [("overwrite", 10, True), ("skip", -10, False), ("newer", 10, False), ("newer", 0, False), ("newer", -10, True)],
)
def test_policies_for_outputs_that_exist(call, picture, tmp_path, policy, age, rewritten):
    picture("a.png")
    output = tmp_path / "b.png"
    output.write_bytes(b"mine")
    seconds = (tmp_path / "a.png").stat().st_mtime_ns // 10**9
    os.utime(tmp_path / "a.png", (seconds, seconds))
    os.utime(output, (seconds + age, seconds + age))
    result = call(*box("a.png", "-o", "b.png", "--exists", policy, "-v"))
    assert result.exit_code == 0
    assert (output.read_bytes() != b"mine") == rewritten
    assert result.stderr.startswith("a.png: b.png written in" if rewritten else "a.png: skipped, b.png exists\n")


def test_a_batch_is_resumed_by_skipping_what_is_there(call, picture, files):
    for name in ("a.png", "b.png", "c.png"):
        picture(name)
    call(*box("a.png", "-O", "out"))
    result = call(*box("a.png", "b.png", "c.png", "-O", "out", "--exists", "skip"))
    assert (result.exit_code, result.stderr) == (0, "2 of 3 images done, 1 skipped\n")
    assert files() == ["a.png", "b.png", "c.png", "out/a.png", "out/b.png", "out/c.png"]


def test_what_a_killed_program_left_is_taken_away_by_the_next(call, picture, files, tmp_path):
    picture("a.png")
    left = tmp_path / "out" / ".imgtool-0123456789abcdef.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    assert call(*box("a.png", "-O", "out", "-n")).exit_code == 0
    assert left.exists()
    assert call(*box("a.png", "-O", "out")).exit_code == 0
    assert files() == ["a.png", "out/a.png"]


# One bad image among good ones


def test_one_bad_image_does_not_stop_the_others(call, picture, files, tmp_path):
    picture("a.png")
    picture("c.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    result = call(*box("a.png", "b.png", "none.png", "c.png", "-O", "out"))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Error: b.png: ")
    assert lines[1:] == ["Error: none.png: no such file", "2 of 4 images done, 2 failed"]
    assert [name for name in files() if name.startswith("out")] == ["out/a.png", "out/c.png"]


def test_outputs_that_cannot_hold_the_result_fail_before_the_others_begin(call, picture, files):
    picture("a.png")
    picture("b.tif")
    result = call(*box("a.png", "b.tif", "-O", "out", "--dtype", "float32"))
    assert result.exit_code == 1
    assert "Error: out/a.png: PNG cannot hold float32" in result.stderr
    assert [name for name in files() if name.startswith("out")] == ["out/b.tif"]


def test_no_folder_is_made_when_nothing_can_be_written_into_it(call, tmp_path):
    assert call(*box("none.png", "-O", "out")).exit_code == 1
    assert not (tmp_path / "out").exists()


def broken(*_, **__):
    raise ZeroDivisionError("oh")


def test_a_bug_is_an_internal_error_of_its_image_with_the_traceback_on_request(call, picture, monkeypatch):
    picture("a.png")
    monkeypatch.setattr("imgtool.filters.apply_kernel", broken)
    result = call(*box("a.png", "-o", "b.png"))
    assert result.exit_code == 1
    sentence = "Error: a.png: internal error, please report it (ZeroDivisionError: oh); -v shows where\n"
    assert result.stderr == sentence
    result = call(*box("a.png", "-o", "b.png", "-v"))
    assert result.stderr.startswith(f"{sentence}Traceback")
    assert "in broken" in result.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "a.png: not enough memory; try -j 1"),
        (OSError(5, "Input/output error", "b.png"), "b.png: Input/output error"),
        (OSError(5, "Input/output error", "elsewhere"), "a.png: elsewhere: Input/output error"),
        (OSError("strange"), "a.png: strange"),
    ],
)
def test_whatever_goes_wrong_is_told_with_the_name_of_the_image(call, picture, monkeypatch, error, text):
    picture("a.png")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("imgtool.filters.apply_kernel", fail)
    result = call(*box("a.png", "-o", "b.png"))
    assert (result.exit_code, result.stderr) == (1, f"Error: {text}\n")


# Words


def test_verbosity_adds_lines_and_takes_them_away(call, picture):
    picture("a.png")
    picture("b.png")

    def words(*options):
        result = call(
            "convolve", "-k", "9", "a.png", "b.png", "none.png", "-O", "out", "--exists", "overwrite", *options
        )
        assert (result.exit_code, result.stdout) == (1, "")
        return sorted(line.partition(":")[0] for line in result.stderr.splitlines())

    everything = ["Error", "a.png", "a.png", "b.png", "b.png"]  # a warning and a line for each image
    assert words("-v") == ["2 of 3 images done, 1 failed", *everything]
    assert words() == words("-v", "-q") == ["2 of 3 images done, 1 failed", "Error", "a.png", "b.png"]
    assert words("-q") == ["Error"]
    assert words("-qq") == []


def test_verbosity_may_stand_before_the_command(call, picture):
    picture("a.png")
    assert "written in" in call("-v", *box("a.png", "-o", "b.png")).stderr


def test_json_is_one_object_per_input(call, picture, tmp_path):
    picture("a.png")
    picture("b.png")
    result = call("convolve", "-k", "3", "a.png", "b.png", "none.png", "-O", "out", "--json", "-q")
    records = {record["input"]: record for record in map(json.loads, result.stdout.splitlines())}
    assert sorted(records) == ["a.png", "b.png", "none.png"]
    done, failed = records["a.png"], records["none.png"]
    assert done["output"] == "out/a.png"
    assert done["operation"] == "convolve"
    assert done["status"] == "done"
    assert done["parameters"] == {
        "kernel": "3", "border": "reflect", "cval": 0.0, "correlate": False, "normalize": False, "dtype": None,
        "shape": "same", "anchor": None, "scale": 1.0, "bias": 0.0, "mask": None, "nan": "propagate", "linear": False,
        "axes": "yx", "method": "auto",
    }  # fmt: skip
    assert (done["shape"], done["dtype"], done["error"]) == ([48, 40], "uint8", None)
    assert sorted(done["seconds"]) == ["compute", "read", "write"]
    assert done["warnings"][0].endswith("saturated at uint8; use --dtype float32 to keep them")
    assert (failed["status"], failed["shape"], failed["error"]) == ("failed", None, "none.png: no such file")
    call(*box("a.png", "-o", "c.png"))
    skipped = json.loads(call(*box("a.png", "-o", "c.png", "--json", "--exists", "skip")).stdout)
    assert (skipped["status"], skipped["output"]) == ("skipped", "c.png")


def test_json_has_no_infinities(call, picture):
    picture("a.npy", dtype=float)
    result = call(*box("a.npy", "-o", "b.npy", "--border", "constant", "--cval", "-inf", "--json"))
    assert json.loads(result.stdout, parse_constant=pytest.fail)["parameters"]["cval"] == "-inf"


def test_the_progress_bar_shows_when_it_is_asked_for(call, picture):
    for name in ("a.png", "b.png"):
        picture(name)
    for option, shown in [("always", True), ("never", False), ("auto", False)]:  # this is no terminal
        result = call(*box("a.png", "b.png", "-O", "out", "--exists", "overwrite", "--progress", option, "-v"))
        assert ("image/s" in result.stderr) == shown
        assert result.stderr.count("written in") == 2


# Jobs and limits


@pytest.mark.parametrize(
    ("jobs", "threads", "items", "expected"),
    [
        (None, None, 1, (1, 4)),
        (None, None, 2, (2, 2)),
        (None, None, 3, (3, 1)),
        (None, None, 100, (4, 1)),
        (None, None, 0, (1, 4)),
        (2, None, 100, (2, 2)),
        (None, 2, 100, (2, 2)),
        (None, 9, 100, (1, 9)),
        (8, None, 100, (8, 1)),
        (8, 3, 1, (8, 3)),
    ],
)
def test_jobs_and_threads_fill_the_processors_and_no_more_unless_asked(monkeypatch, jobs, threads, items, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert share_processors(jobs, threads, items) == expected


def test_results_do_not_depend_on_jobs_and_threads(call, picture, tmp_path):
    names = [f"{n}.png" for n in range(6)]
    for n, name in enumerate(names):
        picture(name, shape=(300, 200), shift=(n, 0))
    for folder, options in [("one", ["-j", "1", "--threads", "1"]), ("many", ["-j", "3", "--threads", "2"])]:
        assert call("convolve", "-k", "gaussian:3", *names, "-O", folder, *options).exit_code == 0
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_images_above_the_pixel_limit_are_refused(call, picture, files):
    picture("a.png", shape=(10, 12))
    assert call(*box("a.png", "-o", "b.png", "--max-pixels", "120")).exit_code == 0
    result = call(*box("a.png", "-o", "c.png", "--max-pixels", "119"))
    assert result.exit_code == 1
    assert "120 pixels" in result.stderr
    assert "--max-pixels" in result.stderr
    assert files() == ["a.png", "b.png"]


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_no_more_images_are_alive_than_jobs_and_two(call, picture, monkeypatch, jobs):
    names = [f"{n}.png" for n in range(12)]
    for name in names:
        picture(name)
    alive, most, lock, read = set(), [0], threading.Lock(), io.Pages.__getitem__

    def counted(*arguments, **options):
        image = read(*arguments, **options)
        with lock:
            alive.add(key := object())
            most[0] = max(most[0], len(alive))
        weakref.finalize(image.data, alive.discard, key)
        return image

    monkeypatch.setattr(io.Pages, "__getitem__", counted)
    assert call(*box(*names, "-O", "out", "-j", jobs, "-q")).exit_code == 0
    assert 1 <= most[0] <= jobs + 2
    assert not alive


def test_fail_fast_begins_nothing_after_a_failure(call, picture, files):
    names = [f"{n}.npy" for n in range(20)]
    for name in names:
        picture(name, shape=(40, 40), dtype=float)
    options = ("-O", "out", "--fail-fast", "--border", "constant", "--cval", "nan", "--dtype", "uint8")
    result = call(*box(*names, *options, "-j", "2"))
    assert result.exit_code == 1
    assert 1 <= result.stderr.count("Error: ") <= 3
    assert re.search(r"0 of 20 images done, \d failed, 1\d not begun", result.stderr)
    result = call(*box("none.npy", *names, "-O", "out", "--fail-fast"))
    assert result.stderr == "Error: none.npy: no such file\n0 of 21 images done, 1 failed, 20 not begun\n"


def test_profile_says_where_the_time_went(call, picture):
    picture("a.png")
    lines = call(*box("a.png", "-o", "b.png", "--profile")).stderr.splitlines()
    assert [line.split()[0] for line in lines] == ["start-up", "planning", "working", "read", "compute", "write"]
    assert all(float(line.split()[1]) >= 0 for line in lines)
    assert sum(float(line.split()[3]) for line in lines[3:]) == pytest.approx(100, abs=0.2)


def test_profile_out_is_a_file_that_pstats_reads(call, picture, tmp_path):
    for name in ("a.png", "b.png"):
        picture(name)
    line = box("a.png", "b.png", "-O", "out", "--profile-out", "p.prof", "-q")
    assert call(*line).exit_code == 0
    called = {(Path(file).name, name): calls for (file, _, name), (calls, *_) in pstats.Stats("p.prof").stats.items()}
    assert called["convolve.py", "change"] == 2
    result = call(*line, "--exists", "skip")
    assert result.exit_code == 1
    assert "p.prof" in result.stderr


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.png", "a.png is an input as well"),
        ("mask.png", "mask.png is an input as well"),
        ("out/b.png", "b.png and --profile-out would both be written to out/b.png"),
    ],
)
def test_a_profile_never_takes_the_place_of_an_image(call, picture, tmp_path, name, sentence):
    before = [picture(each) for each in ("a.png", "b.png", "mask.png")]
    line = box("a.png", "b.png", "--mask", "mask.png", "-O", "out", "--exists", "overwrite", "--profile-out", name)
    result = call(*line)
    assert result.exit_code == 2
    assert sentence in result.stderr
    for each, values in zip(("a.png", "b.png", "mask.png"), before, strict=True):
        np.testing.assert_array_equal(io.read(tmp_path / each).data, values)


# Odd names


def test_a_name_with_a_leading_dash_comes_after_two_dashes(call, picture, files):
    picture("-k.png")
    assert call(*box("-o", "b.png", "--", "-k.png")).exit_code == 0
    assert files() == ["-k.png", "b.png"]


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "y/" * 3000 + "a.png", "a.png/b.png", "a.zip/b.png", "loop.png"])
@pytest.mark.parametrize("options", [[], ["-r"], ["--template", "{stem}-{index}{ext}"]], ids=str)
def test_a_name_that_cannot_be_looked_at_fails_alone(call, picture, tmp_path, name, options):
    picture("a.png")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "loop.png").symlink_to("loop.png")
    result = call(*box("a.png", name, "-O", "out", *options))
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {name}: ")
    assert result.stderr.endswith("1 of 2 images done, 1 failed\n")
    assert result.stderr.count("\n") == 2


@pytest.mark.skipif(sys.platform == "darwin", reason="the file system takes UTF-8 names alone")
def test_names_may_hold_anything_a_file_name_can(finish, picture, tmp_path):
    picture("a.png")
    names = ["with space.png", "two\nlines.png", "\udcff\udcfe.png", "'\"$*.png", "\u65e5\u672c.png"]
    for name in names:
        os.link(tmp_path / "a.png", tmp_path / name)
    missing = "none\n\udcff.png"
    status, out, err = finish(*box(*names, missing, "-O", "out", "--json", "-v"))
    assert status == 1
    assert sorted(json.loads(line)["input"] for line in out.splitlines()) == sorted([*names, missing])
    assert sorted(os.listdir(tmp_path / "out")) == sorted(names)  # noqa: PTH208  bytes and all
    assert "Error: none\\n\\udcff.png: no such file\n" in err
    assert len(err.splitlines()) == len(names) + 2


def test_standard_input_is_never_read(script, picture, tmp_path):
    picture("a.png")
    picture("b.png")
    loop = 'while read -r name; do "$0" convolve "$name" -k box -o "soft_$name" || exit 9; done'
    done = subprocess.run(["sh", "-c", loop, script], input="a.png\nb.png\n", cwd=tmp_path, text=True, check=False)
    assert done.returncode == 0
    assert (tmp_path / "soft_b.png").exists()
