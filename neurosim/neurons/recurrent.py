"""Neurons that hear themselves: the spikes of one step are part of the input of the next."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.neurons.base import FiringNeuron, Neuron, Passed
from neurosim.neurons.parameters import check_input, check_state, state_dtype
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream


class RecurrentState(NamedTuple):
    """What one step hands to the next."""

    neuron: Any  #: the state of the neuron
    spikes: Tensor  #: what it sent on in the last step, ``(batch, *units)``

    @property
    def v(self) -> Tensor:
        """Membrane potential after the reset, ``(batch, *units)``."""
        v: Tensor = self.neuron.v  # every state has its potential under that name
        return v


def recurrent_step(
    x: Tensor, state: RecurrentState, neuron: Neuron[Any], connection: nn.Module, stream: Stream | None = None
) -> tuple[Tensor, RecurrentState]:
    """One step of :class:`Recurrent`: the spikes, and the next state."""
    first = next(connection.parameters(), None)
    returned = connection(state.spikes if first is None else state.spikes.to(first.dtype))
    if returned.shape != x.shape:
        raise ConfigError(f"Recurrent.connection: must return the shape {tuple(x.shape)} of one step, got {tuple(returned.shape)}")
    spikes, after = neuron.run((x + returned.to(x.dtype))[None], state.neuron, stream=stream)
    return spikes[0], RecurrentState(after, spikes[0])


class Recurrent(FiringNeuron[RecurrentState]):
    r"""Any neuron with connections among its units.

    .. math:: s_t = \mathrm{neuron}(x_t + C(s_{t-1})), \qquad s_0 = 0

    It runs step by step, over :meth:`Neuron.run` of the neuron, for every step needs the spikes of the one before. The connection is a
    layer of its own: it is trained with its own parameters, initialised as it initialises itself, and ``to_analog`` puts it on the
    hardware.

    Args:
        neuron: The neuron.
        connection: Maps the spikes of one step, ``(batch, *units)``, to a current of the same shape: ``nn.Linear(N, N, bias=False)``,
            ``nn.Conv2d(C, C, 3, padding=1)``, …

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``neuron`` as the neuron has it, ``spikes`` ``(batch, *units)``.

    Raises:
        ConfigError: The connection does not fit the input, or the neuron refuses something.

    Source:
        E. O. Neftci, H. Mostafa, F. Zenke, IEEE Signal Process. Mag. 36 (2019), doi:10.1109/MSP.2019.2931595, equation 4.

    >>> import neurosim as ns
    >>> from torch import nn
    >>> lsnn = Recurrent(ns.ALIF(tau_mem=20e-3, tau_adapt=200e-3, dt=1e-3), nn.Linear(100, 100, bias=False))
    """

    def __init__(self, neuron: Neuron[Any], connection: nn.Module) -> None:
        if not isinstance(neuron, Neuron):
            raise ConfigError(f"{self._where}.neuron: must be a neuron, got {neuron!r:.60}")
        if not isinstance(connection, nn.Module):
            raise ConfigError(f"{self._where}.connection: must be a module, got {connection!r:.60}")
        super().__init__(neuron.dt)
        self.neuron, self.connection, self.learn = neuron, connection, neuron.learn

    def _steps(self, x: Tensor, state: RecurrentState | None, stream: Stream | None, record: bool) -> Passed[RecurrentState]:
        def step(now: Tensor, before: RecurrentState, parameters: None) -> tuple[Tensor, RecurrentState]:
            return recurrent_step(now, before, self.neuron, self.connection, stream)

        return in_turn(step, x, self._begin(x, state, stream), None, record)

    def with_threshold(self, v_threshold: float | Tensor, sign: float | Tensor = 1.0) -> Self:
        """A copy whose neuron fires elsewhere and resets as before; see :meth:`Neuron.with_threshold`."""
        changed = copy.deepcopy(self)
        changed.neuron = self.neuron.with_threshold(v_threshold, sign)
        changed.learn = changed.neuron.learn
        return changed

    def extra_repr(self) -> str:
        """Nothing: what is printed are the neuron and the connection."""
        return ""

    def __getattr__(self, name: str) -> Any:
        """Parameters of the neuron can be read here too: ``recurrent.tau_mem``."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            neuron = self.__dict__.get("_modules", {}).get("neuron")
            if neuron is None or name.startswith("_"):
                raise
            return getattr(neuron, name)

    def _begin(self, x: Tensor, state: RecurrentState | None, stream: Stream | None) -> RecurrentState:
        check_input(self._where, x)
        wide = getattr(self.connection, "in_features", None)
        if isinstance(self.connection, nn.Linear) and x.shape[-1] != wide:
            raise ConfigError(f"{self._where}: x must have {wide} units in its last axis, as the connection has, got {x.shape[-1]}")
        if state is None:
            none = x[:0].to(state_dtype(x))  # no steps leave the neuron at rest
            rest = self.neuron.run(none, stream=stream)[1]
            return RecurrentState(rest, none.new_zeros(x.shape[1:]))
        if not isinstance(state, RecurrentState):
            raise ConfigError(f"{self._where}: state must be a RecurrentState or None, got {type(state).__name__}")
        check_state(f"{self._where}: state.spikes", state.spikes, x)
        return state
