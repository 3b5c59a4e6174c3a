# The words that CI uses. `just setup` once, then the others.

setup:
    python3 -m venv .venv
    .venv/bin/pip install -e '.[dev]'

build:
    .venv/bin/pip install -e .

test *args:
    .venv/bin/pytest {{args}}

check:
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/mypy
    PATH=.venv/bin:$PATH .venv/bin/cython-lint ext
    .venv/bin/codespell imgtool ext tests docs README.md CHANGELOG.md

# Bounds checks and sanitizers, in an environment of its own.
checked:
    python3 -m venv .venv-checked
    .venv-checked/bin/pip install '.[test]' -C cmake.define.IMGTOOL_CHECKED=ON -C cmake.define.IMGTOOL_SANITIZE=ON
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 .venv-checked/bin/pytest tests/ext

# What Cython made of a kernel, as a page to look at.
annotate kernel:
    .venv/bin/cython -a -X language_level=3 -I ext -o build/{{kernel}}.c ext/{{kernel}}.pyx

# Our own parsers against examples without end, or so.
fuzz examples="20000":
    IMGTOOL_EXAMPLES={{examples}} .venv/bin/pytest tests/test_fuzz.py

bench:
    .venv/bin/python tests/bench/convolve.py --peers
    .venv/bin/python tests/bench/batch.py
