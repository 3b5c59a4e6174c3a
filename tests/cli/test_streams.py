"""Images through standard input and output, and pipes in the place of files."""

import os
import subprocess
import sys

import numpy as np
import pytest

from imgtool import filters, io

KERNEL = np.full((3, 3), 1 / 9)


@pytest.fixture
def pipe(script, tmp_path):
    """Run a line of shell in which $imgtool is the program; its status, output and words."""

    def run(line, **settings):
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env={"imgtool": str(script), "PATH": "/usr/bin:/bin"},
            capture_output=True, check=False, **settings,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr.decode()

    return run


def decoded(content, tmp_path):
    path = tmp_path / "decoded"
    path.write_bytes(content)
    return io.read(path).data


@pytest.mark.parametrize(
    "line",
    [
        "$imgtool convolve - -k box --format png < a.png > b.png",
        "$imgtool convolve - -k box --format .PNG -o - < a.png > b.png",
        "cat a.png | $imgtool convolve - -k box --format png | cat > b.png",
        "cat a.png | $imgtool convolve - -k box -o b.png",
        "cat a.png | $imgtool convolve /dev/stdin -k box -o b.png",
        "$imgtool convolve <(cat a.png) -k box -o b.png",
        "$imgtool convolve a.png -k box -o - --format png > b.png",
        "mkfifo p; cat a.png > p & $imgtool convolve p -k box -o b.png",
        "$imgtool convolve - -k box --format png < a.png | $imgtool convolve - -k identity -o b.png",
    ],
)
def test_images_go_through_pipes(pipe, picture, tmp_path, line):
    before = picture("a.png")
    assert pipe(line, timeout=60) == (0, b"", "")
    expected = filters.convolve(before, KERNEL)
    np.testing.assert_array_equal(io.read(tmp_path / "b.png").data, expected)


@pytest.mark.parametrize("extension", ["png", "tif", "npy", "pgm", "bmp"])
def test_the_format_of_a_stream_is_the_one_asked_for(pipe, picture, tmp_path, extension):
    before = picture("a.png")
    status, out, err = pipe(f"$imgtool convolve - -k identity --format {extension} < a.png")
    assert (status, err) == (0, "")
    np.testing.assert_array_equal(decoded(out, tmp_path), before)
    (tmp_path / f"b.{extension}").write_bytes(out)
    assert io.probe(tmp_path / f"b.{extension}").format.lower()[:2] == extension[:2]


@pytest.mark.parametrize(
    ("line", "status", "sentence"),
    [
        ("convolve - -k box < a.png", 2, "nowhere to write; give -o FILE"),
        ("convolve - -k box -o - < a.png", 2, "add --format, such as png"),
        ("convolve - -k box --format xyz < a.png", 2, "'--format': .xyz files are not written; use one of .png"),
        ("convolve - -k box --format png --dtype float32 < a.png", 1, "PNG cannot hold float32 gray; use .tif"),
        (
            "convolve a.png -k box -o b.png --format png",
            2,
            "--format is for standard output, -o -; the format of a file",
        ),
        ("convolve a.png -k box -o - --format png --json", 2, "the image goes to standard output; give -o FILE"),
        ("convolve a.png -k box -o - --format png -n", 2, "the image goes to standard output; give -o FILE"),
        ("convolve - -k box --in-place < a.png", 2, "standard input cannot be replaced by --in-place"),
        ("convolve - -k box --format png < /dev/null", 1, "Error: -: the file is empty"),
        ("convolve - -k box --format png <&-", 1, "-: standard input is a terminal or closed"),
        ("convolve a.png - -k box -o - --format png < a.png", 2, "-o names one output, but there are 2 inputs"),
    ],
)
def test_streams_that_cannot_be_meant_end_in_a_sentence(pipe, picture, line, status, sentence):
    picture("a.png")
    result, out, err = pipe(f"$imgtool {line}")
    assert (result, out) == (status, b"")
    assert sentence in err
    assert err.count("\n") == 1


def test_words_about_an_image_on_standard_output_go_to_standard_error(pipe, picture, tmp_path):
    picture("a.png")
    picture("b.png", shift=(2, 0))
    status, out, err = pipe("$imgtool register a.png b.png -m translation -o - --format png")
    assert status == 0
    assert decoded(out, tmp_path).shape == (48, 40)
    assert err.startswith("b.png: NMI ")


def test_an_image_is_not_written_to_a_terminal(script, picture, tmp_path):
    pty = pytest.importorskip("pty")
    picture("a.png")
    control, terminal = pty.openpty()
    line = [script, "convolve", "a.png", "-k", "box", "-o", "-", "--format", "png"]
    done = subprocess.run(line, cwd=tmp_path, stdout=terminal, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"the image would go to the terminal; redirect standard output, or give -o FILE" in done.stderr
    line = [script, "convolve", "-", "-k", "box", "-o", "b.png"]
    done = subprocess.run(line, cwd=tmp_path, stdin=terminal, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"Error: -: standard input is a terminal or closed; send an image into it\n"
    for end in (control, terminal):
        os.close(end)


def test_a_reader_that_goes_away_is_quiet(pipe, picture):
    picture("a.npy", shape=(2000, 2000), dtype=float)
    status, out, err = pipe("$imgtool convolve a.npy -k box -o - --format npy | head -c 6; exit ${PIPESTATUS[0]}")
    assert (status, out, err) == (1, b"\x93NUMPY", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full is Linux's")
def test_a_full_disk_under_the_image_is_one_sentence(pipe, picture):
    picture("a.png")
    status, _, err = pipe("$imgtool convolve a.png -k box -o - --format png > /dev/full")
    assert status == 1
    assert err == "Error: a.png: standard output: cannot be written: the disk is full\n"


def test_a_file_named_like_the_stream_can_be_named(pipe, picture, files, tmp_path):
    before = picture("a.png")
    (tmp_path / "a.png").rename(tmp_path / "-")
    assert pipe("$imgtool convolve ./- -k identity -o b.png < /dev/null")[0] == 0
    np.testing.assert_array_equal(io.read(tmp_path / "b.png").data, before)
