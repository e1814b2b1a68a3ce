"""Layers that round what passes, forwards or backwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from neurosim.checks import number, one_of, whole
from neurosim.clock import Clock, stream_of
from neurosim.errors import ConfigError
from neurosim.ops.quantize import Rounding
from neurosim.quantizers.formats import Format, number_format
from neurosim.quantizers.limits import channel_limits, shift_limits
from neurosim.quantizers.rounding import GRADS, ROUNDINGS, Grad, in_format
from neurosim.random import Stream

_AXES: Final = 64  #: as many as torch allows


class Quantizer(nn.Module):
    """Rounds to a number format: of activations as a layer, of weights as a parametrization.

    Args:
        form: The format, or its name in :data:`neurosim.quantizers.FORMATS`.
        limit: What the largest number of the format stands for, > 0: a number, or a tensor that broadcasts. None: the largest magnitude
            that arrives, at every call anew.
        axis: Where ``limit`` is None: one for each place along this axis.
        block: Likewise: one for so many neighbours, counted through all axes but the first.
        shifts: Where there is an axis: limits are powers of two of one another, in so many groups (:func:`shift_limits`).
        learned: Whether training moves the limit (learned step size quantization); it then needs a number or a tensor.
        rounding: See :func:`neurosim.quantizers.round_to`.
        grad: Straight-through rule of a limit that is not learned: ``ste_masked``, ``ste`` or ``through``.
        offset: What is subtracted before and added after, so that ranges that are not symmetric about 0 become so; it broadcasts. A
            layer behind takes the addition into its bias: b + W·offset.
        seed: Of the draws of ``stochastic``.
        name: Of their stream; two quantisers of one seed need two names.

    Shapes:
        x any; result the same.

    Raises:
        ConfigError: A value is out of its domain, or two do not go together.

    >>> Quantizer("int3", limit=3.0)(torch.tensor([0.4, 1.6, 9.0]))
    tensor([0., 2., 3.])
    """

    limit: Tensor | None
    offset: Tensor | None

    def __init__(
        self,
        form: str | Format,
        limit: float | Tensor | None = None,
        *,
        axis: int | None = None,
        block: int | None = None,
        shifts: int | None = None,
        learned: bool = False,
        rounding: Rounding = "half_even",
        grad: Grad = "ste_masked",
        offset: Tensor | None = None,
        seed: int = 0,
        name: str = "quantizer",
    ) -> None:
        super().__init__()
        self.form = number_format(form)
        self.shown = form if isinstance(form, str) else str(form)
        self.rounding: Rounding = one_of("Quantizer.rounding", rounding, ROUNDINGS)
        self.grad: Grad = "lsq" if learned else one_of("Quantizer.grad", grad, [one for one in GRADS if one != "lsq"])
        if limit is not None and not (axis is block is shifts is None):
            raise ConfigError("Quantizer: axis, block and shifts are of limits that follow the signal: leave them out where limit is given")
        if shifts is not None and axis is None:
            raise ConfigError(f"Quantizer.shifts: {shifts} groups are of channels, along an axis: axis must be given")
        if limit is None and learned:
            raise ConfigError("Quantizer.learned: a limit that is learned must be given, to start from")
        self.axis = None if axis is None else whole("Quantizer.axis", axis, -_AXES, _AXES - 1)
        self.block = None if block is None else whole("Quantizer.block", block, 1)
        self.shifts = None if shifts is None else whole("Quantizer.shifts", shifts, 1)
        if limit is not None and not isinstance(limit, Tensor):
            number("Quantizer.limit", limit)
        if offset is not None and not isinstance(offset, Tensor):
            raise ConfigError(f"Quantizer.offset: must be a tensor, got {offset!r:.60}")
        start = None if limit is None else torch.as_tensor(limit, dtype=None if isinstance(limit, Tensor) else torch.get_default_dtype())
        if start is not None and not (start.is_floating_point() and bool((start.isfinite() & (start > 0)).all())):
            raise ConfigError(f"Quantizer.limit: must be > 0 and finite, got {limit}")
        if learned and start is not None:
            self.limit = nn.Parameter(start.detach().clone())
        else:
            self.register_buffer("limit", None if start is None else start.detach().clone())
        self.register_buffer("offset", None if offset is None else offset.detach().clone())
        self.clock = Clock(seed, name) if rounding == "stochastic" else None

    def forward(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        """The signal in the format; with a stream that rounds stochastically instead of the module's own."""
        signal = x if self.offset is None else x - self.offset
        if not signal.numel():
            return x
        limit = self.limits(signal) if self.limit is None else self.limit.abs()
        source = stream_of(self.clock, stream)
        y = in_format(signal, self.form, limit, rounding=self.rounding, grad=self.grad, stream=source)
        return y if self.offset is None else y + self.offset

    def limits(self, x: Tensor) -> Tensor:
        """The limits that follow a signal."""
        found = channel_limits(x, self.axis, self.block)
        return found if self.shifts is None else shift_limits(found, self.shifts)

    def extra_repr(self) -> str:
        """For ``print``."""
        given = {"axis": self.axis, "block": self.block, "shifts": self.shifts}
        parts = [self.shown, *(f"{name}={value}" for name, value in given.items() if value is not None)]
        if self.limit is not None:
            parts.append(f"limit={float(self.limit.detach()):.4g}" if self.limit.numel() == 1 else f"limit={tuple(self.limit.shape)}")
        parts += [f"rounding={self.rounding}"] * (self.rounding != "half_even") + [f"grad={self.grad}"] * (self.grad != "ste_masked")
        return ", ".join(parts + ["with offset"] * (self.offset is not None))


class _Backwards(torch.autograd.Function):
    """The signal itself; its gradient goes through a function."""

    @staticmethod
    def forward(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        ctx.function = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        with torch.no_grad():
            return ctx.function(grad), None


class GradientQuantizer(nn.Module):
    """The signal unchanged, its gradient in a number format, rounded stochastically: what the layer in front computes with backwards.

    Behind a layer whose weights and inputs are quantised, both products of its backward pass, with the weights and with the inputs, are
    products of numbers of a format too: training in integers.

    Args:
        form: The format, or its name.
        axis: One range for each place along this axis; None is one for all.
        shifts: Ranges are powers of two of one another, in so many groups.
        rounding: ``stochastic`` keeps the mean of the gradient exact.
        seed: Of the draws.
        name: Of their stream.

    Shapes:
        x any; result the same.

    Source:
        W. Guo et al., "Towards accurate and efficient sub-8-bit integer training", arXiv 2411.10948 (2024), for groups of ranges that are
        powers of two of one another; the parameters of their program were not found.
    """

    def __init__(
        self,
        form: str | Format,
        *,
        axis: int | None = None,
        shifts: int | None = None,
        rounding: Rounding = "stochastic",
        seed: int = 0,
        name: str = "gradient",
    ) -> None:
        super().__init__()
        self.rounds = Quantizer(form, axis=axis, shifts=shifts, rounding=rounding, seed=seed, name=name)

    def forward(self, x: Tensor) -> Tensor:
        """The signal."""
        clock = self.rounds.clock
        source = clock() if clock is not None else None  # here and not in the backward pass, so that the draw is that of the forward
        apply: Any = _Backwards.apply
        result: Tensor = apply(x, partial(self.rounds, stream=source))
        return result
