"""Weights within limits."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import clip_after_steps, clip_limit
from neurosim.errors import ConfigError


def chip(model: nn.Module) -> Any:
    return ns.to_analog(model, "photonic_avnn", seed=0)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 3))


LIMITS: list[tuple[dict[str, Any], Any]] = [
    ({"fixed": 0.1}, lambda w: 0.1),
    ({"k_sigma": 1.5}, lambda w: 1.5 * (w - w.mean()).square().mean().sqrt()),
    ({"average_channel_max": True}, lambda w: sum(row.abs().max() for row in w) / len(w)),
]


@pytest.mark.parametrize(("how", "limit"), LIMITS)
def test_weights_beyond_the_limit_are_put_on_it_and_others_and_biases_stay(how: dict[str, Any], limit: Any) -> None:
    model = network()
    one = chip(model)
    ns.clip_weights(one, **how)
    for at in (0, 2):
        weight: Tensor = model.get_parameter(f"{at}.weight").detach()
        c = float(limit(weight))
        assert 0 < float((weight.abs() > c).float().mean()) < 1
        torch.testing.assert_close(one[at].weight.detach(), weight.clamp(-c, c), rtol=1e-5, atol=1e-7)
        assert torch.equal(one[at].bias, model.get_parameter(f"{at}.bias"))


def test_only_the_layers_that_are_named_are_clipped() -> None:
    model = network()
    one = chip(model)
    ns.clip_weights(one, fixed=0.01, layers="2")
    assert torch.equal(one[0].weight, model.get_parameter("0.weight"))
    assert float(one[2].weight.detach().abs().max()) == pytest.approx(0.01)


def test_after_every_step_of_an_optimizer_the_weights_are_within_the_limit_until_the_handle_is_removed() -> None:
    one = chip(network())
    optimizer = torch.optim.SGD(one.parameters(), lr=1.0)
    handle = clip_after_steps(one, optimizer, fixed=0.05)
    assert float(one[2].weight.detach().abs().max()) < 0.0501
    for keeps in (True, False):
        for value in one.parameters():
            value.grad = torch.full_like(value, -0.3)
        optimizer.step()
        assert (float(one[2].weight.detach().abs().max()) < 0.0501) == keeps
        handle.remove()


def test_a_limit_of_two_sigma_is_exact_on_a_matrix_that_is_known() -> None:
    matrix = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    assert clip_limit(matrix, k_sigma=2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (network, {}, "give one of k_sigma, fixed and average_channel_max, got none"),
        (network, {"fixed": 1.0, "average_channel_max": True}, "got fixed and average_channel_max"),
        (network, {"k_sigma": 0.0}, "clip_weights: k_sigma: must be a finite number > 0, got 0.0"),
        (network, {"fixed": 1.0, "layers": "1"}, "names no analog layer"),
    ],
)
def test_what_cannot_be_clipped_is_refused_and_stays(model: Any, how: dict[str, Any], message: str) -> None:
    one = chip(model())
    before = pickle.dumps(one)
    with pytest.raises(ConfigError, match=message):
        ns.clip_weights(one, **how)
    assert pickle.dumps(one) == before


def test_a_weight_that_is_computed_from_other_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="its weight is computed from other parameters, and cannot be clipped"):
        ns.clip_weights(chip(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))), fixed=1.0)


def test_a_digital_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer on simulated hardware"):
        ns.clip_weights(network(), fixed=1.0)
