"""Layers of snnTorch on the fused neuron: the calls, states and parameters of snnTorch, the arithmetic of the op."""

from __future__ import annotations

from typing import Any, ClassVar, Final

import snntorch as snn
import torch
from torch import Tensor

from neurosim.convert.accelerate_rules import Convention, Number, check_sequence, coefficient, enlist, fits, traced
from neurosim.errors import ConfigError, ConversionError, RunError
from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.lif import lif

State = tuple[Tensor | None, ...]
Rates = tuple[Tensor, ...]  #: beta, threshold and, with a current, alpha

#: what decides the convention; it is read once, at conversion
_FIXED: Final = frozenset(
    {"spike_grad", "surrogate_disable", "inhibition", "reset_mechanism", "state_quant", "reset_delay", "state_function"}
)


def taken_apart(function: Any) -> tuple[str, dict[str, Any]] | None:
    """The factory of ``snntorch.surrogate`` that made a spike function, and its arguments; None if none did."""
    place = (getattr(function, "__module__", None), getattr(function, "__qualname__", ""))
    name = place[1].partition(".")[0]
    if place != (snn.surrogate.__name__, f"{name}.<locals>.inner"):
        return None
    return name, {
        variable: cell.cell_contents for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    }


class _Fused(snn.SpikingNeuron):  # type: ignore[misc]  # snnTorch has no types
    """What the fused layers have in common: the calls of snnTorch, and sequences."""

    convention: Convention
    states: ClassVar[tuple[str, ...]]  #: names of the state, in the order in which calls take and return it

    def _call(self, x: Tensor, given: State) -> Any:
        """One step, with snnTorch's arguments, results and hidden state."""
        if self.init_hidden and any(value is not None for value in given):
            return super().forward(x, *given)  # raises what snnTorch raises
        self._hold(given)
        state, rates = self._held(x.shape), self._rates()
        if self._fusable(x, x.shape, state, rates):
            spikes, after, _ = self._run(x.unsqueeze(0), state, rates, record=False)
            self._hold(after)
            spikes = spikes.squeeze(0)
        else:
            spikes, after = self._step_of_snntorch(x, state)
        return spikes if self.init_hidden and not self.output else (spikes, *after)

    def _sequence(self, x: Tensor, given: State, record: bool) -> tuple[Tensor, ...]:
        """All steps at once; only a layer with ``init_hidden`` starts from its hidden state, and keeps it."""
        where = f"{type(self).__name__}.sequence"
        check_sequence(where, x)
        if self.init_hidden and any(value is not None for value in given):
            raise ConfigError(f"{where}: a layer with init_hidden=True keeps its state itself, got one")
        wrong = [name for name, value in zip(self.states, given, strict=True) if value is not None and value.shape != x.shape[1:]]
        if wrong:
            raise ConfigError(f"{where}: {' and '.join(wrong)} must have the shape of one step, {tuple(x.shape[1:])}")
        before = tuple(self._buffers[name] for name in self.states)
        try:
            spikes, state, recorded = self._steps(x, self._held(x.shape[1:]) if self.init_hidden else given, record)
        finally:
            self._hold(before)
        if self.init_hidden:
            self._hold(state)
        return (spikes, *state[:-1], recorded if recorded is not None else state[-1])

    def _held(self, shape: torch.Size) -> State:
        """The hidden state; what has another shape than the input is rest, as in snnTorch."""
        held = [self._buffers[name] for name in self.states]
        return tuple(value if value is not None and value.shape == shape else None for value in held)

    def _hold(self, state: State) -> None:
        """Keep what is given of a state; written as ``nn.Module`` would, without the checks that it makes at every step."""
        for name, value in zip(self.states, state, strict=True):
            if value is not None:
                self._buffers[name] = value

    def _steps(self, x: Tensor, state: State, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """Spikes of all steps, the state after the last, the membrane after each if wanted."""
        rates = self._rates()
        if not len(x) and not self._fusable(x, x.shape[1:], state, rates):
            return _nothing(x, state, record)
        first: list[Tensor] = []
        membranes: list[Tensor] = []
        while len(first) < len(x) and not self._fusable(x, x.shape[1:], state, rates):
            spikes, state = self._step_of_snntorch(x[len(first)], state)
            first.append(spikes)
            membranes.append(self.mem)
        rest = x[len(first) :] if first else x
        if first and not len(rest):
            return torch.stack(first), tuple(getattr(self, name) for name in self.states), torch.stack(membranes) if record else None
        spikes, after, recorded = self._run(rest, state, rates, record)
        if first:
            spikes = torch.cat([torch.stack(first), spikes])
            recorded = torch.cat([torch.stack(membranes), recorded]) if recorded is not None else None
        return spikes, after, recorded

    def _run(self, x: Tensor, state: State, rates: Rates, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        """The op, and what snnTorch does with its spikes."""
        spikes, after, recorded = self._fused(x, state, rates, record)
        if not self.convention.differentiable:
            spikes = spikes.detach()
        spikes = spikes.float()
        factor = coefficient(self._parameter("graded_spikes_factor"), spikes)
        return spikes if isinstance(factor, float) and factor == 1 else spikes * factor, after, recorded

    def _fused(self, x: Tensor, state: State, rates: Rates, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        raise NotImplementedError(f"{type(self).__name__} must define _fused")

    def _rates(self) -> Rates:
        return self._parameter("beta"), self._parameter("threshold")

    def _parameter(self, name: str) -> Tensor:
        """A parameter or buffer, without the search through all classes that precedes ``nn.Module``'s; parametrised ones need that."""
        value: Tensor | None = self._parameters.get(name)
        if value is None:
            value = self._buffers.get(name)
        return getattr(self, name) if value is None else value

    def _rule(self, x: Tensor, rates: Rates) -> dict[str, Any]:
        """The arguments that both ops take."""
        rule = self.convention
        return {
            "decay": _clamped(rates[0], x),
            "threshold": coefficient(rates[1], x),
            "reset": rule.reset,
            "strict": True,
            "detach_reset": rule.detach_reset,
            "surrogate": rule.surrogate,
        }

    def _fusable(self, x: Tensor, shape: torch.Size, state: State, rates: Rates) -> bool:
        """Whether the op computes the next step, of this shape, as snnTorch does."""
        if not x.is_floating_point() or x.layout != torch.strided:
            return False
        types = (x.dtype, torch.float32 if x.dtype.itemsize < 4 else x.dtype)
        if any(value is not None and value.dtype not in types for value in state):
            return False
        if not all(fits(value, shape, x.dtype) for value in rates):
            return False
        if self.convention.reset != "hard":
            return True
        threshold, membrane = rates[1], state[-1]
        if traced() or bool((threshold < 0).any()):
            return False
        return membrane is None or not bool((membrane > threshold).any())

    def _step_of_snntorch(self, x: Tensor, state: State) -> tuple[Tensor, tuple[Tensor, ...]]:
        if torch._C._are_functorch_transforms_active() and not self.surrogate_disable:
            raise RunError(
                f"{type(self).__name__}: inside of torch.func transforms the fused step must do, as snnTorch's own cannot run there: "
                'no reset_mechanism="zero" with reset_delay=False, no types that differ, no parameters that enlarge the input'
            )
        self._hold(tuple(torch.zeros_like(x) if value is None else value for value in state))
        result = super().forward(x)
        return (result if isinstance(result, Tensor) else result[0]), tuple(getattr(self, name) for name in self.states)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED:
            raise ConversionError(f"{type(self).__name__}: {name} must be set before neurosim.accelerate, which has read it")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Functions of ``snntorch.surrogate`` are closures, which cannot be pickled: they are made again from their arguments."""
        state = self.__dict__.copy()
        if not self.surrogate_disable:
            state["spike_grad"] = taken_apart(self.spike_grad)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self.surrogate_disable:
            name, arguments = state["spike_grad"]
            self.__dict__["spike_grad"] = getattr(snn.surrogate, name)(**arguments)
        enlist(self)


class FusedLeaky(_Fused, snn.Leaky):  # type: ignore[misc]  # snnTorch has no types
    """``snntorch.Leaky`` on the fused neuron; :func:`neurosim.accelerate` makes it of one."""

    states = ("mem",)

    def forward(self, input_: Tensor, mem: Tensor | None = None) -> Any:
        """One step, as in snnTorch: ``spk, mem = layer(x, mem)``, or ``spk = layer(x)`` with ``init_hidden=True``."""
        return self._call(input_, (mem,))

    def sequence(self, x: Tensor, mem: Tensor | None = None, *, record: bool = False) -> tuple[Tensor, Tensor]:
        """All steps at once: what calling the layer with ``x[0]``, ``x[1]``, … gives, and as fast as it can be had.

        Args:
            x: Input current of every step.
            mem: Membrane before the first step; None is rest, or the hidden state of a layer with ``init_hidden=True``.
            record: Return the membrane after every step instead of the last.

        Shapes:
            x ``(time, batch, *units)``; mem ``(batch, *units)``; spikes like x; the result's mem like mem, or like x if recorded.

        Returns:
            Spikes and membrane.

        Raises:
            ConfigError: A shape does not fit, or a state is handed to a layer that keeps its own.
        """
        spikes, membrane = self._sequence(x, (mem,), record)
        return spikes, membrane

    def _fused(self, x: Tensor, state: State, rates: Rates, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        out = lif(x, state[0], record=record, **self._rule(x, rates))
        return out.spikes, (out.v,), out.record


class FusedSynaptic(_Fused, snn.Synaptic):  # type: ignore[misc]  # snnTorch has no types
    """``snntorch.Synaptic`` on the fused neuron; :func:`neurosim.accelerate` makes it of one."""

    states = ("syn", "mem")

    def forward(self, input_: Tensor, syn: Tensor | None = None, mem: Tensor | None = None) -> Any:
        """One step, as in snnTorch: ``spk, syn, mem = layer(x, syn, mem)``, or ``spk = layer(x)`` with ``init_hidden=True``."""
        return self._call(input_, (syn, mem))

    def sequence(
        self, x: Tensor, syn: Tensor | None = None, mem: Tensor | None = None, *, record: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All steps at once: what calling the layer with ``x[0]``, ``x[1]``, … gives, and as fast as it can be had.

        Args:
            x: Input of every step.
            syn, mem: State before the first step; None is rest, or the hidden state of a layer with ``init_hidden=True``.
            record: Return the membrane after every step instead of the last.

        Shapes:
            x ``(time, batch, *units)``; syn, mem ``(batch, *units)``; spikes like x; the result's mem like mem, or like x if recorded.

        Returns:
            Spikes, current after the last step, membrane.

        Raises:
            ConfigError: A shape does not fit, or a state is handed to a layer that keeps its own.
        """
        spikes, current, membrane = self._sequence(x, (syn, mem), record)
        return spikes, current, membrane

    def _fused(self, x: Tensor, state: State, rates: Rates, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        both = None
        if any(value is not None for value in state):
            both = CubaLIFState(*(x.new_zeros(x.shape[1:]) if value is None else value for value in state))
        out = cuba_lif(x, both, syn_decay=_clamped(rates[2], x), record=record, **self._rule(x, rates))
        return out.spikes, tuple(out.state), out.record

    def _rates(self) -> Rates:
        return *super()._rates(), self._parameter("alpha")


def _nothing(x: Tensor, state: State, record: bool) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
    """What no steps give, of whatever type: no spikes, and the state back."""
    recorded = torch.zeros(x.shape, dtype=x.dtype if x.is_floating_point() else torch.float32, device=x.device)
    rest = recorded.new_zeros(x.shape[1:], dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
    return recorded.float(), tuple(rest if value is None else value for value in state), recorded if record else None


def _clamped(rate: Tensor, x: Tensor) -> Number:
    value = coefficient(rate, x)
    return value.clamp(0, 1) if isinstance(value, Tensor) else min(max(value, 0.0), 1.0)
