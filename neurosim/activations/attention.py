"""What stands for the softmax of an attention, and a softmax that knows how far it can be trusted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import nullcontext
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.checks import number, whole
from neurosim.errors import ConfigError


class _Scores(nn.Module):
    """Weights of an attention from scores, key by key; −∞ masks a key."""

    def _keys(self, z: Tensor) -> int:
        """L, how many keys there are."""
        if not z.dim() or not z.shape[-1]:
            raise ConfigError(f"{type(self).__name__}: scores must be (*, queries, keys) with a key or more, got shape {tuple(z.shape)}")
        return z.shape[-1]


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
    r"""ReLU divided by the number of keys.

    .. math:: w_{ij} = \max(0, z_{ij})/L

    Shapes:
        z ``(*, queries, keys)``, scores qᵢ·kⱼ/√d; the weights the same.

    Raises:
        ConfigError: In its call, there is no key.

    Source:
        M. Wortsman et al., "Replacing softmax with ReLU in vision transformers", arXiv 2309.08586 (2023).
    """

    def forward(self, z: Tensor) -> Tensor:
        """The weights."""
        return F.relu(z) / self._keys(z)


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
        return F.relu(z) / (self.gamma * math.sqrt(self._keys(z) / 2))


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
    r"""The logistic function, shifted so that L keys start with a total of about 1.

    .. math:: w_{ij} = \sigma(z_{ij} - \log L)

    Shapes:
        z ``(*, queries, keys)``, scores qᵢ·kⱼ/√d; the weights the same.

    Raises:
        ConfigError: In its call, there is no key.

    Source:
        J. Ramapuram et al., "Theory, analysis, and best practices for sigmoid self-attention", arXiv 2409.04431 (2024).
    """

    def forward(self, z: Tensor) -> Tensor:
        """The weights."""
        return torch.sigmoid(z - math.log(self._keys(z)))


class _Attention(nn.Module, ABC):
    """Of queries, keys and values, computed in float32 for numbers of 16 bits."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What every query gets.

        Raises:
            ConfigError: The shapes do not go together.
        """
        given = (query, key, value)
        batches = zip_longest(*(reversed(one.shape[:-2]) for one in given), fillvalue=1)
        if min(one.dim() for one in given) < 2 or any(len({*sizes} - {1}) > 1 for sizes in batches):
            raise self._apart(*given)
        if not 0 < query.shape[-1] == key.shape[-1] or key.shape[-2] != value.shape[-2]:
            raise self._apart(*given)
        autocast = query.device.type != "meta" and torch.is_autocast_enabled(query.device.type)
        with torch.autocast(query.device.type, enabled=False) if autocast else nullcontext():
            return self._attend(*(one.float() if one.dtype.itemsize < 4 else one for one in given)).to(value.dtype)

    @abstractmethod
    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same, of tensors that go together."""

    def _apart(self, *given: Tensor) -> ConfigError:
        shapes = ", ".join(str(tuple(one.shape)) for one in given)
        where = type(self).__name__
        return ConfigError(f"{where}: queries (*, q, d), keys (*, k, d) and values (*, k, e) must go together, d ≥ 1, got shapes {shapes}")


@layer(
    "rela",
    "RMSNorm(z), z = max(0, QKᵀ/√d)·V; with units times g·σ(w·z)",
    "attention",
    cost=Cost(Operations(multiplies=1, comparisons=1), Operations(adds=1, multiplies=1, divisions=1, square_roots=1)),
    fold="parts",
    hardware="most weights are exactly 0; the norm is the only statistic, after the sum",
    speed="two products of matrices, and a norm of what comes out",
    cite=("rela",),
    zero_preserving=True,
)
class RectifiedAttention(_Attention):
    r"""Rectified linear attention.

    .. math:: z = \max(0, QK^\top/\sqrt d)\,V, \qquad y = \frac{z}{\sqrt{\overline{z^2} + \varepsilon}}

    With ``units`` the result is ``g ⊙ y ⊙ σ(w ⊙ z)``: a learned gain g, 1 at first, and a learned gate, whose w are 0 at first, the mean
    of what the authors draw.

    Args:
        eps: ε, added to the mean square, > 0.
        units: Features of a value, e, where it is to have gain and gate; None: neither.

    Shapes:
        query ``(*, q, d)``, key ``(*, k, d)``, value ``(*, k, e)``; the result ``(*, q, e)``.

    Raises:
        ConfigError: An argument is out of its domain; in its call, the shapes do not go together, or values have not as many features.

    Source:
        B. Zhang, I. Titov, R. Sennrich, "Sparse attention with linear units", EMNLP 2021, section 3; gain and gate as in their code.
    """

    def __init__(self, eps: float = 1e-6, units: int | None = None) -> None:
        super().__init__()
        self.eps = number("RectifiedAttention.eps", eps, gt=0)
        count = None if units is None else whole("RectifiedAttention.units", units, 1)
        self.gain = None if count is None else nn.Parameter(torch.ones(count))
        self.gate = None if count is None else nn.Parameter(torch.zeros(count))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        z = F.relu(query @ key.mT / math.sqrt(query.shape[-1])) @ value
        y = F.rms_norm(z, z.shape[-1:], eps=self.eps)
        if self.gain is None or self.gate is None:
            return y
        if z.shape[-1] != len(self.gain):
            raise ConfigError(f"RectifiedAttention: values must have {len(self.gain)} features, got shape {tuple(value.shape)}")
        return self.gain.to(z.dtype) * y * torch.sigmoid(self.gate.to(z.dtype) * z)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"eps={self.eps:g}" + ("" if self.gain is None else f", units={len(self.gain)}")


@layer(
    "gaussian_attention",
    "Σ e^(−‖q − k‖²/2√d)·v",
    "attention",
    cost=Cost(Operations(adds=2, multiplies=1, lookups=1, comparisons=1)),
    fold="parts",
    speed="a distance of two vectors and an exponential for a score, and a product of matrices",
    hardware="a resonator a pair instead of a softmax: weights stay in 0 … 1 without a sum over keys",
    cite=("soft",),
)
class GaussianAttention(_Attention):
    r"""Attention with a Gaussian kernel of the distance between query and key.

    .. math:: y_i = \sum_j e^{-\|q_i - k_j\|^2/2\sqrt d}\,v_j

    Distances are those of differences: products of large vectors would cancel. Gradients are those of backward, once; torch has neither
    their forward mode nor their derivatives.

    Shapes:
        query ``(*, q, d)``, key ``(*, k, d)``, value ``(*, k, e)``; the result ``(*, q, e)``.

    Raises:
        ConfigError: In its call, the shapes do not go together.

    Source:
        J. Lu et al., "SOFT: softmax-free transformer with linear complexity", NeurIPS 2021, section 3: the kernel, of all pairs.
    """

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        apart = torch.cdist(query, key, compute_mode="donot_use_mm_for_euclid_dist")
        return torch.exp(-apart.square() / (2 * math.sqrt(query.shape[-1]))) @ value


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
