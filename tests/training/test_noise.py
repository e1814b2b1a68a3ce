"""Noise during training: how strong, how often new, and validations that disturb nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.training.noise import EVALUATION_DRAW, NoisePlan

X = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ns.to_analog(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), "photonic_avnn", seed=1)


def outputs(model: nn.Module) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(X)
    return result


def test_a_ramp_goes_straight_from_nothing_to_full_strength(model: nn.Module) -> None:
    plan = NoisePlan(model, "linear_ramp", ramp_steps=4)
    assert [plan.strength(step) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_constant_noise_has_full_strength_from_the_first_step(model: nn.Module) -> None:
    assert NoisePlan(model, "constant", ramp_steps=100).strength(0) == 1.0


def test_a_ramp_of_no_steps_is_constant(model: nn.Module) -> None:
    assert NoisePlan(model, "linear_ramp", ramp_steps=0).strength(0) == 1.0


def test_the_strength_reaches_every_layer(model: nn.Module) -> None:
    NoisePlan(model, "linear_ramp", ramp_steps=10).before_step(2, 0)
    assert {layer.chain.strength for layer in ns.analog_layers(model).values()} == {0.3}


def test_by_default_every_forward_draws_anew(model: nn.Module) -> None:
    plan = NoisePlan(model)
    plan.before_step(0, 0)
    first = outputs(model)
    plan.before_step(1, 0)
    assert not torch.equal(outputs(model), first)


def test_a_draw_can_be_held_for_an_epoch(model: nn.Module) -> None:
    plan = NoisePlan(model, redraw_every="epoch")
    seen = []
    for step in range(4):
        plan.before_step(step, step // 2)
        seen.append(outputs(model))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("redraw_every", ["step", "epoch"])
def test_a_validation_leaves_the_noise_of_the_training_as_it_was(model: nn.Module, redraw_every: str) -> None:
    def train(validate: bool) -> list[Tensor]:
        ns.set_draw(model, 0)
        plan = NoisePlan(model, "linear_ramp", ramp_steps=3, redraw_every=redraw_every)
        results = []
        for step in range(4):
            plan.before_step(step, step // 2)
            results.append(outputs(model))
            if validate:
                with plan.evaluation():
                    outputs(model)
        return results

    assert all(torch.equal(a, b) for a, b in zip(train(False), train(True), strict=True))


def test_validations_of_all_epochs_see_the_same_full_noise(model: nn.Module) -> None:
    plan = NoisePlan(model, "linear_ramp", ramp_steps=100)
    seen = []
    for step in range(2):
        plan.before_step(step, step)
        outputs(model)
        with plan.evaluation():
            assert {layer.chain.strength for layer in ns.analog_layers(model).values()} == {1.0}
            seen.append([outputs(model), outputs(model)])
    assert torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert not torch.equal(seen[0][0], seen[0][1])  # but every batch has its own


def test_validations_use_draws_that_no_training_reaches(model: nn.Module) -> None:
    with NoisePlan(model).evaluation():
        outputs(model)
        assert set(ns.get_draws(model).values()) == {EVALUATION_DRAW + 1}


def test_afterwards_the_model_has_full_noise_that_is_new_in_every_forward(model: nn.Module) -> None:
    plan = NoisePlan(model, "linear_ramp", ramp_steps=100, redraw_every="epoch")
    plan.before_step(0, 0)
    plan.end()
    assert {layer.chain.strength for layer in ns.analog_layers(model).values()} == {1.0}
    assert not torch.equal(outputs(model), outputs(model))


def test_a_digital_model_has_no_noise_to_plan() -> None:
    digital = nn.Linear(4, 2)
    plan = NoisePlan(digital, "linear_ramp", ramp_steps=5, redraw_every="epoch")
    plan.before_step(0, 0)
    with plan.evaluation():
        assert outputs(digital).shape == (3, 2)
    assert not plan.active


def test_unknown_schedules_and_policies_are_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="did you mean 'linear_ramp'"):
        NoisePlan(model, "linear")
    with pytest.raises(ConfigError, match="did you mean 'epoch'"):
        NoisePlan(model, redraw_every="epochs")
