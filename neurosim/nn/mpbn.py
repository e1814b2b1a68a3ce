"""Membrane-potential batch normalisation: the membrane is normalised before it is compared with the threshold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from neurosim.errors import ConfigError, ConversionError, nearest
from neurosim.hardware.gradient import straight_through
from neurosim.neurons import LIF, LIFState, Trace
from neurosim.neurons.firing import PLAIN_RESETS, Firing, after_spike, fires
from neurosim.neurons.lif import Circuit
from neurosim.neurons.parameters import state_dtype
from neurosim.nn.time import SpikingModule, State
from neurosim.norms.base import Cost, Operations
from neurosim.norms.over_time import BatchNormOverTime, Statistics
from neurosim.norms.registry import register
from neurosim.norms.threshold import Comparison, fold_threshold, held_threshold
from neurosim.norms.time_norm import features_shape, normalize
from neurosim.random import Stream

Carry = Literal["raw", "normalized"]
_Norm = Callable[[Tensor], tuple[Tensor, Firing]]  #: the normalised potential, and when it fires


class _Step(NamedTuple):
    h: Tensor  #: membrane before the norm
    fired: Tensor
    v: Tensor  #: what is carried to the next step


@register(
    "mpbn",
    "B3",
    kind="wrapper",
    usage="norm: mpbn of a spiking model, or ns.nn.MPBN(neuron, features) in the place of a neuron",
    formula="spike if γ (u − µ) / √(σ² + ε) + β ≥ θ, µ and σ² of training",
    stats="running",
    fold="F0",
    example=lambda: MPBN(LIF(2e-3, 1e-3), 16),
    bounds=(0.0, 1.0),
    cost=Cost(Operations(adds=2, multiplies=1)),
)
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

    **On a chip** the potentials are those of its neurons, and so are the thresholds: those of the potential that the norm folds to, with
    the chip's resolution and mismatch. In training they follow from the statistics of the moment.

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

    is_neurons: ClassVar = True

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

    @property
    def dt(self) -> float:
        """Step of the input, seconds."""
        return self.neuron.dt

    @property
    def v_threshold(self) -> float | Tensor:
        """Threshold of the potential that is carried: what the layer folds to, where it can be folded."""
        return self._comparison().threshold if self.carry == "raw" else self.neuron.v_threshold

    @property
    def v_reset(self) -> float | Tensor:
        """Where hard resets lead."""
        return self.neuron.v_reset

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
        neuron = self.neuron
        circuit = neuron._circuit(x, stream, start.step, neuron.v_threshold if neuron.reset_by is None else neuron.reset_by)
        steps = (self._train if self.norm.training else self._evaluate)(circuit, start)
        if not steps:
            return Trace(torch.zeros_like(x), torch.zeros_like(x), start)
        spikes, v = (torch.stack([step[at].to(x.dtype) for step in steps]) for at in (1, 2))
        return Trace(spikes if circuit.sent is None else circuit.sent(spikes), v, LIFState(steps[-1].v, start.step + len(x)))

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
        found = self._comparison()
        return self.neuron.with_threshold(found.threshold, found.sign if bool((found.sign < 0).any()) else 1.0)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"features={self.features}, carry={self.carry!r}"

    def _coefficients(self, given: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, scale and shift of statistics, by default those of evaluation, of a shape that broadcasts to the units."""
        mean, scale, shift = (torch.as_tensor(value).reshape(self.features) for value in self.norm.coefficients(given))
        return mean, scale, shift

    @torch.no_grad()
    def _comparison(self) -> Comparison:
        """When it fires in evaluation, by the potential before the norm."""
        mean, scale, shift = self._coefficients()
        given = (self.neuron.v_threshold, self.neuron.sign)
        threshold, sign = (torch.as_tensor(value, dtype=mean.dtype, device=mean.device) for value in given)
        return fold_threshold(mean, scale, shift, threshold, sign, self.neuron.strict)

    def _rule(self, circuit: Circuit, given: tuple[Tensor, Tensor] | None = None) -> Firing:
        """When it fires, by the potential that is normalised by these statistics, by default those of evaluation."""
        rule = Firing(**{name: circuit.settings[name] for name in Firing._fields})
        if circuit.held is None:
            return rule
        return rule._replace(threshold=held_threshold(circuit.held, *self._coefficients(given), self.neuron.v_threshold))

    def _evaluate(self, circuit: Circuit, state: LIFState) -> list[_Step]:
        """All steps, with the running statistics."""
        rule, exact = self._rule(circuit), None
        if circuit.held is not None and self.carry == "raw":
            threshold, sign = self._comparison()
            exact = rule._replace(threshold=circuit.held(threshold), sign=sign)
        return list(self._steps(circuit, state, lambda h: (self.norm(h[None])[0], rule), exact))

    def _train(self, circuit: Circuit, state: LIFState) -> list[_Step]:
        """All steps, with statistics of their own."""
        if self.norm.statistics == "merged":
            return self._merged(circuit, state) if len(circuit.x) else []
        if circuit.held is None:
            rule = self._rule(circuit)
            return list(self._steps(circuit, state, lambda h: (self.norm(h[None])[0], rule)))
        return list(self._steps(circuit, state, lambda h: self._by(circuit, h, self.norm.observe(h[None]))))

    def _by(self, circuit: Circuit, h: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Firing]:
        """A potential normalised by given statistics, and when it fires."""
        m: Tensor = self.norm(h[None], given)
        return m[0], self._rule(circuit, given)

    def _merged(self, circuit: Circuit, state: LIFState) -> list[_Step]:
        """All steps, in training, with statistics over time."""
        if self.carry == "raw":
            running, before = self._coefficients(), self._rule(circuit)
            first = self._steps(circuit, state, lambda h: (normalize(h, *running), before))
            given = self.norm.observe(torch.stack([step.h for step in first]))
            rule = self._rule(circuit, given)
            return list(self._steps(circuit, state, lambda h: (self.norm(h[None], given)[0], rule)))
        seen: list[Tensor] = []

        def normalized(h: Tensor) -> tuple[Tensor, Firing]:
            seen.append(h)
            return self._by(circuit, h, self.norm.statistics_of(torch.stack(seen)))

        steps = list(self._steps(circuit, state, normalized))
        self.norm.observe(torch.stack(seen))
        return steps

    def _steps(self, circuit: Circuit, state: LIFState, norm: _Norm, exact: Firing | None = None) -> Iterator[_Step]:
        """One step after the other, in the arithmetic of :func:`neurosim.ops.lif.lif`.

        ``exact`` says when the potential before the norm fires; gradients are then still those of the normalised one.
        """
        of, v = circuit.settings, state.v
        decay, gain, bias, stream = of["decay"], of["gain"], of["bias"], of["stream"]
        unscaled, unbiased = (isinstance(value, float) and value == at for value, at in ((gain, 1), (bias, 0)))
        for t, x_t in enumerate(circuit.x.unbind(0)):
            first = (state.step + t) * v.numel()
            drive = x_t.to(v.dtype)
            if of["input_noise"] and stream is not None:
                drive = drive + of["input_noise"] * stream.child("input").normal(v.shape, like=v, offset=int(first))
            h = decay * v + (drive if unscaled else gain * drive)
            h = h if unbiased else h + bias
            if of["membrane_noise"] and stream is not None:
                h = h + of["membrane_noise"] * stream.child("membrane").normal(v.shape, like=v, offset=int(first))
            m, rule = norm(h)
            fired = fires(m, rule)
            if exact is not None:
                fired = straight_through(fired, fires(h, exact))
            v = after_spike(h if self.carry == "raw" else m, fired, rule)
            yield _Step(h, fired, v)
