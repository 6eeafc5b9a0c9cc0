"""The kinds of preprocessing against Pillow, NumPy, scikit-learn and Python: values, shapes, errors."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expkit import tf1 as tf
from expkit.data.compute import computed, fit_steps
from expkit.data.preprocess import FieldPreprocessing, raw_spec, spec_problems
from expkit.kinds.preprocess.base import Preprocess
from expkit.kinds.preprocess.categories import HashBucket, OneHot, Vocabulary, fingerprints
from expkit.kinds.preprocess.images import CenterCrop, DecodeImage, Pad, Resize
from expkit.kinds.preprocess.numbers import Bucketize, Clip, Impute, Log1p, Rescale, Standardize
from expkit.kinds.preprocess.text import Lowercase, RegexReplace, Split
from expkit.tensor_spec import ShapeError, TensorSpec

pytestmark = pytest.mark.untraced


def results(steps: Sequence[Preprocess], values: np.ndarray, train: np.ndarray | None = None) -> np.ndarray:
    """Return what steps yield, fitted on other values if given; its shape and dtype are as declared."""
    fitted_on = values if train is None else train
    before = FieldPreprocessing(field="x", raw=raw_spec(steps, values))
    fitted = fit_steps(before, steps, fitted_on)
    result = np.concatenate([batch for _, batch in computed(fitted, values)])
    declared = fitted.kept_spec
    assert all(size in (None, got) for size, got in zip(declared.shape, result.shape[1:], strict=True))
    assert result.dtype == (object if declared.dtype == "string" else declared.dtype)
    return result


def texts(*values: str | bytes) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = [value.encode() if isinstance(value, str) else value for value in values]
    return array


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def pixels(height: int, width: int, *channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG"])
def test_files_are_decoded_to_their_pixels(kind: str) -> None:
    image = np.repeat(pixels(9, 7, 1), 3, axis=2)
    got = results([DecodeImage()], texts(encoded(image, kind)))
    assert got.shape == (1, 9, 7, 3)
    if kind == "JPEG":
        from PIL import Image

        wanted = np.asarray(Image.open(io.BytesIO(encoded(image, kind))))
        assert np.abs(got[0].astype(int) - wanted).max() <= 3  # Two decoders round differently.
    else:
        np.testing.assert_array_equal(got[0], image)


def interlaced(image: np.ndarray) -> bytes:
    """Return a PNG file in the seven passes of Adam7, which Pillow reads and does not write."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [row for x, y, right, down in passes for row in image[y::down, x::right] if row.size]
    height, width, _ = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )


def odd_images() -> dict[str, tuple[bytes, int]]:
    """Return images as other programs write them, with the largest difference of two right decoders."""
    from PIL import Image

    rgb = Image.fromarray(pixels(3, 4, 3)).resize((20, 12), Image.Resampling.BICUBIC)
    palette, content = rgb.quantize(64), {}

    def save(name: str, image: Any, error: int, **options: Any) -> None:
        into = io.BytesIO()
        image.save(into, name.split()[-1], **options)
        content[name] = into.getvalue(), error

    save("palette PNG", palette, 0)
    save("transparent PNG", palette, 0, transparency=3)
    save("two-color PNG", rgb.convert("1"), 0)
    for bits in (1, 2, 4):
        few = rgb.quantize(2**bits)
        save(f"{bits} bit PNG", few, 0, bits=bits)
        save(f"{bits} bit transparent PNG", few, 0, bits=bits, transparency=bytes([7, 130]))
    save("animated PNG", rgb, 0, save_all=True, append_images=[rgb.rotate(180)])
    content["interlaced PNG"] = interlaced(np.asarray(rgb)), 0
    save("gray and alpha PNG", rgb.convert("LA"), 0)
    save("CMYK JPEG", rgb.convert("CMYK"), 16, quality=95)
    save("gray JPEG", rgb.convert("L"), 8, quality=95)
    save("progressive JPEG", rgb, 10, quality=95, progressive=True)
    save("animated GIF", palette, 0, save_all=True, append_images=[rgb.rotate(180).quantize(8)])
    save("gray BMP", rgb.convert("L"), 0)
    save("BMP", rgb, 0)
    for kind, error in (("PNG", 0), ("JPEG", 2), ("GIF", 0), ("BMP", 0)):
        save(f"one pixel {kind}", rgb.crop((0, 0, 1, 1)), error)
    return content


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_images_as_other_programs_write_them_are_pillows(channels: Any, mode: str) -> None:
    from PIL import Image

    odd = odd_images()
    with tf.Graph().as_default() as graph:
        file = tf.placeholder(tf.string, (1,))
        decoded = DecodeImage(channels=channels).apply(file, {})[0]
    with tf.Session(graph=graph) as session:
        for name, (content, error) in odd.items():
            got = session.run(decoded, {file: [content]})
            wanted = np.asarray(Image.open(io.BytesIO(content)).convert(mode)).reshape(*got.shape[:2], channels)
            assert np.abs(got.astype(int) - wanted).max() <= error + (channels == 1), name


