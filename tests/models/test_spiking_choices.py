"""Norms, first weights and parametrizations of spiking models, chosen by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import MPBN
from neurosim.norms import BatchNormOverTime, LayerNorm, LayerNormScaling, ThresholdDependentBatchNorm, TimeNorm
from neurosim.training.build import build_model, initialize_from

LIF = {"kind": "lif", "tau_mem": 2e-3, "dt": 1e-3}
CUBA = {"kind": "cuba_lif", "tau_mem": 20e-3, "tau_syn": 10e-3, "dt": 1e-3}
FAMILIES: dict[str, dict[str, Any]] = {
    "spiking_mlp": {"sizes": [64, 16, 16, 10], "time_steps": 2},
    "spiking_vgg": {"depth": 5, "input_shape": [1, 8, 8], "classes": 10, "width": 1 / 16, "time_steps": 2},
    "spiking_resnet": {"depth": 18, "input_shape": [1, 16, 16], "classes": 10, "width": 1 / 16, "time_steps": 2},
    "spiking_sequence": {"sizes": [64, 16, 16, 10], "neuron": CUBA, "time_steps": 2},
}
DENSE = ("spiking_mlp", "spiking_sequence")
MODULES = [name for name in ns.NORMS if ns.NORMS[name].kind == "module"]
WEIGHT_NORMS = [name for name in ns.NORMS if ns.NORMS[name].kind == "parametrization"]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def config(family: str, **changes: Any) -> ns.RunConfig:
    model = {"kind": family, **FAMILIES[family], **changes}
    return ns.load_config({"name": "try", "data": {"kind": "digits"}, "model": model})


def built(family: str, **changes: Any) -> Any:
    return build_model(config(family, **changes).model)


def inputs(family: str, batch: int = 3) -> torch.Tensor:
    shapes = {"spiking_sequence": (batch, 2, 64), "spiking_resnet": (batch, 1, 16, 16)}
    return 3 * ns.random.stream(0, "inputs").uniform(shapes.get(family, (batch, 1, 8, 8)), like=torch.empty(0))


def of_type(model: nn.Module, kind: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_of_the_catalogue_trains_in_every_spiking_model_or_says_what_it_needs(family: str, name: str) -> None:
    if getattr(ns.NORMS[name].make, "needs_space", False) and family in DENSE:
        with pytest.raises(
            ConfigError, match=rf"model\.norm: {name} does not fit behind a linear layer: .* axes beside batch and channels"
        ):
            config(family, norm=name)
        return
    quick = {"neuron": {**LIF, "v_threshold": 0.02}} if family == "spiking_resnet" else {}  # or what is small fires nothing when deep
    model = built(family, norm=name, **quick)
    assert len(of_type(model, ns.NORMS[name].make)) >= 2
    model(inputs(family)).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())


@pytest.mark.parametrize(("word", "name"), [("bn", "bn_over_time"), ("bn_per_step", {"kind": "bn_over_time", "statistics": "per_step"})])
def test_a_word_is_short_for_a_norm_with_its_settings(word: str, name: Any) -> None:
    one, other = built("spiking_mlp", norm=word), built("spiking_mlp", norm=name)
    other.load_state_dict(one.state_dict(), strict=True)
    x = inputs("spiking_mlp", 8)
    for training in (True, False):
        assert torch.equal(one.train(training)(x), other.train(training)(x))


def test_a_batch_norm_of_single_samples_takes_time_and_batch_together_and_a_layer_norm_every_step_by_itself() -> None:
    batch, merged = built("spiking_mlp", norm="batch"), built("spiking_mlp", norm="bn")
    merged.load_state_dict(batch.state_dict(), strict=True)
    x = inputs("spiking_mlp", 8)
    assert torch.equal(batch(x), merged(x))
    layered = built("spiking_mlp", norm="layer")
    sequence = inputs("spiking_mlp", 6).flatten(1).reshape(2, 3, 64)
    currents = layered.body.fc1(sequence)
    with ns.record(layered.body, layers="norm1", what="output") as recording:
        layered.body(sequence)
    found = recording["norm1"].output
    assert found is not None
    torch.testing.assert_close(found, nn.functional.layer_norm(currents, (16,)), rtol=1e-5, atol=1e-5)


def test_norms_take_their_settings_and_what_the_model_knows() -> None:
    first, second = of_type(built("spiking_mlp", norm={"kind": "bn", "momentum": 0.5}), BatchNormOverTime)
    assert first.momentum == second.momentum == 0.5
    neuron = {**LIF, "v_threshold": 0.25}
    assert [one.v_threshold for one in of_type(built("spiking_mlp", norm="tdbn", neuron=neuron), ThresholdDependentBatchNorm)] == [0.25] * 2
    chosen = built("spiking_mlp", norm={"kind": "tdbn", "v_threshold": 2.0}, neuron=neuron)
    assert [one.v_threshold for one in of_type(chosen, ThresholdDependentBatchNorm)] == [2.0] * 2
    assert [one.steps for one in of_type(built("spiking_mlp", norm={"kind": "tebn", "eps": 1e-3}), TimeNorm)] == [2, 2]
    assert [one.depth for one in of_type(built("spiking_mlp", norm="layer_scaling"), LayerNormScaling)] == [1, 2]
    resnet = built("spiking_resnet", norm="layer_scaling")
    depths = {path: one.depth for path, one in resnet.named_modules() if isinstance(one, LayerNormScaling)}
    assert depths["body.stem_norm"] == 1
    assert [depths[f"body.block2_1.{end}"] for end in ("body.norm1", "body.norm2", "shortcut.norm")] == [6, 7, 7]


def test_the_norm_on_the_membrane_takes_its_settings() -> None:
    found = of_type(built("spiking_mlp", norm={"kind": "mpbn", "statistics": "merged", "carry": "normalized"}), MPBN)
    assert [(one.norm.statistics, one.carry) for one in found] == [("merged", "normalized")] * 2


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ("layr", r"model\.norm: no norm is named 'layr'; did you mean 'layer'\?"),
        ("td_bn", r"model\.norm: no norm is named 'td_bn'; did you mean 'tdbn'\?"),
        ({"kind": "layer", "epz": 1.0}, r"model\.norm\.epz: layer has no argument 'epz' to be set here; did you mean 'eps'\?"),
        ({"kind": "bn", "eps": -1.0}, r"model\.norm\.eps: must be"),
        ({"kind": "tebn", "steps": 7}, r"model\.norm\.steps: must be left out or be the model's own, 2, got 7"),
        (
            {"kind": "layer", "freeze": 3},
            r"model\.norm\.freeze: spiking models take none; ns\.freeze_statistics freezes norms that are there",
        ),
        ({"kind": "mpbn", "cary": "raw"}, r"model\.norm\.cary: mpbn has no argument 'cary' to be set here; did you mean 'carry'\?"),
        ({"kind": "mpbn", "carry": "rw"}, r"model\.norm\.carry: must be 'raw' or 'normalized'"),
        ({"kind": "bn+mpbn", "eps": 1.0}, r"model\.norm: bn\+mpbn takes no settings"),
        ({"kind": "none", "eps": 1.0}, r"model\.norm: none takes no settings"),
        ({"eps": 1.0}, r"model\.norm: must be a name, or a mapping with its kind"),
        ("residual", r"model\.norm: must be a norm of currents, and 'residual' is a wrapper; use ns\.norms\.Residual"),
        ("weight_norm", r"model\.norm: must be a norm of currents, and 'weight_norm' is a parametrization"),
        ("frn", r"model\.norm: frn does not fit behind a linear layer"),
        ({"kind": "layer", "channel_dim": 4}, r"model\.norm: layer does not fit behind a linear layer"),
    ],
)
def test_a_norm_that_cannot_be_is_refused_before_anything_runs(norm: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config("spiking_mlp", norm=norm)


def test_the_norms_behind_convolutions_and_behind_linear_layers_are_both_tried() -> None:
    assert config("spiking_vgg", norm="frn").model.arguments["norm"] == "frn"
    with pytest.raises(ConfigError, match=r"model\.norm: frn does not fit behind a linear layer"):
        config("spiking_vgg", norm="frn", hidden=[16])
    with pytest.raises(ConfigError, match=r"model\.norm"):
        config("spiking_vgg", norm={"kind": "group", "groups": 3})
    with pytest.raises(ConfigError, match=r"model\.norm: instance does not fit behind a convolution with maps of 1 × 1"):
        config("spiking_resnet", norm="instance", input_shape=[1, 8, 8])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "init",
    [
        *("torch", "xavier", "kaiming", "lecun", "lsuv", {"kind": "orthogonal", "gain": 2.0}),
        *({"kind": kind, "activation": "relu"} for kind in ("variance_preserving", "edge_of_chaos")),
        {"kind": "kumar", "activation": "sigmoid"},
    ],
    ids=lambda init: init if isinstance(init, str) else init["kind"],
)
def test_every_initialiser_gives_a_spiking_model_first_weights(family: str, init: Any) -> None:
    model = built(family, init=init, norm="bn" if init == "lsuv" else "none")
    if init == "lsuv":
        ns.initialize(model, init, inputs(family, 16), seed=0)
    assert model.initialisation.name == (init if isinstance(init, str) else init["kind"])
    assert model(inputs(family)).isfinite().all()


def test_weights_are_those_of_the_initialiser_and_without_one_those_of_torch() -> None:
    torch.manual_seed(0)
    plain = built("spiking_mlp")
    torch.manual_seed(0)
    again = nn.Linear(64, 16)
    assert torch.equal(plain.body.fc1.weight, again.weight)
    weight = built("spiking_mlp", init={"kind": "orthogonal", "gain": 2.0}).body.fc1.weight
    torch.testing.assert_close(weight @ weight.T, 4 * torch.eye(16), rtol=1e-4, atol=1e-4)


def test_lsuv_brings_the_currents_of_all_steps_to_one_variance() -> None:
    model = built("spiking_mlp", init="lsuv", time_steps=6)
    ns.initialize(model, "lsuv", inputs("spiking_mlp", 64), seed=0, variance=2.0)
    assert model.initialisation.missed == ()
    with ns.record(model.body, layers="fc*", what="output") as recording:
        model.eval()(inputs("spiking_mlp", 64))
    for name in ("fc1", "fc2", "fc3"):
        values = recording[name].output
        assert values is not None
        assert float(values.detach().var(correction=0)) == pytest.approx(2.0, rel=0.02)


def test_the_factor_on_first_weights_of_a_sequence_model_acts_on_those_of_the_initialiser() -> None:
    model = built("spiking_sequence", init="orthogonal", weight_scale=0.5)
    weight = model.body.fc1.weight
    torch.testing.assert_close(weight @ weight.T, 0.25 * torch.eye(16), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHT_NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parametrization_trains_in_every_spiking_model_and_folds(family: str, name: str) -> None:
    model = built(family, weight_norm=name, norm="bn")
    layers = of_type(model, nn.Linear | nn.Conv2d)
    assert [parametrize.is_parametrized(layer) for layer in layers] == [True] * (len(layers) - 1) + [False]
    model(inputs(family)).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())
    folded = ns.fold(model.eval())
    assert not any(parametrize.is_parametrized(layer) for layer in folded.modules())
    assert folded(inputs(family)).shape == (3, 10)
    copy.deepcopy(model).load_state_dict(model.state_dict(), strict=True)


def test_what_goes_onto_a_chip_are_the_weights_that_a_parametrization_computes() -> None:
    model = built("spiking_mlp", weight_norm="gmp", norm="bn").eval()
    plain = built("spiking_mlp", weight_norm="gmp", norm="bn").eval()
    plain.load_state_dict(model.state_dict())
    for layer in of_type(plain, nn.Linear)[:-1]:
        parametrize.remove_parametrizations(layer, "weight")
    chips = [ns.to_neuromorphic(one, "bss2_spiking", seed=0) for one in (model, plain)]
    torch.testing.assert_close(*(chip(inputs("spiking_mlp")) for chip in chips))


def test_recurrent_connections_keep_plain_weights() -> None:
    model = built("spiking_sequence", recurrent=True, weight_norm="weight_norm")
    names = [path for path, module in model.named_modules() if parametrize.is_parametrized(module)]
    assert names == ["body.fc1", "body.fc2"]


def test_a_weight_norm_that_starts_from_data_gives_currents_of_variance_1() -> None:
    model = built("spiking_mlp", weight_norm={"kind": "weight_norm", "data_init": True}, time_steps=1)
    x = inputs("spiking_mlp", 64)
    initialize_from(model, x, seed=0)
    current = model.body.fc1(x.flatten(1))
    torch.testing.assert_close(current.std(0, correction=0), torch.ones(16), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("spiking_mlp", {"init": "variance_preserving"}, r"model\.init: must be told an activation in the place of the neurons"),
        ("spiking_mlp", {"init": {"kind": "edge_of_chaos", "sparsity": 0.5}}, r"model\.init: must be told an activation"),
        ("spiking_mlp", {"init": "kumar", "activation": "relu"}, r"model\.init: .*differentiable at 0"),
        ("spiking_mlp", {"init": "lsu"}, r"model\.init: no initialiser is named 'lsu'"),
        ("spiking_mlp", {"init": "lsuv", "neuron": {**LIF, "kind": "rlif"}}, r"model\.init: .* nothing at the first step"),
        ("spiking_sequence", {"init": "lsuv", "recurrent": True}, r"model\.init: .* silent at the first step"),
        ("spiking_sequence", {"init": "lsuv", "weight_scale": 0.5}, r"model\.weight_scale: must be 1"),
        ("spiking_sequence", {"activation": "relu"}, r"model\.activation: must be 'spike': between the layers of this network there are"),
        ("spiking_mlp", {"layers": "ei", "init": "xavier"}, r"model\.layers: 'ei' has weights of its own"),
        ("spiking_mlp", {"layers": "ei", "weight_norm": "gmp"}, r"model\.layers: 'ei' has weights of its own"),
        (
            "spiking_mlp",
            {"weight_norm": "gpm"},
            r"model\.weight_norm: must be a norm of weights, and none is named 'gpm'; did you mean 'gmp'",
        ),
        ("spiking_mlp", {"weight_norm": "layer"}, r"model\.weight_norm: must be a norm of weights, and 'layer' is a module"),
        ("spiking_mlp", {"weight_norm": {"kind": "gmp", "dim": 1}}, r"model\.weight_norm\.dim: gmp has no argument 'dim' to be set here"),
        ("spiking_mlp", {"weight_norm": "weight_conditioning", "init": "lsuv"}, r"model\.init: must not scale weights by a batch"),
        (
            "spiking_mlp",
            {"weight_norm": {"kind": "weight_norm", "data_init": True}, "init": "lsuv"},
            r"model\.weight_norm\.data_init: must be false where init takes",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused_before_anything_runs(family: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(family, **changes)


def test_an_initialiser_takes_the_digital_activation_that_stands_for_the_neurons() -> None:
    model = built("spiking_mlp", activation="gelu", init="variance_preserving")
    assert [layer.fed_by for layer in model.initialisation.layers] == ["input", "GELU", "GELU"]


def test_a_norm_of_every_sample_stays_digital_beside_a_chip() -> None:
    model = built("spiking_mlp", norm="layer").eval()
    chip: Any = ns.to_neuromorphic(model, "bss2_spiking", seed=0)
    assert len(of_type(chip, LayerNorm)) == 2
    assert chip(inputs("spiking_mlp")).isfinite().all()
