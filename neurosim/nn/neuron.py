"""Neurons of a simulated chip: subclasses of the clean ones, which compute with this chip's parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final, NamedTuple, cast

from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.word_neuron import run_words
from neurosim.neurons import IF, LI, LIF, CubaLIF, CubaLIFState, LIFState, LIState, ParametricLIF
from neurosim.neurons.base import Neuron, Passed
from neurosim.neurons.lif import Circuit
from neurosim.neurons.parameters import arriving, remaining, state_dtype
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.neuron_chain import NeuronChain
from neurosim.ops import cuba_lif as cuba
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.random import Stream

NO_NORM_IN_WORDS: Final = "have no norm on them; fold it into thresholds first, with neurosim.fold(model)"


class _Outcome(NamedTuple):
    """One run of the neurons, whichever arithmetic they have."""

    spikes: Tensor | None
    i: Tensor | None
    v: Tensor
    record: Tensor | None


class HardwareNeuron(HardwareLayer, Neuron[Any]):
    """Base of the neurons of a chip. Their parameters stay the clean ones, under their names; training goes through the chip's.

    Mismatch, resolution and membrane noise are arguments of the fused op; words of some bits have arithmetic of their own. The noise of a
    sequence that is cut is not that of the whole: every call of ``run`` draws its own.
    """

    prefix: ClassVar = "Hardware"

    chain: NeuronChain

    def _membrane(self, x: Tensor, call: int) -> dict[str, Any]:
        """Decay, gain and bias of this chip's membranes, as the ops take them."""
        tau = self.chain.vary("tau_mem", self._tau(), x, call)
        decay, arrived = self._decay(tau, x, call)
        gain = self.chain.vary("gain", 1.0 if self.r is None else self.r * arrived, x, call)
        return {"decay": decay, "gain": gain, "bias": 0.0 if self._rests_at_zero else self.v_leak * arrived}

    def _tau(self) -> float | Tensor:
        """The clean time constant of the membrane."""
        return self._time("tau_mem")

    def _synapse(self, x: Tensor, call: int) -> dict[str, Any]:
        """Decay and weight of this chip's synapses; nothing for neurons without them."""
        return {}

    def _decay(self, tau: float | Tensor, x: Tensor, call: int) -> tuple[float | Tensor, float | Tensor]:
        """What is left of a state after a step, and how much of a constant drive has arrived."""
        if not self.chain.acts("decay"):
            return remaining(self.dt, tau), arriving(self.dt, tau)
        decay = self.chain.vary("decay", remaining(self.dt, tau), x, call)
        return decay, 1 - decay

    def _held(self, threshold: float | Tensor, x: Tensor, call: int) -> float | Tensor:
        """The thresholds that this chip has where one is set."""
        kept = self.chain.vary("threshold_dac", threshold, x, call, self.chain.full_scale)
        return self.chain.vary("threshold", kept, x, call, self.chain.full_scale)

    def _thresholds(self, x: Tensor, call: int, reset_by: float | Tensor | None) -> dict[str, Any]:
        """When this chip's neurons fire and what happens then, without noise. What is subtracted does not follow a threshold's spread."""
        chain, unit = self.chain, self.chain.full_scale
        firing = self._firing(None, 0)
        firing["threshold"] = self._held(self.v_threshold, x, call)
        if firing["reset"].startswith("soft"):
            amount = self.reset_by if reset_by is None else reset_by
            if amount is None:
                amount = chain.vary("threshold_dac", self.v_threshold, x, call, unit)
            if reset_by is not None or chain.acts("reset") or chain.acts("threshold") or chain.words is not None:
                firing["reset_by"] = chain.vary("reset", amount, x, call, unit)
        elif firing["reset"].startswith("hard"):
            firing["v_reset"] = chain.vary("reset", firing["v_reset"], x, call, unit)
        return firing

    def _begin(self, x: Tensor, step: int | Tensor, *, fires: bool = True, reset_by: float | Tensor | None = None) -> Circuit:
        """One use of the layer begins: what this chip computes with in it."""
        chain = self.chain
        call = chain.begin()
        x = chain.signal("input", x, call)
        given = {**self._synapse(x, call), **self._membrane(x, call), **(self._thresholds(x, call, reset_by) if fires else {})}
        noise = chain.membrane_noise(call)
        if noise is not None:
            given |= {"membrane_noise": noise.deviation, "stream": noise.stream, "step": step}
        exact = not (chain.acts("threshold_dac") or chain.acts("threshold"))
        held = None if exact else lambda threshold: self._held(threshold, x, call)
        return Circuit(x, given, held, lambda spikes: chain.signal("spikes", spikes, call))

    def _on_chip(self, x: Tensor, i: Tensor | None, v: Tensor | None, step: int | Tensor, *, fires: bool, record: bool) -> _Outcome:
        """All steps, from a current and a potential (None is 0)."""
        x, given, _, sent = self._begin(x, step, fires=fires)
        words = self.chain.words
        if words is not None:
            source, deviation, *_ = (given.pop(name, None) for name in ("stream", "membrane_noise", "step", "input_noise"))
            drawn = None if source is None else deviation * source.normal(x.shape, like=x.new_empty((), dtype=state_dtype(x)))
            out = run_words(x, i, v, words=words[0], step=words[1], fires=fires, noise=drawn, record=record, **given)
            self.chain.count(out.overflows)
            found = _Outcome(*out[:4])
        else:
            found = _fused(x, i, v, given, fires=fires, record=record)
        return found if found.spikes is None or sent is None else found._replace(spikes=sent(found.spikes))


