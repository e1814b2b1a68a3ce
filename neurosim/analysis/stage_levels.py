"""What the limits and converters of a chain do to the signals of a forward: how much lies at the rails, is cut off, which levels occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.analysis.range_sites import code_of
from neurosim.convert.select import analog_layers
from neurosim.hardware.stage import STAGES
from neurosim.hardware.stages.clamp import Clamp
from neurosim.hardware.stages.fixed_point import FixedPoint
from neurosim.nn.chain import AnalogChain
from neurosim.nn.wrappers import named_unwrapped
from neurosim.quantizers import Quantizer

MOST_SIGNALS: Final = 1 << 26  #: of a layer in one forward: a quarter of a gibibyte
_MOST_LEVELS: Final = 1 << 20  #: converters of more levels are not counted


@dataclass(frozen=True)
class StageProbe:
    """What one limit or converter did.

    Args:
        slot: Its place in the chain.
        kind: Of the stage.
        saturated: Of a clamp: share of the numbers that leave it at one of its ends, 0..1.
        clipped: Of a converter: share of the numbers that arrive outside of its range, 0..1.
        used: Of a converter: how many of its levels occurred.
        levels: How many it has.
    """

    slot: str
    kind: str
    saturated: float | None = None
    clipped: float | None = None
    used: int | None = None
    levels: int | None = None


class StageWatch:
    """Looks at the signals between the stages of one chain, which is changed for that: give it the chain of a copy.

    The chain computes what it did. While :attr:`active`, each path is computed once more, stage by stage, with the same random numbers.
    """

    def __init__(self, chain: AnalogChain) -> None:
        self.active = False
        self._chain, self._run = chain, chain.run
        self._counts: dict[str, _Count] = {}
        chain.__dict__["run"] = self._watched
        chain.kept = None

    def begin(self, numbers: int) -> None:
        """From now on, signals of several tiles, planes and passes go to the converters all at once, where they can be seen.

        Args:
            numbers: How many outputs the layer gives in a forward; where its signals would be too many at once, they stay unseen.
        """
        lies = self._chain.layout
        self._chain.watched = lies is None or numbers * lies.planes * lies.tiles * lies.passes <= MOST_SIGNALS

    def found(self) -> tuple[StageProbe, ...]:
        """What was seen, in the order of the chain."""
        counts = ((slot, self._counts[slot]) for slot in self._chain.slots if slot in self._counts)
        return tuple(count.result(slot, self._chain.slots[slot].kind) for slot, count in counts if count.total)

    def _watched(self, path: str, x: Tensor, call: int) -> Tensor:
        if self.active:
            self._look(path, x.detach(), call)
        return self._run(path, x, call)

    def _look(self, path: str, x: Tensor, call: int) -> None:
        value = x.float() if x.dtype.itemsize < 4 else x
        for step in self._chain.steps.get(path, ()):
            if self._chain.modes[step.slot] == "ideal":
                continue
            after = self._chain.one(step, value, call)
            if isinstance(step.spec, Clamp | FixedPoint) or code_of(self._chain, step.slot) is not None:
                self._counts.setdefault(step.slot, _Count()).add(self._chain, step, value, after)
            value = after


class QuantizerWatch:
    """Looks at what a number format does to its signals, or to weights; give it the quantizer of a copy.

    Args:
        quantizer: It is looked at while :attr:`active`.
        slot: What its place is called: ``output.quantizer`` of a layer of its own, ``weight.quantizer`` of a layer with such weights.
    """

    def __init__(self, quantizer: Quantizer, slot: str) -> None:
        self.active = False
        self._slot, self._count = slot, _Count()
        quantizer.register_forward_hook(self._look)

    def begin(self, numbers: int) -> None:
        """Nothing to prepare."""

    def found(self) -> tuple[StageProbe, ...]:
        """What was seen."""
        return (self._count.result(self._slot, "number_format"),) if self._count.total else ()

    def _look(self, quantizer: Any, given: tuple[Any, ...], y: Tensor) -> None:
        if self.active:
            self._count.add_rounded(quantizer, given[0].detach(), y.detach())


def quantizers_of(model: nn.Module) -> dict[str, QuantizerWatch]:
    """The quantizers of a copy of a model, by the paths of the layers that they are, or whose parameters they round."""
    found: dict[str, QuantizerWatch] = {}
    for path, module in named_unwrapped(model):
        if isinstance(module, Quantizer):
            layer, _, parameter = f".{path}".partition(".parametrizations.")
            found[layer[1:]] = QuantizerWatch(module, f"{parameter.split('.')[0] or 'output'}.quantizer")
    return found


class _Count:
    def __init__(self) -> None:
        self.total = self.at_ends = self.outside = 0
        self.levels = 0
        self.seen: Tensor | None = None

    def add(self, chain: AnalogChain, step: Any, before: Tensor, after: Tensor) -> None:
        params, context = chain.context(step.slot)
        spec = step.spec
        self.total += after.numel()
        if isinstance(spec, Clamp):
            low, high = (float(params[end]) if end in params else float(getattr(spec, end)) for end in ("low", "high"))
            self.at_ends += int(((after <= low) | (after >= high)).sum())
            return
        code = code_of(chain, step.slot)
        if code is None:  # its words follow the signal
            return
        self.outside += int(((before < code.low) | (before > code.high)).sum())
        self.levels = code.levels if isinstance(code.levels, int) else len(code.levels.values)
        if self.levels > _MOST_LEVELS:
            return
        on_levels = after
        if getattr(spec, "side", "adc") == "dac":  # errors act on the levels: which they were, the ideal one says
            on_levels = STAGES["quantize"].apply(before, spec.ideal, params, None, context)
        self._see(on_levels, code.places.to(after.device))

    def add_rounded(self, quantizer: Quantizer, x: Tensor, y: Tensor) -> None:
        """Likewise of a number format, whose ends are its limits."""
        signal, level = (x, y) if quantizer.offset is None else (x - quantizer.offset, y - quantizer.offset)
        if not signal.numel():
            return
        values = torch.tensor(quantizer.form.values, dtype=torch.float64, device=x.device) / quantizer.form.largest
        limit = (quantizer.limits(signal) if quantizer.limit is None else quantizer.limit.abs()).double()
        self.total, self.levels = self.total + signal.numel(), len(values)
        self.outside += int(((signal < values[0] * limit) | (signal > values[-1] * limit)).sum())
        self._see(level / torch.where(limit > 0, limit, 1.0), values)

    def _see(self, on_levels: Tensor, places: Tensor) -> None:
        """Note which levels occur."""
        borders = (places[1:] + places[:-1]) / 2
        numbers = on_levels.double().flatten()
        inside = (numbers >= 2 * places[0] - borders[0]) & (numbers <= 2 * places[-1] - borders[-1])
        if self.seen is None:
            self.seen = torch.zeros(self.levels, dtype=torch.bool, device=numbers.device)
        self.seen[torch.bucketize(numbers[inside], borders)] = True

    def result(self, slot: str, kind: str) -> StageProbe:
        if kind == "clamp":
            return StageProbe(slot, kind, saturated=self.at_ends / self.total)
        if not self.levels:
            return StageProbe(slot, kind)
        used = None if self.seen is None else int(self.seen.sum())
        return StageProbe(slot, kind, clipped=self.outside / self.total, used=used, levels=self.levels)


def has_noise(model: nn.Module, against: str) -> bool:
    """Whether passes with noise differ from those without."""
    chains = [layer.chain for layer in analog_layers(model).values()]
    if against == "ideal":
        return not all(chain.bypassed for chain in chains)
    active = (
        (STAGES[spec.kind], spec) for chain in chains for slot, spec in chain.slots.items() if chain.modes[slot] in ("fresh", "fixed")
    )
    return any(stage.random(spec) for stage, spec in active)
