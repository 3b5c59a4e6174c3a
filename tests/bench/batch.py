"""Whole processes on many files, against other programs where they are installed, and against ourselves.

    python tests/bench/batch.py [png tiff start jobs cluster memory]

Every line is a ratio of times in which the programs ran in turn; times are the least of the rounds.
"""

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import scipy.ndimage as ndi

from imgtool import io

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "imgtool")
Command = Sequence[str] | str


def least(commands: Mapping[str, Command], folder: Path, rounds: int) -> dict[str, float]:
    """Seconds of each command, run in turn from an empty folder of outputs."""
    times = dict.fromkeys(commands, np.inf)
    for _ in range(rounds):
        for name, command in commands.items():
            shutil.rmtree(folder / "out", ignore_errors=True)
            (folder / "out").mkdir()
            start = time.perf_counter()
            subprocess.run(command, shell=isinstance(command, str), check=True, cwd=folder, stdout=subprocess.DEVNULL)
            times[name] = min(times[name], time.perf_counter() - start)
    return times


def told(what: str, times: Mapping[str, float]) -> None:
    """A line for each peer: what imgtool's time is, and how many times longer the peer takes."""
    ours = times["imgtool"]
    for name, seconds in times.items():
        ratio = "" if name == "imgtool" else f"   {seconds / ours:6.2f} x"
        print(f"{what:34} {name:34} {seconds:8.3f} s{ratio}")


def texture(size: int) -> np.ndarray:
    """A smooth random picture, 8 bit."""
    values = ndi.gaussian_filter(np.random.default_rng(0).standard_normal((size, size)), 3)
    return np.round((values - values.min()) / np.ptp(values) * 255).astype(np.uint8)


def pictures(folder: Path, count: int, size: int) -> None:
    """So many different pictures as PNG in the folder in."""
    (folder / "in").mkdir()
    picture = texture(2 * size)
    for n in range(count):
        io.write(folder / "in" / f"{n:03}.png", io.Image(np.roll(picture, 5 * n, 0)[:size, :size]))


def kernel_files(folder: Path) -> str:
    """A random 9x9 kernel as k.txt and as a libvips matrix k.mat, and as GraphicsMagick takes it."""
    kernel = np.random.default_rng(1).random((9, 9))
    kernel /= kernel.sum()
    np.savetxt(folder / "k.txt", kernel)
    rows = "\n".join(" ".join(f"{value:.8f}" for value in row) for row in kernel)
    (folder / "k.mat").write_text(f"9 9\n{rows}\n")
    return ",".join(f"{value:.6f}" for value in kernel.ravel())


def many_png(folder: Path) -> None:
    """100 PNG of 512x512, 9x9, 8 bit: default settings, and all at zlib level 1."""
    taps = kernel_files(folder)
    pictures(folder, 100, 512)
    commands: dict[str, Command] = {"imgtool": f"{PROGRAM} convolve in/*.png -k @k.txt -O out -q"}
    if shutil.which("vips"):
        for name, option in ("vips", ""), ("vips, compression 1", "[compression=1]"):
            commands[name] = f"ls in | xargs -P2 -I{{}} vips conv in/{{}} 'out/{{}}{option}' k.mat"
    if shutil.which("gm"):
        for name, option in ("gm", ""), ("gm, compression 1", "-quality 11"):
            commands[name] = f"cd in && gm mogrify {option} -convolve {taps} -output-directory ../out *.png"
    told("100 PNG of 512x512, 9x9", least(commands, folder, 3))


def one_tiff(folder: Path) -> None:
    """One 2048x2048 8-bit TIFF, 9x9."""
    taps = kernel_files(folder)
    iio.imwrite(folder / "a.tif", texture(2048))
    commands: dict[str, Command] = {"imgtool": [PROGRAM, "convolve", "a.tif", "-k", "@k.txt", "-o", "out/a.tif"]}
    if shutil.which("vips"):
        commands["vips"] = ["vips", "conv", "a.tif", "out/a.tif", "k.mat"]
    if shutil.which("gm"):
        commands["gm"] = ["gm", "convert", "a.tif", "-convolve", taps, "out/a.tif"]
    told("one TIFF of 2048x2048, 9x9", least(commands, folder, 7))


