"""Leaky integrator over a whole sequence: the membrane of a read-out layer, without spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from neurosim.ops import neuron_run
from neurosim.ops.library import define
from neurosim.ops.lif import ARCTAN
from neurosim.ops.neuron_arguments import Rule, Value, check_input, check_state, pack
from neurosim.ops.neuron_call import Call

_RULE: Final = Rule("none", False, True, False, True, False, ARCTAN, 0.0, 0.0, None)


def li(x: Tensor, v: Tensor | None = None, *, decay: Value, gain: Value = 1.0, bias: Value = 0.0) -> tuple[Tensor, Tensor]:
    r"""Run leaky integrators.

    .. math:: v_t = a\,v_{t-1} + g\,x_t + b

    Args:
        x: Input, floating point.
        v: Membrane before the first step; None is 0.
        decay: :math:`a`, what is left of the membrane after a step.
        gain, bias: :math:`g`, left out if it is the number 1, and :math:`b`, left out if it is the number 0.

    Shapes:
        x ``(T, *units)``; v ``units``; a parameter is a number or broadcasts to ``units``.

    Returns:
        The membrane after every step, like x, and after the last one, float32 or float64. Both have gradients with respect to everything.
        NaN and infinity spread in time; no steps give the state back.

    Raises:
        ConfigError: A shape or type does not fit.

    >>> import torch
    >>> li(torch.tensor([[1.0], [0.0], [0.0]]), decay=0.5)[0].flatten().tolist()
    [1.0, 0.5, 0.25]
    """
    check_input("li", x)
    check_state("li", "v", v, x)
    packed = pack("li", x, (decay, 0.0, 0.0, gain, bias, 0.0, 1.0), _RULE)
    after, last = _li(x, v, packed.tensors[0], *packed.tensors[3:5], packed.numbers, packed.settings)
    return after, last


def _call(x: Tensor, v: Tensor | None, decay: Tensor | None, gain: Tensor | None, bias: Tensor | None, *rest: Any) -> Call:
    numbers, settings = rest
    return Call(x, None, v, (decay, None, None, gain, bias), None, numbers, settings, ARCTAN.name, synapse=False)


def _forward(*args: Any) -> tuple[Tensor | None, Tensor]:
    out = neuron_run.forward(_call(*args))
    return out.record, out.v


def _fake(*args: Any) -> tuple[Tensor | None, Tensor]:
    out = neuron_run.fake_forward(_call(*args))
    return out.record, out.v


def _save(ctx: Any, args: tuple[Any, ...], result: Any) -> None:
    ctx.save_for_backward(*args[:5])
    ctx.rest = args[5:]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, after: Tensor | None, last: Tensor | None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    wanted: Sequence[bool] = ctx.needs_input_grad
    needs = wanted[2] | wanted[3] << 3 | wanted[4] << 4
    grad_x, grad_v, sums = _li_backward(after, last, *saved, *ctx.rest, needs)
    decay, _, _, gain, bias = neuron_run.parameter_gradients(sums, (saved[2], None, None, saved[3], saved[4]), needs)
    return grad_x if wanted[0] else None, grad_v if wanted[1] else None, decay, gain, bias, None, None


def _gradients(after: Tensor | None, last: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    found = neuron_run.backward((None, None, last, after), _call(*rest[:-1]), rest[-1])
    return found.x, found.v, found.sums


def _fake_gradients(after: Tensor | None, last: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    found = neuron_run.fake_backward(_call(*rest[:-1]), rest[-1])
    return found.x, found.v, found.sums


_ARGUMENTS: Final = "Tensor x, Tensor? v, Tensor? decay, Tensor? gain, Tensor? bias, float[] numbers, int[] settings"
_li_backward: Final = define(
    f"li_backward(Tensor? grad_after, Tensor? grad_last, {_ARGUMENTS}, int needs) -> (Tensor, Tensor, Tensor)",
    _gradients,
    _fake_gradients,
)
_li: Final = define(f"li({_ARGUMENTS}) -> (Tensor, Tensor)", _forward, _fake, setup_context=_save, backward=_backward)
