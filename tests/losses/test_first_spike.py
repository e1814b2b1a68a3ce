"""The time of the first spike, its two gradients, and the losses on it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.losses import first_spike_cross_entropy, first_spike_margin, first_spike_mse, first_spike_time

EVERY_TRAIN = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64).T[:, None]  # (6, 1, 64)


def by_hand(train: Tensor, silent: float) -> float:
    return next((step for step, value in enumerate(train.tolist()) if value > 0), silent)


def gradient_of(train: Tensor, **settings: Any) -> Tensor:
    x = train.clone().requires_grad_()
    (grad,) = torch.autograd.grad(first_spike_time(x, **settings).sum(), x)
    return grad


@pytest.mark.parametrize("gradient", ["flip", "sign"])
@pytest.mark.parametrize(("silent", "time"), [("after", 6), ("last", 5)])
def test_the_time_is_that_of_the_first_spike(gradient: Any, silent: Any, time: float) -> None:
    expected = [by_hand(train, time) for train in EVERY_TRAIN[:, 0].unbind(1)]
    assert first_spike_time(EVERY_TRAIN, gradient=gradient, silent=silent).flatten().tolist() == expected


@pytest.mark.parametrize(("silent", "time"), [("after", 6), ("last", 5)])
def test_the_flip_gradient_is_what_one_spike_more_or_less_changes(silent: Any, time: float) -> None:
    """For all 64 trains of 6 steps, and every step of each."""
    grad = gradient_of(EVERY_TRAIN, silent=silent)
    for unit, train in enumerate(EVERY_TRAIN[:, 0].unbind(1)):
        for step in range(6):
            added, removed = train.clone(), train.clone()
            added[step], removed[step] = 1, 0
            assert grad[step, 0, unit] == by_hand(added, time) - by_hand(removed, time)


@pytest.mark.parametrize(("silent", "time"), [("after", 6), ("last", 5)])
def test_the_sign_gradient_is_minus_one_at_the_first_spike_or_the_last_step(silent: Any, time: float) -> None:
    grad = gradient_of(EVERY_TRAIN, gradient="sign", silent=silent)
    for unit, train in enumerate(EVERY_TRAIN[:, 0].unbind(1)):
        expected = torch.zeros(6, dtype=torch.float64)
        expected[min(int(by_hand(train, time)), 5)] = -1
        assert torch.equal(grad[:, 0, unit], expected)


def test_for_probabilities_it_is_the_expected_time() -> None:
    """Against the mean over all trains, each with its probability."""
    p = torch.rand(6, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trains = EVERY_TRAIN[:, 0].T[:, :, None, None]  # (64, 6, 1, 1)
    likely = (trains * p + (1 - trains) * (1 - p)).prod(1)
    times = first_spike_time(EVERY_TRAIN).flatten()[:, None, None]
    torch.testing.assert_close(first_spike_time(p), (likely * times).sum(0))
    assert torch.autograd.gradcheck(first_spike_time, p.requires_grad_())


def test_several_spikes_in_a_step_are_one() -> None:
    counts = EVERY_TRAIN * 3
    assert torch.equal(first_spike_time(counts), first_spike_time(EVERY_TRAIN))
    assert gradient_of(counts).isfinite().all()


@pytest.mark.parametrize("gradient", ["flip", "sign"])
def test_long_sequences_in_16_bits_have_exact_times(gradient: Any) -> None:
    s = torch.zeros(3000, 1, 2, dtype=torch.bfloat16)
    s[2999, 0, 0] = 1
    assert first_spike_time(s, gradient=gradient).tolist() == [[2999.0, 3000.0]]


def test_units_may_have_any_shape() -> None:
    s = (torch.rand(7, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert torch.equal(first_spike_time(s).flatten(), first_spike_time(s.flatten(2)).flatten())


def test_one_step_is_fired_or_not() -> None:
    s = torch.tensor([[[0.0, 1.0]]])
    assert first_spike_time(s).tolist() == [[1.0, 0.0]]
    assert first_spike_time(s, silent="last").tolist() == [[0.0, 0.0]]


def test_a_word_that_is_no_rule_is_refused() -> None:
    wrong: Any = "flop"
    with pytest.raises(ConfigError, match="first_spike_time: gradient: must be one of 'flip', 'sign', got 'flop'; did you mean 'flip'"):
        first_spike_time(EVERY_TRAIN, gradient=wrong)
    with pytest.raises(ConfigError, match="first_spike_time: silent: must be one of 'after', 'last', got 'flop'"):
        first_spike_time(EVERY_TRAIN, silent=wrong)


# --- losses ----------------------------------------------------------------------------------------------------------------------------

STAIRS = torch.eye(4, dtype=torch.float64)[:, None]  # unit c fires at step c


def test_a_lead_of_tau_steps_makes_a_class_e_times_as_likely() -> None:
    for tau in (1.0, 2.5):
        found = [first_spike_cross_entropy(STAIRS, torch.tensor([c]), tau=tau).item() for c in range(4)]
        assert [later - sooner for sooner, later in itertools.pairwise(found)] == pytest.approx([1 / tau] * 3)


def test_times_that_are_wanted_cost_nothing_and_others_their_square() -> None:
    wanted = torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert first_spike_mse(STAIRS, wanted).item() == 0
    assert first_spike_mse(STAIRS, wanted + 1).item() == pytest.approx(1 / 16)
    assert first_spike_mse(STAIRS, wanted + 1, tolerance=1.5).item() == 0
    assert first_spike_mse(STAIRS, wanted + 1, tolerance=1.0).item() == pytest.approx(1 / 16)
    assert first_spike_mse(STAIRS, torch.tensor([1]), on=1.0, off=3.0).item() == pytest.approx((9 + 0 + 1 + 0) / 16 / 4)


def test_others_are_wanted_silent_unless_said_otherwise() -> None:
    only = torch.zeros(4, 1, 3)
    only[0, 0, 1] = 1
    assert first_spike_mse(only, torch.tensor([1])).item() == 0


def test_the_margin_counts_from_the_earliest_other() -> None:
    late = first_spike_margin(STAIRS, torch.tensor([3]), margin=2.0)
    assert late.item() == pytest.approx((3 + 2 - 0) / 4)
    assert first_spike_margin(STAIRS, torch.tensor([0]), margin=1.0).item() == 0
    assert first_spike_margin(STAIRS, torch.tensor([0]), margin=1.5).item() == pytest.approx(0.5 / 4)
    assert first_spike_margin(STAIRS, torch.tensor([1]), margin=0.0, earliness=0.5).item() == pytest.approx((1 + 0.5) / 4)
    assert first_spike_margin(STAIRS[:, :, [0, 3]], torch.tensor([0]), margin=3.0).item() == 0
    assert first_spike_margin(STAIRS[:, :, [0, 3]], torch.tensor([0]), margin=3.5).item() == pytest.approx(0.5 / 4)
    assert first_spike_margin(STAIRS[:, :, 2:3], torch.tensor([0]), margin=3.0, earliness=1.0).item() == pytest.approx(2 / 4)  # alone


@pytest.mark.parametrize("loss", [first_spike_cross_entropy, first_spike_mse, first_spike_margin])
def test_gradients_through_probabilities_are_those_of_finite_differences(loss: Any) -> None:
    p = torch.rand(6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda s: loss(s, y), p)


@pytest.mark.parametrize("loss", [first_spike_cross_entropy, first_spike_mse, first_spike_margin])
def test_a_network_whose_output_is_silent_is_told_to_fire(loss: Any) -> None:
    """The flip gradient reaches every step of a silent unit: a spike anywhere would make the right class earlier."""
    s = torch.zeros(5, 1, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(s, torch.tensor([2])), s)
    assert (grad[:, 0, 2] < 0).all()
    assert (grad[1:, 0, 2] > grad[:-1, 0, 2]).all()  # the earlier, the better


def test_a_network_learns_to_decide_by_its_first_spike() -> None:
    """Six classes of six prototypes: from chance to all of them."""
    torch.manual_seed(0)
    prototypes = torch.rand(6, 20)
    net = torch.nn.Sequential(torch.nn.Linear(20, 40), ns.LIF(10e-3, 1e-3), torch.nn.Linear(40, 6), ns.LIF(10e-3, 1e-3))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    x, y = ns.encoding.latency(prototypes, 12), torch.arange(6)
    for _ in range(80):
        loss = first_spike_cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(first_spike_time(net(x)).argmin(1), y)
    assert loss.item() < math.log(6) / 3
