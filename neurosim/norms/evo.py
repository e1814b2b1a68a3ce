"""EvoNorms: norm and activation in one, as a search over their common formulas found them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Final, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurosim.checks import one_of
from neurosim.norms.base import Cost, Operations
from neurosim.norms.calibrated import CalibratedNorm
from neurosim.norms.group import SpaceNorm, group_count
from neurosim.norms.layer import rms
from neurosim.norms.moments import ChannelMoments
from neurosim.norms.registry import register


def deviation(x: Tensor, axes: list[int], eps: float) -> Tensor:
    """``√(σ² + ε)`` over those axes, biased; they stay with length 1."""
    return ((x - x.mean(axes, keepdim=True)).square().mean(axes, keepdim=True) + eps).sqrt()


_batch = partial(register, fold="F2", stats="running and sample")


class BatchEvoNorm(CalibratedNorm, SpaceNorm):
    """Base of the B series: the larger of the batch's deviation, running in evaluation, and a bound of the sample's own.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running variance, in (0, 1].
        channel_dim: Axis of the channels.
    """

    needs_space: ClassVar[bool] = True

    running_var: Tensor

    def __init__(self, features: int, eps: float, momentum: float, channel_dim: int) -> None:
        super().__init__(features, eps, True, channel_dim)
        self.momentum = self._share("momentum", momentum)
        self.register_buffer("running_var", torch.ones(self.features))

    @abstractmethod
    def own_bound(self, x: Tensor, space: list[int]) -> Tensor:
        """What the divisor is at least, of the sample itself."""

    def standardize(self, x: Tensor) -> Tensor:
        """Divided by the larger of the two."""
        var = self.running_var
        if self.training:
            over = self._over(x)
            var = x.var(over, correction=0)
            count = x.numel() / var.numel()
            with torch.no_grad():
                self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        return x / torch.maximum(self._spread((var + self.eps).sqrt(), x), self.own_bound(x, self._space(x)))

    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """The variance, unbiased."""
        self.running_var.copy_(seen[0].variance)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, momentum={self.momentum:g}"


@_batch("evonorm_b0", "B21", formula="y = γ x / max(√(σ² + ε), v x + √(σ_hw² + ε)) + β, σ² of training")
class EvoNormB0(BatchEvoNorm):
    r"""EvoNorm-B0.

    .. math:: y = \gamma\,\frac{x}{\max(\sqrt{\sigma_{nhw}^2 + \varepsilon},\ v x + \sqrt{\sigma_{hw}^2 + \varepsilon})} + \beta

    It is norm and activation: for large positive x it saturates at 1/v. Training takes σ² from the batch.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running variance, in (0, 1].
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with places in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic in training would be of a single value.

    Source:
        H. Liu, A. Brock, K. Simonyan, Q. V. Le, "Evolving normalization-activation layers", NeurIPS 2020, table 2; ε as in timm.
    """

    def __init__(self, features: int, eps: float = 1e-3, momentum: float = 0.1, *, channel_dim: int = 1) -> None:
        super().__init__(features, eps, momentum, channel_dim)
        self.v = nn.Parameter(torch.ones(self.features))

    def own_bound(self, x: Tensor, space: list[int]) -> Tensor:
        """``v x + √(σ_hw² + ε)``."""
        return x * self._spread(self.v, x) + deviation(x, space, self.eps)

    def hw_ops(self) -> Cost:
        """Mean and spread over space, the bound, a comparison, a division, γ and β."""
        return Cost(Operations(6, 3, 1), Operations(1, 2, 0, 1))


@_batch("evonorm_b1", "B21", formula="y = γ x / max(√(σ² + ε), (x + 1) √(mean_hw x² + ε)) + β, σ² of training")
class EvoNormB1(BatchEvoNorm):
    r"""EvoNorm-B1.

    .. math:: y = \gamma\,\frac{x}{\max(\sqrt{\sigma_{nhw}^2 + \varepsilon},\ (x + 1) \sqrt{\mathrm{mean}_{hw}\,x^2 + \varepsilon})} + \beta

    It is norm and activation. Training takes σ² from the batch.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running variance, in (0, 1].
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with places in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic in training would be of a single value.

    Source:
        H. Liu, A. Brock, K. Simonyan, Q. V. Le, "Evolving normalization-activation layers", NeurIPS 2020, appendix.
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float = 0.1, *, channel_dim: int = 1) -> None:
        super().__init__(features, eps, momentum, channel_dim)

    def own_bound(self, x: Tensor, space: list[int]) -> Tensor:
        """``(x + 1) √(mean_hw x² + ε)``."""
        return (x + 1) * rms(x, space, self.eps)

    def hw_ops(self) -> Cost:
        """Root mean square over space, the bound, a comparison, a division, γ and β."""
        return Cost(Operations(4, 3, 1), Operations(1, 1, 0, 1))


