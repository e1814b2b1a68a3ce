"""Online normalization: statistics that follow sample after sample, also of batches of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from neurosim.checks import one_of
from neurosim.norms.base import Affine, Cost, Operations, Stats
from neurosim.norms.calibrated import CalibratedNorm
from neurosim.norms.gradients import with_backward
from neurosim.norms.layer import rms
from neurosim.norms.moments import ChannelMoments
from neurosim.norms.registry import register

Guard = Literal["clamp", "scale", "none"]


@register("online", "B4", formula="y = clamp(γ (x − µ) / √(v + ε) + β, ±5), µ and v of training", fold="F0")
class OnlineNorm(CalibratedNorm):
    r"""Online normalization: every sample by the statistics of those before it.

    .. math:: y = \mathrm{guard}\Bigl(\gamma\,\frac{x - \mu}{\sqrt{v + \varepsilon}} + \beta\Bigr), \qquad
        v \leftarrow a v + (1 - a)\,\mathrm{var}\,x + a (1 - a)(\bar x - \mu)^2, \quad \mu \leftarrow a \mu + (1 - a)\,\bar x

    with mean and variance of a sample over space (without space, x and 0). The backward pass is a control process, again sample by sample,
    with the states V and U; g is the gradient that reaches the normalised values z:

    .. math:: \tilde g = g - (1 - b) V z, \quad V \leftarrow V + \overline{\tilde g z}, \qquad
        \partial x = \tilde g / \sqrt{v + \varepsilon} - (1 - b) U, \quad U \leftarrow U + \overline{\partial x}

    Args:
        features: Channels.
        eps: ε, > 0.
        decay: a, in (0, 1).
        backward_decay: b, in (0, 1).
        guard: Against statistics that have not caught up, after γ and β: ``clamp`` to ±``limit``, which stays where the rest is folded;
            ``scale``, division of a sample by its root mean square, which cannot be folded; ``none``.
        limit: Of the clamp, > 0.
        channel_dim: Axis of the channels: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says, samples in their order; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        V. Chiley et al., "Online normalization for training neural networks", NeurIPS 2019, equations 8 to 12, and the authors' code, which
        adds ε below the root, and the clamp.

    >>> norm = OnlineNorm(2)
    >>> norm(torch.zeros(1, 2)).shape
    torch.Size([1, 2])
    """

    stats: ClassVar[Stats] = "running"
    affine_last = False

    running_mean: Tensor
    running_var: Tensor
    control_mean: Tensor
    control_var: Tensor

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        *,
        decay: float = 0.999,
        backward_decay: float = 0.99,
        guard: Guard = "clamp",
        limit: float = 5.0,
        channel_dim: int = 1,
    ) -> None:
        super().__init__(features, channel_dim)
        self.eps = self._number("eps", eps, gt=0)
        self.decay = self._number("decay", decay, gt=0, lt=1)
        self.backward_decay = self._number("backward_decay", backward_decay, gt=0, lt=1)
        self.guard: Guard = one_of(f"{self._where}.guard", guard, get_args(Guard))
        self.limit = self._number("limit", limit, gt=0)
        for name in ("running_mean", "control_mean", "control_var"):
            self.register_buffer(name, torch.zeros(self.features))
        self.register_buffer("running_var", torch.ones(self.features))

    def standardize(self, x: Tensor) -> Tensor:
        """By the statistics before each sample; in evaluation by the last ones."""
        if not self.training:
            return (x - self._spread(self.running_mean, x)) / self._spread((self.running_var + self.eps).sqrt(), x)
        self._refuse_empty(x)
        space = self._space(x)
        with torch.no_grad():
            mean, root = self._follow(x, space)
            shape = [1 if axis in space else x.shape[axis] for axis in range(x.dim())]
            root = root.reshape(shape)
            z = (x - mean.reshape(shape)) / root

        def backward(grad: Tensor) -> Tensor:
            v, u = self._control(grad, z, root, space)
            return (grad - v.reshape(shape) * z) / root - u.reshape(shape)

        return with_backward(x, z, backward)

    def finish(self, y: Tensor) -> Tensor:
        """What guards against statistics that have not caught up."""
        if self.guard == "clamp":
            return y.clamp(-self.limit, self.limit)
        return y / rms(y, range(1, y.dim()), self.eps) if self.guard == "scale" else y

    def set_statistics(self, seen: Sequence[ChannelMoments]) -> None:
        """Mean and biased variance."""
        self.running_mean.copy_(seen[0].mean)
        self.running_var.copy_(seen[0].squares / seen[0].n)

    def fold(self) -> Affine:
        """Scale γ/√(v + ε) and shift β − μ·scale, before the clamp."""
        if self.guard == "scale":
            self._refuse("it divides every sample by its own root mean square; guard='clamp' or 'none' does not")
        return self._folded(1 / (self.running_var.double() + self.eps).sqrt(), self.running_mean)

    def rest(self) -> nn.Module:
        """The clamp."""
        return nn.Hardtanh(-self.limit, self.limit) if self.guard == "clamp" else nn.Identity()

    def bounds(self) -> tuple[float, float]:
        """Those of the clamp."""
        limit = self.limit if self.guard == "clamp" else math.inf
        return -limit, limit

    def hw_ops(self) -> Cost:
        """A subtraction, a product, an addition; two comparisons for the clamp, an RMS norm for the scale."""
        clamp, scale = self.guard == "clamp", int(self.guard == "scale")
        return Cost(Operations(2 + 2 * clamp + scale, 1 + 2 * scale), Operations(scale, scale, scale, scale))

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{super().extra_repr()}, eps={self.eps:g}, guard={self.guard!r}"

    def _follow(self, x: Tensor, space: list[int]) -> tuple[Tensor, Tensor]:
        """Mean and root of the variance before every sample, ``(batch, C)``; the running values move on."""
        own_mean = x.mean(space) if space else x
        own_var = x.var(space, correction=0) if space else torch.zeros_like(x)
        mean, var = self.running_mean, self.running_var
        means, variances = [], []
        for one, spread in zip(own_mean.unbind(0), own_var.unbind(0), strict=True):
            means.append(mean)
            variances.append(var)
            var = self.decay * var + (1 - self.decay) * spread + self.decay * (1 - self.decay) * (one - mean) ** 2
            mean = mean + (1 - self.decay) * (one - mean)
        stacked = torch.stack(means), (torch.stack(variances) + self.eps).sqrt()
        self.running_mean.copy_(mean)
        self.running_var.copy_(var)
        return stacked

    def _control(self, grad: Tensor, z: Tensor, root: Tensor, space: list[int]) -> tuple[Tensor, Tensor]:
        """(1 − b) V and (1 − b) U of every sample, ``(batch, C)``; only the means over space enter them."""
        keep = 1 - self.backward_decay
        of_samples = (grad * z, z * z, grad, z)
        means = [value.mean(space) if space else value for value in of_samples]
        roots = root.flatten(1)
        v, u = self.control_var, self.control_mean
        vs, us = [], []
        for gz, zz, g, mean, one in zip(*(value.unbind(0) for value in (*means, roots)), strict=True):
            vs.append(keep * v)
            us.append(keep * u)
            reached = (g - vs[-1] * mean) / one - us[-1]
            v = v + gz - vs[-1] * zz
            u = u + reached
        self.control_var.copy_(v)
        self.control_mean.copy_(u)
        return torch.stack(vs), torch.stack(us)
