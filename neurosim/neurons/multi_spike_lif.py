"""Leaky integrate-and-fire that may fire several times within a step: its output is a number of spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.firing import PLAIN_RESETS, Firing, PlainReset, Value, after_spike
from neurosim.neurons.parameters import parameter_value
from neurosim.neurons.spike import spike
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


class MultiSpikeState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``


class MultiSpikeParameters(NamedTuple):
    """What :func:`multi_spike_step` takes: numbers, or tensors that broadcast to the units."""

    decay: Value  #: what is left of the potential after a step
    gain: Value  #: potential per input
    bias: Value  #: potential that every step adds
    max_spikes: int
    firing: Firing  #: its ``sign`` is not used


def multi_spike_step(x: Tensor, state: MultiSpikeState, p: MultiSpikeParameters) -> tuple[Tensor, MultiSpikeState]:
    """One step of :class:`MultiSpikeLIF`: the number of spikes, and the next state."""
    h = p.decay * state.v + p.gain * x + p.bias
    times = torch.arange(1, p.max_spikes + 1, dtype=h.dtype, device=h.device)
    beyond = h - times.reshape(-1, *(1 for _ in h.shape)) * p.firing.threshold
    spikes = spike(beyond, p.firing.surrogate, strict=p.firing.strict)
    count = spikes.sum(0)
    return count, MultiSpikeState(after_spike(h, spikes[0] if p.firing.reset == "hard" else count, p.firing))


@NEURONS.register("multi_spike_lif")
class MultiSpikeLIF(FiringNeuron[MultiSpikeState]):
    r"""Leaky integrate-and-fire neurons that send on how often the threshold fits into their potential.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad n_t = \sum_{k=1}^{K} \Theta(h_t - k\,\theta)
       = \min(\max(\lfloor h_t/\theta \rfloor, 0), K), \qquad v_t = h_t - \rho\,n_t

    with a, g, b as for :class:`LIF`, which this is for K = 1. Every one of the K steps of the staircase has the surrogate gradient, so
    :math:`\partial n/\partial h = \sum_k g(h - k\theta)`; time and memory of a step grow with K. With a soft reset, what a step could not
    send on is sent later.

    sinabs: ``MultiSpike`` with ``MembraneSubtract`` is this with K as large as its input can ask for, and the gradient of its
    ``PeriodicExponential`` is that of the nearest step alone. Its ``LIF`` also weighs the input with 1 − a: ``r=1``. Rockpool's
    ``LIFTorch``, with its ``max_spikes_per_dt`` for K, too subtracts θ for every spike.

    Args:
        tau_mem: Membrane time constant, seconds, > 0; ``math.inf`` does not leak.
        dt: Step of the input, seconds, > 0.
        max_spikes: K, the most spikes within a step, 1 or more. bfloat16 holds whole numbers up to 256 exactly, float16 up to 2048.
        v_threshold: θ, potential per spike, > 0.
        reset: ``"soft"`` subtracts ρ for every spike, ``"hard"`` goes to ``v_reset``, ``"none"`` leaves the potential alone.
        reset_by: What soft resets subtract per spike, ρ; None is θ.
        v_reset, v_leak, r, strict, detach_reset, surrogate: As for :class:`LIF`.
        learn: Parameters to learn, of those of :class:`LIF`.

    Shapes:
        x ``(time, batch, *units)``; numbers of spikes the same; state ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to
        ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        X. Luo et al., "Integer-valued training and spike-driven inference spiking neural network for high-performance and
        energy-efficient object detection", ECCV 2024, doi:10.1007/978-3-031-73411-3_15, where K is called D and is 4.

    >>> import math, torch
    >>> MultiSpikeLIF(tau_mem=math.inf, dt=1e-3)(torch.tensor([2.5, 0.5, -1.0, 7.0]).reshape(4, 1, 1)).flatten()
    tensor([2., 1., 0., 4.])
    """

    learnable: ClassVar = ("tau_mem", "v_threshold", "v_reset", "v_leak", "r", "reset_by")
    threshold_is_fixed = "this one has several, the multiples of v_threshold, and a norm would shift and not stretch them"

    def __init__(
        self,
        tau_mem: float | Tensor,
        dt: float,
        *,
        max_spikes: int = 4,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor = 0.0,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        reset: PlainReset = "soft",
        reset_by: float | Tensor | None = None,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = "arctan",
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        if type(max_spikes) is not int or max_spikes < 1:
            raise ConfigError(f"{self._where}.max_spikes: must be a whole number of 1 or more, got {max_spikes!r:.60}")
        self.max_spikes = max_spikes
        self._keep_leak(tau_mem, r, v_leak)
        parameter_value(f"{self._where}.v_threshold", v_threshold, "more than 0 and finite")  # where it starts, if it is learned
        self._keep_firing(
            v_threshold=v_threshold,
            v_reset=v_reset,
            reset=reset,
            reset_by=reset_by,
            strict=strict,
            detach_reset=detach_reset,
            surrogate=surrogate,
            resets=PLAIN_RESETS,
        )

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    def _steps(self, x: Tensor, state: MultiSpikeState | None, stream: Stream | None, record: bool) -> Passed[MultiSpikeState]:
        return in_turn(multi_spike_step, x, self._begin(x, state), self._parameters_for(x), record)

    def _begin(self, x: Tensor, state: MultiSpikeState | None) -> MultiSpikeState:
        self._check(x, state, MultiSpikeState)
        return MultiSpikeState(self._spread(x, self.v_leak)) if state is None else state

    def _parameters_for(self, x: Tensor) -> MultiSpikeParameters:
        return MultiSpikeParameters(**self._leak_at(x), max_spikes=self.max_spikes, firing=self._rule(x))
