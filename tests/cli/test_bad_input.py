"""Bad input of every kind: one sentence that names the file or the option, the exit status, and no trace."""

import json
import os
import shlex

import imageio.v3 as iio
import numpy as np
import pytest

LONG = "x" * 300

# What is wrong, with {image} in the place of an image that a command reads.
IMAGES = [
    ("none.png", "none.png: no such file"),
    ("folder.png", "folder.png: a directory, not a file"),
    ("empty.png", "empty.png: the file is empty"),
    ("cut.png", "cut.png: the PNG file is cut off"),
    ("cut.jpg", "cut.jpg: the image is damaged or cut off"),
    ("cut.tif", "cut.tif: "),
    ("text.png", "text.png: not an image that imgtool can read (a text file)"),
    ("noise.xyz", "noise.xyz: not an image that imgtool can read"),
    ("https://example.org/a.png", "https://example.org/a.png: imgtool fetches no URLs"),
]
PLACES = [
    "convolve {image} -k box -o out.png",
    "register {image} good.png -o out.png -t t.json",
    "register good.png {image} -o out.png -t t.json",
    "register good.png other.png --fixed-mask {image} -o out.png",
    "warp {image} -t identity.json -o out.png",
    "stack good.png {image} -O out",
]
CASES = [
    *((place.format(image=image), 1, said) for image, said in IMAGES for place in PLACES),
    # Outputs
    ("convolve good.png -k box -o plain/out.png", 1, "plain/out.png: there is no folder plain; make it first"),
    (
        "convolve good.png -k box -O plain/out",
        1,
        "plain/out: the folder cannot be made (plain is a file); choose another",
    ),
    ("convolve good.png -k box -o ./", 1, ".: is a folder; name a file, or use -O to write into it"),
    ("convolve good.png -k box -o none/out.png", 1, "none/out.png: there is no folder none; make it first"),
    ("register good.png other.png -t none/t.json", 1, "none/t.json: there is no folder none; make it first"),
    (f"convolve good.png -k box -o {LONG}.png", 1, f"{LONG}.png: cannot be written (File name too long)"),
    (f"convolve good.png -k box -O {LONG}", 1, f"{LONG}/good.png: cannot be written (File name too long)"),
    ("convolve good.png -k box -o folder.png", 1, "folder.png: is a folder; name a file, or use -O"),
    ("convolve good.png -k box -o other.png", 1, "other.png: exists already; use --exists overwrite"),
    ("register good.png other.png -o out.png -t identity.json", 1, "identity.json: exists already; use --exists"),
    ("warp good.png -t identity.json -o other.png", 1, "other.png: exists already; use --exists overwrite"),
    ("convolve good.png -k box -o out.xyz", 1, "out.xyz: .xyz files are not written; use one of .png"),
    ("convolve good.png -k box -o out", 1, "out: the name has no extension"),
    ("convolve good.png -k box --dtype float32 -o out.jpg", 1, "out.jpg: JPEG cannot hold float32 gray; use "),
    ("convolve good.png -k box -o good.png", 2, "good.png is an input as well; choose another name"),
    # Images that cannot be registered
    *(
        (f"register {pair} -o out.png -t t.json", 1, said)
        for pair, said in [
            ("dot.png good.png", "good.png onto dot.png: fixed "),
            ("good.png dot.png", "dot.png onto good.png: moving "),
            ("flat.png good.png", "good.png onto flat.png: fixed "),
            ("good.png flat.png", "flat.png onto good.png: moving "),
        ]
    ),
    ("register nan.npy good.png -o out.png", 1, "good.png onto nan.npy: fixed "),
    ("register good.png nan.npy -o out.npy", 1, "nan.npy onto good.png: moving "),
    ("register good.png other.png --fixed-mask dot.png -o out.png", 1, "other.png onto good.png: fixed_mask "),
    # Transforms
    ("warp good.png -t none.json -o out.png", 1, "none.json: no such file"),
    ("warp good.png -t good.png -o out.png", 1, "good.png: "),
    ("warp good.png -t other.png -o out.png", 1, "other.png: not valid JSON"),
    (
        "warp good.png -t identity.json -t nan.npy -o out.png",
        1,
        "nan.npy: a displacement field has shape (height, width",
    ),
    ("warp good.png -t identity.json --like none.png -o out.png", 1, "none.png: no such file"),
    ("warp good.png -o out.png", 2, "Missing option '-t'"),
    ("warp dot.png -t identity.json -o out.png", 1, "dot.png: is 1x1 pixels, but the transform is for 20x24; --force"),
    # Where a registration begins, and what it looks at
    *(
        (f"register good.png other.png {options} -o out.png -t t.json --overlay see.png", status, said)
        for options, status, said in [
            ("--initial none.json", 1, "none.json: no such file"),
            ("--initial broken.json", 1, "broken.json: not valid JSON"),
            ("--initial version.json", 1, "version.json: transform version 9 is unknown; this imgtool reads version 1"),
            (
                "--initial far.json",
                1,
                "other.png onto good.png: the initial transform is for a fixed image of 99x98 pix",
            ),
            ("--initial field.npy", 1, "field.npy: a registration begins at a matrix, not at a displacement"),
            ("--initial identity.json --landmarks pairs.csv", 2, "--initial and --landmarks both say where to begin"),
            ("--landmarks none.csv", 1, "none.csv: no such file"),
            ("--landmarks good.png", 1, "good.png: is no UTF-8 text; save the points as CSV"),
            (
                "--landmarks three.csv",
                1,
                "three.csv: matched points need the columns x_fixed, y_fixed, x_moving, y_mov",
            ),
            ("--landmarks gone.csv", 1, "gone.csv: line 2: '1, nan, 3, 4' is no place in an image; remove the line"),
            ("--landmarks line.csv", 1, "line.csv: the landmarks lie on a line"),
            ("--nodata x", 2, "'--nodata' / '--mask-value': 'x' is no number"),
            ("--channel 2", 1, "good.png: has 1 channel, so choose it by --channel 1 or leave --channel out"),
            (
                "--channel mauve",
                2,
                "'--channel': 'mauve' is no channel; use luminance, all, red, green, blue, a number",
            ),
            ("--spacing -1", 2, "'--spacing': '-1' is no pixel size; give a number above 0"),
            ("--spacing 1 --moving-spacing 1e9", 1, "other.png onto good.png: at the common pixel size of 1e+09"),
            ("--spacing tags", 1, "good.png: has no resolution in its tags; give its pixel size by --spacing"),
            ("--search everywhere", 2, "'everywhere' is not one of"),
            ("--moving-mask black.png", 1, "other.png onto good.png: moving_mask is zero everywhere"),
            ("--fixed-mask dot.png", 1, "other.png onto good.png: fixed_mask has shape (1, 1) but"),
            ("--checkerboard other.png", 2, "other.png is an input as well"),
            ("--checkerboard out.xyz", 1, "out.xyz: .xyz files are not written"),
            ("--checkerboard none/c.png", 1, "none/c.png: there is no folder none; make it first"),
        ]
    ),
    ("register flat.png good.png --nodata 7 -o out.png", 1, "good.png onto flat.png: fixed has no finite pixel"),
    ("register good.png other.png --overlay black.png", 1, "black.png: exists already; use --exists overwrite"),
    # Points and landmarks
    ("points none.csv -t identity.json --to moving -o out.csv", 1, "none.csv: no such file"),
    ("points three.csv -t none.json --to moving -o out.csv", 1, "none.json: no such file"),
    ("points three.csv -t broken.json --to moving -o out.csv", 1, "broken.json: not valid JSON"),
    ("points three.csv -t version.json --to moving -o out.csv", 1, "version.json: transform version 9 is unknown"),
    ("points three.csv -t identity.json -t far.json --to moving -o out.csv", 1, "far.json: one transform leads to an"),
    ("points good.png -t identity.json --to moving -o out.csv", 1, "good.png: is no UTF-8 text"),
    ("points empty.png -t identity.json --to fixed -o out.csv", 1, "empty.png: is empty; points need a line x,y each"),
    ("points gone.csv -t identity.json --to moving -o out.csv", 1, "gone.csv: line 2: '1, nan, 3, 4' is no place"),
    ("points three.csv -t identity.json --to there -o out.csv", 2, "'there' is not one of 'moving', 'fixed'"),
    ("points three.csv -t identity.json --to moving -o pairs.csv", 1, "pairs.csv: exists already; use --exists over"),
    ("points three.csv -t identity.json --to moving -o three.csv", 2, "three.csv is an input as well; choose another"),
    (
        "points three.csv -t identity.json --to moving -o none/out.csv",
        1,
        "none/out.csv: cannot be written: there is no",
    ),
    ("evaluate -t identity.json --landmarks three.csv pairs.csv", 1, "three.csv has 3 points and pairs.csv 2; they mu"),
    ("evaluate -t identity.json --landmarks three.csv gone.csv", 1, "gone.csv: line 2: '1, nan, 3, 4' is no place in"),
    ("evaluate -t identity.json --landmarks three.csv none.csv", 1, "none.csv: no such file"),
    (
        "evaluate -t field.npy --landmarks three.csv three.csv --in moving",
        1,
        "field.npy: does not tell the size of the",
    ),
    ("evaluate -t identity.json --landmarks three.csv", 2, "requires 2 arguments"),
    *(
        (f"{line} ''", 2, "the name is empty; write ./ for the current folder")
        for line in (
            "stack good.png other.png -O",
            "points three.csv -t identity.json --to moving -o",
            "transform invert identity.json -o",
        )
    ),
    *(
        (f"register good.png other.png {option} ''", 2, f"the name at {option} is empty")
        for option in ("-t", "--overlay")
    ),
    # Kernels
    ("convolve good.png -k '0 0; 0 0' --normalize -o out.png", 2, "'--normalize': kernel '0 0; 0 0' sums to 0"),
    ("convolve good.png -k laplacian --normalize -o out.png", 2, "'--normalize': kernel 'laplacian' sums to 0"),
    ("convolve good.png -k '1 2; 3' -o out.png", 2, "'--kernel': kernel '1 2; 3': row 2 is 1 long where row 1 is 2"),
    ("convolve good.png -k '1 x' -o out.png", 2, "'--kernel': kernel '1 x': row 1, column 2 is 'x', not a number"),
    ("convolve good.png -k '1 nan' -o out.png", 2, "'--kernel': kernel '1 nan': row 1, column 2 is not finite"),
    ("convolve good.png -k '' -o out.png", 2, "'--kernel': kernel '': has no numbers in it"),
    ("convolve good.png -k gausian:2 -o out.png", 2, "there is no kernel named 'gausian'; did you mean gaussian?"),
    ("convolve good.png -k gaussian:sigma=x -o out.png", 2, "kernel gaussian: sigma must be a number above 0, or one"),
    ("convolve good.png -k @none.txt -o out.png", 2, "'--kernel': none.txt: no such kernel file"),
    ("convolve good.png -k @ragged.txt -o out.png", 2, "'--kernel': ragged.txt: row 2 is 1 long where row 1 is 2"),
    ("convolve good.png -k @cut.png -o out.png", 2, "'--kernel': cut.png: the PNG file is cut off"),
    ("convolve good.png -k @none.png -o out.png", 2, "'--kernel': none.png: no such file"),
    ("convolve good.png -k @colour.png -o out.png", 2, "'--kernel': colour.png: a kernel is a gray image"),
    ("convolve good.png -k @good -o out.png", 2, "'--kernel': good: a kernel file must be one of .txt, .csv, .json"),
    ("convolve good.png -k @zero.mat -o out.png", 2, "'--kernel': zero.mat: the scale, by which its numbers are"),
    ("convolve good.png -k box:99999 -o out.png", 2, "kernel box: 9999800001 numbers are more than the limit"),
    ("convolve good.png -k sobel --axes zyx -o out.png", 2, "'--kernel': kernel sobel has no form with 3 axes"),
    ("convolve good.png -k @other.png -o other.png", 2, "other.png is an input as well; choose another name"),
    ("convolve good.png -k box --mask other.png -o other.png", 2, "other.png is an input as well"),
    # Options and images that do not go together
    (
        "convolve good.png -k box:21x25 --shape valid -o out.png",
        1,
        "good.png: is 20x24 pixels, smaller than the kernel",
    ),
    ("convolve good.png -k box --mask dot.png -o out.png", 1, "good.png: is 20x24 pixels, but the mask dot.png is 1x1"),
    ("convolve good.png -k box --mask none.png -o out.png", 1, "none.png: no such file"),
    (
        "convolve good.png -k box --mask colour.png -o out.png",
        1,
        "colour.png: a mask is a gray image, but this one has",
    ),
    ("convolve good.png -k box --mask black.png -o out.png", 1, "good.png: the mask is 0 everywhere"),
    ("convolve good.png -k laplacian --mask good.png -o out.png", 1, "good.png: the kernel's sum is 0"),
    ("convolve good.png -k sobel --border renormalize -o out.png", 1, "good.png: mask, nan=ignore and border=renorm"),
    ("convolve whole.npy -k box --linear -o out.npy", 1, "whole.npy: linear light needs sRGB values of uint8, uint16"),
    ("convolve good.png -k 1e308 --scale 1e9 -o out.png", 1, "good.png: scale 1000000000.0 makes the kernel infinite"),
    ("convolve good.png -k sharpen --method separable -o out.png", 1, "good.png: method separable needs a kernel of"),
    (
        "convolve good.png -k box --border constant --cval nan -o out.png",
        1,
        "good.png: cval nan does not fit into uint8",
    ),
    ("convolve good.png -k box:9999 -o out.png", 2, "kernel box: 99980001 numbers are more than the limit of 1048576"),
]


