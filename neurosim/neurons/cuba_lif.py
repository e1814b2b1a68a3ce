"""Leaky integrate-and-fire with a synapse: current-based, with exponentially decaying currents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.parameters import remaining
from neurosim.ops import cuba_lif as op
from neurosim.ops.neuron_arguments import Reset
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


class CubaLIFState(NamedTuple):
    """What one step hands to the next."""

    i: Tensor  #: synaptic current, ``(batch, *units)``
    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``
    step: int | Tensor = 0  #: steps since rest; only noise depends on it


@NEURONS.register("cuba_lif")
class CubaLIF(FiringNeuron[CubaLIFState]):
    r"""Leaky integrate-and-fire neurons whose input passes a leaky integrator first, the synapse.

    .. math:: i_t = \alpha\,i_{t-1} + w\,x_t, \qquad h_t = a\,v_{t-1} + g\,i_t + b, \qquad s_t = \Theta(\sigma(h_t - \theta)),
       \qquad v_t = h_t - \rho\,s_t

    with :math:`\alpha = e^{-\Delta t/\tau_\mathrm{syn}}`, :math:`w = w_\mathrm{in}\,(1-\alpha)`, and everything else as in :class:`LIF`.

    Args:
        tau_mem: Membrane time constant, seconds, > 0.
        tau_syn: Synaptic time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        w_in: Current per unit of constant input. None is 1/(1 − α): every input counts once, w = 1; it must be None where
            ``tau_syn`` is infinite.
        v_threshold, v_reset, v_leak, r, reset, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        input_noise, membrane_noise: As for :class:`LIF`; the noise on the input comes before the synapse.
        learn: Parameters to learn, of those of :class:`LIF` and ``tau_syn``, ``w_in``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``i``, ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to
        ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        NIR ``CubaLIF`` (J. E. Pedersen et al., Nature Communications 15:8122 (2024), doi:10.1038/s41467-024-52259-9).

    >>> import torch
    >>> pulse = torch.tensor([0.5, 0.0, 0.0, 0.0]).reshape(4, 1, 1)
    >>> CubaLIF(tau_mem=20e-3, tau_syn=5e-3, dt=1e-3)(pulse).flatten()
    tensor([0., 0., 1., 0.])
    """

    learnable: ClassVar = ("tau_mem", "tau_syn", "w_in", "v_threshold", "v_reset", "v_leak", "r", "reset_by")

    w_in: float | Tensor | None

    def __init__(
        self,
        tau_mem: float | Tensor,
        tau_syn: float | Tensor,
        dt: float,
        *,
        w_in: float | Tensor | None = None,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor = 0.0,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        reset: Reset = "soft",
        reset_by: float | Tensor | None = None,
        sign: float | Tensor = 1.0,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = "arctan",
        input_noise: float = 0.0,
        membrane_noise: float = 0.0,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        self._keep_time("tau_syn", tau_syn)
        self._keep_gain("w_in", w_in, self.tau_syn)
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
            input_noise=input_noise,
            membrane_noise=membrane_noise,
        )

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    @property
    def tau_syn(self) -> float | Tensor:
        """Synaptic time constant, seconds."""
        return self._time("tau_syn")

    def _steps(self, x: Tensor, state: CubaLIFState | None, stream: Stream | None, record: bool) -> Passed[CubaLIFState]:
        self._check(x, state, CubaLIFState)
        before, step = (self._start(x), 0) if state is None else (op.CubaLIFState(state.i, state.v), state.step)
        synapse: dict[str, Any] = {"syn_decay": remaining(self.dt, self.tau_syn), "w_in": self._gain("w_in", self.tau_syn)}
        out = op.cuba_lif(x, before, **synapse, **self._leak(), **self._firing(stream, step), record=record)
        return out.spikes, out.record, CubaLIFState(*out.state, step + x.shape[0])

    def _start(self, x: Tensor) -> op.CubaLIFState | None:
        """Rest: no current; None is 0 for both."""
        v = self._rest(x)
        return None if v is None else op.CubaLIFState(torch.zeros_like(v), v)
