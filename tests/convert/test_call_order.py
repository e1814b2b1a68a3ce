"""What a forward of one's own does with what it holds: nothing is folded, scaled or moved across a part that it uses itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis import absorb_bias, equalize
from neurosim.convert.call_order import read_forward


class Own(nn.Module):
    """A chain, a block with a forward of its own, and a forward that uses both in some way."""

    def __init__(self, way: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.seq = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6))
        self.block = Block()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.way(self, x)
        return y


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.layer(x))
        return y


def one_by_one(model: Any, x: Tensor, keep: int = -1) -> Tensor:
    kept = x
    for at, part in enumerate(model.seq):
        x = part(x)
        kept = x if at == keep else kept
    y: Tensor = x + kept
    return y


def sliced(model: Any, x: Tensor) -> Tensor:
    y: Tensor = model.seq[:1](x)
    z: Tensor = model.seq[1:](y)
    return z - y


def decides(model: Any, x: Tensor) -> Tensor:
    y: Tensor = model.seq[0](x)
    z: Tensor = model.seq(x) if x.sum() > 0 else x
    return y + z


#: by what it uses: a forward, and the norms that can be folded, be it that nothing uses them
WAYS: dict[str, tuple[Callable[[Any, Tensor], Tensor], list[str]]] = {
    "whole": (lambda m, x: m.block(m.seq(x)), ["seq.1", "block.norm"]),
    "what comes before the norm": (lambda m, x: m.seq[1](y := m.seq[0](x)) + m.block(y), ["block.norm"]),
    "every part in turn": (one_by_one, ["seq.1", "block.norm"]),
    "every part in turn, and one result": (lambda m, x: one_by_one(m, x, 0), ["block.norm"]),
    "a weight": (lambda m, x: m.block(m.seq(x)) @ m.seq[0].weight, ["block.norm"]),
    "slices": (sliced, ["block.norm"]),
    "the chain, and a part of it": (lambda m, x: m.seq(x) + m.seq[0](x), ["block.norm"]),
    "the parts of a block": (lambda m, x: m.block.norm(y := m.block.layer(x)) + y, ["seq.1"]),
    "the parts of a block in turn": (lambda m, x: m.block.norm(m.block.layer(x)), ["seq.1", "block.norm"]),
    "a block, and a part of it": (lambda m, x: m.block(x) + m.block.layer(x), ["seq.1"]),
    "a part, then a decision": (decides, ["block.norm"]),
}


def made(way: str) -> Any:
    torch.manual_seed(0)
    model: Any = Own(WAYS[way][0]).double()
    for norm in (model.seq[1], model.block.norm):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.uniform_(norm.bias, 2, 3)
    return model.eval()


@pytest.mark.parametrize("way", WAYS)
def test_a_model_that_uses_parts_computes_the_same_after_folding_scaling_and_absorbing(way: str) -> None:
    model, x = made(way), torch.randn(5, 6, dtype=torch.float64)
    for change in (ns.fold, equalize, lambda model: equalize(ns.fold(model)), absorb_bias):
        torch.testing.assert_close(change(model)(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_used_as_it_is_folds_all_the_same(way: str) -> None:
    folded: Any = ns.fold(made(way))
    assert [one.path for one in folded.folding.norms if one.status == "folded"] == WAYS[way][1]


def test_a_forward_that_cannot_be_read_is_named_if_something_in_what_it_holds_was_folded() -> None:
    def shaped(model: Any, x: Tensor) -> Tensor:
        y: Tensor = model.seq(x) if len(x) > 1 else x
        return y

    model, x = Own(shaped).eval(), torch.randn(5, 6)
    folded: Any = ns.fold(model)
    torch.testing.assert_close(folded(x), model(x))
    assert folded.folding.unread == ("(model) (Own)",)
    assert "the forward of (model) (Own) cannot be read: taken to use what it holds as it is" in str(folded.folding)
    known: Any = ns.fold(nn.Sequential(made("whole")))
    assert (known.folding.count("folded"), known.folding.unread) == (2, ())


def test_the_run_of_a_spiking_chain_is_a_use_of_the_chain() -> None:
    class Runs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            body = ns.nn.SpikingSequential(nn.Linear(6, 6), ns.norms.BatchNormOverTime(6), ns.LIF(2e-3, 1e-3))
            self.body = ns.nn.SpikingSequential(body)

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.body.run(x)
            mean: Tensor = y.mean(0)
            return mean

    model = Runs().eval()
    assert read_forward(model).parts == ["body"]
    folded: Any = ns.fold(model)
    assert folded.folding.count("folded") == 1
