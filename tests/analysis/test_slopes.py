"""Slopes of activations under the noise of hardware, beside closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, DataError

SIGMA = 0.0927  #: of a leakage of 0.5 with 8 levels a unit
SAMPLES, UNITS, DRAWS = 1024, 32, 4


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(9, name).normal(shape, like=torch.empty(0))


def noisy(activation: nn.Module, **noise: Any) -> nn.Module:
    """An orthogonal layer, which leaves Gaussian inputs Gaussian and whose only error is noise on its outputs, before an activation."""
    layer = nn.Linear(UNITS, UNITS, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.linalg.qr(normal(UNITS, UNITS, name="W"))[0])
    stages = {
        "input.scale": None,
        "weight.scale": None,
        "output.noise": {"kind": "noise", "distribution": "gaussian", **(noise or {"precision": 8, "leakage": 0.5})},
    }
    return ns.to_analog(nn.Sequential(layer, activation), "ideal", overrides={"*": stages}, seed=3)


def within(found: float, expected: float, variance: float) -> bool:
    """Five standard errors of a mean over units that are independent; draws of the noise share their unit."""
    return abs(found - expected) <= 5 * math.sqrt(variance / (SAMPLES * UNITS))


def test_a_relus_slope_changes_as_often_as_noise_crosses_zero() -> None:
    found = ns.slope_noise(noisy(nn.ReLU()), normal(SAMPLES, UNITS), draws=DRAWS)
    (one,) = found.layers
    expected = math.atan(SIGMA) / math.pi
    assert one.path == "1"
    assert one.sigma == pytest.approx(SIGMA, rel=5 / math.sqrt(2 * SAMPLES * UNITS * DRAWS) + 1e-3)
    assert one.variance == pytest.approx(1, abs=5 * math.sqrt(2 / (SAMPLES * UNITS)))
    assert within(one.measured, expected, expected * (1 - expected))  # the change is 0 or 1
    assert one.predicted == pytest.approx(math.atan(one.sigma / one.variance**0.5) / math.pi, rel=1e-3)
    assert (found.measured, found.predicted, found.samples, found.draws) == (one.measured, one.predicted, SAMPLES, DRAWS)


@pytest.mark.parametrize("inplace", [False, True])
def test_a_leaky_slope_changes_less_and_a_straight_line_does_not(inplace: bool) -> None:
    x = normal(SAMPLES, UNITS)
    plain = ns.slope_noise(noisy(nn.ReLU(inplace)), x).measured
    leaky = ns.slope_noise(noisy(nn.LeakyReLU(0.25, inplace)), x)
    assert leaky.measured == pytest.approx(0.75**2 * plain, rel=1e-6)
    assert leaky.predicted == pytest.approx(0.75**2 * math.atan(SIGMA) / math.pi, rel=0.01)
    assert ns.slope_noise(noisy(nn.LeakyReLU(1.0, inplace)), x).measured == 0


def test_little_noise_moves_a_smooth_slope_by_its_curvature() -> None:
    sigma = 0.01
    found = ns.slope_noise(noisy(nn.Tanh(), scale=sigma), normal(SAMPLES, UNITS)).layers[0]
    z = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    bend = (2 * z.tanh() * (1 - z.tanh() ** 2)).square()
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    expected, second = (float(torch.trapezoid(one * density, z)) * sigma**2 for one in (bend, bend.square() * sigma**2))
    assert within(found.measured, expected, 3 * second)
    assert found.predicted == pytest.approx(expected, rel=0.02)


def test_scales_of_channels_are_predicted_one_by_one() -> None:
    slopes = nn.PReLU(UNITS)
    with torch.no_grad():
        slopes.weight.copy_(torch.linspace(-1, 1, UNITS))
    found = ns.slope_noise(noisy(slopes), normal(SAMPLES, UNITS)).layers[0]
    expected = float((1 - torch.linspace(-1, 1, UNITS)).square().mean()) * math.atan(SIGMA) / math.pi
    assert found.predicted == pytest.approx(expected, rel=0.01)
    assert found.measured == pytest.approx(expected, rel=0.1)


def test_without_noise_nothing_changes_and_no_prediction_is_made_for_what_is_no_curve() -> None:
    x = normal(64, UNITS)
    still = ns.slope_noise(noisy(nn.GELU(), scale=0.0), x).layers[0]
    assert (still.sigma, still.measured, still.predicted) == (0, 0, 0)
    centred = ns.slope_noise(noisy(ns.activations.activation({"kind": "centred", "base": "relu"})), x)
    assert centred.predicted is None
    assert centred.measured == ns.slope_noise(noisy(nn.ReLU()), x).measured
    faint = ns.slope_noise(noisy(nn.ReLU(), scale=1e-5), x).layers[0]
    assert faint.predicted is None


def test_the_model_goes_on_as_if_nothing_had_been_measured() -> None:
    x = normal(16, UNITS)
    model, other = noisy(nn.GELU()).train(), noisy(nn.GELU()).train()
    before = [len(module._forward_pre_hooks) for module in model.modules()]
    found = ns.slope_noise(model, [(x, torch.zeros(16)), (x, torch.zeros(16))], draws=1)
    assert found.samples == 32
    assert torch.equal(model(x), other(x))
    assert [len(module._forward_pre_hooks) for module in model.modules()] == before
    assert "1           0.09" in str(found)
    assert found.to_dict()["layers"][0]["path"] == "1"


def test_what_cannot_be_measured_is_refused() -> None:
    x = normal(4, UNITS)
    model = noisy(nn.GELU())
    for wrong, message in (
        (lambda: ns.slope_noise(nn.Linear(2, 2), x), "slope_noise: model must be on hardware, is digital"),
        (lambda: ns.slope_noise(noisy(nn.Flatten()), x), "slope_noise: the model must have an activation"),
        (lambda: ns.slope_noise(noisy(ns.activations.activation("groupsort")), x), "an activation that works element by element, has none"),
        (lambda: ns.slope_noise(model, x, draws=0), "slope_noise: draws: must be"),
        (lambda: ns.slope_noise(model, []), "slope_noise: "),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()
    with pytest.raises(DataError, match=r"slope_noise: the model must take a batch of shape \(4, 3\)"):
        ns.slope_noise(model, normal(4, 3))


def test_it_is_the_same_in_inference_mode_and_refuses_stacks_of_chips() -> None:
    x, model = normal(64, UNITS), noisy(nn.ReLU())
    with torch.inference_mode():
        inside = ns.slope_noise(model, x)
    assert inside == ns.slope_noise(model, x)
    assert inside.measured > 0
    with pytest.raises(ConfigError, match="slope_noise: the model must be one chip, got a stack of 2"):
        ns.slope_noise(ns.chips(model, 2), x)
