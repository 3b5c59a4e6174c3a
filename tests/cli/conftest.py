"""The program, called in this process and as a process of its own."""

import subprocess
import sys
import sysconfig
from inspect import signature
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from click.testing import CliRunner
from scenes import texture

from imgtool.cli import cli

SCRIPT = Path(sysconfig.get_path("scripts")) / "imgtool"


class Process(subprocess.Popen):
    """A process that does not outlive a test that failed."""

    def __exit__(self, kind, *rest):
        if kind is not None:
            self.kill()
        super().__exit__(kind, *rest)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Run a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    # Before click 8.2 the two streams were mixed unless one asked.
    runner = CliRunner(**({"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}))

    def invoke(*words, env=None):
        result = runner.invoke(cli, [str(word) for word in words], env=env, prog_name="imgtool")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def script():
    """Where the installed program is."""
    return SCRIPT


@pytest.fixture
def start(tmp_path):
    """Start a command line as a process in the same empty folder, with signals as a terminal gives them."""
    # Who runs tests in the background has SIGINT ignored, nohup SIGHUP, and children inherit that.
    trampoline = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
        "signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )

    def popen(*words, **settings):
        return Process(
            [sys.executable, "-c", trampoline, SCRIPT, *words],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **settings,
        )

    return popen


@pytest.fixture
def finish(start):
    """Run a command line as a process to its end: its exit status, standard output and standard error."""

    def run(*words, **settings):
        with start(*words, **settings) as process:
            out, err = process.communicate(timeout=180)
        return process.returncode, out.decode(), err.decode()

    return run


@pytest.fixture
def picture(tmp_path):
    """Write a test picture into the folder: smooth, without symmetries, all gray levels."""

    def make(name, *, shape=(48, 40), shift=(0, 0), dtype=np.uint8):
        y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
        y, x = y + shift[1], x + shift[0]
        values = (texture(x, y) / 3.5 + 1).clip(0, 2) / 2
        values = values * np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else values
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, values.astype(dtype))
        else:
            iio.imwrite(path, values.astype(dtype))
        return values.astype(dtype)

    return make


@pytest.fixture
def files(tmp_path):
    """The names of all files in the folder and below."""
    return lambda: sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir())
