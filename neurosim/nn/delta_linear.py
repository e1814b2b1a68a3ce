"""What delta inference does with integers: levels with a unit, and linear layers that add up their changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurosim.errors import ConfigError, ConversionError

EXACT: Final = 2.0**52  #: sums stay below; a change is at most twice a level, and float64 holds every integer up to 2⁵³


_FUNCTIONS: Final[dict[type[nn.Module], Callable[..., Tensor]]] = {
    nn.Linear: functional.linear,
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
}


class Unit(NamedTuple):
    """What one level is worth."""

    value: Tensor  #: float64, positive; a scalar, or one value for each of what ``form`` names
    form: Literal["all", "maps", "features", "runs", "elements"]  #: runs: of equal length, what a flattened map has become

    def flattened(self) -> Unit:
        """The same after the axes of units have been made one."""
        forms: dict[str, Literal["all", "features", "runs"]] = {"all": "all", "maps": "runs", "runs": "runs"}
        return Unit(self.value if self.form == "all" else self.value.flatten(), forms.get(self.form, "features"))


def unit_of(step: Tensor) -> Unit:
    """The unit of levels whose step broadcasts to ``(*units)``."""
    value = step.detach().double()
    if value.numel() == 1:
        return Unit(value.reshape(()), "all")
    if value.dim() == 1:
        return Unit(value, "features")
    return Unit(value.flatten(), "maps") if value.shape[0] == value.numel() else Unit(value, "elements")


class SumPool(nn.Module):
    """Average pooling of levels: their sum, which is an integer; the division is left to the unit."""

    def __init__(self, pool: nn.AvgPool2d, where: str) -> None:
        super().__init__()
        if pool.ceil_mode or (pool.padding not in (0, (0, 0)) and not pool.count_include_pad):
            raise ConversionError(
                f"{where}: average pooling of levels must divide by the same number everywhere, without ceil_mode, got {pool}"
            )
        self.kernel, self.stride, self.padding = pool.kernel_size, pool.stride, pool.padding
        sides = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        self.divisor = pool.divisor_override or math.prod(sides)

    def forward(self, levels: Tensor) -> Tensor:
        """Sums of levels."""
        return functional.avg_pool2d(levels, self.kernel, self.stride, self.padding, divisor_override=1)


class AddUp(nn.Module):
    r"""A linear layer on levels with integer weights, :math:`y = g\,V n + b`; V and n are float64 tensors of integers.

    Args:
        layer: ``nn.Linear``, ``nn.Conv1d`` or ``nn.Conv2d``.
        unit: Of its levels; becomes part of V.
        bits: The largest weight becomes an integer of at most this many bits.
        where: What messages call it.

    Raises:
        ConversionError: The unit does not fit the layer's inputs, or the layer pads with anything but zeros.
    """

    weight: Tensor  #: V, integers
    bias: Tensor | None
    grid: Tensor  #: g, a power of two
    most: Tensor  #: largest level for which all sums are exact

    def __init__(self, layer: nn.Linear | nn.Conv1d | nn.Conv2d, unit: Unit, bits: int, where: str) -> None:
        super().__init__()
        self.where = where
        if not isinstance(layer, nn.Linear):
            if layer.padding_mode != "zeros":
                raise ConversionError(f"{where}: must pad with zeros, which are no events, got padding_mode={layer.padding_mode!r}")
            self.settings = {name: getattr(layer, name) for name in ("stride", "padding", "dilation", "groups")}
        self.function: Callable[..., Tensor] = _FUNCTIONS[type(layer)]
        worth = layer.weight.detach().double() * _per_weight(layer, unit, where).to(layer.weight.device)
        largest = float(worth.abs().max()) if worth.numel() else 0.0
        if not math.isfinite(largest):
            raise ConversionError(f"{where}: weights must be finite, got {largest}")
        grid = 2.0 ** (math.frexp(largest)[1] - bits)  # the largest is below 2 to that exponent: integers have at most so many bits
        self.register_buffer("grid", torch.tensor(grid, dtype=torch.float64, device=worth.device))
        self.register_buffer("weight", (worth / grid).round())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().double().clone())
        sums = self.weight.abs().flatten(1).sum(1)
        self.register_buffer("most", EXACT / (sums.max() if sums.numel() else sums.sum()).clamp(min=1.0))

    def forward(self, levels: Tensor) -> Tensor:
        """V n, exact."""
        return self._apply_weight(levels, self.weight)

    def check(self, levels: Tensor) -> None:
        """Raise unless the sums of such levels are exact."""
        largest = levels.detach().abs().max().item() if levels.numel() else 0.0
        if not largest <= self.most.item():
            raise ConfigError(
                f"{self.where}: levels must be finite and at most {self.most.item():.3g} for sums to be exact, got {largest:.3g}; "
                "enlarge the step, or convert with fewer bits"
            )

    def read(self, sums: Tensor, drift: Tensor | None) -> Tensor:
        """What the layer gives: g z + b, and what its accumulators have drifted."""
        y = sums * self.grid
        if drift is not None:
            y = y + drift
        if self.bias is None:
            return y
        return y + (self.bias if self.function is functional.linear else self.bias.reshape(-1, *(1,) * (self.weight.dim() - 2)))

    def operations(self, events: Tensor) -> Tensor:
        """How many weights the events meet, multiply-accumulate operations; int64."""
        return self._apply_weight(events.double(), torch.ones_like(self.weight)).sum().long()

    def _apply_weight(self, levels: Tensor, weight: Tensor) -> Tensor:
        if self.function is functional.linear:
            return functional.linear(levels, weight)
        with torch.backends.cudnn.flags(enabled=False):  # its fast algorithms leave the integers
            return self.function(levels, weight, None, **self.settings)


def _per_weight(layer: nn.Linear | nn.Conv1d | nn.Conv2d, unit: Unit, where: str) -> Tensor:
    """The unit of the level that each weight meets, to multiply the weights with."""
    value, form = unit
    if form == "all":
        return value
    if isinstance(layer, nn.Linear):
        inputs = layer.in_features
        if form == "features" and len(value) == inputs:
            return value
        if form == "runs" and inputs % len(value) == 0:
            return value.repeat_interleave(inputs // len(value))
    elif form == "maps" and len(value) == layer.in_channels:
        grouped = value.reshape(layer.groups, -1).repeat_interleave(layer.out_channels // layer.groups, 0)
        return grouped.reshape(*grouped.shape, *(1,) * (layer.weight.dim() - 2))
    kind = type(layer).__name__
    raise ConversionError(f"{where}: {kind} must meet one step, or one per input, got {tuple(value.shape)} steps, one per {form}")
