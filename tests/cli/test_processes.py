"""The program as the shell sees it: signals, pipes, a full disk, what is imported."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgtool import filters, io
from imgtool.kernels import parse_kernel

MANY = 500


@pytest.fixture
def many(picture, tmp_path):
    """The names of many images in a folder, which take a second or more to convolve one by one."""
    picture("0.npy", shape=(200, 200), dtype=float)
    for n in range(1, MANY):
        os.link(tmp_path / "0.npy", tmp_path / f"{n}.npy")
    return [f"{n}.npy" for n in range(MANY)]


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_whole_files_and_its_status(start, many, tmp_path, jobs, number):
    with start("convolve", *many, "-k", "gaussian:5", "-O", "out", "-j", jobs, "--json", "-q") as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.strip() == b""
    done = {first["output"], *(json.loads(line)["output"] for line in out.splitlines())}
    written = {str(path.relative_to(tmp_path)) for path in (tmp_path / "out").iterdir()}
    assert done <= written
    assert len(written) < MANY
    assert {(tmp_path / name).stat().st_size for name in written} == {(tmp_path / "0.npy").stat().st_size}


def test_a_killed_batch_leaves_whole_files_and_is_resumed(start, finish, many, tmp_path):
    line = ("convolve", *many, "-k", "gaussian:5", "-O", "out", "-q")
    with start(*line, "--json") as process:
        process.stdout.readline()
        process.kill()
    left = list((tmp_path / "out").iterdir())
    assert {path.stat().st_size for path in left} == {(tmp_path / "0.npy").stat().st_size}
    before = {path: path.stat().st_mtime_ns for path in left}
    assert finish(*line, "--exists", "skip") == (0, "", "")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(many)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_a_second_signal_ends_at_once(start, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3000, 3000)))
    line = (
        "convolve",
        "a.npy",
        "a.npy",
        "-k",
        "gaussian:9",
        "--method",
        "direct",
        "-O",
        "out",
        "--template",
        "{index}.npy",
    )
    with start(*line, "-j", "2", "--threads", "1", "--progress", "always") as process:
        process.stderr.read(1)
        time.sleep(0.3)  # both jobs are in kernels that take seconds
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=2)
    assert process.returncode == 143
    assert not list((tmp_path / "out").iterdir())


def test_a_signal_that_is_ignored_stays_ignored(script, picture, tmp_path):
    picture("a.png")
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    line = [sys.executable, "-c", code, script, "convolve", "-", "-k", "box", "-o", "b.png"]
    with subprocess.Popen(line, cwd=tmp_path, stdin=subprocess.PIPE) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGHUP)
        process.communicate((tmp_path / "a.png").read_bytes(), timeout=60)
    assert process.returncode == 0


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_disk_that_is_full_is_one_sentence_and_no_file(finish, picture, files):
    picture("a.npy", shape=(300, 300))
    picture("b.npy", shape=(3, 3))
    status, _, err = finish(
        "convolve", "a.npy", "b.npy", "-k", "box", "-O", "out", "-j", "1", preexec_fn=limited(10_000)
    )
    assert status == 1
    assert err == (
        "Error: out/a.npy: cannot be written: the file would be larger than this system allows\n"
        "1 of 2 images done, 1 failed\n"
    )
    assert files() == ["a.npy", "b.npy", "out/b.npy"]


@pytest.mark.parametrize("ext", ["png", "tif", "jpg", "webp", "bmp", "pgm", "npy"])
def test_every_format_fails_whole_on_a_full_disk(finish, picture, files, tmp_path, ext):
    gray = picture("a.npy", shape=(300, 300))
    if ext == "webp":
        np.save(tmp_path / "a.npy", np.dstack([gray] * 3))
    before = files()
    status, _, err = finish("convolve", "a.npy", "-k", "identity", "-o", f"b.{ext}", preexec_fn=limited(200))
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(f"Error: b.{ext}: cannot be written: ")
    assert files() == before


@pytest.mark.parametrize("policy", ["overwrite", "error"])
def test_two_programs_writing_one_file_leave_one_whole_file(start, picture, tmp_path, policy):
    picture("a.npy", shape=(400, 400))
    kernels = ("box", "sharpen", "gaussian:3", "identity")
    line = ("convolve", "a.npy", "-o", "b.png", "--exists", policy, "-q", "-k")
    programs = [start(*line, kernel) for kernel in kernels]
    status = [process.communicate() and process.returncode for process in programs]
    assert status.count(0) == (4 if policy == "overwrite" else 1)
    assert {path.name for path in tmp_path.iterdir()} == {"a.npy", "b.png"}
    written = io.read(tmp_path / "b.png").data
    finals = [filters.convolve(np.load(tmp_path / "a.npy"), parse_kernel(kernel).arrays[0]) for kernel in kernels]
    assert any(np.array_equal(written, final) for final in finals)


def test_a_closed_pipe_is_quiet(start, many):
    with start("convolve", *many, "-k", "gaussian:5", "-O", "out", "--json", "-q") as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        process.wait(timeout=60)
    assert err == b""
    assert process.returncode == 1


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["convolve", "-h"]])
def test_a_pipe_that_nobody_reads_is_quiet(script, words, tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([script, *words], stdout=write, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_under_standard_output_is_one_sentence(script, tmp_path):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([script, "--help"], stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (1, b"Error: standard output: No space left on device\n")


@pytest.mark.parametrize("progress", ["auto", "always"])
def test_closed_streams_do_no_harm(script, picture, tmp_path, progress):
    picture("a.png")
    picture("b.png")
    line = f'"$0" convolve a.png b.png none.png -k box -O out --json --progress {progress} >&- 2>&- <&-'
    assert subprocess.run(["sh", "-c", line, script], cwd=tmp_path, check=False).returncode == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png"}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["convolve", "a.png", "-k", "box", "-o", "b.png"], 0),
        (["convolve", "a.png", "none.png", "-k", "box", "-O", "out"], 1),
        (["convolve", "a.png", "-k", "bax", "-o", "b.png"], 2),
        (["nothing"], 2),
    ],
)
def test_exit_statuses(finish, picture, words, status):
    picture("a.png")
    result, _, err = finish(*words)
    assert result == status
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["-v", "--version"], ["register", "--help"]])
def test_help_and_version_import_nothing_heavy(script, words, tmp_path):
    names = imported(script, words, tmp_path)
    assert "click" in names
    assert not names & {"numpy", "imageio", "PIL", "tifffile", "imagecodecs", "scipy", "tqdm"}


def test_one_image_is_convolved_without_what_only_others_need(script, picture, tmp_path):
    picture("a.png")
    names = imported(script, ["convolve", "a.png", "-k", "box", "-o", "b.png"], tmp_path)
    assert {"numpy", "imagecodecs"} <= names
    assert not names & {"concurrent", "difflib", "imageio", "json", "locale", "PIL", "tifffile", "tqdm"}


def imported(script, words, folder):
    """The top-level modules that the program loads for a command line."""
    line = [sys.executable, "-X", "importtime", script, *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, check=True)
    return {row.rpartition("|")[2].strip().partition(".")[0] for row in done.stderr.splitlines()}


def everything(control):
    """What was written to a terminal that nobody has open any more; its end is an error."""
    shown = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(control, 10_000):
            shown += chunk
    os.close(control)
    return shown.decode()


def test_a_terminal_shows_a_progress_bar_for_several_images_and_no_result_is_lost(script, picture, tmp_path):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    for name in ("a.png", "b.png"):
        picture(name)
    control, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    line = [script, "convolve", "a.png", "b.png", "-k", "box", "-O", "out", "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=terminal, cwd=tmp_path, check=True)
    os.close(terminal)
    shown = everything(control)
    assert "image/s" in shown
    assert shown.endswith("2 of 2 images done\r\n")
    assert len(done.stdout.splitlines()) == 2