def test_of_sixteen_bits_the_upper_eight_stay() -> None:
    from PIL import Image

    values, into = (np.arange(240, dtype=np.uint16) * 271).reshape(12, 20), io.BytesIO()
    Image.fromarray(values).save(into, "PNG")
    got = results([DecodeImage(channels=1)], texts(into.getvalue()))
    np.testing.assert_array_equal(got[0, ..., 0], values >> 8)


def test_transparent_pixels_of_a_gif_are_black_and_opaque() -> None:
    from PIL import Image

    numbers = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image, into = Image.fromarray(numbers).convert("P"), io.BytesIO()
    image.putpalette([10, 20, 30, 90, 80, 70, 200, 210, 220])
    image.save(into, "GIF", transparency=1)
    with tf.Graph().as_default() as graph:
        decoded = DecodeImage(channels=4).apply(tf.constant([into.getvalue()]), {})[0]
    with tf.Session(graph=graph) as session:
        got = session.run(decoded)
    colors = np.array([[10, 20, 30, 255], [0, 0, 0, 255], [200, 210, 220, 255]])
    np.testing.assert_array_equal(got, colors[numbers])


def test_channels_are_converted_and_sizes_may_differ_before_they_are_resized() -> None:
    gray = texts(encoded(pixels(4, 4)), encoded(pixels(5, 3, 3)))
    got = results([DecodeImage(channels=1), Resize(size=(4, 4), method="nearest")], gray)
    assert got.shape == (2, 4, 4, 1)
    np.testing.assert_array_equal(got[0, ..., 0], pixels(4, 4))


@pytest.mark.parametrize(("method", "name"), [("bilinear", "BILINEAR"), ("bicubic", "BICUBIC"), ("nearest", "NEAREST")])
@pytest.mark.parametrize("size", [(5, 8), (24, 36)])
def test_images_are_resized_as_pillow_does(method: Any, name: str, size: tuple[int, int]) -> None:
    from PIL import Image

    image = pixels(12, 18).astype(np.float32)
    got = results([Resize(size=size, method=method)], image[None, :, :, None])[0, ..., 0]
    wanted = Image.fromarray(image).resize(size[::-1], getattr(Image.Resampling, name))
    np.testing.assert_allclose(got, np.asarray(wanted), rtol=1e-4, atol=1e-2)


def test_without_antialias_pixels_are_interpolated_alone() -> None:
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    got = results([Resize(size=(2, 2), antialias=False)], image)
    np.testing.assert_allclose(got[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])
    area = results([Resize(size=(2, 2), method="area")], image)
    np.testing.assert_allclose(area[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])


