"""What a probe keeps of one layer while batches pass."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from neurosim.activations.base import Activation
from neurosim.activations.facts import facts
from neurosim.analysis.layer import LayerRecording
from neurosim.analysis.sample import spread
from neurosim.analysis.streaming import Covariance, Moments, covariance, moments

WIDEST = 512  #: channels whose covariance is kept; of more, as many from all over
ROWS = 4096  #: numbers of each channel that one batch adds to it


class LayerSums:
    """Sums over everything that a layer gave, of one shape of units.

    Args:
        units: Shape of the units.
        channels_last: Whether channels are their last axis, else their first.
    """

    def __init__(self, units: tuple[int, ...], channels_last: bool) -> None:
        self.units, self._axis = units, -1 if channels_last else 1
        self.moments: Moments | None = None
        self.covariance: Covariance | None = None
        self.membrane: Moments | None = None
        self.at_bounds = 0
        self.quiet: Moments | None = None  #: of the signal without noise
        self.noise = 0.0  #: Σ of squared differences between passes with and without
        self.differences = 0
        self._size: Tensor | None = None  #: Σ |x| of every channel
        self._used: Tensor | None = None  #: which units were other than 0 at least once

    def rows(self, x: Tensor) -> Tensor:
        """Samples ``(samples, *units)`` as ``(numbers, channels)``, float64; the parts of complex numbers are channels of their own."""
        if x.is_complex():
            x = torch.view_as_real(x)
            x = torch.cat(x.unbind(-1), self._axis if x.dim() > 2 else -1)
        if x.device.type == "mps":  # has no float64
            x = x.cpu()
        x = x.reshape(len(x), -1) if x.dim() < 3 else x
        channels = x.shape[self._axis] if x.shape[1:].numel() else max(x.shape[1:], default=1)
        return x.movedim(self._axis, -1).reshape(-1, channels).double()

    def add(self, x: Tensor, bounds: tuple[float, float] | None = None) -> None:
        """Take down what one call gave, ``(samples, *units)``."""
        rows = self.rows(x)
        if not rows.numel():
            return
        found = moments(rows)
        self.moments = found if self.moments is None else self.moments.merge(found)
        size = rows.abs().sum(0)
        self._size = size if self._size is None else self._size + size
        used = (x != 0).any(0)
        self._used = used if self._used is None else self._used | used
        if bounds is not None:
            self.at_bounds += int(((rows <= bounds[0]) | (rows >= bounds[1])).sum())
        few = rows[spread(torch.arange(len(rows), device=rows.device), ROWS)]
        few = few[:, spread(torch.arange(few.shape[1], device=rows.device), WIDEST)]
        directions = covariance(few)
        self.covariance = directions if self.covariance is None else self.covariance.merge(directions)

    def add_membrane(self, v: Tensor) -> None:
        """Take down potentials, of any shape."""
        if v.numel():
            found = moments(v.reshape(-1, 1))
            self.membrane = found if self.membrane is None else self.membrane.merge(found)

    def add_noise(self, noisy: Tensor, quiet: Tensor, first: bool) -> None:
        """Take down one call with noise beside the same without, ``(samples, *units)``; ``first`` of the passes with noise."""
        a, b = self.rows(noisy), self.rows(quiet)
        if not b.numel():
            return
        if first:
            found = moments(b)
            self.quiet = found if self.quiet is None else self.quiet.merge(found)
        self.noise += float((a - b).square().sum())
        self.differences += a.numel()

    def dormant(self, tau: float) -> float:
        """Share of channels whose mean magnitude is at most ``tau`` of the mean over channels."""
        size = self._size if self._size is not None else torch.zeros(1)
        return float((size <= tau * size.mean()).double().mean())

    def dead(self) -> float:
        """Share of units that were 0 whenever they were looked at."""
        used = self._used if self._used is not None else torch.ones(1)
        return float((used == 0).double().mean())


def signals_of(layer: LayerRecording) -> list[Tensor]:
    """What a layer gave, call by call, ``(samples, *units)``: spikes, outputs, or the potential of an integrator; steps are samples."""
    name = next((name for name in ("spikes", "output", "membrane") if layer.calls.get(name)), None)
    calls = layer.calls[name] if name is not None else []
    return [one.flatten(0, 1) if layer.timed else one for one in calls]


def samples_of(layer: LayerRecording) -> int:
    """How many samples its first call had."""
    return layer.calls[layer.signals[0]][0].shape[1 if layer.timed else 0]


def bounds_of(module: nn.Module) -> tuple[float, float] | None:
    """Where an activation that is flat outside of a range ends on both sides; None for all others."""
    if isinstance(module, nn.Hardtanh):
        return float(module.min_val), float(module.max_val)
    if not isinstance(module, Activation):
        return None
    found = facts(module)
    low, high = found.bounds() if found.smoothness in ("jump", "C0") else (-math.inf, math.inf)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
