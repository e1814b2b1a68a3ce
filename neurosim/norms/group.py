"""Norms of every sample over space: of groups of channels, of single ones, of half of them, and of channels against each other."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.norms.base import Affine, Cost, Norm, Operations, Stats
from neurosim.norms.batch import BatchNorm
from neurosim.norms.channels import ChannelNorm, MeasuredNorm
from neurosim.norms.registry import register


def group_count(where: str, features: int, groups: int | None) -> int:
    """How many groups: what is given, or the most, up to 32, that have equal numbers of channels and at least 8.

    Raises:
        ConfigError: It does not divide the channels.

    >>> [group_count("", features, None) for features in (6, 16, 64, 512)]
    [1, 2, 8, 32]
    """
    if groups is None:
        return max(count for count in range(1, 33) if features % count == 0 and (count == 1 or features // count >= 8))
    if features % whole(f"{where}.groups", groups, 1):
        raise ConfigError(f"{where}.groups: must divide the {features} channels, got {groups}")
    return groups


class SpaceNorm(ChannelNorm):
    """Base of the norms over space.

    Args:
        features: Channels.
        eps: ε, > 0.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels.
    """

    stats: ClassVar[Stats] = "sample"

    def __init__(self, features: int, eps: float, affine: bool, channel_dim: int) -> None:
        affine = self._flag("affine", affine)
        super().__init__(features, channel_dim, scale=affine, shift=affine)
        self.eps = self._number("eps", eps, gt=0)

    def hw_ops(self) -> Cost:
        """As a layer norm: sum and subtraction for the mean, square and sum for the spread, products with its inverse and γ."""
        affine = int(self.weight is not None)
        return Cost(Operations(3 + affine, 2 + affine), Operations(1, 2, 1, 1))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, eps={self.eps:g}"


class _Grouped(MeasuredNorm, SpaceNorm):
    """The two by mean and deviation of groups of neighbouring channels, over space."""

    measured: ClassVar[tuple[bool, ...]] = (True, True)

    groups: int

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation of the group of every channel."""
        axis = self.channel_dim
        x = x.movedim(axis, 1)
        grouped = x.reshape(len(x), self.groups, self.features[0] // self.groups, -1).flatten(2)
        mean = grouped.mean(2, keepdim=True)
        root = ((grouped - mean).square().mean(2, keepdim=True) + self.eps).sqrt()
        shape = (*x.shape[:2], *(1,) * (x.dim() - 2))
        return tuple(one.expand(-1, -1, x.shape[1] // self.groups).reshape(shape).movedim(1, axis) for one in (mean, root))

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Centred and scaled."""
        mean, root = statistics
        return (x - mean) / root

    def standardize(self, x: Tensor) -> Tensor:
        """Centred and scaled group by group."""
        self.check_values(x)
        x = x.movedim(self.channel_dim, 1)
        return functional.group_norm(x, self.groups, eps=self.eps).movedim(1, self.channel_dim)

    def check_values(self, x: Tensor) -> None:
        """Refuse groups of a single value, which is its own mean."""
        if self.features[0] // self.groups * math.prod([x.shape[axis] for axis in self._space(x)]) == 1:
            got = f"got one in shape {tuple(x.shape)}"
            raise ConfigError(f"{self._where}: x must have more than one value for every mean and spread, {got}")


@register("group", "B16", formula="y = γ (x − µ) / √(σ² + ε) + β, of a group of a sample's channels, over space", fold="F2")
class GroupNorm(_Grouped):
    r"""Group norm: every sample by the mean and variance of groups of its channels, over space.

    .. math:: y = \gamma\,(x - \mu_g) / \sqrt{\sigma_g^2 + \varepsilon} + \beta

    Args:
        features: Channels.
        groups: Of neighbouring channels; null: as many, up to 32, as leave at least 8 channels in each.
        eps: ε, > 0.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with more than one value in each group; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        Y. Wu, K. He, "Group normalization", ECCV 2018, equations 1 to 7.
    """

    def __init__(self, features: int, groups: int | None = None, eps: float = 1e-5, *, affine: bool = True, channel_dim: int = 1) -> None:
        super().__init__(features, eps, affine, channel_dim)
        self.groups = group_count(self._where, self.features[0], groups)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, groups={self.groups}"


@register("instance", "B16", formula="y = γ (x − µ) / √(σ² + ε) + β, of every channel of a sample, over space", fold="F2")
class InstanceNorm(_Grouped):
    r"""Instance norm: every channel of a sample by its mean and variance over space.

    .. math:: y = \gamma\,(x - \mu_{nc}) / \sqrt{\sigma_{nc}^2 + \varepsilon} + \beta

    After the sum of a residual block it is the norm of IBN-b.

    Args:
        features: Channels.
        eps: ε, > 0.
        affine: Whether there are γ and β.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with more than one place in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        D. Ulyanov, A. Vedaldi, V. Lempitsky, "Instance normalization", arXiv 1607.08022 (2016).
    """

    needs_space: ClassVar[bool] = True

    def __init__(self, features: int, eps: float = 1e-5, *, affine: bool = True, channel_dim: int = 1) -> None:
        super().__init__(features, eps, affine, channel_dim)
        self.groups = self.features[0]


@register(
    "ibn",
    "B16",
    formula="instance norm of the first half of the channels, batch norm of the others",
    fold="F2",
    stats="running and sample",
)
class InstanceBatchNorm(ChannelNorm):
    r"""IBN-a: instance norm of some channels, for what does not depend on appearance, and batch norm of the others.

    .. math:: y_{:k} = \mathrm{IN}(x_{:k}), \qquad y_{k:} = \mathrm{BN}(x_{k:}), \qquad k = \lfloor r C \rfloor

    Args:
        features: Channels, C.
        ratio: Share of the channels with instance norm, r, in (0, 1).
        eps: ε, > 0.
        momentum: How far a batch moves the running statistics of the batch norm, in (0, 1].
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with more than one place in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or the ratio leaves a part without channels.

    Source:
        X. Pan, P. Luo, J. Shi, X. Tang, "Two at once: enhancing learning and generalization capacities via IBN-Net", ECCV 2018.
    """

    stats: ClassVar[Stats] = "sample"
    needs_space: ClassVar[bool] = True

    def __init__(self, features: int, ratio: float = 0.5, eps: float = 1e-5, momentum: float = 0.1, *, channel_dim: int = 1) -> None:
        super().__init__(features, channel_dim, scale=False, shift=False)
        self.instances = int(self.features[0] * self._number("ratio", ratio, gt=0, lt=1))
        if not self.instances:
            raise ConfigError(f"{self._where}.ratio: must leave channels on both sides, got {ratio} of {features}")
        self.instance: Norm = InstanceNorm(self.instances, eps, channel_dim=channel_dim)
        self.batch = BatchNorm(self.features[0] - self.instances, eps, momentum, channel_dim=channel_dim)

    def standardize(self, x: Tensor) -> Tensor:
        """Both halves."""
        first, second = x.tensor_split([self.instances], self.channel_dim)
        return torch.cat([self.instance(first), self.batch(second)], self.channel_dim)

    def fold(self) -> Affine:
        """Scale and shift of both halves, where the statistics of the instance norm were frozen."""
        parts = self.instance.fold(), self.batch.fold()
        scale, shift = (torch.cat([one.double() for one in both]) for both in zip(*parts, strict=True))
        return Affine(scale, shift)

    def last_affine(self) -> Affine | None:
        """γ and β of both halves."""
        halves = self._halves()
        if any(half.weight is None for half in halves):
            return None
        return Affine(*(torch.cat([getattr(half, name).detach() for half in halves]) for name in ("weight", "bias")))

    def drop_affine(self) -> None:
        """Leave both out in both halves."""
        for half in self._halves():
            half.weight = half.bias = None
        self.batch.affine = False

    def _halves(self) -> tuple[Any, Any]:
        return getattr(self.instance, "norm", self.instance), self.batch  # what a FreezingNorm is around, if there is one

    def hw_ops(self) -> Cost:
        """That of the instance norm: its half is what is left."""
        return self.instance.hw_ops()

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, instances={self.instances}"


@register("grn", "B17", formula="y = x + γ x ‖x_c‖ / (mean_c ‖x_c‖ + ε) + β, ‖·‖ over space", fold="F2")
class GlobalResponseNorm(MeasuredNorm, SpaceNorm):
    r"""Global response norm: channels compete, each weighed by its share in the response of all.

    .. math:: y = x + \gamma\,x\,\frac{\lVert x_c \rVert_2}{\tfrac{1}{C} \sum_j \lVert x_j \rVert_2 + \varepsilon} + \beta

    The norms are over space; γ and β start at 0, so that it starts as the identity.

    Args:
        features: Channels.
        eps: ε, > 0.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        S. Woo et al., "ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders", CVPR 2023, section 3.2.
    """

    affine_last = False
    measured: ClassVar[tuple[bool, ...]] = (True,)

    def __init__(self, features: int, eps: float = 1e-6, *, channel_dim: int = 1) -> None:
        super().__init__(features, eps, True, channel_dim)
        with torch.no_grad():
            for value in self.parameters():
                value.zero_()

    def scaled(self, x: Tensor, y: Tensor) -> Tensor:
        """The input and what it has to say beside the others."""
        return x + super().scaled(x, y)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Weighed by the share of its channel."""
        return x * statistics[0]

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The share of every channel in the response."""
        space = self._space(x)
        response = x.square().sum(space, keepdim=True) if space else x.square()
        response = torch.where(response > 0, response, 1).sqrt() * (response > 0)  # no gradient of a root at 0
        return (response / (response.mean(self.channel_dim, keepdim=True) + self.eps),)

    def bounds(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf

    def hw_ops(self) -> Cost:
        """A square and its sum, the weight, γ, and two additions; a root and a division a channel."""
        return Cost(Operations(3, 3), Operations(2, 1, 1, 1))
