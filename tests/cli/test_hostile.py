"""Hundreds of damaged and malicious files in one process: an image, or one line that says why not."""

import json
import os
import resource
import subprocess

import pytest

LONGEST = 10  # seconds for one of them


def limits():
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))


@pytest.mark.parametrize(
    "words", [["convolve", "-k", "identity"], ["register", "-m", "translation", "good.npy"]], ids=str
)
def test_each_hostile_file_is_done_or_told_of_in_one_line(script, shared_data, picture, tmp_path, words):
    picture("good.npy")
    names = sorted(str(path) for path in (shared_data / "hostile").rglob("*") if path.is_file())
    assert len(names) > 400
    line = [script, *words, "--files-from", "-", "-0", "-O", "out", "--template", "{index}.tif", "--json", "-j", "1"]
    done = subprocess.run(
        line,
        input="\0".join(names).encode(),
        cwd=tmp_path,
        capture_output=True,
        timeout=300,
        preexec_fn=limits,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # its thread stacks count as address space
        check=False,
    )
    assert done.returncode == 1
    records = {record["input"]: record for record in map(json.loads, done.stdout.splitlines())}
    assert sorted(records) == names
    lines = done.stderr.decode().splitlines()
    for record in records.values():
        if record["error"] is None:
            assert (tmp_path / record["output"]).is_file()
            assert sum(record["seconds"].values()) < LONGEST
        else:
            assert "internal error" not in record["error"]
            assert f"Error: {record['error']}" in lines
    failed = sum(record["error"] is not None for record in records.values())
    assert sum(line.startswith("Error: ") for line in lines) == failed
    assert lines[-1] == f"{len(names) - failed} of {len(names)} images done, {failed} failed"
    assert len(list((tmp_path / "out").iterdir())) == len(names) - failed
