"""Several operations in one process: exact in between, rounded once."""

import json

import numpy as np
import pytest

from imgtool import filters, io
from imgtool.io.transforms import write_transform
from imgtool.kernels import parse_kernel
from imgtool.registration import register
from imgtool.transforms import MatrixTransform, warp


def write(path, data, channel_axis=None):
    io.write(path, io.Image(data, channel_axis))


@pytest.fixture
def values(tmp_path):
    """A small random picture of a type in a file, with channels and opacity if wanted."""

    def make(name, dtype="uint8", channels=1):
        shape = (20, 24) + (channels,) * (channels > 1)
        rng = np.random.default_rng(1)
        dtype = np.dtype(dtype)
        high = np.iinfo(dtype).max if dtype.kind in "iu" else 1
        data = (rng.random(shape) * high).astype(dtype)
        if channels == 4:
            data[..., 3] = np.maximum(data[..., 3], 1)  # what is transparent loses its colour in every step
        write(tmp_path / name, data, -1 if channels > 1 else None)
        return data

    return make


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_values_are_rounded_once_at_the_end(call, values, tmp_path, dtype):
    data = values("a.tif", dtype)
    result = call("pipe", "convolve -k box:5", "convolve -k gaussian:1.5 --border wrap", "a.tif", "-o", "b.tif")
    assert (result.exit_code, result.stderr) == (0, "")
    exact = filters.convolve(data, np.full((5, 5), 1 / 25), dtype=np.float64)
    exact = filters.convolve(exact, parse_kernel("gaussian:1.5").arrays[0], border="wrap")
    got = io.read(tmp_path / "b.tif").data
    assert got.dtype == dtype
    if dtype.startswith("float"):
        np.testing.assert_allclose(got, exact, rtol=1e-6 if dtype == "float32" else 1e-14)
    else:
        far = np.abs(exact - np.floor(exact) - 0.5) > 1e-4  # from a tie
        np.testing.assert_array_equal(got[far], np.rint(exact)[far])


def test_rounding_in_between_would_give_something_else(call, values, tmp_path):
    values("a.tif")
    steps = ("convolve -k 1/200", "convolve -k 200")
    assert call("pipe", *steps, "a.tif", "-o", "b.tif").exit_code == 0
    np.testing.assert_array_equal(io.read(tmp_path / "b.tif").data, io.read(tmp_path / "a.tif").data)
    assert call("pipe", steps[0] + " --dtype uint8", steps[1], "a.tif", "-o", "c.tif").exit_code == 0
    assert set(np.unique(io.read(tmp_path / "c.tif").data)) <= {0, 200}


