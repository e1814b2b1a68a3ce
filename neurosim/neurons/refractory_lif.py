"""Leaky integrate-and-fire with a refractory period: after a spike it is deaf for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.firing import PLAIN_RESETS, Firing, PlainReset, Value, after_spike, fires
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream
from neurosim.surrogate import Surrogate

_ROUNDING: Final = 1e-6  #: of a step: 0.002 s are two steps of 0.001 s, whatever floating point makes of the quotient


class RefractoryState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``
    remaining: Tensor  #: steps for which the neuron is still deaf, whole numbers, ``(batch, *units)``


class RefractoryParameters(NamedTuple):
    """What :func:`refractory_step` takes: numbers, or tensors that broadcast to the units."""

    decay: Value  #: what is left of the potential after a step
    gain: Value  #: potential per input
    bias: Value  #: potential that every step adds
    steps: Value  #: for how many steps a spike makes the neuron deaf
    firing: Firing


def refractory_step(x: Tensor, state: RefractoryState, p: RefractoryParameters) -> tuple[Tensor, RefractoryState]:
    """One step of :class:`RefractoryLIF`: the spikes, and the next state."""
    hears = state.remaining <= 0
    h = torch.where(hears, p.decay * state.v + p.gain * x + p.bias, state.v)
    spikes = torch.where(hears, fires(h, p.firing), 0.0)
    remaining = torch.where(spikes > 0, p.steps, (state.remaining - 1).clamp(min=0))
    return spikes, RefractoryState(after_spike(h, spikes, p.firing), remaining)


@NEURONS.register("refractory_lif")
class RefractoryLIF(FiringNeuron[RefractoryState]):
    r"""Leaky integrate-and-fire neurons with an absolute refractory period.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t \qquad (n_t = 0)

    .. math:: v_t = v_{t-1}, \qquad s_t = 0 \qquad (n_t > 0)

    with n the steps that are left of the refractory period: a spike sets it to N, every other step takes one away, and while there are
    any the potential stays where the reset led it and the input is lost. Two spikes are N + 1 steps apart at least. The rest is as for
    :class:`LIF`, which this is for N = 0.

    Args:
        tau_mem: Membrane time constant, seconds, > 0; ``math.inf`` does not leak.
        t_ref: Refractory period, seconds, 0 or more. It lasts whole steps, :math:`N = \lceil t_\mathrm{ref}/\Delta t \rceil`: never
            shorter than asked for.
        dt: Step of the input, seconds, > 0.
        reset: ``"soft"`` subtracts ρ, ``"hard"`` goes to ``v_reset``, ``"none"`` leaves the potential alone.
        v_threshold, v_reset, v_leak, r, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        learn: Parameters to learn, of those of :class:`LIF`.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v``, ``remaining`` ``(batch, *units)``. Parameters are numbers or broadcast
        to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", Cambridge 2014, section 1.3.1.

    >>> import math, torch
    >>> RefractoryLIF(tau_mem=math.inf, t_ref=2e-3, dt=1e-3)(torch.ones(7, 1, 1)).flatten()
    tensor([1., 0., 0., 1., 0., 0., 1.])
    """

    learnable: ClassVar = ("tau_mem", "v_threshold", "v_reset", "v_leak", "r", "reset_by")

    t_ref: float | Tensor

    def __init__(
        self,
        tau_mem: float | Tensor,
        t_ref: float | Tensor,
        dt: float,
        *,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor = 0.0,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        reset: PlainReset = "soft",
        reset_by: float | Tensor | None = None,
        sign: float | Tensor = 1.0,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = "arctan",
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        self._keep("t_ref", t_ref, "0 or more and finite")
        self._keep_leak(tau_mem, r, v_leak)
        self._keep_firing(
            v_threshold=v_threshold,
            v_reset=v_reset,
            reset=reset,
            reset_by=reset_by,
            sign=sign,
            strict=strict,
            detach_reset=detach_reset,
            surrogate=surrogate,
            resets=PLAIN_RESETS,
        )

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    def _steps(self, x: Tensor, state: RefractoryState | None, stream: Stream | None, record: bool) -> Passed[RefractoryState]:
        return in_turn(refractory_step, x, self._begin(x, state), self._parameters_for(x), record)

    def _begin(self, x: Tensor, state: RefractoryState | None) -> RefractoryState:
        self._check(x, state, RefractoryState)
        return RefractoryState(self._spread(x, self.v_leak), self._spread(x, 0.0)) if state is None else state

    def _parameters_for(self, x: Tensor) -> RefractoryParameters:
        steps = torch.ceil(torch.as_tensor(self.t_ref, device=x.device) / self.dt - _ROUNDING)
        return RefractoryParameters(**self._leak_at(x), steps=self._at(x, steps), firing=self._rule(x))
