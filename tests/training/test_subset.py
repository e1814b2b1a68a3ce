"""Training of a part of the parameters: what learns, what stays, and that a run keeps it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.norms import WeightNorm
from neurosim.random import stream
from neurosim.training import parameters_of, read_weights, train_only
from tests.training.crashes import crash

Make = Callable[..., dict[str, Any]]
TINY = {"kind": "cnn", "input_shape": [1, 8, 8], "channels": [4], "hidden": [8], "classes": 10, "batch_norm": True}


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LayerNorm(16), nn.Linear(16, 3))


def taken(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> dict[str, Tensor]:
    """How far each parameter has moved after some steps."""
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    x = stream(1, "subset").normal((8, 1, 4, 4), like=torch.empty(0))
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        network(x).square().sum().backward()
        optimizer.step()
    return {name: value.detach() - before[name] for name, value in network.named_parameters()}


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("norms", ["1.weight", "1.bias", "4.weight", "4.bias"]),
        ("biases", ["0.bias", "1.bias", "4.bias", "5.bias"]),
        ("last", ["5.weight", "5.bias"]),
        (["0.*", "last"], ["0.weight", "0.bias", "5.weight", "5.bias"]),
    ],
)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_only_what_is_named_moves_even_with_weight_decay(which: Any, names: list[str], kind: str) -> None:
    network = model()
    optimizer = ns.training.make_optimizer(network.parameters(), kind, lr=0.05, weight_decay=0.1)
    counts = train_only(network, optimizer, which)
    moved = taken(network, optimizer)
    assert [name for name, change in moved.items() if bool(change.any())] == names
    assert counts == {name: network.get_parameter(name).numel() for name in names}
    assert [name for name, value in network.named_parameters() if value.requires_grad] == names


def test_the_last_layer_is_one_with_a_weight_and_not_the_chain_of_its_hardware() -> None:
    scale = {"weight.scale": {"kind": "scale", "mode": "learned", "per": "vector"}}
    model = ns.to_analog(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "ideal", overrides={"*": scale}, seed=0)
    model(torch.rand(5, 4))
    assert parameters_of(model, "last") == ["1.weight", "1.bias"]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_as_many_random_elements_learn_and_all_others_stay(kind: str) -> None:
    network = model()
    optimizer = ns.training.make_optimizer(network.parameters(), kind, lr=0.05, weight_decay=0.1)
    counts = train_only(network, optimizer, "norms", random=True, seed=4)
    wanted = sum(network.get_parameter(name).numel() for name in parameters_of(network, "norms"))
    moved = taken(network, optimizer)
    assert sum(counts.values()) == wanted == 40
    assert set(counts) <= {"0.weight", "5.weight"}
    assert {name: int((change != 0).sum()) for name, change in moved.items() if bool(change.any())} == counts


def test_gradients_of_what_is_held_are_0_so_that_clipping_sees_only_the_others() -> None:
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    counts = train_only(network, optimizer, "norms", random=True)
    network(stream(1, "subset").normal((8, 1, 4, 4), like=torch.empty(0))).square().sum().backward()
    for name, value in network.named_parameters():
        assert (0 if value.grad is None else int((value.grad != 0).sum())) <= counts.get(name, 0)


def test_another_seed_draws_other_places() -> None:
    masks = []
    for seed in (0, 0, 1):
        network = model()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        train_only(network, optimizer, "norms", random=True, seed=seed)
        masks.append(taken(network, optimizer, 1)["5.weight"] != 0)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


@pytest.mark.parametrize(
    ("which", "random", "message"),
    [
        ("head.*", False, "names no parameter"),
        ("norms", False, "has none"),
        ("*", True, "the other parameters have 0"),
    ],
)
def test_what_is_not_there_is_refused_and_everything_still_learns(which: str, random: bool, message: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=message):
        train_only(network, torch.optim.SGD(network.parameters(), lr=0.1), which, random=random)
    assert all(value.requires_grad for value in network.parameters())


@pytest.mark.parametrize("random", [False, True])
def test_a_run_trains_only_what_its_config_says_and_goes_on_so_when_resumed(
    make: Make, random: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights bit by bit, whether it was stopped or not; in the end only what was named has moved."""
    config = make(hardware=None, model=None, train={"only": {"parameters": "norms", "random": random}, "checkpoint": {"every_steps": 3}})
    config["model"] = TINY
    with ns.training.seeded(config["seed"]):
        first = dict(ns.training.build_model(ns.RunConfig(**config).model, seed=config["seed"]).named_parameters())

    whole = ns.train(config)
    folder = crash(config, 12, monkeypatch)
    resumed = ns.train(resume=folder)
    last, again = (read_weights(run.path / "last" / "weights.safetensors")[0] for run in (whole, resumed))
    assert all(torch.equal(value, again[name]) for name, value in last.items())
    moved = {name for name, value in first.items() if not torch.equal(value.detach(), last[name])}
    norms = {name for name in first if "norm" in name or "bn" in name}
    assert moved
    assert (moved <= norms) is not random


def test_a_config_that_names_nothing_is_refused_before_anything_is_trained(make_digital: Make) -> None:
    with pytest.raises(ConfigError, match=r"train.only.parameters: 'fc7\.\*' names no parameter"):
        ns.train(make_digital(train={"only": {"parameters": ["fc7.*"]}}))
    with pytest.raises(ConfigError, match=r"train.only.parameters"):
        ns.train(make_digital(train={"only": {"random": True}}))


def test_the_last_layer_is_no_norm_and_with_a_parametrized_weight_it_has_its_bias_too() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm([2, 2, 2]))
    assert parameters_of(network, "last") == ["0.weight", "0.bias"]
    head = nn.Linear(4, 3)
    parametrize.register_parametrization(head, "weight", WeightNorm())
    parametrize.register_parametrization(head, "bias", nn.Identity())
    made = ["1.parametrizations.weight.original0", "1.parametrizations.weight.original1", "1.parametrizations.bias.original"]
    assert sorted(parameters_of(nn.Sequential(nn.Linear(4, 4), head), "last")) == sorted(made)
    assert parameters_of(head, "biases") == ["parametrizations.bias.original"]


@pytest.mark.parametrize("which", [3, [3], None])
def test_what_is_no_word_is_refused(which: Any) -> None:
    with pytest.raises(ConfigError, match=r"train\.only\.parameters: must be words and globs"):
        parameters_of(model(), which)
