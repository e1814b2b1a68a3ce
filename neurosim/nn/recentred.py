"""A layer whose inputs arrive about 0, and in one range, while it computes the same."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Recentred(nn.Module):
    r"""A layer behind an offset and a gain of every input line.

    .. math:: y = \mathrm{layer}\big((x - m) / s\big)

    :func:`neurosim.recentre` makes it, and gives the layer the weights and the bias with which this is what the layer computed before. On
    hardware the drivers of the lines do it: the layer inside is what is converted.

    Args:
        layer: A product.
        offset: m, one a channel.
        scale: s > 0, one a channel.
        axes: Of the input behind that of the channels: 0 for a linear layer, 2 for images.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Module, offset: Tensor, scale: Tensor, axes: int = 0) -> None:
        super().__init__()
        self.layer, self.axes = layer, axes
        self.register_buffer("offset", offset)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor, *how: Any) -> Tensor:
        """What the layer makes of it."""
        offset, scale = (one.to(x.dtype).reshape(-1, *(1,) * self.axes) for one in (self.offset, self.scale))
        y: Tensor = self.layer((x - offset) / scale, *how)
        return y

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"channels={len(self.offset)}"
