"""Leaky integrate-and-fire over a whole sequence, with every library's convention as a setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from torch import Tensor

from neurosim.ops import neuron_run
from neurosim.ops.library import define
from neurosim.ops.neuron_arguments import Reset, Rule, Value, check_input, check_noise, check_state, check_surrogate, pack
from neurosim.ops.neuron_call import Call, Outputs
from neurosim.random import Stream
from neurosim.surrogate import Surrogate, surrogate

ARCTAN: Final = surrogate("arctan")
_PARAMETERS: Final = 7


class LIFOutput(NamedTuple):
    """Spikes, and what :func:`lif` ends with."""

    spikes: Tensor  #: 0 or 1, like the input
    v: Tensor  #: membrane after the last step, float32 or float64
    record: Tensor | None  #: membrane after every step, like the input, if it was asked for


def lif(
    x: Tensor,
    v: Tensor | None = None,
    *,
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
) -> LIFOutput:
    r"""Run leaky integrate-and-fire neurons.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t

    and likewise for the other resets, with :math:`r_t = \Theta(\sigma(v_{t-1} - \theta))`:

    ===================== ================================================== ==============================================
    reset                 h                                                  v after the step
    ===================== ================================================== ==============================================
    ``none``              a v + g x + b                                      h
    ``soft``              a v + g x + b                                      h − ρ s
    ``hard``              a v + g x + b                                      v_reset where s, else h
    ``soft_next``         a v + g x + b − ρ r                                h
    ``soft_next_decayed`` a (v − ρ r) + g x + b                              h
    ``hard_next``         a (v_reset where r, else v) + g x + b              h
    ``hard_next_erasing`` v_reset where r, else a v + g x + b                h
    ``soft_both``         a v + g x + b − ρ r                                h − ρ (s − r)
    ===================== ================================================== ==============================================

    Operations happen in exactly this order, without contraction, in float32 (float64 for float64); ``g x`` is x if ``gain`` is the number
    1, and ``b`` is left out if ``bias`` is the number 0.

    Args:
        x: Input, floating point.
        v: Membrane before the first step; None is 0.
        decay: :math:`a`, what is left of the membrane after a step.
        threshold: :math:`\theta`; inf never fires, −inf always does.
        reset_by: :math:`\rho`, what a soft reset subtracts; None is the threshold, of which a negative one pushes the membrane up.
        gain, bias: :math:`g` and :math:`b`.
        v_reset: Where a hard reset goes to.
        sign: :math:`\sigma`, 1 or −1: which side of the threshold fires. It has no gradient.
        reset: See above.
        strict: Whether :math:`\Theta` is > 0 instead of ≥ 0.
        detach_reset: Whether the gradient leaves out how :math:`s` and :math:`r` act through the reset; in ``soft_both`` :math:`r` is
            always left out.
        surrogate: A name, or what ``neurosim.surrogate.surrogate`` gives, for the derivative of :math:`\Theta`; one that you registered
            without a code runs on torch.
        input_noise, membrane_noise: Standard deviation of normal noise added to every x, and to every h as the last thing before the spike.
        stream: Where noise comes from: its children ``"input"`` and ``"membrane"``, element ``(step + t) · units + n`` each.
        step: Steps before the first of x: a sequence that is cut goes on with the noise of the whole. An int or a 0-dim int64 tensor.
        record: Whether to return the membrane after every step.

    Shapes:
        x ``(T, *units)``; spikes and record the same; v ``units``; a parameter is a number or broadcasts to ``units``.

    Returns:
        Spikes, state and record. All have gradients: with respect to x, v and every parameter but ``sign``, once.

    A membrane that is NaN does not fire and stays NaN (a hard reset never sees it). An infinite input makes the membrane infinite: it
    fires if the sign of the infinity says so, a soft reset leaves it infinite, and ``0 · inf`` is NaN as everywhere. No steps give the
    state back; no units give empty results. float16 and bfloat16 inputs, as under autocast, give spikes and record in that type, and a
    state in float32. Sequences that are not contiguous are copied, unless one step fills its memory in another order (channels-last),
    which the results then share. Gradients with stride 0, as those of a sum, are not copied.

    Raises:
        ConfigError: A shape, type or range does not fit, noise is wanted without a stream, or a threshold of −inf would be subtracted.

    Source:
        The conventions of SpikingJelly, snnTorch, norse, spyx and others are settings of this step; surrogate gradients as in
        E. O. Neftci, H. Mostafa, F. Zenke, IEEE Signal Process. Mag. 36 (2019), doi:10.1109/MSP.2019.2931595.

    >>> import torch
    >>> out = lif(torch.tensor([[0.6], [0.6], [0.6]]), decay=0.5, record=True)
    >>> out.spikes.flatten().tolist(), out.record.flatten().tolist()
    ([0.0, 0.0, 1.0], [0.600..., 0.900..., 0.050...])
    """
    check_input("lif", x)
    check_state("lif", "v", v, x)
    source = check_noise("lif", x, input_noise, membrane_noise, stream, step) if input_noise or membrane_noise else None
    shape = check_surrogate("lif", surrogate)
    rule = Rule(reset, strict, detach_reset, True, record, reset_by is None, shape, input_noise, membrane_noise, None, step)
    values = (decay, threshold, 0.0 if reset_by is None else reset_by, gain, bias, v_reset, sign)
    packed = pack("lif", x, values, rule, source)
    op = _lif_recorded if record else _lif
    spikes, after, *recorded = op(x, v, *packed.tensors, *packed[1:])
    return LIFOutput(spikes, after, recorded[0] if record else None)


def _call(x: Tensor, v: Tensor | None, *rest: Any) -> Call:
    return Call(x, None, v, rest[:_PARAMETERS], *rest[_PARAMETERS:], False)  # type: ignore[call-arg]  # four: counter to surrogate


def _results(out: Outputs) -> tuple[Tensor | None, ...]:
    return (out.spikes, out.v) if out.record is None else (out.spikes, out.v, out.record)


def _forward(*args: Any) -> tuple[Tensor | None, ...]:
    return _results(neuron_run.forward(_call(*args)))


def _fake(*args: Any) -> tuple[Tensor | None, ...]:
    return _results(neuron_run.fake_forward(_call(*args)))


def _save(ctx: Any, args: tuple[Any, ...], result: Any) -> None:
    tensors = args[: 3 + _PARAMETERS]
    ctx.save_for_backward(*tensors)
    ctx.rest = args[len(tensors) :]
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, spikes: Tensor | None, v: Tensor | None, record: Tensor | None = None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    wanted: Sequence[bool] = ctx.needs_input_grad
    needs = neuron_run.bits(wanted[2 : 1 + _PARAMETERS])
    grad_x, grad_v, sums = _lif_backward(spikes, v, record, *saved, *ctx.rest, needs)
    parameters = neuron_run.parameter_gradients(sums, saved[2 : 2 + _PARAMETERS], needs)
    return grad_x if wanted[0] else None, grad_v if wanted[1] else None, *parameters, None, None, None, None


def _gradients(spikes: Tensor | None, v: Tensor | None, record: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    found = neuron_run.backward((spikes, None, v, record), _call(*rest[:-1]), rest[-1])
    return found.x, found.v, found.sums


def _fake_gradients(spikes: Tensor | None, v: Tensor | None, record: Tensor | None, *rest: Any) -> tuple[Tensor | None, ...]:
    found = neuron_run.fake_backward(_call(*rest[:-1]), rest[-1])
    return found.x, found.v, found.sums


_ARGUMENTS: Final = (
    "Tensor x, Tensor? v, Tensor? decay, Tensor? threshold, Tensor? reset_by, Tensor? gain, Tensor? bias, Tensor? v_reset, Tensor? sign, "
    "Tensor? counter, float[] numbers, int[] settings, str surrogate"
)
_lif_backward: Final = define(
    f"lif_backward(Tensor? grad_spikes, Tensor? grad_v, Tensor? grad_record, {_ARGUMENTS}, int needs) -> (Tensor, Tensor, Tensor)",
    _gradients,
    _fake_gradients,
)
_lif: Final = define(f"lif({_ARGUMENTS}) -> (Tensor, Tensor)", _forward, _fake, setup_context=_save, backward=_backward)
_lif_recorded: Final = define(
    f"lif_recorded({_ARGUMENTS}) -> (Tensor, Tensor, Tensor)", _forward, _fake, setup_context=_save, backward=_backward
)
