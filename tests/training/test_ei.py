"""Runs of networks of excitatory-inhibitory layers: first weights from the data, projection after every step, checkpoints that remember."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.models import MODELS
from neurosim.nn import EILinear, SpikingNetwork, SpikingSequential
from neurosim.training import initialize_from, read_weights

Make = Callable[..., dict[str, Any]]


def spiking(units: int = 48) -> SpikingNetwork:
    """Two layers; an image is a current that stays on for four steps."""
    neuron, head = ns.LIF(tau_mem=2e-3, dt=1e-3), EILinear(units, 10, ei_ratio=5, output=True)
    layers = {"flatten": nn.Flatten(), "hidden": EILinear(64, units), "neuron": neuron, "head": head}
    return SpikingNetwork(SpikingSequential(OrderedDict(layers)), time_steps=4)


@pytest.fixture
def make_ei(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A configuration that trains it."""
    monkeypatch.setattr(MODELS, "_entries", {**MODELS._entries, "ei": spiking})

    def build(**changes: Any) -> dict[str, Any]:
        config = make_digital(**changes)
        config["model"] = {"kind": "ei", **changes.get("model", {})}
        return config

    return build


def lowest(model: nn.Module) -> float:
    return min(float(value.detach().min()) for layer in ns.ei.layers(model).values() for value in layer.non_negative().values())


@pytest.mark.parametrize("optimizer", [{"kind": "eisgd", "lr": 0.05, "momentum": 0.9}, {"kind": "adam", "lr": 0.02}])
def test_a_network_is_initialised_trained_and_kept_at_weights_of_zero_or_more(make_ei: Make, optimizer: dict[str, Any]) -> None:
    run = ns.train(make_ei(train={"optimizer": optimizer}))
    for which in ("best", "last"):
        model = ns.load(run.path, which=which)
        assert all(layer.initialized for layer in ns.ei.layers(model).values())
        assert lowest(model) == 0  # some weights would have gone further
    assert run.metrics["test_accuracy"] > 0.1 + 10 * 0.016  # guessing one of ten, on 360 samples


def test_a_network_on_hardware_is_kept_there_too(make_ei: Make) -> None:
    run = ns.train(
        make_ei(hardware={"profile": "photonic_avnn", "seed": 1}, train={"epochs": 1, "optimizer": {"kind": "adam", "lr": 0.02}})
    )
    assert lowest(run.model) == 0
    assert len(ns.analog_layers(run.model)) == 6


def test_a_resumed_run_gives_the_numbers_of_an_undisturbed_one(make_ei: Make) -> None:
    first = ns.train(make_ei(train={"epochs": 1, "scheduler": None}))
    resumed = ns.train(resume=first.path, overrides="train.epochs=2")
    whole = ns.train(make_ei(train={"epochs": 2, "scheduler": None}))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)


def test_weights_that_were_loaded_are_not_drawn_anew(make_ei: Make) -> None:
    config = make_ei(train={"epochs": 1, "optimizer": {"kind": "sgd", "lr": 1e-9}})
    first = ns.train(config)
    config["model"]["init_from"] = str(first.path / "best/weights.safetensors")
    second = ns.train({**config, "seed": 99})
    for name, value in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_images_below_zero_are_refused_before_anything_is_trained(make_ei: Make, tmp_path: Path) -> None:
    config = make_ei()
    config["data"]["value_range"] = [-1, 1]
    with pytest.raises(ns.ConfigError, match=r"what reaches body\.hidden must be 0 or more, got -1; give intensities"):
        ns.train(config)


def test_a_weights_file_says_that_the_layers_have_their_weights(make_ei: Make) -> None:
    run = ns.train(make_ei(train={"epochs": 1}))
    tensors, _ = read_weights(run.path / "best/weights.safetensors")
    assert {name: bool(value) for name, value in tensors.items() if name.endswith("_extra_state")} == {
        "body.hidden._extra_state": True,
        "body.head._extra_state": True,
    }


def test_an_evaluation_that_is_refused_leaves_every_layer_in_its_mode() -> None:
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ns.ei.initialize(spiking(), images, seed=0)
    with torch.no_grad():
        ns.ei.layers(model)["body.head"].weights()["lateral"].fill_(-1.0)
    with pytest.raises(ns.RunError, match=r"got -1 in lateral\.weight"):
        ns.evaluate(model, [(images, torch.zeros(20, dtype=torch.long))])
    assert all(module.training for module in model.modules())


def test_a_model_without_such_layers_is_left_alone() -> None:
    model = nn.Linear(4, 4)
    before = model.weight.clone()
    initialize_from(model, torch.ones(3, 4), seed=0)
    assert torch.equal(model.weight, before)
