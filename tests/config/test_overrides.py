from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from neurosim.config import RunConfig, SensitivityConfig, load_config
from neurosim.config.schema import TrainConfig

Problems = Callable[..., list[str]]


def study(config: RunConfig) -> SensitivityConfig:
    assert config.sensitivity is not None
    return config.sensitivity


def train_with(*overrides: str) -> TrainConfig:
    return load_config("base.yaml", overrides).train


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-2", 0.01), ("5", 5.0), ("null", None), ("", None), (" 2 ", 2.0)],
)
def test_a_value_is_read_as_yaml(here: Path, text: str, value: float | None) -> None:
    assert train_with(f"train.clip_grad_norm={text}").clip_grad_norm == value


def test_no_is_a_text(here: Path) -> None:
    assert load_config("base.yaml", ["name=no"]).name == "no"


def test_lists_and_blocks_are_written_in_flow_style(here: Path) -> None:
    config = load_config("base.yaml", ["model.sizes=[64,10]", "train.optimizer={kind: sgd, lr: 0.1}"])
    assert config.model.arguments["sizes"] == [64, 10]
    assert config.train.optimizer.model_dump() == {"kind": "sgd", "lr": 0.1, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False}


def test_a_block_that_is_not_there_is_made(here: Path) -> None:
    config = load_config("base.yaml", ["hardware.profile=photonic_avnn", "hardware.seed=5"])
    assert config.hardware is not None
    assert (config.hardware.profile, config.hardware.seed) == ("photonic_avnn", 5)


def test_a_block_can_be_taken_away(here: Path) -> None:
    Path("run.yaml").write_text("extends: base.yaml\nhardware: {profile: photonic_avnn}\n")
    assert load_config("run.yaml", ["hardware=null"]).hardware is None


def test_the_last_setting_counts(here: Path) -> None:
    assert train_with("train.epochs=1", "train.epochs=2").epochs == 2


def test_items_of_a_list_are_numbered(here: Path) -> None:
    assert load_config("base.yaml", ["model.sizes.1=48"]).model.arguments["sizes"] == [64, 48, 10]
    assert study(load_config("base.yaml", ["sensitivity.chips.0=99"])).chips == (99, 18)


def test_a_key_with_dots_stands_in_quotes(here: Path) -> None:
    config = load_config(
        "base.yaml", ['sensitivity.axes.leakage."*.noise.leakage".2=0.7', 'sensitivity.overrides.*."weight.noise.scope"=device']
    )
    assert study(config).axes["leakage"]["*.noise.leakage"] == (0, 0.2, 0.7)
    assert study(config).overrides == {"*": {"weight.noise.scope": "device"}}


def test_an_equals_sign_may_stand_in_the_value(here: Path) -> None:
    assert load_config("base.yaml", ["log.dir=runs/a=b"]).log.dir == "runs/a=b"


def test_a_changed_kind_drops_the_keys_of_the_old_one(here: Path) -> None:
    assert train_with("train.optimizer.kind=sgd").optimizer.lr == 0.01
    assert train_with("train.optimizer.kind=adam").optimizer.lr == 1e-3


