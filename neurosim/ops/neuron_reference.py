"""The definition of the neuron ops, in plain torch: one step after another, and its derivative backward in time.

Every kernel computes what these functions compute, with the same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import torch
from torch import Tensor

from neurosim.ops.neuron_arguments import Parameters, Rule, Value
from neurosim.ops.neuron_call import Outputs
from neurosim.ops.neuron_layout import compute_dtype, sequence_like, state_like, state_of

_LOOKS_BACK: Final = ("soft_next", "soft_next_decayed", "hard_next", "hard_next_erasing", "soft_both")


class Found(NamedTuple):
    """Derivatives of a loss."""

    x: Tensor
    current: Tensor
    v: Tensor
    sums: dict[str, Tensor]  #: of the parameters, summed over time, not yet over what they broadcast to


class _Step(NamedTuple):
    x: Tensor  #: input with its noise
    current_before: Tensor
    drive: Tensor  #: what enters the membrane: the input, or the synaptic current
    before: Tensor  #: membrane of the step before
    fired_before: Tensor
    h: Tensor
    fired: Tensor
    after: Tensor


def forward(x: Tensor, current: Tensor | None, v: Tensor | None, p: Parameters, rule: Rule, synapse: bool) -> Outputs:
    """All steps of a sequence.

    Args:
        x: Input, ``(T, *units)``.
        current, v: State before the first step, ``units``; None is rest.
        p: Parameters in the compute type.
        rule: Reset, noise and the like.
        synapse: Whether a current filter lies before the membrane.
    """
    current, v = state_of(x, current), state_of(x, v)
    spikes = sequence_like(x) if rule.spikes else None
    record = sequence_like(x) if rule.record else None
    for t, step in enumerate(_steps(x, current, v, p, rule, synapse)):
        current, v = step.drive, step.after
        if spikes is not None:
            spikes[t].copy_(step.fired)
        if record is not None:
            record[t].copy_(v)
    return Outputs(spikes, state_like(x).copy_(current) if synapse else None, state_like(x).copy_(v), record)


def backward(
    grad_spikes: Tensor | None,
    grad_current: Tensor | None,
    grad_v: Tensor | None,
    grad_record: Tensor | None,
    x: Tensor,
    current: Tensor | None,
    v: Tensor | None,
    p: Parameters,
    rule: Rule,
    synapse: bool,
) -> Found:
    """The derivatives, from those of the outputs (None is zero) and the arguments of :func:`forward`."""
    steps = list(_steps(x, state_of(x, current), state_of(x, v), p, rule, synapse))
    compute = compute_dtype(x.dtype)
    zero = torch.zeros(x.shape[1:], dtype=compute, device=x.device)
    sums = dict.fromkeys(Parameters._fields, zero)
    after, into_current = _or(grad_v, zero), _or(grad_current, zero)
    grad_x = sequence_like(x)
    for t in range(len(steps) - 1, -1, -1):
        step = steps[t]
        if grad_record is not None:
            after = after + grad_record[t].to(compute)
        into_h = _back_through_reset(step, after, None if grad_spikes is None else grad_spikes[t].to(compute), p, rule, sums)
        into_drive, after = _back_through_membrane(step, into_h, p, rule, sums)
        sums["gain"] = sums["gain"] + into_drive * step.drive
        sums["bias"] = sums["bias"] + into_drive
        into_drive = _scaled(p.gain, into_drive)
        if synapse:
            into_current = into_current + into_drive
            sums["syn_decay"] = sums["syn_decay"] + into_current * step.current_before
            sums["w_in"] = sums["w_in"] + into_current * step.x
            into_drive, into_current = _scaled(p.w_in, into_current), p.syn_decay * into_current
        grad_x[t].copy_(into_drive)
    if rule.follows:
        sums["threshold"] = sums["threshold"] + sums["reset_by"]
    return Found(grad_x, state_like(x).copy_(into_current), state_like(x).copy_(after), sums)


def _back_through_reset(step: _Step, after: Tensor, spikes: Tensor | None, p: Parameters, rule: Rule, sums: dict[str, Tensor]) -> Tensor:
    """From the derivatives of a step's membrane and spikes to that of ``h``."""
    through, into_spikes = after, spikes
    if rule.reset == "soft":
        sums["reset_by"] = sums["reset_by"] - torch.where(step.fired, after, 0)
        by_reset = -(p.reset_by * after)
    elif rule.reset == "soft_both":
        alone = torch.where(step.fired_before, 0, after) - torch.where(step.fired_before, after, 0)
        sums["reset_by"] = sums["reset_by"] - torch.where(step.fired ^ step.fired_before, alone, 0)
        by_reset = -(p.reset_by * after)
    elif rule.reset == "hard":
        sums["v_reset"] = sums["v_reset"] + torch.where(step.fired, after, 0)
        through = torch.where(step.fired, 0, after)
        by_reset = (p.v_reset - step.h) * after
    if not rule.detach_reset and rule.reset in ("soft", "soft_both", "hard"):
        into_spikes = by_reset if into_spikes is None else into_spikes + by_reset
    if into_spikes is None:
        return through
    by_spike = into_spikes * _slope(step.h, p, rule)
    sums["threshold"] = sums["threshold"] - by_spike
    return through + by_spike


