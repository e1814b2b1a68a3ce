"""Leaky integrate-and-fire whose leak is learned, on the fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.lif import LIFState, lif_steps
from neurosim.neurons.parameters import parameter_value
from neurosim.ops.neuron_arguments import Reset
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


@NEURONS.register("plif")
class ParametricLIF(FiringNeuron[LIFState]):
    r"""Leaky integrate-and-fire neurons that learn how much they leak, as the logit of what a step takes away.

    .. math:: h_t = (1 - \ell)\,v_{t-1} + g\,x_t + b, \qquad \ell = \mathrm{sig}(w), \qquad g = r\,\ell, \quad b = v_\mathrm{leak}\,\ell

    and spikes and resets as for :class:`LIF`, which this is with :math:`1 - \ell = e^{-\Delta t/\tau}`, so that :math:`\tau = \Delta
    t/\ln(1 + e^w)`. Learned is w: however large a step of the optimizer is, the decay stays between 0 and 1. It differs from
    ``LIF(learn="tau_mem")``, which learns log τ, in how far one step of the optimizer goes.

    Args:
        tau_mem: Membrane time constant at the start, seconds, > 0 and finite. A number is one w for the layer, a tensor one per unit (or
            channel) of its own.
        dt: Step of the input, seconds, > 0.
        r: Membrane resistance: potential per unit of constant input. None is 1/ℓ: every input counts once, g = 1.
        v_threshold, v_reset, v_leak, reset, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        input_noise, membrane_noise: As for :class:`LIF`.
        learn: Parameters to learn, of those of :class:`LIF`; without ``tau_mem``, w is a buffer.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        W. Fang, Z. Yu, Y. Chen, T. Masquelier, T. Huang, Y. Tian, "Incorporating learnable membrane time constant to enhance learning of
        spiking neural networks", ICCV 2021, section 3.2, where 1/τ stands for ℓ, with ``r=1``; τ steps there is :math:`-\Delta
        t/\ln(1 - 1/\tau)` seconds here.

    >>> neuron = ParametricLIF(tau_mem=20e-3, dt=1e-3)
    >>> neuron, [name for name, _ in neuron.named_parameters()]
    (ParametricLIF(tau_mem=0.02, dt=0.001), ['w'])
    """

    learnable: ClassVar = ("tau_mem", "v_threshold", "v_reset", "v_leak", "r", "reset_by")

    w: Tensor

    def __init__(
        self,
        tau_mem: float | Tensor,
        dt: float,
        *,
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
        learn: Sequence[str] = ("tau_mem",),
    ) -> None:
        super().__init__(dt, learn)
        start = torch.as_tensor(parameter_value(f"{self._where}.tau_mem", tau_mem, "more than 0 seconds and finite"))
        self._store("w", _logit_of_leak(self.dt, start), "tau_mem" in self.learn)
        if r is None and "r" in self.learn:
            r = 1 / torch.sigmoid(self.w.detach())
        if r is None:
            self.r = None
        else:
            self._keep("r", r, "finite")
        self._keep("v_leak", v_leak, "finite")
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
    def tau_mem(self) -> Tensor:
        """Membrane time constant as it is now, seconds."""
        return self.dt / softplus(self.w)

    def _steps(self, x: Tensor, state: LIFState | None, stream: Stream | None, record: bool) -> Passed[LIFState]:
        self._check(x, state, LIFState)
        v, step = (self._rest(x), 0) if state is None else state
        return lif_steps(x, v, **self._leak(), **self._firing(stream, step), record=record)

    def _leak(self) -> dict[str, Any]:
        leak = torch.sigmoid(self.w)
        bias = 0.0 if self._rests_at_zero else self.v_leak * leak
        return {"decay": torch.sigmoid(-self.w), "gain": 1.0 if self.r is None else self.r * leak, "bias": bias}


def _logit_of_leak(dt: float, tau: Tensor) -> Tensor:
    """W with sig(w) = 1 − exp(−dt/τ), which is log(exp(dt/τ) − 1); beyond float32's range of the exponential, dt/τ itself."""
    ratio = dt / tau
    return torch.where(ratio > 20, ratio + torch.log(-torch.expm1(-ratio)), torch.expm1(ratio.clamp(max=20)).log())
