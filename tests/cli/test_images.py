"""What becomes of metadata, orientation, packing and frames on the way from file to file."""

import json
import resource
import subprocess

import numpy as np
import pytest
import tifffile
from numpy.testing import assert_array_equal
from PIL import Image as Pictures

from imgtool import io
from imgtool.io import Image
from imgtool.io.summary import summary

IDENTITY = ("convolve", "-k", "identity")
ABOUT = {"icc_profile": b"profile" * 9, "xmp": b"<x/>", "resolution": (300.0, 300.0, "inch"), "description": "words"}


def colours(*, pages=(), height=12, width=17, channels=3, dtype=np.uint8):
    full = np.iinfo(dtype).max
    return np.random.default_rng(0).integers(0, full, (*pages, height, width, channels), endpoint=True).astype(dtype)


def animation(count=5, height=40, width=50):
    stack = np.repeat((colours(height=height, width=width) // 86 * 86)[None], count, axis=0)
    for number, frame in enumerate(stack):
        frame[number % height] = 0
    return Image(stack, -1, {"frames": {"durations": [40.0 + 10 * (n % 3) for n in range(count)], "plays": 2}})


@pytest.mark.parametrize("extension", ["png", "tif", "jpg", "webp"])
def test_metadata_is_kept_and_strip_drops_it(call, tmp_path, extension):
    io.write(tmp_path / f"a.{extension}", Image(colours(), -1, ABOUT | {"orientation": 6}))
    before = io.read(tmp_path / f"a.{extension}").metadata
    result = call(*IDENTITY, f"a.{extension}", "-o", f"kept.{extension}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert io.read(tmp_path / f"kept.{extension}").metadata == before
    result = call(*IDENTITY, f"a.{extension}", "-o", f"bare.{extension}", "--strip", "--auto-orient")
    assert (result.exit_code, result.stderr) == (0, "")
    bare = io.read(tmp_path / f"bare.{extension}")
    assert bare.metadata == {}
    assert bare.data.shape == (17, 12, 3)


def test_an_orientation_that_is_stripped_is_told_of(call, tmp_path):
    io.write(tmp_path / "a.png", Image(colours(), -1, {"orientation": 6}))
    result = call(*IDENTITY, "a.png", "-o", "b.png", "--strip")
    assert result.exit_code == 0
    assert (
        result.stderr == "a.png: shows turned without its orientation; add --auto-orient to turn the pixels instead\n"
    )


def test_what_cannot_be_kept_is_one_note(call, tmp_path):
    io.write(tmp_path / "a.png", Image(colours(), -1, ABOUT))
    note = "the output cannot hold the ICC profile, XMP, the resolution and the description"
    result = call(*IDENTITY, "a.png", "-o", "b.ppm", "--json")
    assert result.exit_code == 0
    assert result.stderr == f"a.png: {note}; --strip drops all metadata without this note\n"
    assert json.loads(result.stdout)["warnings"] == [f"{note}; --strip drops all metadata without this note"]
    assert call(*IDENTITY, "a.png", "-o", "c.ppm", "--strip").stderr == ""
    assert call("-q", *IDENTITY, "a.png", "-o", "d.ppm").stderr == ""


@pytest.mark.parametrize("orientation", [3, 6])
def test_every_operation_turns_images_upright_if_asked(call, tmp_path, picture, orientation):
    values = picture("upright.png", shape=(64, 48))
    turned = {3: values[::-1, ::-1], 6: np.rot90(values)}[orientation]
    io.write(tmp_path / "a.tif", Image(turned, None, {"orientation": orientation}))
    assert call(*IDENTITY, "a.tif", "-o", "b.tif", "--auto-orient").exit_code == 0
    assert (
        call(
            "register", "upright.png", "a.tif", "-m", "rigid", "-o", "c.tif", "-t", "t.json", "--auto-orient"
        ).exit_code
        == 0
    )
    assert call("warp", "a.tif", "-t", "t.json", "--like", "a.tif", "-o", "d.tif", "--auto-orient").exit_code == 0
    assert call("pipe", "convolve -k identity", "a.tif", "-o", "e.tif", "--auto-orient").exit_code == 0
    assert call("stack", "upright.png", "a.tif", "-O", "f", "--auto-orient").exit_code == 0
    turned_back = json.loads(call("nmi", "upright.png", "a.tif", "--mask", "a.tif", "--auto-orient", "--json").stdout)
    upright = json.loads(call("nmi", *["upright.png"] * 2, "--mask", "upright.png", "--json").stdout)
    assert turned_back["nmi"] == upright["nmi"]
    assert turned_back["parameters"]["auto_orient"]
    for name in ("b.tif", "c.tif", "d.tif", "e.tif", "f/a.tif"):
        image = io.read(tmp_path / name)
        assert_array_equal(image.data, values)
        assert "orientation" not in image.metadata


def test_masks_are_turned_with_their_images(call, tmp_path):
    data = colours()[..., 0]
    for name, values in (("a.tif", data), ("mask.tif", (data > 99).astype(np.uint8))):
        io.write(tmp_path / name, Image(values, None, {"orientation": 6}))
    words = ("convolve", "-k", "box:3", "a.tif", "--mask", "mask.tif")
    assert call(*words, "-o", "turned.tif", "--auto-orient").exit_code == 0
    assert call(*words, "-o", "b.tif").exit_code == 0
    one, other = (io.read(tmp_path / name).data.astype(int) for name in ("turned.tif", "b.tif"))
    assert np.abs(one - np.rot90(other, 3)).max() <= 1  # sums of floats in another order


@pytest.mark.parametrize("words", [("--compression", "deflate"), ("--compression", "zstd"), ("--compression", "none")])
def test_compression_is_that_of_the_option_or_of_the_input(call, tmp_path, words):
    io.write(tmp_path / "a.tif", Image(colours(height=200)), compression="lzw")
    assert call(*IDENTITY, "a.tif", "-o", "same.tif").exit_code == 0
    assert io.read(tmp_path / "same.tif").metadata["compression"] == "lzw"
    assert call(*IDENTITY, "a.tif", "-o", "b.tif", *words).exit_code == 0
    assert io.read(tmp_path / "b.tif").metadata.get("compression", "none") == words[1]


def test_packing_that_no_output_has_is_wrong_usage(call, picture, tmp_path):
    picture("a.png")
    for words, sentence in (
        (("-o", "b.tif", "--png-level", "9"), "--png-level is for .png, .apng; no output is such a file"),
        (
            ("-o", "b.png", "--compression", "lzw"),
            "--compression is for .tif, .tiff, .ome.tif, .ome.tiff; no output",
        ),
        (("-o", "b.png", "--quality", "80"), "--quality is for .jpg, .jpeg, .webp; no output is such a file"),
        (("-o", "-", "--format", "png", "--quality", "80"), "--quality is for .jpg, .jpeg, .webp; no output"),
    ):
        result = call(*IDENTITY, "a.png", *words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert sentence in result.stderr
    assert call(*IDENTITY, "a.png", "-o", "b.png", "--png-level", "9").exit_code == 0
    assert (tmp_path / "b.png").stat().st_size < (tmp_path / "a.png").stat().st_size + 500


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_quality_is_paid_for_in_bytes(call, tmp_path, extension):
    noisy = np.random.default_rng(1).normal(0, 9, (200, 300, 3)) + np.arange(300)[:, None] / 2 + 40
    original = np.rint(noisy).astype(np.uint8)
    io.write(tmp_path / "a.png", Image(original, -1))
    sizes, errors = [], []
    for quality in ([], ["--quality", "95"], ["--quality", "50"]):
        out = tmp_path / f"b{len(sizes)}.{extension}"
        assert call(*IDENTITY, "a.png", "-o", out, *quality).exit_code == 0
        sizes.append(out.stat().st_size)
        errors.append(np.abs(io.read(out).data - original.astype(float)).mean())
    if extension == "jpg":
        assert sizes[0] == sizes[1]
    else:
        assert errors[0] == 0
        assert sizes[0] > sizes[1]
    assert sizes[1] > 2 * sizes[2]
    assert errors[1] < errors[2] < 9


def test_quality_holds_for_every_frame(call, tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    io.write(tmp_path / "a.webp", Image(frames, -1, {"frames": {"durations": [40.0] * 3, "plays": 0}}))
    assert call(*IDENTITY, "a.webp", "-o", "b.webp", "--quality", "30").exit_code == 0
    assert io.read(tmp_path / "b.webp").data.shape == frames.shape
    assert (tmp_path / "b.webp").stat().st_size < (tmp_path / "a.webp").stat().st_size / 2


@pytest.mark.parametrize("extension", ["gif", "png", "webp"])
def test_an_animation_stays_one(call, tmp_path, extension):
    given = animation()
    io.write(tmp_path / f"a.{extension}", given)
    result = call(*IDENTITY, f"a.{extension}", "-o", f"b.{extension}", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout)["shape"] == [5, 40, 50, 3]
    back = io.read(tmp_path / f"b.{extension}")
    assert_array_equal(back.data, given.data)
    assert back.metadata["frames"] == given.metadata["frames"]
    result = call("convolve", f"a.{extension}", "-k", "box:3", "-o", "soft.tif")
    assert "cannot hold the timing of the frames" in result.stderr
    assert io.read(tmp_path / "soft.tif").data.shape == (5, 40, 50, 3)


def test_a_stack_of_pages_is_no_animation(call, tmp_path):
    io.write(tmp_path / "a.tif", Image(colours(pages=(3,)), -1))
    result = call(*IDENTITY, "a.tif", "-o", "b.gif")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: b.gif: GIF cannot hold 3 pages; use .tif or .npy\n"


def test_saturation_and_explanations_of_all_pages_are_told_once(call, tmp_path):
    io.write(tmp_path / "a.tif", Image(np.full((4, 9, 9), 200, np.uint8)))
    result = call("convolve", "a.tif", "-k", "2", "-o", "b.tif", "--explain")
    assert result.stderr.count("saturated") == 1
    assert "324 values saturated at uint8" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_pages_are_the_same_one_by_one_and_together(call, tmp_path):
    io.write(tmp_path / "a.tif", Image(colours(pages=(4,), dtype=np.uint16), -1))
    assert call("convolve", "a.tif", "-k", "gaussian:sigma=1", "-o", "b.tif").exit_code == 0
    pages = io.read(tmp_path / "a.tif").data
    for number, page in enumerate(pages):
        io.write(tmp_path / f"{number}.tif", Image(page, -1))
        assert call("convolve", f"{number}.tif", "-k", "gaussian:sigma=1", "-o", f"b{number}.tif").exit_code == 0
        assert_array_equal(io.read(tmp_path / "b.tif").data[number], io.read(tmp_path / f"b{number}.tif").data)


def test_an_ome_tiff_stays_one_and_info_tells_its_axes(call, tmp_path):
    data = colours(channels=1, pages=(2, 3), dtype=np.uint16)[..., 0]
    about = {"axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata=about, photometric="minisblack")
    words = ("convolve", "a.ome.tif", "-k", "gaussian:sigma=1", "--dtype", "float32", "-O", "out", "--suffix", "_soft")
    result = call(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    with tifffile.TiffFile(tmp_path / "out" / "a_soft.ome.tif") as file:
        assert (file.is_ome, file.series[0].axes, file.series[0].shape) == (True, "ZCYX", data.shape)
    line = call("info", "out/a_soft.ome.tif").stdout
    assert "OME-XML (Z=2 C=3 Y=12 X=17; x 0.25 µm; y 0.5 µm; z 2 µm)" in line
    (told,) = map(json.loads, call("info", "--json", "out/a_soft.ome.tif").stdout.splitlines())
    assert told["metadata"]["ome_xml"]["axes"] == {"Z": 2, "C": 3, "Y": 12, "X": 17}


def test_info_tells_of_cameras_animations_and_hyperstacks(call, tmp_path):
    io.write(tmp_path / "a.gif", animation())
    assert "5 frames; 0.24 s, 2 times\n" in call("info", "a.gif").stdout
    exif = Pictures.Exif()
    exif.update({271: "Maker", 306: "2020:01:02 03:04:05"})
    Pictures.fromarray(colours()).save(tmp_path / "b.jpg", exif=exif)
    (told,) = map(json.loads, call("info", "--json", "b.jpg").stdout.splitlines())
    assert told["metadata"]["exif"] == {"bytes": 64, "make": "Maker", "date": "2020:01:02 03:04:05"}
    stack = np.zeros((3, 9, 9), np.uint16)
    tifffile.imwrite(tmp_path / "c.tif", stack, imagej=True, metadata={"axes": "ZYX", "unit": "um"})
    (told,) = map(json.loads, call("info", "--json", "c.tif").stdout.splitlines())
    assert told["metadata"]["imagej"]["unit"] == "um"


PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


@pytest.mark.parametrize("name", ["a.tif", "a.gif", "a.png", "a.webp"])
def test_memory_does_not_grow_with_the_number_of_frames(script, tmp_path, name):
    peaks = []
    for count in (4, 100):
        picture = animation(4, height=700, width=600)
        with io.page_writer(
            tmp_path / name, Image(picture.data[0], -1, timing(count)), count, overwrite=True
        ) as append:
            for number in range(count):
                append(picture.data[number % 4])
        line = [script, *IDENTITY, tmp_path / name, "-o", tmp_path / f"{count}-{name}", "-j", "1"]
        done = subprocess.run(["python", "-c", PEAK, *line], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) / 1024)
    assert io.probe(tmp_path / f"100-{name}").pages == 100
    # 100 frames are 120 MiB of pixels.
    assert peaks[1] - peaks[0] < 25


def timing(count):
    return {"frames": {"durations": [40.0] * count, "plays": 0}}


def test_an_animation_without_end_ends_in_a_sentence(call, tmp_path):
    """Ten thousand frames of a few bytes each, on a large canvas."""
    width = height = 5000
    frame = b"\x21\xf9\x04\x04\x01\0\0\0\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    head = b"GIF89a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + b"\x80\0\0\0\0\0\xff\xff\xff"
    (tmp_path / "a.gif").write_bytes(head + frame * 10_000 + b";")
    result = call(*IDENTITY, "a.gif", "-o", "b.gif")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "Error: a.gif: 5000 x 5000 x 10000 frames is 250000000000 pixels and the limit is 1073741824; "
        "raise it with --max-pixels (max_pixels)\n"
    )


def test_every_real_file_comes_back_with_its_pixels_and_what_it_said(script, shared_data, tmp_path):
    """282 files through one process: what is refused is so for the reasons in test_reference_files.py."""
    entries = json.loads((shared_data / "formats" / "REFERENCE.json").read_text())
    names = [str(shared_data / "formats" / entry["group"] / entry["file"]) for entry in entries]
    line = [script, *IDENTITY, "--files-from", "-", "-0", "-O", "out", "--template", "{index}{ext}", "--json"]
    limits = lambda: resource.setrlimit(resource.RLIMIT_CPU, (120, 120))  # noqa: E731
    done = subprocess.run(
        line, input="\0".join(names).encode(), cwd=tmp_path, capture_output=True, timeout=300, preexec_fn=limits
    )
    records = [json.loads(text) for text in done.stdout.splitlines()]
    assert sorted(record["input"] for record in records) == sorted(names)
    failed = [record["error"] for record in records if record["error"]]
    refused = ("CgBI", "CIELAB", "pages of the TIFF file differ", "BMP cannot hold", "JPEG cannot hold")
    assert [error for error in failed if not any(reason in error for reason in refused)] == []
    compared = 0
    for record in records:
        if record["error"]:
            continue
        before, after = io.read(record["input"]), io.read(tmp_path / record["output"])
        assert record["warnings"] == []
        if not record["output"].endswith((".jpg", ".jpeg")):
            if record["output"].endswith(".gif") and before.has_alpha:  # which has one colour for what is clear
                before.data[before.data[..., 3] == 0] = 0
            assert_array_equal(after.data, before.data, strict=True)
            compared += 1
        metadata = [dict(image.metadata) for image in (before, after)]
        for entry in metadata:
            if "nifti" in entry:  # of scaled values it tells another type
                entry["nifti"] = summary(entry)["nifti"]
        sizes = [entry.pop("resolution", (0, 0, "none"))[:2] for entry in metadata]
        assert sizes[0] == pytest.approx(sizes[1], rel=1e-4)  # JPEG counts in whole dots
        assert metadata[0] == metadata[1], record["input"]
    assert compared > 240


def test_a_georeference_is_not_kept_where_pixels_have_moved(call, tmp_path):
    geo = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True)]
    tifffile.imwrite(tmp_path / "a.tif", colours()[..., 0], extratags=geo, metadata=None)
    (tmp_path / "t.json").write_text(
        json.dumps(
            {
                "format": "imgtool-transform",
                "version": 1,
                "model": "translation",
                "matrix": [[1, 0, 3], [0, 1, 0], [0, 0, 1]],
                "fixed_shape": [12, 17],
                "moving_shape": [12, 17],
            }
        )
    )
    assert call(*IDENTITY, "a.tif", "-o", "b.tif").stderr == ""
    assert "geo" in io.read(tmp_path / "b.tif").metadata
    result = call("warp", "a.tif", "-t", "t.json", "-o", "c.tif")
    assert result.stderr == "a.tif: the georeference tells of the place where the image was, and is not kept\n"
    assert "geo" not in io.read(tmp_path / "c.tif").metadata
