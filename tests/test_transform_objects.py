"""What every transform can do: points, inverses, composition, displacements, determinants, warps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgtool import ImgtoolError
from imgtool.transforms import (
    INTERPOLATIONS,
    BSplineTransform,
    Composite,
    DisplacementField,
    MatrixTransform,
    Transform,
    inverse_field,
    warp,
)

SIZE = (60, 80)


def turn(degrees, fixed=SIZE, moving=SIZE):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    linear, centre = np.array([[cos, -sin], [sin, cos]]), (np.array(fixed[::-1]) - 1) / 2
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, centre - linear @ centre
    return MatrixTransform(matrix, "rigid", fixed, moving)


def tilt(fixed=SIZE, moving=SIZE):
    return MatrixTransform([[0.9, -0.1, 5], [0.15, 1.05, -4], [1e-3, -1.5e-3, 1]], "projective", fixed, moving)


def wave(amplitude=3.0, length=9.0, size=SIZE, dtype=np.float64):
    y, x = np.mgrid[: size[0], : size[1]]
    field = np.dstack([amplitude * np.sin(y / length), amplitude * np.cos(x / length)])
    return DisplacementField(field.astype(dtype), size)


def every_kind():
    return {
        "rigid": turn(20),
        "projective": tilt(),
        "displacement": wave(),
        "bspline": BSplineTransform(
            2 * np.random.default_rng(8).standard_normal((2, 8, 9)),
            (14, 13),
            matrix=turn(10).matrix,
            fixed_shape=SIZE,
            moving_shape=SIZE,
        ),
        "composite": Composite((turn(20), wave())),
        "composite of three": Composite((wave(), tilt(), wave(2.0, 12.0))),
    }


kinds = pytest.mark.parametrize("kind", every_kind())


@pytest.fixture
def rng():
    return np.random.default_rng(23)


@kinds
def test_displacements_are_where_points_go(kind):
    transform = every_kind()[kind]
    for shape in (None, (13, 17), (70, 90)):
        field = transform.displacement(shape)
        height, width = shape or SIZE
        assert field.shape == (height, width, 2)
        y, x = np.mgrid[:height, :width]
        pixels = np.dstack([x, y]).reshape(-1, 2).astype(float)
        np.testing.assert_allclose(field.reshape(-1, 2), transform(pixels) - pixels, atol=1e-10)


@kinds
def test_the_inverse_takes_points_back(kind, rng):
    transform = every_kind()[kind]
    points = rng.uniform((20, 15), (60, 45), (200, 2))
    there = transform(points)
    back = transform.inverse()
    assert (back.fixed_shape, back.moving_shape) == (transform.moving_shape, transform.fixed_shape)
    # Fields are inverted on pixels and interpolated linearly between them.
    np.testing.assert_allclose(back(there), points, atol=1e-9 if kind in ("rigid", "projective") else 0.03)


@kinds
def test_determinants_agree_with_finite_differences(kind):
    transform = every_kind()[kind]
    determinant = transform.jacobian_determinant()
    assert determinant.shape == SIZE
    y, x = np.mgrid[5:55, 5:75]
    points = np.dstack([x, y]).reshape(-1, 2).astype(float)
    step = 1.0 if "displacement" in kind or "composite" in kind else 1e-4
    along = [(transform(points + d) - transform(points - d)) / (2 * step) for d in ((step, 0), (0, step))]
    expected = along[0][:, 0] * along[1][:, 1] - along[0][:, 1] * along[1][:, 0]
    np.testing.assert_allclose(determinant[5:55, 5:75].ravel(), expected, atol=1e-6)


def test_a_fold_has_a_negative_determinant():
    field = np.zeros((20, 30, 2))
    field[:, 15:, 0] = -5.0  # the right half is pulled over the left
    determinant = DisplacementField(field).jacobian_determinant()
    assert (determinant[:, 14:16] < 0).all()
    assert (np.delete(determinant, [14, 15], axis=1) == 1).all()


def test_a_column_of_pixels_has_a_determinant_too():
    assert DisplacementField(np.zeros((5, 1, 2))).jacobian_determinant().tolist() == [[1.0]] * 5


@kinds
def test_composing_does_one_after_the_other(kind, rng):
    transform, after = every_kind()[kind], turn(-33)
    points = rng.uniform(0, 50, (50, 2))
    both = transform.compose(after)
    np.testing.assert_allclose(both(points), after(transform(points)), atol=1e-10)
    assert (both.fixed_shape, both.moving_shape) == (SIZE, SIZE)
    nested = both.compose(wave()).compose(transform)
    assert not any(isinstance(part, Composite) for part in nested.transforms)


def test_matrices_are_multiplied_and_keep_the_more_general_model():
    both = turn(10).compose(turn(20))
    assert isinstance(both, MatrixTransform)
    assert both.model == "rigid"
    assert both.describe().rotation == pytest.approx(30)
    assert turn(10).compose(tilt()).model == "projective"
    assert tilt().inverse().compose(turn(10)).model == "projective"


def test_a_matrix_behind_a_spline_becomes_its_own():
    spline = every_kind()["bspline"]
    both = spline.compose(turn(-30))
    assert isinstance(both, BSplineTransform)
    points = np.array([[3.0, 4.0], [70.0, 55.0]])
    np.testing.assert_allclose(both(points), turn(-30)(spline(points)), atol=1e-10)
    assert isinstance(spline.compose(tilt()), Composite)


def test_transforms_of_different_sizes_are_composed_only_by_force():
    first, after = turn(10, moving=(50, 50)), turn(10)
    with pytest.raises(ImgtoolError, match="leads to an image of 50x50 pixels, but the next was made for one of 80x60"):
        first.compose(after)
    assert first.compose(after, force=True).moving_shape == SIZE
    unknown = MatrixTransform(np.eye(3), "rigid", None, None)
    assert unknown.compose(after).fixed_shape is None


def test_a_projective_matrix_is_scaled_and_its_sign_does_not_matter():
    one, other = tilt(), MatrixTransform(tilt().matrix * -2.5, "projective", SIZE, SIZE)
    np.testing.assert_allclose(other.matrix, one.matrix, rtol=1e-15)
    points = np.array([[3.0, 4.0], [70.0, 55.0]])
    w = points @ [1e-3, -1.5e-3] + 1
    np.testing.assert_allclose(one(points)[:, 0], (0.9 * points[:, 0] - 0.1 * points[:, 1] + 5) / w)


def test_a_projective_transform_sends_points_beyond_its_horizon_nowhere():
    transform = MatrixTransform([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1]], "projective", SIZE, SIZE)
    there = transform([[99, 0], [100, 0], [101, 0]])
    assert np.isfinite(there[0]).all()
    assert np.isnan(there[1:]).all()


def test_a_horizon_inside_the_moving_image_leaves_no_inverse():
    transform = MatrixTransform([[1, 0, 0], [0, 1, 0], [0.1, 0, 1]], "projective", SIZE, SIZE)
    with pytest.raises(ImgtoolError, match="inside the image of 80x60 pixels to infinity"):
        transform.inverse()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_field_is_exact_at_pixels_linear_between_them_and_goes_on_beyond(dtype):
    field = wave(dtype=dtype)
    assert field.field.dtype == dtype
    value = field.field[10, 20].astype(float)
    np.testing.assert_allclose(field([[20, 10]]), [[20, 10] + value], atol=1e-12)
    middle = field.field[10:12, 20:22].astype(float).mean(axis=(0, 1))
    np.testing.assert_allclose(field([[20.5, 10.5]]), [[20.5, 10.5] + middle], atol=1e-12)
    np.testing.assert_allclose(field([[-7, 300]]), [[-7, 300] + field.field[59, 0].astype(float)], atol=1e-12)


def test_a_field_cannot_be_changed_behind_its_back():
    values = np.zeros((4, 5, 2))
    field = DisplacementField(values)
    with pytest.raises(ValueError, match="read-only"):
        field.field[0, 0, 0] = 1
    assert values.flags.writeable


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (np.zeros((4, 5)), r"must be a \(height, width, 2\) array of real x, y, not \(4, 5\)"),
        (np.zeros((4, 5, 3)), "must be"),
        (np.zeros((4, 0, 2)), "must be"),
        (np.zeros((4, 5, 2)) * 1j, "must be"),
        (np.full((4, 5, 2), np.inf), "not finite"),
    ],
)
def test_what_is_no_field_is_refused_in_a_sentence(field, words):
    with pytest.raises(ImgtoolError, match=words):
        DisplacementField(field)


@pytest.mark.parametrize("moving", [SIZE, (75, 50)])
def test_the_inverse_of_a_field_tells_how_exact_it_is(moving, rng):
    # An elastic field such as registration finds: smooth over 18 pixels, a few pixels large.
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    bumps = [(rng.uniform(-3.5, 3.5, 2), rng.uniform((0, 0), SIZE)) for _ in range(6)]
    field = sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * 18**2))[..., None] * d for d, (cy, cx) in bumps)
    transform = DisplacementField(field, moving)
    back = transform.inverse()
    assert back.fixed_shape == moving
    assert back.moving_shape == SIZE
    assert 0 < back.residual < 0.05
    pixels = rng.integers((5, 5), (moving[1] - 5, moving[0] - 5), (100, 2)).astype(float)
    inside = ((back(pixels) > 1) & (back(pixels) < np.array(SIZE[::-1]) - 2)).all(axis=1)
    np.testing.assert_allclose(transform(back(pixels))[inside], pixels[inside], atol=1e-6)


def test_the_inverse_is_the_same_to_the_last_bit_for_any_number_of_threads():
    y, x = np.mgrid[:300, :500]
    field = DisplacementField(np.dstack([3 * np.sin(y / 20), 3 * np.cos(x / 20)]))
    one, three = (inverse_field(field, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.field, three.field)
    assert one.residual == three.residual < 0.01


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
def test_a_row_or_a_column_of_pixels_is_inverted_too(shape):
    shift = DisplacementField(np.full((*shape, 2), 1.5))
    np.testing.assert_allclose(inverse_field(shift).field, -1.5)


@kinds
def test_points_are_solved_for_without_a_field(kind, rng):
    transform = every_kind()[kind]
    points = rng.uniform((20, 15), (60, 45), (200, 2))
    np.testing.assert_allclose(transform.solve(transform(points)), points, atol=1e-5)
    assert np.isnan(transform.solve([[np.nan, 3], [30, 30]])[:, 0]).tolist() == [True, False]
    assert transform.solve(np.empty((0, 2))).shape == (0, 2)


def test_a_field_with_a_large_rotation_is_inverted_too():
    field = DisplacementField(Composite((turn(70), wave(2.0, 12.0))).displacement(), SIZE)
    assert field.inverse().residual < 0.05


def test_a_fold_shows_in_the_residual():
    field = np.zeros((40, 60, 2))
    field[:, 20:40, 0] = 2.5 * (30 - np.arange(20, 40))
    assert inverse_field(DisplacementField(field)).residual > 0.5


def test_a_transform_onto_a_line_has_no_inverse():
    y, x = np.mgrid[:20, :30]
    flat = DisplacementField(np.dstack([0 * x, 10.0 - y]))
    with pytest.raises(ImgtoolError, match="to a line or a point"):
        flat.inverse()


@kinds
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_warp_is_the_same_by_any_way_to_the_positions(kind, interpolation, rng):
    transform = every_kind()[kind]
    image = rng.random(SIZE)
    # Offset a little, so that no nearest pixel is decided by rounding.
    field = DisplacementField(transform.displacement(), SIZE)
    ours, theirs = (warp(image, t, interpolation=interpolation, fill=2) for t in (transform, field))
    if interpolation == "nearest":
        assert (ours != theirs).mean() < 1e-3
    else:
        np.testing.assert_allclose(ours, theirs, atol=1e-8)


@kinds
@pytest.mark.parametrize("interpolation", ["linear", "cubic", "lanczos"])
def test_points_and_images_agree_on_direction(kind, interpolation):
    transform = every_kind()[kind]
    landmark = np.array([[33.0, 27.0]])
    moving_landmark = transform(landmark)[0]
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    dot = np.exp(-((x - moving_landmark[0]) ** 2 + (y - moving_landmark[1]) ** 2) / (2 * 2.0**2))
    warped = transform.warp(dot, interpolation=interpolation)
    row, column = np.unravel_index(warped.argmax(), warped.shape)
    assert (column, row) == tuple(landmark[0])
    back = transform.inverse().warp(warped, interpolation=interpolation)
    row, column = np.unravel_index(back.argmax(), back.shape)
    assert np.hypot(column - moving_landmark[0], row - moving_landmark[1]) < 1


@given(st.integers(0, 10**6), st.floats(-180, 180), st.floats(0.2, 4))
@settings(max_examples=25, deadline=None)
def test_labels_never_gain_a_value(seed, degrees, scale):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([3, 17, 200], np.uint8), (23, 31))
    rotation = turn(degrees, (23, 31), (23, 31))
    scaled = MatrixTransform(
        rotation.matrix * [[scale, scale, 1], [scale, scale, 1], [1, 1, 1]], "affine", (23, 31), None
    )
    for transform in (scaled, Composite((scaled, wave(2.0, 5.0, (23, 31))))):
        out = warp(labels, transform, shape=(40, 40), interpolation="nearest", fill=3)
        assert set(np.unique(out)) <= {3, 17, 200}


@pytest.mark.parametrize("dtype", ["u1", "u2", "f2", "f4", "f8", "?"])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_tiles_leave_no_seams(dtype, interpolation, rng, monkeypatch):
    from imgtool.transforms import warping

    image = (rng.random((90, 110)) * 200).astype(dtype)
    transform = turn(25, (100, 120), (90, 110))
    whole = warp(image, transform, interpolation=interpolation, fill=1)
    monkeypatch.setattr(warping, "_TILE_ROWS", 16)
    monkeypatch.setattr(warping, "_TILE_COLUMNS", 24)
    tiled = warp(image, transform, interpolation=interpolation, fill=1)
    if np.dtype(dtype).kind == "f" and interpolation != "nearest":
        # Of the spline's coefficients, what lies beyond a tile's margin is below rounding.
        tolerance = {"f2": 0.1, "f4": 1e-3, "f8": 1e-11}[dtype]
        np.testing.assert_allclose(tiled.astype(float), whole.astype(float), rtol=0, atol=tolerance)
    else:
        assert (tiled != whole).mean() < 1e-3


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_tiles_beyond_the_horizon_are_filled(interpolation, rng, monkeypatch):
    from imgtool.transforms import warping

    monkeypatch.setattr(warping, "_TILE_ROWS", 16)
    monkeypatch.setattr(warping, "_TILE_COLUMNS", 16)
    image = rng.random((300, 300))
    transform = MatrixTransform([[1, 0, 250], [0, 1, 250], [-0.01, 0, 1]], "projective", (40, 50), (300, 300))
    out = warp(image, transform, shape=(40, 200), interpolation=interpolation, fill=-1)
    assert (out[:, 15:] == -1).all()
    assert (out[:30, 0] != -1).all()


def test_large_sources_of_a_tile_are_taken_in_parts(rng, monkeypatch):
    from imgtool.transforms import warping

    image = rng.random((300, 400)).astype(np.float32)
    shrink = MatrixTransform(np.diag([8.0, 8.0, 1.0]), "similarity", (37, 50), (300, 400))
    whole = warp(image, shrink, interpolation="cubic")
    monkeypatch.setattr(warping, "_LARGEST_WINDOW", 5000)
    monkeypatch.setattr(warping, "_SMALLEST_TILE", 16)
    np.testing.assert_allclose(warp(image, shrink, interpolation="cubic"), whole, atol=1e-6)


def test_a_mapped_file_is_warped_into_another(tmp_path, rng):
    image = (rng.random((200, 300)) * 60000).astype(np.uint16)
    np.save(tmp_path / "in.npy", image)
    transform = turn(12, (200, 300), (200, 300))
    source = np.load(tmp_path / "in.npy", mmap_mode="r")
    goal = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.uint16, (200, 300))
    assert warp(source, transform, interpolation="cubic", out=goal) is goal
    goal.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), warp(image, transform, interpolation="cubic"))


@pytest.mark.parametrize("out", [np.empty((9, 9)), np.empty((60, 80), np.float32)])
def test_an_output_that_does_not_fit_is_refused(out):
    with pytest.raises(ImgtoolError, match=r"out must be of shape \(60, 80\) and float64"):
        warp(np.zeros(SIZE), turn(3), out=out)


def test_an_image_of_another_size_is_warped_only_by_force(rng):
    image = rng.random((50, 50))
    with pytest.raises(ImgtoolError, match="moving is 50x50 pixels but the transform was made for 80x60"):
        warp(image, turn(3))
    assert warp(image, turn(3), force=True).shape == SIZE


def test_without_sizes_the_grid_must_be_given(rng):
    anywhere = MatrixTransform(np.eye(3), "translation", None, None)
    image = rng.random((5, 6))
    with pytest.raises(ImgtoolError, match="does not say how large the fixed image is"):
        anywhere.warp(image)
    np.testing.assert_array_equal(anywhere.warp(image, shape=(5, 6)), image)


def test_every_transform_is_described_by_its_own_class():
    for transform in every_kind().values():
        assert type(Transform.from_dict(transform.to_dict())) is type(transform)
    with pytest.raises(ImgtoolError, match="'displacement' is unknown here; it can be translation, rigid"):
        MatrixTransform.from_dict(wave().to_dict())
