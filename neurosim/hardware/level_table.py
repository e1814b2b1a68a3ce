r"""Levels that are not equally far apart: what INL and DNL say of a converter.

A table holds where the levels of a converter really are, in steps (LSB), beside the whole numbers where they should be. The difference is
the integral nonlinearity (INL), that of neighbours the differential one (DNL). Both ends are in place: what moves all levels together is
offset, what stretches them is gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from neurosim.errors import ConfigError

LEAST_STEP: Final = 1e-3  #: least width of a step, in LSB before the ends are put in place: a level can be all but missing, never swap


def level_table(standard: Tensor, dnl: float) -> Tensor:
    r"""Places of n + 1 levels from n widths.

    .. math:: d_k = \max(1 + \sigma \xi_k, 0.001), \qquad t_k = n\,\frac{d_1 + \dots + d_k}{d_1 + \dots + d_n}

    The levels are a random walk of their widths, held at both ends: :math:`\mathrm{var}(t_k) \approx \sigma^2 k (n - k) / n`, which is
    largest in the middle of the range, as in a string of resistors or of equal capacitors.

    Args:
        standard: ξ, standard normal numbers.
        dnl: σ, standard deviation of a width, LSB, ≥ 0.

    Shapes:
        standard ``(…, n)``; result ``(…, n + 1)``, from exactly 0 to exactly n.

    >>> level_table(torch.tensor([1.0, -1.0, 0.0]), 0.5)
    tensor([0.0000, 1.5000, 2.0000, 3.0000])
    """
    if not dnl >= 0:
        raise ConfigError(f"level_table: dnl must be ≥ 0, got {dnl}")
    n = standard.shape[-1]
    width = (1 + dnl * standard.double()).clamp(min=LEAST_STEP)
    inner = n * (width.cumsum(-1) / width.sum(-1, keepdim=True))[..., :-1]
    ends = width.new_zeros(*standard.shape[:-1], 1)
    return torch.cat([ends, inner, ends + n], -1).to(standard.dtype) if n else ends.to(standard.dtype)


def inl(table: Tensor) -> Tensor:
    """Integral nonlinearity: how far each level is from its place, LSB; as many as there are levels."""
    return table - torch.arange(table.shape[-1], dtype=table.dtype, device=table.device)


def dnl(table: Tensor) -> Tensor:
    """Differential nonlinearity: how much wider than one LSB each step is; one less than there are levels."""
    return table.diff(dim=-1) - 1


def at_levels(k: Tensor, table: Tensor) -> Tensor:
    """Where levels really are: a digital-to-analog converter.

    Args:
        k: Numbers of levels, whole; outside of the table they stay as they are.
        table: From :func:`level_table`.

    Shapes:
        k ``(…)``; table ``(*channels, levels)``, whose channels broadcast against the last axes of ``k``.

    >>> at_levels(torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.tensor([0.0, 1.5, 2.0, 3.0]))
    tensor([0.0000, 1.5000, 2.0000, 4.0000])
    """

    def look(rows: Tensor, values: Tensor) -> Tensor:
        return rows.gather(-1, values.round().long().clamp(0, rows.shape[-1] - 1))

    return _by_channel(k, table, look)


def between_levels(u: Tensor, table: Tensor) -> Tensor:
    """How far a signal has come in a table, linear between its levels: what an analog-to-digital converter makes of it before it rounds.

    Arguments as in :func:`at_levels`, of which it is the inverse.

    >>> between_levels(torch.tensor([0.75, 1.75, 2.5]), torch.tensor([0.0, 1.5, 2.0, 3.0]))
    tensor([0.5000, 1.5000, 2.5000])
    """

    def look(rows: Tensor, values: Tensor) -> Tensor:
        above = torch.searchsorted(rows, values, right=True).clamp(1, rows.shape[-1] - 1)
        low, high = rows.gather(-1, above - 1), rows.gather(-1, above)
        return above - 1 + (values - low) / (high - low)

    return _by_channel(u, table, look)


def _by_channel(x: Tensor, table: Tensor, look: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``look`` of the table (channels, levels) and of the values (channels, rest); what is beyond the ends stays."""
    *channels, levels = table.shape
    if len(channels) > x.dim() or any(a not in (1, b) for a, b in zip(reversed(channels), reversed(x.shape), strict=False)):
        raise ConfigError(f"level table: channels {tuple(channels)} must broadcast against a signal of shape {tuple(x.shape)}")
    if levels < 2 or x.numel() == 0:
        return x
    shape = [1] * (x.dim() - len(channels)) + channels
    own = [dim for dim, size in enumerate(shape) if size != 1]
    moved = x.movedim(own, list(range(len(own))))
    values = moved.reshape(math.prod(channels), -1).contiguous()
    found = look(table.reshape(-1, levels).to(x.dtype), values).to(x.dtype)
    found = torch.where((values >= 0) & (values <= levels - 1), found, values)
    return found.reshape(moved.shape).movedim(list(range(len(own))), own)
