"""Augmentation that cannot be: one message each, before there is data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from expkit import registry
from expkit.data.augment_checks import augment_warnings
from expkit.data.dataset import load_dataset
from expkit.errors import ConfigError, DataError
from expkit.kinds.augment.base import Augment
from expkit.preflight import check
from support.experiments import CNN, MLP, config_of, examples, loaded

FLIP = {"kind": "flip", "horizontal": True}
CONVOLUTION = {
    "inputs": {"x": {"shape": [6, 6, 1]}},
    "layers": {"logits": {"kind": "conv2d", "filters": 3, "kernel_size": 3}},
    "outputs": {"logits": "logits"},
}
"""A class at every pixel."""
BOXES = {**CNN, "layers": {**CNN["layers"], "box": {"kind": "dense", "input": "flat", "units": 4}}}
BOXES["outputs"] = {"logits": "logits", "box": "box"}
SPARSE = {"kind": "sparse_softmax_cross_entropy"}


def problems(folder: Path, augment: Any, network: Any = CNN, **sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(config_of(folder, network=network, data={"augment": augment, **sections.pop("data", {})}, **sections))
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (
            {"y": [FLIP]},
            "data.augment.y: neither the network nor a loss or metric reads a field 'y'; allowed: x, label",
        ),
        (
            {"x": [FLIP, {"kind": "random_crop", "size": [7, 6]}]},
            "data.augment.x.1: random_crop of height 7 is larger than the image, [6, 6, 1]",
        ),
        (
            {"x": [{"kind": "hue"}]},
            "data.augment.x.0: hue needs 3 channels (red, green, blue), or 4 with alpha, got [batch, 6, 6, 1] float32",
        ),
        (
            {"x": [{**FLIP, "probability": 1.5}]},
            "data.augment.x[0].probability: must be less than or equal to 1 (allowed: >= 0 and <= 1), got 1.5",
        ),
        (
            {"x": [{"kind": "brightness", "max_delta": -1.0}]},
            "data.augment.x[0].max_delta: must be greater than 0, got -1.0",
        ),
        (
            {"x": [{"kind": "flip"}]},
            "data.augment.x[0]: flip needs horizontal: true, vertical: true, or both",
        ),
        (
            {"x": [{"kind": "random_crop"}]},
            "data.augment.x[0]: random_crop needs padding, or a size smaller than the image, or both",
        ),
        (
            {"x": [{"kind": "contrast", "smallest": 2.0}]},
            "data.augment.x[0]: smallest is 2.0, more than largest, 1.2; exchange them",
        ),
        (
            {"x": [{"kind": "brightness", "clip": [1.0, 0.0]}]},
            "data.augment.x[0]: clip is [low, high] with low < high, got [1.0, 0.0]",
        ),
        (
            {"x": [{"kind": "mixup"}, FLIP]},
            "data.augment.x.0: mixup mixes the example with another, so it is the last step; move it behind flip",
        ),
        (
            {"x": [{"kind": "mixup"}, {"kind": "cutmix"}]},
            "data.augment.x.0: mixup and cutmix mix examples; a field has one of them, as its last step",
        ),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, augment: Any, expected: str) -> None:
    assert problems(tmp_path, augment) == [expected]


def test_a_row_of_numbers_is_no_image(tmp_path: Path) -> None:
    assert problems(tmp_path, {"x": [FLIP]}, MLP) == [
        "data.augment.x.0: flip needs images [height, width, channels] or [height, width], got [batch, 4] float32; "
        "give its shape: [HEIGHT, WIDTH, CHANNELS] if images are flattened"
    ]
    shaped = {**FLIP, "shape": [2, 2, 1]}
    assert check(config_of(tmp_path, data={"augment": {"x": [shaped]}}))


def test_kinds_are_reported_where_one_is_misspelled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, data={"augment": {"x": [{"kind": "flop"}]}})
    assert str(caught.value).startswith("data.augment.x[0].kind: unknown kind 'flop'; did you mean 'flip'? allowed: ")


def test_cutmix_of_boxes_and_of_labels_of_positions_is_refused(tmp_path: Path) -> None:
    losses = {"main": SPARSE, "box": {"kind": "huber", "output": "box", "labels": "corners"}}
    assert problems(tmp_path, {"x": [{"kind": "cutmix"}]}, BOXES, train={"losses": losses}) == [
        "data.augment.x.0: cutmix pastes a part of another image, and train.losses.box (huber) compares numbers in "
        "corners that hold for a whole image, such as boxes; leave it out, or use mixup or cutout"
    ]
    assert problems(tmp_path, {"x": [{"kind": "cutmix"}]}, CONVOLUTION) == [
        "data.augment.x.0: cutmix pastes a part of another image, and train.losses.main (sparse_softmax_cross_entropy) "
        "has a label at every position; paste them alike: data.augment.label=[{kind: cutmix}]"
    ]
    pasted = {"x": [{"kind": "cutmix"}], "label": [{"kind": "cutmix"}]}
    assert check(config_of(tmp_path, network=CONVOLUTION, data={"augment": pasted}))
    assert check(
        config_of(tmp_path, network=BOXES, data={"augment": {"x": [{"kind": "mixup"}]}}, train={"losses": losses})
    )


def test_mixup_of_a_loss_that_compares_examples_is_refused(tmp_path: Path) -> None:
    losses = {"main": SPARSE, "nce": {"kind": "info_nce", "output": "logits", "other": "logits", "weights": "w"}}
    found = problems(tmp_path, {"x": [{"kind": "mixup"}]}, train={"losses": losses})
    assert found == [
        "data.augment.x.0: train.losses.nce (info_nce) compares the examples of a batch, so an example cannot have two "
        "labels; leave out mixup, or choose a loss of single examples"
    ]


def test_two_fields_are_mixed_alike_and_never_in_a_stream(tmp_path: Path) -> None:
    two = {**MLP, "inputs": {"x": {"shape": [4]}, "y": {"shape": [4]}}}
    two["layers"] = {"sum": {"kind": "add", "input": ["x", "y"]}, "logits": {"kind": "dense", "units": 3}}
    unequal = {"x": [{"kind": "mixup"}], "y": [{"kind": "mixup", "alpha": 1.0}]}
    assert problems(tmp_path, unequal, two) == [
        "data.augment.y.0: mixes otherwise than data.augment.x, but an example is mixed with one other, by one "
        "fraction; repeat mixup with the same fields"
    ]
    assert problems(tmp_path, {"x": [{"kind": "mixup"}]}, MLP, data={"order": "stream"}) == [
        "data.augment.x.0: mixup mixes examples drawn from anywhere, but order is stream; leave it out"
    ]


def test_labels_that_are_no_images_are_reported_before_there_is_data(tmp_path: Path) -> None:
    assert problems(tmp_path, {"label": [FLIP]}) == [
        "data.augment.label.0: flip cannot change the labels of train.losses.main, [] or [3] per example; leave it out"
    ]


def test_dtypes_of_labels_are_checked_with_the_data(tmp_path: Path) -> None:
    config = config_of(tmp_path, network=CNN, data={"augment": {"label": [{"kind": "gaussian_noise"}]}})
    checked = check(config)
    with pytest.raises(ConfigError) as caught:
        load_dataset(config, checked.spec)
    assert str(caught.value) == "data.augment.label.0: gaussian_noise needs floating-point values, got [batch] int64"


def test_a_mask_that_stays_while_the_image_moves_is_reported(tmp_path: Path) -> None:
    arrays = examples((6, 6, 1))
    arrays["label"] = np.zeros((60, 6, 6), np.int64)
    moved = {"x": [FLIP, {"kind": "brightness"}, {"kind": "random_crop", "padding": 1}]}
    config = config_of(tmp_path, arrays, network=CONVOLUTION, data={"augment": moved})
    assert [text for text in loaded(config)[1].warnings if "pixel" in text] == [
        "'label' has a label at every pixel and stays where it is, while flip, random_crop of data.augment.x moves the "
        "image; repeat it in data.augment.label"
    ]
    both = {**moved, "label": [FLIP, {"kind": "random_crop", "padding": 1}]}
    config = config_of(tmp_path, arrays, network=CONVOLUTION, data={"augment": both})
    assert list(augment_warnings(config, check(config).spec)) == []


class Careless(Augment):
    """A plugin's step that forgets a dimension."""

    kind: Literal["careless"] = "careless"

    def check(self, spec: Any) -> None:
        """Accept all."""

    def apply(self, values: np.ndarray, draws: Any) -> np.ndarray:
        """Fail, or return too much."""
        return values[:, :1] if len(values) < 5 else values[0]


def test_a_kind_of_ones_own_is_held_to_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from expkit.data.augment import AugmentedExamples

    family = registry._FAMILIES["augment"]
    monkeypatch.setitem(registry._FAMILIES, "augment", dict(family))
    with registry.atomic_registration():
        registry.register(Careless)
    try:
        _, dataset = loaded(config_of(tmp_path, data={"augment": {"x": [{"kind": "careless"}]}}))
        assert dataset.augmentation is not None
        source = AugmentedExamples(dataset.splits["train"], dataset.augmentation)
        with pytest.raises(DataError) as caught:
            source.take(np.arange(3), np.zeros(3, int))
        source.close()
        assert str(caught.value) == (
            "data.augment.x.0: careless returned float32 [3, 1] for float32 [3, 4]; shape and dtype must stay"
        )
    finally:
        monkeypatch.undo()
        registry.rebuild_sections()
