"""Layers of norse on the fused neuron: the calls, states and parameters of norse, the arithmetic of the op."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters
from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
from norse.torch.module.lif import LIF, LIFCell
from norse.torch.module.lif_box import LIFBoxCell
from torch import Tensor, nn

from neurosim.convert.accelerate_rules import Convention, Number, check_sequence, coefficient, fits
from neurosim.errors import ConfigError, ConversionError
from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif


class _Spiked(NamedTuple):
    """A sequence that was run."""

    spikes: Tensor
    state: Any  #: norse's own, after the last step
    states: Any  #: after every step, if it was asked for


class _Fused(nn.Module):
    """What the fused layers have in common."""

    p: Any  #: norse's parameters; its tensors are read at every call
    dt: float
    convention: Convention

    def _run(self, x: Tensor, state: Any, record: bool) -> _Spiked:
        raise NotImplementedError(f"{type(self).__name__} must define _run")

    def _fusable(self, x: Tensor, shape: torch.Size, state: Any) -> bool:
        """Whether the op takes an input of this type with steps of this shape, and the state and parameters with it."""
        if not x.is_floating_point() or x.layout != torch.strided:
            return False
        values = [value for value in self._numbers() if isinstance(value, Tensor)]
        if state is not None:
            if any(value.dim() and value.dtype.itemsize > max(4, x.dtype.itemsize) for value in state):
                return False
            values += state
        return all(fits(value, shape, x.dtype) for value in values)

    def _numbers(self) -> tuple[Any, ...]:
        p = self.p
        return p.tau_mem_inv, p.v_leak, p.v_th, p.v_reset

    def _rule(self, x: Tensor) -> dict[str, Any]:
        """The arguments that both ops take."""
        share = _share(self.dt, self.p.tau_mem_inv, x)
        rule, soft, level = self.convention, self.convention.reset == "soft", self.p.v_th
        threshold = coefficient(level, x)
        apart = isinstance(level, Tensor) and not rule.differentiable  # then v_th has the gradient of what a reset subtracts, or none
        return {
            "decay": 1 - share,
            "gain": share,
            "bias": share * coefficient(self.p.v_leak, x),
            "threshold": coefficient(level.detach(), x) if apart else threshold,
            "reset_by": threshold if apart and soft else None,
            "v_reset": 0.0 if soft else coefficient(self.p.v_reset, x),
            "reset": rule.reset,
            "strict": True,
            "detach_reset": rule.detach_reset,
            "surrogate": rule.surrogate,
        }

    def _rest(self, x: Tensor) -> Tensor | None:
        """The membrane that norse starts from, which carries no gradient; None is 0."""
        leak = coefficient(self.p.v_leak, x)
        if isinstance(leak, float) and leak == 0:
            return None
        start = torch.as_tensor(leak, dtype=x.dtype, device=x.device).detach()
        return start.expand(x.shape[1:])

    def _spikes(self, spikes: Tensor) -> Tensor:
        return spikes if self.convention.differentiable else spikes.detach()

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = ("method", "alpha", "reset_method")
        if name == "p" and any(getattr(value, one, None) != getattr(self.p, one, None) for one in fixed):
            raise ConversionError(f"{type(self).__name__}: {', '.join(fixed)} must be set before neurosim.accelerate, which has read them")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Parameters of norse are of a class that cannot be pickled: they are made again from their values."""
        return {**self.__dict__, "p": tuple(self.p)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch does not type it
        kind = LIFBoxParameters if isinstance(self, LIFBoxCell) else LIFParameters
        self.__dict__["p"] = kind(*state["p"])


class _WithCurrent(_Fused):
    """``LIF`` and ``LIFCell``: a current filter before the membrane."""

    def _numbers(self) -> tuple[Any, ...]:
        return (*super()._numbers(), self.p.tau_syn_inv)

    def _run(self, x: Tensor, state: Any, record: bool) -> _Spiked:
        x = _at_least_float32(x)
        kept = 1 - _share(self.dt, self.p.tau_syn_inv, x)
        before = None
        if state is not None:  # the op keeps the current before its decay, norse after it
            before = CubaLIFState(_spread(state.i / kept, x), _spread(state.v, x))
        elif (rest := self._rest(x)) is not None:
            before = CubaLIFState(torch.zeros_like(rest), rest)
        out = cuba_lif(x, before, syn_decay=kept, record=record, **self._rule(x))
        states = None
        if out.record is not None:
            currents, _ = li(x, None if before is None else before.i, decay=kept)
            states = LIFFeedForwardState(v=out.record, i=kept * currents)
        return _Spiked(self._spikes(out.spikes), LIFFeedForwardState(v=out.state.v, i=kept * out.state.i), states)


class FusedLIF(_WithCurrent, LIF):  # type: ignore[misc]  # norse's classes have no types
    """``norse.torch.LIF`` on the fused neuron; :func:`neurosim.accelerate` makes it of one."""

    def forward(self, input_tensor: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """A sequence ``(time, batch, *units)``, as in norse: spikes and the last state, or all states with ``record_states=True``."""
        input_tensor = _of_some_type(input_tensor)
        if input_tensor.dim() == 0 or not self._fusable(input_tensor, input_tensor.shape[1:], state):
            result: tuple[Tensor, Any] = LIF.forward(self, input_tensor, state)
            return result
        out = self._run(input_tensor, state, bool(self.record_states))
        return out.spikes, out.states if self.record_states else out.state


class _Cell(_Fused):
    """``LIFCell`` and ``LIFBoxCell``: one step a call, and sequences by a method of their own."""

    def forward(self, input_tensor: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One step ``(batch, *units)``, as in norse: spikes and state."""
        if not self._fusable(input_tensor, input_tensor.shape, state):
            result: tuple[Tensor, Any] = super().forward(input_tensor, state)
            return result
        return self._step(input_tensor, state)

    def _step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        out = self._run(x.unsqueeze(0), state, False)
        return out.spikes.squeeze(0), out.state

    def sequence(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """All steps at once: what calling the cell with ``x[0]``, ``x[1]``, … gives, and as fast as it can be had.

        Args:
            x: Input of every step.
            state: norse's state before the first step; None is rest.

        Shapes:
            x ``(time, batch, *units)``; spikes like x.

        Returns:
            Spikes, and norse's state after the last step.

        Raises:
            ConfigError: Types or shapes do not fit.
        """
        where = f"{type(self).__name__}.sequence"
        check_sequence(where, x)
        x = _of_some_type(x)
        if not self._fusable(x, x.shape[1:], state):
            shape = tuple(x.shape)
            raise ConfigError(
                f"{where}: state and parameters must broadcast to one step of floating point, got x {x.dtype} of shape {shape}"
            )
        out = self._run(x, state, False)
        return out.spikes, out.state


class FusedLIFCell(_Cell, _WithCurrent, LIFCell):  # type: ignore[misc]  # norse's classes have no types
    """``norse.torch.LIFCell`` on the fused neuron; :func:`neurosim.accelerate` makes it of one."""

    def _step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step needs no current filter: the current is its input and what there was."""
        x = _at_least_float32(x)
        x = (x if state is None else x + state.i).unsqueeze(0)
        out = lif(x, self._rest(x) if state is None else _spread(state.v, x), **self._rule(x))
        current = (1 - _share(self.dt, self.p.tau_syn_inv, x)) * x
        return self._spikes(out.spikes).squeeze(0), LIFFeedForwardState(v=out.v, i=current.squeeze(0))


class FusedLIFBoxCell(_Cell, LIFBoxCell):  # type: ignore[misc]  # norse's classes have no types
    """``norse.torch.LIFBoxCell`` on the fused neuron; :func:`neurosim.accelerate` makes it of one."""

    def _run(self, x: Tensor, state: Any, record: bool) -> _Spiked:
        x = _at_least_float32(x)
        out = lif(x, self._rest(x) if state is None else _spread(state.v, x), record=record, **self._rule(x))
        return _Spiked(self._spikes(out.spikes), LIFBoxFeedForwardState(v=out.v), None)


def _share(dt: float, rate: Any, x: Tensor) -> Number:
    """The time step times an inverse time constant."""
    return dt * coefficient(rate, x)


def _spread(value: Tensor, x: Tensor) -> Tensor:
    """A state over one time step of x; norse starts cells from a single number."""
    shape = x.shape[1:]
    return value if value.dtype == x.dtype and value.shape == shape else value.to(x.dtype).expand(shape)


def _of_some_type(x: Tensor) -> Tensor:
    """No steps have no values, so that their type does not matter; norse itself cannot stack nothing."""
    return x.float() if x.dim() and not len(x) and not x.is_floating_point() else x


def _at_least_float32(x: Tensor) -> Tensor:
    """States of norse are float32, so 16-bit inputs are computed, and answered, in float32."""
    return x if x.dtype.itemsize >= 4 else x.float()
