"""Embeddings on simulated hardware: a row is read by a one-hot vector."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.analog import AnalogLayer, MatrixProduct, make_chain


class AnalogEmbedding(MatrixProduct, AnalogLayer, nn.Embedding):
    """``nn.Embedding`` on simulated hardware: its arguments, and ``profile``, ``seed``, ``path`` as in :class:`AnalogLinear`.

    Each index is a product with a vector that is 1 on one line and 0 on all others, so time and memory grow with the size of the table.
    """

    digital_class = nn.Embedding
    bias = None

    def __init__(self, *args: Any, profile: str | Profile, seed: int, path: str, **kwargs: Any) -> None:
        nn.Embedding.__init__(self, *args, **kwargs)
        self.chain = make_chain(self, load_profile(profile).chain, seed, path)

    def forward(self, input: Tensor) -> Tensor:
        """Inputs and outputs as in the digital layer."""
        if self.chain.bypassed:
            return nn.Embedding.forward(self, input)
        weight = self.weight
        lines = F.one_hot(input.long(), self.num_embeddings).to(weight.dtype)
        if self.padding_idx is not None and torch.is_grad_enabled():  # its row learns nothing
            padding = torch.arange(self.num_embeddings, device=weight.device).eq(self.padding_idx).unsqueeze(1)
            weight = torch.where(padding, weight.detach(), weight)
        return self.compute(lines, weight, None).to(self.weight.dtype)

    def mvm(self, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """The rows that one-hot vectors name, ``x W``."""
        return F.linear(x, weight.transpose(0, 1), bias)

    def matrix(self, weight: Tensor) -> Tensor:
        """``(1, embedding_dim, num_embeddings)``."""
        return weight.transpose(0, 1).unsqueeze(0)

    def native(self, matrix: Tensor) -> Tensor:
        """``(num_embeddings, embedding_dim)``."""
        return matrix.squeeze(0).transpose(0, 1)
