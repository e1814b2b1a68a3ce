"""Norms of 16 bits at the ends of what such numbers hold: long streams, branches that give nothing, rows of zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from neurosim.norms import LayerNorm, MessageNorm, PrenormalizedLayerNorm
from tests.norms.contracts import draw

C = 16
NARROW = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", NARROW)
def test_a_message_norm_takes_long_streams_and_branches_that_give_nothing(dtype: torch.dtype) -> None:
    nothing = nn.Linear(C, C)
    torch.nn.init.zeros_(nothing.weight)
    torch.nn.init.zeros_(nothing.bias)
    for scale in (1e-2, 1.0, 300.0):
        stream = (scale * draw(5, C)).to(dtype).requires_grad_()
        assert torch.equal(MessageNorm(nothing).to(dtype)(stream), stream)
        y = MessageNorm(nn.Identity()).to(dtype)(stream)
        torch.testing.assert_close(y, 2 * stream, rtol=0.02, atol=0)
        y.sum().backward()
        assert stream.grad is not None
        torch.testing.assert_close(stream.grad, torch.full_like(stream, 2.0), rtol=0.02, atol=0)


@pytest.mark.parametrize("by", ["mad", "max", "pow2"])
def test_a_prenormalised_layer_norm_is_a_layer_norm_beside_a_large_mean(by: Any) -> None:
    x = draw(7, 64, dtype=torch.float64)
    expected = LayerNorm(64, 1e-12).double()(x)
    norm = PrenormalizedLayerNorm(64, by)
    for mean, dtype, tolerance in (
        (0.0, torch.float64, 1e-4),
        (1e6, torch.float64, 1e-4),
        (-1e3, torch.float32, 1e-3),
        (30.0, torch.float16, 0.03),
    ):
        y = norm.to(dtype)((x + mean).to(dtype))
        torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    for dtype in (torch.float64, torch.float32, torch.float16):
        assert not norm.to(dtype)(torch.full((2, 64), 0.7, dtype=dtype)).any()
