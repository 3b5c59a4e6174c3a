"""Overlap-save with our own Fourier transform, every build of it, against plain references."""

import numpy as np
import pytest
import references
from references import BORDERS

from imgtool import _ext, _plan
from imgtool.filters import apply_kernel, convolve


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def filtered(image, kernel, tile, *, single, border="reflect", outside=0.0, contrast=0.0):
    """One channel through tiles of a given size; also the pairs that were left out."""
    out = np.empty_like(image)
    plan = _ext.Spectrum(np.ascontiguousarray(np.flip(kernel)), tile, single)
    top, left = (n // 2 for n in kernel.shape)
    pairs = _ext.pair_count(plan, *image.shape, 1)
    code = _plan.BORDER_CODES[border]
    _, poor = _ext.TilePair(plan).correlate(image, out, code, outside, 0.0, contrast, 0.0, top, left, 0, pairs)
    return out, poor


@pytest.mark.parametrize("tile", [32, 64, 128, 256])
@pytest.mark.parametrize("single", [True, False])
def test_every_tile_size_agrees_with_the_reference(isa, rng, tile, single):
    image = rng.standard_normal((tile + 30, 2 * tile - 5)).astype("f4" if single else "f8")
    for size in [(1, 1), (5, 8), (tile // 8, tile // 4 - 1), (tile, 3)]:
        kernel = rng.standard_normal(size)
        expected = references.convolve(image.astype(float), kernel)
        out, poor = filtered(image, kernel, tile, single=single)
        scale = np.abs(kernel).sum() * np.abs(image).max()
        assert not poor
        assert np.abs(out - expected).max() <= (4e-7 if single else 1e-15) * max(2, np.log2(kernel.size)) * scale


@pytest.mark.parametrize("border", BORDERS)
def test_every_border(isa, rng, border):
    for shape, size in [((50, 70), (15, 11)), ((5, 4), (21, 30)), ((1, 90), (9, 9))]:
        image, kernel = rng.standard_normal(shape), rng.standard_normal(size)
        expected = references.convolve(image, kernel, border, 1.5)
        out, _ = filtered(image, kernel, 64, single=False, border=border, outside=1.5)
        np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_whole_numbers_are_exact(isa, rng, dtype):
    image, kernel = references.random_image(rng, (90, 61), dtype), rng.integers(-20, 21, (13, 17))
    exact = references.convolve(image.astype("i8"), kernel)
    np.testing.assert_array_equal(convolve(image, kernel, method="fft", dtype="i8"), exact)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_fractions_round_like_the_direct_sum_but_at_ties(isa, rng, dtype):
    image, kernel = references.random_image(rng, (120, 130), dtype), rng.random((15, 15))
    kernel /= kernel.sum()
    real = references.convolve(image.astype(float), kernel)
    surely = np.abs(real - np.floor(real) - 0.5) > 1e-3
    np.testing.assert_array_equal(convolve(image, kernel, method="fft")[surely], np.rint(real).astype(dtype)[surely])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_nan_and_infinity_spread_exactly_as_far_as_the_kernel(isa, rng, dtype):
    image = rng.random((150, 150)).astype(dtype)
    image[70, 80], image[3, 140] = np.nan, -np.inf
    result = convolve(image, np.ones((15, 11)), method="fft")
    touched = np.zeros(image.shape, bool)
    touched[63:78, 75:86] = touched[0:11, 135:146] = True
    np.testing.assert_array_equal(~np.isfinite(result), touched)


@pytest.mark.parametrize("nodata", [-3.4028235e38, -1e10, 1e6])
def test_a_far_out_value_does_not_disturb_pixels_beyond_the_reach_of_the_kernel(isa, rng, nodata):
    image, kernel = rng.random((140, 140)).astype("f4"), rng.random((15, 15))
    image[60, 60:90] = nodata
    out_of_reach = np.ones(image.shape, bool)
    out_of_reach[52:69, 52:98] = False
    direct = convolve(image, kernel, method="direct")
    result = convolve(image, kernel, method="fft")
    np.testing.assert_allclose(result[out_of_reach], direct[out_of_reach], rtol=2e-6)


def test_channels_and_strides(isa, rng):
    image = rng.integers(0, 255, (130, 140, 3), dtype=np.uint8)[::-2, ::2]
    kernel = rng.integers(0, 4, (9, 9))
    result = convolve(image, kernel, channel_axis=-1, dtype="i4", method="fft")
    for c in range(3):
        np.testing.assert_array_equal(result[..., c], references.convolve(image[..., c].astype(float), kernel))


def test_threads_and_chunks_do_not_change_a_bit(isa, rng, monkeypatch):
    image, kernel = rng.random((300, 280)).astype("f4"), rng.random((15, 15))
    image[100, 100] = np.nan
    whole = convolve(image, kernel, method="fft", threads=1)
    for cost in (1, 1_000_000):
        monkeypatch.setattr("imgtool._correlate._SLAB_NANOSECONDS", cost)
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(convolve(image, kernel, method="fft", threads=threads), whole)


def test_bias_is_added_and_saturation_counted(isa, rng):
    image, kernel = references.random_image(rng, (80, 90), "u1"), rng.integers(-2, 3, (11, 11))
    direct = apply_kernel(image, (kernel,), bias=100, method="direct")
    fourier = apply_kernel(image, (kernel,), bias=100, method="fft")
    np.testing.assert_array_equal(fourier[0], direct[0])
    assert fourier[1] == direct[1] > 0


@pytest.mark.parametrize(("kernel", "tile"), [(np.ones((3, 3)), 48), (np.ones((3, 3)), 16), (np.ones((40, 3)), 32)])
def test_a_tile_that_does_not_fit_is_refused(isa, kernel, tile):
    with pytest.raises(ValueError):
        _ext.Spectrum(kernel, tile, True)


def test_a_damaged_call_is_refused(isa):
    plan = _ext.Spectrum(np.ones((3, 3)), 32, False)
    image, out = np.zeros((40, 40, 2)), np.zeros((40, 40, 2))
    for source, goal, end in [(image[..., 0, 0], out, 1), (image, out[..., :1].copy(), 1), (image, out, 99)]:
        with pytest.raises(ValueError):
            _ext.TilePair(plan).correlate(source, goal, 0, 0.0, 0.0, 0.0, 0.0, 1, 1, 0, end)


def waves(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return {
        "noise": np.random.default_rng(3).random(shape) * 65535,
        "faint noise": 30000 + np.random.default_rng(4).random(shape) * 4095,
        "slope": y * (65535 / shape[0]),
        "steps": ((y // 40 + x // 40) % 2) * 65535.0,
        "one bright pixel": ((y == 60) & (x == 60)) * 65535.0,
    }


@pytest.mark.parametrize("what", waves((1, 1)))
def test_16_bits_round_like_the_exact_sum_but_at_ties(isa, rng, what):
    image = np.rint(waves((230, 210))[what]).astype("u2")
    for size in [(21, 21), (63, 40)]:
        kernel = rng.random(size)
        for weights in (kernel / kernel.sum(), (kernel - 0.5) / 30):
            result = convolve(image, weights, method="fft", bias=100.25)
            real = convolve(image.astype(float), weights, method="fft", bias=100.25)
            surely = np.abs(real - np.floor(real) - 0.5) > 1e-3
            np.testing.assert_array_equal(result[surely], references.saturated(np.rint(real), "u2")[surely])


def test_tiles_of_16_bits_beyond_float32_are_left_out(isa):
    pictures, kernel = waves((128, 226)), np.full((31, 31), 1 / 961)
    kernel[0, 0] *= 1.5
    plan = _ext.Spectrum(kernel, 128, True)

    def left_out(what, tolerance):
        image = np.rint(pictures[what]).astype("u2")
        out = np.empty((98, 196), "u2")
        _, poor = _ext.TilePair(plan).correlate(image, out, 0, 0.0, 0.0, 0.0, tolerance, 0, 0, 0, 1)
        return bool(poor)

    assert not left_out("faint noise", 2e-4)
    assert left_out("slope", 2e-4)
    assert not left_out("slope", 0.0)
    assert left_out("faint noise", 1e-6)


def test_the_expected_deviation_bounds_that_of_float32(isa, rng):
    # The estimate that decides about tiles, written again.
    for image in waves((128, 256)).values():
        for kernel in (rng.random((31, 31)), rng.standard_normal((15, 15))):
            kernel /= np.abs(kernel).sum()
            centred = np.ascontiguousarray(np.rint(image - image.mean()))
            height, width = 129 - len(kernel), 2 * (129 - len(kernel))
            source = centred[:, : width + len(kernel) - 1]
            results = []
            for single in (True, False):
                out = np.empty((height, width), "f4" if single else "f8")
                pixels = source.astype(out.dtype)
                plan = _ext.Spectrum(kernel, 128, single)
                _ext.TilePair(plan).correlate(pixels, out, 0, 0.0, 0.0, 1e30, 0.0, 0, 0, 0, 1)
                results.append(out.astype(float))
            pair = source[:, :128] + 1j * source[:, height : height + 128]
            spectrum = np.fft.fft2(np.flip(kernel), (128, 128))
            energies = [np.abs(pair) ** 2, np.abs(np.fft.ifft2(np.fft.fft2(pair) * spectrum)) ** 2]
            before, after = (np.sqrt(energy.mean()) for energy in energies)
            expected = 2.0**-24 * (1.15 * np.sqrt((kernel**2).sum()) * before + 2.6 * after)
            assert (results[0] - results[1]).std() < expected
