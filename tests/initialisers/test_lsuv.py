"""Weights that are scaled on a batch, through whatever the layers do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.convert import get_draws
from neurosim.initialisers import targets
from neurosim.norms import ScaledWeightStandardization, WeightConditioning
from neurosim.random import stream

BATCH = stream(1, "batch").uniform((128, 64), like=torch.empty(0))


def digital() -> Any:
    """Three layers, as torch draws them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ns.models.mlp([64, 48, 32, 10], activation="gelu", dropout=0.5)


def analog() -> Any:
    """On a noisy photonic chip."""
    return ns.to_analog(digital(), "photonic_avnn", seed=3)


def variances(model: nn.Module, x: Tensor) -> list[float]:
    """Of what every layer gives in evaluation."""
    found: list[float] = []
    handles = [
        one.layer.register_forward_hook(lambda _, __, y: found.append(float(y.double().var(correction=0))))
        for one in targets(model, look_back=False)
    ]
    was = model.training
    with torch.no_grad():
        model.eval()(x)
    model.train(was)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("variance", [1.0, 0.2])
def test_every_digital_layer_gives_the_variance_after_one_step(variance: float) -> None:
    model = ns.initialize(digital(), "lsuv", BATCH, seed=4, variance=variance)
    assert variances(model, BATCH) == pytest.approx([variance] * 3, rel=1e-4)
    report = model.initialisation
    assert not report.missed
    assert [one.scaling.steps for one in report.layers] == [1, 1, 1]
    for one, layer in zip(report.layers, (model.fc1, model.fc2, model.fc3), strict=True):
        weight = layer.weight.detach()
        gram = weight @ weight.mT  # there are fewer outputs than inputs
        torch.testing.assert_close(gram, one.scaling.factor**2 * torch.eye(len(gram)), atol=1e-4, rtol=1e-4)
        assert one.scaling.before * one.scaling.factor**2 == pytest.approx(variance, rel=1e-3)
        assert not layer.bias.any()


def test_through_hardware_without_its_noise_the_variance_is_exactly_that_of_the_report() -> None:
    model = ns.initialize(analog(), "lsuv", BATCH, seed=4, variance=0.1, tol=0.03, noise=False)
    with ns.noise("off", model):
        found = variances(model, BATCH)
    assert found == [one.scaling.after for one in model.initialisation.layers]
    assert found == pytest.approx([0.1] * 3, rel=0.03)
    plain = ns.initialize(digital(), "lsuv", BATCH, seed=4, variance=0.1)
    factors = [[one.scaling.factor for one in made.initialisation.layers] for made in (model, plain)]
    assert factors[0] != pytest.approx(factors[1], rel=0.01)  # limits of the hardware take something away, which weights make up for


def test_the_noise_of_the_hardware_is_part_of_the_variance() -> None:
    model = ns.initialize(analog(), "lsuv", BATCH, seed=4, variance=0.1, tol=0.02)
    assert not model.initialisation.missed
    assert variances(model, BATCH) == pytest.approx([0.1] * 3, rel=0.1)  # of another draw


@pytest.mark.parametrize("noise", [True, False])
def test_one_seed_gives_one_result_and_the_noise_goes_on_as_if_nothing_had_been(noise: bool) -> None:
    first, second = analog().train(), analog().train()
    untouched = get_draws(first)
    for model in (first, second):
        ns.initialize(model, "lsuv", BATCH, seed=4, variance=0.1, noise=noise)
    assert get_draws(first) == untouched
    assert first.training
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
    assert torch.equal(first.eval()(BATCH), second.eval()(BATCH))


def test_weights_that_are_there_are_kept_in_direction() -> None:
    model, before = digital(), digital()
    ns.initialize(model, "lsuv", BATCH, orthonormal=False)
    for one, old in ((model.fc1, before.fc1), (model.fc2, before.fc2), (model.fc3, before.fc3)):
        ratio = (one.weight / old.weight).detach()
        torch.testing.assert_close(ratio, torch.full_like(ratio, float(ratio.mean())), rtol=1e-4, atol=0)
        assert torch.equal(one.bias, old.bias)


def test_standardised_weights_are_scaled_by_their_gains() -> None:
    model = digital()
    for layer in (model.fc1, model.fc2, model.fc3):
        parametrize.register_parametrization(layer, "weight", ScaledWeightStandardization())
    ns.initialize(model, "lsuv", BATCH, seed=4, variance=0.2)
    assert not model.initialisation.missed
    assert variances(model, BATCH) == pytest.approx([0.2] * 3, rel=0.01)


