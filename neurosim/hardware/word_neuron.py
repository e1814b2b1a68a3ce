r"""A neuron whose potential and current are whole numbers of some bits: the arithmetic of digital neuromorphic cores.

With the step q of the words, and :math:`[\,\cdot\,]` rounding to the nearest whole number,

.. math::
    I_t &= \mathrm{limit}\big(\mathrm{round}(\alpha I_{t-1}) + [w x_t / q]\big), \qquad
    H_t = \mathrm{limit}\big(\mathrm{round}(a V_{t-1}) + [g\,q I_t / q] + [b / q]\big)

    s_t &= \Theta(\sigma(H_t - [\theta / q])), \qquad V_t = \mathrm{limit}\big(H_t - [\rho / q]\,s_t\big)

Here ``round`` and ``limit`` are the specification's rounding and overflow; without a synapse :math:`x_t` takes the place of
:math:`q I_t`. Everything is computed in float64, where these whole numbers and their products with 24-bit decays are exact.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.gradient import straight_through
from neurosim.hardware.stages.fixed_point import FixedPoint, limit_words, round_words
from neurosim.neurons.spike import spike
from neurosim.ops.neuron_arguments import Reset, Value
from neurosim.surrogate import Surrogate

WORD_RESETS: Final = ("none", "soft", "hard")  #: the resets that this arithmetic has


class WordRun(NamedTuple):
    """What :func:`run_words` gives."""

    spikes: Tensor | None  #: 0 or 1, like the input; None if the neuron does not fire
    i: Tensor | None  #: current after the last step; None without a synapse
    v: Tensor  #: potential after the last step
    record: Tensor | None  #: potential after every step, like the input, if it was asked for
    overflows: Tensor  #: how often a current or a potential left the range, int64


def run_words(
    x: Tensor,
    i: Tensor | None,
    v: Tensor | None,
    *,
    words: FixedPoint,
    step: float,
    decay: Value,
    syn_decay: Value | None = None,
    w_in: Value = 1.0,
    gain: Value = 1.0,
    bias: Value = 0.0,
    fires: bool = True,
    threshold: Value = 1.0,
    reset_by: Value | None = None,
    v_reset: Value = 0.0,
    sign: Value = 1.0,
    reset: Reset = "soft",
    strict: bool = False,
    detach_reset: bool = True,
    surrogate: Surrogate | str = "arctan",
    noise: Tensor | None = None,
    record: bool = False,
) -> WordRun:
    r"""Run neurons in words.

    Args:
        x: Input.
        i, v: Current and potential before the first step; None is 0.
        words: Bits, rounding and overflow.
        step: q, one step of the words in units of the potential; a power of two.
        decay, syn_decay: :math:`a` and :math:`\alpha`; no synapse without the latter.
        w_in, gain, bias: :math:`w`, :math:`g`, :math:`b`.
        fires: Whether it does; a leaky integrator does not.
        threshold, reset_by, v_reset, sign, reset, strict, detach_reset, surrogate: As for :func:`neurosim.ops.lif.lif`; the reset is one of
            :data:`WORD_RESETS`.
        noise: Added to the potential of every step before it is rounded to words; like ``x``.
        record: Whether to return the potential after every step.

    Shapes:
        x ``(T, *units)``; spikes, record and noise the same; i and v ``units``; parameters are numbers or broadcast to ``units``.

    Returns:
        Spikes, states, record, overflows. Gradients pass roundings and wrapped sums unchanged; what saturates has none.

    Raises:
        ConfigError: The reset has no arithmetic in words.
    """
    if fires and reset not in WORD_RESETS:
        raise ConfigError(f"reset must be one of {', '.join(WORD_RESETS)} for potentials in words, got {reset!r}")

    def exact(value: Value) -> Tensor:
        number = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float32, device=x.device)
        return number.double()

    def nearest(value: Tensor) -> Tensor:
        return straight_through(value, round_words(value / step) * step)

    def remaining(factor: Tensor, state: Tensor) -> Tensor:
        left = factor * state
        return straight_through(left, round_words(left / step, words.rounding) * step)

    lowest, highest = words.lowest * step, words.highest * step
    overflows = torch.zeros((), dtype=torch.int64, device=x.device)

    def limited(value: Tensor) -> Tensor:
        nonlocal overflows
        overflows = overflows + ((value < lowest) | (value > highest)).sum()
        if words.overflow == "saturate":
            return value.clamp(lowest, highest)
        return straight_through(value, limit_words(value.detach() / step, words) * step)

    a, w, g, b, s, back = exact(decay), exact(w_in), exact(gain), nearest(exact(bias)), exact(sign), nearest(exact(v_reset))
    alpha = None if syn_decay is None else exact(syn_decay)
    theta = nearest(exact(threshold))
    rho = theta if reset_by is None else nearest(exact(reset_by))
    rho = torch.where(rho.isfinite(), rho, 0)  # an infinite threshold is never reached, so never subtracted
    rest = x.new_zeros(x.shape[1:], dtype=torch.float64)
    current = rest if i is None else nearest(i.double())
    potential = rest if v is None else nearest(v.double())
    spikes, potentials = [], []
    noises = (None,) * len(x) if noise is None else noise.unbind(0)
    for x_t, noise_t in zip(x.unbind(0), noises, strict=True):
        drive = x_t.double()
        if alpha is not None:
            drive = current = limited(remaining(alpha, current) + nearest(w * drive))
        sum_t = remaining(a, potential) + nearest(g * drive) + b
        potential = limited(sum_t if noise_t is None else sum_t + nearest(noise_t.double()))
        if fires:
            fired = spike(s * (potential - theta), surrogate, strict=strict)
            spikes.append(fired.to(x.dtype))
            potential = limited(_after(potential, fired.detach() if detach_reset else fired, rho, back, reset))
        if record:
            potentials.append(potential.to(x.dtype))
    state = torch.float64 if x.dtype == torch.float64 else torch.float32
    return WordRun(
        _stacked(spikes, x) if fires else None,
        None if alpha is None else current.to(state),
        potential.to(state),
        _stacked(potentials, x) if record else None,
        overflows,
    )


def _after(h: Tensor, fired: Tensor, rho: Tensor, back: Tensor, reset: Reset) -> Tensor:
    """The potential after the spike."""
    if reset == "none":
        return h
    return h + fired * (back - h) if reset == "hard" else h - fired * rho


def _stacked(steps: list[Tensor], x: Tensor) -> Tensor:
    return torch.stack(steps) if steps else torch.empty_like(x)
