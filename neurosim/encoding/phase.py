"""Weighted phase code: the binary digits of the value, one a step."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import whole
from neurosim.encoding.base import ENCODERS, Encoder, at_least_32_bits, values
from neurosim.random import Stream


def phase(x: Tensor, bits: int, *, periods: int = 1, weighted: bool = True) -> Tensor:
    r"""The binary digits of the value, the most significant first, over and over.

    .. math:: x \approx \sum_{k=0}^{K-1} 2^{-(1+k)} s_k, \qquad y_{mK+k} = 2^{-(1+k)} s_k

    The digits are those of :math:`\lfloor 2^K x \rfloor`: the sum over a period is at most :math:`2^{-K}` below the value.

    Args:
        x: Values 0 ≤ x < 1; what lies outside counts as 0 or as all ones. No gradient.
        bits: K, steps of a period, 1 to 24.
        periods: How often they are repeated, ≥ 1.
        weighted: Whether a spike arrives with the weight of its digit, as in the source; else as 1.

    Shapes:
        x ``(batch, *units)``; result ``(periods * bits, batch, *units)``.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        J. Kim, H. Kim, S. Huh, J. Lee, K. Choi, "Deep neural networks with weighted spikes", Neurocomputing 311 (2018) 373-386.

    >>> phase(torch.tensor([[0.625]]), bits=4, weighted=False).flatten()  # 0.1010 in binary
    tensor([1., 0., 1., 0.])
    """
    count, repeats = whole("phase: bits", bits, 1, 24), whole("phase: periods", periods, 1)
    wide = at_least_32_bits(values("phase", x)).detach()
    number = (wide * 2**count).clamp(0, 2**count - 1).to(torch.int64)
    place = torch.arange(count, device=x.device).view(-1, *[1] * x.dim())
    digits = ((number >> (count - 1 - place)) & 1).to(wide.dtype)
    if weighted:
        digits = digits * torch.exp2(-(1 + place).to(wide.dtype))
    found: Tensor = digits.to(x.dtype).repeat(repeats, *[1] * x.dim())
    return found


@ENCODERS.register("phase")
class Phase(Encoder):
    """The binary digits of the value, one a step: :func:`phase` with its settings.

    Args:
        bits: Steps of a period, 1 to 24.
        periods: How often they are repeated, ≥ 1.
        weighted: Whether a spike arrives with the weight of its digit; else as 1.
    """

    def __init__(self, bits: Annotated[int, Field(ge=1, le=24)], periods: Annotated[int, Field(ge=1)] = 1, weighted: bool = True) -> None:
        super().__init__()
        self.bits, self.periods, self.weighted = whole("Phase.bits", bits, 1, 24), whole("Phase.periods", periods, 1), weighted

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`phase`."""
        return phase(x, self.bits, periods=self.periods, weighted=self.weighted)
