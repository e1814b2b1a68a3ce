"""A digital path of low rank beside the arrays of a chip."""

from __future__ import annotations

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.quantizers import low_rank_factors
from neurosim.random import stream

FROZEN = {"*": {"weight.noise.scope": "device", "bias": None}}


def drawn(name: str, *shape: int) -> Tensor:
    return stream(7, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2, groups=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 49, 5)).double()


def on_chip(model: nn.Module) -> Any:
    return ns.to_analog(model, "photonic_avnn", seed=3, overrides=FROZEN)


def error_of(layer: Any) -> Tensor:
    """(groups, outputs, inputs)."""
    found: Tensor = layer.matrix(layer.weight.detach() - ns.effective_weight(layer).weight)
    return found


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_what_is_left_are_the_singular_values_that_are_left_out(rank: int) -> None:
    chip = on_chip(network())
    found = ns.add_side_paths(chip, rank)
    reports = {one.layer: one for one in found.side_paths.layers}
    for path in ("0", "2", "5"):
        before, after = error_of(chip.get_submodule(path)), error_of(found.get_submodule(path))
        values = torch.linalg.svdvals(before)
        assert float(after.square().sum()) == pytest.approx(float(values[:, rank:].square().sum()), rel=1e-6, abs=1e-20)
        assert reports[path].before == pytest.approx(float(before.square().mean().sqrt()))
        assert reports[path].after == pytest.approx(float(after.square().mean().sqrt()), abs=1e-12)
    assert torch.equal(error_of(chip[0]), error_of(on_chip(network())[0]))  # the model itself is unchanged


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_chips_of_16_bits_get_side_paths_too(dtype: torch.dtype) -> None:
    chip = on_chip(network()).to(dtype)
    found = ns.add_side_paths(chip, 3)
    for path, row in ((one.layer, one) for one in found.side_paths.layers):
        before, after = error_of(chip.get_submodule(path)).double(), error_of(found.get_submodule(path)).double()
        assert row.before == pytest.approx(float(before.square().mean().sqrt()), rel=2e-2)
        assert float(after.norm()) < 0.9 * float(before.norm())
    assert found(drawn("x", 2, 4, 6, 6).to(dtype)).dtype == dtype


def test_the_chip_computes_with_both_paths() -> None:
    """Without noise that is new and without converters, a layer is linear: what it gives is that of its effective weight."""
    chip = on_chip(network())
    found = ns.add_side_paths(chip, 2)
    shapes = {"0": (3, 4, 6, 6), "2": (3, 6, 6, 6), "5": (3, 196)}
    for path, shape in shapes.items():
        layer, plain = found.get_submodule(path), chip.get_submodule(path)
        x, side = drawn(path, *shape), layer.side_path
        added = layer(x) - plain(x)
        by_hand = layer.mvm(x, layer.native(side.left @ side.right), None)
        torch.testing.assert_close(added, by_hand, rtol=1e-9, atol=1e-12)


def test_with_the_full_rank_errors_of_a_chip_are_gone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 5)).double()
    chip = on_chip(model)
    found = ns.add_side_paths(chip, 99)
    assert found.side_paths.layers[0].after < 1e-12 < 1e-3 < found.side_paths.layers[0].before
    assert found.side_paths.layers[0].work == pytest.approx(5 * 17 / 60)


def test_gains_of_whole_columns_need_one_rank_each() -> None:
    """An error that is one gain for some inputs has the rank of their number, and a side path of that rank takes it all."""
    weight = drawn("weight", 20, 16)
    gain = torch.ones(16, dtype=torch.float64)
    gain[[2, 9]] = 0.7
    for rank, left in ((1, True), (2, False)):
        u, v = low_rank_factors(weight, weight * gain, rank)
        assert (float((weight - weight * gain - u @ v).norm()) > 1e-6) == left


def test_an_ideal_chip_does_not_use_it_and_a_digital_model_neither() -> None:
    model = network()
    found: Any = ns.add_side_paths(on_chip(model), 1)
    x = drawn("x", 2, 4, 6, 6)
    with ns.noise("ideal", found):
        assert torch.equal(found(x), model(x))


def test_a_later_correction_of_biases_counts_it_in() -> None:
    torch.manual_seed(0)
    chip = on_chip(nn.Sequential(nn.Linear(12, 5)).double())
    x = drawn("x", 64, 12) + 1
    found = ns.add_side_paths(chip, 99)
    before = found[0].bias.detach()
    after = ns.correct_bias(found, x)[0].bias.detach()
    plain = ns.correct_bias(chip, x)[0].bias.detach()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-10)  # nothing is left to correct
    assert float((plain - before).abs().max()) > 1e-4


def test_it_goes_where_the_model_goes() -> None:
    found = ns.add_side_paths(on_chip(network()), 2)
    x = drawn("x", 2, 4, 6, 6)
    with ns.noise("off", found):
        wanted = found(x)
        assert torch.equal(copy.deepcopy(found)(x), wanted)
        kept = io.BytesIO()
        torch.save(found.state_dict(), kept)
        kept.seek(0)
        other = ns.add_side_paths(on_chip(network()), 2)
        for side in other.modules():
            if isinstance(side, ns.analysis.SidePath):
                side.left.zero_()
        other.load_state_dict(torch.load(kept, weights_only=True))
        with ns.noise("off", other):
            assert torch.equal(other(x), wanted)


def test_what_it_cannot_help_is_left_and_what_cannot_be_is_refused() -> None:
    chip = on_chip(network())
    with pytest.raises(ConfigError, match="add_side_paths: rank: must be a whole number"):
        ns.add_side_paths(chip, 0)
    with pytest.raises(ConfigError, match="names no analog layer"):
        ns.add_side_paths(chip, 1, layers="nothing")
    with pytest.raises(ConfigError, match="0 has a side path"):
        ns.add_side_paths(ns.add_side_paths(chip, 1, layers="0"), 1)
    only = ns.add_side_paths(chip, 1, layers="5")
    assert [one.layer for one in only.side_paths.layers] == ["5"]
    assert "side paths of rank 1 beside 1 of 1 layers" in str(only.side_paths)
    assert math.isfinite(only.side_paths.to_dict()["layers"][0]["after"])
