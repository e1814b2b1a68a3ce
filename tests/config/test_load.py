from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from neurosim.config import RunConfig, SensitivityConfig, dump_config, load_config, load_plan
from neurosim.errors import ConfigError
from neurosim.yamlfile import parse_yaml

MINIMAL: dict[str, Any] = {"name": "x", "data": {"kind": "digits"}, "model": {"kind": "mlp", "sizes": [64, 10]}}

positive = st.floats(1e-6, 1e3)
share = st.floats(0, 1, exclude_max=True)
count = st.integers(1, 10**6)
optimizers = st.one_of(
    st.fixed_dictionaries({"kind": st.just("sgd")}, optional={"lr": positive, "momentum": share}),
    st.fixed_dictionaries({"kind": st.sampled_from(["adam", "adamw"])}, optional={"lr": positive, "betas": st.tuples(share, share)}),
)
schedulers = st.one_of(
    st.fixed_dictionaries({"kind": st.just("constant")}, optional={"warmup_steps": count}),
    st.fixed_dictionaries({"kind": st.just("step")}, optional={"every_epochs": count, "gamma": st.floats(1e-6, 1)}),
)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
axes = st.dictionaries(
    keys, st.lists(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | keys, min_size=1, max_size=1), max_size=3
)
configs = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True),
        "data": st.fixed_dictionaries({"kind": st.just("digits")}, optional={"batch_size": count, "validation": share}),
        "model": st.fixed_dictionaries(
            {"kind": st.just("mlp"), "sizes": st.lists(count, min_size=2, max_size=4)}, optional={"dropout": share, "init_from": keys}
        ),
    },
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "train": st.fixed_dictionaries(
            {}, optional={"epochs": count, "optimizer": optimizers, "scheduler": schedulers, "clip_grad_norm": st.none() | positive}
        ),
        "sensitivity": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "axes": axes.map(lambda found: {f"{key} axis": {key: found[key]} for key in found}),
                "chips": count | st.just([3, 5]),
            },
        ),
        "log": st.fixed_dictionaries({}, optional={"dir": keys, "tensorboard": st.booleans()}),
    },
)


@settings(deadline=None, max_examples=60)
@given(configs)
def test_a_dumped_config_loads_back_equal(data: dict[str, Any]) -> None:
    config = load_config(data)
    text = dump_config(config)
    again = load_config(parse_yaml(text, "dumped").plain())
    assert again == config
    assert dump_config(again) == text
    assert RunConfig.model_validate(config.model_dump()) == config
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_a_dumped_config_loads_back_equal_from_a_file(here: Path) -> None:
    Path("sub").mkdir()
    Path("sub/net.safetensors").touch()
    hardware = "hardware: {profile: photonic_avnn, overrides: {'fc*': {output.adc.levels: 17}}}"
    Path("sub/run.yaml").write_text(f"extends: ../base.yaml\nmodel: {{init_from: net.safetensors}}\n{hardware}\n")
    config = load_config("sub/run.yaml")
    Path("runs").mkdir()
    Path("runs/resolved.yaml").write_text(dump_config(config))
    assert load_config("runs/resolved.yaml") == config


def test_only_name_data_and_model_have_to_be_said() -> None:
    config = load_config(MINIMAL)
    assert (config.version, config.recipe, config.seed, config.hardware, config.sensitivity) == (1, "classify", 0, None, None)
    assert (config.data.batch_size, config.data.validation, config.data.value_range, config.data.augment) == (64, 0.15, (0.0, 1.0), "none")
    assert (config.train.epochs, config.train.optimizer.kind, config.train.scheduler.kind) == (20, "adam", "constant")


def test_defaults_of_the_model_are_written_into_the_resolved_config() -> None:
    assert load_config(MINIMAL).model.arguments["activation"] == "relu"
    assert "activation: relu" in dump_config(load_config(MINIMAL))


def test_a_block_may_name_one_layer_without_a_list() -> None:
    config = load_config({**MINIMAL, "hardware": {"profile": "photonic_avnn", "layers": "fc*", "skip": "fc3"}})
    assert config.hardware is not None
    assert (config.hardware.layers, config.hardware.skip) == (("fc*",), ("fc3",))


