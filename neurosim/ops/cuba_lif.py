"""Leaky integrate-and-fire with a synaptic current filter, over a whole sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor

from neurosim.ops import neuron_run
from neurosim.ops.library import define
from neurosim.ops.lif import ARCTAN
from neurosim.ops.neuron_arguments import Reset, Rule, Value, check_input, check_noise, check_state, check_surrogate, pack
from neurosim.ops.neuron_call import Call, Gradients
from neurosim.random import Stream
from neurosim.surrogate import Surrogate

_PARAMETERS: Final = 9


class CubaLIFState(NamedTuple):
    """What the next step needs, float32 or float64."""

    i: Tensor  #: synaptic current
    v: Tensor  #: membrane


class CubaLIFOutput(NamedTuple):
    """Spikes, and what :func:`cuba_lif` ends with."""

    spikes: Tensor  #: 0 or 1, like the input
    state: CubaLIFState
    record: Tensor | None  #: membrane after every step, like the input, if it was asked for


def cuba_lif(
    x: Tensor,
    state: CubaLIFState | None = None,
    *,
    syn_decay: Value,
    w_in: Value = 1.0,
    decay: Value,
    threshold: Value = 1.0,
    reset_by: Value | None = None,
    gain: Value = 1.0,
    bias: Value = 0.0,
    v_reset: Value = 0.0,
    sign: Value = 1.0,
    reset: Reset = "soft",
    strict: bool = False,
    detach_reset: bool = True,
    surrogate: Surrogate | str = ARCTAN,
    input_noise: float = 0.0,
    membrane_noise: float = 0.0,
    stream: Stream | None = None,
    step: int | Tensor = 0,
    record: bool = False,
) -> CubaLIFOutput:
    r"""Run leaky integrate-and-fire neurons whose input passes a leaky integrator first.

    .. math:: i_t = \alpha\,i_{t-1} + w\,x_t

    and then a step of :func:`neurosim.ops.lif.lif` with :math:`i_t` in the place of :math:`x_t`.

    Args:
        x: Input, floating point; input noise is added to it.
        state: Current and membrane before the first step; None is 0 and 0.
        syn_decay: :math:`\alpha`, what is left of the current after a step.
        w_in: :math:`w`, left out if it is the number 1.
        decay, threshold, reset_by, gain, bias, v_reset, sign: As in ``lif``.
        reset, strict, detach_reset, surrogate, input_noise, membrane_noise, stream, step, record: As in ``lif``.

    Shapes:
        x ``(T, *units)``; spikes and record the same; i and v ``units``; a parameter is a number or broadcasts to ``units``.

    Returns:
        Spikes, state and record. All have gradients, and odd input gives odd results, as in ``lif``.

    Raises:
        ConfigError: As in ``lif``.

    Source:
        NIR ``CubaLIF``; snnTorch ``Synaptic``.

    >>> import torch
    >>> out = cuba_lif(torch.tensor([[1.0], [0.0], [0.0]]), syn_decay=0.5, decay=1.0, threshold=1.5)
    >>> out.spikes.flatten().tolist(), out.state.i.item(), out.state.v.item()
    ([0.0, 1.0, 0.0], 0.25, 0.25)
    """
    current, v = (None, None) if state is None else state
    check_input("cuba_lif", x)
    check_state("cuba_lif", "i", current, x)
    check_state("cuba_lif", "v", v, x)
    source = check_noise("cuba_lif", x, input_noise, membrane_noise, stream, step) if input_noise or membrane_noise else None
    shape = check_surrogate("cuba_lif", surrogate)
    rule = Rule(reset, strict, detach_reset, True, record, reset_by is None, shape, input_noise, membrane_noise, None, step)
    values = (decay, threshold, 0.0 if reset_by is None else reset_by, gain, bias, v_reset, sign, syn_decay, w_in)
    packed = pack("cuba_lif", x, values, rule, source)
    op = _cuba_lif_recorded if record else _cuba_lif
    spikes, current, v, *recorded = op(x, current, v, *packed.tensors, *packed[1:])
    return CubaLIFOutput(spikes, CubaLIFState(current, v), recorded[0] if record else None)


def _call(x: Tensor, current: Tensor | None, v: Tensor | None, *rest: Any) -> Call:
    return Call(x, current, v, rest[:_PARAMETERS], *rest[_PARAMETERS:], True)  # type: ignore[call-arg]  # four: counter to surrogate


def _forward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(part for part in neuron_run.forward(_call(*args)) if part is not None)


def _fake(*args: Any) -> tuple[Tensor, ...]:
    return tuple(part for part in neuron_run.fake_forward(_call(*args)) if part is not None)


def _save(ctx: Any, args: tuple[Any, ...], result: Any) -> None:
    tensors = args[: 4 + _PARAMETERS]
    ctx.save_for_backward(*tensors)
    ctx.rest = args[len(tensors) :]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, spikes: Tensor | None, current: Tensor | None, v: Tensor | None, record: Tensor | None = None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    wanted: Sequence[bool] = ctx.needs_input_grad
    needs = neuron_run.bits(wanted[3 : 3 + _PARAMETERS])
    *states, sums = _cuba_lif_backward(spikes, current, v, record, *saved, *ctx.rest, needs)
    parameters = neuron_run.parameter_gradients(sums, saved[3 : 3 + _PARAMETERS], needs)
    return *(grad if need else None for grad, need in zip(states, wanted, strict=False)), *parameters, None, None, None, None


def _gradients(*args: Any) -> Gradients:
    return neuron_run.backward(args[:4], _call(*args[4:-1]), args[-1])


def _fake_gradients(*args: Any) -> Gradients:
    return neuron_run.fake_backward(_call(*args[4:-1]), args[-1])


_ARGUMENTS: Final = (
    "Tensor x, Tensor? i, Tensor? v, Tensor? decay, Tensor? threshold, Tensor? reset_by, Tensor? gain, Tensor? bias, Tensor? v_reset, "
    "Tensor? sign, Tensor? syn_decay, Tensor? w_in, Tensor? counter, float[] numbers, int[] settings, str surrogate"
)
_cuba_lif_backward: Final = define(
    f"cuba_lif_backward(Tensor? grad_spikes, Tensor? grad_i, Tensor? grad_v, Tensor? grad_record, {_ARGUMENTS}, int needs)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _gradients,
    _fake_gradients,
)
_cuba_lif: Final = define(f"cuba_lif({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)", _forward, _fake, setup_context=_save, backward=_backward)
_cuba_lif_recorded: Final = define(
    f"cuba_lif_recorded({_ARGUMENTS}) -> (Tensor, Tensor, Tensor, Tensor)", _forward, _fake, setup_context=_save, backward=_backward
)
