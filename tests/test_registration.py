"""Registration: known warps of real images are found, whatever the form the images come in."""

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from imgtool import ImgtoolError, _level, _optimise, _pyramid, metrics, register, registration
from imgtool._frame import LADDER, Frame
from imgtool._layout import layout
from imgtool._level import Level
from imgtool._search import Edges
from imgtool.registration import _unit_plane
from imgtool.transforms import MODELS, MatrixTransform, warp

ITK = Path(__file__).parent / "data" / "itk"
TRUTH = {
    "shift": [[1, 0, 13], [0, 1, 17]],
    "rigid": [[0.984807753, -0.173648178, 36.992534122], [0.173648178, 0.984807753, -1.235919894]],
    "similarity": [[0.820673128, 0.144706815, -11.90797279], [-0.144706815, 0.820673128, 26.963351565]],
}


def itk(name):
    return np.asarray(Image.open(ITK / f"{name}.png"))


@pytest.fixture(scope="module")
def t1():
    return itk("t1")


@pytest.fixture(scope="module")
def pd():
    return itk("pd")


def grid(shape):
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, 17), np.linspace(0, shape[0] - 1, 17))
    return np.stack([x.ravel(), y.ravel()], axis=1)


def error(transform, truth, shape):
    """The mean distance in pixels over the image."""
    truth = np.asarray(truth, float)
    points = grid(shape)
    return np.linalg.norm(transform(points) - (points @ truth[:2, :2].T + truth[:2, 2]), axis=1).mean()


