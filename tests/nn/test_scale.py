"""Factors and offsets of units."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import neurosim as ns


@pytest.mark.parametrize("kind", [ns.nn.Scale, ns.nn.Shift])
def test_a_value_is_learned_only_if_wanted(kind: Any) -> None:
    given = torch.ones(3)
    assert not list(kind(given).parameters())
    layer = kind(given, learn=True)
    layer(torch.full((2, 3), 2.0)).sum().backward()
    assert layer.value.grad.tolist() == ([4.0] * 3 if kind is ns.nn.Scale else [2.0] * 3)
    given.zero_()
    assert layer.value.sum() == 3


def test_they_multiply_and_add() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    value = torch.tensor([1.0, 2.0, -1.0])
    assert torch.equal(ns.nn.Scale(value)(x), x * value)
    assert torch.equal(ns.nn.Shift(0.5)(x), x + 0.5)
    assert (repr(ns.nn.Scale(value)), repr(ns.nn.Shift(0.5))) == ("Scale((3,))", "Shift(0.5)")


@pytest.mark.parametrize("value", [math.nan, torch.tensor([1.0, math.inf]), torch.tensor([1])])
def test_values_that_are_no_finite_numbers_are_refused(value: Any) -> None:
    with pytest.raises(ns.ConfigError, match="Scale: the value must be finite and floating point"):
        ns.nn.Scale(value)
