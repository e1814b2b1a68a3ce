"""Sizes and shapes that no model can have are refused before anything is made of them."""

from __future__ import annotations

from typing import Any

import pytest

import neurosim as ns

NEURON = {"kind": "lif", "tau_mem": 5e-3, "dt": 1e-3}
FLAT: dict[str, dict[str, Any]] = {"mlp": {}, "spiking_mlp": {}, "delta_mlp": {}, "spiking_sequence": {"neuron": NEURON}}
MAPS: dict[str, dict[str, Any]] = {
    **{"cnn": {"channels": [4], "hidden": []}, "spiking_vgg": {"depth": 5}},
    **{"spiking_resnet": {"depth": 18}},
}


@pytest.mark.parametrize("sizes", [[12], [], 12])
@pytest.mark.parametrize("name", FLAT)
def test_a_network_from_nothing_to_nothing_is_refused(name: str, sizes: Any) -> None:
    with pytest.raises(ns.ConfigError, match=rf"{name}\.sizes: must be at least two numbers of features, .* got "):
        ns.MODELS[name](sizes=sizes, **FLAT[name])


@pytest.mark.parametrize("size", [0, -3, 2.5])
@pytest.mark.parametrize("name", FLAT)
def test_layers_of_no_size_are_refused(name: str, size: Any) -> None:
    with pytest.raises(ns.ConfigError, match=rf"{name}\.sizes\[1\]: must be a whole number, 1 or more, got {size}"):
        ns.MODELS[name](sizes=[12, size, 3], **FLAT[name])


@pytest.mark.parametrize(
    ("shape", "message"), [([8, 8], "must be .channels, height, width. of an image, got"), ([1, 8, 0], "whole number")]
)
@pytest.mark.parametrize("name", MAPS)
def test_images_of_another_shape_are_refused(name: str, shape: list[int], message: str) -> None:
    with pytest.raises(ns.ConfigError, match=rf"{name}\.input_shape.*{message}"):
        ns.MODELS[name](input_shape=shape, classes=3, **MAPS[name])