def random_matrix(rng, model, shape):
    """A motion of up to 8 % of the size, 12 degrees, 8 % in scale and 4 % in shear, about the centre."""
    angle = np.radians(rng.uniform(-12, 12))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = {
        "translation": np.eye(2),
        "rigid": turn,
        "similarity": turn * np.exp(rng.uniform(-0.08, 0.08)),
        "affine": turn @ np.diag(np.exp(rng.uniform(-0.08, 0.08, 2))) @ [[1, rng.uniform(-0.04, 0.04)], [0, 1]],
    }[model]
    centre = (np.array(shape[::-1]) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + rng.uniform(-0.08, 0.08, 2) * shape[::-1]
    return matrix


def moved(image, matrix, rng, noise=0.03):
    """`image` seen through a known warp: moving(matrix p) = image(p), with noise."""
    back = MatrixTransform(matrix, "affine", image.shape, image.shape).inverse()
    out = warp(image.astype(float), back, interpolation="cubic")
    return out + noise * np.ptp(image) * rng.standard_normal(image.shape)


@pytest.mark.parametrize("motion", TRUTH)
@pytest.mark.parametrize(("contrast", "bound"), [("pd", 0.06), ("t1", 0.3)])
def test_the_published_motions_of_the_itk_slices_are_found(motion, contrast, bound):
    fixed, moving = itk(contrast), itk(f"pd_{motion}")
    result = register(fixed, moving)
    assert error(result.transform, TRUTH[motion], fixed.shape) < bound
    assert result.improved
    assert result.nmi_after > result.nmi_before + 0.1
    assert result.warped.dtype == np.uint8
    np.testing.assert_array_equal(result.warped, warp(moving, result.transform))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_warp_of_the_other_contrast_is_found(t1, pd, model, seed):
    rng = np.random.default_rng(seed)
    matrix = random_matrix(rng, model, t1.shape)
    result = register(t1, moved(pd, matrix, rng), model=model)
    assert error(result.transform, matrix, t1.shape) < 0.5
    assert result.transform.model == model


def exact_cases(shared_data):
    """Cases with exact truth and a motion that a search from the image centres can be asked to find."""
    for path in sorted((shared_data / "registration" / "2d").glob("*/truth.json")):
        truth = json.loads(path.read_text())
        exact = truth["truth_class"] in ("exact", "measured-exact", "exact-by-construction")
        if (
            exact
            and truth["model"] in MODELS
            and truth["initial_error_px_mean_grid"] < 0.15 * truth["size_fixed_wh"][0]
        ):
            yield path.parent, truth


def test_real_cases_with_exact_truth_and_moderate_motion_are_within_half_a_pixel(shared_data):
    errors = {}
    for folder, truth in exact_cases(shared_data):
        fixed, moving = (np.asarray(Image.open(folder / truth[name])) for name in ("fixed", "moving"))
        result = register(fixed, moving)
        errors[folder.name] = error(result.transform, truth["A_fixed_to_moving"], fixed.shape)
    assert len(errors) >= 8
    assert {name: e for name, e in errors.items() if e > 0.5} == {}


def planes_of(fixed, moving, masked):
    mask = None
    if masked:
        mask = np.ones(fixed.shape, bool)
        mask[100:120, 50:90], mask[:, 180:], mask[200] = False, False, False
    return tuple(_unit_plane(image, name, mask, None, 1) for image, name in ((fixed, "fixed"), (moving, "moving")))


def bent(matrix, model, shape):
    """`matrix`, for projective models with a little perspective."""
    if model == "projective":
        matrix = matrix @ np.array([[1, 0, 0], [0, 1, 0], [0.2 / shape[1], -0.1 / shape[0], 1]])
    return matrix / matrix[2, 2]


def central_differences(function, parameters, step):
    slopes = []
    for i in range(parameters.size):
        ends = []
        for sign in (1, -1):
            there = parameters.copy()
            there[i] += sign * step
            ends.append(function(there))
        slopes.append((ends[0] - ends[1]) / (2 * step))
    return np.array(slopes)


def sampled(plane, x, y):
    """The bilinear interpolant of a plane at x, y, and its derivatives; NaN outside and beside a NaN."""
    height, width = plane.shape
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    left, top = np.clip(x, 0, width - 2).astype(int), np.clip(y, 0, height - 2).astype(int)
    u, v = x - left, y - top
    upper, lower = (plane[top + i, left] + u * (plane[top + i, left + 1] - plane[top + i, left]) for i in (0, 1))
    steps = [plane[top + i, left + 1] - plane[top + i, left] for i in (0, 1)]
    value = np.where(inside, upper + v * (lower - upper), np.nan)
    return value, steps[0] + v * (steps[1] - steps[0]), lower - upper


def exact_nmi(planes, bins, frame, model, parameters):
    """NMI without tables, at the same samples as a level's at full size, and its derivative by the chain rule."""
    height, width = planes[0].shape
    y, x = np.mgrid[:height, :width] + np.tile(_level._TILES[0], (1, height // 32 + 1, width // 32 + 1))[
        ::-1, :height, :width
    ].astype(float)
    matrix = frame.matrix(model, parameters)
    place = np.stack([x, y, np.ones_like(x)])
    across, down, depth = np.einsum("ij,jyx->iyx", matrix, place)
    warped, along_x, along_y = sampled(planes[1], across / depth, down / depth)
    workspace = metrics.Workspace(bins=bins, threads=1)
    workspace.set_fixed(sampled(planes[0], x, y)[0], limits=(0, 1))
    workspace.set_moving(warped, limits=(0, 1))
    nmi = workspace.evaluate().nmi
    slopes = np.nan_to_num(workspace.derivative() / depth * np.stack([along_x, along_y]))
    by_row = np.stack([*slopes, -(slopes[0] * across + slopes[1] * down) / depth])
    return nmi, frame.gradient(model, parameters, np.einsum("iyx,jyx->ij", by_row, place))


@pytest.mark.parametrize("model", LADDER)
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_mutual_information_is_that_of_central_differences(t1, pd, model, masked):
    planes = [np.asarray(plane, float) for plane in planes_of(t1, pd, masked)]
    frame, bins = Frame.of(t1.shape, pd.shape), 64
    # What crosses the border changes the number of samples, by jumps that no derivative knows.
    planes[0][:30], planes[0][-30:], planes[0][:, :30], planes[0][:, -30:] = np.nan, np.nan, np.nan, np.nan
    motion = random_matrix(np.random.default_rng(4), "affine" if model == "projective" else model, t1.shape)
    parameters = 0.3 * frame.parameters(model, bent(motion, model, t1.shape))
    nmi, gradient = exact_nmi(planes, bins, frame, model, parameters)
    # The interpolation has kinks, and a mask edges: steps must be short.
    slopes = central_differences(lambda p: exact_nmi(planes, bins, frame, model, p)[0], parameters, 1e-5)
    assert np.linalg.norm(gradient - slopes) < 1e-4 * np.linalg.norm(slopes)
    # What is climbed has sub-bins and a table.
    level = Level(tuple(plane.astype(np.float32) for plane in planes), 1, bins, frame, 1)
    counted, looked_up = level.value_and_gradient(model, parameters)
    assert counted == pytest.approx(nmi, abs=3e-4)
    assert looked_up @ gradient > 0.998 * np.linalg.norm(looked_up) * np.linalg.norm(gradient)
    assert np.linalg.norm(looked_up) == pytest.approx(np.linalg.norm(gradient), rel=0.08)


@pytest.mark.parametrize("model", LADDER)
@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_of_the_edges_agreement_agrees_with_central_differences(t1, pd, model, side, masked):
    rng = np.random.default_rng(5)
    frame = Frame.of(t1.shape, pd.shape)
    edges = Edges(*planes_of(t1, pd, masked), side, frame)
    matrix = bent(random_matrix(rng, "affine" if model == "projective" else model, t1.shape), model, t1.shape)
    view, parameters = edges.view(matrix), frame.parameters(model, matrix)
    _, gradient = view(model, parameters)
    # The interpolation has kinks: steps must be short.
    slopes = central_differences(lambda p: view(model, p)[0], parameters, 0.003)
    assert np.linalg.norm(gradient - slopes) < 0.03 * np.linalg.norm(slopes)


@pytest.mark.parametrize("model", LADDER)
def test_parameters_of_a_matrix_make_that_matrix_and_are_lengths(model):
    frame = Frame.of((120, 90), (80, 100))
    matrix = random_matrix(np.random.default_rng(6), "affine" if model == "projective" else model, (120, 90))
    matrix = frame.nearest(model, bent(matrix, model, (120, 90)))
    parameters = frame.parameters(model, matrix)
    np.testing.assert_allclose(frame.matrix(model, parameters), matrix, atol=1e-9)
    for i in range(parameters.size):
        there = parameters.copy()
        there[i] += 0.01
        # At the corner that moves most; those of projective models move more where the view is near.
        assert 0.003 < frame.distance(frame.matrix(model, there), matrix) < 0.04


@pytest.mark.parametrize(
    ("contrast", "noise", "bound"), [("pd", 0, 0), ("pd", 0.05, 0.02), ("t1", 0, 0.1), ("t1", 0.05, 0.05)]
)
def test_a_search_that_starts_at_the_truth_stays_there(pd, contrast, noise, bound):
    drifts = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        fixed, moving = (image + noise * 255 * rng.standard_normal(image.shape) for image in (itk(contrast), pd))
        corners = np.array([[0, 0], [220, 0], [0, 256], [220, 256]])
        drifts.append(np.linalg.norm(register(fixed, moving).transform(corners) - corners, axis=1).max())
    assert np.mean(drifts) <= bound


def test_noisy_slices_of_two_contrasts_hardly_drift_from_the_truth(shared_data):
    folder = shared_data / "aligned" / "brainweb_80"
    t1, t2 = (np.asarray(Image.open(folder / f"{name}.png").convert("L"), float) for name in ("t1", "t2"))
    corners = np.array([[0, 0], [t1.shape[1] - 1, 0], [0, t1.shape[0] - 1], [t1.shape[1] - 1, t1.shape[0] - 1]])
    rng = np.random.default_rng(1)
    for _ in range(2):
        fixed, moving = (image + 0.05 * 255 * rng.standard_normal(image.shape) for image in (t1, t2))
        drift = register(fixed, moving).transform(corners) - corners
        assert np.linalg.norm(drift, axis=1).max() <= 0.1


@pytest.mark.parametrize("shift", [0.25, -0.4])
def test_a_small_motion_is_no_chance(pd, shift):
    moved = ndimage.shift(pd.astype(float), (0, shift), order=3, mode="nearest")
    rng = np.random.default_rng(2)
    fixed, moving = (image + 0.02 * 255 * rng.standard_normal(image.shape) for image in (pd, moved))
    found = register(fixed, moving, model="translation").transform([[100, 100]])
    np.testing.assert_allclose(found, [[100 + shift, 100]], atol=0.02)


def test_equal_images_come_back_unchanged(pd):
    result = register(pd, pd)
    assert result.improved
    assert result.nmi_after == result.nmi_before
    assert result.overlap == 1
    np.testing.assert_array_equal(result.warped, pd)


def test_equal_images_too_small_to_search_come_back_unchanged():
    tiny = np.random.default_rng(0).integers(0, 255, (5, 5), dtype=np.uint8)
    np.testing.assert_array_equal(register(tiny, tiny).transform.matrix, np.eye(3))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"search": "none"},
        {"model": "translation"},
        {"model": "similarity"},
        {"model": "affine"},
        {"model": "projective"},
        {"model": "rigid", "flips": True},
        {"model": "affine", "initial": [[0.97, -0.1, 25], [0.1, 0.97, -6], [0, 0, 1]]},
        {"model": "rigid", "initial": [[-1, 0, 203], [0, 1, 4], [0, 0, 1]]},
    ],
    ids=str,
)
@pytest.mark.parametrize("form", ["noise", "sizes", "masks"])
def test_swapping_the_images_gives_the_inverse(t1, form, options):
    rng = np.random.default_rng(7)
    noisy = [image + 0.05 * 255 * rng.standard_normal(image.shape) for image in (t1, itk("pd_rigid"))]
    if form == "sizes":
        noisy[1] = noisy[1][:-31, 12:]
    masks = [None, None]
    if form == "masks":
        masks = [np.ones(image.shape, bool) for image in noisy]
        masks[0][:, :40], masks[1][200:] = False, False
    there, back = (
        register(
            *noisy[::way],
            fixed_mask=masks[::way][0],
            moving_mask=masks[::way][1],
            **(options | {"initial": initial} if "initial" in options else options),
        )
        for way, initial in zip((1, -1), starts(options, noisy), strict=True)
    )
    points = grid(noisy[0].shape)
    np.testing.assert_allclose(back.transform(there.transform(points)), points, atol=1e-9)
    assert there.transform.model == back.transform.model == options.get("model", there.transform.model)
    assert (there.nmi_before, there.nmi_after, there.confidence) == (back.nmi_before, back.nmi_after, back.confidence)
    assert there.warped.shape == noisy[0].shape
    assert back.warped.shape == noisy[1].shape


