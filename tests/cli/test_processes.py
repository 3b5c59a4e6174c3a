"""The program as the shell sees it: signals, pipes, a full disk, what is imported."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

MANY = 500


@pytest.fixture
def many(picture, tmp_path):
    """The names of many images in a folder, which take a second or more to convolve one by one."""
    picture("0.npy", shape=(200, 200), dtype=float)
    for n in range(1, MANY):
        os.link(tmp_path / "0.npy", tmp_path / f"{n}.npy")
    return [f"{n}.npy" for n in range(MANY)]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_whole_files_and_status_130(start, many, tmp_path, jobs):
    with start("convolve", *many, "-k", "gaussian:5", "-O", "out", "-j", jobs, "--json", "-q") as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == b""
    done = {first["output"], *(json.loads(line)["output"] for line in out.splitlines())}
    written = {str(path.relative_to(tmp_path)) for path in (tmp_path / "out").iterdir()}
    assert done <= written
    assert len(written) < MANY
    assert {(tmp_path / name).stat().st_size for name in written} == {(tmp_path / "0.npy").stat().st_size}


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
    done = subprocess.run(
        [sys.executable, "-X", "importtime", script, *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"numpy", "imageio", "PIL", "tifffile", "imagecodecs", "scipy", "tqdm"}


def test_a_terminal_shows_a_progress_bar_for_several_images_and_no_result_is_lost(script, picture, tmp_path):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    for name in ("a.png", "b.png"):
        picture(name)
    control, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    line = [script, "convolve", "a.png", "b.png", "-k", "box", "-O", "out", "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=terminal, cwd=tmp_path, check=True)
    shown = os.read(control, 10_000).decode()
    os.close(control)
    os.close(terminal)
    assert "image/s" in shown
    assert shown.endswith("2 of 2 images done\r\n")
    assert len(done.stdout.splitlines()) == 2
