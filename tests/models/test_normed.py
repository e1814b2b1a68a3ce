"""Norms of digital models, chosen by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.models import cnn, mlp, norm_layer
from neurosim.norms import BatchNorm, FreezingNorm, LayerNorm, Norm, residual_stack

MLP = {"kind": "mlp", "sizes": [64, 16, 10]}
CNN = {"kind": "cnn", "input_shape": [1, 8, 8], "channels": [16], "hidden": [16], "classes": 10}
RESIDUAL = {
    "residual_mlp": {"kind": "residual_mlp", "sizes": [64, 16, 10], "depth": 2},
    "residual_cnn": {"kind": "residual_cnn", "input_shape": [1, 8, 8], "channels": [16], "classes": 10, "depth": 2},
}
#: what can stand in a digital model, behind its linear layers too
NAMES = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and not getattr(ns.NORMS[name].make, "takes_time", False)]


def config(model: dict[str, Any], **changes: Any) -> ns.RunConfig:
    return ns.load_config({"name": "try", "data": {"kind": "digits"}, "model": {**model, **changes}})


def test_there_are_norms_to_choose_from() -> None:
    assert {"batch", "layer"} <= set(NAMES)


def test_a_norm_stands_after_every_layer_but_the_last() -> None:
    names = [name for name, _ in mlp([8, 6, 5, 4], norm="layer").named_children()]
    assert names == ["flatten", "fc1", "norm1", "act1", "fc2", "norm2", "act2", "fc3"]
    names = [name for name, _ in cnn([1, 8, 8], [4], [6], 3, norm="layer").named_children()]
    assert names == ["conv1", "norm1", "act1", "pool1", "flatten", "fc1", "fc_norm1", "fc_act1", "fc2"]


def test_no_norm_is_the_model_as_it_was() -> None:
    assert list(mlp([8, 6, 4]).state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "cnn"])
def test_a_model_with_any_norm_trains_or_is_told_that_the_norm_needs_space(model: dict[str, Any], name: str) -> None:
    if getattr(ns.NORMS[name].make, "needs_space", False):
        with pytest.raises(ConfigError, match="must have axes beside batch and channels"):
            config(model, norm=name)
        model = {**CNN, "hidden": []}
    made = ns.MODELS[model["kind"]](**config(model, norm=name).model.arguments)
    assert any(isinstance(module, Norm) for module in made.modules())
    made(torch.rand(3, 1, 8, 8)).sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in made.parameters())


def test_a_norm_takes_its_settings_from_the_config() -> None:
    norm = norm_layer({"kind": "batch", "momentum": 0.5}, 16, axes=2)
    assert isinstance(norm, BatchNorm)
    assert norm.momentum == 0.5


def test_norms_of_a_config_freeze_one_after_the_other() -> None:
    made = ns.MODELS["mlp"](**config(MLP, sizes=[64, 16, 16, 10], norm={"kind": "layer", "eps": 1e-3, "freeze": [2, 3]}).model.arguments)
    norms = [module for module in made.modules() if isinstance(module, FreezingNorm)]
    assert [int(norm.after) for norm in norms] == [2, 5]
    assert all(isinstance(norm.norm, LayerNorm) and norm.norm.eps == 1e-3 for norm in norms)
    frozen = []
    for _ in range(6):
        made(torch.rand(3, 1, 8, 8))
        frozen.append([norm.frozen for norm in norms])
    assert frozen == [[False, False]] + [[True, False]] * 3 + [[True, True]] * 2
    assert all(isinstance(one, nn.Identity) for name, one in ns.fold(made.eval()).named_children() if name.startswith("norm"))
    assert int(norm_layer({"kind": "rms", "freeze": 7}, 4, axes=2, depth=3).get_buffer("after")) == 7


@pytest.mark.parametrize(
    ("placement", "after"), [("peri", [2, 2, 2, 5, 5, 8]), ("pre", [2, 5, 8]), ("post", [2, 5]), ("hybrid", [2, 5, 8]), ("none", [])]
)
@pytest.mark.parametrize("family", RESIDUAL)
def test_norms_of_residual_blocks_freeze_block_after_block(family: str, placement: str, after: list[int]) -> None:
    choices = {"placement": placement, "norm": {"kind": "layer", "eps": 1e-3, "freeze": [2, 3]}}
    made = ns.MODELS[family](**config(RESIDUAL[family], **choices).model.arguments)
    norms = [module for module in made.modules() if isinstance(module, FreezingNorm)]
    assert sorted(int(norm.after) for norm in norms) == after
    for passes in range(1, 10):
        made(torch.rand(3, 1, 8, 8)).sum().backward()
        assert [norm.frozen for norm in norms] == [int(norm.after) <= passes for norm in norms]
    again = ns.MODELS[family](**config(RESIDUAL[family], **choices).model.arguments)
    again.load_state_dict(made.state_dict(), strict=True)
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(again.eval()(x), made.eval()(x))
    torch.testing.assert_close(ns.fold(made)(x), made(x), rtol=1e-4, atol=1e-4)


def test_a_stack_freezes_its_layers_one_after_the_other_and_its_ends_with_the_first_and_behind_the_last() -> None:
    stack = residual_stack([nn.Linear(4, 4) for _ in range(2)], 4, {"kind": "rms", "freeze": [1, 2]}, "peri", channel_dim=-1)
    assert [int(one.after) for one in stack.modules() if isinstance(one, FreezingNorm)] == [1, 1, 1, 3, 3, 5]


def test_batch_norm_by_name_is_that_of_torch() -> None:
    ours, theirs = cnn([1, 8, 8], [4], [], 3, norm="batch"), cnn([1, 8, 8], [4], [], 3, batch_norm=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.rand(5, 1, 8, 8)
    for training in (True, False):
        assert torch.equal(ours.train(training)(x), theirs.train(training)(x))


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("layr", r"model\.norm: no norm is named 'layr'; did you mean 'layer'\?"),
        ({"kind": "layer", "epz": 1.0}, r"model\.norm\.epz: layer has no argument 'epz' to be set here; did you mean 'eps'\?"),
        ({"kind": "layer", "features": 3}, r"model\.norm\.features: layer has no argument 'features' to be set here"),
        ({"kind": "layer", "eps": -1.0}, r"model\.norm\.eps: must be a finite number > 0, got -1.0"),
        (
            {"kind": "layer", "channel_dim": 3},
            r"model\.norm: layer does not fit: LayerNorm: x must be .* with 16 channels on axis 3",
        ),
        ({"eps": 1.0}, r"model\.norm: must be a name, or a mapping with its kind"),
        ("bn_over_time", r"model\.norm: must be a norm of single samples, and 'bn_over_time' is a norm of sequences"),
        ("mpbn", r"model\.norm: must be a norm of single samples, and 'mpbn' is a wrapper"),
        ({"kind": "batch", "freeze": 3}, r"model\.norm\.freeze: must be left out of batch, which takes no statistics of every sample"),
        ({"kind": "layer", "freeze": [3, -1]}, r"model\.norm\.freeze: gap: must be a whole number, 0 or more, got -1"),
        ({"kind": "layer", "freeze": None}, r"model\.norm\.freeze: must be a whole number, 0 or more, got None"),
        ({"kind": "layr", "freeze": 3}, r"model\.norm: no norm is named 'layr'"),
    ],
)
@pytest.mark.parametrize("model", [MLP, CNN, *RESIDUAL.values()], ids=["mlp", "cnn", *RESIDUAL])
def test_what_does_not_fit_is_refused_before_anything_runs(model: dict[str, Any], norm: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(model, norm=norm)


def test_two_ways_to_ask_for_a_norm_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match=r"batch_norm: must be left out where there is a norm"):
        config(CNN, norm="layer", batch_norm=True)


def test_a_norm_is_no_part_of_the_hardware() -> None:
    analog: Any = ns.to_analog(mlp([8, 6, 4], norm="batch"), "photonic_avnn", seed=1)
    assert {entry.path: entry.status for entry in analog.conversion.layers}["norm1"] == "digital"
    folded: Any = ns.fold(mlp([8, 6, 4], norm="batch").eval())
    assert isinstance(folded.norm1, nn.Identity)


def test_a_batch_norm_by_name_becomes_spiking_and_others_say_what_to_use() -> None:
    model = cnn([1, 8, 8], [4], [], 3, norm="batch")
    model(torch.rand(5, 1, 8, 8))
    assert ns.to_spiking(model.eval(), time_steps=4, calibration=torch.rand(5, 1, 8, 8)) is not None
    with pytest.raises(ns.ConversionError, match="takes its statistics from the sample and cannot be folded; train with a batch norm"):
        ns.to_spiking(cnn([1, 8, 8], [4], [], 3, norm="layer").eval(), time_steps=4, calibration=torch.rand(5, 1, 8, 8))