@pytest.mark.parametrize("order", [("kind=sgd", "momentum=0.5"), ("momentum=0.5", "kind=sgd")])
def test_a_changed_kind_keeps_what_was_set_before_it(here: Path, order: tuple[str, str]) -> None:
    optimizer = train_with(*(f"train.optimizer.{one}" for one in order)).optimizer
    assert optimizer.model_dump() == {"kind": "sgd", "lr": 0.01, "weight_decay": 0.0, "momentum": 0.5, "nesterov": False}


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        pytest.param("train.epochs", "must be KEY=VALUE with a dotted key, such as train.epochs=3", id="no equals sign"),
        pytest.param("=3", "must be KEY=VALUE with a dotted key, such as train.epochs=3", id="no key"),
        pytest.param("train..epochs=3", "must be KEY=VALUE with a dotted key, such as train.epochs=3", id="empty part"),
        pytest.param("train.epoch=3", "train.epoch: unknown key; did you mean 'epochs'?", id="unknown key"),
        pytest.param("trian.epochs=3", "trian: unknown key; did you mean 'train'?", id="unknown block"),
        pytest.param("train.epochs=five", "train.epochs: must be a whole number, got 'five'", id="bad value"),
        pytest.param("train.epochs=-5", "train.epochs: must be ≥ 1, got -5", id="out of range"),
        pytest.param("train.epochs.x=5", "train.epochs.x: must be a key of a block, but train.epochs is 5", id="below a number"),
        pytest.param("model.kind=mpl", "model.kind: no model is named 'mpl'; did you mean 'mlp'?", id="bad kind"),
        pytest.param(
            "train.optimizer.kind=adm",
            "train.optimizer.kind: must be 'adam' or 'adamp' or 'adamw' or 'sgd' or 'sgdp' or 'eisgd', got 'adm'; did you mean 'adam'?",
            id="bad kind of a block",
        ),
        pytest.param("model.kind=cnn", "model.input_shape: must be given, is missing", id="what a new kind needs"),
        pytest.param("model.sizes.3=5", "model.sizes.3: must be a number from 0 to 2, got '3'", id="index out of range"),
        pytest.param("model.sizes.-1=5", "model.sizes.-1: must be a number from 0 to 2, got '-1'", id="negative index"),
        pytest.param("model.sizes.first=5", "model.sizes.first: must be a number from 0 to 2, got 'first'", id="no index"),
        pytest.param("model.sizes.1=x", "model.sizes.1: must be a whole number, got 'x'", id="bad item"),
        pytest.param(
            "model.sizes=[64,", "not YAML: expected the node content, but found '<stream end>', while parsing a flow node", id="no YAML"
        ),
        pytest.param("name=!!python/name:os.system", "must be plain data, got the tag '!!python/name:os.system'", id="a tag"),
        pytest.param("extends=other.yaml", "extends: must be written in a file", id="extends"),
        pytest.param("hardware.seed=3", "hardware.profile: must be given, is missing", id="half a block"),
        pytest.param(
            "hardware.profile=photonic", "hardware.profile: no profile is named 'photonic'; did you mean 'photonic_avnn'?", id="profile"
        ),
    ],
)
def test_a_faulty_setting_is_blamed_on_itself(problems: Problems, setting: str, problem: str) -> None:
    found = problems("", setting)
    assert found[0] == f"--set {setting}: {problem}"
    assert all(line.startswith(f"--set {setting}: ") for line in found)


def test_an_index_into_an_empty_list_is_an_error(problems: Problems) -> None:
    assert problems("hardware: {profile: photonic_avnn, layers: []}", "hardware.layers.0=x") == [
        "--set hardware.layers.0=x: hardware.layers.0: must be absent: the list is empty, got '0'"
    ]


def test_all_faulty_settings_are_reported_at_once(problems: Problems) -> None:
    assert problems("", "a", "train.epochs=0", "b=", "model.sizes.9=1") == [
        "--set a: must be KEY=VALUE with a dotted key, such as train.epochs=3",
        "--set model.sizes.9=1: model.sizes.9: must be a number from 0 to 2, got '9'",
        "--set train.epochs=0: train.epochs: must be ≥ 1, got 0",
        "--set b=: b: unknown key; valid: 'data', 'hardware', 'log', 'model', 'name', 'recipe', 'seed', 'sensitivity', "
        "'sparsify', 'train', 'version'",
    ]


def test_a_setting_does_not_blame_the_file_for_what_it_left(problems: Problems) -> None:
    assert problems("data: {batch_size: 0}", "data.validation=0.3") == ["run.yaml:2: data.batch_size: must be ≥ 1, got 0"]