def test_the_middle_is_cut_out_and_padded_around() -> None:
    image = np.arange(15, dtype=np.int32).reshape(1, 3, 5, 1)
    cut = results([CenterCrop(size=(1, 2))], image)
    np.testing.assert_array_equal(cut[0, ..., 0], [[6, 7]])
    padded = results([Pad(size=(4, 6), value=-1)], image)[0, ..., 0]
    assert padded[3].tolist() == [-1] * 6
    assert padded[:3, :5].tolist() == image[0, ..., 0].tolist()


def test_sequences_are_cut_and_filled() -> None:
    image = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    assert results([Pad(length=2)], image).tolist() == [[1, 2], [4, 5]]
    assert results([Pad(length=4, value=9)], image).tolist() == [[1, 2, 3, 9], [4, 5, 6, 9]]


NUMBERS = np.array([-3.5, 0.0, 0.25, 1.0, 7.0, 100.0, np.nan])


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (Rescale(scale=0.5, offset=1.0), NUMBERS * 0.5 + 1),
        (Clip(low=-1.0, high=5.0), np.clip(NUMBERS, -1, 5)),
        (Log1p(), np.sign(NUMBERS) * np.log1p(np.abs(NUMBERS))),
        (Impute(value=2.0), np.where(np.isnan(NUMBERS), 2, NUMBERS)),
        (Impute(value="mean"), np.where(np.isnan(NUMBERS), np.nanmean(NUMBERS), NUMBERS)),
        (Impute(value="median"), np.where(np.isnan(NUMBERS), np.nanmedian(NUMBERS), NUMBERS)),
        (Bucketize(boundaries=(0.0, 1.0, 50.0)), [0, 1, 1, 2, 2, 3, 3]),
    ],
)
def test_numbers_are_numpys(step: Preprocess, wanted: Any) -> None:
    np.testing.assert_allclose(results([step], NUMBERS), wanted, rtol=1e-12)


def test_channels_are_standardized_over_all_positions() -> None:
    images = np.random.default_rng(0).normal(3, 2, (50, 4, 5, 3)) * [1, 10, 100]
    got = results([Standardize(per="channel")], images, train=images[:40])
    train = images[:40].reshape(-1, 3)
    np.testing.assert_allclose(got, (images - train.mean(axis=0)) / train.std(axis=0), rtol=1e-9)


def test_quantiles_hold_as_many_training_examples_each_as_in_scikit_learn() -> None:
    from sklearn.preprocessing import KBinsDiscretizer

    values = np.random.default_rng(0).lognormal(size=400)
    reference = KBinsDiscretizer(4, encode="ordinal", strategy="quantile", quantile_method="linear")
    wanted = reference.fit_transform(values[:, None])[:, 0]
    np.testing.assert_array_equal(results([Bucketize(quantiles=4)], values), wanted)


def test_words_are_numbered_by_frequency_then_bytes() -> None:
    train = texts("b a c a", "c a d")
    steps = [Split(), Vocabulary(max_size=3), Pad(length=5)]
    assert results(steps, texts("a b c", "d e a", ""), train).tolist() == [[2, 4, 3, 0, 0], [1, 1, 2, 0, 0], [0] * 5]
    assert results([Split(), Vocabulary(min_count=2), Pad(length=3)], texts("a b c"), train).tolist() == [[2, 1, 3]]


def test_whole_numbers_have_a_vocabulary_too() -> None:
    assert results([Vocabulary()], np.array([70, 5, 70, -1])).tolist() == [2, 4, 2, 3]


def test_a_file_gives_the_words_in_its_order(tmp_path: Any) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(b"zebra\nape\n\nbee\n")
    got = results([Vocabulary(file=str(file))], texts("ape", "zebra", "bee", "cow", ""))
    assert got.tolist() == [3, 2, 4, 1, 0]


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_every_word_of_a_vocabulary_has_a_number_of_its_own(words: list[str]) -> None:
    array = texts(*words)
    numbers = results([Vocabulary()], array)
    assert len(set(numbers.tolist())) == len(set(words))
    assert sorted(set(numbers.tolist())) == list(range(2, 2 + len(set(words))))
    assert len(set(fingerprints(array).tolist())) == len(set(words))


