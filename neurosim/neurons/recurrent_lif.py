"""The usual neurons with dense recurrent weights, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from neurosim.errors import ConfigError
from neurosim.neurons.base import NEURONS
from neurosim.neurons.cuba_lif import CubaLIF
from neurosim.neurons.lif import LIF
from neurosim.neurons.recurrent import Recurrent
from neurosim.ops.neuron_arguments import Reset
from neurosim.surrogate import Surrogate


class LinearToOthers(nn.Linear):
    """A dense connection among units in which none is connected with itself: the diagonal of ``weight`` is not used, nor learned.

    Args:
        units: Number of units, inputs and outputs.

    Shapes:
        x ``(*, units)``; the result likewise.

    >>> LinearToOthers(3)(torch.eye(3)).diagonal().tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(self, units: int) -> None:
        super().__init__(units, units, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The sum over the other units."""
        itself = torch.eye(self.in_features, dtype=torch.bool, device=self.weight.device)
        return linear(x, self.weight.masked_fill(itself, 0.0))


@NEURONS.register("rlif")
class RLIF(Recurrent):
    r"""Leaky integrate-and-fire neurons with recurrent weights: :class:`Recurrent` over :class:`LIF`.

    .. math:: h_t = a\,v_{t-1} + g\,(x_t + W s_{t-1}) + b, \qquad s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t

    The weights W are those of ``connection``, a layer of torch, and are initialised as such: uniformly in :math:`\pm 1/\sqrt N`, from
    torch's generator. It runs step by step.

    Args:
        units: Number of units N, the last axis of the input.
        tau_mem: Membrane time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        self_connections: Whether units are connected with themselves.
        v_threshold, v_reset, v_leak, r, reset, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        input_noise, membrane_noise: As for :class:`LIF`; the noise on the input is added to the recurrent current too.
        learn: Parameters to learn, of those of :class:`LIF`; the weights are always learned.

    Shapes:
        x ``(time, batch, *others, units)``; spikes the same; state ``neuron`` that of :class:`LIF`, ``spikes`` as one step of x; weights
        ``(units, units)``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        E. O. Neftci, H. Mostafa, F. Zenke, IEEE Signal Process. Mag. 36 (2019), doi:10.1109/MSP.2019.2931595, equation 4.

    >>> neuron = RLIF(100, tau_mem=20e-3, dt=1e-3)
    >>> neuron.connection.weight.shape, neuron.tau_mem
    (torch.Size([100, 100]), 0.02)
    """

    learnable: ClassVar = LIF.learnable

    def __init__(
        self,
        units: int,
        tau_mem: float | Tensor,
        dt: float,
        *,
        self_connections: bool = True,
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
        neuron = LIF(
            tau_mem,
            dt,
            v_threshold=v_threshold,
            v_reset=v_reset,
            v_leak=v_leak,
            r=r,
            reset=reset,
            reset_by=reset_by,
            sign=sign,
            strict=strict,
            detach_reset=detach_reset,
            surrogate=surrogate,
            input_noise=input_noise,
            membrane_noise=membrane_noise,
            learn=learn,
        )
        super().__init__(neuron, _dense("RLIF", units, self_connections))
        self.units, self.self_connections = units, self_connections


@NEURONS.register("rcuba_lif")
class RCubaLIF(Recurrent):
    r"""Leaky integrate-and-fire neurons with a synapse and recurrent weights: :class:`Recurrent` over :class:`CubaLIF`.

    .. math:: i_t = \alpha\,i_{t-1} + w\,(x_t + W s_{t-1}), \qquad h_t = a\,v_{t-1} + g\,i_t + b, \qquad
       s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t

    Everything else is as for :class:`RLIF`.

    Args:
        units: Number of units N, the last axis of the input.
        tau_mem: Membrane time constant, seconds, > 0.
        tau_syn: Synaptic time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        self_connections: Whether units are connected with themselves.
        w_in: Current per unit of constant input. None is 1/(1 − α): every input counts once, w = 1.
        v_threshold, v_reset, v_leak, r, reset, reset_by, sign, strict, detach_reset, surrogate: As for :class:`LIF`.
        input_noise, membrane_noise: As for :class:`LIF`; the noise on the input is added to the recurrent current too, before the synapse.
        learn: Parameters to learn, of those of :class:`CubaLIF`; the weights are always learned.

    Shapes:
        As for :class:`RLIF`, with the state of :class:`CubaLIF` as ``neuron``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        E. O. Neftci, H. Mostafa, F. Zenke, IEEE Signal Process. Mag. 36 (2019), doi:10.1109/MSP.2019.2931595, equations 3 and 4.
    """

    learnable: ClassVar = CubaLIF.learnable

    def __init__(
        self,
        units: int,
        tau_mem: float | Tensor,
        tau_syn: float | Tensor,
        dt: float,
        *,
        self_connections: bool = True,
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
        neuron = CubaLIF(
            tau_mem,
            tau_syn,
            dt,
            w_in=w_in,
            v_threshold=v_threshold,
            v_reset=v_reset,
            v_leak=v_leak,
            r=r,
            reset=reset,
            reset_by=reset_by,
            sign=sign,
            strict=strict,
            detach_reset=detach_reset,
            surrogate=surrogate,
            input_noise=input_noise,
            membrane_noise=membrane_noise,
            learn=learn,
        )
        super().__init__(neuron, _dense("RCubaLIF", units, self_connections))
        self.units, self.self_connections = units, self_connections


def _dense(where: str, units: Any, self_connections: bool) -> nn.Linear:
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        raise ConfigError(f"{where}.units: must be a whole number of 1 or more, got {units!r:.60}")
    return nn.Linear(units, units, bias=False) if self_connections else LinearToOthers(units)
