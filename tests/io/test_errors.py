"""Bad input and refused outputs: one sentence each, and nothing half-written."""

import fcntl
import logging
import os
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgtool import io
from imgtool.errors import ImgtoolError
from imgtool.io import _files

Build = Callable[..., bytes]
GRAY = io.Image(np.arange(30, dtype=np.uint8).reshape(5, 6))
as_root = pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")


def sentence(call: object, *arguments: object, **options: object) -> str:
    with pytest.raises(ImgtoolError) as caught:
        call(*arguments, **options)  # type: ignore[operator]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing.png", None, "no such file"),
        ("empty.png", b"", "the file is empty"),
        ("text.png", b"hello, this is text\n", "not an image that imgtool can read (a text file)"),
        ("noise.tif", b"\x01\x02\x03\xfe" * 9, "not an image that imgtool can read (no known image format)"),
        ("photo.heic", b"\0\0\0\x18ftypheic" + bytes(40), "(an AVIF, HEIF or video file)"),
        ("volume.nii", bytes(344) + b"n+1\0", "the NIfTI file is cut off"),
        ("a.npy", b"\x93NUMPY\x01\0\x10\0{'descr': '|O', ", "the image is damaged or cut off"),
        ("two.pgm", b"P5 1 1 255\n\x01\nP5 1 1 255\n\x01", "the file holds several images"),
        ("over.pgm", b"P5 1 1 7\n\x09", "samples lie outside the range of 0 to 7"),
        ("short.pgm", b"P2 2 2 255\n1 2 3", "the file is cut off"),
        ("short.pbm", b"P1 2 2\n1 0 1", "the file is cut off"),
        ("nan.pfm", b"Pf 1 1 nan\n1234", "the PFM header is damaged"),
        ("zero.ppm", b"P6 0 1 255\n", "the PPM header is damaged"),
    ],
)
@pytest.mark.parametrize("call", [io.read, io.probe])
def test_bad_files_are_named_with_the_reason(
    tmp_path: Path, call: object, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    if reason in ("the file holds several images", "the file is cut off") or "samples" in reason:
        call = io.read  # faults of the pixels, which a probe does not see
    assert sentence(call, path).startswith(f"{path}: ")
    assert reason in sentence(call, path)


def test_places_that_are_no_files_are_refused(tmp_path: Path) -> None:
    io.write(tmp_path / "a.png", GRAY)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    assert "a directory, not a file" in sentence(io.read, tmp_path)
    assert "does not look into archives" in sentence(io.read, tmp_path / "a.png" / "b.png")
    assert "fetches no URLs" in sentence(io.read, "https://example.com/a.png")
    assert "leads back to itself" in sentence(io.read, tmp_path / "loop.png")
    assert "too long" in sentence(io.read, tmp_path / ("n" * 300))
    assert sentence(io.read, "") == "the name of the input file is empty"
    assert sentence(io.read, "a\0b.png") == r"a\x00b.png: not a file name"
    assert sentence(io.write, "a\0b.png", GRAY) == r"a\x00b.png: not a file name"
    assert "not a file but a device" in sentence(io.read, "/dev/zero")


def test_odd_names_are_shown_on_one_line(tmp_path: Path) -> None:
    assert sentence(io.read, "no\nsuch\udcff.png") == r"no\nsuch\udcff.png: no such file"


@as_root
def test_forbidden_files_and_folders_are_named(tmp_path: Path) -> None:
    io.write(tmp_path / "a.png", GRAY)
    (tmp_path / "a.png").chmod(0)
    assert "permission denied" in sentence(io.read, tmp_path / "a.png")
    tmp_path.chmod(0o500)
    assert "cannot be written: permission denied" in sentence(io.write, tmp_path / "b.png", GRAY)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("extension", [".png", ".tif", ".npy", ".jpg", ".webp", ".bmp", ".ppm", ".pfm", ".gif"])
def test_a_file_cut_off_anywhere_is_an_error(tmp_path: Path, extension: str) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    whole, cut = tmp_path / f"whole{extension}", tmp_path / f"cut{extension}"
    io.write(whole, io.Image(pixels.astype(np.float32) if extension == ".pfm" else pixels, -1))
    content = whole.read_bytes()
    for part in (0.02, 0.2, 0.5, 0.9, 0.97):
        cut.write_bytes(content[: int(len(content) * part)])
        assert sentence(io.read, cut).startswith(f"{cut}: ")


@pytest.mark.parametrize(
    "options",
    [{"compression": name} for name in ("jpeg", "zlib", "lzw", "zstd", "packbits")] + [{"tile": (16, 16)}],
    ids=str,
)
def test_a_tiff_that_lacks_its_last_bytes_is_an_error(tmp_path: Path, options: dict) -> None:
    import tifffile

    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", **options)
    assert io.read(tmp_path / "a.tif").data.shape == pixels.shape
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-8])
    assert "cut off" in sentence(io.read, tmp_path / "a.tif")


