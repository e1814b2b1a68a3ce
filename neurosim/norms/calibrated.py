"""Norms whose statistics can be taken from data: the base of those of channels, and what is to be done for any."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from neurosim.norms.batch import channels_of
from neurosim.norms.channels import ChannelNorm
from neurosim.norms.frozen import FreezingNorm
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.norms.time_norm import TimeNorm


class CalibratedNorm(ChannelNorm):
    """Base of the norms of channels that evaluate by statistics of data seen before."""

    def moments_of(self, x: Tensor, *, own: bool) -> list[ChannelMoments]:
        """Moments of an input that the statistics follow from: of every channel.

        Args:
            x: An input.
            own: Whether distances are those from the mean of ``x`` itself, where they would be those from the running mean.
        """
        self._check(x)
        return [moments(x, self._axes(x))]

    @abstractmethod
    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """Take running statistics over from :meth:`moments_of`, of more than no values."""


Calibrated = TimeNorm | CalibratedNorm | _BatchNorm | _InstanceNorm


def calibrated_norms(model: nn.Module) -> list[Calibrated]:
    """The norms of a model that evaluate by running statistics, but those in a :class:`FreezingNorm`, which has its own."""
    closed = {id(module.norm) for module in model.modules() if isinstance(module, FreezingNorm)}
    norms = (module for module in model.modules() if isinstance(module, Calibrated) and id(module) not in closed)
    return [norm for norm in norms if isinstance(norm, TimeNorm | CalibratedNorm) or norm.running_mean is not None]


def moments_at(norm: Calibrated, x: Tensor, *how: Any, own: bool) -> list[ChannelMoments]:
    """Moments of an input that the statistics of a norm follow from; see :meth:`CalibratedNorm.moments_of`.

    Args:
        norm: One of :func:`calibrated_norms`.
        x: Its input.
        *how: Other arguments of its call.
        own: See there.
    """
    if isinstance(norm, TimeNorm):
        return norm.moments_of(x, *how)
    if isinstance(norm, CalibratedNorm):
        return norm.moments_of(x, own=own)
    if isinstance(norm, _InstanceNorm):
        of_torch: Any = norm
        batch = x.unsqueeze(0) if x.dim() == of_torch._get_no_batch_dim() else x
        return [moments(batch, [1]), moments(moments(batch, [0, 1]).variance, [1])]
    return [moments(x, [channels_of(norm) % x.dim()])]


def too_few(norm: Calibrated, seen: Sequence[ChannelMoments]) -> bool:
    """Whether a variance would be that of a single value; an instance norm averages variances, of which one will do."""
    return any(one.n == 1 for one in (seen[:1] if isinstance(norm, _InstanceNorm) else seen))


def set_statistics(norm: Calibrated, seen: Sequence[ChannelMoments]) -> None:
    """Give a norm the statistics that follow from what :func:`moments_at` found; without a value it keeps those that it has."""
    if isinstance(norm, TimeNorm):
        norm.set_statistics(seen)
    elif seen and seen[0].n:
        if isinstance(norm, CalibratedNorm):
            norm.set_statistics(seen)
        else:
            running: Any = norm
            running.running_mean.copy_(seen[0].mean)
            running.running_var.copy_(seen[-1].mean if isinstance(norm, _InstanceNorm) else seen[0].variance)
