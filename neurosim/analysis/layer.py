"""What one layer did, step by step: spikes, membrane, output."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import torch
from torch import Tensor

from neurosim.errors import ConfigError

Signal = Literal["spikes", "membrane", "output"]
SIGNALS: Final[tuple[Signal, ...]] = ("spikes", "membrane", "output")

Along = Literal["batch", "time"]
Chosen = int | slice | Sequence[int] | Tensor | None  #: so many from the first on, a slice, indices, or all


@dataclass
class LayerRecording:
    """What one layer did.

    Every call of the layer is kept as it was (:attr:`calls`); :attr:`spikes`, :attr:`membrane` and :attr:`output` join the calls along
    ``along``.

    Args:
        path: Name of the layer in the model; ``""`` is the model itself.
        type: Its class.
        dt: Step, seconds; None where the layer has none.
        v_threshold: Threshold at the beginning of the recording, None where the layer has none; ``v_reset`` likewise.
        along: ``"batch"``: every call brought other samples. ``"time"``: every call went on where the last one ended.
        timed: Whether the tensors have a time axis. Layers without neurons have none where they are called outside of a network over time.
        calls: For each signal, one tensor a call.
        unit_shape: Shape of the units of the layer.
        unit_index: Which units were kept, as indices into the flattened units; None for all, in their shape.
        sample_index: Which samples were kept, counted over all calls.
    """

    path: str
    type: str
    dt: float | None = None
    v_threshold: float | Tensor | None = None
    v_reset: float | Tensor | None = None
    along: Along = "batch"
    timed: bool = True
    calls: dict[str, list[Tensor]] = field(default_factory=dict)
    unit_shape: tuple[int, ...] = ()
    unit_index: Tensor | None = None
    sample_index: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    samples_seen: int = 0  #: how many samples the layer was given, kept or not

    @property
    def signals(self) -> tuple[Signal, ...]:
        """What there is of it."""
        return tuple(name for name in SIGNALS if self.calls.get(name))

    @property
    def spikes(self) -> Tensor:
        """What the neurons sent on at every step, ``(time, batch, *units)``; ``(time, batch, kept)`` where units were chosen."""
        return self.joined("spikes")

    @property
    def membrane(self) -> Tensor:
        """Their potential after every step, shaped likewise."""
        return self.joined("membrane")

    @property
    def output(self) -> Tensor:
        """What a layer that is no neuron gave, shaped likewise; ``(batch, *)`` if not :attr:`timed`."""
        return self.joined("output")

    def joined(self, signal: Signal) -> Tensor:
        """One signal of all calls, joined along ``along``.

        Raises:
            ConfigError: There is none, or the calls do not fit together.
        """
        calls = self.calls.get(signal, [])
        if not calls:
            there = ", ".join(self.signals) or "nothing: it was not called"
            raise ConfigError(f"recording: {self.path or '(model)'} ({self.type}) has no {signal}; what there is: {there}")
        if len(calls) == 1:
            return calls[0]
        axis = 0 if self.along == "time" or not self.timed else 1
        shapes = {tuple(one.shape[:axis] + one.shape[axis + 1 :]) for one in calls}
        if len(shapes) > 1:
            raise ConfigError(
                f"recording: {self.path or '(model)'}: calls must fit together to be joined along {self.along}, got the shapes "
                f"{', '.join(sorted({str(tuple(one.shape)) for one in calls}))}; calls[{signal!r}] has them one by one"
            )
        return torch.cat(calls, axis)

    @property
    def n_steps(self) -> int:
        """How many steps are recorded; 0 without a time axis."""
        return self._size(0) if self.timed else 0

    @property
    def batch(self) -> int:
        """How many samples are recorded."""
        return self._size(1 if self.timed else 0)

    def _size(self, axis: int) -> int:
        signals = self.signals
        return self.joined(signals[0]).shape[axis] if signals else 0

    def take(
        self,
        values: Mapping[str, Tensor],
        timed: bool,
        units: Chosen,
        samples: Chosen,
        device: torch.device | str | None,
        *,
        goes_on: bool = False,
    ) -> None:
        """Add what one call gave: copies, without gradient, of the chosen samples and units.

        Args:
            values: For each signal, ``(time, batch, *units)``; ``(batch, *units)`` if not ``timed``.
            timed: Whether there is a time axis.
            units: Which of the flattened units to keep.
            samples: Which samples of the call to keep.
            device: Where to; None leaves them where they are.
            goes_on: Whether these are the next steps of the samples of the last call.

        Raises:
            ConfigError: An index is out of range.
        """
        where = f"record: {self.path or '(model)'}"
        for name, value in values.items():
            batch_axis = 1 if timed else 0
            kept = value.detach()
            index = chosen(samples, value.shape[batch_axis], f"{where}: samples")
            picked = chosen(units, math.prod(value.shape[batch_axis + 1 :]), f"{where}: units")
            with torch.inference_mode(False), torch.no_grad():
                if index is not None:
                    kept = kept.index_select(batch_axis, index.to(kept.device))
                if picked is not None:
                    kept = kept.flatten(batch_axis + 1) if kept.dim() > batch_axis + 1 else kept.unsqueeze(-1)
                    kept = kept.index_select(batch_axis + 1, picked.to(kept.device))
                kept = kept.to(kept.device if device is None else device, copy=True)
                self.calls.setdefault(name, []).append(kept if timed or self.along == "batch" else kept.unsqueeze(0))
        self.timed = timed or self.along == "time"
        self.unit_shape, self.unit_index = tuple(value.shape[batch_axis + 1 :]), picked
        batch = value.shape[batch_axis]
        index = torch.arange(batch) if index is None else index
        if goes_on:
            return
        if self.along == "batch":
            index = torch.cat([self.sample_index, self.samples_seen + index])
            batch += self.samples_seen
        self.sample_index, self.samples_seen = index, batch

    def merge(self, pieces: int) -> None:
        """Make one call of the last so many, which were pieces of one sequence."""
        for calls in self.calls.values():
            if len({one.shape[1:] for one in calls[-pieces:]}) == 1:
                calls[-pieces:] = [torch.cat(calls[-pieces:])]


def chosen(wanted: Chosen, size: int, where: str) -> Tensor | None:
    """The indices that a choice names out of ``size``; None for all.

    Raises:
        ConfigError: It names what is not there, or is no choice.
    """
    if wanted is None:
        return None
    if isinstance(wanted, slice):
        return torch.arange(size)[wanted] if (wanted.step or 1) > 0 else torch.tensor(range(size)[wanted])
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if wanted < 1:
            raise ConfigError(f"{where}: must be at least 1, got {wanted}")
        return torch.arange(min(wanted, size))
    try:
        index = torch.as_tensor(wanted, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        index = torch.zeros(())
    if index.dim() != 1 or index.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise ConfigError(f"{where}: must be a number, a slice, or a list of indices, got {wanted!r:.60}")
    index = index.to(torch.int64)
    if len(index) and not (-size <= int(index.min()) and int(index.max()) < size):
        raise ConfigError(f"{where}: must be indices below {size}, got {int(index.min())} to {int(index.max())}")
    return index % size if size else index
