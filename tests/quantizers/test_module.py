"""Layers that round, forwards and backwards."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.quantizers import GradientQuantizer, Quantizer, channel_limits, fake_quantize, number_format, shift_limits


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(9, name).normal(shape, like=torch.empty(0))


def test_a_limit_that_is_not_given_follows_the_signal() -> None:
    x = normal(4, 6, 2)
    each = channel_limits(x, 1)
    assert torch.equal(Quantizer("e2m1")(x), fake_quantize(x, "e2m1", x.abs().amax()))
    assert torch.equal(Quantizer("e2m1", axis=1)(x), fake_quantize(x, "e2m1", each))
    assert torch.equal(Quantizer("e2m1", axis=1, shifts=3)(x), fake_quantize(x, "e2m1", shift_limits(each, 3)))
    blocks = Quantizer("e2m1", block=4)(x).reshape(-1, 4)
    assert torch.equal(blocks, fake_quantize(x.reshape(-1, 4), "e2m1", channel_limits(x.reshape(-1, 4), 0)))
    assert Quantizer("int4")(torch.empty(0, 3)).shape == (0, 3)


def test_a_learned_limit_is_trained_and_saved() -> None:
    x, layer = normal(500), Quantizer("int4", 0.2, learned=True)
    assert layer.limit is not None
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (layer(x) - x).square().mean().backward()
        optimiser.step()
    assert float(layer.limit.detach()) == pytest.approx(ns.quantizers.best_limit(x, "int4"), rel=0.15)
    other = Quantizer("int4", 1.0, learned=True)
    other.load_state_dict(layer.state_dict())
    for one in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(one(x), layer(x))


def test_an_offset_brings_a_range_about_zero_and_is_taken_back() -> None:
    x = 5 + torch.linspace(-1, 1, 101)
    plain, moved = Quantizer("int4", 6.0)(x), Quantizer("int4", 1.0, offset=torch.tensor(5.0))(x)
    assert float((moved - x).abs().max()) <= 1 / 14 + 1e-6
    assert float((plain - x).abs().max()) > 5 * float((moved - x).abs().max())


def test_stochastic_layers_draw_anew_and_can_be_set_back() -> None:
    x, layer = torch.full((64,), 0.4), Quantizer("int3", 3.0, rounding="stochastic", seed=3)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    assert layer.clock is not None
    layer.clock.rewind()
    assert torch.equal(layer(x), first)
    assert torch.equal(Quantizer("int3", 3.0, rounding="stochastic", seed=3)(x), first)
    assert not torch.equal(Quantizer("int3", 3.0, rounding="stochastic", seed=3, name="other")(x), first)


def test_gradients_are_rounded_backwards_and_keep_their_mean() -> None:
    layer, x = GradientQuantizer("int4", axis=1), normal(3000, 2).requires_grad_()
    g = torch.tensor([0.3, 0.05]) * normal(3000, 2, name="g")
    y = layer(x)
    assert torch.equal(y, x)
    (found,) = torch.autograd.grad(y, x, g)
    steps = found / (channel_limits(g, 1) / 7)
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
    step = channel_limits(g, 1).squeeze() / 7
    assert bool(((found - g).mean(0).abs() < 5 * step / 2 / math.sqrt(3000)).all())
    assert len(found[:, 1].unique()) > 7  # a small channel has a range of its own


def test_both_products_of_a_backward_pass_are_of_numbers_of_a_format() -> None:
    """With integer weights, inputs and gradients, the gradients of weights and of inputs are sums of products of integers."""
    model: Any = ns.quantize(nn.Linear(5, 3, bias=False), weights="int4", activations="int4", gradients="int4", per="tensor")
    x, g = normal(7, 5).requires_grad_(), normal(7, 3, name="g")
    model(x).backward(g)
    weight, inputs = model.weight.detach(), fake_quantize(x.detach(), "int4", x.detach().abs().amax())
    step = float(g.abs().max()) / 7
    assert x.grad is not None
    codes = torch.linalg.lstsq(weight.T.double(), x.grad.T.double()).solution.T / step
    torch.testing.assert_close(codes, codes.round(), rtol=0, atol=1e-3)
    assert float(codes.abs().max()) <= 7.001
    torch.testing.assert_close(model.parametrizations.weight.original.grad, (codes.round() * step).float().T @ inputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"form": "int"}, "no number format is named 'int'"),
        ({"form": "int4", "limit": 0.0}, r"Quantizer.limit: must be > 0 and finite, got 0.0"),
        ({"form": "int4", "limit": torch.tensor([1])}, r"Quantizer.limit: must be > 0 and finite"),
        ({"form": "int4", "limit": 1.0, "axis": 0}, r"leave them out where limit is given"),
        ({"form": "int4", "shifts": 2}, r"axis must be given"),
        ({"form": "int4", "learned": True}, r"must be given, to start from"),
        ({"form": "int4", "grad": "lsq"}, r"Quantizer.grad: must be one of"),
        ({"form": "int4", "limit": "a"}, r"Quantizer.limit: must be a finite number"),
        ({"form": "int4", "offset": "a"}, r"Quantizer.offset: must be a tensor, got 'a'"),
        ({"form": "int4", "axis": "a"}, r"Quantizer.axis: must be a whole number"),
        ({"form": "int4", "block": 0}, r"Quantizer.block: must be a whole number, 1 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Quantizer(**arguments)


def test_a_layer_says_what_it_does() -> None:
    assert repr(Quantizer("e2m1", axis=1)) == "Quantizer(e2m1, axis=1)"
    assert repr(Quantizer("e2m1", 0.5, learned=True)) == "Quantizer(e2m1, limit=0.5, grad=lsq)"
    assert repr(Quantizer(number_format("int4"), 2.0)) == "Quantizer(Integer(bits=4, signed=True), limit=2)"


def test_the_straight_line_is_seen_in_forward_mode_and_at_infinity() -> None:
    x = torch.tensor([0.3, -2.0, math.inf])
    found: Any = torch.func.jvp(lambda one: fake_quantize(one, "int4", 1.0), (x,), (torch.ones(3),))
    assert found[1].tolist() == [1.0, 0.0, 0.0]
    assert fake_quantize(x.requires_grad_(), "int4", 1.0, grad="ste").detach().tolist() == pytest.approx([2 / 7, -1.0, 1.0])


def test_what_is_no_sample_and_no_number_is_refused() -> None:
    letter: Any = "a"
    with pytest.raises(ConfigError, match="best_limit: a sample must be a tensor, got 'a'"):
        ns.quantizers.best_limit(letter, "int4")
    with pytest.raises(ConfigError, match=r"Table.magnitudes\[0\]: must be a finite number, got 'a'"):
        ns.quantizers.Table((letter, letter))


def test_a_limit_below_zero_and_an_unknown_measure_are_refused() -> None:
    bogus: Any = "bogus"
    with pytest.raises(ConfigError, match=r"fake_quantize: limit: must be a finite number ≥ 0, got -1.0"):
        fake_quantize(torch.ones(2), "int4", -1.0)
    with pytest.raises(ConfigError, match="rounding_error: measure: must be one of 'mse', 'l1'"):
        ns.quantizers.rounding_error(torch.ones(2), "int4", 1.0, bogus)
