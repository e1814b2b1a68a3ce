"""Convolution of excitatory and inhibitory feature maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.nn.ei_layer import EILayer, blank

Sizes = int | tuple[int, int]


class EIConv2d(EILayer):
    r"""A convolution of excitatory and inhibitory feature maps; see :class:`EILayer` for the equation.

    Args:
        in_channels: Channels of the input, ≥ 1; its values must be 0 or more.
        out_channels: Excitatory channels, :math:`n_E`; there are ``out_channels // ei_ratio`` inhibitory ones.
        kernel_size, stride, padding, dilation, groups: As in ``nn.Conv2d``, of both populations; ``groups`` must divide both numbers of
            channels. Inhibition spreads at every pixel from all inhibitory channels to all excitatory ones.
        ei_ratio, subtractive, divisive, prop, output, device, dtype: As in :class:`EILinear`; the fan-in is that of one kernel.

    Shapes:
        x ``(N, in_channels, height, width)``, time and batch in one axis; result as from ``nn.Conv2d``.

    Raises:
        ConfigError: A size or the combination of switches does not hold.

    Source:
        P. Liu, J. Ding, Z. Yu, ICLR 2026 (arXiv 2509.23253).
    """

    feature_dims = 3
    excitatory: nn.Conv2d
    inhibitory: nn.Conv2d
    lateral: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | str = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        *,
        ei_ratio: int = 4,
        subtractive: bool = True,
        divisive: bool = True,
        prop: bool = True,
        output: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        in_channels = whole("EIConv2d.in_channels", in_channels, 1)
        out_channels = whole("EIConv2d.out_channels", out_channels, 1)
        groups = whole("EIConv2d.groups", groups, 1)
        placed = {"device": device, "dtype": dtype}
        super().__init__(out_channels, ei_ratio, subtractive, divisive, prop, output, **placed)
        for name, count in (("in_channels", in_channels), ("out_channels", out_channels), ("inhibitory channels", self.inhibitory_units)):
            if count % groups:
                raise ConfigError(f"EIConv2d.groups: must divide the {count} {name}, got {groups}")
        self.in_channels, self.out_channels = in_channels, out_channels
        geometry = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        self.excitatory = blank(nn.Conv2d, in_channels, out_channels, **geometry, **placed)
        self.inhibitory = blank(nn.Conv2d, in_channels, self.inhibitory_units, **geometry, **placed)
        self.lateral = blank(nn.Conv2d, self.inhibitory_units, out_channels, kernel_size=1, **placed)

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point() or x.dim() != 4 or x.shape[1] != self.in_channels:
            fold = "; time and batch must be one axis here: chain layers by neurosim.nn.SpikingSequential, or use TimeFold"
            wanted, hint = f"(N, {self.in_channels}, height, width)", fold if x.dim() == 5 else ""
            raise ConfigError(f"EIConv2d: x must be floating point of shape {wanted}, got {x.dtype} of shape {tuple(x.shape)}{hint}")
