"""Quantised activations, what their changes cost, and how many they are."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.nn import DeltaActivation, SpikingSequential, TimeFold, delta_cost, delta_quantize, delta_rate, watch_deltas
from neurosim.random import stream


def noise(*shape: int, name: str = "x", dtype: torch.dtype = torch.float64) -> Tensor:
    return stream(3, name).normal(shape, like=torch.empty(0, dtype=dtype))


@pytest.mark.parametrize("gradient", ["lsq", "authors"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_activations_are_the_nearest_multiples_of_the_step_ties_to_even(gradient: Any, dtype: torch.dtype) -> None:
    x = torch.tensor([-0.75, -0.3, -0.25, 0.0, 0.2, 0.25, 0.3, 0.75, 1.25, 100.1], dtype=dtype)
    wanted = [-1.0, -0.5, -0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 100.0]
    assert delta_quantize(x, 0.5, gradient).tolist() == wanted


def test_levels_are_exact_integers_for_any_step() -> None:
    """The straight-through estimator adds and takes away x/q: nothing must be left of it."""
    x, q = noise(20_000) * 30, 0.1234567
    assert torch.equal(delta_quantize(x, q), torch.round(x / q) * q)
    assert torch.equal(delta_quantize(x.float(), q), torch.round(x.float() / torch.tensor(q)) * torch.tensor(q))


def test_the_gradient_of_the_input_passes_straight_through() -> None:
    for gradient in ("lsq", "authors"):
        x, weight = noise(50).requires_grad_(), noise(50, name="w")
        (delta_quantize(x, 0.3, gradient) * weight).sum().backward()
        assert x.grad is not None
        assert torch.allclose(x.grad, weight, rtol=1e-14)


def test_the_lsq_gradient_of_the_step_is_that_of_the_function_with_its_rounding_error_held() -> None:
    """Finite differences of q (x/q + e) with e = round(x/q) − x/q fixed at the q of the forward: what the estimator stands for."""
    x, weight, q = noise(50), noise(50, name="w"), 0.3
    step = torch.tensor(q, dtype=torch.float64, requires_grad=True)
    (delta_quantize(x, step) * weight).sum().backward()
    error = torch.round(x / q) - x / q
    differences = [(weight * at * (x / at + error)).sum() for at in (q + 1e-6, q - 1e-6)]
    assert step.grad is not None
    assert step.grad.item() == pytest.approx(float(differences[0] - differences[1]) / 2e-6, rel=1e-8)


def test_the_authors_gradient_is_that_at_fixed_levels_with_its_sign_turned_and_enlarges_the_step_under_the_cost() -> None:
    x, q = noise(6, 50), 0.3
    step = torch.tensor(q, dtype=torch.float64, requires_grad=True)
    delta_cost(delta_quantize(x, step, "authors")).backward()
    levels = torch.round(x / q)
    assert step.grad is not None
    assert step.grad.item() == pytest.approx(-float((levels[1:] - levels[:-1]).abs().mean()), rel=1e-12)
    assert step.grad < 0  # descent enlarges the step


def test_a_step_per_channel_receives_the_gradient_of_its_channel() -> None:
    x = noise(4, 2, 3, 5, 5)
    steps = torch.tensor([0.1, 0.2, 0.4], dtype=torch.float64).reshape(3, 1, 1).requires_grad_()
    delta_quantize(x, steps).square().sum().backward()
    for channel in range(3):
        alone = steps.detach()[channel].clone().requires_grad_()
        delta_quantize(x[:, :, channel], alone).square().sum().backward()
        assert steps.grad is not None
        assert alone.grad is not None
        assert steps.grad[channel].item() == pytest.approx(alone.grad.item(), rel=1e-12)


def test_the_cost_and_the_rate_of_a_known_sequence() -> None:
    a = torch.tensor([[1.0, 5.0], [1.0, 3.0], [2.0, 3.0]])  # changes 0, 2 and 1, 0; the first frame does not count
    assert float(delta_cost(a)) == pytest.approx(3 / 4)
    assert float(delta_rate(a)) == pytest.approx(2 / 4)


def test_one_frame_costs_nothing_and_has_a_gradient_of_zero() -> None:
    a = torch.ones(1, 3, requires_grad=True)
    delta_cost(a).backward()
    assert a.grad is not None
    assert not a.grad.any()
    assert float(delta_rate(a)) == 0


def test_a_larger_step_never_makes_more_events_of_a_monotone_ramp() -> None:
    ramp = torch.linspace(0, 10, 1001)[:, None, None]
    rates = [float(delta_rate(DeltaActivation(step)(ramp))) for step in (0.02, 0.1, 0.5, 2.0)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(5 / 1000)  # it crosses 1, 3, 5, 7 and 9


def test_the_step_stays_positive_however_it_is_learned() -> None:
    layer = DeltaActivation(0.01)
    optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
    x = noise(5, 2, 7, dtype=torch.float32)
    for _ in range(5):
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()
        assert 0 < float(layer.step.detach()) < math.inf


def test_a_fixed_step_is_a_buffer_and_is_saved() -> None:
    layer = DeltaActivation(torch.tensor([0.1, 0.2]), learn=False)
    assert not list(layer.parameters())
    twin = DeltaActivation(torch.tensor([1.0, 1.0]), learn=False)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin.step, layer.step)


@pytest.mark.parametrize("change", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_layer_survives_copying(change: Any) -> None:
    layer, x = DeltaActivation(0.3, rate=0.1, fan_out=4), noise(3, 2, 5, dtype=torch.float32)
    assert torch.equal(change(layer)(x), layer(x))


def test_a_layer_compiles_without_a_break() -> None:
    layer, x = DeltaActivation(0.3), noise(3, 2, 5, dtype=torch.float32)
    assert torch.equal(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


def test_watching_gives_the_loss_of_its_formula_and_leaves_no_hook() -> None:
    model = SpikingSequential(
        DeltaActivation(0.2, rate=0.5, fan_out=4), nn.Linear(3, 4), nn.ReLU(), DeltaActivation(0.1, rate=0.25, fan_out=2)
    )
    x = noise(6, 2, 3, dtype=torch.float32)
    with watch_deltas(model) as seen:
        model(x)
    first = delta_quantize(x, model[0].step)
    second = model[3](torch.relu(model[1](first)))
    wanted = 2 * (first[1:] - first[:-1]).abs().mean() + 0.5 * (second[1:] - second[:-1]).abs().mean()
    assert seen.loss().item() == pytest.approx(wanted.item(), rel=1e-6)
    assert seen.rates() == pytest.approx({"0": float(delta_rate(first)), "3": float(delta_rate(second))})
    assert all(not module._forward_hooks for module in model.modules())
    seen.loss().backward()
    assert model[0].log_step.grad is not None


def test_hooks_are_removed_when_the_model_fails() -> None:
    model = nn.Sequential(DeltaActivation(), nn.Linear(3, 4))
    with pytest.raises(RuntimeError), watch_deltas(model):
        model(torch.zeros(5, 2, 7))
    assert not model[0]._forward_hooks


def test_the_sparsity_loss_makes_a_network_send_less() -> None:
    """A layer that is free to do what it likes, trained on the loss alone, stops sending."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SpikingSequential(nn.Linear(3, 8), DeltaActivation(0.1, learn=False, rate=1.0))
    x = noise(20, 4, 3, dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    rates: list[float] = []
    for _ in range(60):
        with watch_deltas(model) as seen:
            model(x)
        optimizer.zero_grad()
        seen.loss().backward()
        optimizer.step()
        rates += seen.rates().values()
    assert rates[0] > 0.5
    assert rates[-1] < 0.25 * rates[0]


def test_chains_hand_the_layer_whole_sequences_and_folding_refuses_it() -> None:
    SpikingSequential(nn.Conv2d(1, 2, 3), nn.ReLU(), DeltaActivation(torch.full((2, 1, 1), 0.1)))(torch.rand(3, 2, 1, 5, 5))
    with pytest.raises(ns.ConfigError, match="must not need the time axis, but it is DeltaActivation"):
        TimeFold(DeltaActivation())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 0.0}, r"DeltaActivation\.step: must be more than 0, got 0"),
        ({"step": torch.tensor([0.1, -2.0])}, r"DeltaActivation\.step: must be more than 0, got -2"),
        ({"step": "0.1"}, r"DeltaActivation\.step: must be a number or a tensor"),
        ({"gradient": "lsk"}, r"DeltaActivation\.gradient: must be one of .*, got 'lsk'; did you mean 'lsq'\?"),
        ({"rate": -1.0}, r"DeltaActivation\.rate: must be 0 or more and finite, got -1"),
        ({"fan_out": torch.ones(2)}, r"DeltaActivation\.fan_out: must be a number, got a tensor"),
    ],
)
def test_arguments_out_of_their_domain_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=message):
        DeltaActivation(**arguments)


def test_what_cannot_be_watched_says_so() -> None:
    with pytest.raises(ns.ConfigError, match="must have a DeltaActivation, has none"), watch_deltas(nn.Linear(2, 2)):
        pass
    with watch_deltas(nn.Sequential(DeltaActivation())) as seen:
        pass
    with pytest.raises(ns.ConfigError, match="no DeltaActivation was called"):
        seen.loss()
    with pytest.raises(ns.ConfigError, match=r"delta_quantize: gradient: must be one of .*, got 'none'"):
        delta_quantize(torch.zeros(2), 0.1, "none")  # type: ignore[arg-type]  # that is the point