def starts(options, images):
    """The initial transform of the options, and its inverse for the images in the other order."""
    if "initial" not in options:
        return None, None
    matrix = np.array(options["initial"], float)
    initial = MatrixTransform(matrix, "affine", images[0].shape, images[1].shape)
    return initial, initial.inverse()


def test_swapped_images_of_which_one_is_the_mirror_image_of_the_other_give_the_inverse(t1):
    there, back = (register(*pair, flips=True).transform for pair in ((t1, t1[:, ::-1]), (t1[:, ::-1], t1)))
    np.testing.assert_allclose(there.matrix, [[-1, 0, 220], [0, 1, 0], [0, 0, 1]], atol=0.01)
    np.testing.assert_allclose(back.matrix @ there.matrix, np.eye(3), atol=1e-9)


def test_mirrored_transposed_and_swapped_planes_are_laid_out_alike(t1, pd):
    planes = [plane[5:-7] for plane in planes_of(t1, pd, True)]
    expected = layout(*planes).planes(planes)
    for alike in (lambda p: p[::-1], lambda p: p[:, ::-1], lambda p: p.T, lambda p: p[::-1, ::-1].T):
        for way in (1, -1):
            given = [alike(plane) for plane in planes[::way]]
            for found, plane in zip(layout(*given).planes(given), expected, strict=True):
                np.testing.assert_array_equal(found, plane)