def test_a_flipped_bit_in_a_png_is_an_error(tmp_path: Path) -> None:
    io.write(tmp_path / "a.png", GRAY)
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[-20] ^= 4
    (tmp_path / "a.png").write_bytes(content)
    assert "damaged" in sentence(io.read, tmp_path / "a.png")


@pytest.mark.parametrize("extension", [".png", ".tif", ".npy", ".jpg", ".webp", ".bmp", ".pgm"])
def test_the_pixel_limit_is_checked_before_decoding(tmp_path: Path, extension: str) -> None:
    image = GRAY if extension != ".webp" else io.Image(np.zeros((5, 6, 3), np.uint8), -1)
    io.write(tmp_path / f"a{extension}", image)
    assert io.read(tmp_path / f"a{extension}", max_pixels=30).data.shape[:2] == (5, 6)
    message = sentence(io.read, tmp_path / f"a{extension}", max_pixels=29)
    assert "6 x 5 is 30 pixels and the limit is 29; raise it with --max-pixels" in message


def test_pages_count_towards_the_pixel_limit(tmp_path: Path) -> None:
    io.write(tmp_path / "a.tif", io.Image(np.zeros((4, 5, 6), np.uint8)))
    assert "6 x 5 x 4 pages is 120 pixels" in sentence(io.read, tmp_path / "a.tif", max_pixels=119)


def test_a_png_that_promises_more_than_its_bytes_can_hold_is_refused_at_once(tmp_path: Path, png: Build) -> None:
    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000, 8, 6, bytes(1000)))
    assert "too short for its size" in sentence(io.read, tmp_path / "bomb.png")


def test_jpeg_images_beyond_pillows_own_limit_are_only_bound_by_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import PIL.Image

    io.write(tmp_path / "a.jpg", GRAY)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 5)
    assert io.read(tmp_path / "a.jpg").data.shape == (5, 6)


@pytest.mark.parametrize(
    ("name", "dtype", "channels", "alpha", "pages", "message"),
    [
        ("o.png", "float32", 1, False, 1, "PNG cannot hold float32 gray; use .tif or .npy, or --dtype uint8"),
        ("o.png", "uint8", 1, False, 5, "PNG cannot hold 5 pages; use .tif or .npy"),
        ("o.png", "uint8", 5, False, 1, "PNG cannot hold uint8 5 channels; use .tif"),
        ("o.png", "uint8", 4, False, 1, "PNG cannot hold uint8 4 channels; use .tif"),
        ("o.jpg", "uint16", 3, False, 1, "JPEG cannot hold uint16 RGB; use .png or .tif, or --dtype uint8"),
        ("o.jpg", "uint8", 4, True, 1, "JPEG cannot hold uint8 RGBA; use .png or .tif"),
        ("o.pbm", "uint8", 1, False, 1, "PBM cannot hold uint8 gray; use .png or .tif"),
        ("o.tif", "datetime64[s]", 1, False, 1, "TIFF cannot hold datetime64[s] gray; use --dtype uint8"),
        ("o.gif", "uint16", 3, False, 1, "GIF cannot hold uint16 RGB; use .png or .tif, or --dtype uint8"),
        ("o.ome.tif", "int64", 1, False, 1, "OME-TIFF cannot hold int64 gray; use .tif or .npy, or --dtype uint8"),
        ("o.xyz", "uint8", 3, False, 1, ".xyz files are not written; use one of .png, .apng, .tif"),
        ("o", "uint8", 3, False, 1, "the name has no extension to tell the format by; use one of .png"),
    ],
)
def test_formats_refuse_what_they_cannot_hold(
    tmp_path: Path, name: str, dtype: str, channels: int, alpha: bool, pages: int, message: str
) -> None:
    path = tmp_path / name
    found = sentence(io.check_output, path, dtype=dtype, channels=channels, has_alpha=alpha, pages=pages)
    assert found.startswith(f"{path}: {message}")
    shape = (pages,) * (pages > 1) + (4, 5) + (channels,) * (channels > 1)
    image = io.Image(np.zeros(shape, dtype), -1 if channels > 1 else None, {"alpha": alpha})
    assert sentence(io.write, path, image) == found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("extension", "largest"), [(".png", 1_000_000), (".jpg", 65_500), (".webp", 16_383)])
