"""What the regularizers come to: closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from neurosim.errors import ConfigError
from neurosim.losses import FiringRate, MembraneBand, firing_rate, membrane_band, spike_budget
from tests.losses.cases import BATCH, STEPS, potentials, spikes


def test_by_default_it_is_the_mean_activity() -> None:
    s = spikes(2, 3)
    for scope in ("neuron", "sample", "layer"):
        torch.testing.assert_close(firing_rate(s, scope=scope), s.mean())  # type: ignore[arg-type]  # each is a scope


def test_rates_within_their_bounds_cost_nothing_and_have_no_gradient() -> None:
    s = spikes(5).requires_grad_()
    rates = s.detach().mean((0, 1))
    value = firing_rate(s, lower=float(rates.min()), upper=float(rates.max()))
    assert value == 0
    assert torch.autograd.grad(value, s)[0].abs().sum() == 0


def test_scopes_tell_who_has_a_rate() -> None:
    """One unit fires in every step of the first of two samples, the other unit in the second: at 1 and 0, 1/2 and 1/2, 1/2."""
    s = torch.zeros(4, 2, 2)
    s[:, 0, 0] = s[:, 1, 1] = 1
    assert firing_rate(s, upper=0.5, scope="neuron") == 0
    assert firing_rate(s, upper=0.5, scope="layer") == 0
    assert firing_rate(s, upper=0.5, scope="sample") == 0.25
    assert firing_rate(s, lower=0.5, upper=math.inf, scope="sample", power=2) == 0.125


def test_bounds_may_differ_from_unit_to_unit() -> None:
    s = torch.zeros(4, 1, 2)
    s[0] = 1  # both at 1/4
    found = firing_rate(s, lower=torch.tensor([0.5, 0.0]), upper=torch.tensor([1.0, 0.125]))
    assert found.item() == pytest.approx((0.25 + 0.125) / 2)
    with pytest.raises(ConfigError, match=r"firing_rate: lower must broadcast to the units \(2,\), got shape \(3,\)"):
        firing_rate(s, lower=torch.zeros(3), upper=1.0)
    with pytest.raises(ConfigError, match=r"firing_rate: lower must broadcast to the units \(\), got shape \(2,\)"):
        firing_rate(s, lower=torch.zeros(2), upper=1.0, scope="layer")


def test_penalties_of_layers_add_up() -> None:
    a, b = spikes(5), spikes(2, 3, rate=0.6)
    torch.testing.assert_close(firing_rate([a, b], upper=0.2), firing_rate(a, upper=0.2) + firing_rate(b, upper=0.2))
    torch.testing.assert_close(
        membrane_band((a, b), lower=0.1, upper=0.5), membrane_band(a, lower=0.1, upper=0.5) + membrane_band(b, lower=0.1, upper=0.5)
    )


def test_potentials_in_the_band_cost_nothing() -> None:
    v = potentials(4)
    assert membrane_band(v, lower=float(v.min()), upper=float(v.max())) == 0
    assert membrane_band(v, lower=-math.inf, upper=math.inf) == 0
    torch.testing.assert_close(membrane_band(v, lower=0, upper=0), v.square().mean())


def test_a_budget_is_shared_by_the_layers_of_a_sample() -> None:
    a, b = spikes(5), spikes(2, 3)
    counts = a.sum((0, 2)) + b.sum((0, 2, 3))
    budget = float(counts.sort().values[BATCH // 2])  # some samples are above, some below
    expected = torch.tensor([max(0.0, count / budget - 1) for count in counts.tolist()]).mean()
    assert expected > 0
    torch.testing.assert_close(spike_budget([a, b], budget=budget), expected)


def test_only_samples_over_the_budget_have_a_gradient() -> None:
    s = torch.zeros(STEPS, 2, 3)
    s[:, 0] = 1  # 27 spikes, and none
    x = s.requires_grad_()
    (grad,) = torch.autograd.grad(spike_budget(x, budget=10), x)
    torch.testing.assert_close(grad[:, 0], torch.full((STEPS, 3), 1 / 10 / 2))
    assert grad[:, 1].abs().sum() == 0


def test_layers_that_share_a_budget_have_the_same_batch() -> None:
    with pytest.raises(ConfigError, match="spike_budget: spikes must be of the same batch, got batches of 6, 5"):
        spike_budget([spikes(3), spikes(3)[:, :5]], budget=1)


@pytest.mark.parametrize(
    ("penalty", "settings", "message"),
    [
        (firing_rate, {"lower": 0.5, "upper": 0.1}, "firing_rate: lower must not be above upper, got lower=0.5, upper=0.1"),
        (firing_rate, {"lower": 0.5}, "firing_rate: lower must not be above upper, got lower=0.5, upper=0"),
        (firing_rate, {"upper": math.nan}, "firing_rate: upper: must be a finite number, got nan"),
        (firing_rate, {"power": 0.5}, "firing_rate: power: must be a finite number ≥ 1, got 0.5"),
        (firing_rate, {"scope": "layers"}, "firing_rate: scope: must be one of 'neuron', 'sample', 'layer', got 'layers'; did you mean"),
        (membrane_band, {"lower": 1.0, "upper": 0.0}, "membrane_band: lower must not be above upper"),
        (spike_budget, {"budget": 0}, "spike_budget: budget: must be a finite number > 0, got 0"),
        (lambda _, **given: FiringRate(**given), {"strength": -1.0}, "FiringRate.strength: must be a finite number ≥ 0, got -1.0"),
        (lambda _, **given: MembraneBand(**given), {"lower": 1.0, "upper": 0.0}, "MembraneBand: lower must not be above upper"),
    ],
)
def test_a_setting_that_does_not_hold_is_named(penalty: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        penalty(spikes(), **settings)
    assert message in str(caught.value)