def test_hashes_are_within_the_buckets_and_empty_texts_apart() -> None:
    got = results([HashBucket(buckets=7)], texts(*(f"word {number}" for number in range(300)), ""))
    assert set(got[:-1].tolist()) == set(range(1, 8))
    assert got[-1] == 0


def test_rows_have_a_one_at_the_number() -> None:
    got = results([OneHot(depth=3)], np.array([0, 2, 3, -1, 2**32 + 1]))
    assert got.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_large_whole_numbers_are_the_same_in_every_step_and_in_the_frozen_graph() -> None:
    values, steps = (
        np.array([1_700_000_000_123, 1_700_000_000_456]),
        [Rescale(scale=1.0, offset=-1.7e12), Clip(low=0.1)],
    )
    assert results(steps, values).tolist() == [123, 456]
    raw = raw_spec(steps, values)
    in_step = fit_steps(FieldPreprocessing(field="x", raw=raw), steps, values).kept
    with tf.Graph().as_default() as graph:
        kept = tf.placeholder(tf.int64, (None,))
        result = FieldPreprocessing(field="x", raw=raw, in_step=in_step).connect_in_step(kept)
    with tf.Session(graph=graph) as session:
        assert session.run(result, {kept: values}).tolist() == [123, 456]


WORDS = st.text(st.sampled_from("abcXYZ ÄÖß,.!-_ \t0٣中é"))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=4), st.sampled_from([r"[^\w\s]", r"\W+", r"\d", r"[\d_]", r"(a)(b)", r"\\"])
)
def test_text_is_replaced_and_split_as_python_does(values: list[str], pattern: str) -> None:
    got = results([Lowercase(), RegexReplace(pattern=pattern, to=" ")], texts(*values))
    assert [value.decode() for value in got] == [re.sub(pattern, " ", value.lower()) for value in values]
    split = results([Split()], texts(*values))
    assert [[word.decode() for word in row if word] for row in split] == [value.split() for value in values]


def test_patterns_of_re2_alone_are_known() -> None:
    assert results([RegexReplace(pattern=r"[[:digit:]\w]+")], texts("a-ä1 é")).tolist() == [b"- "]
    assert results([RegexReplace(pattern=r"\pN|\Q.*\E", to="_")], texts("1 .* z")).tolist() == [b"_ _ z"]


def test_ascii_is_lowered_as_text_of_other_scripts() -> None:
    every = texts(*(chr(code) * 2 + "Iİ"[beyond:] for code in range(1, 128) for beyond in (2, 1)))
    step = Lowercase()
    ascii_alone, mixed = every[::2], every
    assert type(step.reduced(ascii_alone)) is not Lowercase
    assert step.reduced(mixed) is step
    np.testing.assert_array_equal(results([step], ascii_alone), results([step], mixed)[::2].astype("S2").astype(object))


def test_groups_are_put_in() -> None:
    assert results([RegexReplace(pattern=r"(\w)-(\w)", to=r"\2\1")], texts("a-b ä-ö")).tolist() == ["ba öä".encode()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: RegexReplace(pattern="(?=a)"),
            "'(?=a)' is not a regular expression of RE2 (no look-around, no back-references): invalid perl "
            "operator: (?=",
        ),
        (lambda: RegexReplace(pattern=r"(a)\1"), r"references): invalid escape sequence: \1"),
        (lambda: RegexReplace(pattern="("), "'(' is not a regular expression of RE2 "),
        (lambda: RegexReplace(pattern="a++"), "bad repetition operator: ++"),
        (lambda: RegexReplace(pattern="a{1,2000}"), "invalid repetition size: {1,2000}"),
        (
            lambda: RegexReplace(pattern="(a)", to=r"\2"),
            r"'\2' cannot replace matches of '(a)': Rewrite schema requests 2",
        ),
        (lambda: RegexReplace(pattern=r"[\W]"), r"'[\W]' has \W inside brackets, which RE2 knows of ASCII alone"),
        (lambda: Clip(), "clip needs 'low', 'high' or both"),
        (lambda: Clip(low=2.0, high=1.0), "low is 2.0, above high, 1.0"),
        (lambda: Pad(), "pad needs exactly one of 'size' (height and width of images) and 'length' (of sequences)"),
        (lambda: Bucketize(), "bucketize needs exactly one of 'boundaries' and 'quantiles'"),
        (lambda: Bucketize(boundaries=(2.0, 1.0)), "boundaries must ascend, got [2.0, 1.0]"),
        (lambda: Vocabulary(file="x", max_size=2), "a file gives the words, so max_size has no meaning; leave it out"),
        (lambda: Resize(size=(2, 2), method="area", antialias=True), "method 'area' does not use antialias"),
    ],
)
def test_fields_that_do_not_agree_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


