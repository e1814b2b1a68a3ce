"""Izhikevich's simple model: two equations, and most of the firing patterns of cortex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

from torch import Tensor

from neurosim.errors import ConfigError, nearest
from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.neurons.firing import Firing, Value, after_spike, fires
from neurosim.neurons.steps import in_turn
from neurosim.random import Stream
from neurosim.surrogate import Surrogate, surrogate


class IzhikevichPattern(NamedTuple):
    """The four numbers that make a firing pattern."""

    a: float  #: how fast the recovery follows, 1/ms
    b: float  #: how much of the potential it follows
    c: float  #: potential after a spike, mV
    d: float  #: what a spike adds to the recovery


#: figure 2 of the paper
IZHIKEVICH_PATTERNS: Final[Mapping[str, IzhikevichPattern]] = {
    "regular_spiking": IzhikevichPattern(0.02, 0.2, -65.0, 8.0),
    "intrinsically_bursting": IzhikevichPattern(0.02, 0.2, -55.0, 4.0),
    "chattering": IzhikevichPattern(0.02, 0.2, -50.0, 2.0),
    "fast_spiking": IzhikevichPattern(0.1, 0.2, -65.0, 2.0),
    "low_threshold_spiking": IzhikevichPattern(0.02, 0.25, -65.0, 2.0),
    "thalamo_cortical": IzhikevichPattern(0.02, 0.25, -65.0, 0.05),
    "resonator": IzhikevichPattern(0.1, 0.26, -65.0, 2.0),
}

_TEN_MILLIVOLTS: Final = surrogate("arctan", alpha=0.064)  # half as high at z = 2/(π α) = 10 mV


class IzhikevichState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, mV, ``(batch, *units)``
    u: Tensor  #: recovery, mV/ms, ``(batch, *units)``


class IzhikevichParameters(NamedTuple):
    """What :func:`izhikevich_step` takes: numbers, or tensors that broadcast to the units."""

    a: Value
    b: Value
    d: Value
    r: Value
    milliseconds: float  #: length of the step
    firing: Firing  #: its threshold is the peak, its ``v_reset`` is c


def izhikevich_step(x: Tensor, state: IzhikevichState, p: IzhikevichParameters) -> tuple[Tensor, IzhikevichState]:
    """One step of :class:`Izhikevich`: the spikes, and the next state."""
    v, u = state
    current = p.r * x
    for _ in range(2):
        v = v + 0.5 * p.milliseconds * (0.04 * v.square() + 5 * v + 140 - u + current)
    u = u + p.milliseconds * p.a * (p.b * v - u)
    spikes = fires(v, p.firing)
    jump = p.d * (spikes.detach() if p.firing.detach_reset else spikes)
    return spikes, IzhikevichState(after_spike(v, spikes, p.firing), u + jump)


@NEURONS.register("izhikevich")
class Izhikevich(FiringNeuron[IzhikevichState]):
    r"""Izhikevich's neurons: a quadratic upstroke, and a slow recovery that makes the firing pattern.

    .. math:: \dot v = 0.04\,v^2 + 5\,v + 140 - u + r\,x, \qquad \dot u = a\,(b\,v - u), \qquad
       v \leftarrow c,\; u \leftarrow u + d \text{ and a spike at } v \ge v_\mathrm{peak}

    The numbers are those of the paper, so inside v is in mV, time in ms and :math:`r\,x` in mV/ms; ``dt`` is in seconds, as everywhere. A
    step does what the author's program does: two halves of the Euler method for v, one for u with the new v, then the spike. That is
    made for ``dt=1e-3`` or less; the error shrinks in proportion to ``dt``.

    Args:
        dt: Step of the input, seconds, > 0; 1 ms or less.
        pattern: Where a, b, c and d come from if they are not given: a name in ``IZHIKEVICH_PATTERNS``.
        a: How fast the recovery follows, 1/ms.
        b: How much of the potential it follows, 1/ms.
        c: Potential after a spike, mV.
        d: What a spike adds to the recovery, mV/ms.
        r: Current per unit of input, mV/ms; from about 4 mV/ms on, most patterns fire.
        v_start: Potential before the first step, mV; the recovery starts at b times it.
        v_peak: Potential at which the spike is over, mV.
        strict: Fire above the peak only, not at it.
        detach_reset: Whether gradients ignore that a spike changes potential and recovery.
        surrogate: What stands in for the derivative of the spike, with a width in mV: by default an arctangent of 10 mV.
        learn: Parameters to learn, of ``a``, ``b``, ``c``, ``d``, ``r``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v``, ``u`` ``(batch, *units)``. Parameters are numbers or broadcast to
        ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        E. M. Izhikevich, "Simple model of spiking neurons", IEEE Trans. Neural Netw. 14 (2003) 1569-1572, doi:10.1109/TNN.2003.820440,
        equations 1 to 3, figure 2, and the program in the text.

    >>> import torch
    >>> Izhikevich(dt=1e-3, pattern="fast_spiking")(torch.full((200, 1, 1), 10.0)).sum()
    tensor(14.)
    """

    learnable: ClassVar = ("a", "b", "c", "d", "r")
    threshold_is_fixed = "here the equation fires, not a comparison, and resets where it does"

    a: float | Tensor
    b: float | Tensor
    c: float | Tensor
    d: float | Tensor
    r: float | Tensor
    v_peak: float | Tensor
    v_start: float | Tensor

    def __init__(
        self,
        dt: float,
        *,
        pattern: str = "regular_spiking",
        a: float | Tensor | None = None,
        b: float | Tensor | None = None,
        c: float | Tensor | None = None,
        d: float | Tensor | None = None,
        r: float | Tensor = 1.0,
        v_start: float | Tensor = -65.0,
        v_peak: float | Tensor = 30.0,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = _TEN_MILLIVOLTS,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        if pattern not in IZHIKEVICH_PATTERNS:
            raise ConfigError(f"{self._where}.pattern: no pattern is named {pattern!r}{nearest(str(pattern), IZHIKEVICH_PATTERNS)}")
        self.pattern = pattern
        for name, given, usual in zip("abcd", (a, b, c, d), IZHIKEVICH_PATTERNS[pattern], strict=True):
            self._keep(name, usual if given is None else given, "finite")
        for name, value in (("r", r), ("v_start", v_start), ("v_peak", v_peak)):
            self._keep(name, value, "finite")
        self._keep_spike(strict, detach_reset, surrogate)

    def _steps(self, x: Tensor, state: IzhikevichState | None, stream: Stream | None, record: bool) -> Passed[IzhikevichState]:
        return in_turn(izhikevich_step, x, self._begin(x, state), self._parameters_for(x), record)

    def _begin(self, x: Tensor, state: IzhikevichState | None) -> IzhikevichState:
        self._check(x, state, IzhikevichState)
        if state is not None:
            return state
        v = self._spread(x, self.v_start)
        return IzhikevichState(v, self._at(x, self.b) * v)

    def _parameters_for(self, x: Tensor) -> IzhikevichParameters:
        a, b, d, r = (self._at(x, value) for value in (self.a, self.b, self.d, self.r))
        return IzhikevichParameters(a, b, d, r, 1e3 * self.dt, self._peak_rule(x, self.v_peak, self.c))
