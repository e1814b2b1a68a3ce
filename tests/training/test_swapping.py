"""The recipe that swaps activations during a run, and what its config may say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.config.train import SwapConfig
from neurosim.errors import ConfigError
from neurosim.training import ActivationPlan, RunFolder, read_weights
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]


def swapping(make: Make, *, hardware: Any = None, **swap: Any) -> dict[str, Any]:
    config = make(
        recipe="distill",
        model=None,
        hardware=None,
        train={"epochs": 5, "swap": {"epochs": 3, **swap}, "checkpoint": {"every_steps": 3}, "optimizer": {"kind": "adam", "lr": 0.02}},
    )
    config["model"] = {"kind": "mlp", "sizes": [64, 12, 12, 10], "activation": "relu"}
    return {**config, "hardware": hardware} if hardware else config


@pytest.fixture
def folder(make: Make) -> RunFolder:
    made = ns.training.folder.create_folder(ns.RunConfig(**swapping(make)), {})
    made.path.mkdir(parents=True, exist_ok=True)
    return made


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules() if isinstance(module, nn.GELU | nn.ReLU)]


def test_places_are_swapped_as_the_epochs_say_and_the_teacher_stays_as_it_was(folder: RunFolder) -> None:
    model = ns.models.mlp([4, 6, 6, 6, 2])
    plan = ActivationPlan(model, SwapConfig(epochs=3, labels=0.25, temperature=1.0), 5, folder)
    seen = []
    for epoch in range(5):
        plan.set(epoch)
        seen.append((kinds(model).count("ReLU"), plan.complete(epoch)))
        if epoch == 2:
            before = [value.detach().clone() for value in model.parameters()]
            with torch.no_grad():
                for value in model.parameters():
                    value.add_(0.1)
    assert seen == [(0, False), (0, False), (1, False), (2, False), (3, True)]
    old = ns.swap_activation(model, "gelu")
    with torch.no_grad():
        for value, kept in zip(old.parameters(), before, strict=True):
            value.copy_(kept)
    x, labels = torch.linspace(-1, 1, 12).reshape(3, 4), torch.tensor([0, 1, 0])
    told = nn.functional.cross_entropy(model(x), labels)
    taught = (old(x).softmax(1) * (old(x).log_softmax(1) - model(x).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(plan.loss(x, model(x), labels), 0.25 * told + 0.75 * taught)


def test_backwards_the_last_place_comes_first_and_at_once_all_do(folder: RunFolder) -> None:
    model = ns.models.mlp([4, 6, 6, 2])
    ActivationPlan(model, SwapConfig(epochs=2, order="backward"), 3, folder).set(1)
    assert kinds(model) == ["GELU", "ReLU"]
    model = ns.models.mlp([4, 6, 6, 2])
    plan = ActivationPlan(model, SwapConfig(epochs=1, schedule="at_once"), 3, dataclasses.replace(folder))
    assert [plan.swapped(epoch) for epoch in range(3)] == [0, 0, 2]


def test_an_activation_that_is_shared_gives_way_in_all_of_its_places(folder: RunFolder) -> None:
    shared = nn.ReLU()
    block = nn.Sequential(nn.Linear(4, 4), shared)
    network = nn.Sequential(nn.Linear(4, 4), shared, block, block, nn.Linear(4, 2))
    plan = ActivationPlan(network, SwapConfig(epochs=2), 3, folder)
    seen = []
    for epoch in range(3):
        plan.set(epoch)
        seen.append([type(network[1]), type(block[1])])
    assert seen == [[nn.GELU, nn.GELU], [nn.ReLU, nn.GELU], [nn.ReLU, nn.ReLU]]


def test_a_run_that_was_stopped_in_the_middle_of_the_swaps_ends_with_the_same_numbers(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = swapping(make, labels=0.5)
    whole = ns.train(config)
    folder = crash(config, 8 * 3 + 6, monkeypatch)
    resumed = ns.train(resume=folder)
    for which in ("best", "last"):
        one, other = (read_weights(Path(run.path) / which / "weights.safetensors")[0] for run in (whole, resumed))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert whole.metrics["test_accuracy"] == resumed.metrics["test_accuracy"] > 0.5
    assert kinds(ns.load(whole.path)) == ["ReLU", "ReLU"]
    best = json.loads((Path(whole.path) / "best" / "metrics.json").read_text())
    assert best["epoch"] == 5  # with all of its own activations, and only then, it may be chosen


def test_the_result_is_mapped_and_without_swaps_it_is_trained_as_it_is(make: Make) -> None:
    def hardware(levels: int) -> dict[str, Any]:
        converters = {"input.dac": {"kind": "quantize", "levels": levels}, "weight.quantize": {"kind": "quantize", "levels": levels - 1}}
        return {"profile": "ideal", "overrides": {"*": converters}}

    fine, coarse = (ns.train(swapping(make, schedule="at_once", labels=1.0, hardware=hardware(levels))).metrics for levels in (256, 4))
    assert abs(fine["test_accuracy_mapped"] - fine["test_accuracy"]) < 0.02
    assert coarse["test_accuracy_mapped"] < fine["test_accuracy_mapped"]
    plain = swapping(make)
    plain["train"] = {**plain["train"], "swap": None, "epochs": 1}
    assert "test_accuracy" in ns.train(plain).metrics


@pytest.mark.parametrize(
    ("swap", "model", "message"),
    [
        ({"epochs": 5}, "relu", "must leave some of the 5 epochs"),
        ({"epochs": 1}, "relu", "at least the 2 places"),
        ({"start": "prelu"}, "relu", "neither parameters nor statistics"),
        ({}, "prelu", "neither parameters nor statistics"),
        ({"start": "geluu"}, "relu", "did you mean 'gelu'"),
    ],
)
def test_what_does_not_fit_is_refused(make: Make, swap: dict[str, Any], model: str, message: str) -> None:
    config = swapping(make, **swap)
    config["model"]["activation"] = model
    with pytest.raises(ConfigError, match=message):
        ns.train(config)


def test_other_recipes_do_not_take_it_and_it_takes_no_early_stopping(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"train\.swap: needs the recipe distill, got 'classify'"):
        ns.load_config({**swapping(make), "recipe": "classify"})
    config = swapping(make)
    config["train"]["early_stopping"] = {"patience": 2}
    with pytest.raises(ConfigError, match=r"train\.early_stopping: must be left out"):
        ns.train(config)
