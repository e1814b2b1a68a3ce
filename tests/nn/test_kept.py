"""What arrays hold is kept for the weights that it was made of, and for no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.profile import load_profile
from neurosim.nn import array
from neurosim.nn.composed import AnalogProduct, Matrix, make_product_chain

PROFILES = ("pcm_inmemory", "rram_wan")  #: written once, and read anew at every forward


def converted(profile: str) -> nn.Module:
    torch.manual_seed(0)
    digital = nn.Sequential(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    return ns.to_analog(digital, profile, seed=0)


def outputs(profile: str, way: str) -> Tensor:
    """Three forwards of chips, or of one whose weights are kept."""
    model, x = converted(profile), torch.rand(4, 12, generator=torch.Generator().manual_seed(1))
    if way == "chips":
        stack = ns.chips(model, 2)
        return torch.stack([stack(x) for _ in range(3)])
    with ns.keep_weights(model):
        return torch.stack([model(x) for _ in range(3)])


@pytest.mark.parametrize("way", ["chips", "keep_weights"])
@pytest.mark.parametrize("profile", PROFILES)
def test_inference_mode_gives_what_no_grad_gives(profile: str, way: str) -> None:
    with torch.no_grad():
        expected = outputs(profile, way)
    with torch.inference_mode():
        assert torch.equal(outputs(profile, way), expected)


@pytest.mark.parametrize("way", ["chips", "keep_weights"])
def test_what_was_kept_in_one_mode_serves_the_other(way: str) -> None:
    model = converted("pcm_inmemory")
    many: Any = ns.chips(model, 2) if way == "chips" else model
    x = torch.rand(4, 12)
    with torch.no_grad(), ns.keep_weights(many), ns.noise("fixed", many):
        expected = many(x)
        with torch.inference_mode():
            assert torch.equal(many(x), expected)
        assert torch.equal(many(x), expected)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("profile", ["pcm_inmemory", "ideal"])
def test_weights_that_change_in_inference_mode_are_noticed(profile: str, inside: bool) -> None:
    with torch.inference_mode(inside):
        model: Any = converted(profile)
    x = torch.rand(4, 12)
    with torch.inference_mode(), ns.noise("fixed", model):
        with ns.keep_weights(model):
            before = model(x)
            model[0].weight.mul_(torch.linspace(0.5, 1, 12))
            after = model(x)
        assert not torch.equal(after, before)
        assert torch.equal(after, model(x))


def test_weights_in_inference_mode_are_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        written.append(1)
        return encode(*args, **kwargs)

    encode: Any = vars(array)["encode"]
    monkeypatch.setattr("neurosim.nn.array.encode", counted)
    for inside in (False, True):
        with torch.inference_mode(inside):
            model = converted("pcm_inmemory")
        written.clear()
        with torch.inference_mode(), ns.keep_weights(model):
            for _ in range(3):
                model(torch.rand(4, 12))
        assert len(written) == 2, "one for each layer"


@pytest.mark.parametrize("profile", ["pcm_inmemory", "photonic_avnn"])
def test_a_weight_that_takes_the_place_of_one_that_is_gone_is_another(profile: str) -> None:
    weight, x = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)), torch.rand(3, 6)
    product = AnalogProduct(make_product_chain(Matrix(weight, None), load_profile(profile).chain, 0, "product"))
    with torch.no_grad(), ns.noise("off", product):
        changes = [weight * torch.linspace(0.1 * part, 1, 6) for part in range(4)]
        with ns.keep_weights(product):
            kept = [product(x, change.clone(), None) for change in changes]  # each is freed before the next one is made
        for change, y in zip(changes, kept, strict=True):
            assert torch.equal(product(x, change, None), y)