def test_the_layout_of_images_does_not_depend_on_their_contrast(t1, pd):
    plane, other = planes_of(t1, pd, False)
    expected = layout(plane, other)
    assert layout(1 - plane, other) == layout(plane, 1 - other) == expected
    assert layout(other, plane).swapped != expected.swapped
    assert not layout(plane, plane).swapped


def test_the_smaller_image_comes_first(t1, pd):
    plane, other = planes_of(t1, pd, False)
    assert not layout(plane[:-1], other).swapped
    assert layout(plane, other[:-1]).swapped


@pytest.mark.parametrize("alike", [lambda p: p, lambda p: p[::-1], lambda p: p.T[:, ::-1]])
@pytest.mark.parametrize("way", [1, -1])
def test_a_matrix_follows_the_pixels_into_a_layout_and_back(t1, pd, alike, way):
    planes = [alike(plane) for plane in planes_of(t1, pd[:-20, 10:], False)[::way]]
    found = layout(*planes)
    marked = [np.zeros_like(plane) for plane in planes]
    marked[0][40, 60] = marked[1][33, 65] = 1
    shift = np.array([[1, 0, 5.0], [0, 1, -7], [0, 0, 1]])
    inner = found.enter(shift, planes)
    (here, there) = (np.array([*np.argwhere(plane)[0][::-1], 1]) for plane in found.planes(marked))
    np.testing.assert_array_equal(inner @ here, there)
    np.testing.assert_array_equal(found.leave(inner, planes), shift)