def test_weights_that_keep_no_scale_stay_and_are_reported() -> None:
    model = digital()
    for layer in (model.fc1, model.fc2, model.fc3):
        parametrize.register_parametrization(layer, "weight", WeightConditioning())
    before = copy.deepcopy(model)
    ns.initialize(model, "lsuv", BATCH, orthonormal=False, variance=50.0)
    assert model.initialisation.missed == ("fc1", "fc2", "fc3")
    assert [(one.scaling.steps, one.scaling.factor) for one in model.initialisation.layers] == [(1, 1.0)] * 3
    for layer, old in ((model.fc1, before.fc1), (model.fc2, before.fc2), (model.fc3, before.fc3)):
        torch.testing.assert_close(layer.weight, old.weight)
    ns.initialize(model, "lsuv", BATCH, seed=4)
    torch.testing.assert_close(model.fc1.weight.norm(dim=1), torch.ones(48))
    assert [one.after for one in (layer.scaling for layer in model.initialisation.layers)] == pytest.approx(variances(model, BATCH))


class Limited(nn.Linear):
    """Gives at most 1 in magnitude, as a converter does."""

    def forward(self, input: Tensor) -> Tensor:
        """Clamped."""
        return super().forward(input).clamp(-1, 1)


def test_a_variance_that_cannot_be_reached_is_reported_with_the_closest() -> None:
    model: Any = nn.Sequential(Limited(64, 32))
    ns.initialize(model, "lsuv", BATCH - 0.5, seed=0, variance=2.0, iterations=4)
    (one,) = model.initialisation.layers
    assert model.initialisation.missed == ("0",)
    assert one.scaling.steps == 4
    assert one.scaling.before < one.scaling.after <= 1
    assert variances(model, BATCH - 0.5) == [one.scaling.after]
    assert "(missed)" in str(model.initialisation)


class Forgetful(nn.Module):
    """Has a layer that its forward does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.forgotten = nn.Linear(64, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """One layer."""
        y: Tensor = self.used(x)
        return y


@pytest.mark.parametrize(
    ("model", "x", "error", "said"),
    [
        (digital(), torch.zeros(8, 64), ns.ConfigError, "what fc1 gives of the batch must be finite and not constant"),
        (digital(), torch.full((8, 64), float("nan")), ns.ConfigError, "must be finite"),
        (Forgetful(), BATCH, ns.ConfigError, "did not reach forgotten; leave them out with layers"),
        (
            digital(),
            torch.zeros(8, 63),
            ns.DataError,
            r"lsuv: the model must take a batch of shape \(8, 63\), got RuntimeError",
        ),
        (analog(), torch.zeros(8, 63), ns.DataError, "the model must take a batch of shape"),
    ],
)
def test_a_batch_that_does_not_suit_leaves_everything_as_it_was(model: nn.Module, x: Tensor, error: type[Exception], said: str) -> None:
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    draws = get_draws(model)
    with pytest.raises(error, match=said):
        ns.initialize(model, "lsuv", x, seed=0)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training
    assert get_draws(model) == draws
    assert not any(module._forward_pre_hooks for one in targets(model) for module in [one.layer])


def test_chosen_layers_alone_are_scaled() -> None:
    model: Any = ns.initialize(Forgetful(), "lsuv", BATCH, seed=0, layers="used")
    assert [one.path for one in model.initialisation.layers] == ["used"]


def test_layers_of_spiking_networks_and_shared_layers_are_scaled_once() -> None:
    shared = nn.Linear(64, 64)
    model: Any = ns.initialize(nn.Sequential(shared, nn.Tanh(), shared), "lsuv", BATCH, seed=0)
    assert variances(model, BATCH)[0] == pytest.approx(1, rel=1e-4)
    spiking = ns.models.spiking_mlp([64, 32, 10], time_steps=3)
    ns.initialize(spiking, "lsuv", BATCH * 4, seed=0, variance=2.0)
    assert variances(spiking, BATCH * 4) == pytest.approx([2.0, 2.0], rel=1e-3)


def test_within_autocast_layers_are_scaled_too() -> None:
    model = digital()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.train()(BATCH)  # casts of the weights lie in the cache of autocast from here on
        ns.initialize(model, "lsuv", BATCH, seed=0, variance=0.05, tol=0.05)
        assert model.initialisation.missed == ()
        assert variances(model, BATCH) == pytest.approx([0.05] * 3, rel=0.1)
        assert torch.is_autocast_cache_enabled()