@pytest.mark.parametrize(
    "options",
    ["-k sobel", "-k sharpen --border constant --cval 9 --bias 3", "-k gaussian:1 --linear", "-k box:3 --shape full"],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_one_step_is_the_command_itself_and_a_neutral_second_one_changes_nothing(
    call, values, tmp_path, options, channels, dtype
):
    values("a.tif", dtype, channels)
    assert call("convolve", *options.split(), "a.tif", "-o", "b.tif", "-q").exit_code == 0
    assert call("pipe", f"convolve {options}", "a.tif", "-o", "c.tif", "-q").exit_code == 0
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()
    for n, steps in enumerate(
        [(f"convolve {options}", "convolve -k identity"), ("convolve -k 1", f"convolve {options}")]
    ):
        assert call("pipe", *steps, "a.tif", "-o", f"d{n}.tif", "-q").exit_code == 0
        one, two = (io.read(tmp_path / name).data.astype(float) for name in ("b.tif", f"d{n}.tif"))
        if channels == 4:  # what is transparent has no colour that would survive another step
            one, two = one[one[..., 3] > 0], two[one[..., 3] > 0]
        # Values that lie on a tie may fall to its other side.
        assert np.abs(one - two).max() <= 1
        assert (one != two).mean() < 0.01


@pytest.fixture
def turn(tmp_path):
    """A rotation with a shift, of pictures as `values` makes, in t.json."""
    found = MatrixTransform([[0.9, -0.3, 5], [0.3, 0.9, -3], [0, 0, 1]], "affine", (30, 28), (20, 24))
    write_transform(tmp_path / "t.json", found)
    return found


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_warps_take_and_give_unrounded_values(call, values, turn, tmp_path, dtype, interpolation):
    data = values("a.tif", dtype)
    steps = ("convolve -k gaussian:1", f"warp -t t.json --interpolation {interpolation} --fill 9", "convolve -k box")
    result = call("pipe", *steps, "a.tif", "-o", "b.tif")
    assert (result.exit_code, result.stderr) == (0, "")
    exact = filters.convolve(data, parse_kernel("gaussian:1").arrays[0], dtype=np.float64)
    exact = warp(exact, turn, interpolation=interpolation, fill=9)
    exact = filters.convolve(exact, np.full((3, 3), 1 / 9))
    got = io.read(tmp_path / "b.tif").data
    assert (got.dtype, got.shape) == (dtype, (30, 28))
    far = np.abs(exact - np.floor(exact) - 0.5) > 1e-3  # from a tie
    np.testing.assert_array_equal(got[far], np.rint(exact)[far])


@pytest.mark.usefixtures("turn")
@pytest.mark.parametrize("options", ["-t t.json", "-t t.json --labels", "-t t.json --fill 7 --interpolation cubic"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_warp_is_the_command_itself(call, values, tmp_path, options, channels):
    values("a.tif", channels=channels)
    assert call("warp", *options.split(), "a.tif", "-o", "b.tif").exit_code == 0
    assert call("pipe", f"warp {options}", "a.tif", "-o", "c.tif").exit_code == 0
    assert call("pipe", f"warp {options}", "convolve -k 1", "a.tif", "-o", "d.tif", "-q").exit_code == 0
    assert (tmp_path / "b.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()
    one, two = (io.read(tmp_path / name).data.astype(int) for name in ("b.tif", "d.tif"))
    if channels == 4:
        one, two = one[one[..., 3] > 0], two[one[..., 3] > 0]
    assert np.abs(one - two).max() <= 1
    assert (one != two).mean() < 0.01


@pytest.mark.usefixtures("turn")
def test_every_page_is_warped(call, tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (3, 20, 24), dtype=np.uint8)
    write(tmp_path / "a.tif", data)
    assert call("pipe", "convolve -k 1", "warp -t t.json", "a.tif", "-o", "b.tif").exit_code == 0
    assert call("warp", "-t", "t.json", "a.tif", "-o", "c.tif").exit_code == 0
    np.testing.assert_array_equal(io.read(tmp_path / "b.tif").data, io.read(tmp_path / "c.tif").data)


def test_an_image_is_registered_on_the_way(call, picture, tmp_path):
    fixed = picture("fixed.png", shape=(96, 80))
    moving = picture("moving.png", shape=(90, 84), shift=(3, -2))
    step = "register fixed.png -m translation"
    result = call("pipe", step, "convolve -k box", "moving.png", "-o", "b.tif", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = register(fixed, moving, model="translation")
    exact = filters.convolve(warp(moving.astype(np.float32), found.transform), np.full((3, 3), 1 / 9), dtype=np.float64)
    assert np.abs(io.read(tmp_path / "b.tif").data - exact).max() <= 0.51
    record = json.loads(result.stdout)
    assert record["model"] == "translation"
    assert record["parameters"]["steps"][0]["fixed"] == "fixed.png"
    assert record["shape"] == [96, 80]
    assert call("pipe", step, "moving.png", "-o", "c.png").stdout.startswith("moving.png: NMI ")
    assert call("register", "fixed.png", "moving.png", "-m", "translation", "-o", "d.png").exit_code == 0
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "d.png").read_bytes()


def test_variables_and_configuration_hold_for_steps(call, values, tmp_path):
    values("a.png")
    (tmp_path / "c.toml").write_text('[convolve]\nkernel = "box"\n')
    words = ("--config", "c.toml", "pipe", "convolve", "a.png", "-o", "b.png", "--json")
    record = json.loads(call(*words, env={"IMGTOOL_CONVOLVE_BORDER": "wrap"}).stdout)
    step = record["parameters"]["steps"][0]
    assert (step["kernel"], step["border"]) == ("box", "wrap")


def test_the_type_of_the_result_is_that_of_the_input_or_the_last_one_asked_for(call, values, tmp_path):
    values("a.tif")
    for steps, dtype in [
        (("convolve -k box", "convolve -k box"), "uint8"),
        (("convolve -k box", "convolve -k box --dtype float32"), "float32"),
        (("convolve -k box --dtype float32", "convolve -k box"), "float32"),
        (("convolve -k box --dtype int16", "convolve -k box --dtype uint16"), "uint16"),
    ]:
        assert call("pipe", *steps, "a.tif", "-o", "b.tif", "--exists", "overwrite").exit_code == 0
        assert io.read(tmp_path / "b.tif").data.dtype == dtype


def test_saturation_is_counted_where_it_happens(call, tmp_path):
    write(tmp_path / "a.tif", np.full((4, 5), 200, np.uint8))
    result = call("pipe", "convolve -k 2", "convolve -k 1/4", "a.tif", "-o", "b.tif")
    assert (result.exit_code, result.stderr) == (0, "")
    result = call("pipe", "convolve -k 1/4", "convolve -k 8", "a.tif", "-o", "c.tif")
    assert result.stderr == "a.tif: 20 values saturated at uint8; use --dtype float32 to keep them\n"


def test_pipes_take_batches_and_tell_of_their_steps(call, values, tmp_path):
    for name in ("a.png", "b.png"):
        values(name)
    (tmp_path / "list").write_text("a.png\nb.png\n")
    steps = ("convolve -k 'gaussian:sigma=2' --border wrap", "convolve -k laplacian --explain")
    result = call("pipe", *steps, "--files-from", "list", "-O", "out", "--json", "-q")
    assert result.exit_code == 0
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert {record["output"] for record in records} == {"out/a.png", "out/b.png"}
    told = records[0]["parameters"]["steps"]
    assert [step["operation"] for step in told] == ["convolve", "convolve"]
    assert [(step["kernel"], step["border"]) for step in told] == [
        ("gaussian:sigma=2", "wrap"),
        ("laplacian", "reflect"),
    ]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["a.png", "-o", "b.png"], 2, "'a.png' is no step; use one of convolve, warp, register, with its"),
        (["convolv -k box", "a.png", "-o", "b.png"], 2, "'convolv -k box' is no step; did you mean convolve?"),
        (["convolve -k box", "-o", "b.png"], 2, "there are steps but no input; name images after the steps"),
        (["convolve", "a.png", "-o", "b.png"], 2, "step 1 (convolve): Missing option '-k' / '--kernel'"),
        (["convolve -k bax", "a.png", "-o", "b.png"], 2, "step 1 (convolve -k bax): "),
        (["convolve -k box", "convolve -k 3 -o c.png", "a.png", "-o", "b.png"], 2, "step 2 (convolve -k 3 -o c.png): "),
        (["convolve -k 'box", "a.png", "-o", "b.png"], 2, "step 1 (convolve -k 'box): "),
        (["convolve -k box c.png", "a.png", "-o", "b.png"], 2, "step 1 (convolve -k box c.png): "),
        (
            ["convolve -k box:15 --shape valid", "convolve -k box:9 --shape valid", "a.png", "-o", "b.png"],
            1,
            "a.png: is 10x6 pixels, smaller than the kernel of 9x9; use --shape same",
        ),
        (["convolve -k box", "convolve -k box --dtype float32", "a.png", "-o", "b.png"], 1, "PNG cannot hold float32"),
        (["convolve -k box --mask none.png", "a.png", "-o", "b.png"], 1, "none.png: no such file"),
        (["warp", "a.png", "-o", "b.png"], 2, "step 1 (warp): Missing option '-t' / '--transform'"),
        (["warp -t none.json", "a.png", "-o", "b.png"], 1, "none.json: no such file"),
        (["register", "a.png", "-o", "b.png"], 2, "step 1 (register): Missing argument 'FIXED'"),
        (["register none.png", "a.png", "-o", "b.png"], 1, "Error: none.png: no such file"),
        (["register a.png -t t.json", "a.png", "-o", "b.png"], 2, "step 1 (register a.png -t t.json): "),
        (["convolve -k 1 --mask m.png --max-pixels 9", "a.png", "-o", "b.png"], 2, "No such option"),
        (["convolve -k box", "a.png", "-O", ""], 2, "the name is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_step_is_told_with_its_number(call, values, files, words, status, sentence):
    values("a.png")
    result = call("pipe", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (status, 1)
    assert sentence in result.stderr
    assert files() == ["a.png"]