def test_sides_are_limited_where_the_encoder_limits_them(tmp_path: Path, extension: str, largest: int) -> None:
    longest = io.Image(np.zeros((1, largest, 3), np.uint8), -1)
    io.write(tmp_path / f"a{extension}", longest)
    assert io.read(tmp_path / f"a{extension}").data.shape == longest.data.shape
    longer = io.Image(np.zeros((largest + 1, 1, 3), np.uint8), -1)
    message = sentence(io.write, tmp_path / f"b{extension}", longer)
    assert f"holds at most {largest} pixels on a side, not 1 x {largest + 1}; use .tif or .npy" in message


def test_a_png_that_libpng_does_not_decode_is_refused_silently(
    tmp_path: Path, png: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(png(1_000_001, 1, 8, 0, bytes(1_000_002)))
    assert "read up to 1000000 pixels on a side; store it as TIFF" in sentence(io.read, tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 3, 4, 5)])
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "is no image" in sentence(io.write, tmp_path / "a.tif", io.Image(np.zeros(shape)))


def test_an_existing_file_is_kept_unless_overwriting_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    io.write(path, GRAY)
    before = path.read_bytes()
    assert "the file exists" in sentence(io.write, path, io.Image(GRAY.data + 1))
    assert path.read_bytes() == before
    io.write(path, io.Image(GRAY.data + 1), overwrite=True)
    assert io.read(path).data[0, 0] == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.fixture(params=[True, False], ids=["nameless", "named"])
