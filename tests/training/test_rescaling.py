"""Weights that keep their length or their spread through a training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import ScaledWeightStandardization, WeightConditioning, WeightNorm
from neurosim.random import stream
from neurosim.training import load, make_optimizer, rescaled
from neurosim.training.build import rebuild
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 4, 4]), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))


def taught(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    x = stream(1, "rescaling").normal((8, 1, 6, 6), like=torch.empty(0))
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        model(x).square().sum().backward()
        optimizer.step()


def lengths(model: nn.Module) -> dict[str, float]:
    return {name: float(value.detach().norm()) for name, value in model.named_parameters()}


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adamp", "sgdp"])
def test_weights_keep_their_lengths_and_nothing_else_does(kind: str) -> None:
    model = network()
    optimizer = make_optimizer(model.parameters(), kind, lr=0.02, weight_decay=0.1)
    ns.keep_norms(model, optimizer)
    before, start = lengths(model), {name: value.detach().clone() for name, value in model.named_parameters()}
    taught(model, optimizer)
    after = lengths(model)
    kept = ["0.weight", "4.weight", "6.weight"]
    assert all(after[name] == pytest.approx(before[name], rel=1e-5) for name in kept)
    assert all(after[name] != pytest.approx(before[name], rel=1e-5) for name in before if name not in kept)
    assert not any(torch.equal(value, start[name]) for name, value in model.named_parameters())


def test_behind_a_norm_the_function_is_that_of_the_free_step() -> None:
    """A layer norm does not see a length, so after one step the outputs are those without rescaling."""
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(6, 9, bias=False), nn.LayerNorm(9, eps=0.0)).double()
    twin, x = copy.deepcopy(model), torch.randn(5, 6, dtype=torch.float64)
    for one, held in ((model, True), (twin, False)):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.3)
        if held:
            ns.keep_norms(one, optimizer)
        one(x)[:, 0].sum().backward()
        optimizer.step()
    assert not torch.allclose(model[0].weight, twin[0].weight)
    torch.testing.assert_close(model(x), twin(x), rtol=1e-10, atol=1e-10)


def test_variances_are_set_every_so_many_steps_and_not_between() -> None:
    model: Any = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    ns.keep_variances(model, optimizer, 0.05, every=3, skip=["6"])
    for step in range(1, 7):
        taught(model, optimizer, 1)
        spreads = {path: float(model.get_submodule(path).weight.detach().std(correction=0)) for path in ("0", "4", "6")}
        hit = [path for path, spread in spreads.items() if spread == pytest.approx(0.05, rel=1e-5)]
        assert hit == (["0", "4"] if step % 3 == 0 else [])


def test_a_handle_ends_it() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = ns.keep_norms(model, optimizer)
    handle.remove()
    before = lengths(model)
    taught(model, optimizer, 1)
    assert lengths(model)["4.weight"] != pytest.approx(before["4.weight"], rel=1e-5)


def test_what_is_frozen_or_zero_or_not_reached_is_left_alone() -> None:
    model: Any = network()
    model.add_module("unused", nn.Linear(3, 3))
    nn.init.zeros_(model[6].weight)
    model[0].weight.requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ns.keep_norms(model, optimizer)
    taught(model[:7], optimizer)
    assert float(model[6].weight.detach().norm()) > 0
    unused: Any = model.get_submodule("unused")
    unused.weight.grad = torch.ones(3, 3)  # it learns only now, and Adam must not take what is remembered for its own state
    optimizer.step()
    assert lengths(model)["0.weight"] == lengths(network())["0.weight"]


def test_lengths_go_with_the_state_of_the_optimiser() -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    ns.keep_norms(model, optimizer)
    before = lengths(model)
    taught(model, optimizer)
    resumed: Any = copy.deepcopy(model)
    with torch.no_grad():
        resumed[4].weight.mul_(3.0)
    second = torch.optim.Adam(resumed.parameters(), lr=0.02)
    ns.keep_norms(resumed, second)
    second.load_state_dict(optimizer.state_dict())
    taught(resumed, second, 1)
    assert lengths(resumed)["4.weight"] == pytest.approx(before["4.weight"], rel=1e-5)


def test_directions_of_a_weight_norm_are_held_and_its_lengths_are_free() -> None:
    layer = nn.Linear(5, 3)
    parametrize.register_parametrization(layer, "weight", WeightNorm())
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    ns.keep_norms(layer, optimizer)
    before = lengths(layer)
    layer(torch.ones(2, 5)).square().sum().backward()
    optimizer.step()
    kept = [name for name, value in layer.named_parameters() if value.squeeze().dim() > 1]
    assert kept
    assert all(lengths(layer)[name] == pytest.approx(before[name], rel=1e-5) for name in kept)


PARAMETRIZATIONS: list[Callable[[], nn.Module]] = [WeightNorm, parametrizations._WeightNorm, lambda: ScaledWeightStandardization(gamma=0.5)]


@pytest.mark.parametrize("make", PARAMETRIZATIONS)
def test_of_a_parametrized_weight_it_is_what_comes_out_that_is_kept(make: Callable[[], nn.Module]) -> None:
    model: Any = network()
    for path in ("0", "4"):
        parametrize.register_parametrization(model.get_submodule(path), "weight", make(), unsafe=True)
    spread = copy.deepcopy(model)
    before = {path: model.get_submodule(path).weight.detach() for path in ("0", "4")}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    ns.keep_norms(model, optimizer)
    taught(model, optimizer, 4)
    for path, first in before.items():
        now = model.get_submodule(path).weight.detach()
        torch.testing.assert_close(now.norm(), first.norm())
        assert not torch.allclose(now, first, rtol=0.05)
    other = torch.optim.Adam(spread.parameters(), lr=0.05)
    ns.keep_variances(spread, other, 0.05, every=2)
    taught(spread, other, 2)
    for path in before:
        assert float(spread.get_submodule(path).weight.detach().std(correction=0)) == pytest.approx(0.05, rel=1e-4)


def test_lengths_of_parametrized_weights_go_with_the_state_of_the_optimiser() -> None:
    layer: Any = parametrizations.weight_norm(nn.Linear(5, 3))
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    ns.keep_norms(layer, optimizer)
    before = layer.weight.detach().norm()
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.ones(2, 5)).square().sum().backward()
        optimizer.step()
    resumed = copy.deepcopy(layer)
    resumed.weight = resumed.weight.detach() * 3
    second = torch.optim.Adam(resumed.parameters(), lr=0.02)
    ns.keep_norms(resumed, second)
    second.load_state_dict(optimizer.state_dict())
    resumed(torch.ones(2, 5)).square().sum().backward()
    second.step()
    torch.testing.assert_close(resumed.weight.detach().norm(), before)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda layer: parametrize.register_parametrization(layer, "weight", WeightConditioning()), "4: its parametrization gives another"),
        (parametrizations.spectral_norm, "4: its parametrization gives another weight than the one put there; skip the layer"),
        (nn.utils.spectral_norm, "4: weight_orig is of torch's former weight norms"),
    ],
)
def test_a_weight_that_cannot_be_of_another_length_is_refused_and_can_be_skipped(
    changed: Callable[[nn.Module], object], message: str
) -> None:
    model: Any = network()
    changed(model[4])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ConfigError, match=message):
        ns.keep_norms(model, optimizer)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    ns.keep_norms(model, optimizer, skip=["4"])
    taught(model, optimizer)
    assert float(model[6].weight.detach().norm()) == pytest.approx(float(before["6.weight"].norm()), rel=1e-5)


def test_weights_of_one_output_or_one_input_are_kept_too() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ns.keep_norms(model, optimizer)
    before = lengths(model)
    for _ in range(5):
        optimizer.zero_grad()
        (model(torch.ones(3, 1)) + 5).square().mean().backward()
        optimizer.step()
    assert all(lengths(model)[name] == pytest.approx(before[name], rel=1e-5) for name in ("0.weight", "2.weight"))


@pytest.mark.parametrize("groups", [1, 2])
def test_scales_that_hardware_learns_are_no_weights(groups: int) -> None:
    scale = {"weight.scale": {"kind": "scale", "mode": "learned", "per": "vector"}}
    model = ns.to_analog(nn.Sequential(nn.Conv2d(2, 8, 3, groups=groups)), "ideal", overrides={"*": scale}, seed=0)
    x = torch.rand(4, 2, 8, 8)
    model(x)
    (scales,) = (value for name, value in model.named_parameters() if "weight_scale" in name)
    before = scales.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-7)
    ns.keep_variances(model, optimizer, 0.3, every=1)
    model(x).square().sum().backward()
    optimizer.step()
    torch.testing.assert_close(scales.detach(), before, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, optimizer: ns.keep_norms(model, optimizer, every=0), "keep_norms: every: must be a whole number"),
        (lambda model, optimizer: ns.keep_norms(model, optimizer, skip=["5x"]), "keep_norms: skip: '5x' names no layer"),
        (lambda model, optimizer: ns.keep_norms(model, optimizer, skip=["*"]), "has none that is left"),
        (lambda model, optimizer: ns.keep_variances(model, optimizer, 0.0), "keep_variances: std: must be a finite number > 0"),
        (lambda model, optimizer: rescaled(torch.ones(2), norm=1.0, std=1.0), "give one of norm and std"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[nn.Module, torch.optim.Optimizer], object], message: str) -> None:
    model = network()
    with pytest.raises(ConfigError, match=message):
        call(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_weights_of_every_kind_of_number_are_rescaled() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64, torch.complex64):
        weight = torch.arange(1, 7).reshape(2, 3).to(dtype)
        found: Tensor = rescaled(weight, norm=2.0)
        assert found.dtype == dtype
        assert float(found.to(torch.complex128).norm()) == pytest.approx(2.0, rel=2e-3)


def test_a_run_keeps_its_first_lengths_and_goes_on_as_if_not_stopped(make_digital: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_digital(train={"epochs": 2, "optimizer": {"kind": "adamp"}, "rescale": {"kind": "nap"}, "checkpoint": {"every_steps": 1}})
    before = lengths(rebuild(ns.load_config(config)))
    whole = load(ns.train(config).path)
    after = lengths(whole)
    weights = [name for name in before if name.endswith("weight")]
    assert len(weights) == 2
    assert all(after[name] == pytest.approx(before[name], rel=1e-5) for name in weights)
    resumed = load(ns.train(resume=crash(config, 6, monkeypatch)).path)
    for (name, one), other in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_config_holds_spreads(make_digital: Make) -> None:
    rescale = {"kind": "tvr", "std": 0.1, "every_steps": 1, "skip": ["fc2"]}
    model: Any = load(ns.train(make_digital(train={"epochs": 1, "rescale": rescale})).path)
    assert float(model.fc1.weight.detach().std(correction=0)) == pytest.approx(0.1, rel=1e-5)
    assert float(model.fc2.weight.detach().std(correction=0)) != pytest.approx(0.1, rel=1e-3)


def test_a_config_with_a_layer_that_is_not_there_or_elements_that_stay_is_refused(make_digital: Make) -> None:
    with pytest.raises(ConfigError, match=r"train\.rescale: keep_norms: skip: 'fc9' names no layer"):
        ns.train(make_digital(train={"rescale": {"kind": "nap", "skip": ["fc9"]}}))
    with pytest.raises(ConfigError, match="what does not learn stays as it is"):
        ns.load_config(make_digital(train={"rescale": {"kind": "nap"}, "only": {"parameters": "biases", "random": True}}))
