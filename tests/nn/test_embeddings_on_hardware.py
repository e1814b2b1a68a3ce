"""Embeddings on hardware: a row is read by a one-hot vector."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import neurosim as ns
from neurosim.nn import AnalogEmbedding, AnalogLinear
from tests.nn.test_array import profile
from tests.nn.test_recurrent_on_hardware import CHAINS, same


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("padding", [None, 2])
def test_an_embedding_without_errors_is_the_digital_one(chain: str, padding: int | None) -> None:
    torch.manual_seed(0)
    layer = nn.Embedding(9, 4, padding_idx=padding).double()
    with torch.no_grad():
        layer.weight[2] = 0.7  # a row of padding need not be 0
    analog = ns.to_analog(layer, profile(CHAINS[chain]), seed=0)
    for ids in (
        torch.tensor([[0, 2, 8], [2, 2, 5]]),
        torch.tensor(3),
        torch.tensor([1, 1], dtype=torch.int32),
        torch.zeros(0, dtype=torch.long),
    ):
        same(analog, layer, ids)


def test_reading_a_row_is_the_product_with_a_one_hot_vector() -> None:
    table: Any = AnalogEmbedding(7, 4, profile="photonic_avnn", seed=5, path="table")
    product = AnalogLinear(7, 4, bias=False, profile="photonic_avnn", seed=5, path="table")
    with torch.no_grad():
        product.weight.copy_(table.weight.T)
    ids = torch.tensor([3, 0, 3])
    settings = {"*.noise": None}
    for layer in (table, product):
        ns.override(layer, settings)
    assert torch.equal(table(ids), product(F.one_hot(ids, 7).float()))
    assert torch.equal(table(ids) * 16, (table(ids) * 16).round())  # on the levels of the converter


def test_frozen_errors_of_an_embedding_belong_to_its_rows() -> None:
    chain = {"weight": {"noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}}}
    for more in ({}, CHAINS["whole"]):
        analog = ns.to_analog(nn.Embedding(6, 4), profile({**more, "weight": {**more.get("weight", {}), **chain["weight"]}}), seed=0)
        a, b = analog(torch.tensor([1, 4, 1])), analog(torch.tensor([4, 1, 0]))
        assert torch.equal(a[0], a[2])
        assert torch.equal(a[:2].flip(0), b[:2])
        assert not torch.allclose(a[0], analog.weight[1], atol=1e-3)  # type: ignore[index]  # a tensor


@pytest.mark.parametrize("setting", [{"max_norm": 1.0}, {"sparse": True}, {"scale_grad_by_freq": True}], ids=str)
def test_embeddings_that_are_more_than_a_look_up_stay_digital(setting: dict[str, Any]) -> None:
    analog: Any = ns.to_analog(nn.ModuleList([nn.Embedding(4, 3, **setting), nn.Linear(3, 2)]), "photonic_avnn", seed=0)
    row = analog.conversion.layers[0]
    ((name, value),) = setting.items()
    assert row.status == "refused"
    assert row.reason.startswith(f"{name}={value!r} is a ")


def test_an_embedding_survives_copies_and_the_way_back() -> None:
    layer, ids = nn.Embedding(6, 4, padding_idx=0), torch.tensor([1, 5, 0])
    analog: Any = ns.to_analog(layer, "photonic_avnn", seed=0)
    assert str(analog.conversion).splitlines()[2].split()[:4] == ["(model)", "Embedding", "6→4", "converted"]
    twins = copy.deepcopy(analog), pickle.loads(pickle.dumps(analog))
    y = analog(ids)
    assert all(torch.equal(twin(ids), y) for twin in twins)
    with ns.noise("ideal", analog):
        assert torch.equal(analog(ids), layer(ids))
    digital = ns.to_digital(analog)
    assert type(digital) is nn.Embedding
    assert torch.equal(digital(ids), layer(ids))
    for wrong in (6, -1):
        with pytest.raises((IndexError, RuntimeError)):
            analog(torch.tensor([wrong]))
