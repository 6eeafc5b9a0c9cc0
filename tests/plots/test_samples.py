"""The experiments that draw digits: samples of every checkpoint are what the frozen graph draws, as a grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expkit.config.load import load
from expkit.errors import ConfigError
from expkit.export.freeze import read_frozen
from expkit.plots.run import draw_run
from expkit.plots.samples import image_grid
from expkit.preflight import check
from expkit.run_folder import RunFolder
from support.experiments import checkpoint_values, run

SMALL = {
    "gan": ["network.settings.filters=4", "network.settings.noise=8"],
    "vae": ["network.settings.units=8"],
}
CLOCK = ["train.steps=4", "train.save_every_steps=2", "train.batch_size=32", "tracking.enabled=false"]


@pytest.mark.parametrize("experiment", SMALL)
def test_a_generator_is_trained_frozen_and_its_samples_are_drawn(experiment: str, tmp_path: Path) -> None:
    config = load([f"experiment={experiment}", *CLOCK, *SMALL[experiment], f"run.folder={tmp_path}"])
    result = run(config, tmp_path / "run")
    assert result.frozen is not None
    frozen = read_frozen(result.frozen.path)
    assert list(frozen.metadata["inputs"]) == ["z"]
    folder = RunFolder(result.folder)
    assert sorted(file.name for file in folder.samples.iterdir()) == ["00000002.npy", "00000004.npy"]
    saved = np.load(folder.samples / "00000004.npy")
    code = config.network.inputs["z"].shape[0]
    z = np.random.default_rng(0).standard_normal((64, code)).astype(np.float32)
    drawn = frozen.predict({"z": z})["samples"]
    assert saved.shape == (64, 8, 8, 1)
    np.testing.assert_allclose(saved.reshape(drawn.shape), drawn, rtol=1e-4, atol=1e-5)
    drawings = [file.name for file in draw_run(folder.path) if file.name.startswith("samples")]
    assert drawings == ["samples_step_00000002.png", "samples_step_00000004.png"]
    names = checkpoint_values(result.checkpoint)
    assert ("d/D/conv1/weights/Adam" in names) == (experiment == "gan")
    assert not any(node.name.startswith("D/") for node in frozen.graph_def.node)


def test_a_grid_shows_images_in_their_order() -> None:
    images = np.arange(5, dtype=np.float32)[:, None, None, None] * np.ones((1, 4, 4, 1), np.float32)
    (axes,) = image_grid(images, "title", "caption").axes
    shown = [np.asarray(image.get_array())[0, 0, 0] for image in axes.images]
    assert shown == [0, 0.25, 0.5, 0.75, 1]
    places = [(round(image.get_extent()[0], 3), round(image.get_extent()[3], 3)) for image in axes.images]
    assert places == [(0.0, 0.0), (0.55, 0.0), (1.1, 0.0), (0.0, 0.55), (0.55, 0.55)]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sample", "the frozen graph has no output 'sample'; did you mean 'samples'? outputs: samples"),
        ("fake", "the frozen graph has no output 'fake'; outputs: samples"),
    ],
)
def test_samples_of_another_output_are_refused(output: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(load(["experiment=gan", f"tracking.samples={output}"]))
    assert str(caught.value) == f"tracking.samples: {message}"


def test_samples_that_are_no_images_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        check(load(["experiment=digits_mlp", "tracking.samples=logits"]))
    assert str(caught.value) == (
        "tracking.samples: 'logits' is [batch, 10] float32, which is not an image; needs [batch, height, "
        "width, 1, 3 or 4]"
    )
