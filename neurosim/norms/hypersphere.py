"""Networks on the unit sphere: streams, branches and rows of weights of length 1, and what they learn instead of lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from neurosim.checks import number, whole
from neurosim.errors import ConfigError, nearest
from neurosim.neurons.parameters import state_dtype
from neurosim.norms.base import Affine, Cost, Operations, Stats, check_model
from neurosim.norms.channels import ChannelNorm
from neurosim.norms.length import unit_length
from neurosim.norms.placing import put_weights
from neurosim.norms.registry import register
from neurosim.norms.weights import least_length

Model = TypeVar("Model", bound=nn.Module)
_WEIGHTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


@register(
    "ngpt",
    "B26",
    kind="wrapper",
    formula="y = N(u + |α| (N(f(x)) − u)), u = N(x), N(x) = x / ‖x‖",
    stats="sample",
    fold="F2",
    example=lambda: HypersphereResidual(nn.Linear(16, 16), 16),
    usage="ns.norms.HypersphereResidual(branch, features) around a branch",
)
class HypersphereResidual(nn.Module):
    r"""nGPT: a residual step on the unit sphere, towards what the branch gives, by a learned rate for every channel.

    .. math:: y = N\bigl(u + |\alpha| \odot (N(f(x)) - u)\bigr), \qquad u = N(x), \quad N(x) = x / \sqrt{\lVert x \rVert^2 + \varepsilon^2}

    All values lie in [−1, 1]. α is kept as ``alpha`` times its start over ``scaling``, which sets how fast it learns. The weights are
    brought to length 1 after every step of the optimizer by :func:`unit_weights`; :class:`LearnedScale` gives the scales s of the same
    work. In the authors' code nothing is added to the lengths; ε keeps a zero vector from becoming NaN.

    Args:
        branch: f, a module that keeps the shape.
        features: Channels.
        alpha: α at the start, > 0.
        scaling: Of the parameter, > 0; null: 1/√features.
        eps: ε, > 0, a length.
        channel_dim: Axis of the channels: −1 for ``(batch, length, C)``, 1 for ``(batch, C, *)``.

    Shapes:
        x ``(batch, *, C)``, or what ``channel_dim`` says; result the same. ``alpha`` is ``(C,)``.

    Raises:
        ConfigError: An argument or an input is not as above, or the branch does not keep the shape.

    Source:
        I. Loshchilov, C.-P. Hsieh, S. Sun, B. Ginsburg, "nGPT: normalized transformer with representation learning on the hypersphere",
        ICLR 2025, and the authors' code.

    >>> HypersphereResidual(nn.Identity(), 2)(torch.tensor([[3.0, 4.0]])).detach()
    tensor([[0.6000, 0.8000]])
    """

    def __init__(
        self,
        branch: nn.Module,
        features: int,
        alpha: float = 0.05,
        *,
        scaling: float | None = None,
        eps: float = 1e-5,
        channel_dim: int = -1,
    ) -> None:
        super().__init__()
        where = "HypersphereResidual"
        if not isinstance(branch, nn.Module):
            raise ConfigError(f"{where}.branch: must be a torch.nn.Module, got {type(branch).__name__}")
        self.branch = branch
        self.features = whole(f"{where}.features", features, 1)
        start = number(f"{where}.alpha", alpha, gt=0)
        scaling = self.features**-0.5 if scaling is None else number(f"{where}.scaling", scaling, gt=0)
        self.factor = start / scaling
        self.alpha = nn.Parameter(torch.full((self.features,), scaling))
        self.eps = number(f"{where}.eps", eps, gt=0)
        self.channel_dim = whole(f"{where}.channel_dim", channel_dim, -8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """The stream, one step further, in its precision."""
        self._check(x)
        axis, given = self.channel_dim, self.branch(x)
        if given.shape != x.shape:
            raise ConfigError(f"HypersphereResidual: the branch must keep the shape {tuple(x.shape)}, got {tuple(given.shape)}")
        wide = state_dtype(x)
        here, there = (unit_length(value.to(wide), [axis], self.eps) for value in (x, given))
        rate = (self.alpha.to(wide) * self.factor).abs().reshape(-1, *(1,) * (x.dim() - 1 - axis % x.dim()))
        return unit_length(here + rate * (there - here), [axis], self.eps).to(x.dtype)

    def _check(self, x: object) -> None:
        axis = self.channel_dim
        if not isinstance(x, Tensor) or not x.is_floating_point() or not -x.dim() <= axis < x.dim() or x.shape[axis] != self.features:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(f"HypersphereResidual: x must be floating-point with {self.features} channels on axis {axis}, got {got}")

    def hw_ops(self) -> Cost:
        """Three lengths, a difference, a product and a sum. The branch is not counted."""
        return Cost(Operations(5, 7), Operations(3, 0, 3, 3))

    def bounds(self) -> tuple[float, float]:
        """±1."""
        return -1.0, 1.0

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.features}, channel_dim={self.channel_dim}"


@register("learned_scale", "B26", formula="y = s x, one s a channel", fold="F0")
class LearnedScale(ChannelNorm):
    r"""A learned factor for every channel: what nGPT has for queries and keys, hidden units and logits, whose lengths are fixed.

    .. math:: y = s \odot x, \qquad s = w\,\frac{s_0}{\rho}

    w is the parameter, ρ at the start: a smaller ρ makes s learn faster.

    Args:
        features: Channels; or the shape of the last axes.
        start: s₀, > 0.
        scaling: ρ, > 0; null: s₀, so that the parameter is the factor itself. The authors take 1/√features.
        channel_dim: Axis of the channels, where ``features`` is a number: 1 for ``(batch, C, *)``, −1 for ``(batch, length, C)``.

    Shapes:
        x ``(batch, C, *)``, or what ``channel_dim`` says; result the same.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        I. Loshchilov et al., "nGPT: normalized transformer with representation learning on the hypersphere", ICLR 2025, and the
        authors' code.
    """

    stats: ClassVar[Stats] = "none"
    whole_units: ClassVar[bool] = True

    weight: nn.Parameter

    def __init__(self, features: int | Sequence[int], start: float = 1.0, scaling: float | None = None, *, channel_dim: int = 1) -> None:
        super().__init__(features, channel_dim, scale=True, shift=False)
        start = self._number("start", start, gt=0)
        scaling = start if scaling is None else self._number("scaling", scaling, gt=0)
        self.factor = start / scaling
        self.weight = nn.Parameter(torch.full(self.features, scaling))

    def standardize(self, x: Tensor) -> Tensor:
        """Times s₀/ρ; the parameter comes after it."""
        return x * self.factor

    def standard_bounds(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf

    def fold(self) -> Affine:
        """Scale s."""
        return self._folded(torch.full(self.features, self.factor, dtype=torch.float64, device=self.weight.device))

    def hw_ops(self) -> Cost:
        """One multiplication."""
        return Cost(Operations(0, 1))


@register(
    "unit_weights",
    "B26",
    kind="procedure",
    formula="w ← w / ‖w‖, of every row or column of weights",
    fold="FW",
    usage="ns.norms.unit_weights(model) after every step of the optimizer",
)
@torch.no_grad()
def unit_weights(model: Model, layers: str | Sequence[str] = "*", *, writers: str | Sequence[str] = (), eps: float = 1e-12) -> Model:
    r"""Bring the weights of a model to length 1, in place: to be called after every step of the optimizer.

    .. math:: w \leftarrow w / \max(\lVert w \rVert, \varepsilon)

    The vectors are those that live in the space of the stream. For a layer that reads it, and for an embedding, they are the weights of
    each output; for a layer that writes into it, the weights of each input. An output of a reader is then the cosine of angles in it.

    Args:
        model: With linear layers, convolutions or embeddings; what is none of these stays.
        layers: Globs over the paths of those that are normalised.
        writers: Globs over the paths of those that write into the stream.
        eps: ε, > 0.

    Returns:
        The model itself.

    Raises:
        ConfigError: What is given is no model, a glob names no such layer, or a parametrization cannot give such weights; the model is
            then unchanged.

    Source:
        I. Loshchilov et al., "nGPT: normalized transformer with representation learning on the hypersphere", ICLR 2025, and the
        authors' training code.

    >>> layer = nn.Linear(4, 3)
    >>> bool((unit_weights(layer).weight.norm(dim=1) - 1).abs().max() < 1e-6)
    True
    """
    check_model("unit_weights", model)
    floor = number("unit_weights.eps", eps, gt=0)
    known = {path: module for path, module in model.named_modules() if isinstance(module, _WEIGHTS)}
    globs = {"layers": _listed(layers), "writers": _listed(writers)}
    for name, given in globs.items():
        for glob in given:
            if glob != "*" and not any(fnmatchcase(path, glob) for path in known):
                raise ConfigError(f"unit_weights.{name}: {glob!r} names no layer with weights{nearest(glob, list(known))}")
    scaled: list[tuple[str, nn.Module, Tensor]] = []
    for path, module in known.items():
        if any(fnmatchcase(path, glob) for glob in globs["layers"]):
            kept = 1 if any(fnmatchcase(path, glob) for glob in globs["writers"]) else 0
            over = [axis for axis in range(module.weight.dim()) if axis != kept]
            weight = module.weight
            lengths = torch.linalg.vector_norm(weight, dim=over, keepdim=True).clamp(min=least_length(weight, floor))
            scaled.append((path, module, weight / lengths))
    put_weights("unit_weights", scaled)
    return model


def _listed(globs: str | Sequence[str]) -> list[str]:
    return [globs] if isinstance(globs, str) else list(globs)
