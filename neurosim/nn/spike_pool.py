"""Max pooling of spike trains: the place with the most spikes so far is the one that is passed on."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.nn.time import SpikingModule, State
from neurosim.random import Stream


class SpikingMaxPoolState(NamedTuple):
    """What one step hands to the next."""

    counts: Tensor  #: spikes so far, ``(batch, C, H, W)``


class SpikingMaxPool2d(SpikingModule):
    """Of each window, the spikes of the place that has received most so far.

    A maximum over the spikes of one step would fire if any place of the window does, and so adds the rates up; gated by the counts, the
    rate tends to the largest rate of the window.

    Args:
        pool: The pooling of the digital network; its window, stride, padding and dilation are taken over.

    Shapes:
        x ``(time, batch, C, H, W)``; result ``(time, batch, C, H', W')``; state ``counts`` ``(batch, C, H, W)``.

    Raises:
        ConfigError: ``pool`` is no ``nn.MaxPool2d``, or the input has other axes.

    Source:
        B. Rueckauer et al., "Conversion of continuous-valued deep networks to efficient event-driven networks for image classification",
        Frontiers in Neuroscience 11:682 (2017), section 2.2.5 (spiking max pooling).
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        if not isinstance(pool, nn.MaxPool2d):
            raise ConfigError(f"SpikingMaxPool2d: pool must be an nn.MaxPool2d, got {type(pool).__name__}")
        self.window = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The pooled spikes, and the counts to hand to the next chunk."""
        if x.dim() != 5:
            raise ConfigError(f"SpikingMaxPool2d: x must be (time, batch, C, H, W), got shape {tuple(x.shape)}")
        if state is not None and not isinstance(state, SpikingMaxPoolState):
            raise ConfigError(f"SpikingMaxPool2d: state must be a SpikingMaxPoolState or None, got {type(state).__name__}")
        wide = torch.promote_types(x.dtype, torch.float32)  # 16 bits do not count far
        count = x.new_zeros(x.shape[1:], dtype=wide) if state is None else state.counts
        pooled = []
        for now in x.unbind(0):
            count = count + now
            _, place = F.max_pool2d(count, *self.window, return_indices=True)
            pooled.append(now.flatten(2).gather(2, place.flatten(2)).reshape(place.shape))
        if not pooled:
            return x.new_zeros(0, *F.max_pool2d(count, *self.window).shape), SpikingMaxPoolState(count)
        return torch.stack(pooled), SpikingMaxPoolState(count)

    def extra_repr(self) -> str:
        """For ``print``."""
        return "kernel_size={}, stride={}, padding={}, dilation={}, ceil_mode={}".format(*self.window)
