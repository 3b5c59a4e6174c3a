"""What the documentation promises: its commands run, its examples give what they say."""

import doctest
import importlib
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import imgtool
from imgtool import io

ROOT = Path(__file__).parents[1]
# Where five spots of tests/data/itk/t1.png are in pd_rigid.png.
MOVED = [[83.93, 78.12], [174.29, 83.90], [123.09, 143.92], [72.94, 198.03], [163.31, 203.81]]
PROGRAM = shutil.which("imgtool", path=str(Path(sys.executable).parent)) or shutil.which("imgtool")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = ["imgtool", *(m.name for m in pkgutil.walk_packages(imgtool.__path__, "imgtool.") if "_ext." not in m.name)]


def blocks(page, mark):
    """The code of the blocks that follow a marker."""
    return re.findall(rf"<!-- {mark} -->\n```\w+\n(.*?)```", page.read_text(), re.DOTALL)


def shell(lines, folder):
    path = f"{Path(PROGRAM).parent}:/usr/local/bin:/usr/bin:/bin"
    return subprocess.run(
        ["sh", "-ec", lines], cwd=folder, env={"PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_give_what_they_say(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_readme_shell_lines_run(tmp_path):
    rng = np.random.default_rng(0)
    brains = ROOT / "tests" / "data" / "itk"
    for name, source in [("photo", "t1"), ("fixed", "t1"), ("moving", "pd_rigid"), ("labels", "pd_rigid")]:
        shutil.copy(brains / f"{source}.png", tmp_path / f"{name}.png")
    (tmp_path / "cells.csv").write_text("x,y\n60,70\n")
    (tmp_path / "scans").mkdir()
    for name in "ab":
        io.write(tmp_path / "scans" / f"{name}.tif", io.Image(rng.integers(0, 65536, (20, 30), dtype=np.uint16)))
    (lines,) = blocks(ROOT / "README.md", "shell")
    lines = re.sub(r" \| jq .*", "", lines)
    done = shell(lines, tmp_path)
    assert done.returncode == 0, done.stderr
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {
        "soft.png",
        "edges/scans/a.tif",
        "edges/scans/b.tif",
        "sharp.png",
        "registered.png",
        "transform.json",
    } <= made
    assert {"cells-in-moving.csv", "aligned/scans/b.tif", "aligned/drift.csv", "aligned/drift.png"} <= made
    assert {"labels-registered.png", "smooth/scans/a.tif", "smooth/scans/b.tif"} <= made
    assert io.read(tmp_path / "edges" / "scans" / "a.tif").data.dtype == np.float32


def test_readme_python_runs():
    (code,) = blocks(ROOT / "README.md", "python")
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    np.testing.assert_allclose(names["points"], [[92, 125]], atol=0.05)
    assert names["after"] > names["before"]


def test_readme_installs_and_tests_with_one_line_each():
    for mark in ("run", "test"):
        (command,) = blocks(ROOT / "README.md", mark)
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
        assert command.count("\n") == 1


def test_the_tutorial_runs_from_top_to_bottom(tmp_path):
    shutil.copytree(ROOT / "tests" / "data" / "itk", tmp_path / "tests" / "data" / "itk")
    for lines in blocks(ROOT / "docs" / "tutorial.md", "shell"):
        done = shell(lines, tmp_path)
        assert done.returncode == 0, done.stderr
    assert np.array_equal(
        io.read(tmp_path / "registered.png").data.shape, io.read(tmp_path / "tests/data/itk/t1.png").data.shape
    )
    points = (tmp_path / "found.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in points] == ["name", "A", "B", "C", "D", "E"]
    assert np.abs(np.loadtxt(tmp_path / "found.csv", delimiter=",", skiprows=1, usecols=(1, 2)) - MOVED).max() < 0.5
    assert (tmp_path / "aligned" / "drift.csv").read_text().count("\n") == 4
    inputs = {path.name for path in (tmp_path / "tests/data/itk").glob("*.png")}
    assert {path.name for path in (tmp_path / "smooth/tests/data/itk").iterdir()} == inputs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"
