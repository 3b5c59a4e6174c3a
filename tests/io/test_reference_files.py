"""282 real files against what Pillow, tifffile and nibabel make of them, and 445 hostile ones against the limits."""

import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from imgtool import io
from imgtool.errors import ImgtoolError

# What imgtool refuses, by a part of the name and of its reason.
REFUSED = {
    "pngsuite_stb/iphone_": "Apple's CgBI variant",  # Pillow decodes them to black
    "pillow/hopper.Lab.tif": "CIELAB are not supported",
    "pillow/multipage.tiff": "pages of the TIFF file differ",
    "pillow/compression.tif": "pages of the TIFF file differ",
}
# Pillow turns these upright; imgtool keeps the pixels and the tag.
ROTATED = ("g4_orientation_3.tif", "g4_orientation_6.tif", "g4_orientation_8.tif")
# Signed and two-channelled, which Pillow cannot express; compared with tifffile's pixels below.
BEYOND_PILLOW = ("separate_planar_extra_samples.tiff", "multipage_rgb.tif")
LOSSY = ("JPEG", "WEBP")


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:32]


def palette_of(path: Path, page: np.ndarray) -> np.ndarray:
    """Pillow's colours of a palette image, in as many channels as `page`."""
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB" if page.shape[-1] == 3 else "RGBA"))


def agrees(path: Path, image: io.Image, expected: dict) -> bool:
    page, mode = image.pages[0], expected["mode"]
    if mode == "P":
        return np.array_equal(page, palette_of(path, page))
    if path.name in ROTATED:
        upright = {3: np.rot90(page, 2), 6: np.rot90(page, 3), 8: np.rot90(page)}[image.metadata["orientation"]]
        return upright.shape == tuple(expected["shape"]) and abs(upright.mean() - expected["mean"][0]) < 1e-4
    if "transparency" in expected and mode != "P":
        page = page[..., :-1].squeeze()
        if mode == "1":
            page = page > 0
    if expected["dtype"] == "uint8" and page.dtype == np.uint16:
        if mode == "RGBA" and page.shape[-1] == 2:
            page = page[..., [0, 0, 0, 1]]
        # Pillow cuts PNG and TIFF to the high byte and scales PPM.
        page = page >> 8 if expected["format"] != "PPM" else np.rint(page / 257)
        page = page.astype(np.uint8)
    if expected["format"] in LOSSY or "tif" in path.suffix:
        close = np.abs(np.atleast_1d(page.mean(axis=(0, 1))) - expected["mean"]).max() <= 1
        return page.shape == tuple(expected["shape"]) and bool(close)
    if mode == "1":  # the reference hashes Pillow's bytes, 255 for true
        return digest(page * np.uint8(255)) == expected["sha256_pixels"]
    return digest(page.astype(expected["dtype"])) == expected["sha256_pixels"]


def test_every_real_file_decodes_to_the_reference_or_is_refused_for_the_right_reason(shared_data: Path) -> None:
    folder = shared_data / "formats"
    wrong = []
    for entry in json.loads((folder / "REFERENCE.json").read_text()):
        name, expected = f"{entry['group']}/{entry['file']}", entry["ref"]
        if entry["group"] == "nifti":
            continue  # see test_volume.py
        reason = next((why for part, why in REFUSED.items() if part in name), None)
        try:
            image = io.read(folder / name)
        except ImgtoolError as error:
            if reason is None or reason not in str(error):
                wrong.append(str(error))
            continue
        if reason is not None:
            wrong.append(f"{name} is not refused")
        elif entry["file"] not in BEYOND_PILLOW and not agrees(folder / name, image, expected):
            wrong.append(f"{name}: {image.data.shape} {image.data.dtype} is not {expected}")
    assert not wrong, "\n".join(wrong)


def test_tiff_files_decode_to_the_samples_that_tifffile_gives(shared_data: Path) -> None:
    compared = 0
    for entry in json.loads((shared_data / "formats" / "REFERENCE.json").read_text()):
        plain = entry["ref"].get("tiff", {})
        if plain.get("photometric") not in ("MINISBLACK", "RGB") or not plain["bps"].isdigit() or int(plain["bps"]) < 8:
            continue
        if "sha256_pixels_le" not in plain or entry["file"] == "compression.tif":
            continue
        data = io.read(shared_data / "formats" / entry["group"] / entry["file"]).data
        if plain["planar"] == "SEPARATE":
            data = np.moveaxis(data, -1, -3)
        assert digest(data) == plain["sha256_pixels_le"], entry["file"]
        compared += 1
    assert compared >= 12


def test_headers_promise_what_decoding_gives(shared_data: Path) -> None:
    for entry in json.loads((shared_data / "formats" / "REFERENCE.json").read_text()):
        name = f"{entry['group']}/{entry['file']}"
        if any(part in name for part in REFUSED):
            continue
        info, image = io.probe(shared_data / "formats" / name), io.read(shared_data / "formats" / name)
        promised = (info.shape, info.dtype, info.channel_axis, info.pages, info.has_alpha)
        assert promised == (
            image.data.shape,
            image.data.dtype,
            image.channel_axis,
            len(image.pages),
            image.has_alpha,
        ), name


HOSTILE = """
import signal, sys, time
from pathlib import Path
from imgtool import io
from imgtool.errors import ImgtoolError

def late(*_):
    raise SystemExit(f"too slow: {path}")

signal.signal(signal.SIGALRM, late)
read = refused = 0
for path in sorted(Path(sys.argv[1]).glob("*/*")):
    signal.alarm(10)
    try:
        io.read(path)
        read += 1
    except ImgtoolError as error:
        message = str(error)
        assert message.startswith(str(path)) and message.isprintable(), message
        refused += 1
    signal.alarm(0)
print(read, refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_hostile_files_end_in_an_image_or_a_sentence_within_10_s_and_1_gib(shared_data: Path, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))

    result = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(shared_data / "hostile")],
        cwd=tmp_path,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # its thread stacks count as address space
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=600,
    )
    assert (result.returncode, result.stderr) == (0, "")
    read, refused = map(int, result.stdout.split())
    assert read + refused == 445
    assert read >= 80
