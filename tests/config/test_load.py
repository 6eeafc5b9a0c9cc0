"""From files and overrides to a configuration: reading, precedence, messages about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from expkit.config.hydra_internals import dump
from expkit.config.load import compose_plain, load, plain_yaml, read, validate
from expkit.config.schema import Config
from expkit.config.search import builtin_conf, primary_conf
from expkit.config.yaml_files import literal
from expkit.errors import ConfigError

pytestmark = pytest.mark.usefixtures("empty_folder")

CONF = builtin_conf()
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
GROUP_FILES = sorted(
    (file.parent.name, file.stem) for file in CONF.glob("*/*.yaml") if file.parent.name not in ("experiment", "hydra")
)
NEEDED = {
    "arrays": ["data.source.fields={image: x.npy}"],
    "image_folder": ["data.source.path=x"],
    "table": ["data.source.path=x.csv"],
    "text": ["data.source.path=x"],
    "npz": ["data.source.path=x.npz"],
    "tfrecord": ["data.source.files=x*.tfrecord", "data.source.features={image: {shape: [64]}}"],
}
SECTIONS = "plugins, run, network, data, optimizer, train, ema, restore, export, tracking"
OPTIMIZERS = "adagrad, adam, adamw, momentum, rmsprop, sgd, sgd_exponential"


def problems_of(*overrides: str, config_dirs: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(overrides, config_dirs)
    return [str(problem) for problem in caught.value.problems]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")


def test_the_experiments_are_a_promise() -> None:
    assert EXPERIMENTS == [
        "autoencoder",
        "digits_cnn",
        "digits_few",
        "digits_mlp",
        "gan",
        "iris",
        "mean_teacher",
        "mnist_mlp",
        "multi_head",
        "ptb",
        "sentences",
        "sentences_bert",
        "seq2seq",
        "siamese",
        "vae",
        "wine",
    ]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_what_is_written_is_read_back_the_same(experiment: str, tmp_path: Path) -> None:
    config = load([f"experiment={experiment}"])
    (tmp_path / "config.yaml").write_text(plain_yaml(config), encoding="utf-8")
    again = read(tmp_path / "config.yaml")
    assert again == config
    assert plain_yaml(again) == plain_yaml(config)


TEXTS = [
    "${x}",
    "${oc.env:HOME}",
    "${unfinished",
    r"\${x}",
    r"a\\${x}\\",
    "???",
    "null",
    "1e3",
    "a: b",
    "\u2028",
    "yes",
]


def test_texts_that_files_would_take_for_references_are_kept_and_name_nothing(empty_folder: Path) -> None:
    content = {"defaults": ["table"], "source": {"path": "t.csv", "missing": literal(TEXTS)}}
    write(empty_folder, {"conf/data/odd.yaml": dump(content)})
    config = load(["data=odd"])
    write(empty_folder, {"run/config.yaml": plain_yaml(config)})
    for found in (config, read(empty_folder / "run/config.yaml")):
        assert found.data.source.model_dump()["missing"] == tuple(TEXTS)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_opens_with_its_command_and_what_to_expect(experiment: str) -> None:
    head = (CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8").splitlines()[:4]
    assert head[0] == "# @package _global_"
    assert head[2].startswith("# Command:  ")
    assert "expkit train" in head[2]
    assert head[3].startswith("# Expected: ")


@pytest.mark.parametrize(("group", "option"), GROUP_FILES)
def test_every_file_of_every_group_composes(group: str, option: str) -> None:
    chosen = f"+{group}={option}" if group == "sweep" else f"{group}={option}"  # No default has a sweep.
    assert isinstance(load(["~experiment", chosen, *NEEDED.get(option, [])]), Config)


@pytest.mark.parametrize("file", sorted(CONF.rglob("*.yaml")), ids=lambda file: file.relative_to(CONF).as_posix())
def test_every_file_begins_with_a_comment(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("file", sorted(CONF.glob("*/*.yaml")), ids=lambda file: file.relative_to(CONF).as_posix())
def test_no_file_gives_a_key_twice_or_is_empty(file: Path) -> None:
    content = OmegaConf.load(file)
    assert isinstance(content, DictConfig)
    assert len(content) > 0


def test_the_last_override_of_a_key_wins() -> None:
    assert load(["train.steps=1", "train.steps=2"]).train.steps == 2


def test_hydras_own_settings_stand_beside_the_composed_ones() -> None:
    composed = compose_plain(["train.steps=7"])
    assert composed.train.steps == 7
    assert list(composed.hydra.overrides.task) == ["train.steps=7"]


def test_a_name_written_as_a_number_is_a_name() -> None:
    raw = load([]).model_dump(mode="json", by_alias=True, serialize_as_any=True)
    raw["network"]["layers"] = {1: {"kind": "dense", "unitz": 3}}
    with pytest.raises(ConfigError) as caught:
        validate(raw)
    assert [problem.path for problem in caught.value.problems] == ["network.layers.1.units", "network.layers.1.unitz"]


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        # Keys that no file mentions.
        (
            ["network.layers.layer1.trainable=false"],
            [
                "network.layers.layer1.trainable: no configuration file mentions this key; to add it write "
                "+network.layers.layer1.trainable=false"
            ],
        ),
        (
            ["hydra.job.nam=x"],
            [
                "hydra.job.nam: unknown field; did you mean 'name'? allowed: name, chdir, override_dirname, id, num, "
                "config_name, env_set, env_copy, config"
            ],
        ),
        (["model=big"], [f"model: unknown field; did you mean 'network'? allowed: {SECTIONS}"]),
        (
            ["hydra.job.env_set.A=b"],
            ["hydra.job.env_set.A: no configuration file mentions this key; to add it write +hydra.job.env_set.A=b"],
        ),
        (
            ["ema.dekay=1"],
            [
                "ema.dekay: unknown field; did you mean 'decay'? allowed: enabled, decay, num_updates, variables, "
                "start_step"
            ],
        ),
        (["nosuch=3"], [f"nosuch: unknown field; allowed: {SECTIONS}"]),
        (["+foo.bar=3"], [f"foo: unknown field; allowed: {SECTIONS}"]),
        (
            ["network.layers.new.kind=dropout", "ema.foo=1"],
            [
                "network.layers.new.rate: missing: kind 'dropout' needs it (Fraction of the values that are dropped, "
                "in [0, 1)); add network.layers.new.rate=VALUE",
                "ema.foo: unknown field; allowed: enabled, decay, num_updates, variables, start_step",
            ],
        ),
        (
            ["+train.steps=1"],
            [
                "train.steps: Could not append to config. An item is already at 'train.steps'. Either remove + prefix: "
                "'train.steps=1' Or add a second + to add or override 'train.steps': '++train.steps=1'"
            ],
        ),
        (["~train.zzz"], ["train.zzz: Could not delete from config. 'train.zzz' does not exist."]),
        # Files that are not there.
        (
            ["optimizer=adamm"],
            [f"optimizer: no file 'adamm' in this group; did you mean 'adam'? allowed: {OPTIMIZERS}"],
        ),
        (["optimizer=zzz"], [f"optimizer: no file 'zzz' in this group; allowed: {OPTIMIZERS}"]),
        (
            ["experiment=mnist"],
            [f"experiment: no file 'mnist' in this group; did you mean 'mnist_mlp'? allowed: {', '.join(EXPERIMENTS)}"],
        ),
        # Words of other programs.
        (
            ["train.num_epochs=3"],
            ["train.num_epochs: unknown field; did you mean 'epochs'? allowed: "],
        ),
        (["optimizer.lr=3"], ["optimizer.lr: unknown field for kind 'adam'; did you mean 'learning_rate'? allowed: "]),
        # Words that are not overrides.
        (
            ["ema.variables=(a|b)"],
            [
                "command line: cannot read the override 'ema.variables=(a|b)'; write path.to.key=VALUE; (, ), | in a "
                "text need quotes: ema.variables='\"VALUE\"'"
            ],
        ),
        (["a b c"], ["command line: cannot read the override 'a b c'; write path.to.key=VALUE"]),
        (["train.steps"], ["command line: cannot read the override 'train.steps'; write path.to.key=VALUE"]),
        (
            ["x=["],
            [
                "command line: cannot read the override 'x=['; write path.to.key=VALUE; [ in a text need quotes: "
                "x='\"VALUE\"'"
            ],
        ),
        (
            ["restore.from=größe/x"],
            [
                "command line: cannot read the override 'restore.from=größe/x'; write path.to.key=VALUE; letters other "
                "than a to z need quotes: path.to.key='\"VALUE\"'"
            ],
        ),
        (["optimizer=null"], ["configuration: Config group override must be a string or a list. Got NoneType"]),
        (
            ["network.layers=[1]"],
            ["configuration: Error merging override network.layers=[1]: Cannot merge DictConfig with ListConfig"],
        ),
        # Values that are not given.
        (
            ["data=tfrecord"],
            [f"data.source.{name}: missing: give it with data.source.{name}=VALUE" for name in ("features", "files")],
        ),
        (
            ["data=table", "ema.decay=2", "run.seed=${nope}", "train.batch_size=0"],
            [
                "run.seed: Interpolation key 'nope' not found",
                "data.source.path: missing: give it with data.source.path=VALUE",
                "train.batch_size: must be greater than 0, got 0",
                "ema.decay: must be less than 1 (allowed: > 0 and < 1), got 2",
            ],
        ),
        (["data=table"], ["data.source.path: missing: give it with data.source.path=VALUE"]),
        (["run.folder=${nope}"], ["run.folder: Interpolation key 'nope' not found"]),
        # Sections that do not agree.
        (
            ["export.weights=ema", "ema=none"],
            ["export.weights is 'ema' but ema.enabled is false; allowed then: auto, raw"],
        ),
        (
            ["train.precision=bfloat16", "train.jit_compile=true"],
            [
                "train: precision is 'bfloat16', which XLA does not speed up on a CPU, but jit_compile is true; "
                "allowed then: auto, update, false"
            ],
        ),
    ],
)
def test_a_wrong_override_is_explained(overrides: list[str], problems: list[str]) -> None:
    found = problems_of(*overrides)
    cut = [text[: len(said)] if said.endswith(": ") else text for text, said in zip(found, problems, strict=True)]
    assert cut == problems


def test_compose_plain_explains_as_load_does() -> None:
    with pytest.raises(ConfigError, match=r"^train.stepz: unknown field; did you mean 'steps'\?"):
        compose_plain(["train.stepz=3"])


def test_a_config_dir_that_is_no_folder_is_named() -> None:
    assert problems_of(config_dirs=("no/such",)) == ["--config-dir: no folder no/such"]


def test_a_config_dir_adds_files(tmp_path: Path) -> None:
    folder = tmp_path / "it's, a (folder)"
    write(folder, {"optimizer/mine.yaml": "kind: sgd\nlearning_rate: 0.25\n"})
    assert load(["optimizer=mine"], [str(folder)]).optimizer.learning_rate.value == 0.25


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"optimizer/mine.yaml": ""})
    (tmp_path / "optimizer/mine.yaml").write_bytes(b"kind: \xff")
    message = ["optimizer/mine.yaml: is not UTF-8 text (invalid start byte at byte 6)"]
    assert problems_of("optimizer=mine", config_dirs=(str(tmp_path),)) == message


def test_without_a_conf_folder_the_built_in_one_is_read() -> None:
    assert primary_conf() == CONF


def test_files_of_the_users_conf_folder_add_to_the_built_in_ones(empty_folder: Path) -> None:
    write(empty_folder / "conf", {"optimizer/mine.yaml": "kind: sgd\nlearning_rate: 0.25\n"})
    assert load(["optimizer=mine"]).optimizer.learning_rate.value == 0.25
    assert load([]).optimizer.kind == "adam"
    assert problems_of("optimizer=mien") == [
        "optimizer: no file 'mien' in this group; did you mean 'mine'? allowed: adagrad, adam, adamw, mine, momentum, "
        "rmsprop, sgd, sgd_exponential"
    ]


def test_files_of_the_users_conf_folder_replace_the_built_in_ones(empty_folder: Path) -> None:
    write(empty_folder / "conf", {"optimizer/adam.yaml": "kind: adam\nlearning_rate: 0.25\n"})
    assert load([]).optimizer.learning_rate.value == 0.25


def test_a_config_file_of_the_users_own_chooses_anew(empty_folder: Path) -> None:
    text = (CONF / "config.yaml").read_text(encoding="utf-8").replace("experiment: digits_mlp", "experiment: siamese")
    write(empty_folder / "conf", {"config.yaml": text})
    assert load([]).run.name == "siamese"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        (
            "restore/mine.yaml",
            "from: [a\nweights: raw\n",
            "while parsing a flow sequence in \"{file}\", line 1, column 7 expected ',' or ']', but got ':' in "
            '"{file}", line 2, column 8',
        ),
        (
            "restore/mine.yaml",
            "defaults: 3\n",
            "Invalid defaults list in 'restore/mine', defaults must be a list (got int)",
        ),
        ("restore/mine.yaml", "from: ${oops\n", "no viable alternative at input '${{oops'"),
    ],
)
def test_a_broken_file_of_the_users_own_is_named(empty_folder: Path, name: str, content: str, problem: str) -> None:
    write(empty_folder / "conf", {name: content})
    overrides = ["restore=mine"] if name.startswith("restore") else []
    assert problems_of(*overrides) == [f"configuration: {problem.format(file=empty_folder / 'conf' / name)}"]


def test_a_default_that_is_not_there_names_the_file_that_asks(empty_folder: Path) -> None:
    write(empty_folder / "conf", {"restore/mine.yaml": "defaults: [nope]\n"})
    [problem] = problems_of("restore=mine")
    assert problem.startswith("configuration: In 'restore/mine': Could not load 'restore/nope'. Config search path: ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "[Errno 2] No such file or directory: '{file}'"),
        (b"\xff\xfe\x00", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (
            b"a: [1",
            "while parsing a flow sequence in \"{file}\", line 1, column 4 expected ',' or ']', but got '<stream end>' "
            'in "{file}", line 1, column 6',
        ),
    ],
)
def test_a_kept_configuration_that_cannot_be_read_is_named(
    empty_folder: Path, content: bytes | None, problem: str
) -> None:
    file = empty_folder / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(file)
    assert str(caught.value) == f"{file}: not a readable configuration: {problem.format(file=file)}"


def test_a_value_that_yaml_knows_and_json_does_not_is_refused(empty_folder: Path) -> None:
    (empty_folder / "config.yaml").write_text("run: !!binary aGVsbG8=\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read(empty_folder / "config.yaml")
    assert str(caught.value) == (
        "configuration: Object of type bytes is not JSON serializable; allowed: text, numbers, true, false, null, "
        "lists, mappings"
    )
