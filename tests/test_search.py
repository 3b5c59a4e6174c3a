"""The search: found from anywhere, in spite of frames that do not move, and sure of itself only where it may be."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgtool import ImgtoolError, convolve, register
from imgtool._background import static_frame
from imgtool.transforms import MatrixTransform, warp

ITK = Path(__file__).parent / "data" / "itk"


def itk(name):
    return np.asarray(Image.open(ITK / f"{name}.png"))


@pytest.fixture(scope="module")
def t1():
    return itk("t1")


@pytest.fixture(scope="module")
def pd():
    return itk("pd")


def about_centre(shape, angle, scale, shift):
    """Rotation by degrees, scale and shift as a share of the size, about the centre."""
    angle = np.radians(angle)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = (np.array(shape[::-1]) - 1) / 2
    matrix[:2, 2] = centre + np.array(shift) * shape[::-1] - matrix[:2, :2] @ centre
    return matrix


def moved(image, matrix, shape=None, noise=5, seed=0):
    """moving(matrix p) = image(p), with noise."""
    back = MatrixTransform(np.linalg.inv(matrix), "projective", shape or image.shape, image.shape)
    out = warp(image.astype(float), back, interpolation="cubic")
    return out + noise * np.random.default_rng(seed).standard_normal(out.shape)


def error(transform, matrix, shape):
    points = np.stack(np.meshgrid(np.linspace(0, shape[1] - 1, 9), np.linspace(0, shape[0] - 1, 9)), -1).reshape(-1, 2)
    truth = np.c_[points, np.ones(len(points))] @ matrix.T
    return np.linalg.norm(transform(points) - truth[:, :2] / truth[:, 2:], axis=1).mean()


@pytest.mark.parametrize(
    ("angle", "scale", "shift"),
    [(90, 1, (0, 0)), (180, 1, (0.1, 0)), (-130, 0.8, (0.1, -0.15)), (40, 1.25, (-0.15, 0.1))],
)
def test_any_rotation_is_found_with_scale_and_shift(t1, pd, angle, scale, shift):
    matrix = about_centre(t1.shape, angle, scale, shift)
    result = register(t1, moved(pd, matrix))
    assert error(result.transform, matrix, t1.shape) < 0.5
    assert result.confident


def test_one_axis_stretched_and_the_other_shrunk_is_affine_although_no_one_scale_is_better():
    blur = np.exp(-(np.arange(-18, 19) ** 2) / (2 * 6**2))
    scene = convolve(np.random.default_rng(0).standard_normal((180, 220)), np.outer(blur, blur))
    scene *= 40 / scene.std()
    stretch = about_centre(scene.shape, 0, np.array([[1.06], [0.94]]), (0, 0))
    matrix = about_centre(scene.shape, 4, 1, (0.03, -0.02)) @ stretch
    result = register(scene, moved(-scene, matrix, noise=2))
    assert result.transform.model == "affine"
    assert error(result.transform, matrix, scene.shape) < 0.1


def test_a_projective_view_is_found_and_its_model_named(t1, pd):
    bend = np.array([[1, 0, 0], [0, 1, 0], [0.25 / t1.shape[1], -0.15 / t1.shape[0], 1]])
    matrix = about_centre(t1.shape, 8, 1.15, (0.0, 0.02)) @ bend
    result = register(t1, moved(pd, matrix))
    assert result.transform.model == "projective"
    assert error(result.transform, matrix, t1.shape) < 0.5


def test_a_part_of_the_image_is_found_whether_its_pixels_are_as_large_or_not(t1, pd):
    part = pd[60:200, 50:170]
    result = register(t1, part)
    assert error(result.transform, np.array([[1, 0, -50], [0, 1, -60], [0, 0, 1.0]]), t1.shape) < 1
    matrix = about_centre(t1.shape, 0, 1, (0, 0)) * [[0.5], [0.5], [1]]
    half = moved(pd, matrix, shape=(128, 110))
    result = register(t1, half)
    assert error(result.transform, matrix, t1.shape) < 0.5


def test_the_image_of_which_forty_percent_overlap_is_found(t1, pd):
    matrix = np.array([[1, 0, -100], [0, 1, -70], [0, 0, 1.0]])
    result = register(t1[:, :190], pd[70:, 100:])
    assert error(result.transform, matrix, (257, 190)) < 1


def framed(image, keep):
    return np.where(keep, 10 + 0.9 * image, 0)


@pytest.mark.parametrize("kind", ["circle", "sector"])
def test_a_frame_that_does_not_move_is_set_aside(t1, pd, kind):
    shape = 130, 130
    y, x = np.mgrid[:130, :130]
    if kind == "circle":
        keep = (x - 65) ** 2 + (y - 65) ** 2 < 64**2
    else:
        keep = (abs(np.arctan2(x - 65, y + 20)) < 0.7) & (np.hypot(x - 65, y + 20) < 140)
    fixed = t1[50:180, 45:175]
    matrix = about_centre(shape, 6, 1.03, (0.16, -0.2))
    place = np.array([[1, 0, 45], [0, 1, 50], [0, 0, 1.0]])
    moving = warp(
        pd.astype(float),
        MatrixTransform(place @ np.linalg.inv(matrix), "affine", shape, pd.shape),
        fill=float(pd.min()),
    )
    result = register(framed(fixed, keep), framed(moving, keep))
    assert error(result.transform, matrix, shape) < 1
    assert result.static_frame > 0.1
    # Taken at its word, the frame says that nothing moved.
    plain = register(framed(fixed, keep), framed(moving, keep), background="none", search="none")
    assert plain.static_frame == 0
    assert error(plain.transform, matrix, shape) > 5


def test_backgrounds_that_move_with_the_content_are_no_frame():
    y, x = np.mgrid[:100, :120]
    one, other = (((x - a) ** 2 + (y - b) ** 2 < 30**2).astype(np.float32) for a, b in ((50, 50), (65, 58)))
    assert static_frame(one, other) is None
    assert static_frame(one, one[:, :100]) is None
    frame = static_frame(one, one)
    assert frame is not None
    assert not frame[50, 50]
    assert frame[5, 5]


@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_a_frame_is_found_in_noise(noise):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :140]
    keep = (x - 70) ** 2 + (y - 60) ** 2 < 50**2
    pair = [
        np.where(keep, 0.3 + 0.6 * ((x + shift) // 9 % 2), 0.1) + noise * rng.standard_normal(x.shape)
        for shift in (0, 5)
    ]
    frame = static_frame(*(image.astype(np.float32) for image in pair))
    assert frame is not None
    assert frame[~keep].mean() > 0.9
    assert frame[(x - 70) ** 2 + (y - 60) ** 2 < 47**2].mean() == 0


def test_unrelated_images_end_without_confidence(t1):
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:200, :200]
    strangers = [
        rng.random((200, 150)),
        np.sin(x / 9.0) + np.cos((x + y) / 14) + rng.random((200, 200)),
        np.kron(rng.random((9, 9)), np.ones((20, 20))),
    ]
    for stranger in strangers:
        result = register(t1, stranger)
        assert not result.confident
        assert 0 <= result.confidence < 0.5
        assert np.isfinite(result.transform.matrix).all()


def test_the_search_asked_for_is_the_search_made(t1, pd):
    turned = moved(pd, about_centre(t1.shape, 90, 1, (0, 0)))
    by_shift = register(t1, turned, search="shift")
    assert by_shift.search == "shift"
    assert error(by_shift.transform, about_centre(t1.shape, 90, 1, (0, 0)), t1.shape) > 20
    assert register(t1, turned, search="rotation").search == "rotation"
    assert register(t1, turned, search="full").search == "full"
    assert register(t1, pd, search="none").search == "none"


def test_a_search_for_shifts_finds_a_large_one(t1, pd):
    matrix = about_centre(t1.shape, 0, 1, (0.3, -0.25))
    result = register(t1, moved(pd, matrix), search="shift", model="translation")
    assert error(result.transform, matrix, t1.shape) < 0.5


def test_the_climb_begins_at_the_initial_transform(t1, pd):
    matrix = about_centre(t1.shape, 170, 1, (0.05, 0))
    near = MatrixTransform(about_centre(t1.shape, 165, 1, (0.07, 0.01)), "rigid", t1.shape, pd.shape)
    result = register(t1, moved(pd, matrix), initial=near)
    assert error(result.transform, matrix, t1.shape) < 0.5
    assert result.search == "none"
    assert result.confident


@pytest.mark.parametrize("model", ["auto", "rigid", "affine"])
def test_a_mirrored_image_is_found_where_flips_are_asked_for(t1, pd, model):
    matrix = about_centre(t1.shape, 25, 1, (0.1, 0.05))
    moving = moved(pd, matrix)[:, ::-1]
    result = register(t1, moving, model=model, flips=True)
    assert result.mirrored
    assert result.confident
    mirror = np.array([[-1, 0, moving.shape[1] - 1], [0, 1, 0], [0, 0, 1.0]])
    assert error(result.transform, mirror @ matrix, t1.shape) < 0.5
    back = result.transform.inverse()
    np.testing.assert_allclose(back(result.transform([[30, 40]])), [[30, 40]], atol=1e-9)
    assert not register(t1, moving, model=model).mirrored


def test_flips_leave_an_upright_pair_as_it_is(t1, pd):
    plain, flips = register(t1, pd), register(t1, pd, flips=True)
    assert not flips.mirrored
    np.testing.assert_array_equal(flips.transform.matrix, plain.transform.matrix)


def test_an_initial_transform_that_mirrors_stays_mirrored(t1, pd):
    mirror = np.array([[-1.0, 0, pd.shape[1] - 3], [0, 1, 2], [0, 0, 1]])
    result = register(t1, pd[:, ::-1], initial=MatrixTransform(mirror, "rigid", t1.shape, pd.shape))
    mirror[:2, 2] = pd.shape[1] - 1, 0
    assert error(result.transform, mirror, t1.shape) < 0.1
    assert result.transform.model == "rigid"


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"search": "none"}, "flips are for a search to try"),
        ({"initial": MatrixTransform(np.eye(3), "rigid", None, None)}, "flips are for a search to try"),
        ({"model": "bspline"}, "bspline folds nowhere, so flip moving"),
    ],
)
def test_flips_that_cannot_be_tried_are_refused_in_a_sentence(t1, keywords, words):
    with pytest.raises(ImgtoolError, match=words):
        register(t1, t1, flips=True, **keywords)


def test_the_reason_says_what_each_model_was_worth(t1, pd):
    assert register(t1, pd, model="affine").reason == "affine was asked for"
    reason = register(t1, pd).reason
    assert reason.startswith("rigid is the simplest model whose edges agree as well as any in the search")
    assert "; similarity would change the fit by " in reason
    assert reason.endswith("0.3 % and 1.0 are asked for")
    assert register(t1, pd, search="none").reason.startswith("rigid is where auto begins")
    stretched = moved(pd, np.diag([1.1, 0.95, 1]))
    assert "affine" in register(t1, stretched).reason


def test_what_does_not_go_with_an_initial_transform_is_refused_in_a_sentence(t1, pd):
    near = MatrixTransform(np.eye(3), "rigid", (10, 20), pd.shape)
    with pytest.raises(ImgtoolError, match="fixed is 221x257 pixels but initial was made for 20x10"):
        register(t1, pd, initial=near)
    fits = MatrixTransform(np.eye(3), "rigid", t1.shape, pd.shape)
    with pytest.raises(ImgtoolError, match="search 'full' would not use initial"):
        register(t1, pd, initial=fits, search="full")


@pytest.mark.parametrize(("keyword", "value"), [("search", "deep"), ("background", "black")])
def test_unknown_settings_are_refused_in_a_sentence(keyword, value):
    with pytest.raises(ImgtoolError, match=f"{keyword} '{value}' is unknown; use auto"):
        register(np.eye(20), np.eye(20), **{keyword: value})
