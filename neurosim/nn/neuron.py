"""Neurons of a simulated chip: subclasses of the clean ones, which compute with this chip's parameters."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple, cast

from torch import Tensor

from neurosim.hardware.word_neuron import run_words
from neurosim.neurons import IF, LI, LIF, CubaLIF, CubaLIFState, LIFState, LIState, ParametricLIF
from neurosim.neurons.base import Neuron
from neurosim.neurons.parameters import arriving, remaining, state_dtype
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.neuron_chain import NeuronChain
from neurosim.ops import cuba_lif as cuba
from neurosim.ops.li import li
from neurosim.ops.lif import LIFOutput, lif
from neurosim.random import Stream


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

    def _thresholds(self, x: Tensor, call: int) -> dict[str, Any]:
        """When this chip's neurons fire and what happens then, without noise. What is subtracted does not follow a threshold's spread."""
        chain, unit = self.chain, self.chain.full_scale
        firing = self._firing(None, 0)
        kept = chain.vary("threshold_dac", self.v_threshold, x, call, unit)
        firing["threshold"] = chain.vary("threshold", kept, x, call, unit)
        if firing["reset"].startswith("soft"):
            amount = kept if self.reset_by is None else self.reset_by
            if chain.acts("reset") or chain.acts("threshold") or chain.words is not None:
                firing["reset_by"] = chain.vary("reset", amount, x, call, unit)
        elif firing["reset"].startswith("hard"):
            firing["v_reset"] = chain.vary("reset", firing["v_reset"], x, call, unit)
        return firing

    def _on_chip(self, x: Tensor, i: Tensor | None, v: Tensor | None, step: int | Tensor, *, fires: bool, record: bool) -> _Outcome:
        """All steps, from a current and a potential (None is 0)."""
        chain = self.chain
        call = chain.begin()
        x = chain.signal("input", x, call)
        given = {**self._synapse(x, call), **self._membrane(x, call), **(self._thresholds(x, call) if fires else {})}
        noise, words = chain.membrane_noise(call), chain.words
        if words is not None:
            drawn = None if noise is None else noise.deviation * noise.stream.normal(x.shape, like=x.new_empty((), dtype=state_dtype(x)))
            for name in ("stream", "step", "input_noise", "membrane_noise"):
                given.pop(name, None)
            out = run_words(x, i, v, words=words[0], step=words[1], fires=fires, noise=drawn, record=record, **given)
            chain.count(out.overflows)
            found = _Outcome(*out[:4])
        else:
            if noise is not None:
                given |= {"membrane_noise": noise.deviation, "stream": noise.stream, "step": step}
            found = _fused(x, i, v, given, fires=fires, record=record)
        return found if found.spikes is None else found._replace(spikes=chain.signal("spikes", found.spikes, call))


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

    def _steps(self, x: Tensor, state: LIFState | None, stream: Stream | None, record: bool) -> tuple[LIFOutput, LIFState]:
        if self.chain.bypassed:
            clean: Any = super()
            result: tuple[LIFOutput, LIFState] = clean._steps(x, state, stream, record)
            return result
        self._check(x, state, LIFState)
        v, step = (self._start(x), 0) if state is None else state
        out = self._on_chip(x, None, v, step, fires=True, record=record)
        return LIFOutput(cast(Tensor, out.spikes), out.v, out.record), LIFState(out.v, step + x.shape[0])


class HardwareLIF(_WithLIFState, LIF):
    """:class:`neurosim.neurons.LIF` on a chip; made by :func:`neurosim.to_neuromorphic`."""

    digital_class = LIF


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

    def _steps(self, x: Tensor, state: CubaLIFState | None, stream: Stream | None, record: bool) -> tuple[cuba.CubaLIFOutput, CubaLIFState]:
        if self.chain.bypassed:
            return super()._steps(x, state, stream, record)
        self._check(x, state, CubaLIFState)
        start = self._start(x)
        (i, v), step = ((None, None) if start is None else start, 0) if state is None else (state[:2], state.step)
        out = self._on_chip(x, i, v, step, fires=True, record=record)
        after = cuba.CubaLIFState(cast(Tensor, out.i), out.v)
        return cuba.CubaLIFOutput(cast(Tensor, out.spikes), after, out.record), CubaLIFState(*after, step + x.shape[0])


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
