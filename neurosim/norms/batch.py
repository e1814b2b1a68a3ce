"""Batch norm of channels, whatever the number of axes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from neurosim.checks import flag, number, whole
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons.parameters import StaysWide
from neurosim.norms.base import Affine, Cost, Norm, Operations, Stats
from neurosim.norms.registry import register
from neurosim.norms.time_norm import TimeNorm


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
    r"""Batch norm of torch, for inputs with any number of axes: channels are on axis 1.

    .. math:: y = \gamma\,(x - \mu) / \sqrt{\sigma^2 + \varepsilon} + \beta

    Its names in a ``state_dict`` are torch's. Parameters keep at least 32 bits, and inputs of 16 bits are normalised all the same.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running statistics, in (0, 1].
        affine: Whether there are γ and β.

    Shapes:
        x ``(batch, C, *)``; result the same.

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

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, *, affine: bool = True) -> None:
        where = type(self).__name__
        whole(f"{where}.features", features, 1)
        number(f"{where}.eps", eps, gt=0)
        if number(f"{where}.momentum", momentum, gt=0) > 1:
            raise ConfigError(f"{where}.momentum: must be more than 0 and at most 1, got {momentum!r}")
        super().__init__(features, eps, momentum, flag(f"{where}.affine", affine))

    @property
    def channel_axis(self) -> int:
        """Axis of the channels."""
        return 1

    def forward(self, x: Tensor) -> Tensor:
        """The normalised input."""
        self._check_input_dim(x)
        y: Tensor = super().forward(x)
        return y

    def fold(self) -> Affine:
        """Scale γ/√(σ² + ε) and shift β − μ·scale, from the running statistics."""
        return batch_affine(self)

    def hw_ops(self) -> Cost:
        """One multiplication, a subtraction and an addition (of which folding the mean leaves one)."""
        return Cost(Operations(adds=1 + self.affine, multiplies=1))

    bounds = TimeNorm.bounds

    def _check_input_dim(self, input: object) -> None:
        where = type(self).__name__
        if not isinstance(input, Tensor) or not input.is_floating_point():
            raise ConfigError(f"{where}: x must be a floating-point tensor, got {getattr(input, 'dtype', type(input).__name__)}")
        if input.dim() < 2 or input.shape[1] != self.num_features:
            raise ConfigError(f"{where}: x must be (batch, {self.num_features}, *), got shape {tuple(input.shape)}")
        if self.training and input.numel() // self.num_features < 2:
            raise ConfigError(
                f"{where}: statistics in training need more than one value each, got {input.numel() // self.num_features} in shape "
                f"{tuple(input.shape)}; give larger batches, or call eval()"
            )

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum:g}{'' if self.affine else ', affine=False'}"
