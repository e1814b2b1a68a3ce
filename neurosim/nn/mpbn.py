"""Membrane-potential batch normalisation: the membrane is normalised before it is compared with the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from neurosim.errors import ConfigError, ConversionError, nearest
from neurosim.neurons import LIF, LIFState, Trace
from neurosim.neurons.firing import PLAIN_RESETS, Firing, after_spike, fires
from neurosim.neurons.parameters import state_dtype
from neurosim.nn.time import SpikingModule, State
from neurosim.norms.over_time import BatchNormOverTime, Statistics
from neurosim.norms.threshold import fold_threshold
from neurosim.norms.time_norm import features_shape, normalize
from neurosim.random import Stream

Carry = Literal["raw", "normalized"]


class _Step(NamedTuple):
    h: Tensor  #: membrane before the norm
    fired: Tensor
    v: Tensor  #: what is carried to the next step


class MPBN(SpikingModule):
    r"""A LIF neuron whose membrane is batch-normalised before it fires.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad m_t = \gamma\,\frac{h_t - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta,
        \qquad s_t = \Theta(\sigma_n (m_t - \theta))

    What the reset acts on, and the next step starts from, is h with ``carry="raw"`` and m with ``carry="normalized"``. With the raw
    potential the norm is no part of the dynamics: :meth:`fold` turns it into thresholds, and nothing is left of it.

    All that is not about the norm is the neuron's own: time constant, threshold (of m), reset (of what is carried), surrogate, noise,
    values of every unit such as those of a mismatched chip. The authors' layer is

    ``MPBN(LIF(tau, dt, v_threshold=V/2, strict=True, reset="hard", detach_reset=False, surrogate=surrogate("clamped_tanh", width=V)), C)``

    with V their V_th of 1 and τ = −Δt/ln 0.25: they compare m/V with ½.

    **Statistics.** Evaluation has one running pair μ, σ² for all steps. In training, ``"per_step"`` takes those of every step by itself and
    updates the running pair once a step, in the order of time (the authors' code). ``"merged"`` takes them over time as well, and updates
    the running pair once, with those of the whole sequence. But membranes depend on spikes before them, and so on the statistics to be
    taken. With the raw potential the sequence is therefore run twice: with the running pair, as in evaluation, for membranes to take one
    pair of statistics of, and then normalised by this pair; gradients go through both. With the normalised potential no run with other
    statistics resembles the one to be normalised, and every step takes the statistics of all steps up to itself.

    Args:
        neuron: The neuron, with reset ``"soft"``, ``"hard"`` or ``"none"``.
        features: Which units share statistics, and with them a threshold, as a shape that broadcasts to the units: C after a linear layer,
            ``(C, 1, 1)`` for the channels of feature maps, ``(C, H, W)`` for every element.
        carry: See above. ``"normalized"`` is SpikingJelly's and cannot be folded.
        statistics: See above.
        eps: ε, > 0.
        momentum: How far an update moves the running statistics, in (0, 1].

    Shapes:
        x ``(time, batch, C, *)``; spikes the same; the state is that of the neuron.

    Raises:
        ConfigError: An argument, an input or a state is not as above, or a statistic would be of a single value.

    Source:
        Y. Guo et al., "Membrane potential batch normalization for spiking neural networks", ICCV 2023, and its published code.

    >>> layer = MPBN(LIF(tau_mem=2e-3, dt=1e-3, reset="hard"), (3, 1, 1))
    >>> spikes = layer(torch.rand(4, 2, 3, 5, 5))
    >>> layer.eval().fold()
    LIF(tau_mem=0.002, dt=0.001, v_threshold=... (3, 1, 1), reset='hard', reset_by=1)
    """

    def __init__(
        self,
        neuron: LIF,
        features: int | Sequence[int],
        *,
        carry: Carry = "raw",
        statistics: Statistics = "per_step",
        eps: float = 1e-5,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(neuron, LIF):
            raise ConfigError(f"MPBN.neuron: must be a LIF, got {type(neuron).__name__}")
        if neuron.reset not in PLAIN_RESETS:
            raise ConfigError(f"MPBN.neuron: its reset must be one of {', '.join(PLAIN_RESETS)}, got {neuron.reset!r}")
        if carry not in get_args(Carry):
            raise ConfigError(f"MPBN.carry: must be 'raw' or 'normalized', got {carry!r}{nearest(str(carry), get_args(Carry))}")
        self.neuron = neuron
        self.features = features_shape("MPBN.features", features)
        of_channels = math.prod(self.features[1:]) == 1
        self.norm = BatchNormOverTime(self.features[0] if of_channels else self.features, statistics, eps=eps, momentum=momentum)
        self.carry = carry

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, LIFState]:
        """Spikes, and the state to hand to the next chunk; arguments are those of :meth:`LIF.run`.

        In training with merged statistics every chunk has statistics of its own.
        """
        trace = self.trace(x, state, stream=stream)
        return trace.spikes, trace.state

    def trace(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> Trace[LIFState]:
        """The same as :meth:`run` with what is carried after every step, which gradients flow through too."""
        self.neuron._check(x, state, LIFState)
        if x.dim() != 2 + len(self.features):
            example = f"; channels of such units are features={(self.features[0], *[1] * (x.dim() - 3))}"
            raise ConfigError(
                f"MPBN: features of shape {self.features} need units of as many axes, got x of shape {tuple(x.shape)}{example}"
            )
        rest = self.neuron._rest(x) if state is None else None
        zero = torch.zeros(x.shape[1:], dtype=state_dtype(x), device=x.device)
        start = LIFState(*state) if state is not None else LIFState(zero if rest is None else rest)
        merged = self.training and self.norm.statistics == "merged" and len(x) > 0
        steps = self._merged(x, start, stream) if merged else list(self._steps(x, start, stream, lambda h: self.norm(h[None])[0]))
        if not steps:
            return Trace(torch.zeros_like(x), torch.zeros_like(x), start)
        spikes, v = (torch.stack([step[at].to(x.dtype) for step in steps]) for at in (1, 2))
        return Trace(spikes, v, LIFState(steps[-1].v, start.step + len(x)))

    def fold(self) -> LIF:
        """The neuron alone, with thresholds in the place of the norm: the same spikes as in evaluation.

        The thresholds are exact: both agree for every membrane potential in the dtype of the statistics, and not only up to rounding,
        unless a compiler fuses the norm's multiplication and addition into one operation. Where γ is negative the comparison turns round
        (``sign`` is −1), where it is 0 the threshold is ∞ or −∞. The reset stays what it was. The result is for inference: its surrogate
        gradient is not scaled by γ/√(σ² + ε).

        Raises:
            ConversionError: The normalised potential is carried on, so that the norm is part of the dynamics.
        """
        if self.carry != "raw":
            raise ConversionError(
                f"MPBN: with carry={self.carry!r} the norm changes what the next step starts from, which no threshold can do; "
                "only a layer that was trained with carry='raw' can be folded"
            )
        mean, scale, shift = self._coefficients()
        threshold, sign = (
            torch.as_tensor(value, dtype=mean.dtype, device=mean.device).detach() for value in (self.neuron.v_threshold, self.neuron.sign)
        )
        with torch.no_grad():
            found = fold_threshold(mean, scale, shift, threshold, sign, self.neuron.strict)
        return self.neuron.with_threshold(found.threshold, found.sign if bool((found.sign < 0).any()) else 1.0)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"features={self.features}, carry={self.carry!r}"

    def _coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale and shift of evaluation, of a shape that broadcasts to the units."""
        mean, scale, shift = (torch.as_tensor(value).reshape(self.features) for value in self.norm.coefficients())
        return mean, scale, shift

    def _merged(self, x: Tensor, state: LIFState, stream: Stream | None) -> list[_Step]:
        """All steps, in training, with statistics over time."""
        if self.carry == "raw":
            running = self._coefficients()
            before = self._steps(x, state, stream, lambda h: normalize(h, *running))
            given = self.norm.observe(torch.stack([step.h for step in before]))
            return list(self._steps(x, state, stream, lambda h: self.norm(h[None], given)[0]))
        seen: list[Tensor] = []

        def normalized(h: Tensor) -> Tensor:
            seen.append(h)
            so_far: Tensor = self.norm(h[None], self.norm.statistics_of(torch.stack(seen)))
            return so_far[0]

        steps = list(self._steps(x, state, stream, normalized))
        self.norm.observe(torch.stack(seen))
        return steps

    def _steps(self, x: Tensor, state: LIFState, stream: Stream | None, norm: Callable[[Tensor], Tensor]) -> Iterator[_Step]:
        """One step after the other, in the arithmetic of :func:`neurosim.ops.lif.lif`."""
        leak, firing = self.neuron._leak(), self.neuron._firing(stream, state.step)
        decay, gain, bias = leak["decay"], leak["gain"], leak["bias"]
        noise = firing["input_noise"], firing["membrane_noise"]
        rule = Firing(**{name: firing[name] for name in Firing._fields})
        unscaled, unbiased = (isinstance(value, float) and value == at for value, at in ((gain, 1), (bias, 0)))
        v = state.v
        for t, x_t in enumerate(x.unbind(0)):
            first = (state.step + t) * v.numel()
            drive = x_t.to(v.dtype)
            if noise[0] and stream is not None:
                drive = drive + noise[0] * stream.child("input").normal(v.shape, like=v, offset=int(first))
            h = decay * v + (drive if unscaled else gain * drive)
            h = h if unbiased else h + bias
            if noise[1] and stream is not None:
                h = h + noise[1] * stream.child("membrane").normal(v.shape, like=v, offset=int(first))
            m = norm(h)
            fired = fires(m, rule)
            v = after_spike(h if self.carry == "raw" else m, fired, rule)
            yield _Step(h, fired, v)