def test_a_start_whose_inverse_has_a_horizon_across_the_other_image_is_no_hindrance(t1, pd):
    moving = pd[80:180, 60:160]
    far_end = MatrixTransform([[1, 0, 0], [0, 1, 0], [0.02, 0, 1]], "projective", t1.shape, moving.shape)
    with pytest.raises(ImgtoolError, match="to infinity"):
        far_end.inverse()
    assert layout(*planes_of(t1, moving, False)).swapped
    result = register(t1, moving, model="projective", initial=far_end)
    assert np.isfinite(result.transform(grid(t1.shape))).all()


@pytest.mark.parametrize("search", ["auto", "none"])
def test_transposed_images_give_the_transposed_transform(t1, search):
    moving = itk("pd_rigid")[:-9, 3:]
    expected = register(t1, moving, search=search).transform(grid(t1.shape))
    transposed = register(t1.T, moving.T, search=search).transform(grid(t1.shape)[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(transposed, expected, atol=1e-9)


@pytest.mark.parametrize("search", ["auto", "none"])
def test_flipped_images_give_the_flipped_transform(t1, search):
    moving = itk("pd_rigid")[:-9, 3:]
    points = grid(t1.shape)
    expected = register(t1, moving, search=search).transform(points)
    flipped = register(t1[:, ::-1], moving[:, ::-1], search=search).transform(points * [-1, 1] + [220, 0])
    np.testing.assert_allclose(flipped * [-1, 1] + [moving.shape[1] - 1, 0], expected, atol=1e-9)


def test_results_are_the_same_to_the_last_bit_for_any_number_of_threads():
    rng = np.random.default_rng(6)
    fixed = ndimage.gaussian_filter(rng.standard_normal((400, 420)), 5)
    moving = np.cos(30 * ndimage.shift(fixed, (5, -7))).astype(np.float32)
    results = [register(fixed, moving, threads=n) for n in (1, 2, 4, 1)]
    for result in results:
        assert result.transform.matrix.tobytes() == results[0].transform.matrix.tobytes()
        assert result.warped.tobytes() == results[0].warped.tobytes()
        assert (result.nmi_before, result.nmi_after) == (results[0].nmi_before, results[0].nmi_after)


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8", ">f4", ">u2"])
def test_the_dtype_of_the_images_hardly_matters(t1, dtype):
    moving = itk("pd_rigid")
    expected = register(t1, moving).transform(grid(t1.shape))
    factor = 1 / 255 if "f" in dtype else 100
    result = register(*((image.astype(float) * factor).astype(dtype) for image in (t1, moving)))
    assert np.linalg.norm(result.transform(grid(t1.shape)) - expected, axis=1).max() < 0.05
    assert result.warped.dtype == np.dtype(dtype).newbyteorder("=")


def test_strides_and_read_only_arrays_change_nothing(t1):
    moving = itk("pd_shift")
    fixed = np.asfortranarray(t1)
    fixed.flags.writeable = False
    expected = register(t1, moving).transform.matrix
    assert register(fixed, moving[::-1][::-1]).transform.matrix.tobytes() == expected.tobytes()


def test_colour_is_registered_by_luminance_and_comes_back_as_colour(t1):
    gray = itk("pd_shift")
    colour = np.stack([gray, gray, gray], axis=-1)
    opaque = np.concatenate([colour, np.full_like(colour[..., :1], 255)], axis=-1)
    for moving in (colour, opaque, gray[..., None], opaque[..., 2:]):
        result = register(t1, moving, channel_axis=-1)
        assert error(result.transform, TRUTH["shift"], t1.shape) < 0.3
        assert result.warped.shape == (*t1.shape, moving.shape[-1])
        assert result.warped.dtype == np.uint8


def test_images_of_different_sizes_are_registered_from_centre_to_centre(t1):
    moving = itk("pd_shift")
    cropped = moving[20:, 10:]
    result = register(t1, cropped)
    truth = np.array(TRUTH["shift"], float) - [[0, 0, 10], [0, 0, 20]]
    assert error(result.transform, truth, t1.shape) < 0.3
    assert result.warped.shape == t1.shape
    assert (result.transform.fixed_shape, result.transform.moving_shape) == (t1.shape, cropped.shape)


def test_the_overlap_is_the_share_of_fixed_pixels_that_map_inside_moving(t1):
    result = register(t1, itk("pd_shift"), model="translation")
    assert result.overlap == pytest.approx((221 - 13) * (257 - 17) / (221 * 257), abs=0.01)


def test_masked_missing_and_transparent_pixels_do_not_matter(t1):
    rng = np.random.default_rng(8)
    moving = itk("pd_rigid").astype(float)
    # A static bright frame around both images, which pulls the result towards the identity.
    keep = np.zeros(t1.shape, bool)
    keep[45:-45, 40:-40] = True
    framed = [np.where(keep, image, 255 * rng.random(t1.shape)) for image in (t1, moving)]
    frame = ~keep
    framed[1][frame] = framed[0][frame]
    truth = TRUTH["rigid"]
    assert error(register(*framed, model="rigid").transform, truth, t1.shape) > 5
    by_mask = register(*framed, model="rigid", fixed_mask=keep, moving_mask=keep.astype(np.uint8))
    missing = [np.where(keep, image, np.nan) for image in framed]
    by_nan = register(*missing, model="rigid")
    with_alpha = [np.stack([image, 255.0 * keep], axis=-1) for image in framed]
    by_alpha = register(*with_alpha, model="rigid", channel_axis=-1)
    assert error(by_mask.transform, truth, t1.shape) < 1
    assert by_nan.transform.matrix.tobytes() == by_mask.transform.matrix.tobytes()
    assert by_alpha.transform.matrix.tobytes() == by_mask.transform.matrix.tobytes()


def test_unrelated_images_end_with_their_numbers(t1):
    noise = np.random.default_rng(9).random((200, 150))
    result = register(t1, noise)
    assert 1 <= result.nmi_after < 1.1
    assert 0.3 < result.overlap <= 1
    assert np.isfinite(result.transform.matrix).all()


@pytest.mark.parametrize("shape", [(4, 4), (5, 5), (4, 300), (9, 7)])
def test_tiny_images_end_with_their_numbers(shape):
    rng = np.random.default_rng(10)
    result = register(rng.random(shape), rng.random(shape[::-1]))
    assert result.warped.shape == shape
    assert np.isfinite([result.nmi_before, result.nmi_after, result.overlap]).all()


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.array([[3.0]]), "is 1x1 pixels; registration needs at least 4x4"),
        (np.zeros((3, 90)), "is 90x3 pixels"),
        (np.full((20, 20), 7), "is constant .every pixel is 7."),
        (np.full((20, 20), np.nan), "has no finite pixel"),
        (np.zeros((20, 20), complex), "is complex"),
        (np.zeros((20, 20, 3)), "must be .height, width."),
        (np.zeros((20,)), "must be .height, width."),
        (np.zeros((0, 20)), "no pixels"),
    ],
)
def test_an_image_that_cannot_be_registered_is_named_in_a_sentence(place, image, words):
    images = [np.eye(20), np.eye(20)]
    images[place] = image
    with pytest.raises(ImgtoolError, match=f"^{('fixed', 'moving')[place]} .*{words}"):
        register(*images)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"model": "elastic"}, "model 'elastic' is unknown; use auto, translation, rigid, similarity, affine"),
        ({"bins": 2}, "bins must be"),
        ({"threads": 0}, "threads must be"),
        ({"channel_axis": 0}, "channel_axis must be -1"),
        ({"fixed_mask": np.ones((3, 3))}, "fixed_mask has shape .3, 3."),
        ({"moving_mask": np.zeros((20, 20))}, "moving_mask is zero everywhere"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(keywords, words):
    with pytest.raises(ImgtoolError, match=words):
        register(np.eye(20), np.eye(20), **keywords)


def test_images_whose_masks_never_meet_are_refused_in_a_sentence():
    rng = np.random.default_rng(12)
    left, right = np.zeros((2, 40, 40))
    left[:, :10], right[:, 30:] = 1, 1
    with pytest.raises(ImgtoolError, match="no pixel in common where the climb begins"):
        register(rng.random((40, 40)), rng.random((40, 40)), fixed_mask=left, moving_mask=right, search="none")


def test_five_channels_are_refused_in_a_sentence():
    with pytest.raises(ImgtoolError, match="fixed has 5 channels"):
        register(np.zeros((20, 20, 5)), np.zeros((20, 20)), channel_axis=-1)


@pytest.mark.parametrize("shape", [(21, 34), (8, 9), (3, 2), (2, 1)])
def test_a_pyramid_level_is_the_weighted_mean_of_the_pixels_that_exist(shape):
    rng = np.random.default_rng(13)
    plane = rng.random(shape).astype(np.float32)
    plane[rng.random(shape) < 0.4] = np.nan
    out = _pyramid.halved(plane)
    assert out.shape == ((shape[0] + 1) // 2, (shape[1] + 1) // 2)
    around = np.pad(plane, ((1, 3), (1, 3)), constant_values=np.nan)
    window = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    for i, j in np.ndindex(out.shape):
        pixels = around[2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
        weights = np.where(np.isnan(pixels), 0, window)
        if weights.sum() >= 0.25:
            assert out[i, j] == pytest.approx(np.nansum(pixels * weights) / weights.sum(), rel=1e-5)
        else:
            assert np.isnan(out[i, j])


def test_a_pyramid_level_of_a_ramp_is_the_ramp_at_the_positions_between():
    y, x = np.mgrid[:20, :31].astype(np.float32)
    out = _pyramid.halved(3 * x + y)
    rows, columns = np.mgrid[:10, :16]
    expected = 3 * (2 * columns + 0.5) + 2 * rows + 0.5
    np.testing.assert_allclose(out[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-6)


def test_a_doubled_plane_keeps_its_pixels_and_has_those_between():
    y, x = np.mgrid[:20, :30].astype(np.float32)
    plane = np.sin(x / 3) + np.cos(y / 4)
    finer = _pyramid.doubled(plane, 1)
    np.testing.assert_array_equal(finer[::2, ::2], plane)
    middles = np.sin((x[:, :-1] + 0.5) / 3) + np.cos(y[:, :-1] / 4)
    np.testing.assert_allclose(finer[::2, 1::2][:, 2:-2], middles[:, 2:-2], atol=1e-3)
    plane[7, 9] = np.nan
    assert np.isnan(_pyramid.doubled(plane, 1)).sum() == 9


def test_the_optimiser_finds_the_top_of_a_narrow_ridge():
    def ridge(p):
        x, y = p
        value = -(100 * (y - x**2) ** 2 + (1 - x) ** 2)
        return value, np.array([400 * x * (y - x**2) + 2 * (1 - x), -200 * (y - x**2)])

    best = _optimise.maximise(
        ridge, np.array([-1.2, 1.0]), first_step=0.1, longest_step=1.0, tolerance=1e-8, iterations=200
    )
    np.testing.assert_allclose(best.parameters, [1, 1], atol=1e-6)
    assert best.iterations < 60


def test_settling_ends_where_the_gradient_vanishes_however_rough_the_values_are():
    rng = np.random.default_rng(3)
    top, curvature = np.array([1.0, -2.0]), np.array([[3.0, 0.5], [0.5, 1.0]])

    def rough(place):
        away = place - top
        return -0.5 * away @ curvature @ away + 1e-3 * rng.standard_normal(), -curvature @ away

    best, settled = _optimise.settle([rough], rough, top + 0.1, probe=0.2, longest_step=0.5, tolerance=1e-3)
    assert settled
    np.testing.assert_allclose(best.parameters, top, atol=1e-3)


def test_settling_says_where_no_gradient_vanishes():
    def cusp(place):
        return -np.abs(place).sum(), -np.sign(place)

    start = np.array([0.03, -0.02])
    best, settled = _optimise.settle([cusp], cusp, start, probe=0.2, longest_step=0.5, tolerance=1e-3)
    assert not settled
    assert best.value >= -0.05 - 0.01


def test_the_optimiser_does_not_leave_the_domain_of_the_function():
    def fenced(p):
        return (-((p[0] - 3) ** 2) if p[0] < 2 else -np.inf), np.array([-2 * (p[0] - 3)])

    best = _optimise.maximise(fenced, np.array([0.0]), first_step=1.0, longest_step=9.0, tolerance=1e-4, iterations=50)
    assert 1.9 < best.parameters[0] < 2


def test_the_examples_in_the_docstrings_run():
    results = doctest.testmod(registration)
    assert results.attempted > 0
    assert results.failed == 0
