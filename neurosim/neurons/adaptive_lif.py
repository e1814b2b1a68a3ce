"""Leaky integrate-and-fire with an adaptive threshold: every spike makes the next one harder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.firing import PLAIN_RESETS, Firing, PlainReset, Value, after_spike, fires
from neurosim.neurons.parameters import remaining
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


class ALIFState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``
    a: Tensor  #: adaptation of the next step, in spikes, ``(batch, *units)``


class ALIFParameters(NamedTuple):
    """What :func:`alif_step` takes: numbers, or tensors that broadcast to the units."""

    decay: Value  #: what is left of the potential after a step
    gain: Value  #: potential per input
    bias: Value  #: potential that every step adds
    adapt_decay: Value  #: what is left of the adaptation after a step
    beta: Value  #: threshold per spike
    firing: Firing


def alif_step(x: Tensor, state: ALIFState, p: ALIFParameters) -> tuple[Tensor, ALIFState]:
    """One step of :class:`ALIF`: the spikes, and the next state."""
    h = p.decay * state.v + p.gain * x + p.bias
    spikes = fires(h, p.firing, raised_by=p.beta * state.a)
    return spikes, ALIFState(after_spike(h, spikes, p.firing), p.adapt_decay * state.a + spikes)


@NEURONS.register("alif")
class ALIF(FiringNeuron[ALIFState]):
    r"""Leaky integrate-and-fire neurons whose threshold rises with every spike and falls back: those of LSNNs.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad s_t = \Theta(\sigma(h_t - \theta) - \beta A_t), \qquad v_t = h_t - \rho\,s_t,
       \qquad A_{t+1} = \alpha\,A_t + s_t

    with :math:`\alpha = e^{-\Delta t/\tau_\mathrm{adapt}}`, and a, g, b as for :class:`LIF`. Gradients flow through the adaptation,
    whatever ``detach_reset`` says about the potential.

    The published equations reset one step later, :math:`h_{t+1} = a\,h_t + g\,x_{t+1} - \rho\,s_t`: these are the spikes of
    ``reset="soft"`` with ``reset_by`` ρ/a. Bellec et al. (2018) add (1 − α) s instead of s: their β times 1 − α is this one. norse's LSNN
    gives the input a synapse, decays by 1 − Δt/τ, resets hard, and lets what a spike adds to the threshold decay once before it counts.

    Args:
        tau_mem: Membrane time constant, seconds, > 0.
        tau_adapt: Time constant of the adaptation, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        beta: β, how much one spike raises the threshold.
        v_threshold: θ, the threshold without adaptation.
        reset: ``"soft"`` subtracts ρ, ``"hard"`` goes to ``v_reset``, ``"none"`` leaves the potential alone.
        reset_by: What soft resets subtract, ρ; None is θ, without the adaptation.
        v_reset, v_leak, r, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        learn: Parameters to learn, of those of :class:`LIF` and ``tau_adapt``, ``beta``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v``, ``a`` ``(batch, *units)``. Parameters are numbers or broadcast to
        ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        G. Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking neurons", Nature Communications 11:3625
        (2020), doi:10.1038/s41467-020-17236-y, Methods; G. Bellec, D. Salaj, A. Subramoney, R. Legenstein, W. Maass, "Long
        short-term memory and learning-to-learn in networks of spiking neurons", NeurIPS 2018.

    >>> import torch
    >>> ALIF(tau_mem=20e-3, tau_adapt=100e-3, dt=1e-3, beta=0.5)(torch.full((9, 1, 1), 0.6)).flatten()
    tensor([0., 1., 0., 0., 1., 0., 0., 1., 0.])
    """

    learnable: ClassVar = ("tau_mem", "tau_adapt", "beta", "v_threshold", "v_reset", "v_leak", "r", "reset_by")

    beta: float | Tensor

    def __init__(
        self,
        tau_mem: float | Tensor,
        tau_adapt: float | Tensor,
        dt: float,
        *,
        beta: float | Tensor = 0.1,
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
        self._keep_time("tau_adapt", tau_adapt)
        self._keep("beta", beta, "finite")
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

    @property
    def tau_adapt(self) -> float | Tensor:
        """Time constant of the adaptation, seconds."""
        return self._time("tau_adapt")

    def _steps(self, x: Tensor, state: ALIFState | None, stream: Stream | None, record: bool) -> Passed[ALIFState]:
        return in_turn(alif_step, x, self._begin(x, state), self._parameters_for(x), record)

    def _begin(self, x: Tensor, state: ALIFState | None) -> ALIFState:
        self._check(x, state, ALIFState)
        return ALIFState(self._spread(x, self.v_leak), self._spread(x, 0.0)) if state is None else state

    def _parameters_for(self, x: Tensor) -> ALIFParameters:
        decays = {"adapt_decay": self._at(x, remaining(self.dt, self.tau_adapt)), "beta": self._at(x, self.beta)}
        return ALIFParameters(**self._leak_at(x), **decays, firing=self._rule(x))
