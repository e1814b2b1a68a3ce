"""Devices that no pulse can change."""

from __future__ import annotations

import torch
from torch import Tensor


def stuck(x: Tensor, uniform: Tensor, at_low: float, at_high: float, missing: float, *, low: float = 0.0, high: float = 0.0) -> Tensor:
    r"""Conductances of an array in which some devices do not work.

    Args:
        x: Conductances, S, any shape.
        uniform: One number in (0, 1) for each device; broadcasts to ``x``.
        at_low, at_high, missing: Shares of devices stuck at ``low``, stuck at ``high``, and open: they conduct nothing. Together at most 1.
        low, high: The conductances of stuck devices, S.

    Returns:
        Same shape and dtype as ``x``; the derivative is 1 where a device works and 0 elsewhere.

    Source:
        C.-Y. Chen et al., "RRAM defect modeling and failure analysis based on March test and a novel squeeze-search scheme", IEEE Trans.
        Computers 64 (2015) 180–190: the stuck-at faults of an array.

    >>> stuck(torch.full((4,), 5.0), torch.tensor([0.05, 0.15, 0.25, 0.9]), 0.1, 0.1, 0.1, low=1.0, high=9.0)
    tensor([1., 9., 0., 5.])
    """
    y = torch.where(uniform < at_low + at_high + missing, torch.zeros_like(x), x)
    y = torch.where(uniform < at_low + at_high, torch.full_like(x, high), y)
    return torch.where(uniform < at_low, torch.full_like(x, low), y)