def drafts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Drafts that have no name, where the system knows them, and drafts that have one."""
    if request.param and not _files._HAS_NAMELESS:
        pytest.skip("this system has no nameless files")
    monkeypatch.setattr(_files, "_HAS_NAMELESS", request.param)
    return bool(request.param)


def no_links(*_: object, **__: object) -> None:
    raise OSError(1, "no hard links here")


@pytest.mark.usefixtures("drafts")
def test_a_file_that_appears_while_writing_is_not_clobbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npy"

    def meanwhile(stream: object, *_: object, **__: object) -> None:
        path.write_text("somebody else's")

    for link in (os.link, None):
        path.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(np.lib.format, "write_array", meanwhile)
            if link is None:
                patch.setattr(os, "link", no_links)
            assert "the file exists" in sentence(io.write, path, GRAY)
        assert path.read_text() == "somebody else's"
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.usefixtures("drafts")
def test_without_hard_links_a_new_file_is_still_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    io.write(tmp_path / "a.png", GRAY)
    np.testing.assert_array_equal(io.read(tmp_path / "a.png").data, GRAY.data)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_drafts_of_killed_programs_are_swept_away_and_those_at_work_are_not(tmp_path: Path) -> None:
    names = {mark: f".imgtool-{mark * 16}.tmp" for mark in "0123"}
    for mark, name in names.items():
        (tmp_path / name).write_bytes(b"half")
        if mark != "0":
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".imgtool-mine.tmp").write_bytes(b"")
    os.utime(tmp_path / ".imgtool-mine.tmp", (0, 0))
    with (tmp_path / names["1"]).open("rb") as worker:
        fcntl.flock(worker, fcntl.LOCK_EX)
        io.sweep(tmp_path)
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == {names["0"], names["1"], ".imgtool-mine.tmp"}


@pytest.mark.usefixtures("drafts")
@pytest.mark.parametrize("fault", [RuntimeError("bug"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    path = tmp_path / "a.npy"
    io.write(path, GRAY)

    def broken(stream: object, *_: object, **__: object) -> None:
        stream.write(b"half")  # type: ignore[attr-defined]
        raise fault

    monkeypatch.setattr(np.lib.format, "write_array", broken)
    with pytest.raises(type(fault)):
        io.write(path, io.Image(GRAY.data + 1), overwrite=True)
    monkeypatch.undo()
    np.testing.assert_array_equal(io.read(path).data, GRAY.data)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    program = (
        "import signal, numpy as np; from imgtool import io; from imgtool.errors import ImgtoolError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "for extension in ('png', 'tif', 'npy', 'jpg', 'webp', 'bmp', 'ppm'):\n"
        "    pixels = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)\n"
        "    try: io.write('big.' + extension, io.Image(pixels, -1))\n"
        "    except ImgtoolError as error: print(error)\n"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit, check=True
    )
    lines = result.stdout.splitlines()
    assert len(lines) == 7
    whys = ("the file would be larger than this system allows", "the disk may be full")
    assert all(any(f"cannot be written: {why}" in line for why in whys) for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_missing_folders_and_odd_goals_are_refused(tmp_path: Path) -> None:
    assert f"there is no directory {tmp_path / 'no'}; create it" in sentence(io.write, tmp_path / "no" / "a.png", GRAY)
    (tmp_path / "folder.png").mkdir()
    assert "a directory, not a file" in sentence(io.write, tmp_path / "folder.png", GRAY, overwrite=True)
    os.mkfifo(tmp_path / "pipe.png")
    assert "imgtool writes files only" in sentence(io.write, tmp_path / "pipe.png", GRAY, overwrite=True)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert "leads back to itself" in sentence(io.write, tmp_path / "loop.png", GRAY, overwrite=True)


def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    before = os.umask(0o027)
    try:
        io.write(path, GRAY)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    path.chmod(0o604)
    io.write(path, GRAY, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.png").symlink_to("real/target.png")
    io.write(tmp_path / "link.png", GRAY)
    assert (tmp_path / "link.png").is_symlink()
    np.testing.assert_array_equal(io.read(tmp_path / "real" / "target.png").data, GRAY.data)


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    io.write(tmp_path / "a.png", GRAY)
    os.mkfifo(tmp_path / "pipe")
    content = (tmp_path / "a.png").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    np.testing.assert_array_equal(io.read(tmp_path / "pipe").data, GRAY.data)
    writer.join()


def test_warnings_of_decoders_stay_inside_and_filters_are_restored(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", GRAY.data, photometric="minisblack", metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[4:8] = struct.pack("<I", len(content) + 9)  # the first page is beyond the end
    (tmp_path / "b.tif").write_bytes(content)
    filters = list(warnings.filters)
    threads = [threading.Thread(target=sentence, args=(io.read, tmp_path / "b.tif")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == filters
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("tifffile").handlers


def test_text_and_json_files(tmp_path: Path) -> None:
    io.write_text(tmp_path / "a.json", '{"sigma": "µ"}\n')
    assert io.read_json(tmp_path / "a.json") == {"sigma": "µ"}
    assert "the file exists" in sentence(io.write_text, tmp_path / "a.json", "")
    (tmp_path / "b.json").write_text("{nothing")
    assert "b.json: not valid JSON" in sentence(io.read_json, tmp_path / "b.json")
    (tmp_path / "c.json").write_text("[" * 100_000)
    assert "c.json: not valid JSON" in sentence(io.read_json, tmp_path / "c.json")
    (tmp_path / "d.json").write_bytes(b"\xff\xfe{")
    assert "d.json: not valid JSON" in sentence(io.read_json, tmp_path / "d.json")


def test_reading_a_png_imports_no_other_codec(tmp_path: Path) -> None:
    io.write(tmp_path / "a.png", GRAY)
    program = (
        "import sys; from imgtool import io; image = io.read('a.png'); io.write('b.png', image);"
        "print(sorted({'PIL', 'imageio', 'tifffile', 'logging'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
