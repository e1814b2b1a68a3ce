"""First weights that a config names: in a run, on its hardware, and not again when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim import training
from neurosim.training import build
from neurosim.training.checkpoint import load_checkpoint
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]
LSUV = {"kind": "lsuv", "variance": 0.1, "tol": 0.05}


def last_state(folder: Path) -> dict[str, Any]:
    """What the last checkpoint holds of the model."""
    content = load_checkpoint(sorted((folder / "checkpoints").glob("step-*.pt"))[-1])
    found: dict[str, Any] = content["model"]
    return found


def test_weights_from_data_are_those_for_the_hardware_and_a_run_that_goes_on_keeps_its_own(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(model={"batch_norm": False, "init": LSUV}, train={"epochs": 1, "checkpoint": {"every_steps": 3}})
    calls: list[torch.nn.Module] = []
    real = ns.initialize

    def counted(model: torch.nn.Module, *args: Any, **settings: Any) -> torch.nn.Module:
        calls.append(model)
        return real(model, *args, **settings)

    monkeypatch.setattr(build, "initialize", counted)
    undisturbed = ns.train(config)
    assert len(calls) == 1
    assert ns.analog_layers(calls[0])
    assert "AnalogConv2d" in (undisturbed.path / "initialisation.txt").read_text()
    folder = crash(config, 5, monkeypatch)
    assert len(calls) == 2
    resumed = ns.train(resume=folder)
    assert len(calls) == 2
    for key, value in last_state(undisturbed.path).items():
        assert torch.equal(value, last_state(resumed.path)[key]), key
    assert isinstance(ns.load(resumed.path), torch.nn.Module)


def test_a_recipe_that_gives_no_batch_is_told_so_before_it_trains(make_digital: Make, tmp_path: Path) -> None:
    config = make_digital(model={"init": "lsuv"})
    own = tmp_path / "mine.py"
    text = training.recipe_file("classify").read_text()
    line = next(line for line in text.splitlines() if "initialize_by_data" in line)
    own.write_text(text.replace(line + "\n", ""))
    with pytest.raises(ns.ConfigError, match=r"the recipe must give it a batch: training\.initialize_by_data"):
        ns.train(config, recipe=own)


def test_every_recipe_that_builds_a_model_gives_it_a_batch() -> None:
    for name in training.recipes():
        text = training.recipe_file(name).read_text()
        assert ("build_model(" in text) == ("initialize_by_data(" in text) == ("initialize_from(" in text), name


def test_the_recipe_that_swaps_activations_takes_first_weights_from_data(make_digital: Make) -> None:
    run = ns.train(make_digital(recipe="distill", model={"init": "lsuv"}, train={"epochs": 1}))
    assert "Linear" in (run.path / "initialisation.txt").read_text()


WEIGHT_NORM = {"kind": "residual_mlp", "sizes": [64, 8, 10], "depth": 1, "scheme": "wn"}


def test_weight_norms_that_wait_are_refused_where_the_recipe_gives_no_batch(make_digital: Make, tmp_path: Path) -> None:
    config = make_digital(train={"epochs": 1})
    config["model"] = WEIGHT_NORM
    own = tmp_path / "mine.py"
    text = training.recipe_file("classify").read_text()
    line = next(line for line in text.splitlines() if "initialize_from" in line)
    own.write_text(text.replace(line + "\n", ""))
    with pytest.raises(ns.ConfigError, match=r"the recipe must give them a batch: training\.initialize_from"):
        ns.train(config, recipe=own)


def test_images_that_do_not_fit_weight_norms_are_refused_in_words(make_digital: Make) -> None:
    config = make_digital()
    config["model"] = {**WEIGHT_NORM, "sizes": [60, 8, 10]}
    with pytest.raises(ns.ConfigError, match=r"model: .*must take a batch of shape \(150, 1, 8, 8\); it failed: mat1 and mat2"):
        ns.train(config)


def test_weights_of_a_seeded_run_are_a_function_of_its_seed(make_digital: Make) -> None:
    config = ns.load_config(make_digital(model={"activation": "gelu", "init": "variance_preserving"}))
    first, second = training.rebuild(config), training.rebuild(config)
    assert torch.equal(first.get_parameter("fc2.weight"), second.get_parameter("fc2.weight"))
    other = training.rebuild(config.model_copy(update={"seed": 6}))
    assert not torch.equal(first.get_parameter("fc2.weight"), other.get_parameter("fc2.weight"))
