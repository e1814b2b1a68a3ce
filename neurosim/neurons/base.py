"""What every neuron answers.

``neuron(x)`` runs a sequence ``(time, batch, *units)`` from rest: nothing is remembered between calls, so there is nothing to reset.
``neuron.run(x, state)`` goes on from a state and returns the next one. A state is an argument and a result, never a buffer.
"""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar, cast

from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.neurons.kept import Kept
from neurosim.neurons.parameters import check_fits, check_input, check_state, shown
from neurosim.random import Stream
from neurosim.registry import Registry

S = TypeVar("S", bound=tuple[Any, ...])


class Trace(NamedTuple, Generic[S]):
    """A run with its membrane."""

    spikes: Tensor  #: ``(time, batch, *units)``, 0 or 1 (or how many)
    v: Tensor  #: membrane potential after every step, ``(time, batch, *units)``
    state: S  #: to go on from


#: what a pass over the steps gives: the spikes, the potentials if they were asked for, and the state to go on from
Passed = tuple[Tensor, Tensor | None, S]


class Neuron(Kept, ABC, Generic[S]):
    """Base of the neurons: it keeps their parameters and says what they must answer.

    A parameter is a number, or a tensor that broadcasts to the units of the input: ``(C, 1, 1)`` is one per channel of feature maps. A
    number stays one, a tensor becomes a buffer, what ``learn`` names becomes an ``nn.Parameter``. Time constants that are not numbers are
    kept as logarithms (``log_tau_mem``): however they are learned, they stay positive, and decays between 0 and 1. Tensors keep at least
    32 bits: ``neuron.half()`` leaves them as they are.

    Args:
        dt: Step of the input, seconds, > 0.
        learn: Names of the parameters to learn, of those that the class lists as ``learnable``.
    """

    threshold_is_fixed: ClassVar[str] = ""  #: why :meth:`with_threshold` is refused, where it is

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """What the neuron sends on, from rest; see :meth:`run`."""
        return self.run(x, stream=stream)[0]

    @abstractmethod
    def run(self, x: Tensor, state: S | None = None, *, stream: Stream | None = None) -> tuple[Tensor, S]:
        """What the neuron sends on, and the state to hand to the next chunk; ``None`` starts from rest."""

    def with_threshold(self, v_threshold: float | Tensor, sign: float | Tensor = 1.0) -> Self:
        """A copy that fires elsewhere and resets as before: what folding a norm into a neuron, or calibrating it, comes to.

        Args:
            v_threshold: The new threshold; ±∞ for units that fire always or never.
            sign: ``-1`` for units that fire *below* it: a norm with a negative scale turns the comparison round.

        Returns:
            A neuron whose reset amount is that of this one; neither it nor the threshold is learned any more.

        Raises:
            ConfigError: A value is out of its domain, or this neuron has no threshold of that kind.

        >>> from neurosim.neurons import LIF
        >>> LIF(tau_mem=20e-3, dt=1e-3, v_threshold=2.0).with_threshold(0.5, sign=-1)
        LIF(tau_mem=0.02, dt=0.001, v_threshold=0.5, reset_by=2, sign=-1)
        """
        if self.threshold_is_fixed:
            raise ConfigError(f"{self._where}: with_threshold needs a neuron with one threshold; {self.threshold_is_fixed}")
        if not hasattr(self, "v_threshold"):
            raise ConfigError(f"{self._where}: with_threshold needs a neuron that fires; this one has no threshold")
        changed = copy.deepcopy(self)
        changed.learn = tuple(name for name in self.learn if name not in ("v_threshold", "reset_by"))
        changed._keep("reset_by", self.v_threshold if self.reset_by is None else self.reset_by, "a number")
        changed._keep("v_threshold", v_threshold, "a number")
        changed._keep("sign", sign, "1 or -1")
        return changed

    def extra_repr(self) -> str:
        """The arguments that differ from their defaults, for ``print``."""
        parts = []
        for name, one in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, one.default)
            if isinstance(value, Tensor) or shown(value) != shown(one.default):
                parts.append(f"{name}={shown(value)}")
        return ", ".join(parts)

    def _check(self, x: Tensor, state: tuple[Any, ...] | None, kind: type[tuple[Any, ...]]) -> None:
        """Raise unless input, parameters and state fit together."""
        check_input(self._where, x)
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None:
                check_fits(f"{self._where}.{name.removeprefix('log_')}", value, x)
        if state is None:
            return
        if not isinstance(state, kind):
            raise ConfigError(f"{self._where}: state must be a {kind.__name__} or None, got {type(state).__name__}")
        for name in kind.__annotations__:
            if name != "step":
                check_state(f"{self._where}: state.{name}", getattr(state, name), x)


class FiringNeuron(Neuron[S]):
    """Base of the neurons whose potentials can be watched: one pass over the steps is both their :meth:`run` and their :meth:`trace`."""

    def run(self, x: Tensor, state: S | None = None, *, stream: Stream | None = None) -> tuple[Tensor, S]:
        """Spikes, and the state to hand to the next chunk.

        Args:
            x: Input current, ``(time, batch, *units)``.
            state: What the chunk before returned; None starts from rest.
            stream: Source of the noise, if there is any. The same stream gives the same noise, however the sequence is cut.
        """
        spikes, _, after = self._steps(x, state, stream, record=False)
        return spikes, after

    def trace(self, x: Tensor, state: S | None = None, *, stream: Stream | None = None) -> Trace[S]:
        """The same as :meth:`run` with the potential after every step, which gradients flow through too."""
        spikes, potentials, after = self._steps(x, state, stream, record=True)
        return Trace(spikes, cast(Tensor, potentials), after)

    @abstractmethod
    def _steps(self, x: Tensor, state: S | None, stream: Stream | None, record: bool) -> Passed[S]:
        """All steps of a chunk, with the potentials if ``record``."""


def is_neurons(module: nn.Module) -> bool:
    """Whether a module is one layer of neurons: a :class:`Neuron`, or what steps one itself and declares ``is_neurons = True``.

    >>> from neurosim.neurons import LIF
    >>> is_neurons(LIF(tau_mem=20e-3, dt=1e-3)), is_neurons(nn.Linear(2, 2))
    (True, False)
    """
    return isinstance(module, Neuron) or bool(getattr(module, "is_neurons", False))


NEURONS: Final[Registry[type[Neuron[Any]]]] = Registry("neuron")


def detach(state: S) -> S:
    """The same state without the graph that made it: what truncated backpropagation through time hands on."""
    return type(state)(*(_without_graph(value) for value in state))


def _without_graph(value: Any) -> Any:
    if isinstance(value, tuple):  # the state of a neuron within another
        return detach(value)
    return value.detach() if isinstance(value, Tensor) else value
