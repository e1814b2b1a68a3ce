"""Weight decay that spares what is no weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import EIConv2d
from neurosim.training.decay import decay_weights, spared
from neurosim.training.optim import OPTIMIZERS, make_optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return ns.models.mlp([6, 5, 4], activation={"kind": "prelu"}, norm="layer")


def test_what_is_spared_are_norms_activations_and_biases() -> None:
    model = network()
    weights = {"fc1.weight", "fc2.weight"}
    assert set(spared(model)) == {name for name, _ in model.named_parameters()} - weights
    assert len(spared(model)) == 5


def test_parameters_of_norms_are_spared_whatever_their_shape() -> None:
    model = ns.models.mlp([6, 5, 4], norm="gdn")
    of_norm = {name for name, value in model.named_parameters() if name.startswith("norm1.")}
    assert any(model.get_parameter(name).dim() == 2 for name in of_norm)
    assert of_norm <= set(spared(model))


def test_scales_that_hardware_learns_are_spared_whatever_their_shape() -> None:
    for groups in (1, 2):
        layer = nn.Conv2d(2, 8, 3, groups=groups)
        scale = {"weight.scale": {"kind": "scale", "mode": "learned", "per": "vector"}}
        model = ns.to_analog(nn.Sequential(layer), "ideal", overrides={"*": scale}, seed=0)
        model(torch.rand(4, 2, 8, 8))
        assert {name for name, _ in model.named_parameters()} - set(spared(model)) == {"0.weight"}
        assert any("weight_scale" in name for name in spared(model))


@pytest.mark.parametrize("kind", ["weight_norm", "weight_standardization"])
def test_gains_of_parametrized_weights_are_spared(kind: str) -> None:
    model = ns.models.MODELS["residual_cnn"](input_shape=[1, 8, 8], channels=[4], classes=3, norm="batch", weight_norm=kind)
    decayed = {name for name, _ in model.named_parameters()} - set(spared(model))
    gains = {name for name, _ in model.named_parameters() if name.endswith("original0")}
    assert gains <= set(spared(model))
    assert {name.removesuffix("0") + "1" for name in gains} <= decayed


def test_every_layer_has_its_weights_be_it_of_one_output_or_of_one_input() -> None:
    model = nn.ModuleDict(
        {
            "output": nn.Linear(4, 1),
            "input": nn.Conv1d(1, 4, 1),
            "normed": nn.utils.parametrizations.weight_norm(nn.Linear(1, 4)),
            "table": nn.Embedding(4, 1),
            "attention": nn.MultiheadAttention(4, 2),
            "lstm": nn.LSTM(1, 1),
            "fire": ns.neurons.RLIF(3, tau_mem=2e-3, dt=1e-3, learn=("tau_mem",)),
            "inhibited": EIConv2d(3, 4, 1),
        }
    )
    decayed = {name for name, _ in model.named_parameters()} - set(spared(nn.DataParallel(model)))
    assert decayed == {
        *("output.weight", "input.weight", "normed.parametrizations.weight.original1", "table.weight"),
        *("attention.in_proj_weight", "attention.out_proj.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "fire.connection.weight"),
        *(f"inhibited.{part}.weight" for part in ("excitatory", "inhibitory", "lateral")),
    }


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_step_without_gradients_shrinks_weights_and_leaves_the_rest(kind: str) -> None:
    model = network()
    optimizer = make_optimizer(model.parameters(), kind, lr=0.1, weight_decay=0.5)
    decay_weights(model, optimizer)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {"fc1.weight", "fc2.weight"}


def test_without_decay_nothing_is_regrouped() -> None:
    model = network()
    optimizer = make_optimizer(model.parameters(), "adam", lr=0.1)
    decay_weights(model, optimizer)
    assert len(optimizer.param_groups) == 1


def settings(tmp_path: Path, **train: Any) -> dict[str, Any]:
    return {
        "name": "decay",
        "log": {"dir": str(tmp_path)},
        "data": {"kind": "digits", "batch_size": 512},
        "model": {"kind": "mlp", "sizes": [64, 8, 10], "activation": "prelu", "norm": "layer"},
        "train": {"epochs": 1, "optimizer": {"kind": "adamw", "lr": 1e-6, "weight_decay": 1000.0}, **train},
    }


def test_a_config_says_what_decays(tmp_path: Path) -> None:
    """At a rate of 1e-6 and a decay of 1000 a step takes a thousandth of what decays; the gradients move next to nothing."""
    found = {}
    for decay in ("all", "weights"):
        run = ns.train(ns.load_config(settings(tmp_path / decay, decay=decay)))
        model: Any = ns.load(run.path)
        found[decay] = float(model.norm1.weight.detach().mean())
    assert found["weights"] == pytest.approx(1.0, abs=1e-4)
    assert found["all"] < 0.999


def test_all_is_the_default_and_another_word_is_refused(tmp_path: Path) -> None:
    assert ns.load_config(settings(tmp_path)).train.decay == "all"
    with pytest.raises(ConfigError, match=r"train\.decay: must be 'all' or 'weights', got 'biases'"):
        ns.load_config(settings(tmp_path, decay="biases"))
