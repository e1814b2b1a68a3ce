"""Norms of every sample by its own mean and spread: layer norm, its halves, RMS norm and its compressed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from neurosim.norms.base import Cost, Operations, Stats
from neurosim.norms.channels import MeasuredNorm
from neurosim.norms.registry import register


def center(x: Tensor, axes: Sequence[int]) -> Tensor:
    """``x`` minus its mean over those axes: the projection I − 11ᵀ/d."""
    return x - x.mean(list(axes), keepdim=True)


def rms(x: Tensor, axes: Sequence[int], eps: float) -> Tensor:
    """``√(mean x² + ε)`` over those axes, which stay with length 1."""
    return (x.square().mean(list(axes), keepdim=True) + eps).sqrt()


class SampleNorm(MeasuredNorm):
    """Base of the norms that take their statistics from the features of a sample, at every place of it by itself.

    Args:
        features: Channels; or the shape of the last axes.
        eps: ε, > 0.
        channel_dim: Axis of the channels, where ``features`` is a number.
        scale, shift: Whether there is a γ and a β.
    """

    stats: ClassVar[Stats] = "sample"
    whole_units: ClassVar[bool] = True
    center: bool = False  #: whether the mean is taken away

    def __init__(self, features: int | Sequence[int], eps: float, channel_dim: int = 1, *, scale: bool = True, shift: bool = True) -> None:
        super().__init__(features, channel_dim, scale=scale, shift=shift)
        self.eps = self._number("eps", eps, gt=0)

    @property
    def centers(self) -> bool:
        """Whether the mean is taken away."""
        return self.center

    def prepare(self, x: Tensor) -> Tensor:
        """Centred, if it does that."""
        return center(x, self._axes(x)) if self.center else x

    def extra_repr(self) -> str:
        """For ``print``."""
        center = "" if self.center == type(self).center else f", center={self.center}"
        return f"{super().extra_repr()}, eps={self.eps:g}{center}"


@register("layer", "B9", "B11", formula="y = γ (x − µ) / √(σ² + ε) + β, µ and σ² of a sample's channels", fold="F2")
class LayerNorm(SampleNorm):
    r"""Layer norm: every sample, and every place of it, by the mean and variance of its features.

    .. math:: y = \gamma\,\frac{P x}{\sqrt{\lVert P x \rVert^2 / d + \varepsilon}} + \beta, \qquad P = I - \frac{1}{d} 1 1^\mathsf{T}

    Its two halves, projection and scaling, can each be left out: without centring it is an RMS norm with a shift.

    Args:
        features: Channels, d; or the shape of the last axes, as torch's ``normalized_shape``.
        eps: ε, > 0.
        center: Whether the mean is taken away.
        scale: Whether the spread is divided by.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", arXiv 1607.06450 (2016), equation 4; its halves: S. Brody, U. Alon,
        E. Yahav, "On the expressivity role of LayerNorm in transformers' attention", Findings of ACL 2023, section 3.

    >>> import torch
    >>> LayerNorm(4)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).detach().round(decimals=3)
    tensor([[-1.3420, -0.4470,  0.4470,  1.3420]])
    """

    center = True

    def __init__(
        self,
        features: int | Sequence[int],
        eps: float = 1e-5,
        *,
        center: bool = True,
        scale: bool = True,
        affine: bool = True,
        channel_dim: int = 1,
    ) -> None:
        affine = self._flag("affine", affine)
        super().__init__(features, eps, channel_dim, scale=affine, shift=affine)
        self.center, self.scale = self._flag("center", center), self._flag("scale", scale)

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The spread; 1 if it is not divided by."""
        return (rms(x, self._axes(x), self.eps) if self.scale else x.new_ones(()).expand([1] * x.dim()),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by the spread."""
        return x / statistics[0] if self.scale else x

    def standard_bounds(self) -> tuple[float, float]:
        """±√(d − 1), which one feature reaches that stands out from equal ones; without centring ±√d."""
        largest = math.sqrt(math.prod(self.features) - self.center) if self.scale else math.inf
        return -largest, largest

    def hw_ops(self) -> Cost:
        """Sum and subtraction for the mean, square and sum for the spread, and the products with its inverse and γ."""
        affine = int(self.weight is not None)
        each = Operations(2 * self.center + self.scale + affine, 2 * self.scale + affine)
        return Cost(each, Operations(int(self.scale), self.center + self.scale, int(self.scale), int(self.scale)))

    def extra_repr(self) -> str:
        """For ``print``."""
        return super().extra_repr() + ("" if self.scale else ", scale=False")


@register("rms", "B10", formula="y = γ x / √(mean x² + ε), the mean over a sample's channels", fold="F2")
class RMSNorm(SampleNorm):
    r"""RMS norm: every sample by the root of the mean square of its features.

    .. math:: y = \gamma\,x / \sqrt{\lVert x \rVert^2 / d + \varepsilon}

    Of features whose mean is 0 it is the layer norm without shift.

    Args:
        features: Channels, d; or the shape of the last axes.
        eps: ε, > 0.
        affine: Whether there is a γ.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019, equation 4; the equality with layer norm: Z. Jiang, J.
        Gu, H. Zhu, D. Z. Pan, "Pre-RMSNorm and Pre-CRMSNorm transformers", NeurIPS 2023.

    >>> import torch
    >>> RMSNorm(2)(torch.tensor([[3.0, 4.0]])).detach().round(decimals=3)
    tensor([[0.8490, 1.1310]])
    """

    def __init__(self, features: int | Sequence[int], eps: float = 1e-5, *, affine: bool = True, channel_dim: int = 1) -> None:
        super().__init__(features, eps, channel_dim, scale=self._flag("affine", affine), shift=False)

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The root mean square."""
        return (rms(x, self._axes(x), self.eps),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standard_bounds(self) -> tuple[float, float]:
        """±√d, which a single feature reaches that is not 0."""
        largest = math.sqrt(math.prod(self.features))
        return -largest, largest

    def hw_ops(self) -> Cost:
        """A square, its sum, and the products with the inverse of the root and with γ."""
        return Cost(Operations(1, 2 + (self.weight is not None)), Operations(1, 1, 1, 1))


@register("crms", "B10", formula="y = γ x / √((Σx² + (Σx)²) / d + ε), of d − 1 stored channels", fold="F2")
class CompressedRMSNorm(SampleNorm):
    r"""RMS norm of features whose mean is 0 and whose last one is not stored, for it is minus the sum of the others.

    .. math:: y = \gamma\,x / \sqrt{(\textstyle\sum x^2 + (\sum x)^2) / d + \varepsilon}, \qquad d = C + 1

    Args:
        features: Stored channels, C = d − 1.
        eps: ε, > 0.
        affine: Whether there is a γ.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        Z. Jiang, J. Gu, H. Zhu, D. Z. Pan, "Pre-RMSNorm and Pre-CRMSNorm transformers: equivalent and efficient Pre-LN transformers",
        NeurIPS 2023, section 3.
    """

    def __init__(self, features: int, eps: float = 1e-5, *, affine: bool = True, channel_dim: int = 1) -> None:
        super().__init__(features, eps, channel_dim, scale=self._flag("affine", affine), shift=False)

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The root mean square of all d features."""
        axes = self._axes(x)
        squares = x.square().sum(axes, keepdim=True) + x.sum(axes, keepdim=True).square()
        return ((squares / (self.features[0] + 1) + self.eps).sqrt(),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Divided by it."""
        return x / statistics[0]

    def standard_bounds(self) -> tuple[float, float]:
        """±√(d − 1), for the stored features are those of a zero-mean vector."""
        largest = math.sqrt(self.features[0])
        return -largest, largest

    def hw_ops(self) -> Cost:
        """An RMS norm with one sum, one square and one addition more."""
        return Cost(Operations(2, 2 + (self.weight is not None)), Operations(2, 2, 1, 1))
