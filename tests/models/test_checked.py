"""What a config says of a model is refused before anything runs, and all of it at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurosim.config import load_config
from neurosim.errors import ConfigError
from neurosim.models import MODELS
from neurosim.models.checked import check_all

DATA = {"kind": "digits"}
SIZES = {"sizes": [64, 64, 10]}


def problems(**model: Any) -> dict[str, str]:
    """What is said of a model, by the key of the config."""
    with pytest.raises(ConfigError) as caught:
        load_config({"name": "a", "data": DATA, "model": model})
    found = (text.partition(": model.")[2] or text.removeprefix("model.") for text in caught.value.problems)
    return {key: said for key, _, said in (text.partition(": ") for text in found)}


@pytest.mark.parametrize("kind", ["mlp", "residual_mlp", "spiking_mlp"])
def test_all_names_that_are_wrong_are_said_at_once(kind: str) -> None:
    found = problems(kind=kind, **SIZES, norm="foo", init="bar", activation="gelo", weight_norm="nope")
    assert set(found) == {"norm", "init", "activation", "weight_norm"}
    assert "'gelo'; did you mean 'gelu'?" in found["activation"]


@pytest.mark.parametrize("kind", ["mlp", "residual_mlp", "spiking_mlp"])
def test_all_that_does_not_fit_is_said_at_once(kind: str) -> None:
    found = problems(kind=kind, **SIZES, norm={"kind": "group", "groups": 5}, activation={"kind": "prelu", "channels": 7})
    assert found == {
        "norm.groups": "must divide the 64 channels, got 5",
        "activation": "does not fit behind a linear layer of 64 outputs: activation prelu: axis 1 must have 7 channels, got shape (2, 64)",
    }


IMAGES = {"input_shape": [1, 8, 8], "channels": [8]}
UNFIT = [
    ("mlp", SIZES, {"kind": "smart_mixed", "units": 63}, "SmartMixed: axis 1 must have 63 units"),
    ("mlp", SIZES, {"kind": "groupsort", "group": 3}, "group must divide the 64 elements of axis 1, got 3"),
    ("delta_mlp", SIZES, {"kind": "groupsort", "group": 3}, "group must divide the 64 elements"),
    ("cnn", {**IMAGES, "hidden": [], "classes": 10}, {"kind": "groupsort", "group": 3}, "behind a convolution of 8 outputs"),
    ("residual_cnn", {**IMAGES, "classes": 10}, {"kind": "prelu", "channels": 7}, "behind a convolution of 8 outputs"),
    ("spiking_vgg", {"depth": 5, "input_shape": [1, 8, 8], "classes": 10}, {"kind": "prelu", "channels": 7}, "behind a convolution of"),
]


@pytest.mark.parametrize(("kind", "sizes", "choice", "message"), UNFIT, ids=[f"{one[0]}-{one[2]['kind']}" for one in UNFIT])
def test_an_activation_that_does_not_fit_is_refused_as_a_norm_is(kind: str, sizes: Any, choice: Any, message: str) -> None:
    assert message in problems(kind=kind, **sizes, activation=choice)["activation"]


def test_the_last_activation_is_tried_on_the_classes() -> None:
    choice = {"kind": "groupsort", "group": 3}
    assert set(problems(kind="mlp", sizes=[64, 63, 10], activation=choice, last_activation=choice)) == {"last_activation"}


def test_a_spiking_model_says_what_is_wrong_with_an_activation() -> None:
    said = [problems(kind="spiking_mlp", **SIZES, activation=one)["activation"] for one in ("spik", {"kind": "prelu", "chanels": 7}, 3)]
    assert said[0] == "must be 'spike' or an activation, got 'spik'; did you mean 'spike'?"
    assert said[1] == "must be 'spike' or an activation: activation prelu: it has no parameter 'chanels'; did you mean 'channels'?"
    assert "must be 'spike' or an activation: must be a name" in said[2]


def test_checks_cost_no_random_numbers() -> None:
    before = torch.get_rng_state()
    arguments = {"sizes": [64, 64, 10], "activation": {"kind": "smart_mixed", "units": 64}, "last_activation": "stochastic"}
    MODELS.check("mlp", {**arguments, "init": "torch", "norm": None, "weight_norm": None})
    assert torch.equal(torch.get_rng_state(), before)


def test_checks_that_say_the_same_say_it_once() -> None:
    def fails(text: str) -> Any:
        def check() -> None:
            raise ConfigError(text)

        return check

    with pytest.raises(ConfigError) as caught:
        check_all(fails("a: b"), fails("c: d\ne: f"), lambda: None, fails("a: b"))
    assert caught.value.problems == ("a: b", "c: d", "e: f")
