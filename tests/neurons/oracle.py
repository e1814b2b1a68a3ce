"""An independent judge of neurons: a loop by hand in numpy, and its finite differences.

A surrogate gradient is the derivative of no function of the whole input. But it is exactly the derivative, where the input is, of the loop
in which the k-th spike is s_k + S(z) − S(z_k), with s_k and z_k the spike and its argument at that input, and S the integral of the
surrogate: there the value is the hard spike, and its slope the surrogate. Finite differences of that loop know nothing of autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

import neurosim as ns

Array = Any  # of numpy
Values = dict[str, Array]


class Fire:
    """Θ in a loop by hand: called with potential minus threshold, it gives the spike, and the same for a reset that gradients ignore.

    Args:
        alpha: Of the arctangent surrogate.
        strict: Whether Θ(0) is 0.
    """

    def __init__(self, alpha: float = 2.0, strict: bool = False) -> None:
        self.alpha, self.strict = alpha, strict
        self.recorded: list[tuple[Array, Array]] = []
        self.next: int | None = None  # None records

    def __call__(self, z: Array) -> tuple[Array, Array]:
        if self.next is None:
            fired = (z > 0 if self.strict else z >= 0).astype(z.dtype)
            self.recorded.append((z, fired))
            return fired, fired
        at, fired = self.recorded[self.next]
        self.next += 1
        return fired + self._integral(z) - self._integral(at), fired

    def _integral(self, z: Array) -> Array:
        return np.arctan(math.pi / 2 * self.alpha * z) / math.pi


#: input and parameters, by name, to spikes and potentials
Loop = Callable[[Values, Fire], tuple[Array, Array]]


def reset_by_hand(h: Array, fired: tuple[Array, Array], reset: str, detach: bool, by: Array, to: Array) -> Array:
    """The potential after a spike, for one reset of three."""
    s = fired[1] if detach else fired[0]
    return {"soft": h - by * s, "hard": h * (1 - s) + to * s, "none": h}[reset]


def values_of(neuron: ns.Neuron[Any], x: Tensor) -> Values:
    """The input and everything that the neuron learns."""
    return {"x": x.numpy().copy(), **{name: one.detach().numpy().copy() for name, one in neuron.named_parameters()}}


def agrees(neuron: ns.Neuron[Any], loop: Loop, x: Tensor, fire: Fire | None = None, step: float = 1e-6) -> None:
    """Assert that a neuron gives the spikes, potentials and gradients of a loop.

    Args:
        neuron: In float64.
        loop: The same neuron by hand.
        x: Input, float64.
        fire: The spike of the loop.
        step: Of the finite differences.
    """
    fire = Fire() if fire is None else fire
    values = values_of(neuron, x)
    spikes, potentials = loop(values, fire)
    given = x.clone().requires_grad_()
    trace = cast("ns.LIF", neuron).trace(given)  # every neuron that fires has it
    np.testing.assert_array_equal(trace.spikes.detach().numpy(), spikes)
    np.testing.assert_allclose(trace.v.detach().numpy(), potentials, rtol=1e-9, atol=1e-11)
    assert 0 < (spikes > 0).sum() < spikes.size

    weights = [np.cos(np.arange(spikes.size) * k).reshape(spikes.shape) for k in (1.0, 0.3)]

    def loss() -> float:
        fire.next = 0
        sent, v = loop(values, fire)
        return float((sent * weights[0]).sum() + (v * weights[1]).sum())

    ((trace.spikes * torch.from_numpy(weights[0])).sum() + (trace.v * torch.from_numpy(weights[1])).sum()).backward()
    found = {"x": given.grad, **{name: one.grad for name, one in neuron.named_parameters()}}
    for name, value in values.items():
        expected = _differences(loss, value, step)
        grad = found[name]
        got = np.zeros_like(value) if grad is None else grad.numpy()
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-6 * scale, err_msg=name)
    assert set(found) == set(values)


def _differences(loss: Callable[[], float], value: Array, step: float) -> Array:
    """Central differences with respect to every element of an array that the loss reads."""
    grads = np.zeros_like(value)
    for at in np.ndindex(value.shape):
        kept = value[at]
        ends = []
        for moved in (kept + step, kept - step):
            value[at] = moved
            ends.append(loss())
        value[at] = kept
        grads[at] = (ends[0] - ends[1]) / (2 * step)
    return grads
