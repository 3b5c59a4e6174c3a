"""Who imports whom, read from the sources: downwards only, and each third-party library behind one door."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

import imgtool

PACKAGE = Path(imgtool.__file__).parent
# Each line may import from the lines below it, within itself only where a folder is one part.
LAYERS = [
    {"cli"},
    {"batch", "report", "io"},
    {"stack", "physical"},
    {"registration", "explain"},
    {"_finding"},
    {"_climb", "_ffd", "_chance", "_layout"},
    {"_level", "_judge"},
    {"_search"},
    {"_background"},
    {"_fields"},
    {"_frame", "_optimise", "_pyramid"},
    {"transforms"},
    {"_spline"},
    {"filters", "metrics", "landmarks", "pictures", "chart"},
    {"_composed"},
    {"_options", "_colour"},
    {"_correlate"},
    {"_plan"},
    {"_fixed"},
    {"_check", "_slabs"},
    {"_ext"},
]
ANYONE = {"errors", "kernels"}
DOORS = {
    "click": "cli",
    "tqdm": "cli",
    "imageio": "io",
    "PIL": "io",
    "tifffile": "io",
    "imagecodecs": "io",
    "matplotlib": "report",
    "distributed": "cli",
}


def modules():
    return sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def imports(path):
    """The absolute names that a module imports anywhere, in functions too: "imgtool.io", "numpy.linalg"."""
    package = ["imgtool", *path.parts[:-1]]
    for node in ast.walk(ast.parse((PACKAGE / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else [])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def part(name):
    """The part of imgtool that a name belongs to, None for the package itself and for others."""
    words = name.split(".")
    known = set().union(*LAYERS) | ANYONE
    return words[1] if words[0] == "imgtool" and len(words) > 1 and words[1] in known else None


def home(path):
    return path.parts[0].removesuffix(".py")


def test_every_module_has_its_place():
    assert {home(path) for path in modules()} <= {"__init__", *ANYONE, *set().union(*LAYERS)}


@pytest.mark.parametrize("path", modules(), ids=str)
def test_imports_go_downwards(path):
    own = home(path)
    if own == "__init__":
        return  # the public names, loaded when they are used
    depth = {name: level for level, layer in enumerate(LAYERS) for name in layer}
    for name in imports(path):
        other = part(name)
        if other is None or other == own:
            continue
        if own in ANYONE:
            assert other == "errors", f"{path} imports {name}"
            assert own != "errors", f"{path} imports {name}"
        elif other not in ANYONE:
            assert depth[other] > depth[own], f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_each_library_has_one_door(path):
    for name in imports(path):
        door = DOORS.get(name.split(".")[0])
        assert door is None or home(path) == door, f"{path} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_only_the_package_of_kernels_knows_their_builds(path):
    inside = home(path) == "_ext"
    for name in imports(path):
        assert inside or not any(
            first == "_ext" and second.rpartition("_")[2] in ("base", "v3", "v4", "cpu")
            for first, second in pairwise(name.split("."))
        ), f"{path} imports {name}"


def test_the_rules_see_imports_of_every_form():
    assert part("imgtool.io.formats") == "io"
    assert part("imgtool.__version__") is None
    assert part("numpy") is None
    assert {"click", "imgtool.errors.ImgtoolError", "imgtool.io", "imgtool.cli.values.FILE"} <= {
        *imports(Path("cli/register.py"))
    }