@pytest.fixture
def zoo(tmp_path):
    """A folder of good files and bad ones."""
    y, x = np.indices((24, 20))
    good = (np.sin(x / 3) * 60 + np.cos(y / 4) * 60 + 128).astype(np.uint8)
    encoded = {ext: iio.imwrite("<bytes>", good, extension=f".{ext}") for ext in ("png", "jpg", "tif")}
    identity = {
        "format": "imgtool-transform", "version": 1, "model": "affine", "matrix": np.eye(3).tolist(),
        "fixed_shape": [24, 20], "moving_shape": [24, 20],
    }  # fmt: skip
    contents = {
        "good.png": encoded["png"],
        "other.png": iio.imwrite("<bytes>", np.roll(good, 1, axis=1), extension=".png"),
        "empty.png": b"",
        "cut.png": encoded["png"][:-40],
        "cut.jpg": encoded["jpg"][:-100],
        "cut.tif": encoded["tif"][:-100],
        "text.png": b"To be, or not to be\n",
        "noise.xyz": bytes(range(256)),
        "dot.png": iio.imwrite("<bytes>", good[:1, :1], extension=".png"),
        "flat.png": iio.imwrite("<bytes>", np.full_like(good, 7), extension=".png"),
        "plain": b"",
        "ragged.txt": b"1 2\n3\n",
        "zero.mat": b"1 1 0\n1\n",
        "colour.png": iio.imwrite("<bytes>", np.dstack([good] * 3), extension=".png"),
        "black.png": iio.imwrite("<bytes>", np.zeros_like(good), extension=".png"),
        "identity.json": json.dumps(identity).encode(),
        "broken.json": json.dumps(identity).encode()[:-9],
        "version.json": json.dumps(identity | {"version": 9}).encode(),
        "far.json": json.dumps(identity | {"fixed_shape": [98, 99]}).encode(),
        "three.csv": b"x,y\n1,2\n3,4\n5,5\n",
        "pairs.csv": b"1,2,3,4\n5,6,7,8\n",
        "gone.csv": b"1,2,3,4\n1,nan,3,4\n",
        "line.csv": b"0,0,0,0\n5,5,5,5\n9,9,9,9\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "field.npy", np.zeros((24, 20, 2)))
    np.save(tmp_path / "nan.npy", np.full(good.shape, np.nan))
    np.save(tmp_path / "whole.npy", good.astype(np.int32))
    (tmp_path / "folder.png").mkdir()
    return tmp_path


def snapshot(folder):
    return sorted((entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in os.scandir(folder))


@pytest.mark.parametrize(("line", "status", "said"), CASES, ids=[line.replace(LONG, "xxx") for line, _, _ in CASES])
def test_bad_input_is_one_sentence_and_nothing_is_left_behind(call, zoo, line, status, said):
    before = snapshot(zoo)
    result = call(*shlex.split(line))
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert snapshot(zoo) == before


@pytest.mark.usefixtures("zoo")
@pytest.mark.parametrize(
    "line", [PLACES[0].format(image=image) for image, _ in IMAGES] + [PLACES[2].format(image="cut.jpg")]
)
def test_as_a_process_too_bad_images_make_one_line(finish, line):
    # Decoders and the interpreter write past Python's own streams.
    status, out, err = finish(*shlex.split(line))
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
