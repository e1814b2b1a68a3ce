"""Deep residual models without norms."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.models import residual_cnn, residual_mlp
from neurosim.models.norm_free import SCHEMES, Scheme
from neurosim.norms import initialize_weight_norm
from neurosim.training.build import initialize_from

BOUNDED = [scheme for scheme in SCHEMES if scheme != "plain"]


def activation_of(scheme: str) -> str:
    return "selu" if scheme == "selu" else "gelu"


def images(batch: int = 16) -> torch.Tensor:
    return ns.random.stream(3, "images").normal((batch, 1, 8, 8), like=torch.empty(0))


def make(kind: str, scheme: Scheme, depth: int = 3, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "mlp":
            return residual_mlp([64, 16, 10], depth=depth, activation=activation_of(scheme), scheme=scheme)
        return residual_cnn([1, 8, 8], [6, 8], 10, depth=depth, activation=activation_of(scheme), scheme=scheme)


def trained(kind: str, scheme: Scheme) -> nn.Module:
    """After a few steps, so that nothing of it is 0 or 1 any more."""
    model, x = make(kind, scheme, depth=2), images()
    initialize_from(model, x, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(16) % 10).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_folding_leaves_layers_and_activations_that_compute_the_same(kind: str, scheme: Scheme) -> None:
    model = trained(kind, scheme).double()
    x = images().double()
    folded: Any = ns.fold(model, x, tolerance=1e-11)
    left = [norm for norm in folded.folding.norms if norm.status == "left"]
    if (kind, scheme) == ("cnn", "fixup"):  # an offset is not added to the zeros of the padding
        assert left
        assert all("pads with zeros" in norm.reason for norm in left)
    else:
        assert not left
        kinds = {type(part) for part in folded.modules() if not list(part.children())}
        assert kinds <= {nn.Flatten, nn.Linear, nn.Conv2d, nn.GELU, nn.SELU, nn.Identity, nn.AvgPool2d, nn.AdaptiveAvgPool2d}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_model_goes_onto_hardware_with_all_its_layers_and_trains_there(kind: str, scheme: Scheme) -> None:
    model = trained(kind, scheme)
    products = sum(isinstance(part, nn.Linear | nn.Conv2d) for part in model.modules())
    analog: Any = ns.to_analog(model, "ideal", seed=1)
    assert analog.conversion.count("converted") == products
    torch.testing.assert_close(analog(images()), model(images()), rtol=1e-3, atol=1e-3)
    analog.train()(images()).square().mean().backward()
    assert all(value.grad is not None for value in analog.parameters())
    back = ns.to_digital(analog)
    assert torch.equal(back.eval()(images()), model(images()))
    folded: Any = ns.to_analog(model, "ideal", seed=1, fold_norm=True)
    torch.testing.assert_close(folded(images()), model(images()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_state_is_loaded_into_a_fresh_model(scheme: Scheme) -> None:
    model, other = trained("mlp", scheme), make("mlp", scheme, depth=2, seed=1)
    other.load_state_dict(model.state_dict(), strict=True)
    for one in (other.eval(), copy.deepcopy(model)):
        assert torch.equal(one(images()), model(images()))


def stream_growth(scheme: Scheme, depth: int, activation: str | None = None) -> float:
    """By what factor the variance of the stream grows over all blocks, before any training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = residual_mlp([64, 64, 10], depth=depth, activation=activation or activation_of(scheme), scheme=scheme)
    x = images(64)
    if scheme == "wn":
        initialize_weight_norm(model, x)
    seen: list[torch.Tensor] = []
    for part in model[1:-1]:
        part.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    with torch.no_grad():
        model(x)
    return float(seen[-1].var() / seen[0].var())


@pytest.mark.parametrize(
    ("scheme", "low", "high"),
    [
        ("fixup", 1, 1),  # branches give 0
        ("skipinit", 1, 1),
        ("sws+nf", 1, 1),
        ("1/L", 1, 1.2),  # 1 + 1/L²·L
        ("1/√L", 2, 4),  # (1 + 1/L)^L, about e
        ("wn", 20, 60),  # 1 + L, for every branch gives variance 1
        ("selu", 0.3, 3),  # the fixed point
    ],
)
def test_a_stream_grows_as_the_scheme_says(scheme: Scheme, low: float, high: float) -> None:
    assert low <= stream_growth(scheme, 40) <= high


def test_without_a_scheme_every_block_doubles_the_variance() -> None:
    assert 2**36 < stream_growth("plain", 40, "relu") < 2**44


@pytest.mark.parametrize("scheme", ["fixup", "skipinit", "sws+nf"])
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_branches_that_start_at_0_come_to_life(kind: str, scheme: Scheme) -> None:
    model, x = make(kind, scheme), images()
    start = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(6):  # from the last layer back
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(16) % 10).backward()
        optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, start[name])}
    assert {name for name in start if "branch" in name and value_is_learned(model, name)} <= changed


def value_is_learned(model: nn.Module, name: str) -> bool:
    return name in dict(model.named_parameters())


def test_a_config_trains_a_deep_model(tmp_path: Any) -> None:
    """Fifty blocks with Fixup; a guess is right once in ten."""
    config = {
        "name": "deep",
        "log": {"dir": str(tmp_path)},
        "data": {"kind": "digits", "batch_size": 128},
        "model": {"kind": "residual_mlp", "sizes": [64, 16, 10], "depth": 50, "scheme": "fixup", "activation": "gelu"},
        "train": {"epochs": 2, "optimizer": {"kind": "adam", "lr": 2e-3}},
    }
    run = ns.train(ns.load_config(config))
    assert run.metrics["test_accuracy"] > 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "selu", "activation": "gelu"}, r"model\.activation: must be selu with the scheme selu"),
        ({"scheme": "fixd"}, r"model\.scheme"),
        ({"sizes": [64, 10]}, r"model\.sizes"),
        ({"activation": "maxout"}, r"model\.activation"),
        ({"depth": 0}, r"model\.depth"),
        ({"alpha": 0.0}, r"model\.alpha"),
    ],
)
def test_a_config_that_fits_no_model_is_refused_in_its_place(changes: dict[str, Any], message: str) -> None:
    model = {"kind": "residual_mlp", "sizes": [64, 16, 10], **changes}
    with pytest.raises(ConfigError, match=message):
        ns.load_config({"name": "try", "data": {"kind": "digits"}, "model": model})


def test_calls_that_no_config_checked_are_refused_in_our_words() -> None:
    wrong: Any = "fixd"
    with pytest.raises(ConfigError, match=r"residual_mlp\.scheme: must be one of .*'fixup'"):
        residual_mlp([64, 16, 10], scheme=wrong)
    with pytest.raises(ConfigError, match=r"residual_mlp\.sizes: must be three"):
        residual_mlp([64, 16, 16, 10])
    with pytest.raises(ConfigError, match=r"residual_cnn: images of 8 × 8 are too small for 5 stages"):
        residual_cnn([1, 8, 8], [2] * 5, 10)
    with pytest.raises(ConfigError, match=r"residual_cnn\.channels: must be one number"):
        residual_cnn([1, 8, 8], [], 10)


@pytest.mark.parametrize(
    ("given", "said"), [({"channels": 4}, "channels: must be one number"), ({"classes": "a"}, "classes: must be a whole number")]
)
def test_sizes_that_are_none_are_refused_in_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"residual_cnn.{said}"):
        residual_cnn(**{"input_shape": [1, 8, 8], "channels": [4], "classes": 10, **given})
