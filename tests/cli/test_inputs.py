"""Which images are meant: lists, folders, shards; and where their outputs go by template or in place."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtool import io
from imgtool.cli.inputs import natural, place
from imgtool.cli.template import parse_template
from imgtool.errors import ImgtoolError


def box(*words):
    return ("convolve", "-k", "box", *words)


@pytest.fixture
def tree(picture, tmp_path):
    """A folder with images and other things at several depths."""
    for name in ("a10.png", "a2.png", "B.TIF", "deep/er/c.png", "deep/d.png", ".hidden.png", ".git/e.png"):
        picture(f"in/{name}")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    return tmp_path / "in"


# Folders


def test_recursive_takes_the_images_of_a_folder_in_natural_order(call, tree, files):
    result = call(*box("in", "-r", "-O", "out", "-j", "1", "--json", "-q"))
    assert result.exit_code == 0
    inputs = [json.loads(line)["input"] for line in result.stdout.splitlines()]
    assert inputs == ["in/a2.png", "in/a10.png", "in/B.TIF", "in/deep/d.png", "in/deep/er/c.png"]
    assert [name for name in files() if name.startswith("out")] == sorted(f"out/{name}" for name in inputs)


@pytest.mark.parametrize("name", ["{tree}", "../{here}/in", "./in/", "in/deep/.."])
def test_a_folder_keeps_its_tree_however_it_is_named(call, tree, files, tmp_path, name):
    assert call(*box(name.format(tree=tree, here=tmp_path.name), "-r", "-O", "out", "-q")).exit_code == 0
    below = "" if name.endswith("..") else "in/"
    assert {n for n in files() if n.startswith("out")} >= {f"out/{below}a2.png", f"out/{below}deep/er/c.png"}


def test_results_below_the_inputs_are_not_taken_for_inputs(call, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree)
    assert call(*box(".", "-r", "-O", "out", "-q")).exit_code == 0
    result = call(*box(".", "-r", "-O", "out", "--exists", "overwrite"))
    assert (result.exit_code, result.stderr) == (0, "5 of 5 images done\n")


def test_links_are_followed_to_files_and_never_to_folders(call, tree, files):
    (tree / "deep" / "loop").symlink_to("..")
    (tree / "self.png").symlink_to("self.png")
    (tree / "gone.png").symlink_to("nowhere.png")
    (tree / "link.png").symlink_to("a2.png")
    os.mkfifo(tree / "pipe.png")
    result = call(*box("in", "-r", "-O", "out"))
    assert result.exit_code == 1
    assert sorted(result.stderr.splitlines()) == [
        "6 of 8 images done, 2 failed",
        "Error: in/gone.png: no such file",
        "Error: in/self.png: a symbolic link that leads back to itself",
    ]
    assert "out/in/link.png" in files()


def test_a_folder_without_recursive_fails_alone_with_the_way_out(call, tree, picture, files):
    picture("a.png")
    result = call(*box("in", "a.png", "-O", "out"))
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: in: a directory, not a file; --recursive takes the images in it\n1 of 2 images done, 1 failed\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_cannot_be_listed_is_told_of(call, tree):
    (tree / "deep").chmod(0)
    result = call(*box("in", "-r", "-O", "out"))
    (tree / "deep").chmod(0o700)
    assert result.exit_code == 1
    assert "in/deep: cannot be listed (Permission denied)" in result.stderr


def test_an_empty_folder_is_no_failure(call, tmp_path):
    (tmp_path / "in").mkdir()
    result = call(*box("in", "-r", "-O", "out"))
    assert (result.exit_code, result.stderr) == (0, "0 of 0 images done\n")


@given(st.lists(st.text("a1٣²0-", max_size=6)))
def test_natural_order_is_an_order(names):
    backwards = names[::-1]
    assert sorted(names, key=natural) == sorted(backwards, key=natural)


def test_natural_order_counts():
    assert sorted(["a10", "a9", "A1", "b", "a01", "1", ""], key=natural) == ["", "1", "A1", "a01", "a9", "a10", "b"]


@given(st.text(st.sampled_from("ab./\\~ \n"), min_size=1))
def test_a_place_never_leads_out_of_the_tree(name):
    assert not place(name).is_absolute()
    assert ".." not in place(name).parts


# Lists


@pytest.mark.parametrize("null", [False, True])
def test_a_list_gives_inputs_in_its_order(call, picture, tmp_path, null):
    names = ["b.png", "with space.png", "-dash.png"] + (["two\nlines.png"] if null else [])
    for name in ("a.png", *names):
        picture(name)
    (tmp_path / "list").write_bytes("".join(name + ("\0" if null else "\n") for name in names).encode())
    options = ("--files-from", "list", *(["-0"] if null else []))
    result = call(*box("a.png", *options, "-O", "out", "-j", "1", "--json", "-q"))
    assert [json.loads(line)["input"] for line in result.stdout.splitlines()] == ["a.png", *names]


def test_a_list_comes_from_standard_input_when_it_is_named(script, picture, files, tmp_path):
    picture("sub/a b.png")
    picture("c.png")
    line = f'find . -name "*.png" -print0 | {script} convolve -k box --files-from - -0 -O out -q'
    assert subprocess.run(["sh", "-c", line], cwd=tmp_path, check=False).returncode == 0
    assert [name for name in files() if name.startswith("out")] == ["out/c.png", "out/sub/a b.png"]


def test_an_empty_list_is_no_failure(call, tmp_path):
    (tmp_path / "list").write_bytes(b"\n\n")
    assert call(*box("--files-from", "list", "-O", "out")).exit_code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--files-from", "none", "-O", "out"], "--files-from none: no such file or directory"),
        (["--files-from", "folder", "-O", "out"], "--files-from folder: is a directory"),
        (["--files-from", "zeros", "-O", "out"], "zeros: holds zero bytes; if they separate the names, add -0"),
        (["a.png", "-0", "-O", "out"], "-0 tells how the names of --files-from are separated; without it"),
        (["-", "--files-from", "-", "-O", "out"], "standard input can be read once"),
        (["-", "-", "-O", "out"], "standard input can be read once"),
    ],
)
def test_lists_that_cannot_be_read_are_wrong_usage(call, picture, tmp_path, words, sentence):
    picture("a.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zeros").write_bytes(b"a.png\0b.png")
    result = call(*box(*words))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert sentence in result.stderr


def test_what_vanishes_or_changes_after_it_was_listed_fails_alone(call, picture, tmp_path, monkeypatch):
    from imgtool.cli import steps

    def meddle(*arguments, **settings):
        (tmp_path / "gone.png").unlink()
        (tmp_path / "cut.png").write_bytes(b"abc")
        return execute(*arguments, **settings)

    for name in ("a.png", "gone.png", "cut.png"):
        picture(name)
    execute = steps.execute
    monkeypatch.setattr(steps, "execute", meddle)
    result = call(*box("a.png", "gone.png", "cut.png", "-O", "out"))
    assert result.exit_code == 1
    assert sorted(result.stderr.splitlines())[:2] == [
        "1 of 3 images done, 2 failed",
        "Error: cut.png: not an image that imgtool can read (a text file)",
    ]
    assert "Error: gone.png: no such file" in result.stderr


# Shards


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_inputs_out(call, picture, files, count):
    names = [f"{n}.png" for n in range(5)]
    for name in names:
        picture(name)
    for number in range(1, count + 1):
        before = set(files())
        assert call(*box(*names, "-O", "out", "--shard", f"{number}/{count}", "-q")).exit_code == 0
        assert abs(len(set(files()) - before) - 5 / count) < 1
    assert [name for name in files() if name.startswith("out")] == [f"out/{name}" for name in names]


def test_shards_see_the_collisions_of_the_whole_list_and_count_through_it(call, picture, files):
    for name in ("a/x.png", "b/x.png", "c/x.png"):
        picture(name)
    names = ("a/x.png", "b/x.png", "c/x.png", "-O", "out")
    result = call(*box(*names, "--template", "{name}", "--shard", "1/3"))
    assert result.exit_code == 2
    assert "would both be written to out/x.png" in result.stderr
    assert call(*box(*names, "--template", "{index:03}{ext}", "--shard", "2/3", "-q")).exit_code == 0
    assert [name for name in files() if name.startswith("out")] == ["out/002.png"]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", "1.5/2"])
def test_shards_that_do_not_exist_are_wrong_usage(call, shard):
    result = call(*box("a.png", "-O", "out", "--shard", shard))
    assert result.exit_code == 2
    assert "is no part of a list" in result.stderr


# Templates


@pytest.mark.parametrize(
    ("template", "output"),
    [
        ("{dir}/{stem}{suffix}{ext}", "scans/day 1/a.b_s.tif"),
        ("{name}{suffix}{ext}", "a.b.png_s.tif"),
        ("all/{index:04}-{stem}{suffix}{ext}", "all/0001-a.b_s.tif"),
        ("{{{stem}}}{suffix}{ext}", "{a.b}_s.tif"),
    ],
)
def test_a_template_makes_the_path_below_the_folder(call, picture, files, template, output):
    picture("scans/day 1/a.b.png")
    options = ("--template", template, "--suffix", "_s", "--ext", "tif")
    assert call(*box("scans/day 1/a.b.png", "-O", "out", *options)).exit_code == 0
    assert f"out/{output}" in files()


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        ("../{stem}.png", "which is no file below the folder of -O"),
        ("/tmp/{stem}.png", "which is no file below the folder of -O"),
        ("a/../../{stem}.png", "which is no file below the folder of -O"),
        ("{stem}{stem", "is no template (expected '}' before end of string)"),
        ("{stem.__class__}", "has a field {stem.__class__}; there are {dir}, {name}"),
        ("{stem[0]}", "has a field {stem[0]}"),
        ("{stem!r}", "has a field {stem}"),
        ("{}", "has a field {}"),
        ("{stem:>999999999}", "only {index} can have a width"),
        ("{index:99999999}", "only {index} can have a width"),
        ("out.png", "gives every input one name; use {stem}, {name} or {index}"),
        ("", "gives every input one name"),
    ],
)
def test_templates_that_lead_elsewhere_or_are_none_are_refused(call, picture, files, template, sentence):
    picture("a.png")
    result = call(*box("a.png", "-O", "out", "--template", template))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert sentence in result.stderr
    assert files() == ["a.png"]


@given(
    st.lists(st.sampled_from(["{dir}", "{stem}", "{name}", "{ext}", "{suffix}", "{index:02}", "/", "..", ".", "a"])),
    st.text(st.sampled_from("ab./\\ \n{}"), min_size=1),
)
def test_templates_never_leave_the_folder(parts, name):
    where = place(name)
    names = {"dir": str(where.parent), "name": where.name, "stem": where.stem, "suffix": "", "ext": where.suffix}
    try:
        path = parse_template("".join(parts)).path({**names, "index": 3})
    except ImgtoolError:
        return
    resolved = Path(os.path.normpath(Path("/out") / path))
    assert resolved != Path("/out")
    assert resolved.is_relative_to("/out")


@given(st.text(max_size=30))
def test_any_text_is_a_template_or_an_error_in_a_sentence(text):
    try:
        parse_template(text)
    except ImgtoolError as error:
        assert "template" in str(error)


def test_a_link_in_the_output_folder_leads_nowhere_else(call, picture, files, tmp_path):
    picture("scans/a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "scans").symlink_to("../elsewhere")
    for options in ([], ["--template", "{dir}/{name}"]):
        result = call(*box("scans/a.png", "-O", "out", *options))
        assert result.exit_code == 1
        assert "out/scans: a link that leads out of out; name the folder it leads to with -O" in result.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


# In place


def test_in_place_replaces_the_inputs_and_keeps_their_permissions(call, picture, tmp_path, files):
    before = {name: picture(name) for name in ("a.png", "sub/b.png")}
    (tmp_path / "a.png").chmod(0o640)
    result = call(*box(*before, "--in-place"))
    assert (result.exit_code, result.stderr) == (0, "2 of 2 images done\n")
    assert files() == sorted(before)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
    for name, data in before.items():
        assert not np.array_equal(io.read(tmp_path / name).data, data)


def test_in_place_keeps_what_fails(call, picture, tmp_path):
    picture("a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:300])
    before = (tmp_path / "b.png").read_bytes()
    assert call(*box("a.png", "b.png", "--in-place")).exit_code == 1
    assert (tmp_path / "b.png").read_bytes() == before
    result = call(*box("a.png", "--in-place", "--dtype", "float32"))
    assert result.exit_code == 1
    assert "PNG cannot hold float32" in result.stderr


@pytest.mark.parametrize(
    "options", [["-o", "b.png"], ["-O", "out"], ["--suffix", "_s"], ["--exists", "skip"], ["--format", "png"]]
)
def test_in_place_goes_with_no_other_output(call, picture, options):
    picture("a.png")
    result = call(*box("a.png", "--in-place", *options))
    assert result.exit_code == 2
    assert "--in-place replaces the inputs" in result.stderr


def test_in_place_meets_each_file_once(call, picture, tmp_path):
    picture("a.png")
    (tmp_path / "link.png").symlink_to("a.png")
    result = call(*box("a.png", "link.png", "--in-place"))
    assert result.exit_code == 2
    assert "a.png and link.png would both be written to link.png" in result.stderr


@pytest.mark.parametrize("option", ["-o", "-O", "--profile-out"])
def test_an_empty_name_is_not_the_current_folder(call, picture, files, option):
    picture("a.png")
    result = call(*box("a.png", *(() if option == "-O" else ("-O", "out")), option, ""))
    assert result.exit_code == 2
    assert "the name is empty; write ./ for the current folder" in result.stderr
    assert files() == ["a.png"]


# Dry runs


def test_a_dry_run_prints_the_plan_and_does_nothing(call, picture, files):
    for name in ("a.png", "sub/b.png"):
        picture(name)
    before = files()
    result = call(*box("a.png", "sub/b.png", "none.png", "-O", "out/new", "-n"))
    assert result.exit_code == 1
    assert result.stdout == "a.png -> out/new/a.png\nsub/b.png -> out/new/sub/b.png\n"
    assert result.stderr.startswith("Error: none.png: no such file\n2 of 3 images would be done, ")
    assert result.stderr.endswith("1 failed\n")
    assert files() == before


def test_a_dry_run_finds_what_the_run_would_refuse(call, picture, tmp_path):
    picture("a.png")
    (tmp_path / "plain").write_bytes(b"")
    for words, status in [
        (["a.png", "a.png", "-O", "out"], 2),
        (["a.png", "-O", "plain/out"], 1),
        (["a.png", "-o", "none/b.png"], 1),
        (["a.png", "-O", "out", "--dtype", "float32"], 1),
    ]:
        dry, wet = call(*box(*words, "--dry-run")), call(*box(*words))
        assert dry.exit_code == wet.exit_code == status
        assert dry.stderr.startswith("Error: ")
        assert not (tmp_path / "out").exists()


def test_a_dry_run_estimates_the_memory(call, picture):
    picture("a.npy", shape=(100, 200), dtype=np.uint8)
    result = call(*box("a.npy", "-O", "out", "-n", "--json", "--dtype", "float32"))
    record = json.loads(result.stdout)
    assert (record["status"], record["output"]) == ("planned", "out/a.npy")
    assert 20_000 * (1 + 1 + 2 * 4) <= record["memory"] < 20_000 * 10 + 1000


def test_the_estimate_holds_for_a_real_run(finish, script, picture, tmp_path):
    picture("a.npy", shape=(3000, 4000), dtype=np.uint8)
    line = ["convolve", "a.npy", "-k", "box:5", "-O", "out", "--dtype", "float32", "-j", "1"]
    estimate = int(finish(*line, "-n")[2].split("about ")[1].split()[0])
    # A process of its own for the measurement: the peak of a child begins with that of its parent.
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code, script, *line], cwd=tmp_path, capture_output=True, check=True)
    peak = int(done.stdout) / (1024 if sys.platform != "darwin" else 2**20)
    assert 0.5 * estimate < peak < 1.2 * estimate
