"""Integrate-and-fire: a membrane without a leak, on the fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.lif import LIFState, lif_steps
from neurosim.ops.neuron_arguments import Reset
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


@NEURONS.register("if")
class IF(FiringNeuron[LIFState]):
    r"""Integrate-and-fire neurons: they add up their input and forget nothing.

    .. math:: h_t = v_{t-1} + g\,x_t, \qquad s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t

    and likewise for the other resets of :class:`LIF`, with a = 1. By default g = 1: every input counts once, and the step does not depend
    on ``dt``. With a resistance, g = r Δt, the solution of :math:`\dot v = r x` for an input that is constant within a step: half the step,
    half the charge.

    Args:
        dt: Step of the input, seconds, > 0.
        r: Potential per unit of input and second. None is 1/dt: every input counts once, g = 1.
        v_start: Potential before the first step; θ/2 makes the number of spikes the rounded sum of the input instead of its floor.
        v_threshold, v_reset, reset, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        input_noise, membrane_noise: As for :class:`LIF`.
        learn: Parameters to learn, of ``v_threshold``, ``v_reset``, ``v_start``, ``r``, ``reset_by``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        NIR ``IF`` (J. E. Pedersen et al., Nature Communications 15:8122 (2024), doi:10.1038/s41467-024-52259-9).

    >>> import torch
    >>> IF(dt=1e-3)(torch.full((6, 1, 1), 0.4)).flatten()
    tensor([0., 0., 1., 0., 1., 0.])
    """

    learnable: ClassVar = ("v_threshold", "v_reset", "v_start", "r", "reset_by")

    v_start: float | Tensor

    def __init__(
        self,
        dt: float,
        *,
        r: float | Tensor | None = None,
        v_start: float | Tensor = 0.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor = 0.0,
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
        if r is None and "r" not in self.learn:
            self.r = None
        else:
            self._keep("r", 1 / self.dt if r is None else r, "finite")
        self._keep("v_start", v_start, "finite")
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

    def _steps(self, x: Tensor, state: LIFState | None, stream: Stream | None, record: bool) -> Passed[LIFState]:
        self._check(x, state, LIFState)
        v, step = (self._spread(x, self.v_start), 0) if state is None else state
        gain = 1.0 if self.r is None else self.r * self.dt
        return lif_steps(x, v, decay=1.0, gain=gain, **self._firing(stream, step), record=record)
