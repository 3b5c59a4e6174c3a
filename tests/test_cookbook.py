"""Every recipe of docs/cookbook.md does what it says, as it stands there."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from imgtool import io

PAGE = (Path(__file__).parents[1] / "docs" / "cookbook.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"<!-- recipe (\w+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def kitchen(tmp_path):
    """Some photos and scans, a list, and a function that runs a recipe in their folder."""
    rng = np.random.default_rng(0)
    photos = ["photos/a.png", "photos/b.png", "photos/trip to/c's.png"]
    for name in [*photos, "scans/1.tif", "scans/2.tif", "scans/old/3.tif", "good/broken.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        io.write(tmp_path / name, io.Image(rng.integers(0, 256, (20, 30), dtype=np.uint8)))
    (tmp_path / "list.txt").write_text("".join(f"{name}\n" for name in photos))

    def cook(name, *, command=None, **environment):
        path = f"{PROGRAMS}:/usr/local/bin:/usr/bin:/bin"
        environment |= {key: value for key, value in os.environ.items() if key == "IMGTOOL_ISA"}
        return subprocess.run(
            command or ["sh", "-euc", RECIPES[name]],
            cwd=tmp_path, env={"PATH": path, "HOME": str(tmp_path), **environment},
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip

    cook.folder = tmp_path
    return cook


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


PHOTOS = ["photos/a.png", "photos/b.png", "photos/trip to/c's.png"]
SCANS = ["scans/1.tif", "scans/2.tif", "scans/old/3.tif"]


def test_there_are_ten_recipes_at_least_and_each_has_its_test():
    assert len(RECIPES) >= 10
    assert {f"test_{name}" for name in RECIPES} <= set(globals())


def test_tree(kitchen):
    kitchen("tree")
    assert below(kitchen.folder / "soft") == PHOTOS
    before = [(kitchen.folder / "soft" / name).stat().st_mtime_ns for name in PHOTOS]
    kitchen("tree")
    assert [(kitchen.folder / "soft" / name).stat().st_mtime_ns for name in PHOTOS] == before


def test_find(kitchen):
    kitchen("find")
    assert below(kitchen.folder / "smooth") == SCANS


def test_loop(kitchen):
    kitchen("loop")
    assert {"sharp-a.png", "sharp-b.png", "sharp-c's.png"} <= set(below(kitchen.folder))
    assert not (kitchen.folder / "failed.txt").exists()


def test_xargs(kitchen):
    kitchen("xargs")
    assert below(kitchen.folder / "edges") == PHOTOS


@pytest.mark.skipif(shutil.which("parallel") is None, reason="GNU parallel is not on this machine")
def test_parallel(kitchen):
    kitchen("parallel")
    kernels = ("laplacian", "sharpen", "sobel")
    assert below(kitchen.folder / "kernels") == sorted(f"{kernel}/{name}" for kernel in kernels for name in PHOTOS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")
def test_make(kitchen):
    (kitchen.folder / "Makefile").write_text(RECIPES["make"])
    kitchen("make", command=["make", "-j2"])
    assert below(kitchen.folder / "soft") == ["a.png", "b.png"]
    assert kitchen("make", command=["make"]).stdout.startswith("make: Nothing to be done")


def test_slurm(kitchen):
    for task in "1234":
        kitchen("slurm", SLURM_ARRAY_TASK_ID=task, SLURM_ARRAY_TASK_COUNT="4")
    assert below(kitchen.folder / "filtered") == SCANS
    assert io.read(kitchen.folder / "filtered" / SCANS[0]).data.dtype == np.float32


def test_stream(kitchen):
    kitchen("stream")
    assert io.read(kitchen.folder / "lines.tif").data.dtype == np.float32


def test_pipe(kitchen):
    kitchen("pipe")
    assert below(kitchen.folder / "lines") == [name.replace(".png", ".tif") for name in PHOTOS]


def test_again(kitchen):
    whole = (kitchen.folder / "good/broken.png").read_bytes()
    (kitchen.folder / "photos/broken.png").write_bytes(whole[:-20])
    kitchen("again")
    assert below(kitchen.folder / "sharp") == sorted([*PHOTOS, "photos/broken.png"])
    records = map(json.loads, (kitchen.folder / "log.ndjson").read_text().splitlines())
    assert {record["input"] for record in records if record["error"]} == {"photos/broken.png"}


def test_dry(kitchen):
    done = kitchen("dry")
    outputs = ["photos/0001-a.png", "photos/0002-b.png", "photos/trip to/0003-c's.png"]
    assert below(kitchen.folder / "numbered") == outputs
    assert [line.split(" -> numbered/")[1] for line in done.stdout.splitlines()] == outputs
    assert "working" in done.stderr


def test_cluster(kitchen):
    pytest.importorskip("distributed")
    quiet = {"cwd": kitchen.folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": {**os.environ}}
    address = kitchen.folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address)]
    daemons = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *options], **quiet)]
    try:
        while not address.exists():
            time.sleep(0.05)
        options = ["--scheduler-file", str(address), "--no-dashboard", "--no-nanny", "--nthreads", "1"]
        daemons.append(subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", *options], **quiet))
        kitchen("cluster")
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()
    assert below(kitchen.folder / "filtered") == SCANS
