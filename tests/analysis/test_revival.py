"""Dormant units that get another start."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import dormancy
from neurosim.errors import ConfigError
from neurosim.nn import SpikingSequential
from neurosim.random import stream
from neurosim.training import revive_after_steps


def drawn(name: str, *shape: int) -> Tensor:
    return stream(5, name).normal(shape, like=torch.empty(0))


def killed(model: nn.Sequential, units: dict[int, list[int]]) -> nn.Sequential:
    """The model with units that never are on."""
    torch.manual_seed(0)
    for at, dead in units.items():
        layer: Any = model[at]
        with torch.no_grad():
            layer.bias[dead] = -100.0
    return model.eval()


def perceptron() -> nn.Sequential:
    torch.manual_seed(1)
    return killed(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3)), {0: [1, 4], 2: [6]})


def convolutions() -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, groups=2), nn.ReLU(), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(4 * 4, 3))
    return killed(model, {1: [0, 5], 4: [2]})


def transposed() -> nn.Sequential:
    torch.manual_seed(1)
    return killed(nn.Sequential(nn.ConvTranspose1d(2, 6, 3, groups=2), nn.ReLU(), nn.ConvTranspose1d(6, 6, 2, groups=3)), {0: [3]})


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], dict[str, int]]] = {
    "perceptron": (perceptron, (40, 6), {"0": 2, "2": 1}),
    "convolutions": (convolutions, (20, 2, 10, 10), {"0": 2, "4": 1}),
    "transposed convolutions": (transposed, (20, 2, 9), {"0": 1}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_dead_units_are_replaced_and_what_is_computed_stays_bit_by_bit(name: str) -> None:
    make, shape, dead = NETWORKS[name]
    model, x = make(), drawn("x", *shape)
    found: Any = ns.revive_units(model, x, tau=0.0)
    assert {one.layer: one.dormant for one in found.revival.layers} == dead
    assert torch.equal(found(x), model(x))
    before, after = dict(model.named_parameters()), dict(found.named_parameters())
    changed = [path for path in dead if not torch.equal(after[f"{path}.weight"], before[f"{path}.weight"])]
    assert changed == list(dead)
    assert bool((model(x) == make()(x)).all())  # the model itself is unchanged


def test_only_rows_and_columns_of_dormant_units_change() -> None:
    model: Any = perceptron()
    x = drawn("x", 40, 6)
    found = ns.revive_units(model, x, tau=0.0)
    rows = (found[0].weight != model[0].weight).any(1)
    assert rows.nonzero().flatten().tolist() == [1, 4]
    assert float(found[0].weight.detach()[[1, 4]].abs().max()) <= 1.0  # U(±√(6/6))
    assert found[0].bias.detach()[[1, 4]].tolist() == [0.0, 0.0]
    assert torch.equal(found[0].bias[[0, 2, 3, 5, 6, 7]], model[0].bias[[0, 2, 3, 5, 6, 7]])
    columns = (found[2].weight[:6] == 0).all(0)  # unit 6 has new incoming weights itself, and none out of it
    assert columns.nonzero().flatten().tolist() == [1, 4]
    alive = [unit for unit in range(8) if unit not in (1, 4)]
    assert torch.equal(found[2].weight[:6, alive], model[2].weight[:6, alive])
    assert (found[4].weight == 0).all(0).nonzero().flatten().tolist() == [6]


def test_new_weights_have_the_spread_of_he_and_are_those_of_seed_and_draw() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 2))
    nn.init.constant_(model[0].bias, -1e3)
    made = [ns.revive_units(model, drawn("x", 10, 300), seed=seed, draw=draw) for seed, draw in ((1, 0), (1, 0), (1, 1), (2, 0))]
    weights = [one[0].weight.detach() for one in made]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
    bound = (6 / 300) ** 0.5
    assert float(weights[0].abs().max()) <= bound
    error = 5 * bound**2 / 3 * (0.8 / 60_000) ** 0.5  # five standard errors: of u², uniform u, the relative variance is 4/5
    assert float(weights[0].square().mean()) == pytest.approx(bound**2 / 3, abs=error)


def test_dormant_are_those_below_a_share_of_the_mean() -> None:
    model: Any = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([1.0, 1.0, 0.15, 0.05])))
    x = torch.ones(3, 4)
    torch.testing.assert_close(dormancy(model[:2](x).mean(0)), torch.tensor([1.0, 1.0, 0.15, 0.05]) / 0.55)
    for tau, count in ((0.0, 0), (0.1, 1), (0.3, 2)):
        found: Any = ns.revive_units(model, x, tau=tau)
        assert found.revival.layers[0].dormant == count


def test_neurons_that_never_spike_are_dead_units() -> None:
    torch.manual_seed(0)
    net = SpikingSequential(
        nn.Linear(5, 6), ns.LIF(tau_mem=20e-3, dt=1e-3), nn.Linear(6, 4), ns.LIF(tau_mem=20e-3, dt=1e-3), nn.Linear(4, 2)
    )
    with torch.no_grad():
        for at, dead in ((0, 2), (2, 1)):
            net[at].weight.abs_()
            net[at].bias.fill_(1.0)[dead] = -100.0
    x = drawn("spikes", 12, 8, 5).abs()
    found: Any = ns.revive_units(net, x, tau=0.0)
    assert [(one.layer, one.dormant) for one in found.revival.layers] == [("0", 1), ("2", 1)]
    assert torch.equal(found(x), net(x))
    assert (found[2].weight[:, 2] == 0).tolist() == [True, False, True, True]  # neuron 1 there has new incoming weights itself


@pytest.mark.parametrize("name", ["bn_over_time", "tdbn", "bntt", "tebn", "batch", "instance", "l1_batch", "dyt"])
def test_neurons_behind_norms_that_keep_channels_apart_are_revived(name: str) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"steps": 4} if name in ("bntt", "tebn") else {}
    norm = ns.NORMS[name](6, **settings)
    neurons = [ns.LIF(tau_mem=2e-3, dt=1e-3) for _ in range(2)]
    layers = [nn.Conv1d(2, 6, 3), norm, neurons[0], nn.Conv1d(6, 4, 1), ns.NORMS[name](4, **settings), neurons[1], nn.Conv1d(4, 2, 1)]
    model: Any = SpikingSequential(*layers).eval()
    with torch.no_grad():
        model[0].weight.abs_()
        model[0].bias.fill_(3.0)
        norm.weight[..., 2] = 0.0
        if norm.bias is not None:
            norm.bias.fill_(3.0)[2] = -1.0
    x = drawn("spikes", 4, 5, 2, 7).abs()
    found: Any = ns.revive_units(model, x, tau=0.0)
    assert [(one.layer, one.status) for one in found.revival.layers] == [("0", "revived"), ("3", "revived")]
    assert found.revival.layers[0].dormant == 1
    assert torch.equal(found(x), model(x))
    revived = next(part for part in found.modules() if isinstance(part, type(norm)))
    assert bool((revived.weight[..., 2] == 1).all())
    assert revived.bias is None or revived.bias.tolist() == [3.0, 3.0, 0.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("kind", ["weight_norm", "weight_standardization"])
def test_layers_whose_weights_are_computed_are_left_and_a_training_that_can_revive_nothing_is_refused(kind: str) -> None:
    model = ns.models.mlp([6, 5, 4, 3], weight_norm=kind)
    found: Any = ns.revive_units(model, torch.ones(2, 6), tau=10.0)
    assert {one.status for one in found.revival.layers} == {"left"}
    assert "is computed from other parameters" in found.revival.layers[0].reason
    with pytest.raises(
        ConfigError, match=r"must have a layer whose units can be given another start, and has none: fc1: the weight of the"
    ):
        revive_after_steps(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert not model._forward_pre_hooks


def test_a_chip_is_looked_at_without_moving_its_noise() -> None:
    chip = ns.to_analog(perceptron(), "photonic_avnn", seed=0)
    x, draws = drawn("x", 40, 6), ns.get_draws(chip)
    found: Any = ns.revive_units(chip, x, tau=0.02)
    assert ns.get_draws(chip) == draws
    assert {one.status for one in found.revival.layers} == {"revived"}


def test_what_an_optimiser_remembers_of_them_is_forgotten() -> None:
    model, x = perceptron().train(), drawn("x", 40, 6)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(x).square().sum().backward()
    optimizer.step()
    for state in optimizer.state.values():
        state["exp_avg"].fill_(1.0)
    ns.revive_units(model, x, tau=0.0, optimizer=optimizer, inplace=True)
    gone = {name: optimizer.state[value]["exp_avg"] == 0 for name, value in model.named_parameters()}
    assert gone["0.weight"].any(1).nonzero().flatten().tolist() == gone["0.weight"].all(1).nonzero().flatten().tolist() == [1, 4]
    assert gone["0.bias"].nonzero().flatten().tolist() == [1, 4]
    assert gone["2.weight"][:6].all(0).nonzero().flatten().tolist() == [1, 4]
    assert gone["2.weight"].all(1).nonzero().flatten().tolist() == [6]
    assert not bool(gone["4.bias"].any())


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.second = nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first(x))
        y: Tensor = self.second(h) + h
        return y


def shared() -> nn.Sequential:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2)), "LayerNorm is between them, and is not known"),
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), "no activation is between them"),
        (shared(), "is used in several places"),
        (
            nn.Sequential(nn.Linear(4, 4), ns.activations.activation({"kind": "top_k", "share": 0.5}), nn.Linear(4, 2)),
            "between them mixes channels",
        ),
    ],
    ids=["layer norm", "linear", "shared", "top k"],
)
def test_layers_are_left_where_more_than_the_units_would_change(model: nn.Sequential, reason: str) -> None:
    found: Any = ns.revive_units(model, torch.ones(3, 4), tau=10.0)
    assert reason in found.revival.layers[0].reason
    assert torch.equal(found(torch.ones(3, 4)), model(torch.ones(3, 4)))
    assert "0 of" in str(found.revival)


def test_a_unit_that_a_shortcut_takes_too_is_left() -> None:
    model = Shortcut()
    found: Any = ns.revive_units(model, torch.ones(3, 4), tau=10.0)
    assert torch.equal(found(torch.ones(3, 4)), model(torch.ones(3, 4)))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"tau": -1.0}, "revive_units: tau: must be a finite number"),
        ({"seed": 1.5}, "revive_units: seed"),
        ({"draw": -1}, "revive_units: draw"),
        ({"loader": []}, "must hold at least one sample"),
    ],
)
def test_what_cannot_be_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.revive_units(perceptron(), **{"loader": torch.ones(2, 6), **how})


def test_units_are_revived_during_a_training_from_the_last_batch() -> None:
    model: Any = perceptron().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    end = revive_after_steps(model, optimizer, every=3, tau=0.0)
    x, before = drawn("x", 40, 6), copy.deepcopy(model)
    for step in range(1, 7):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        assert torch.equal(model[0].weight, before[0].weight) == (step < 3)
    end()
    assert not model._forward_pre_hooks
    assert not torch.equal(model[2].weight, before[2].weight)


def test_a_config_revives_units(tmp_path: Any) -> None:
    runs = {}
    for tau in (0.0, 5.0):
        train = {"epochs": 1, "optimizer": {"kind": "sgd", "lr": 1e-6}, "revive": {"every_steps": 8, "tau": tau}, "device": "cpu"}
        config = {
            "name": "revive",
            "seed": 5,
            "data": {"kind": "digits", "batch_size": 150},
            "model": {"kind": "mlp", "sizes": [64, 16, 10]},
            "train": train,
            "log": {"dir": str(tmp_path)},
        }
        model: Any = ns.load(ns.train(config).path)
        runs[tau] = (model.fc2.weight.detach().abs() < 1e-4).all(0)  # one short step is taken after it
    assert not bool(runs[0.0].any())
    assert int(runs[5.0].sum()) > 8  # nearly all units are below five times the mean
    with pytest.raises(ConfigError, match=r"train\.revive: .* has none: fc1: LayerNorm is between them"):
        ns.train({**config, "model": {"kind": "mlp", "sizes": [64, 16, 10], "norm": "layer"}})
    with pytest.raises(ConfigError, match="what does not learn stays as it is"):
        ns.load_config({**config, "train": {"revive": {}, "only": {"parameters": "biases"}}})