def start(folder: Path) -> None:
    """How long the program takes to start, beside what it cannot do without."""
    iio.imwrite(folder / "a.png", np.zeros((16, 16), np.uint8))
    python = [sys.executable, "-c"]
    times = least(
        {
            "import click": [*python, "import click"],
            "--help": [PROGRAM, "--help"],
            "--version": [PROGRAM, "--version"],
            "import numpy": [*python, "import numpy"],
            "convolve": [PROGRAM, "convolve", "a.png", "-k", "box", "-o", "out/a.png"],
        },
        folder,
        30,
    )
    for ours, base in ("--help", "import click"), ("--version", "import click"), ("convolve", "import numpy"):
        ratio = times[ours] / times[base]
        print(f"{'start-up':34} {ours:12} over {base:15} {1000 * times[ours]:6.0f} ms   {ratio:6.2f} x")


def jobs(folder: Path) -> None:
    """Two jobs over one: 200 PNG of 1024x1024, 9x9."""
    kernel_files(folder)
    pictures(folder, 200, 1024)
    line = f"{PROGRAM} convolve in/*.png -k @k.txt -O out -q --threads 1"
    told("200 PNG of 1024x1024, 9x9, -j 2", least({"imgtool": f"{line} -j 2", "one job": f"{line} -j 1"}, folder, 3))
    # What two threads that share nothing get from this machine at this time.
    code = "import hashlib, concurrent.futures as c; d = bytes(10**7); "
    code += "list(c.ThreadPoolExecutor({}).map(lambda _: hashlib.sha256(d).digest(), range(400)))"
    hashes = {name: [sys.executable, "-c", code.format(n)] for name, n in (("imgtool", 2), ("one job", 1))}
    told("the same for hashing, for comparison", least(hashes, folder, 3))


def cluster(folder: Path) -> None:
    """200 files of 1024x1024 on two local dask workers of one thread, over -j 2; in the end what one file takes there.

    The latter is the start: most of it is the import of distributed, which a longer batch does not repeat.
    """
    kernel_files(folder)
    pictures(folder, 200, 1024)
    dask = str(Path(sysconfig.get_path("scripts")) / "dask")
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = [dask, "worker", "--scheduler-file", "s.json", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    daemons = [subprocess.Popen([*scheduler, "--scheduler-file", "s.json"], **quiet)]
    try:
        while not (folder / "s.json").exists():
            time.sleep(0.1)
        daemons += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        line = f"{PROGRAM} convolve in/{{}}.png -k @k.txt -O out -q --threads 1"
        ends = {"imgtool": " --scheduler file:s.json", "-j 2": " -j 2"}
        many, one = ({name: line.format(files) + end for name, end in ends.items()} for files in ("*", "000"))
        least({"warm": many["imgtool"]}, folder, 1)  # the workers import what they need
        times = least(many, folder, 3)
        start = least(one, folder, 3)
        told("200 PNG of 1024x1024 on dask", times)
        told("one of them", start)
        told("the other 199", {name: times[name] - start[name] for name in times})
    finally:
        for daemon in daemons:
            daemon.terminate()
            daemon.wait()


def memory(folder: Path) -> None:
    """Peak memory of a batch of 500 files and of one of 1000."""
    (folder / "in").mkdir()
    iio.imwrite(folder / "in" / "0.png", texture(512))
    for n in range(1, 1000):
        os.link(folder / "in" / "0.png", folder / "in" / f"{n}.png")
    code = f"import os, resource, sys; os.wait4(os.spawnv(os.P_NOWAIT, {PROGRAM!r}, sys.argv[1:]), 0); "
    code += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peaks = []
    for count in (500, 1000):
        names = [f"in/{n}.png" for n in range(count)]
        line = ["imgtool", "convolve", *names, "-k", "gaussian:2", "-O", f"out{count}", "-q"]
        done = subprocess.run([sys.executable, "-c", code, *line], cwd=folder, check=True, capture_output=True)
        peaks.append(int(done.stdout) / 1024)
    print(
        f"{'peak memory':34} 500 files {peaks[0]:.1f} MiB, 1000 files {peaks[1]:.1f} MiB   {peaks[1] / peaks[0]:.3f} x"
    )


WORK = {"png": many_png, "tiff": one_tiff, "start": start, "jobs": jobs, "cluster": cluster, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="*", choices=[*WORK, []])
    for name in parser.parse_args().work or WORK:
        with tempfile.TemporaryDirectory() as folder:
            WORK[name](Path(folder))


if __name__ == "__main__":
    main()
