"""What stands for the softmax of an attention, and a softmax that knows how far it can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.checks import number
from neurosim.errors import ConfigError


class _Scores(nn.Module):
    """Weights of an attention from scores ``(*, queries, keys)``, key by key; −∞ masks a key."""


@layer(
    "relu_scores",
    "max(0, z)/L",
    "scores",
    cost=Cost(Operations(multiplies=1, comparisons=1)),
    hardware="no exponential and no sum over keys; divide by the number of keys L",
    cite=("relu_attention",),
    bounds=(0.0, math.inf),
    homogeneous=True,
    zero_preserving=True,
)
class ReLUScores(_Scores):
    """ReLU divided by the number of keys."""

    def forward(self, z: Tensor) -> Tensor:
        """The weights."""
        return F.relu(z) / z.shape[-1]


@layer(
    "reluformer_scores",
    "max(0, z)/(γ√(L/2))",
    "scores",
    cost=Cost(Operations(multiplies=1, comparisons=1)),
    hardware="as relu_scores, with the variance of the output kept at any number of keys",
    cite=("reluformer",),
    bounds=(0.0, math.inf),
    homogeneous=True,
    zero_preserving=True,
)
class ReLUFormerScores(_Scores):
    """ReLU divided by the standard deviation that summing over keys gives.

    Args:
        gamma: γ > 0.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()
        self.gamma = number("ReLUFormerScores.gamma", gamma, gt=0)

    def forward(self, z: Tensor) -> Tensor:
        """The weights."""
        return F.relu(z) / (self.gamma * math.sqrt(z.shape[-1] / 2))


@layer(
    "sigmoid_scores",
    "σ(z − log L)",
    "scores",
    cost=Cost(Operations(adds=1, lookups=1)),
    fold="parts",
    hardware="one saturating device a score; no sum over keys",
    cite=("sigmoid_attention",),
    bounds=(0.0, 1.0),
)
class SigmoidScores(_Scores):
    """The logistic function, shifted so that L keys start with a total of about 1."""

    def forward(self, z: Tensor) -> Tensor:
        """The weights."""
        return torch.sigmoid(z - math.log(z.shape[-1]))


class _Attention(nn.Module):
    """Of queries, keys and values, ``(*, length, features)``."""


@layer(
    "rela",
    "RMSNorm(max(0, QKᵀ/√d)·V)",
    "attention",
    cost=Cost(Operations(multiplies=1, comparisons=1), Operations(adds=1, multiplies=1, divisions=1, square_roots=1)),
    fold="parts",
    hardware="most weights are exactly 0; the norm is the only statistic, after the sum",
    cite=("rela",),
    zero_preserving=True,
)
class RectifiedAttention(_Attention):
    """Rectified linear attention.

    Args:
        eps: Added to the mean square, > 0.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = number("RectifiedAttention.eps", eps, gt=0)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What every query gets."""
        scores = F.relu(query @ key.mT / math.sqrt(query.shape[-1]))
        return F.rms_norm(scores @ value, value.shape[-1:], eps=self.eps)


@layer(
    "gaussian_attention",
    "Σ e^(−‖q − k‖²/2√d)·v",
    "attention",
    cost=Cost(Operations(adds=2, multiplies=1, lookups=1, comparisons=1)),
    fold="parts",
    speed="two products of matrices for an exponential of a score",
    hardware="a resonator a pair instead of a softmax: weights stay in 0 … 1 without a sum over keys",
    cite=("soft",),
)
class GaussianAttention(_Attention):
    """Attention with a Gaussian kernel of the distance between query and key."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What every query gets."""
        squares = query.square().sum(-1, keepdim=True) + key.square().sum(-1).unsqueeze(-2) - 2 * query @ key.mT
        return torch.exp(-squares.clamp(min=0) / (2 * math.sqrt(query.shape[-1]))) @ value


def sdm(z: Tensor, similarity: Tensor, distance: Tensor) -> Tensor:
    r"""Probabilities of classes that fall towards uniform where the training data do not support them.

    .. math:: p_i = \frac{(2 + q)^{d z_i}}{\sum_j (2 + q)^{d z_j}}

    Args:
        z: Logits, ``(*, classes)``.
        similarity: q ≥ 0, how many of the nearest training samples have the predicted class, ``(*)``.
        distance: d in 0 … 1, the quantile of the distance to them, 1 for the nearest, ``(*)``. q = e − 2, d = 1 is the softmax.

    Raises:
        ConfigError: Shapes do not go together, or a similarity is below 0.

    Source:
        A. Schmaltz, "Similarity-Distance-Magnitude activations", arXiv 2509.12760 (2025).

    >>> z = torch.tensor([[2.0, 0.0]])
    >>> sdm(z, torch.tensor([2.0]), torch.tensor([0.0]))
    tensor([[0.5000, 0.5000]])
    """
    if similarity.shape != z.shape[:-1] or distance.shape != z.shape[:-1]:
        shapes = f"{tuple(similarity.shape)} and {tuple(distance.shape)}"
        raise ConfigError(f"sdm: similarity and distance must have the shape {tuple(z.shape[:-1])}, got {shapes}")
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if not traced and bool((similarity < 0).any()):
        raise ConfigError(f"sdm: similarity must be >= 0, got {similarity.min().item():g}")
    logits, q, d = (one.to(torch.promote_types(one.dtype, torch.float32)) for one in (z, similarity, distance))
    return torch.softmax((d * torch.log(2 + q)).unsqueeze(-1) * logits, -1).to(z.dtype)


@layer(
    "sdm",
    "(2 + q)^(d·zᵢ)/Σⱼ(2 + q)^(d·zⱼ)",
    "head",
    cost=Cost(Operations(adds=2, multiplies=2, lookups=1, comparisons=1), Operations(adds=1, multiplies=1, divisions=1, lookups=1)),
    hardware="digital: lets a classifier abstain where drift has carried its features away from the training data",
    cite=("sdm",),
    bounds=(0.0, 1.0),
)
class SDM(nn.Module):
    """:func:`sdm` as a module."""

    def forward(self, z: Tensor, similarity: Tensor, distance: Tensor) -> Tensor:
        """The probabilities."""
        return sdm(z, similarity, distance)
