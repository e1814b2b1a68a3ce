"""The shipped configs for neuromorphic chips: they hold, train through the chip, and their studies move what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

import neurosim as ns
from neurosim.nn import NeuronChain

STUDIES = {"digital8_sensitivity": "neuromorphic_digital8", "bss2_sensitivity": "bss2_spiking"}
PROFILES = {"digital8_train": "neuromorphic_digital8", "bss2_train": "bss2_spiking", **STUDIES}


@pytest.mark.parametrize("name", PROFILES)
def test_a_shipped_config_holds_and_names_its_chip(name: str) -> None:
    config = ns.load_config(f"pkg:neuromorphic/{name}.yaml")
    assert config.name == name
    assert config.hardware is not None
    assert config.hardware.profile == PROFILES[name]
    assert config.recipe == "classify"


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_the_axes_of_a_chip_with_spikes(name: str) -> None:
    study = ns.load_config(f"pkg:neuromorphic/{name}.yaml").sensitivity
    assert study is not None
    assert {"threshold mismatch", "leak mismatch", "membrane noise", "weight bits", "spike loss"} <= {*study.axes}


@pytest.mark.parametrize("name", STUDIES)
def test_a_shipped_study_trains_on_its_chip_and_finds_what_it_switches_on(name: str, tmp_path: Path) -> None:
    source = f"pkg:neuromorphic/{name}.yaml"
    run = ns.train(source, overrides=["train.epochs=2", f"log.dir={tmp_path}"])
    model = ns.load(run.path)
    neuron = ns.analog_layers(model)["body.fire1"]
    assert isinstance(neuron.chain, NeuronChain)
    plan = ns.load_config(source).model_dump()["sensitivity"]
    ends = {axis: {key: [values[0], values[-1]] for key, values in keys.items()} for axis, keys in plan["axes"].items()}
    data = ns.datasets.batches(ns.load_dataset("digits").test, batch_size=360)
    results = ns.sensitivity(model, data, {**plan, "axes": ends, "chips": 2, "scopes": ["all"]}).results
    assert results.trials["value"][0] > 0.5  # of 360 digits of ten classes, after two epochs
    losses = results.trials["loss"].reshape(-1, 2).mean(1)
    for axis, keys in ends.items():
        labels = results.axes[axis]
        worst = keys[next(iter(keys))][0 if "bits" in axis else 1]
        at = next(point for point, label in enumerate(labels) if label == worst and point > 0)
        assert losses[at] != losses[0], axis


def test_a_key_that_neither_chain_has_is_named_with_its_line(tmp_path: Path) -> None:
    text = "name: t\ndata: {kind: digits}\nmodel: {kind: spiking_mlp, sizes: [64, 10, 10]}\nhardware:\n  profile: bss2_spiking\n"
    (tmp_path / "my.yaml").write_text(text + '  overrides: {"*": {neuron.treshold.spread: 0.1, weight.noise.spread: 0.1}}\n')
    with pytest.raises(
        ns.ConfigError, match=r"my\.yaml:6: .*'neuron\.treshold\.spread' names no parameter.*did you mean 'neuron\.threshold\.spread'"
    ):
        ns.load_config(tmp_path / "my.yaml")