def _back_through_membrane(step: _Step, into_h: Tensor, p: Parameters, rule: Rule, sums: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """From the derivative of ``h`` to those of what enters the membrane (with gain and bias) and of the membrane one step before."""
    fired = step.fired_before
    attached = not rule.detach_reset and rule.reset.startswith(("soft_next", "hard_next"))
    into_m, start, by_fired = into_h, step.before, None
    if rule.reset == "hard_next_erasing":
        into_m = torch.where(fired, 0, into_h)
        sums["v_reset"] = sums["v_reset"] + torch.where(fired, into_h, 0)
        if attached:
            by_fired = (p.v_reset - _charge(start, step.drive, p)) * into_h
    into_start = p.decay * into_m
    if rule.reset in ("soft_next", "soft_both"):
        sums["reset_by"] = sums["reset_by"] - torch.where(fired, into_h, 0)
        by_fired = -(p.reset_by * into_h)
    elif rule.reset == "soft_next_decayed":
        start = torch.where(fired, start - p.reset_by, start)
        sums["reset_by"] = sums["reset_by"] - torch.where(fired, into_start, 0)
        by_fired = -(p.reset_by * into_start)
    elif rule.reset == "hard_next":
        start = _choose(fired, p.v_reset, start)
        sums["v_reset"] = sums["v_reset"] + torch.where(fired, into_start, 0)
        by_fired = (p.v_reset - step.before) * into_start
        into_start = torch.where(fired, 0, into_start)
    sums["decay"] = sums["decay"] + into_m * start
    if attached and by_fired is not None:
        by_fired = by_fired * _slope(step.before, p, rule)
        sums["threshold"] = sums["threshold"] - by_fired
        into_start = into_start + by_fired
    return into_m, into_start


def _steps(x: Tensor, current: Tensor, v: Tensor, p: Parameters, rule: Rule, synapse: bool) -> Iterator[_Step]:
    units = x.shape[1:].numel()
    first = int(rule.step) * units
    never = torch.zeros((), dtype=torch.bool, device=x.device)
    for t, x_t in enumerate(x.unbind(0)):
        x_t = x_t.to(v.dtype)
        if rule.streams is not None and rule.input_noise:
            x_t = x_t + rule.input_noise * rule.streams[0].normal(v.shape, like=v, offset=first + t * units)
        noise = None
        if rule.streams is not None and rule.membrane_noise:
            noise = rule.membrane_noise * rule.streams[1].normal(v.shape, like=v, offset=first + t * units)
        drive = p.syn_decay * current + _scaled(p.w_in, x_t) if synapse else x_t
        fired_before = _fires(v, p, rule) if rule.reset in _LOOKS_BACK else never
        h = _before_spike(v, drive, fired_before, p, rule, noise)
        fired = _fires(h, p, rule) if rule.spikes else never
        step = _Step(x_t, current, drive, v, fired_before, h, fired, _after_spike(h, fired, fired_before, p, rule))
        yield step
        current, v = drive, step.after


def _before_spike(v: Tensor, drive: Tensor, fired: Tensor, p: Parameters, rule: Rule, noise: Tensor | None) -> Tensor:
    start = v
    if rule.reset == "soft_next_decayed":
        start = torch.where(fired, v - p.reset_by, v)
    elif rule.reset == "hard_next":
        start = _choose(fired, p.v_reset, v)
    h = _charge(start, drive, p)
    if rule.reset in ("soft_next", "soft_both"):
        h = torch.where(fired, h - p.reset_by, h)
    elif rule.reset == "hard_next_erasing":
        h = _choose(fired, p.v_reset, h)
    return h if noise is None else h + noise


def _charge(v: Tensor, drive: Tensor, p: Parameters) -> Tensor:
    h = p.decay * v + _scaled(p.gain, drive)
    return h if isinstance(p.bias, float) and p.bias == 0 else h + p.bias


def _after_spike(h: Tensor, fired: Tensor, fired_before: Tensor, p: Parameters, rule: Rule) -> Tensor:
    if rule.reset == "soft":
        return torch.where(fired, h - p.reset_by, h)
    if rule.reset == "hard":
        return _choose(fired, p.v_reset, h)
    if rule.reset == "soft_both":
        return torch.where(fired & ~fired_before, h - p.reset_by, torch.where(fired_before & ~fired, h + p.reset_by, h))
    return h


def _distance(v: Tensor, p: Parameters) -> Tensor:
    return _scaled(p.sign, v - p.threshold)


def _fires(v: Tensor, p: Parameters, rule: Rule) -> Tensor:
    return _distance(v, p) > 0 if rule.strict else _distance(v, p) >= 0


def _slope(v: Tensor, p: Parameters, rule: Rule) -> Tensor:
    """What stands for the derivative of the spike with respect to the membrane."""
    return _scaled(p.sign, rule.surrogate.gradient(_distance(v, p)))


def _scaled(factor: Value, value: Tensor) -> Tensor:
    return value if isinstance(factor, float) and factor == 1 else factor * value


def _choose(condition: Tensor, value: Value, other: Tensor) -> Tensor:
    return torch.where(condition, value, other)


def _or(grad: Tensor | None, zero: Tensor) -> Tensor:
    return zero if grad is None else grad.to(zero.dtype)
