r"""What every neuron answers, and what the leaky ones share.

``neuron(x)`` runs a sequence ``(time, batch, *units)`` from rest: nothing is remembered between calls, so there is nothing to reset.
``neuron.run(x, state)`` goes on from a state and returns the next one. A state is an argument and a result, never a buffer.

A leaky membrane follows the exact solution of :math:`\tau \dot v = v_\mathrm{leak} - v + r x` for an input that is constant within a
step :math:`\Delta t`:

.. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad a = e^{-\Delta t/\tau}, \quad g = r\,(1 - a), \quad b = v_\mathrm{leak}\,(1 - a)
"""

from __future__ import annotations

import copy
import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Generic, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError, nearest
from neurosim.neurons.parameters import (
    arriving,
    check_fits,
    check_input,
    check_state,
    chosen,
    parameter_value,
    remaining,
    shown,
    state_dtype,
)
from neurosim.ops.neuron_arguments import RESETS, Reset
from neurosim.random import Stream
from neurosim.registry import Registry
from neurosim.surrogate import Surrogate
from neurosim.surrogate import surrogate as by_name

S = TypeVar("S", bound=tuple[Any, ...])


class Trace(NamedTuple, Generic[S]):
    """A run with its membrane."""

    spikes: Tensor  #: ``(time, batch, *units)``, 0 or 1
    v: Tensor  #: membrane potential after every step, ``(time, batch, *units)``
    state: S  #: to go on from


