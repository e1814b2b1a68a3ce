"""Norms of 16 bits at the ends of what such numbers hold: long streams, branches that give nothing, rows of zeros."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.norms import (
    LayerNorm,
    MessageNorm,
    PrenormalizedLayerNorm,
    TemporalEffectiveBatchNorm,
    WeightNorm,
    initialize_weight_norm,
    unit_weights,
)
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


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind == "parametrization"])
def test_a_row_of_zeros_stays_one_and_has_gradients(name: str, dtype: torch.dtype) -> None:
    wide: Any = nn.Linear(6, 5)
    wide.weight.data[1] = 0
    parametrize.register_parametrization(wide, "weight", ns.NORMS[name].example())
    narrow: Any = copy.deepcopy(wide).to(dtype)
    torch.testing.assert_close(narrow.weight.float(), wide.weight, rtol=0.02, atol=0.02)
    assert not narrow.weight[1].any()
    narrow(torch.ones(2, 6, dtype=dtype)).sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in narrow.parameters())


@pytest.mark.parametrize("dtype", NARROW)
def test_lengths_that_are_0_stay_0(dtype: torch.dtype) -> None:
    embedding: Any = nn.Embedding(4, 3, padding_idx=0).to(dtype)
    assert not unit_weights(embedding).weight[0].any()
    torch.testing.assert_close(embedding.weight[1:].float().norm(dim=1), torch.ones(3), rtol=0.01, atol=0)
    layer: Any = nn.Linear(3, 2).to(dtype)
    parametrize.register_parametrization(layer, "weight", WeightNorm())
    before = layer.weight.clone()
    initialize_weight_norm(layer, torch.full((4, 3), 0.5, dtype=dtype))  # outputs that do not vary
    torch.testing.assert_close(layer.weight, before)


@pytest.mark.parametrize("training", [True, False])
def test_the_weights_of_steps_get_their_gradient_as_wide_as_others(training: bool) -> None:
    norm = TemporalEffectiveBatchNorm(C, 4).train(training)
    x = draw(4, 64, C, 32, 32)
    gradients = []
    for given in (x, x.half()):
        norm.zero_grad()
        y = norm(given)
        y.backward(y.detach())  # of each weight it is the number of values in a step, above what 16 bits hold
        assert norm.p.grad is not None
        gradients.append(norm.p.grad.clone())
    assert gradients[0].min() > 65504
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=0)
