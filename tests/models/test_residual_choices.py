"""Norms, placements, first weights and parametrizations of digital models, residual ones above all."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import neurosim as ns
from neurosim.config.plan_study import plan_study
from neurosim.errors import ConfigError
from neurosim.norms import LayerNormScaling, Norm, Residual, ScaledWeightStandardization, residual_stack
from neurosim.norms.placement import Placement
from neurosim.training.build import build_model

FAMILIES: dict[str, dict[str, Any]] = {
    "residual_mlp": {"sizes": [64, 16, 10], "depth": 2},
    "residual_cnn": {"input_shape": [1, 8, 8], "channels": [8, 16], "classes": 10, "depth": 1},
}
PLAIN: dict[str, dict[str, Any]] = {
    "mlp": {"sizes": [64, 16, 16, 10]},
    "cnn": {"input_shape": [1, 8, 8], "channels": [8], "hidden": [16], "classes": 10},
}
NORMS = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and not getattr(ns.NORMS[name].make, "takes_time", False)]
WEIGHT_NORMS = [name for name in ns.NORMS if ns.NORMS[name].kind == "parametrization"]
PLACEMENTS = [one for one in get_args(Placement) if one != "none"]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def config(family: str, **changes: Any) -> ns.RunConfig:
    model = {"kind": family, **{**FAMILIES, **PLAIN}[family], **changes}
    return ns.load_config({"name": "try", "data": {"kind": "digits"}, "model": model})


def built(family: str, **changes: Any) -> Any:
    return build_model(config(family, **changes).model)


def images(batch: int = 8) -> torch.Tensor:
    return ns.random.stream(0, "images").normal((batch, 1, 8, 8), like=torch.empty(0))


def of_type(model: nn.Module, kind: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


def trains(model: nn.Module) -> bool:
    model(images()).square().sum().backward()
    return all(value.grad is not None and bool(value.grad.isfinite().all()) for value in model.parameters())


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_norm_of_single_samples_trains_in_a_residual_model_or_says_what_it_needs(family: str, name: str) -> None:
    if getattr(ns.NORMS[name].make, "needs_space", False) and family == "residual_mlp":
        with pytest.raises(ConfigError, match=rf"model\.norm: {name} does not fit: .* axes beside batch"):
            config(family, norm=name)
        return
    model = built(family, norm=name)
    assert len(of_type(model, ns.NORMS[name].make)) == 3  # before both branches, and at the end of the stream
    assert trains(model)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_placement_trains_and_goes_onto_hardware(family: str, placement: Placement) -> None:
    model = built(family, norm="layer", placement=placement)
    assert len(of_type(model, Residual)) == 2
    assert trains(model)
    products = len(of_type(model, nn.Linear | nn.Conv2d))
    analog: Any = ns.to_analog(model.eval(), "ideal", seed=1)
    assert analog.conversion.count("converted") == products
    torch.testing.assert_close(analog(images()), model(images()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_norms_are_those_of_a_residual_stack(placement: Placement) -> None:
    """The same function, norms at the ends of the stream included, once the weights are the same."""
    model = built("residual_mlp", norm={"kind": "layer", "eps": 1e-3}, placement=placement)
    branches = [copy.deepcopy(block.path.branch) for block in of_type(model, Residual)]
    stack = residual_stack(branches, 16, {"kind": "layer", "eps": 1e-3}, placement, initialize=False)
    stream = model.stem(images().flatten(1))
    torch.testing.assert_close(model(images()), model.head(stack(stream)))
    assert len(of_type(stack, Norm)) == len(of_type(model, Norm))


def test_deep_branches_start_smaller_by_the_root_of_their_number() -> None:
    torch.manual_seed(3)
    post = built("residual_mlp", norm="layer", placement="post", depth=4)
    torch.manual_seed(3)
    deep = built("residual_mlp", norm="layer", placement="deep", depth=4)
    torch.testing.assert_close(deep.block2.path.branch[0].weight, post.block2.path.branch[0].weight / 2)  # (4 · 4)^¼
    assert torch.equal(deep.stem.weight, post.stem.weight)


@pytest.mark.parametrize("name", [name for name in WEIGHT_NORMS if name != "weight_conditioning"])
@pytest.mark.parametrize("family", FAMILIES)
def test_parametrized_branches_start_as_much_smaller(family: str, name: str) -> None:
    torch.manual_seed(3)
    post = built(family, norm="layer", placement="post", weight_norm=name)
    torch.manual_seed(3)
    deep = built(family, norm="layer", placement="deep", weight_norm=name)
    products = [(path, part) for path, part in post.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    for path, layer in products:
        gain = 8**-0.25 if ".branch." in path else 1.0  # (4 · 2)^-¼
        torch.testing.assert_close(deep.get_submodule(path).weight, layer.weight * gain, rtol=1e-4, atol=1e-6)
    assert trains(deep)


def test_a_stage_begins_with_a_shortcut_beside_a_normed_branch() -> None:
    model = built("residual_cnn", norm="batch", placement="peri")
    block: Any = model.block2.block
    assert of_type(model, Residual)[1] is block
    assert (block.path.before.num_features, block.path.behind.num_features) == (8, 16)
    x = torch.rand(2, 8, 4, 4)
    torch.testing.assert_close(block.eval()(x), block.shortcut(x) + block.path(x))


def test_norms_that_know_their_depth_are_numbered_by_their_blocks() -> None:
    model = built("residual_mlp", norm="layer_scaling", depth=3)
    assert [one.depth for one in of_type(model, LayerNormScaling)] == [1, 2, 3, 1]  # the last at the end of the stream


def test_without_these_choices_a_model_is_what_it_was() -> None:
    torch.manual_seed(0)
    model = ns.models.residual_mlp([64, 16, 10], depth=1)
    torch.manual_seed(0)
    stem = nn.Linear(64, 16)
    nn.init.normal_(stem.weight, std=1 / 8)
    assert torch.equal(model.get_parameter("stem.weight"), stem.weight)
    assert not hasattr(model, "initialisation")


@pytest.mark.parametrize("init", ["torch", "xavier", "kaiming", "lecun", "orthogonal", "variance_preserving", "edge_of_chaos", "lsuv"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("norm", [None, "layer"])
def test_every_initialiser_gives_a_residual_model_first_weights(family: str, init: str, norm: str | None) -> None:
    model = built(family, init=init, norm=norm)
    if init == "lsuv":
        ns.initialize(model, init, images(32), seed=0)
        assert model.initialisation.missed == ()
    assert model.initialisation.name == init
    assert model(images()).isfinite().all()


def test_initialisers_know_that_the_stream_comes_from_no_activation() -> None:
    fed = {one.path: one.fed_by for one in built("residual_cnn", init="variance_preserving").initialisation.layers}
    assert fed == {
        **{"stem": "input", "block1.branch.0.0": "stream", "block1.branch.0.2": "ReLU"},
        **{"block2.block.branch.0.0": "stream", "block2.block.branch.0.2": "ReLU", "block2.block.shortcut": "stream", "head": "stream"},
    }
    normed = {one.path: one.fed_by for one in built("residual_mlp", norm="rms", init="variance_preserving").initialisation.layers}
    assert (normed["block1.path.branch.0"], normed["block1.path.branch.2"], normed["head"]) == ("norm", "ReLU", "norm")
    post = built("residual_mlp", norm="rms", placement="post", init="variance_preserving")
    assert {one.path: one.fed_by for one in post.initialisation.layers}["block1.path.branch.0"] == "stream"


def test_weights_behind_an_activation_make_up_for_it_and_those_behind_the_stream_do_not() -> None:
    model = built("residual_mlp", sizes=[64, 256, 10], init={"kind": "variance_preserving", "distribution": "orthogonal"})
    stream, behind = (model.block1.branch[0][at].weight.square().mean().item() * 256 for at in (0, 2))
    assert (stream, behind) == pytest.approx((1.0, 2.0), rel=1e-3)


@pytest.mark.parametrize("name", WEIGHT_NORMS)
@pytest.mark.parametrize("family", [*FAMILIES, *PLAIN])
@pytest.mark.parametrize("norm", [None, "layer"])
def test_every_parametrization_trains_in_every_digital_model_and_folds(family: str, name: str, norm: str | None) -> None:
    model = built(family, weight_norm=name, norm=norm)
    layers = of_type(model, nn.Linear | nn.Conv2d)
    assert sum(parametrize.is_parametrized(layer) for layer in layers) == len(layers) - 1
    assert trains(model)
    folded = ns.fold(model.eval(), images(), tolerance=1e-4)
    assert not any(parametrize.is_parametrized(layer) for layer in folded.modules())


def test_standardised_weights_know_the_activation_before_them() -> None:
    model = built("mlp", activation="relu", weight_norm="weight_standardization")
    gammas = [one.gamma for one in of_type(model, ScaledWeightStandardization)]
    assert gammas == pytest.approx([1.0, 1.7129], abs=1e-4)
    chosen = built("mlp", weight_norm={"kind": "weight_standardization", "gamma": 1.5})
    assert [one.gamma for one in of_type(chosen, ScaledWeightStandardization)] == [1.5, 1.5]
    blocks = built("residual_mlp", activation="relu", weight_norm="weight_standardization", depth=1)
    assert [round(one.gamma, 3) for one in of_type(blocks, ScaledWeightStandardization)] == [1.0, 1.0, 1.713]


def test_weight_norm_starts_as_the_weights_of_the_initialiser() -> None:
    torch.manual_seed(0)
    plain = built("mlp", init="orthogonal")
    torch.manual_seed(0)
    normed = built("mlp", init="orthogonal", weight_norm="weight_norm")
    torch.testing.assert_close(normed(images()), plain(images()))


@pytest.mark.parametrize("name", WEIGHT_NORMS)
def test_initialisers_that_differ_in_scale_alone_are_the_same_where_no_scale_is_kept(name: str) -> None:
    models = []
    for init in ("kaiming", "xavier"):
        torch.manual_seed(0)
        models.append(built("mlp", init=init, weight_norm=name))
    hidden, last = (torch.allclose(*(model.get_submodule(path).weight for model in models)) for path in ("fc2", "fc3"))
    assert hidden == (name in ("weight_standardization", "weight_conditioning"))
    assert not last


@pytest.mark.parametrize("name", [name for name in WEIGHT_NORMS if name != "weight_conditioning"])
def test_a_batch_scales_weights_through_their_parametrization(name: str) -> None:
    model = built("residual_mlp", weight_norm=name, init="lsuv")
    ns.initialize(model, "lsuv", images(32), seed=0, tol=0.05)
    assert model.initialisation.missed == ()


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "residual_mlp",
        {"norm": "layer", "scheme": "fixup"},
        r"model\.norm: must be left out with the scheme 'fixup', which does without one",
    ),
    ("residual_mlp", {"norm": "layer", "scheme": "sws+nf"}, r"model\.norm: must be left out with the scheme 'sws\+nf'"),
    ("residual_mlp", {"norm": "layr"}, r"model\.norm: no norm is named 'layr'; did you mean 'layer'\?"),
    ("residual_mlp", {"norm": "tdbn"}, r"model\.norm: must be a norm of single samples, and 'tdbn' is a norm of sequences"),
    ("residual_cnn", {"norm": {"kind": "group", "groups": 3}}, r"model\.norm"),
    ("residual_mlp", {"norm": "layer", "placement": "prae"}, r"model\.placement"),
    ("residual_mlp", {"placement": "post"}, r"model\.placement: must be left out where there is no norm, got 'post'"),
    ("residual_mlp", {"init": "orthogonal", "scheme": "fixup"}, r"model\.init: must be left out with the scheme 'fixup'"),
    ("residual_mlp", {"init": "lsuv", "scheme": "wn"}, r"model\.init: must not be one that measures on a batch, for the scheme 'wn'"),
    ("residual_mlp", {"init": "lsuv", "norm": "rms", "placement": "deep"}, r"model\.init: .* placement 'deep' makes branches smaller"),
    (
        "residual_cnn",
        {"weight_norm": "weight_conditioning", "norm": "rms", "placement": "deep"},
        r"model\.weight_norm: must not be weight_conditioning, which gives rows of length 1 .* 'deep' makes them smaller",
    ),
    (
        "residual_mlp",
        {"weight_norm": {"kind": "weight_norm", "data_init": True}, "norm": "rms", "placement": "deep"},
        r"model\.weight_norm\.data_init: must be false, for it takes lengths of weights from data, and the placement 'deep'",
    ),
    ("residual_mlp", {"init": "kumar"}, r"model\.init: .*differentiable at 0"),
    ("residual_mlp", {"init": "orthogonl"}, r"model\.init: no initialiser is named 'orthogonl'"),
    (
        "residual_mlp",
        {"weight_norm": "gmp", "scheme": "wn"},
        r"model\.weight_norm: must be left out with the scheme 'wn', which has a param",
    ),
    ("residual_mlp", {"weight_norm": "gmp", "scheme": "fixup"}, r"model\.weight_norm: must be left out with the scheme 'fixup'"),
    ("mlp", {"weight_norm": "batch"}, r"model\.weight_norm: must be a norm of weights, and 'batch' is a module"),
    ("mlp", {"weight_norm": {"eps": 1}}, r"model\.weight_norm: must be a name, or a mapping with its kind"),
    ("mlp", {"weight_norm": {"kind": "gmp", "epz": 1}}, r"model\.weight_norm\.epz: gmp has no argument 'epz' to be set here"),
    ("mlp", {"weight_norm": {"kind": "weight_norm", "data_init": 1}}, r"model\.weight_norm\.data_init: must be"),
    ("cnn", {"weight_norm": {"kind": "weight_standardization", "gamma": 0}}, r"model\.weight_norm\.gamma: must be"),
    ("cnn", {"weight_norm": "weight_standardization", "activation": "groupsort"}, r"model\.weight_norm: weight_standardization must know"),
]


@pytest.mark.parametrize(("family", "changes", "message"), WRONG)
def test_choices_that_do_not_go_together_are_refused_before_anything_runs(family: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(family, **changes)


def test_a_placement_of_none_leaves_the_norm_out_so_that_a_study_can_have_it_as_a_level() -> None:
    model = built("residual_mlp", norm="layer", placement="none")
    assert of_type(model, Norm) == []
    assert trains(model)


def test_a_study_varies_norms_placements_first_weights_and_parametrizations() -> None:
    study = {
        "name": "choices",
        "base": "pkg:studies/residual_mlp.yaml",
        "settings": {"model.scheme": "plain"},
        "factors": {
            "norm": {"none": {"model.norm": None}, "rms": {"model.norm": "rms"}, "l1": {"model.norm": {"kind": "l1_layer", "eps": 1e-3}}},
            "init": {"own": {"model.init": None}, "lsuv": {"model.init": "lsuv"}},
            "weights": {"plain": {"model.weight_norm": None}, "gmp": {"model.weight_norm": "gmp"}},
        },
        "seeds": 1,
        "metrics": {"test_accuracy": {"better": "higher", "share": True}},
    }
    assert len(plan_study(study).runs) == 12
    study["factors"] = {"placement": {one: {"model.norm": "rms", "model.placement": one} for one in get_args(Placement)}}
    assert len(plan_study(study).runs) == len(get_args(Placement))
    study["factors"] = {"norm": {"rms": {"model.norm": "rms"}, "rsm": {"model.norm": "rsm"}}}
    with pytest.raises(ConfigError, match=r"no norm is named 'rsm'; did you mean 'rms'"):
        plan_study(study)
