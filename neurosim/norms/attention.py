"""Self-attention with norms of queries, keys and values, and a learned scale for every head."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurosim.checks import flag, number, one_of, whole
from neurosim.errors import ConfigError
from neurosim.norms.base import Cost, Norm, Operations
from neurosim.norms.choice import Chosen, chosen_norm
from neurosim.norms.registry import register

Normed = Literal["none", "qk", "qkv"]


@register(
    "attention",
    "B27",
    kind="wrapper",
    formula="y = W_o (h_i softmax(c N(q_i) N(k_i)ᵀ) N(v_i))_i, of heads i",
    stats="sample",
    fold="F2",
    example=lambda: NormedAttention(16, 4),
    usage="ns.norms.NormedAttention(features, heads, norm) as a branch",
)
class NormedAttention(nn.Module):
    r"""Self-attention whose queries, keys and values are normalised head by head, each head with a learned scale.

    .. math:: y = W_o\,\bigl(h_i\,\mathrm{softmax}(c\,N(q_i) N(k_i)^\mathsf{T})\,N(v_i)\bigr)_i, \qquad q = W_q x,\ k = W_k x,\ v = W_v x

    ``normed="qkv"`` is the attention of HybridNorm, to be placed with ``none``; ``head_scale`` that of NormFormer, with ``peri``; ``"qk"``
    with ``{"kind": "feature_norm", "length": 1.0}`` and ``scale`` √(C/heads) that of nGPT.

    Args:
        features: Channels, C.
        heads: Their number, which divides C.
        norm: Of a module in ``NORMS`` for vectors of single places: its name, or a mapping with ``kind`` and its arguments.
        normed: What is normalised, each with a norm of its own, shared by the heads.
        head_scale: Whether there is an h, 1 at the start.
        scale: c, > 0; null: √(heads/C).
        causal: Whether a place sees only itself and those before it.
        bias: Whether the four layers have biases.

    Shapes:
        x ``(batch, length, C)``; result the same. ``head_scale`` is ``(heads,)``.

    Raises:
        ConfigError: An argument or an input is not as above.

    Source:
        Z. Zhuo et al., "HybridNorm", NeurIPS 2025 (queries, keys and values); S. Shleifer, J. Weston, M. Ott, "NormFormer" (2021)
        (scale of heads); I. Loshchilov et al., "nGPT", ICLR 2025 (queries and keys).

    >>> NormedAttention(8, 2)(torch.rand(3, 5, 8)).shape
    torch.Size([3, 5, 8])
    """

    head_scale: nn.Parameter | None

    def __init__(
        self,
        features: int,
        heads: int,
        norm: Chosen = "layer",
        normed: Normed = "qkv",
        *,
        head_scale: bool = False,
        scale: float | None = None,
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        where = "NormedAttention"
        self.features, self.heads = whole(f"{where}.features", features, 1), whole(f"{where}.heads", heads, 1)
        if features % heads:
            raise ConfigError(f"{where}.heads: must divide the {features} channels, got {heads}")
        self.normed: Normed = one_of(f"{where}.normed", normed, get_args(Normed))
        self.scale = (heads / features) ** 0.5 if scale is None else number(f"{where}.scale", scale, gt=0)
        self.causal = flag(f"{where}.causal", causal)
        bias = flag(f"{where}.bias", bias)
        self.query, self.key, self.value, self.out = (nn.Linear(features, features, bias) for _ in range(4))
        each: dict[str, nn.Module] = {
            name: chosen_norm(f"{where}.norm", norm, features // heads, {"channel_dim": -1}) if name in normed else nn.Identity()
            for name in "qkv"
        }
        self.norms = nn.ModuleDict(each)
        wanted = flag(f"{where}.head_scale", head_scale)
        self.register_parameter("head_scale", nn.Parameter(torch.ones(heads)) if wanted else None)

    def forward(self, x: Tensor) -> Tensor:
        """What every place takes from the others."""
        self._check(x)
        q, k, v = (
            self.norms[name](layer(x).reshape(*x.shape[:2], self.heads, self.features // self.heads).transpose(1, 2))
            for name, layer in zip("qkv", (self.query, self.key, self.value), strict=True)
        )
        taken = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        if self.head_scale is not None:
            taken = taken * self.head_scale.reshape(-1, 1, 1)
        y: Tensor = self.out(taken.transpose(1, 2).flatten(2))
        return y

    def _check(self, x: object) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != 3 or x.shape[2] != self.features:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ConfigError(f"NormedAttention: x must be floating-point (batch, length, {self.features}), got {got}")

    def hw_ops(self) -> Cost:
        """Those of its norms, for each of the vectors of a head. Its layers and the attention are not counted."""
        costs = [norm.hw_ops() for norm in self.norms.values() if isinstance(norm, Norm)]
        extra = Cost(Operations(0, int(self.head_scale is not None)))
        parts = [extra, *costs]
        return Cost(*(Operations(*(sum(column) for column in zip(*part, strict=True))) for part in zip(*parts, strict=True)))

    def bounds(self) -> tuple[float, float]:
        """All numbers."""
        return -math.inf, math.inf

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"{self.features}, heads={self.heads}, normed={self.normed!r}, causal={self.causal}"
