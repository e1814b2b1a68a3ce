"""Leaky integrator: linear, so everything about it has a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import neurosim as ns
from neurosim.neurons import LIState
from tests.neurons.cases import UNITS, drive, run_with

TAU, DT = 20e-3, 1e-3
A = math.exp(-DT / TAU)


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_a_step_of_current_charges_it_exponentially() -> None:
    """v after n steps is r x (1 − aⁿ)."""
    n = torch.arange(1, 81, dtype=torch.float64)
    membrane = ns.LI(TAU, DT, r=2.0)(torch.full((80, 1, 1), 0.3, dtype=torch.float64)).flatten()
    torch.testing.assert_close(membrane, 0.6 * (1 - torch.exp(-n * DT / TAU)))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_it_is_the_sum_of_what_every_input_leaves() -> None:
    """v at t is Σ a^(t−k) x at k: a product with a lower triangular matrix."""
    x = drive(30, dtype=torch.float64)
    t = torch.arange(30, dtype=torch.float64)
    left = torch.tril(A ** (t[:, None] - t).clamp(min=0))
    torch.testing.assert_close(ns.LI(TAU, DT)(x), torch.einsum("tk,kbn->tbn", left, x))


def test_it_starts_from_its_resting_potential_and_decays_to_it() -> None:
    rest = torch.linspace(-1.0, 1.0, UNITS, dtype=torch.float64)
    neuron = ns.LI(TAU, DT, v_leak=rest)
    dark = torch.zeros(20, 3, UNITS, dtype=torch.float64)
    torch.testing.assert_close(neuron(dark), rest.expand(20, 3, UNITS))
    _, state = neuron.run(dark, LIState(rest.expand(3, UNITS) + 1))
    torch.testing.assert_close(state.v, rest.expand(3, UNITS) + math.exp(-20 * DT / TAU))


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_its_gradients_are_exact() -> None:
    x = drive(10, 2, 3, dtype=torch.float64).requires_grad_()
    v = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    neuron = ns.LI(TAU * torch.linspace(0.5, 2, 3), DT, v_leak=0.2, r=3.0, learn=ns.LI.learnable).double()

    def membrane(x: Tensor, v: Tensor, *values: Tensor) -> tuple[Tensor, Tensor]:
        out, state = run_with(neuron, "run", values, x, LIState(v))
        return out, state.v

    assert torch.autograd.gradcheck(membrane, (x, v, *neuron.parameters()))


def test_a_time_constant_is_found_by_gradient_descent() -> None:
    """From 5 ms to the 20 ms that made the target."""
    x = drive(60)
    target = ns.LI(TAU, DT, r=1.0)(x)
    neuron = ns.LI(5e-3, DT, r=1.0, learn="tau_mem")
    optimizer = torch.optim.Adam(neuron.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (neuron(x) - target).square().mean().backward()
        optimizer.step()
    assert torch.as_tensor(neuron.tau_mem).item() == pytest.approx(TAU, rel=0.01)


def test_it_has_no_threshold() -> None:
    with pytest.raises(ns.ConfigError, match=r"^LI: with_threshold needs a neuron that fires; this one has no threshold$"):
        ns.LI(TAU, DT).with_threshold(1.0)
