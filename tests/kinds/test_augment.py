"""The kinds of augmentation against published numbers, SciPy, Pillow and TensorFlow: values, laws, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from expkit import tf1 as tf
from expkit.kinds.augment.base import Augment
from expkit.kinds.augment.colors import Brightness, Contrast, Hue, Saturation
from expkit.kinds.augment.covering import Cutout, GaussianNoise
from expkit.kinds.augment.draws import Draws, philox
from expkit.kinds.augment.geometry import Flip, RandomCrop, Rotate, Shift, Zoom
from expkit.kinds.augment.mixing import CutMix, MixUp
from expkit.kinds.augment.tokens import TokenDropout
from expkit.tensor_spec import ShapeError, TensorSpec

pytestmark = pytest.mark.untraced

STEPS: list[Augment] = [
    Flip(horizontal=True, vertical=True),
    RandomCrop(padding=2),
    RandomCrop(size=(5, 4)),
    Shift(height=0.3, width=0.2, fill="edge"),
    Rotate(degrees=40),
    Zoom(smallest=0.5, largest=2.0, fill="reflect"),
    Brightness(max_delta=0.3),
    Contrast(),
    Saturation(smallest=0.0),
    Hue(max_delta=0.5),
    Cutout(size=(3, 4)),
    GaussianNoise(stddev=0.5),
]


def named(step: Augment) -> str:
    return step.kind


def images(count: int = 40, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((count, 7, 6, channels), np.float32)


def draws(count: int, first: int = 0, epoch: int = 3) -> Draws:
    return Draws("name", 5, np.full(count, epoch), np.arange(first, first + count))


def words(*values: int) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value], np.uint64) for value in values)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_yields_the_published_words(
    counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert [int(word[0]) for word in philox(words(*counter), key)] == list(expected)


def test_draws_are_uniform_normal_and_independent() -> None:
    source = draws(20_000)
    first, second = source.uniform(), source.uniform(shape=(3,))
    assert second.shape == (20_000, 3)
    assert stats.kstest(first, "uniform").pvalue > 1e-3
    assert stats.kstest(second[:, 2], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(first, second[:, 0])[0, 1]) < 0.03
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    assert stats.kstest(source.normal(())[:5000], "norm").pvalue > 1e-3
    assert set(source.integers(-2, 3).tolist()) == {-2, -1, 0, 1, 2}


def test_draws_differ_by_name_seed_epoch_and_example() -> None:
    one = np.zeros(1, int)
    found = [Draws(*key).uniform()[0] for key in (("a", 0, one, one), ("b", 0, one, one), ("a", 1, one, one))]
    found += [Draws("a", 0, one + 1, one).uniform()[0], Draws("a", 0, one, one + 1).uniform()[0]]
    found += [Draws("a", 0, one, one + 2**32).uniform()[0]]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("examples", [1, 2, 5])
def test_partners_are_other_examples_all_equally_likely(examples: int) -> None:
    counts = np.zeros((examples, examples), int)
    for epoch in range(400):
        for own, other in enumerate(Draws("m", 0, np.full(examples, epoch), np.arange(examples)).others(examples)):
            counts[own, other] += 1
    if examples == 1:
        assert counts.tolist() == [[400]]
        return
    assert (np.diag(counts) == 0).all()
    assert counts[~np.eye(examples, dtype=bool)].min() > 400 / (examples - 1) * 0.7


@pytest.mark.parametrize("step", STEPS, ids=named)
def test_an_example_becomes_the_same_in_any_block(step: Augment) -> None:
    given = images()
    whole = step.apply(given.copy(), draws(40))
    assert whole.dtype == given.dtype
    assert whole.shape == given.shape
    assert (whole != given).any()
    parts = [step.apply(given[i : i + n].copy(), draws(n, i)) for i, n in ((0, 1), (1, 16), (17, 23))]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_flip_mirrors_half_of_the_images_in_each_direction() -> None:
    given = images(1000)
    flipped = Flip(horizontal=True, vertical=True).apply(given.copy(), draws(1000))
    kinds = [given, given[:, :, ::-1], given[:, ::-1], given[:, ::-1, ::-1]]
    counts = [int((flipped == kind).all(axis=(1, 2, 3)).sum()) for kind in kinds]
    assert sum(counts) == 1000
    assert min(counts) > 200
    always = Flip(horizontal=True, probability=1.0).apply(given.copy(), draws(1000))
    np.testing.assert_array_equal(always, given[:, :, ::-1])


@pytest.mark.parametrize(("fill", "mode"), [("constant", "constant"), ("edge", "edge"), ("reflect", "reflect")])
def test_random_crop_is_every_part_of_the_padded_image(fill: str, mode: str) -> None:
    given = images(300)
    cropped = RandomCrop(padding=2, fill=fill, value=0.5 if fill == "constant" else 0.0).apply(given.copy(), draws(300))
    more = {"constant_values": 0.5} if mode == "constant" else {}
    padded = np.pad(given, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode, **more)
    places = set()
    for index in range(300):
        for top in range(5):
            for left in range(5):
                if (padded[index, top : top + 7, left : left + 6] == cropped[index]).all():
                    places.add((top, left))
    assert len(places) == 25


def test_a_smaller_crop_is_enlarged_as_tensorflow_does() -> None:
    given = images(4)
    enlarged = RandomCrop(size=(7, 3)).apply(given.copy(), draws(4))
    parts = draws(4)
    parts.integers(0, 1)
    left = parts.integers(0, 4)
    part = np.stack([image[:, x : x + 3] for image, x in zip(given, left, strict=True)])
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(tf.raw_ops.ResizeBilinear(images=part, size=(7, 6), half_pixel_centers=True))
    np.testing.assert_allclose(enlarged, wanted, atol=1e-6)


def test_rotation_by_a_right_angle_is_that_of_numpy() -> None:
    given = np.random.default_rng(0).random((1, 7, 7, 2)).astype(np.float32)
    step = Rotate(degrees=90)
    quarter = np.array([[[0, 1, 0], [-1, 0, 0]]], float)
    np.testing.assert_allclose(step.resample(given.copy(), quarter)[0], np.rot90(given[0]), atol=1e-6)
    turned = step.apply(given.copy(), draws(1))
    angle = math.degrees(math.radians(draws(1).uniform(-90, 90)[0]))
    wanted = np.stack([ndimage.rotate(given[0, ..., k], angle, reshape=False, order=1) for k in range(2)], axis=-1)
    np.testing.assert_allclose(turned[0], wanted, atol=1e-5)


def test_shift_of_whole_pixels_moves_them() -> None:
    given = images(1)
    moved = Shift(value=9.0).resample(given.copy(), np.array([[[1, 0, 2], [0, 1, -1]]], float))
    np.testing.assert_allclose(moved[0, :5, 1:], given[0, 2:, :-1], atol=1e-6)
    assert (moved[0, 5:] == 9).all()
    assert (moved[0, :, 0] == 9).all()


def test_zoom_enlarges_around_the_middle() -> None:
    given = np.zeros((1, 9, 9, 1), np.float32)
    given[0, 3:6, 3:6] = 1
    larger = Zoom(smallest=2.0, largest=2.0).apply(given.copy(), draws(1))
    smaller = Zoom(smallest=0.5, largest=0.5).apply(given.copy(), draws(1))
    assert larger.sum() > 25
    assert smaller.sum() < 4
    assert larger[0, 4, 4, 0] == smaller[0, 4, 4, 0] == 1


def test_nearest_keeps_class_numbers() -> None:
    mask = np.random.default_rng(0).integers(0, 5, (20, 8, 8)).astype(np.uint8)
    turned = Rotate(degrees=45, interpolation="nearest").apply(mask.copy(), draws(20))
    assert turned.dtype == np.uint8
    assert set(np.unique(turned)) <= set(range(5))


def test_brightness_adds_one_number_to_an_image_and_clips_where_told() -> None:
    given = images(500)
    changed = Brightness(max_delta=0.3).apply(given.copy(), draws(500))
    added = (changed - given).reshape(500, -1)
    np.testing.assert_allclose(added, added[:, :1].repeat(added.shape[1], 1), atol=1e-6)
    assert -0.3 <= added.min() < -0.25
    assert 0.25 < added.max() <= 0.3
    clipped = Brightness(max_delta=0.3, clip=(0.0, 1.0)).apply(given.copy(), draws(500))
    np.testing.assert_array_equal(clipped, np.clip(changed, 0, 1))


def test_contrast_is_that_of_tensorflow() -> None:
    given = images(3)
    changed = Contrast(smallest=1.5, largest=1.5).apply(given.copy(), draws(3))
    with tf.Graph().as_default(), tf.Session() as session:
        wanted = session.run(tf.raw_ops.AdjustContrastv2(images=given, contrast_factor=1.5))
    np.testing.assert_allclose(changed, wanted, atol=1e-6)


def test_saturation_is_that_of_pillow() -> None:
    from PIL import Image, ImageEnhance

    given = np.random.default_rng(0).integers(60, 190, (1, 8, 8, 3)).astype(np.uint8)
    changed = Saturation(smallest=0.4, largest=0.4).apply(given.astype(np.float32), draws(1))
    wanted = np.asarray(ImageEnhance.Color(Image.fromarray(given[0])).enhance(0.4), np.float32)
    assert np.abs(changed[0] - wanted).max() <= 1.5  # Pillow rounds to whole numbers, twice.


def test_a_full_turn_of_the_hue_is_none_and_grays_stay() -> None:
    given = images(50)
    turned = Hue(max_delta=0.5).apply(given.copy(), draws(50))
    luminance = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(turned @ luminance, given @ luminance, atol=1e-5)
    gray = np.repeat(images(50, 1), 3, axis=3)
    np.testing.assert_allclose(Hue(max_delta=0.5).apply(gray.copy(), draws(50)), gray, atol=2e-3)


@pytest.mark.parametrize("step", [Contrast(), Saturation(), Hue(max_delta=0.3)], ids=named)
@settings(derandomize=True, max_examples=10, deadline=None)
@given(scale=st.floats(0.1, 300), shift=st.floats(-100, 100))
def test_colors_do_not_depend_on_the_units(step: Augment, scale: float, shift: float) -> None:
    given = images(3).astype(np.float64)
    changed = step.apply(given.copy(), draws(3)) * scale + shift
    np.testing.assert_allclose(
        step.apply(given * scale + shift, draws(3)), changed, atol=1e-2 * scale + 1e-3 * abs(shift)
    )


def test_alpha_stays() -> None:
    given = images(5, 4)
    for step in (Brightness(), Contrast(), Saturation(), Hue()):
        changed = step.apply(given.copy(), draws(5))
        np.testing.assert_array_equal(changed[..., 3], given[..., 3])
        assert (changed[..., :3] != given[..., :3]).any()


def test_cutout_covers_a_rectangle_around_any_pixel() -> None:
    given = images(400) + 1
    covered = Cutout(size=(3, 2), value=-1.0).apply(given.copy(), draws(400))
    areas = (covered == -1).all(axis=3).sum(axis=(1, 2))
    assert set(areas.tolist()) <= {1, 2, 3, 4, 6}
    assert (covered == -1).any(axis=(0, 3)).all()
    np.testing.assert_array_equal(covered[covered != -1], given[covered != -1])


def test_noise_has_its_standard_deviation() -> None:
    changed = GaussianNoise(stddev=0.5).apply(np.zeros((50, 40), np.float32), draws(50))
    assert abs(changed.std() - 0.5) < 0.03
    assert abs(changed.mean()) < 0.03


def test_dropped_tokens_are_a_share_of_those_that_may_be() -> None:
    tokens = np.random.default_rng(0).integers(0, 6, (2000, 12)).astype(np.int32)
    step = TokenDropout(rate=0.2, value=9, keep=(0, 3))
    changed = step.apply(tokens.copy(), draws(2000))
    dropped = changed != tokens
    assert (changed[dropped] == 9).all()
    assert not dropped[np.isin(tokens, (0, 3))].any()
    assert abs(dropped[~np.isin(tokens, (0, 3))].mean() - 0.2) < 0.01
    assert (step.apply(tokens[70:90].copy(), draws(20, 70)) == changed[70:90]).all()


def test_mixup_is_the_weighted_mean_by_a_beta_distribution() -> None:
    own, other = np.zeros((4000, 3), np.float32), np.ones((4000, 3), np.float32)
    mixed, fraction = MixUp(alpha=0.4).mix(own.copy(), other, draws(4000))
    np.testing.assert_allclose(mixed, np.repeat(1 - fraction[:, None], 3, axis=1), atol=1e-6)
    assert fraction.min() >= 0.5
    folded = stats.kstest(fraction, lambda x: 2 * stats.beta(0.4, 0.4).cdf(x) - 1)
    assert folded.pvalue > 1e-3


def test_cutmix_pastes_a_rectangle_whose_area_is_the_others_fraction() -> None:
    own, other = np.zeros((2000, 10, 12, 1), np.float32), np.ones((2000, 10, 12, 1), np.float32)
    mixed, fraction = CutMix().mix(own.copy(), other, draws(2000))
    np.testing.assert_allclose(1 - mixed.mean(axis=(1, 2, 3)), fraction, atol=1e-6)
    for image in mixed[:50, ..., 0]:
        rows, columns = np.nonzero(image)
        assert len(rows) == 0 or image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert 0 <= fraction.min() < 0.3
    assert fraction.max() > 0.9


def test_flattened_images_are_changed_as_images() -> None:
    given = images(9)
    rows = given.reshape(9, -1)
    for step in (Flip(horizontal=True), RandomCrop(padding=1), Contrast()):
        flat = step.model_copy(update={"shape": (7, 6, 3)})
        flat.check(TensorSpec((126,)))
        np.testing.assert_array_equal(
            flat.apply(rows.copy(), draws(9)), step.apply(given.copy(), draws(9)).reshape(9, -1)
        )


def test_an_image_and_its_mask_move_alike() -> None:
    for step in (Flip(horizontal=True), RandomCrop(padding=2), Cutout(size=(2, 2))):
        given = images(20, 1)
        together = step.apply(given.copy(), draws(20))
        np.testing.assert_array_equal(step.apply(given[..., 0].copy(), draws(20)), together[..., 0])


@pytest.mark.parametrize(
    ("step", "spec", "message"),
    [
        (
            Flip(horizontal=True),
            TensorSpec((64,)),
            "flip needs images [height, width, channels] or [height, width], got [batch, 64] float32; give its shape: "
            "[HEIGHT, WIDTH, CHANNELS] if images are flattened",
        ),
        (
            Flip(horizontal=True),
            TensorSpec((3, 8, 8, 1)),
            "flip needs images [height, width, channels] or [height, width], got [batch, 3, 8, 8, 1] float32",
        ),
        (
            Flip(horizontal=True, shape=(8, 8, 1)),
            TensorSpec((65,)),
            "flip of images flattened from [8, 8, 1] needs a row of that size, got [batch, 65] float32",
        ),
        (
            RandomCrop(size=(9, 8)),
            TensorSpec((8, 8, 1)),
            "random_crop of height 9 is larger than the image, [8, 8, 1]",
        ),
        (
            RandomCrop(size=(8, 13), padding=2),
            TensorSpec((8, 8)),
            "random_crop of width 13 is larger than the image, [8, 8, 1] with 2 pixels more at every edge",
        ),
        (
            RandomCrop(padding=9),
            TensorSpec((9, 8, 3)),
            "random_crop with padding 9 adds more than the width of 8",
        ),
        (
            RandomCrop(size=(4, 4)),
            TensorSpec((8, 8), "uint8"),
            "random_crop with a size interpolates, which needs floating-point values, got [batch, 8, 8] uint8",
        ),
        (Cutout(size=(8, 9)), TensorSpec((8, 8, 3)), "cutout of width 9 is larger than the image, [8, 8, 3]"),
        (
            Hue(),
            TensorSpec((8, 8, 1)),
            "hue needs 3 channels (red, green, blue), or 4 with alpha, got [batch, 8, 8, 1] float32",
        ),
        (
            Saturation(),
            TensorSpec((8, 8)),
            "saturation needs 3 channels (red, green, blue), or 4 with alpha, got [batch, 8, 8] float32",
        ),
        (
            Brightness(),
            TensorSpec((8, 8, 1), "uint8"),
            "brightness needs floating-point values, got [batch, 8, 8, 1] uint8",
        ),
        (
            GaussianNoise(),
            TensorSpec((5,), "int64"),
            "gaussian_noise needs floating-point values, got [batch, 5] int64",
        ),
        (
            TokenDropout(rate=0.1),
            TensorSpec((5,)),
            "token_dropout needs sequences of whole numbers, one per word, got [batch, 5] float32",
        ),
        (
            TokenDropout(rate=0.1, value=300),
            TensorSpec((5,), "uint8"),
            "token_dropout: value 300 is too large for uint8",
        ),
        (MixUp(), TensorSpec((5,), "int32"), "mixup needs floating-point values, got [batch, 5] int32"),
        (
            CutMix(),
            TensorSpec((5,)),
            "cutmix needs images [height, width, channels] or [height, width], got [batch, 5] float32; give its shape: "
            "[HEIGHT, WIDTH, CHANNELS] if images are flattened",
        ),
        (
            Rotate(),
            TensorSpec((8, 8), "uint8"),
            "rotate with interpolation bilinear needs floating-point values, got [batch, 8, 8] uint8; set "
            "interpolation: nearest",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(step: Augment, spec: TensorSpec, message: str) -> None:
    with pytest.raises(ShapeError) as raised:
        step.check(spec)
    assert str(raised.value) == message


@pytest.mark.parametrize("step", STEPS, ids=named)
def test_unknown_sizes_are_accepted_until_they_are_known(step: Augment) -> None:
    step.check(TensorSpec((None, None, 3)))
