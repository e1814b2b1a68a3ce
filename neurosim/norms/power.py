"""PowerNorm: the running mean square of every channel, and an approximate gradient."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.norms.base import Affine, Cost, Operations
from neurosim.norms.channels import MeasuredNorm
from neurosim.norms.gradients import with_backward
from neurosim.norms.moments import ChannelMoments, moments
from neurosim.norms.registry import register
from neurosim.norms.running import RunningNorm


@register(
    "power",
    "B5",
    formula="y = γ u / √(ψ² + ε) + β, ψ² of training, u = x / √(mean x² + ε) over a sample's channels",
    fold="F2",
    stats="running and sample",
)
class PowerNorm(MeasuredNorm, RunningNorm):
    r"""PowerNorm: channels by their running mean square, after every sample was scaled by its own.

    .. math:: y = \gamma\,u / \sqrt{\psi^2 + \varepsilon} + \beta, \qquad u = x / \sqrt{\mathrm{mean}_{C/G}\,x^2 + \varepsilon}

    Training takes ψ² from the batch until ``warmup`` batches were seen, then the running value of before the batch, which each batch moves:
    :math:`\psi^2 \leftarrow a \psi^2 + (1 - a)\,\mathrm{mean}\,u^2`, and during warm-up it is the mean of all before that. Backward, with
    z the normalised values, g the gradient that reaches them and ν a state:

    .. math:: \tilde g = g - (1 - b)\,\nu z, \qquad \nu \leftarrow \nu + \mathrm{mean}(\tilde g z), \qquad
        \partial u = \tilde g / \sqrt{\mathrm{mean}\,u^2 + \varepsilon}

    The paper has no scaling of samples; the authors' code does it with every setting, and it is done here unless ``groups`` is 0. A norm
    with it takes statistics of every sample and cannot be folded. As in the code, the gradient is divided by the mean square of the batch,
    also where the running one was divided by.

    Args:
        features: Channels.
        groups: G, of channels that are scaled together in each sample; 0: no scaling, as in the paper.
        eps: ε, > 0.
        decay: a, in (0, 1).
        backward_decay: b, in (0, 1).
        warmup: Batches before the running value is used in training.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        S. Shen, Z. Yao, A. Gholami, M. W. Mahoney, K. Keutzer, "PowerNorm: rethinking batch normalization in transformers", ICML 2020,
        algorithms 2 and 3, and the authors' code.
    """

    def __init__(
        self,
        features: int,
        groups: int = 1,
        eps: float = 1e-5,
        *,
        decay: float = 0.9,
        backward_decay: float = 0.9,
        warmup: int = 10_000,
        channel_dim: int = 1,
    ) -> None:
        super().__init__(features, eps, warmup, channel_dim)
        self.groups = whole(f"{self._where}.groups", groups, 0)
        if self.groups and self.features[0] % self.groups:
            raise ConfigError(f"{self._where}.groups: must divide the {self.features[0]} channels, got {groups}")
        self.decay = self._number("decay", decay, gt=0, lt=1)
        self.backward_decay = self._number("backward_decay", backward_decay, gt=0, lt=1)

    measured: ClassVar[tuple[bool, ...]] = (True,)

    @property
    def measures(self) -> bool:
        """Not without groups."""
        return bool(self.groups)

    def standardize(self, x: Tensor) -> Tensor:
        """By the running mean square, after samples were scaled if that is done."""
        return super().standardize(x) if self.measures else self._by_running(x)

    def measure(self, x: Tensor) -> tuple[Tensor, ...]:
        """The root mean square of the group of every channel; 1 without groups."""
        if not self.groups:
            return (x.new_ones([size if axis in self._axes(x) else 1 for axis, size in enumerate(x.shape)]),)
        axis = self._axes(x)[0]
        size = self.features[0] // self.groups
        grouped = x.reshape(*x.shape[:axis], self.groups, size, *x.shape[axis + 1 :])
        root = (grouped.square().mean(axis + 1, keepdim=True) + self.eps).sqrt()
        return (root.expand(*[-1] * (axis + 1), size, *[-1] * (x.dim() - axis - 1)).flatten(axis, axis + 1),)

    def standardize_by(self, x: Tensor, *statistics: Tensor) -> Tensor:
        """Scaled, and then by the running mean square, in the first batches of training by that of the batch."""
        return self._by_running(x / statistics[0])

    def _by_running(self, u: Tensor) -> Tensor:
        if not self.training:
            return self._evaluate(u)
        self._refuse_empty(u)
        over = self._beside(u)
        with torch.no_grad():
            self.batches.add_(1)
            square, running, n = u.square().mean(over), self.running_square, self.batches
            used = torch.where(n <= self.warmup, square, running)
            mean = torch.where(n < self.warmup, running + (square - running) / n, running)
            running.copy_(self.decay * mean + (1 - self.decay) * square)
            z = u / self._spread((used + self.eps).sqrt(), u)
            of_batch = self._spread((square + self.eps).sqrt(), u)

        def backward(grad: Tensor) -> Tensor:
            grad = grad - (1 - self.backward_decay) * self._spread(self.following, grad) * z
            self.following.add_((grad * z).mean(over))
            return grad / of_batch

        return with_backward(u, z, backward)

    def moments_of(self, x: Tensor, *, own: bool) -> list[ChannelMoments]:
        """Moments of the scaled samples."""
        self._check(x)
        wide = x.detach().double()
        return [moments(wide / self.measure(wide)[0], self._axes(x))]

    def fold(self) -> Affine:
        """Scale γ/√(ψ² + ε) and shift β, if samples are not scaled."""
        if self.groups:
            self._refuse("it scales every sample by its own mean square first, as the authors' code does; groups=0 leaves that out")
        return super().fold()

    def hw_ops(self) -> Cost:
        """One multiplication and one addition; the scaling of samples a square, its sum, a product with the inverse of the root."""
        scaled = bool(self.groups)
        return Cost(Operations(1 + scaled, 1 + 2 * scaled), Operations(*[int(scaled)] * 4))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, groups={self.groups}"
