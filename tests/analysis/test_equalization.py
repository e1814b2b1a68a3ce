"""Weights that use the same range in neighbouring layers."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import equalizing_factors
from neurosim.errors import ConfigError


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(3, name).normal(shape, like=torch.empty(0))


def unbalanced(model: nn.Module) -> nn.Module:
    """The model with outputs of every layer scaled by factors from 1/10 to 10."""
    for name, value in model.named_parameters():
        if name.endswith("weight") and value.dim() > 1:
            factors = 10 ** (2 * ns.random.stream(1, name).uniform((value.shape[0],), like=value) - 1)
            value.detach().mul_(factors.reshape(-1, *(1,) * (value.dim() - 1)))
    return model


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.LeakyReLU(), nn.Linear(6, 3)), (9, 5), 2),
    "tokens": (lambda: nn.Sequential(nn.Linear(5, 7), nn.PReLU(7), nn.Identity(), nn.Linear(7, 3)), (9, 7, 5), 1),
    "without bias": (lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False)), (9, 5), 1),
    "depthwise": (
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(24, 4)),
        ),
        (5, 3, 10, 10),
        3,
    ),
    "groups": (lambda: nn.Sequential(nn.Conv1d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv1d(8, 6, 3, groups=2)), (5, 4, 9), 1),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(4, 8, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(8, 6, 3, groups=2, stride=2)),
        (5, 4, 5, 5),
        1,
    ),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Linear(5, 7), nn.ReLU()), nn.Sequential(nn.Linear(7, 3), nn.Tanh())), (9, 5), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_computes_the_same_with_ranges_that_are_equal(name: str) -> None:
    make, shape, pairs = NETWORKS[name]
    torch.manual_seed(0)
    model = unbalanced(make()).eval()
    before = copy.deepcopy(model.state_dict())
    found: Any = ns.equalize(model, rounds=200, tolerance=1e-5)
    x = normal(*shape)
    expected = model(x)
    torch.testing.assert_close(found(x), expected, rtol=1e-5, atol=1e-5 * float(expected.detach().abs().max()))
    report = found.equalization
    assert [pair.status for pair in report.pairs] == ["equalised"] * pairs
    layers = dict(found.named_modules())
    for pair in report.pairs:
        first, second = (layers[path] for path in (pair.first, pair.second))
        outgoing, incoming = ranges_out(first).detach(), ranges_in(second).detach()
        torch.testing.assert_close(outgoing, incoming.reshape(len(outgoing), -1).amax(1), rtol=1e-3, atol=0)
        assert pair.use_after == pytest.approx(float((outgoing / outgoing.max()).square().mean()), rel=1e-2)  # both are equal
        assert pairs > 1 or pair.use_after >= pair.use_before * (1 - 1e-5)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)  # a copy was changed


@pytest.mark.parametrize(("curve", "same"), [(nn.ReLU, True), (nn.GELU, False)])
def test_factors_pass_through_a_relu_and_change_a_network_with_a_gelu(curve: type[nn.Module], same: bool) -> None:
    """Why a network with GELU is left as it is: with the weights that are equal for a ReLU, it would be another one."""
    torch.manual_seed(0)
    model = unbalanced(nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3))).eval()
    found: Any = ns.equalize(model)
    assert [pair.status for pair in found.equalization.pairs] == ["equalised"] * 2
    networks = []
    for one in (model, found):
        network: Any = copy.deepcopy(one)
        network[1], network[3] = curve(), curve()
        networks.append(network)
    x = normal(9, 5)
    expected, got = (network(x).detach() for network in networks)
    error = float((got - expected).abs().max() / expected.abs().max())
    assert error < 1e-5 if same else error > 1e-2


def ranges_out(layer: Any) -> Tensor:
    """Largest weight of every output channel, one channel at a time."""
    if isinstance(layer, nn.ConvTranspose2d):
        per = layer.out_channels // layer.groups
        ins = layer.in_channels // layer.groups
        return torch.stack([layer.weight[c // per * ins : (c // per + 1) * ins, c % per].abs().max() for c in range(layer.out_channels)])
    return torch.stack([row.abs().max() for row in layer.weight])


def ranges_in(layer: Any) -> Tensor:
    """Largest weight of every input channel, one channel at a time."""
    if isinstance(layer, nn.ConvTranspose2d | nn.Linear):
        return torch.stack([row.abs().max() for row in (layer.weight if isinstance(layer, nn.ConvTranspose2d) else layer.weight.T)])
    per, outs = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    return torch.stack([layer.weight[c // per * outs : (c // per + 1) * outs, c % per].abs().max() for c in range(layer.in_channels)])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=6))
def test_both_sides_of_a_channel_get_the_geometric_mean_of_their_ranges(pairs: list[tuple[float, float]]) -> None:
    outgoing, incoming = torch.tensor(pairs, dtype=torch.float64).T
    s = equalizing_factors(outgoing, incoming)
    torch.testing.assert_close(outgoing / s, (outgoing * incoming).sqrt())
    torch.testing.assert_close(incoming * s, (outgoing * incoming).sqrt())


@pytest.mark.parametrize(
    ("outgoing", "incoming", "dtype"),
    [(2.0**-130, 2.0**100, torch.float32), (2.0**100, 2.0**-130, torch.float32), (2.0**15, 2.0**-23, torch.float16)],
)
def test_factors_are_right_where_the_ratio_of_the_ranges_is_beyond_the_type(outgoing: float, incoming: float, dtype: torch.dtype) -> None:
    found = equalizing_factors(torch.tensor([outgoing], dtype=dtype), torch.tensor([incoming], dtype=dtype))
    assert float(found) == (outgoing / incoming) ** 0.5
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).to(dtype)
    for at, value in ((0, outgoing), (2, incoming)):
        nn.init.constant_(model.get_parameter(f"{at}.weight"), value)
    equal: Any = ns.equalize(model)
    assert [float(equal[at].weight.detach()) for at in (0, 2)] == [(outgoing * incoming) ** 0.5] * 2


def test_channels_that_are_not_used_keep_their_scale() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    model.get_parameter("0.weight").detach()[1] = 0
    model.get_parameter("2.weight").detach()[:, 2] = 0
    found = ns.equalize(model)
    for name in ("0.weight", "0.bias"):
        torch.testing.assert_close(found.get_parameter(name)[1:], model.get_parameter(name)[1:], rtol=0, atol=0)
    assert all(bool(value.isfinite().all()) for value in found.parameters())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), self.layer)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(self.body(x))
        return y


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4)), "GELU is between them, and no factor passes through it"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU6(), nn.Linear(4, 4)), "ReLU6 is between them, and no factor"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)), r"neurosim.fold\(model\) first"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.AvgPool1d(3, 1, 1), nn.Linear(4, 4)), "AvgPool1d is between them"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Linear(4, 4)), "4 inputs of the second are not known to be these"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(2), nn.Linear(16, 4)), "16 inputs of the second are not known to be these"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Conv1d(4, 4, 1)), "are not known to be these"),
        (Twice, "the Linear is used in several places"),
        (hooked, "the Linear has hooks"),
    ],
)
def test_what_a_factor_does_not_pass_through_is_left_with_the_reason(model: Callable[[], nn.Module], reason: str) -> None:
    made = model()
    found: Any = ns.equalize(made)
    pairs = found.equalization.pairs
    assert pairs
    assert all(pair.status == "left" and re.search(reason, pair.reason) for pair in pairs)
    torch.testing.assert_close(dict(found.named_parameters()), dict(made.named_parameters()), rtol=0, atol=0)


def test_a_forward_of_ones_own_is_read_for_what_it_calls_in_line() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.second, self.last = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(self.second(self.act(self.first(x))).sin())
            return y

    model, x = Own().requires_grad_(False), normal(9, 4)
    found: Any = ns.equalize(model)
    assert [(pair.first, pair.second) for pair in found.equalization.pairs] == [("first", "second")]  # a sine comes before the last
    assert not torch.equal(found.first.weight, model.first.weight)
    torch.testing.assert_close(found(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_layer_whose_weight_is_computed_is_left_and_so_is_what_comes_after_it() -> None:
    model: Any = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 4))
    assert ns.equalize(model).equalization.pairs == ()  # its class is one of its own
    chip: Any = ns.to_analog(model, "photonic_avnn", seed=0)
    (pair,) = ns.equalize(chip).equalization.pairs
    assert (pair.status, pair.reason) == ("left", "the weight of the AnalogParametrizedLinear is computed from other parameters")


def test_the_report_reads_as_a_table() -> None:
    model: Any = ns.equalize(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)))
    lines = str(model.equalization).splitlines()
    assert lines[0].startswith("1 pairs of layers equalised in")
    assert lines[1].split() == ["layer", "feeds", "status", "use", "now", "reason"]
    assert [line.split()[:3] for line in lines[2:]] == [["0", "2", "equalised"], ["2", "4", "left"]]
    assert model.equalization.to_dict()["pairs"][1]["reason"] == "Tanh is between them, and no factor passes through it"


def test_a_network_on_hardware_is_equalised_in_its_clean_weights() -> None:
    model = unbalanced(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
    chip: Any = ns.to_analog(model, "photonic_avnn", seed=0)
    assert ns.equalize(chip, inplace=True) is chip
    torch.testing.assert_close(dict(ns.to_digital(chip).named_parameters()), dict(ns.equalize(model).named_parameters()))


def test_equalised_weights_lose_less_when_a_layer_has_one_range() -> None:
    """63 levels; channels are made up to 100 times larger in one layer than others, and smaller in the next."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8))
    factors = 10 ** (2 * ns.random.stream(1, "imbalance").uniform((32,), like=torch.empty(0)) - 1)
    model.get_parameter("0.weight").detach().mul_(factors[:, None])
    model.get_parameter("0.bias").detach().mul_(factors)
    model.get_parameter("2.weight").detach().div_(factors)
    x = normal(500, 16)

    @torch.no_grad()
    def error(network: nn.Module) -> float:
        rounded = copy.deepcopy(network)
        for value in rounded.parameters():
            if value.dim() > 1:
                step = value.detach().abs().max() / 31
                value.detach().copy_((value / step).round() * step)
        return float((rounded(x) - network(x)).square().mean() / network(x).square().mean())

    assert error(ns.equalize(model)) < error(model) / 4


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"tolerance": 0.0}])
def test_settings_out_of_their_domain_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"equalize: (rounds|tolerance)"):
        ns.equalize(nn.Linear(2, 2), **settings)