IMAGE = TensorSpec((8, 6, 3), "uint8")
TEXT = TensorSpec((), "string")
WORDS_OF_TEXT = TensorSpec((None,), "int32")


@pytest.mark.parametrize(
    ("step", "spec", "message"),
    [
        (DecodeImage(), IMAGE, "decode_image needs text, got [batch, 8, 6, 3] uint8"),
        (Pad(length=3, value=1), WORDS_OF_TEXT, "pad with value 1 of words, which end with 0; leave value out"),
        (
            OneHot(depth=3),
            WORDS_OF_TEXT,
            "one_hot needs texts of one length, got [batch, ?] int32; put {kind: pad, ",
        ),
        (Standardize(), WORDS_OF_TEXT, "standardize needs texts of one length, got [batch, ?] int32; put {kind: pad, "),
        (
            Vocabulary(),
            WORDS_OF_TEXT,
            "vocabulary needs texts of one length, got [batch, ?] int32; put {kind: pad, ",
        ),
        (RegexReplace(pattern=r"\d*", to="#"), TensorSpec((None,), "string"), "regex_replace makes words of the"),
        (Resize(size=(2, 2)), TEXT, "resize needs numbers, got [batch] string; turn text into numbers first"),
        (Resize(size=(2, 2)), TensorSpec((8,)), "resize needs images [height, width, channels], got [8]"),
        (CenterCrop(size=(9, 2)), IMAGE, "center_crop to height 9 of [batch, 8, 6, 3] uint8, which is smaller"),
        (Pad(size=(9, 2)), IMAGE, "pad to width 2 of [batch, 8, 6, 3] uint8, which is larger; use kind 'center_crop'"),
        (Pad(length=4), TensorSpec(()), "pad needs sequences [length, ...], got [batch] float32"),
        (
            Vocabulary(),
            TensorSpec(()),
            "vocabulary needs text or whole numbers, got [batch] float32; use kind 'bucketize'",
        ),
        (OneHot(depth=2), TensorSpec(()), "one_hot needs whole numbers, got [batch] float32"),
        (Split(), TensorSpec((3,), "string"), "split needs one text per example, got [batch, 3] string"),
        (Standardize(), TEXT, "standardize needs numbers, got [batch] string; turn text into numbers first"),
    ],
)
def test_a_step_that_does_not_fit_says_what_it_needs(step: Preprocess, spec: TensorSpec, message: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(message)):
        step.output_spec(spec)


def test_a_result_that_the_network_does_not_read_names_both_shapes() -> None:
    steps = [DecodeImage(), Resize(size=(8, 8))]
    (problem,) = spec_problems("image", steps, TEXT, {"image": TensorSpec((4, 4, 3))})
    assert str(problem) == (
        "data.preprocess.image: yields [batch, 8, 8, 3] float32, but network.inputs.image is [batch, 4, 4, 3] float32; "
        "change the steps or the input"
    )
    assert spec_problems("image", steps, TEXT, {"image": TensorSpec((8, 8, 3))}) == []
    (problem,) = spec_problems("image", [Lowercase()], TEXT, {"image": TensorSpec(())})
    assert "yields [batch] string" in str(problem)
