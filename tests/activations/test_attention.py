"""Attentions and what stands for a softmax, against their formulas written out pair by pair, and where numbers are large."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.activations import activation
from neurosim.errors import ConfigError
from neurosim.random import stream

ATTENTIONS = ["rela", "gaussian_attention"]


def normal(*shape: int, draw: int = 0) -> Tensor:
    return stream(3, "attention", draw=draw).normal(shape, like=torch.empty(0, dtype=torch.float64))


def some() -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two batches: 3 queries and 5 keys of 8 features, values of 6."""
    return normal(2, 3, 8), normal(2, 5, 8, draw=1), normal(2, 5, 6, draw=2)


# --- values ----------------------------------------------------------------------------------------------------------------------------


def test_gaussian_attention_is_its_formula_pair_by_pair() -> None:
    query, key, value = some()
    found = activation("gaussian_attention")(query, key, value)
    for batch, at in ((0, 0), (1, 2)):
        wanted = torch.zeros(6, dtype=torch.float64)
        for j in range(5):
            apart = sum((float(q) - float(k)) ** 2 for q, k in zip(query[batch, at], key[batch, j], strict=True))
            wanted += math.exp(-apart / (2 * math.sqrt(8))) * value[batch, j]
        torch.testing.assert_close(found[batch, at], wanted)


def _rectified(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The sum over keys that ReLA normalises, of one query."""
    total = torch.zeros(value.shape[-1], dtype=torch.float64)
    for k, v in zip(key, value, strict=True):
        total += max(0.0, float(query @ k) / math.sqrt(len(k))) * v
    return total


def test_rela_is_its_formula_pair_by_pair() -> None:
    query, key, value = some()
    found = activation("rela")(query, key, value)
    for batch, at in ((0, 0), (1, 2)):
        z = _rectified(query[batch, at], key[batch], value[batch])
        torch.testing.assert_close(found[batch, at], z / math.sqrt(sum(float(one) ** 2 for one in z) / 6 + 1e-6))


def test_rela_has_the_gain_and_the_gate_of_its_authors_where_units_are_given() -> None:
    query, key, value = some()
    plain, unit = activation("rela"), activation("rela", units=6).double()
    torch.testing.assert_close(unit(query, key, value), plain(query, key, value) / 2)  # σ(0) = ½
    gain, gate = torch.linspace(0.5, 2, 6, dtype=torch.float64), torch.linspace(-1, 3, 6, dtype=torch.float64)
    with torch.no_grad():
        unit.get_parameter("gain").copy_(gain)
        unit.get_parameter("gate").copy_(gate)
    found = unit(query, key, value)
    z = _rectified(query[1, 0], key[1], value[1])  # the gate sees it before the norm
    torch.testing.assert_close(found[1, 0], gain * z / (z.square().mean() + 1e-6).sqrt() / (1 + torch.exp(-gate * z)))
    given = tuple(one[:1, :2].clone().requires_grad_() for one in (query, key, value))
    assert torch.autograd.gradcheck(lambda *inputs: unit(*inputs), given)
    found.sum().backward()
    assert all(one.grad is not None for one in unit.parameters())
    assert list(plain.state_dict()) == []
    assert repr(unit) == "RectifiedAttention(eps=1e-06, units=6)"


# --- large numbers ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e2, 1e3, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["float32", "float16", "bfloat16"])
def test_a_query_sees_itself_with_weight_1_and_nothing_far_away(scale: float, dtype: torch.dtype) -> None:
    places = (scale * normal(2, 8, 32)).to(dtype)
    assert float((places[:, :, None] - places[:, None]).double().norm(dim=-1)[:, ~torch.eye(8, dtype=torch.bool)].min()) > 100
    weights = activation("gaussian_attention")(places, places, torch.eye(8, dtype=dtype).expand(2, 8, 8))
    assert torch.equal(weights, torch.eye(8, dtype=dtype).expand(2, 8, 8))


def test_near_pairs_far_from_the_origin_have_the_weights_and_slopes_of_their_distance() -> None:
    query, key, value = some()
    far = [(one + 1024.0).float() for one in (query, key)]
    places: list[Any] = [one.clone().requires_grad_() for one in far]
    unit = activation("gaussian_attention")
    y = unit(*places, value.float())
    y.sum().backward()
    exact: list[Any] = [(one.double() - 1024).requires_grad_() for one in far]
    wanted = unit(*exact, value)
    wanted.sum().backward()
    torch.testing.assert_close(y.double(), wanted, rtol=1e-5, atol=1e-6)
    for one, other in zip(places, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_rela_does_not_depend_on_the_scale_in_16_bits(scale: float, dtype: torch.dtype) -> None:
    query, key, value = ((scale * one).to(dtype) for one in some())
    found = activation("rela")(query, key, value)
    assert found.dtype == dtype
    wanted = activation("rela")(query.double(), key.double(), value.double())
    torch.testing.assert_close(found.double(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_autocast_does_not_make_them_overflow(name: str) -> None:
    query, key, value = (1e4 * one.float() for one in some())
    with torch.autocast("cpu", torch.float16):
        found = activation(name)(query, key, value)
    torch.testing.assert_close(found, activation(name)(query, key, value))


# --- shapes ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTENTIONS)
@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3, 4), (2, 3, 5), (2, 3, 4)),
        ((2, 3, 4), (2, 6, 4), (2, 5, 4)),
        ((2, 3, 4), (3, 5, 4), (2, 5, 4)),
        ((4, 2, 3, 4), (2, 5, 4), (3, 1, 5, 4)),
        ((4,), (5, 4), (5, 4)),
        ((3, 0), (5, 0), (5, 4)),
    ],
    ids=str,
)
def test_queries_keys_and_values_that_do_not_go_together_are_refused(name: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError, match=r"Attention: queries \(\*, q, d\), keys .* must go together, d ≥ 1, got shapes \("):
        activation(name)(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_batches_are_broadcast_as_products_of_matrices_are(name: str) -> None:
    query, key, value = some()
    unit = activation(name)
    found = unit(query[0], key.unsqueeze(1), value[:, None])
    assert found.shape == (2, 1, 3, 6)
    torch.testing.assert_close(found[1, 0], unit(query[0], key[1], value[1]))


def test_gain_and_gate_have_the_features_of_the_values() -> None:
    with pytest.raises(ConfigError, match=r"RectifiedAttention: values must have 5 features, got shape \(2, 5, 6\)"):
        activation("rela", units=5)(*some())
    with pytest.raises(ConfigError, match=r"RectifiedAttention.units: must be a whole number, 1 or more, got 0"):
        activation("rela", units=0)


@pytest.mark.parametrize("name", ["relu_scores", "reluformer_scores", "sigmoid_scores"])
@pytest.mark.parametrize("shape", [(), (2, 0)], ids=str)
def test_scores_without_a_key_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"Scores: scores must be \(\*, queries, keys\) with a key or more, got shape \("):
        activation(name)(torch.zeros(shape))
    assert activation(name)(torch.zeros(0, 4)).shape == (0, 4)
