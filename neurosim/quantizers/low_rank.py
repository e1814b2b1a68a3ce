"""What rounding took from a matrix, given back by a product of two thin ones: a digital path beside the quantised product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.errors import ConfigError


def low_rank_factors(weight: Tensor, quantized: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    r"""The two thin matrices whose product is nearest to what rounding took away.

    .. math:: \min_{U, V} \lVert W - (Q(W) + U V) \rVert_F, \qquad U \in \mathbb{R}^{n \times r},\ V \in \mathbb{R}^{r \times m}

    Args:
        weight: W, ``(outputs, *)``; the axes behind the first are one.
        quantized: Q(W), of the same shape.
        rank: r, from 1 to the smaller side.

    Returns:
        U = L√S and V = √S Rᵀ of the singular value decomposition L S Rᵀ of W − Q(W), its r largest values, which is computed in float32
        for 16-bit types.

    Raises:
        ConfigError: The shapes differ, or the rank is out of its domain.

    Source:
        Z. Yao et al., "ZeroQuant-V2: exploring post-training quantization in LLMs from comprehensive study to low rank compensation",
        arXiv 2303.08302 (2023): LoRC.
    """
    if weight.shape != quantized.shape or weight.dim() < 2:
        raise ConfigError(f"low_rank_factors: both must be matrices of one shape, got {tuple(weight.shape)} and {tuple(quantized.shape)}")
    wide = torch.promote_types(weight.dtype, torch.float32)
    error = (weight.detach().to(wide) - quantized.detach().to(wide)).flatten(1)
    whole("low_rank_factors: rank", rank, 1, min(error.shape))
    left, values, right = torch.linalg.svd(error, full_matrices=False)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(weight.dtype), (root.unsqueeze(1) * right[:rank]).to(weight.dtype)


class LowRank(nn.Module):
    """Adds the product of two thin matrices to a weight; a parametrization behind a :class:`Quantizer`.

    Args:
        left: U, ``(outputs, rank)``.
        right: V, ``(rank, inputs)``.
    """

    left: Tensor
    right: Tensor

    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__()
        self.register_buffer("left", left)
        self.register_buffer("right", right)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with what it had lost."""
        return weight + (self.left @ self.right).reshape(weight.shape)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"rank={self.left.shape[1]}"
