"""The same batch on a real dask.distributed cluster on this machine, with a worker lost in the middle."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from imgtool import io
from imgtool.cli.common import CommonFile
from imgtool.cli.options import Reading
from imgtool.cli.planes import Look
from imgtool.cli.registered import ReferenceFiles
from imgtool.io.transforms import write_transform
from imgtool.transforms import MatrixTransform

pytest.importorskip("distributed")

MANY = 150
# A worker as dask starts it, after some lines of preparation.
WORKER = "import sys\n{before}\nfrom distributed.cli.dask_worker import main\nmain()"

BLIND = """
import pathlib
stat = pathlib.Path.stat
def blind(path, **rest):
    if path.name == 'a.png':
        raise FileNotFoundError
    return stat(path, **rest)
pathlib.Path.stat = blind
"""
BARRED = """
import os
access = os.access
os.access = lambda path, mode: 'out' not in str(path) and access(path, mode)
"""
# Every image is read at the third attempt only.
SHAKY = """
from imgtool import io
opened, tries = io.open_pages, {}
def shaky(path, **rest):
    tries[path] = tries.get(path, 0) + 1
    if tries[path] < 3:
        raise OSError(5, 'Input/output error', path)
    return opened(path, **rest)
io.open_pages = shaky
"""


@pytest.fixture
def cluster(tmp_path_factory):
    """A scheduler, and a function that starts a worker of one thread."""
    folder = tmp_path_factory.mktemp("cluster")
    address = folder / "scheduler.json"
    # Who asks a lost worker for a result asks again until this has passed; on a busy machine, a test should not.
    variables = os.environ | {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"}
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": variables}
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)]
    processes = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *options], **quiet)]

    def worker(before=""):
        options = ["--scheduler-file", str(address), "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        code = WORKER.format(before=before)
        processes.append(subprocess.Popen([sys.executable, "-c", code, *options], **quiet))
        return processes[-1]

    def wait(count):
        code = "import sys; from distributed import Client; client = Client(scheduler_file=sys.argv[1], timeout=60); "
        code += "client.wait_for_workers(int(sys.argv[2]), timeout=120)"
        subprocess.run([sys.executable, "-c", code, str(address), str(count)], check=True, timeout=180)

    worker.wait = wait
    worker.scheduler = processes[0]
    worker.address = f"file:{address}"
    for _ in range(600):
        if address.exists():
            break
        time.sleep(0.05)
    yield worker
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def many(picture):
    """The names of many images, in folders and with names that are not plain."""
    names = [f"scans/{n % 3}/it's {n}.png" for n in range(MANY)]
    for n, name in enumerate(names):
        picture(name, shape=(200, 200), shift=(n, 0))
    return names


def records(out):
    """What was told of each item, but for the time that it took."""
    lines = [json.loads(line) for line in out.splitlines()]
    return {line["input"]: {key: value for key, value in line.items() if key != "seconds"} for line in lines}


def test_a_lost_worker_changes_neither_bytes_nor_records(cluster, start, finish, many, picture, tmp_path):
    lost, _ = cluster(), cluster()
    cluster.wait(2)
    picture("mask.png", shape=(200, 200))
    (tmp_path / "scans" / "cut.png").write_bytes((tmp_path / many[0]).read_bytes()[:-40])
    line = (
        "convolve",
        *many,
        "scans/cut.png",
        "none.png",
        "-k",
        "sharpen",
        "--mask",
        "mask.png",
        "--json",
        "-O",
        "out",
    )
    status, out, err = finish(*line)
    assert status == 1
    (tmp_path / "out").rename(tmp_path / "local")
    with start(*line, "--scheduler", cluster.address, bufsize=0) as process:
        first = b"".join(process.stdout.readline() for _ in range(MANY // 5))
        lost.send_signal(signal.SIGKILL)
        rest, there = process.communicate(timeout=180)
    assert process.returncode == 1
    assert records((first + rest).decode()) == records(out)
    assert sorted(there.decode().splitlines()) == sorted(err.splitlines())
    for name in many:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    assert sum(1 for path in (tmp_path / "out").rglob("*") if path.is_file()) == MANY


def test_a_lost_scheduler_is_one_sentence(cluster, start, many, tmp_path):
    cluster()
    line = ("convolve", *many, "-k", "gaussian:5", "-O", "out", "--json", "-q", "--scheduler", cluster.address)
    with start(*line) as process:
        process.stdout.readline()
        cluster.scheduler.kill()
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == (
        f"Error: --scheduler {cluster.address}: the scheduler has gone; start it again, and do what is left by "
        "--exists skip"
    )
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_batch_ends_when_no_worker_has_been_left_for_long(cluster, many, tmp_path):
    lost = cluster()
    cluster.wait(1)
    code = "from imgtool.cli import cluster, main; cluster._LONELY_PATIENCE = 1; main()"
    line = ("convolve", *many, "-k", "gaussian:5", "-O", "out", "--json", "-q", "--scheduler", cluster.address)
    with subprocess.Popen(
        [sys.executable, "-c", code, *line],
        cwd=tmp_path,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        first = json.loads(process.stdout.readline())
        lost.send_signal(signal.SIGKILL)
        rest, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == (
        f"Error: --scheduler {cluster.address}: has had no workers for 1 s; start some with dask worker, and do what "
        "is left by --exists skip"
    )
    told = [first, *map(json.loads, rest.splitlines())]
    assert 0 < len(told) < MANY
    assert all((tmp_path / line["output"]).is_file() for line in told)
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_every_operation_gives_there_what_it_gives_here(cluster, finish, picture, files, tmp_path):
    for name in ("fixed.png", "mask.png"):
        picture(name, shape=(80, 90))
    moving = [f"moving{n}.png" for n in range(4)]
    for n, name in enumerate(moving):
        picture(name, shape=(80, 90), shift=(n, 1))
    turn = MatrixTransform([[0.9, 0.1, 2], [-0.1, 0.9, 1], [0, 0, 1]], "affine", (80, 90), (80, 90))
    write_transform(tmp_path / "turn.json", turn)
    cluster()
    for line in (
        ("register", "fixed.png", "--fixed-mask", "mask.png", "-m", "rigid", "-t", "OUT/", "-O", "OUT"),
        ("warp", "-t", "turn.json", "-O", "OUT"),
        ("nmi", "fixed.png", "--mask", "mask.png", "--gradient", "OUT/"),
        ("pipe", "register fixed.png -m translation", "convolve -k box --mask mask.png", "-O", "OUT"),
    ):
        told = []
        for place, options in ("here", ()), ("there", ("--scheduler", cluster.address)):
            words = [word.replace("OUT", f"{place}/{line[0]}") for word in line]
            status, out, err = finish(*words, *moving, "--json", *options)
            assert status == 0, err
            told.append({re.sub(r'"seconds": \{[^}]*\}', "", row).replace(place, "OUT") for row in out.splitlines()})
        assert told[0] == told[1]
    written = [name.removeprefix("here/") for name in files() if name.startswith("here/")]
    assert len(written) == 5 * len(moving)
    for name in written:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_a_series_is_aligned_there_as_here(cluster, finish, picture, files, tmp_path):
    pages = [picture(f"s{n}.png", shape=(70, 80), shift=(n, -n / 2)) for n in range(5)]
    io.write(tmp_path / "cells.tif", io.Image(np.stack(pages)))
    for _ in range(2):
        cluster()
    cluster.wait(2)
    for number, words in enumerate(
        [
            ("s0.png", "s1.png", "s2.png", "s3.png", "s4.png", "--reference", "3"),
            ("cells.tif", "--reference", "mean", "-m", "translation"),
            ("cells.tif", "--apply", "here/0/transforms.json"),
        ]
    ):
        told = []
        for place, options in ("here", ("-j", "2")), ("there", ("--scheduler", cluster.address)):
            status, out, err = finish("stack", *words, "-O", f"{place}/{number}", "--json", *options)
            assert (status, err) == (0, "")
            told.append(out.replace(place, "OUT"))
        assert told[0] == told[1]
    written = [name.removeprefix("here/") for name in files() if name.startswith("here/")]
    assert len(written) == 5 + 3 + 1 + 3 + 1
    for name in written:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
    assert len(files()) == 6 + 2 * len(written)


def test_what_all_images_need_travels_as_a_path(picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture("fixed.png", shape=(300, 300))
    files = ReferenceFiles(CommonFile.found("fixed.png"), None, None, None, None, Look(), None, Reading())
    assert files.read().fixed.shape == (300, 300)
    arrived = pickle.dumps(files)
    assert len(arrived) < 2000
    monkeypatch.chdir("/")
    assert pickle.loads(arrived).read().fixed.shape == (300, 300)


def test_ctrl_c_cancels_what_the_cluster_has_not_begun(cluster, start, many, tmp_path):
    cluster()
    line = ("convolve", *many, "-k", "gaussian:5", "-O", "out", "--json", "-q", "--scheduler", cluster.address)
    with start(*line) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == b""
    time.sleep(0.5)
    written = {path.name for path in (tmp_path / "out").rglob("*")}
    assert 0 < len(written) < MANY
    assert not [name for name in written if name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ("sys.modules['imgtool'] = None", "cannot run imgtool"),
        ("import imgtool; imgtool.__version__ = '0.0.1'", "has imgtool 0.0.1, not "),
        ("import os; os.environ['IMGTOOL_ISA'] = 'base'", "uses the base build of the kernels and this process "),
        (BLIND.replace("a.png", "mask.png"), "mask.png as this process does; use a folder that all share"),
        (BLIND, "a.png as this process does; use a folder that all share"),
        (BARRED, "/out as this process does; use a folder that all share"),
    ],
    ids=["no imgtool", "another version", "another build", "no common file", "no input", "no output"],
)
def test_a_worker_that_does_not_fit_is_found_before_the_work(
    cluster, finish, picture, files, tmp_path, before, sentence
):
    from imgtool import _ext

    if "ISA" in before and _ext.ISA == "base":
        pytest.skip("this process uses the base build itself")
    picture("a.png")
    picture("mask/mask.png")
    cluster(before)
    line = ("convolve", "a.png", "-k", "box", "--mask", "mask/mask.png", "-O", "out", "--scheduler", cluster.address)
    status, out, err = finish(*line)
    assert (status, out) == (1, "")
    assert err.startswith("Error: worker tcp://127.0.0.1:")
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "mask"]


def test_a_scheduler_that_does_not_answer_is_one_sentence(call, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("imgtool.cli.cluster._PATIENCE", 1)
    picture("a.png")
    (tmp_path / "odd.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for address, sentence in [
            ("tcp://127.0.0.1:1", "no scheduler answers within 1 s; start one with dask scheduler"),
            ("tcp://nowhere:1", "no scheduler answers within 1 s"),
            (f"tcp://127.0.0.1:{silent.getsockname()[1]}", "no scheduler answers within 1 s"),
            ("file:none.json", "none.json: no such file"),
            ("file:odd.json", "odd.json: holds no address"),
        ]:
            result = call("convolve", "a.png", "-k", "box", "-O", "out", "--scheduler", address)
            assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
            assert sentence in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--scheduler", "localhost"], "'localhost' is neither tcp://HOST:PORT nor file:SCHEDULER.json"),
        (["--scheduler", "tcp://nowhere"], "is neither tcp://HOST:PORT"),
        (["--scheduler", "tcp://here:door"], "is neither tcp://HOST:PORT"),
        (["--scheduler", "tcp://127.0.0.1:1", "--profile-out", "p"], "--profile-out is about work in this process"),
        (["--retries", "3"], "--retries is for work on a cluster; without --scheduler it has no effect"),
    ],
)
def test_options_that_need_or_exclude_a_cluster(call, picture, options, sentence):
    picture("a.png")
    result = call("convolve", "a.png", "-k", "box", "-O", "out", *options)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_local_is_no_cluster(call, picture, files):
    picture("a.png")
    assert call("convolve", "a.png", "-k", "box", "-o", "b.png", "--scheduler", "local").exit_code == 0
    assert files() == ["a.png", "b.png"]


def test_streams_do_not_travel(start, picture):
    picture("a.png")
    with start("convolve", "a.png", "-k", "box", "-o", "-", "--format", "png", "--scheduler", "tcp://x:1") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"a cluster works on files; standard input and output have no meaning with --scheduler" in err


def test_failed_items_are_tried_again_as_often_as_asked(cluster, finish, picture, tmp_path):
    cluster(SHAKY)
    picture("a.png")
    line = ("convolve", "a.png", "-k", "box", "-O", "out", "--scheduler", cluster.address)
    status, _, err = finish(*line, "--retries", "1")
    assert (status, err) == (1, "Error: a.png: Input/output error\n")
    assert finish(*line, "--retries", "1")[0] == 0
    assert os.listdir(tmp_path / "out") == ["a.png"]  # noqa: PTH208
