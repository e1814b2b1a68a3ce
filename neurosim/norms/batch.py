"""Batch norm of channels, whatever the number of axes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from neurosim.checks import flag, number, whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import StaysWide
from neurosim.norms.base import Affine, Cost, Norm, Operations, Stats
from neurosim.norms.channels import channel_axis, check_type
from neurosim.norms.registry import register
from neurosim.norms.time_norm import TimeNorm


def channels_of(norm: nn.Module) -> int:
    """Axis of the channels of a batch norm, ours or torch's."""
    return norm.channel_dim if isinstance(norm, BatchNorm) else 1


def batch_affine(norm: _NormBase) -> Affine:
    """Scale and shift of a batch norm, or an instance norm that tracks, in evaluation, float64.

    Raises:
        ConversionError: It keeps no running statistics.
    """
    mean, var = norm._buffers["running_mean"], norm._buffers["running_var"]
    if mean is None or var is None:
        raise ConversionError("it takes statistics of every batch, also in evaluation")
    weight, bias = norm._parameters["weight"], norm._parameters["bias"]
    inverse = 1 / (var.double() + norm.eps).sqrt()
    scale = inverse if weight is None else inverse * weight.detach()
    return Affine(scale, -mean * scale if bias is None else bias.detach() - mean * scale)


@register("batch", "B1", formula="y = γ (x − µ) / √(σ² + ε) + β, µ and σ² of training", fold="F0")
class BatchNorm(StaysWide, _BatchNorm, Norm):
    r"""Batch norm of torch, for inputs with any number of axes, and channels on any of them.

    .. math:: y = \gamma\,(x - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta

    Its names in a ``state_dict`` are torch's. Parameters keep at least 32 bits, and inputs of 16 bits are normalised all the same.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running statistics, in (0, 1].
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic in training would be of a single value.

    Source:
        S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015, algorithms 1 and 2.

    >>> import torch
    >>> norm = BatchNorm(3)
    >>> norm(torch.rand(5, 3)).shape, norm(torch.rand(5, 3, 8, 8)).shape
    (torch.Size([5, 3]), torch.Size([5, 3, 8, 8]))
    """

    stats: ClassVar[Stats] = "running"

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, *, affine: bool = True, channel_dim: int = 1) -> None:
        where = type(self).__name__
        whole(f"{where}.features", features, 1)
        number(f"{where}.eps", eps, gt=0)
        if number(f"{where}.momentum", momentum, gt=0) > 1:
            raise ConfigError(f"{where}.momentum: must be more than 0 and at most 1, got {momentum!r}")
        super().__init__(features, eps, momentum, flag(f"{where}.affine", affine))
        self.channel_dim = channel_axis(where, channel_dim)

    @property
    def channel_axis(self) -> int:
        """Axis of the channels."""
        return self.channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """The normalised input."""
        self.check(x)
        y: Tensor = super().forward(x.movedim(self.channel_dim, 1))
        return y.movedim(1, self.channel_dim)

    def fold(self) -> Affine:
        """Scale γ/√(σ² + ε) and shift β − μ·scale, from the running statistics."""
        return batch_affine(self)

    def hw_ops(self) -> Cost:
        """One multiplication, a subtraction and an addition (of which folding the mean leaves one)."""
        return Cost(Operations(adds=1 + self.affine, multiplies=1))

    bounds = TimeNorm.bounds

    def check(self, x: object) -> None:
        """Refuse what it cannot normalise.

        Raises:
            ConfigError: It is no tensor of numbers as the norm takes them, or in training of a single value a channel.
        """
        where, axis, count = type(self).__name__, self.channel_dim, self.num_features
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise ConfigError(f"{where}: x must be a floating-point tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        if x.dim() < max(2, axis + 1, 1 - axis) or x.shape[axis] != count:
            raise ConfigError(f"{where}: x must be (batch, *) with {count} channels on axis {axis}, got shape {tuple(x.shape)}")
        check_type(where, x, [self.get_buffer("running_mean")])
        if self.training and x.numel() // count < 2:
            raise ConfigError(
                f"{where}: statistics in training need more than one value each, got {x.numel() // count} in shape {tuple(x.shape)}; "
                "give larger batches, or call eval()"
            )

    def _check_input_dim(self, input: Tensor) -> None:
        """Torch asks for it; :meth:`check` was there before."""

    def extra_repr(self) -> str:
        """For ``print``."""
        axis = "" if self.channel_dim == 1 else f", channel_dim={self.channel_dim}"
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum:g}{'' if self.affine else ', affine=False'}{axis}"