@_batch("evonorm_b2", "B21", formula="y = γ x / max(√(σ² + ε), √(mean_hw x² + ε) − x) + β, σ² of training")
class EvoNormB2(EvoNormB1):
    r"""EvoNorm-B2.

    .. math:: y = \gamma\,\frac{x}{\max(\sqrt{\sigma_{nhw}^2 + \varepsilon},\ \sqrt{\mathrm{mean}_{hw}\,x^2 + \varepsilon} - x)} + \beta

    It is norm and activation. Training takes σ² from the batch.

    Args:
        features: Channels.
        eps: ε, > 0.
        momentum: How far a batch moves the running variance, in (0, 1].
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, with places in space; result the same.

    Raises:
        ConfigError: An argument or an input is not as above, or a statistic in training would be of a single value.

    Source:
        H. Liu, A. Brock, K. Simonyan, Q. V. Le, "Evolving normalization-activation layers", NeurIPS 2020, appendix.
    """

    def own_bound(self, x: Tensor, space: list[int]) -> Tensor:
        """``√(mean_hw x² + ε) − x``."""
        return rms(x, space, self.eps) - x

    def hw_ops(self) -> Cost:
        """As B1, with a subtraction for the product."""
        return Cost(Operations(4, 2, 1), Operations(1, 1, 0, 1))


_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "silu": lambda x: functional.silu(x),
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "gelu": lambda x: functional.gelu(x),
}
EvoActivation = Literal["silu", "sigmoid", "relu", "gelu"]


class SampleEvoNorm(SpaceNorm):
    """Base of the S series: an activation, divided by the deviation of a group of channels.

    Args:
        features: Channels.
        groups: Of neighbouring channels; null: as many, up to 32, as leave at least 8 channels in each.
        eps: ε, > 0.
        channel_dim: Axis of the channels.
    """

    def __init__(self, features: int, groups: int | None, eps: float, channel_dim: int) -> None:
        super().__init__(features, eps, True, channel_dim)
        self.groups = group_count(self._where, self.features[0], groups)

    @abstractmethod
    def activate(self, x: Tensor) -> Tensor:
        """The numerator."""

    def standardize(self, x: Tensor) -> Tensor:
        """The activation, divided by the deviation of its group's input."""
        axis = self._axes(x)[0]
        shape = (*x.shape[:axis], self.groups, self.features[0] // self.groups, *x.shape[axis + 1 :])
        spread = deviation(x.reshape(shape), [at for at in range(1, len(shape)) if at != axis], self.eps)
        return (self.activate(x).reshape(shape) / spread).reshape(x.shape)

    def hw_ops(self) -> Cost:
        """Mean and spread over the group, the curve, the products with it, the inverse and γ, and β."""
        return Cost(Operations(4, 5, 0, 0, 1), Operations(1, 2, 1, 1))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, groups={self.groups}"


@register("evonorm_s0", "B21", formula="y = γ x σ(v x) / √(σ_g² + ε) + β, σ_g² of a group of a sample's channels", fold="F2")
class EvoNormS0(SampleEvoNorm):
    r"""EvoNorm-S0.

    .. math:: y = \gamma\,\frac{x\,\mathrm{sigmoid}(v x)}{\sqrt{\sigma_g^2 + \varepsilon}} + \beta

    It is norm and activation.

    Args:
        features: Channels.
        groups: Of neighbouring channels; null: as many, up to 32, as leave at least 8 channels in each.
        eps: ε, > 0.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        H. Liu, A. Brock, K. Simonyan, Q. V. Le, "Evolving normalization-activation layers", NeurIPS 2020, table 2.
    """

    def __init__(self, features: int, groups: int | None = None, eps: float = 1e-5, *, channel_dim: int = 1) -> None:
        super().__init__(features, groups, eps, channel_dim)
        self.v = nn.Parameter(torch.ones(self.features))

    def activate(self, x: Tensor) -> Tensor:
        """``x σ(v x)``."""
        return x * torch.sigmoid(x * self._spread(self.v, x))


@register("evonorm_s1", "B21", formula="y = γ a(x) / √(σ_g² + ε) + β, σ_g² of a group of a sample's channels", fold="F2")
class EvoNormS1(SampleEvoNorm):
    r"""EvoNorm-S1: any activation, divided by the deviation of a group of channels.

    .. math:: y = \gamma\,\frac{a(x)}{\sqrt{\sigma_g^2 + \varepsilon}} + \beta

    It is norm and activation.

    Args:
        features: Channels.
        groups: Of neighbouring channels; null: as many, up to 32, as leave at least 8 channels in each.
        eps: ε, > 0.
        activation: a.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        H. Liu, A. Brock, K. Simonyan, Q. V. Le, "Evolving normalization-activation layers", NeurIPS 2020, appendix; SiLU as in timm.
    """

    def __init__(
        self, features: int, groups: int | None = None, eps: float = 1e-5, activation: EvoActivation = "silu", *, channel_dim: int = 1
    ) -> None:
        super().__init__(features, groups, eps, channel_dim)
        self.activation: EvoActivation = one_of(f"{self._where}.activation", activation, get_args(EvoActivation))

    def activate(self, x: Tensor) -> Tensor:
        """``a(x)``."""
        return _ACTIVATIONS[self.activation](x)

    def hw_ops(self) -> Cost:
        """As S0 without v: of ReLU a comparison in the place of the curve, and of a sigmoid no product with it."""
        curve, product = self.activation != "relu", self.activation in ("silu", "gelu")
        return Cost(Operations(5 - curve, 3 + product, 0, 0, int(curve)), Operations(1, 2, 1, 1))