def _fused(x: Tensor, i: Tensor | None, v: Tensor | None, given: dict[str, Any], *, fires: bool, record: bool) -> _Outcome:
    """The op that does it."""
    if "syn_decay" in given:
        before = None if i is None or v is None else cuba.CubaLIFState(i, v)
        out = cuba.cuba_lif(x, before, **given, record=record)
        return _Outcome(out.spikes, *out.state, out.record)
    if fires:
        spikes, after, potentials = lif(x, v, **given, record=record)
        return _Outcome(spikes, None, after, potentials)
    if "membrane_noise" not in given:
        potentials, after = li(x, v, **given)
        return _Outcome(None, None, after, potentials)
    _, after, potentials = lif(x, v, **given, threshold=math.inf, reset="none", record=True)
    return _Outcome(None, None, after, potentials)


class _WithLIFState(HardwareNeuron):
    """The neurons whose state is a potential."""

    def _start(self, x: Tensor) -> Tensor | None:
        """The potential before the first step; None is 0."""
        return self._rest(x)

    def _steps(self, x: Tensor, state: LIFState | None, stream: Stream | None, record: bool) -> Passed[LIFState]:
        if self.chain.bypassed:
            clean: Any = super()
            result: Passed[LIFState] = clean._steps(x, state, stream, record)
            return result
        self._check(x, state, LIFState)
        v, step = (self._start(x), 0) if state is None else state
        out = self._on_chip(x, None, v, step, fires=True, record=record)
        return cast(Tensor, out.spikes), out.record, LIFState(out.v, step + x.shape[0])


class HardwareLIF(_WithLIFState, LIF):
    """:class:`neurosim.neurons.LIF` on a chip; made by :func:`neurosim.to_neuromorphic`."""

    digital_class = LIF

    def _circuit(self, x: Tensor, stream: Stream | None, step: int | Tensor, reset_by: float | Tensor | None = None) -> Circuit:
        if self.chain.bypassed:
            return super()._circuit(x, stream, step, reset_by)
        if self.chain.words is not None:
            raise ConfigError(f"{self.chain.path or self._where}: potentials in words {NO_NORM_IN_WORDS}")
        return self._begin(x, step, reset_by=reset_by)


class HardwareParametricLIF(_WithLIFState, ParametricLIF):
    """:class:`neurosim.neurons.ParametricLIF` on a chip; made by :func:`neurosim.to_neuromorphic`."""

    digital_class = ParametricLIF

    def _tau(self) -> Tensor:
        return self.tau_mem


class HardwareIF(_WithLIFState, IF):
    """:class:`neurosim.neurons.IF` on a chip; made by :func:`neurosim.to_neuromorphic`. It has no leak that could vary."""

    digital_class = IF

    def _start(self, x: Tensor) -> Tensor:
        return self._spread(x, self.v_start)

    def _membrane(self, x: Tensor, call: int) -> dict[str, Any]:
        return {"decay": 1.0, "gain": self.chain.vary("gain", 1.0 if self.r is None else self.r * self.dt, x, call)}


class HardwareCubaLIF(HardwareNeuron, CubaLIF):
    """:class:`neurosim.neurons.CubaLIF` on a chip; made by :func:`neurosim.to_neuromorphic`."""

    digital_class = CubaLIF

    def _synapse(self, x: Tensor, call: int) -> dict[str, Any]:
        decay, arrived = self._decay(self.chain.vary("tau_syn", self.tau_syn, x, call), x, call)
        return {"syn_decay": decay, "w_in": 1.0 if self.w_in is None else self.w_in * arrived}

    def _steps(self, x: Tensor, state: CubaLIFState | None, stream: Stream | None, record: bool) -> Passed[CubaLIFState]:
        if self.chain.bypassed:
            return super()._steps(x, state, stream, record)
        self._check(x, state, CubaLIFState)
        start = self._start(x)
        (i, v), step = ((None, None) if start is None else start, 0) if state is None else (state[:2], state.step)
        out = self._on_chip(x, i, v, step, fires=True, record=record)
        return cast(Tensor, out.spikes), out.record, CubaLIFState(cast(Tensor, out.i), out.v, step + x.shape[0])


class HardwareLI(HardwareNeuron, LI):
    """:class:`neurosim.neurons.LI` on a chip; made by :func:`neurosim.to_neuromorphic`."""

    digital_class = LI

    def run(self, x: Tensor, state: LIState | None = None, *, stream: Stream | None = None) -> tuple[Tensor, LIState]:
        """As for the clean neuron."""
        if self.chain.bypassed:
            return super().run(x, state, stream=stream)
        self._check(x, state, LIState)
        out = self._on_chip(x, None, self._rest(x) if state is None else state.v, 0, fires=False, record=True)
        return cast(Tensor, out.record), LIState(out.v)
