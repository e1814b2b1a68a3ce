"""Exponential integrate-and-fire: the upstroke of the spike is part of the equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.firing import Firing, Value, after_spike, fires
from neurosim.neurons.parameters import arriving
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream
from neurosim.surrogate import Surrogate

LARGEST_EXPONENT: Final = 30.0  #: e³⁰ is 10¹³: far beyond any peak within one step, and far within float32


class EIFState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``


class EIFParameters(NamedTuple):
    """What :func:`eif_step` takes: numbers, or tensors that broadcast to the units."""

    decay: Value  #: what is left of the potential after a step
    gain: Value  #: potential per input
    bias: Value  #: potential that every step adds
    arriving: Value  #: 1 − decay
    v_threshold: Value
    slope_factor: Value
    firing: Firing  #: its threshold is the peak of the spike


def eif_step(x: Tensor, state: EIFState, p: EIFParameters) -> tuple[Tensor, EIFState]:
    """One step of :class:`EIF`: the spikes, and the next state."""
    upstroke = p.slope_factor * torch.exp(((state.v - p.v_threshold) / p.slope_factor).clamp(max=LARGEST_EXPONENT))
    h = p.decay * state.v + p.gain * x + p.bias + p.arriving * upstroke
    spikes = fires(h, p.firing)
    return spikes, EIFState(after_spike(h, spikes, p.firing))


@NEURONS.register("eif")
class EIF(FiringNeuron[EIFState]):
    r"""Exponential integrate-and-fire neurons: beyond the threshold the potential runs away by itself, up to a peak.

    .. math:: \tau\,\dot v = v_\mathrm{leak} - v + \Delta_T\,e^{(v - v_T)/\Delta_T} + r\,x, \qquad v \leftarrow v_\mathrm{reset}
       \text{ and a spike at } v \ge v_\mathrm{peak}

    One step is the exponential Euler method: the leak is solved exactly, and the upstroke is taken as it was before the step,

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b + (1 - a)\,\Delta_T\,e^{(v_{t-1} - v_T)/\Delta_T}, \qquad s_t = \Theta(h_t - v_\mathrm{peak}),
       \qquad v_t = v_\mathrm{reset} \text{ where } s_t \text{, else } h_t

    with a, g, b as for :class:`LIF`; its error shrinks in proportion to ``dt``. As :math:`\Delta_T` goes to 0 the neuron becomes a LIF with
    hard reset that fires at :math:`v_T`. The exponent is never taken larger than 30, where within one step the potential is beyond any
    peak anyway.

    Args:
        tau_mem: Membrane time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0; some hundredths of ``tau_mem`` or less resolve the upstroke.
        slope_factor: :math:`\Delta_T`, in the unit of the potential, > 0: how sharp the threshold is.
        v_threshold: :math:`v_T`, the largest potential at which a constant current can hold the neuron.
        v_peak: Potential at which the spike is over, > ``v_threshold``; from 10 slope factors above the threshold on it hardly matters.
        v_reset: Where the spike leads.
        v_leak: Resting potential without the upstroke: where the neuron starts. Well below the threshold it stays there.
        r: Membrane resistance: potential per unit of constant input. None is 1/(1 − a): every input counts once, g = 1;
            it must be None where ``tau_mem`` is infinite.
        strict, detach_reset, surrogate: As for :class:`LIF`; the surrogate is that of the distance to ``v_peak``.
        learn: Parameters to learn, of ``tau_mem``, ``slope_factor``, ``v_threshold``, ``v_reset``, ``v_leak``, ``r``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        N. Fourcaud-Trocmé, D. Hansel, C. van Vreeswijk, N. Brunel, "How spike generation mechanisms determine the neuronal response to
        fluctuating inputs", J. Neurosci. 23 (2003) 11628-11640, doi:10.1523/JNEUROSCI.23-37-11628.2003.

    >>> import torch
    >>> EIF(tau_mem=10e-3, dt=0.2e-3, r=1.0)(torch.full((500, 1, 1), 1.5)).sum()
    tensor(6.)
    """

    learnable: ClassVar = ("tau_mem", "slope_factor", "v_threshold", "v_reset", "v_leak", "r")
    threshold_is_fixed = "here the equation fires, not a comparison, and resets where it does"

    v_peak: float | Tensor

    def __init__(
        self,
        tau_mem: float | Tensor,
        dt: float,
        *,
        slope_factor: float | Tensor = 0.1,
        v_threshold: float | Tensor = 1.0,
        v_peak: float | Tensor = 2.0,
        v_reset: float | Tensor = 0.0,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = "arctan",
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        self._keep_positive("slope_factor", slope_factor, "more than 0 and finite")
        self._keep_leak(tau_mem, r, v_leak)
        for name, value in (("v_threshold", v_threshold), ("v_peak", v_peak), ("v_reset", v_reset)):
            self._keep(name, value, "finite")
        self._keep_spike(strict, detach_reset, surrogate)
        _check_peak(self._where, self.v_threshold, self.v_peak)

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    @property
    def slope_factor(self) -> float | Tensor:
        """Sharpness of the threshold, in the unit of the potential."""
        return self._time("slope_factor")

    def _steps(self, x: Tensor, state: EIFState | None, stream: Stream | None, record: bool) -> Passed[EIFState]:
        return in_turn(eif_step, x, self._begin(x, state), self._parameters_for(x), record)

    def _begin(self, x: Tensor, state: EIFState | None) -> EIFState:
        self._check(x, state, EIFState)
        return EIFState(self._spread(x, self.v_leak)) if state is None else state

    def _parameters_for(self, x: Tensor) -> EIFParameters:
        return EIFParameters(
            **self._leak_at(x),
            arriving=self._at(x, arriving(self.dt, self.tau_mem)),
            v_threshold=self._at(x, self.v_threshold),
            slope_factor=self._at(x, self.slope_factor),
            firing=self._peak_rule(x, self.v_peak, self.v_reset),
        )


def _check_peak(where: str, v_threshold: float | Tensor, v_peak: float | Tensor) -> None:
    below = torch.as_tensor(v_peak).detach() <= torch.as_tensor(v_threshold).detach()
    if not below.is_meta and bool(below.any()):
        raise ConfigError(f"{where}.v_peak: must be above v_threshold everywhere, got a peak at or below it")