def test_a_config_does_not_change() -> None:
    config = load_config(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 5


def test_a_config_can_be_copied_and_pickled(here: Path) -> None:
    config = load_config("base.yaml")
    assert copy.deepcopy(config) == config
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_file_on_top_changes_what_it_says_and_keeps_the_rest(here: Path) -> None:
    Path("run.yaml").write_text("extends: base.yaml\ntrain: {optimizer: {lr: 0.5}}\nmodel: {sizes: [64, 10]}\n")
    base, config = load_config("base.yaml"), load_config("run.yaml")
    assert config.train.optimizer == base.train.optimizer.model_copy(update={"lr": 0.5})
    assert config.model.arguments == {**base.model.arguments, "sizes": [64, 10]}
    assert config.train.epochs == base.train.epochs == 5


def test_a_block_whose_kind_changes_starts_anew(here: Path) -> None:
    Path("run.yaml").write_text("extends: base.yaml\ntrain: {optimizer: {kind: adamw}}\n")
    optimizer = load_config("run.yaml").train.optimizer
    assert optimizer.model_dump() == {"kind": "adamw", "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


def test_a_packaged_config_can_be_extended(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "neurosim"
    for name in ("configs", "training", "hardware"):
        (package / "_assets" / name).mkdir(parents=True)
    (package / "_assets/training/classify.py").touch()
    (package / "_assets/configs/small.yaml").write_text("model: {kind: mlp, sizes: [64, 10]}\ndata: {kind: digits}\nname: small\n")
    monkeypatch.setattr("neurosim.assets.__file__", str(package / "assets.py"))
    Path("run.yaml").write_text("extends: pkg:small.yaml\nseed: 9\n")
    assert load_config("run.yaml").seed == 9
    assert load_config("run.yaml").model == load_config("pkg:small.yaml").model


def test_a_relative_path_is_one_from_the_file_that_says_it(here: Path) -> None:
    Path("sub").mkdir()
    for name in ("net.safetensors", "images.h5", "device.yaml"):
        (Path("sub") / name).touch()
    Path("sub/part.yaml").write_text("data: {kind: hdf5_images, path: images.h5}\nmodel: {init_from: ./net.safetensors}\n")
    Path("run.yaml").write_text("extends: [base.yaml, sub/part.yaml]\n")
    config = load_config("run.yaml")
    assert config.data.arguments["path"] == str(here / "sub/images.h5")
    assert config.model.init_from == str(here / "sub/net.safetensors")


def test_a_path_where_nothing_is_stays_as_it_is_written(here: Path) -> None:
    Path("run.yaml").write_text("extends: base.yaml\ndata: {kind: idx, path: mnist}\nmodel: {init_from: $HOME/net.safetensors}\n")
    config = load_config("run.yaml")
    assert config.data.arguments["path"] == "mnist"
    assert config.model.init_from == "$HOME/net.safetensors"


def test_a_relative_path_after_set_is_one_from_the_working_folder(here: Path) -> None:
    Path("sub").mkdir()
    Path("net.safetensors").touch()
    Path("sub/run.yaml").write_text("extends: ../base.yaml\n")
    assert load_config("sub/run.yaml", ["model.init_from=net.safetensors"]).model.init_from == str(here / "net.safetensors")


def test_a_profile_beside_the_config_is_found(here: Path) -> None:
    from neurosim.assets import asset

    Path("sub").mkdir()
    Path("sub/mine.yaml").write_bytes(asset("hardware/photonic_avnn/profile.yaml").read_bytes())
    Path("sub/run.yaml").write_text("extends: ../base.yaml\nhardware: {profile: mine.yaml}\n")
    config = load_config("sub/run.yaml")
    assert config.hardware is not None
    assert config.hardware.profile == str(here / "sub/mine.yaml")


def test_environment_variables_are_not_expanded(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "elsewhere")
    assert load_config("base.yaml", ["log.dir=${PLACE}/runs"]).log.dir == "${PLACE}/runs"


def test_a_path_object_is_taken(here: Path) -> None:
    assert load_config(Path("base.yaml")) == load_config("base.yaml")


def test_a_plan_is_read_from_a_whole_config_or_by_itself(here: Path) -> None:
    plan = load_config("base.yaml").sensitivity
    assert plan is not None
    Path("plan.yaml").write_text("axes:\n  leakage: {'*.noise.leakage': [0, 0.2]}\nchips: 3\n")
    Path("block.yaml").write_text("sensitivity:\n  chips: 3\n")
    assert load_plan("base.yaml") == plan
    assert load_plan(plan) is plan
    assert load_plan({"chips": [17, 18], "axes": plan.axes}) == plan
    assert load_plan("plan.yaml", ["chips=4"]).chips == 4
    assert load_plan({**MINIMAL, "sensitivity": {"chips": 3}}) == SensitivityConfig(chips=3)


def test_a_faulty_plan_is_said_as_a_faulty_config_is(here: Path) -> None:
    Path("plan.yaml").write_text("chips: 3\naxis: {}\n")
    with pytest.raises(ConfigError, match=r"^plan\.yaml:2: axis: unknown key; did you mean 'axes'\?$"):
        load_plan("plan.yaml")
    with pytest.raises(ConfigError, match=r"^plan: sensitivity: must be given for a sensitivity study, is missing$"):
        load_plan(MINIMAL)
    with pytest.raises(ConfigError, match=r"^plan: axis: unknown key; did you mean 'axes'\?$"):
        load_plan({"axis": {}})


def test_chips_are_counted_from_the_seed_of_the_hardware() -> None:
    assert SensitivityConfig(chips=2).chip_seeds(17) == (17, 18)
    assert SensitivityConfig(chips=(8, 2)).chip_seeds(17) == (8, 2)


def test_reading_configs_does_not_import_torch() -> None:
    """So that ``neurosim --help`` is quick and a faulty file is reported at once."""
    code = "import sys, neurosim.config; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode
        == 0
    )
