"""The spike as a function."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.neurons import spike
from neurosim.surrogate import surrogate

Z = torch.tensor([-1.5, -0.25, 0.0, 0.25, 1.5])


def test_it_is_one_from_zero_on_or_above_zero_only() -> None:
    assert spike(Z).tolist() == [0, 0, 1, 1, 1]
    assert spike(Z, strict=True).tolist() == [0, 0, 0, 1, 1]
    assert spike(torch.tensor([math.nan, math.inf, -math.inf])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("name", list(ns.SURROGATES))
def test_its_gradient_is_the_surrogate(name: str) -> None:
    z = Z.clone().requires_grad_()
    (3 * spike(z, name)).sum().backward()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, 3 * surrogate(name).gradient(Z))


def _triangle(z: Tensor) -> Tensor:
    return spike(z, "triangle")


def test_it_is_batched() -> None:
    slopes = torch.func.vmap(torch.func.grad(_triangle))(Z)
    torch.testing.assert_close(slopes, surrogate("triangle").gradient(Z))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
def test_it_is_compiled() -> None:
    z = Z.clone().requires_grad_()
    torch.compile(_triangle, fullgraph=True, backend="aot_eager")(z).sum().backward()
    torch.testing.assert_close(z.grad, surrogate("triangle").gradient(Z))


def test_a_loop_over_steps_with_it_is_the_fused_neuron() -> None:
    """Values bit for bit; gradients to rounding."""
    x = ns.random.stream(8, "loop").uniform((12, 2, 5), like=Z) * 0.8
    fused, looped = x.clone().requires_grad_(), x.clone().requires_grad_()
    neuron = ns.LIF(20e-3, 1e-3, surrogate="gaussian")
    v, spikes = torch.zeros(2, 5), []
    for current in looped.unbind(0):
        h = math.exp(-1e-3 / 20e-3) * v + current
        s = spike(h - 1.0, "gaussian")
        v = h - s.detach()
        spikes.append(s)
    out = torch.stack(spikes)
    assert torch.equal(neuron(fused), out)
    weights = torch.arange(12.0)[:, None, None]
    (out * weights).sum().backward()
    (neuron(fused) * weights).sum().backward()
    assert fused.grad is not None
    torch.testing.assert_close(fused.grad, looped.grad)


def test_an_unknown_surrogate_is_answered_with_the_nearest() -> None:
    with pytest.raises(ns.ConfigError, match="did you mean 'arctan'"):
        spike(Z, "arctn")