class Neuron(nn.Module, ABC, Generic[S]):
    """Base of the neurons: it keeps their parameters and says what they must answer.

    A parameter is a number, or a tensor that broadcasts to the units of the input: ``(C, 1, 1)`` is one per channel of feature maps. A
    number stays one, a tensor becomes a buffer, what ``learn`` names becomes an ``nn.Parameter``. Time constants that are not numbers are
    kept as logarithms (``log_tau_mem``): however they are learned, they stay positive, and decays between 0 and 1. Tensors keep at least
    32 bits: ``neuron.half()`` leaves them as they are.

    Args:
        dt: Step of the input, seconds, > 0.
        learn: Names of the parameters to learn, of those that the class lists as ``learnable``.
    """

    learnable: ClassVar[tuple[str, ...]] = ()  #: parameters that ``learn`` may name

    dt: float
    r: float | Tensor | None
    v_leak: float | Tensor
    v_threshold: float | Tensor
    reset_by: float | Tensor | None

    def __init__(self, dt: float, learn: Sequence[str] = ()) -> None:
        super().__init__()
        self.learn = chosen(self._where, learn, self.learnable)
        self._keep_number("dt", dt, "more than 0 seconds and finite")

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
            ConfigError: A value is out of its domain, or this neuron has no threshold.

        >>> from neurosim.neurons import LIF
        >>> LIF(tau_mem=20e-3, dt=1e-3, v_threshold=2.0).with_threshold(0.5, sign=-1)
        LIF(tau_mem=0.02, dt=0.001, v_threshold=0.5, reset_by=2, sign=-1)
        """
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

    def _keep(self, name: str, value: object, domain: str) -> None:
        """Take a parameter over: as a number, a buffer, or a parameter to learn."""
        learned = name in self.learn
        self._store(name, parameter_value(f"{self._where}.{name}", value, "finite" if learned else domain), learned)

    def _keep_number(self, name: str, value: object, domain: str) -> None:
        kept = parameter_value(f"{self._where}.{name}", value, domain)
        if isinstance(kept, Tensor):
            raise ConfigError(f"{self._where}.{name}: must be a number, got a tensor")
        setattr(self, name, kept)

    def _keep_time(self, name: str, value: object) -> None:
        """Take a time constant over; :meth:`_time` gives it back."""
        learned = name in self.learn
        domain = "more than 0 seconds and finite" if learned else "more than 0 seconds"
        kept = parameter_value(f"{self._where}.{name}", value, domain)
        varies = learned or isinstance(kept, Tensor)
        if varies:
            self._store(f"log_{name}", torch.as_tensor(kept).log(), learned)
        setattr(self, f"_{name}", None if varies else kept)

    def _keep_gain(self, name: str, value: object, tau: float | Tensor) -> None:
        """Take over a gain, for which None means 1/(1 − decay): every input counts once."""
        if value is None and name in self.learn:
            value = 1 / arriving(self.dt, tau)
        if value is None:
            setattr(self, name, None)
        else:
            self._keep(name, value, "finite")

    def _keep_leak(self, tau_mem: float | Tensor, r: float | Tensor | None, v_leak: float | Tensor) -> None:
        """Take over what the membrane does below its threshold."""
        self._keep_time("tau_mem", tau_mem)
        self._keep_gain("r", r, self._time("tau_mem"))
        self._keep("v_leak", v_leak, "finite")

    def _keep_firing(
        self,
        *,
        v_threshold: float | Tensor,
        v_reset: float | Tensor,
        reset: Reset,
        reset_by: float | Tensor | None,
        sign: float | Tensor,
        strict: bool,
        detach_reset: bool,
        surrogate: Surrogate | str,
        input_noise: float,
        membrane_noise: float,
    ) -> None:
        """Take over when the neuron fires, and what happens then."""
        if reset not in RESETS:
            raise ConfigError(f"{self._where}.reset: no reset is named {reset!r}{nearest(str(reset), RESETS)}")
        if not isinstance(surrogate, Surrogate | str):
            raise ConfigError(f"{self._where}.surrogate: must be a name or what surrogate(name) gave, got {surrogate!r:.60}")
        self.reset, self.strict, self.detach_reset = reset, strict, detach_reset
        self.surrogate = by_name(surrogate) if isinstance(surrogate, str) else surrogate
        self._keep("v_threshold", v_threshold, "a number")
        self._keep("v_reset", v_reset, "finite")
        self._keep("sign", sign, "1 or -1")
        if reset_by is None and "reset_by" in self.learn:
            reset_by = self.v_threshold
        if reset_by is not None:
            self._keep("reset_by", reset_by, "finite")
        else:
            self.reset_by = None
            if reset.startswith("soft") and bool((torch.as_tensor(self.v_threshold) == -math.inf).any()):
                raise ConfigError(f"{self._where}.reset_by: must be given where the threshold is -inf, which no reset can subtract")
        self._keep_number("input_noise", input_noise, "0 or more and finite")
        self._keep_number("membrane_noise", membrane_noise, "0 or more and finite")

    def _store(self, name: str, value: float | Tensor, learned: bool) -> None:
        if name in self._parameters or name in self._buffers:
            delattr(self, name)
        if learned:
            self.register_parameter(name, nn.Parameter(torch.as_tensor(value)))
        elif isinstance(value, Tensor):
            self.__dict__.pop(name, None)
            self.register_buffer(name, value)
        else:
            setattr(self, name, value)

    def _time(self, name: str) -> float | Tensor:
        kept: float | None = getattr(self, f"_{name}")
        return getattr(self, f"log_{name}").exp() if kept is None else kept

    def _gain(self, name: str, tau: float | Tensor) -> float | Tensor:
        """What an input adds within one step."""
        value: float | Tensor | None = getattr(self, name)
        return 1.0 if value is None else value * arriving(self.dt, tau)

    def _leak(self) -> dict[str, Any]:
        """Decay, gain and bias of the membrane, as the ops take them."""
        tau = self._time("tau_mem")
        bias = 0.0 if self._rests_at_zero else self.v_leak * arriving(self.dt, tau)
        return {"decay": remaining(self.dt, tau), "gain": self._gain("r", tau), "bias": bias}

    def _firing(self, stream: Stream | None, step: int | Tensor) -> dict[str, Any]:
        """When the neuron fires and what happens then, as the ops take it."""
        if stream is None and (self.input_noise or self.membrane_noise):
            how = "stream=neurosim.random.stream(seed, 'a name')"
            levels = f"input_noise={self.input_noise:g}, membrane_noise={self.membrane_noise:g}"
            raise ConfigError(f"{self._where}: noise needs a stream at every call, {how}, got {levels} and no stream")
        return {"threshold": self.v_threshold, "stream": stream, "step": step, **{name: getattr(self, name) for name in _FIRING}}

    def _rest(self, x: Tensor) -> Tensor | None:
        """The membrane before the first step; None is 0."""
        if self._rests_at_zero:
            return None
        return torch.as_tensor(self.v_leak, dtype=state_dtype(x), device=x.device).expand(x.shape[1:])

    @property
    def _rests_at_zero(self) -> bool:
        return isinstance(self.v_leak, float) and self.v_leak == 0

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

    @property
    def _where(self) -> str:
        return type(self).__name__

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def at_least_32_bits(value: Tensor) -> Tensor:
            moved = fn(value)
            narrow = moved.is_floating_point() and moved.dtype.itemsize < 4
            return value.to(moved.device, torch.float32) if narrow else moved

        super()._apply(at_least_32_bits, recurse)  # type: ignore[no-untyped-call]  # torch does not type it
        return self


_FIRING: Final = ("reset_by", "v_reset", "sign", "reset", "strict", "detach_reset", "surrogate", "input_noise", "membrane_noise")

NEURONS: Final[Registry[type[Neuron[Any]]]] = Registry("neuron")


def detach(state: S) -> S:
    """The same state without the graph that made it: what truncated backpropagation through time hands on."""
    return type(state)(*(value.detach() if isinstance(value, Tensor) else value for value in state))
