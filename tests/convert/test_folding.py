"""Norms that become part of weights and thresholds."""

from __future__ import annotations

import copy
import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn import MPBN, SpikingGraph, SpikingNetwork, SpikingResidual, SpikingSequential, TimeFold
from neurosim.norms import BatchNormOverTime, BatchNormThroughTime, TemporalEffectiveBatchNorm, ThresholdDependentBatchNorm

T = 4


def lif(**changes: Any) -> ns.LIF:
    return ns.LIF(2e-3, 1e-3, **changes)


def uniform(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(4, name).uniform(shape, like=torch.empty(0)) * 2 - 1


def settled(model: nn.Module, *shape: int) -> nn.Module:
    """In evaluation, with statistics of some data and random scales and shifts, about half of the scales negative."""
    with torch.no_grad():
        for at, module in enumerate(model.modules()):
            if isinstance(module, ns.norms.TimeNorm | nn.modules.batchnorm._BatchNorm):
                for name, value in module.named_parameters(recurse=False):
                    draw = ns.random.stream(0, name, str(at)).normal(value.shape, like=value)
                    value.copy_(
                        torch.full_like(draw, -0.8) if name == "p" else draw.sign() * (0.3 + draw.abs()) if name == "weight" else draw
                    )
        for at in range(3):
            model.train()(uniform(*shape, name=f"training {at}"))
    return model.eval()


def report(model: nn.Module) -> ns.Folding:
    found = model.folding
    assert isinstance(found, ns.Folding)
    return found


def norms_left(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "Norm" in type(module).__name__ or isinstance(module, MPBN)]


LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 6), lambda: nn.BatchNorm1d(6), (7, 5)),
    "linear without bias": (lambda: nn.Linear(5, 6, bias=False), lambda: nn.BatchNorm1d(6), (7, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, groups=2), lambda: nn.BatchNorm1d(6), (7, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect"), lambda: nn.BatchNorm2d(6), (7, 4, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(4, 6, 2, padding=1), lambda: nn.BatchNorm3d(6), (3, 4, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), lambda: nn.BatchNorm2d(6, affine=False), (7, 4, 5, 5)),
}


@pytest.mark.parametrize("name", list(LAYERS))
def test_a_batch_norm_becomes_part_of_the_weights_before_it(name: str) -> None:
    layer, norm, shape = LAYERS[name]
    torch.manual_seed(0)
    model = settled(nn.Sequential(layer(), norm(), nn.ReLU()), *shape)
    x = uniform(*shape)
    folded = ns.fold(model, x)
    assert norms_left(folded) == []
    torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=2e-6)
    found = report(folded).deviation
    assert found is not None
    assert found == pytest.approx((folded(x) - model(x)).abs().max().item())


OVER_TIME: dict[str, Callable[[], nn.Module]] = {
    "bn_over_time, merged": lambda: BatchNormOverTime(6),
    "bn_over_time, per step": lambda: BatchNormOverTime(6, "per_step"),
    "tdbn": lambda: ThresholdDependentBatchNorm(6, v_threshold=0.5, alpha=0.7),
    "tebn with equal weights": lambda: TemporalEffectiveBatchNorm(6, T),
    "bntt of one step": lambda: BatchNormThroughTime(6, 1),
}


@pytest.mark.parametrize("name", list(OVER_TIME))
@pytest.mark.parametrize("layer", ["linear", "conv"])
def test_a_norm_over_time_becomes_part_of_the_weights_before_it(name: str, layer: str) -> None:
    torch.manual_seed(0)
    shape = (1 if "one step" in name else T, 7, *((5,) if layer == "linear" else (5, 4, 4)))
    before = nn.Linear(5, 6) if layer == "linear" else nn.Conv2d(5, 6, 3, padding=1)
    model = settled(SpikingSequential(before, OVER_TIME[name]()), *shape)
    x = uniform(*shape)
    folded = ns.fold(model)
    assert norms_left(folded) == []
    torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=2e-6)


@settings(max_examples=25)
@given(gamma=st.lists(st.floats(-3, 3, width=32) | st.just(0.0), min_size=4, max_size=4))
def test_weights_take_scales_of_any_sign(gamma: list[float]) -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), 5, 2, 6, 6)
    with torch.no_grad():
        model.get_parameter("1.weight").copy_(torch.tensor(gamma))
    x = uniform(5, 2, 6, 6)
    torch.testing.assert_close(ns.fold(model)(x), model(x), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize(
    ("after", "shape"), [(lambda: nn.Linear(6, 3), (7, 6)), (lambda: nn.Conv2d(6, 3, 3, padding=0, bias=False), (7, 6, 5, 5))]
)
def test_a_norm_before_weights_becomes_part_of_them(after: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6) if len(shape) == 2 else nn.BatchNorm2d(6)
    model = settled(nn.Sequential(nn.ReLU(), norm, after()), *shape)
    x = uniform(*shape)
    folded = ns.fold(model)
    assert norms_left(folded) == []
    torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=2e-6)


def spiking() -> SpikingNetwork:
    """Nested in all the ways there are, on images of (2, 6, 6)."""
    torch.manual_seed(0)
    branch = SpikingSequential(nn.Conv2d(4, 4, 3, padding=1), ThresholdDependentBatchNorm(4), MPBN(lif(reset="hard"), (4, 1, 1)))
    body = OrderedDict(
        stem=TimeFold(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))),
        fire=MPBN(lif(), (4, 4, 4)),
        block=SpikingResidual(branch, nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))),
        flatten=nn.Flatten(),
        head=nn.Sequential(nn.Linear(64, 8)),
        scale=TemporalEffectiveBatchNorm(8, T),
        out=MPBN(lif(v_threshold=0.5), 8, statistics="merged"),
    )
    return SpikingNetwork(SpikingSequential(body), T)


def test_a_spiking_network_folds_whole_however_it_is_nested() -> None:
    model, x = settled(spiking(), 16, 2, 6, 6), uniform(16, 2, 6, 6)
    folded = ns.fold(model, x, tolerance=1 / T)
    assert norms_left(folded) == []
    found = report(folded)
    assert found.count("folded") == 7
    assert found.differing is not None
    assert found.differing < 0.02
    assert model(x).mean() > 0.1
    assert [one.path for one in found.norms] == [
        *("body.stem.module.1", "body.fire", "body.block.body.1", "body.block.body.2", "body.block.shortcut.1", "body.scale", "body.out")
    ]


def test_thresholds_alone_give_identical_spikes() -> None:
    """E7: no rounding of weights is in between."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 20), MPBN(lif(), 20), nn.Linear(20, 20), MPBN(lif(reset="hard"), 20, statistics="merged")]
    model, x = settled(SpikingSequential(*layers), 8, 32, 6), uniform(8, 256, 6)
    folded = ns.fold(model, x)
    assert norms_left(folded) == []
    assert (report(folded).deviation, report(folded).differing) == (0.0, 0.0)
    assert 0.1 < model(x).mean() < 0.9


def test_the_states_of_chunks_fit_as_before() -> None:
    model, x = settled(spiking(), 16, 2, 6, 6), uniform(T, 3, 2, 6, 6)
    folded = ns.fold(model)
    assert isinstance(folded, SpikingNetwork)
    first, state = folded.run(x[:2])
    second, _ = folded.run(x[2:], state)
    assert torch.equal(torch.cat([first, second]), folded.run(x)[0])


def test_noise_is_the_same_in_both_models_of_the_check() -> None:
    model = settled(SpikingSequential(nn.Linear(3, 5), MPBN(lif(), 5)), T, 9, 3)
    model[1].neuron.membrane_noise = 0.3  # type: ignore[index]  # a SpikingSequential
    folded = ns.fold(model, uniform(T, 50, 3), stream=ns.random.stream(0, "noise"))
    assert report(folded).deviation == 0


class Custom(nn.Module):
    """What feeds the norm is known to its forward alone, which looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)
        self.inner = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(self.norm(self.conv(x) if x.mean() < 100 else x))
        return y


class Residual(nn.Module):
    """A block as most networks have it: a forward of its own, a shared rectifier, a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.conv2, self.conv1 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.short = nn.ModuleList([nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)])
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += self.short[1](self.short[0](x))
        z: Tensor = self.relu(y)
        return z


class Uncertain(nn.Module):
    """Forwards in which a norm follows a convolution that something else depends on, too."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.norm, self.way = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), way

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.way == "sum":
            result = self.norm(y) + y
        elif self.way == "twice":
            result = self.norm(self.conv(y))
        elif self.way == "norm twice":
            result = self.norm(self.norm(y))
        elif self.way == "weight":
            result = self.norm(y) * self.conv.weight.mean()
        elif self.way == "in place":
            y.mul_(2)
            result = self.norm(y)
        else:
            result = self.norm(y.relu())
        seen: Tensor = result
        return seen


class Optional(Uncertain):
    """What a second argument does is not known."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) if mask is None else self.norm(mask * self.conv(x))
        return y


def shared() -> nn.Sequential:
    one = nn.Linear(3, 3)
    return nn.Sequential(one, nn.BatchNorm1d(3), nn.ReLU(), one)


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
    model[3].weight = model[0].weight
    return model


def hooked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Custom, "nothing certain comes before it; nothing certain comes after it"),
        (shared, "the Linear before it is used in several places; ReLU, which comes after it, is no layer"),
        (tied, "the Linear before it is used in several places"),
        (hooked, "the Linear before it has hooks"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), "it takes statistics of every sample"),
        (
            lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)),
            "statistics of every batch, also in evaluation",
        ),
        (lambda: SpikingSequential(nn.Linear(3, 3), BatchNormThroughTime(3, T)), "__same__"),
        (lambda: SpikingSequential(BatchNormOverTime(3), lif()), "nothing certain comes before it; LIF, which comes after it, is no layer"),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 1), BatchNormOverTime((3, 2, 2))), r"it has features (3, 2, 2), and the layer 3 outputs"),
        (lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3, padding=1)), "__shifted__"),
        (
            lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2)),
            "the layer after it is a transposed or grouped convolution",
        ),
        (
            lambda: SpikingSequential(MPBN(lif(), 3, carry="normalized")),
            "carry='normalized' the norm changes what the next step starts from",
        ),
    ],
)
def test_what_is_not_certain_or_not_constant_is_left_with_the_reason(make: Callable[[], nn.Module], reason: str) -> None:
    model = make()
    if reason == "__shifted__":
        nn.init.ones_(model.get_parameter("1.bias"))
        reason = "the convolution after it pads with zeros, to which no shift is added"
    if reason == "__same__":
        model.get_buffer("1.running_mean")[0] += 1
        reason = "its shift differs from step to step, by up to 0.99999"
    before = copy.deepcopy(model.state_dict())
    folded = ns.fold(model)
    left = [one for one in report(folded).norms if one.status == "left"]
    assert len(left) == 1
    assert reason in left[0].reason
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    if not isinstance(model, Custom):
        torch.testing.assert_close(folded.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("after", [True, False])
def test_an_instance_norm_that_tracks_statistics_folds_as_it_evaluates(affine: bool, after: bool) -> None:
    torch.manual_seed(0)
    norm: Any = nn.InstanceNorm2d(3, affine=affine, track_running_stats=True)
    model: Any = nn.Sequential(norm, nn.Conv2d(3, 4, 3)) if after else nn.Sequential(nn.Conv2d(2, 3, 3), norm)
    x = torch.randn(5, 3 if after else 2, 6, 6, dtype=torch.float64)
    model.double()(3 * x + 1)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    folded = ns.fold(model.eval(), x, tolerance=1e-12)
    assert report(folded).count("folded") == 1
    untracked = ns.fold(nn.Sequential(nn.Conv2d(2, 3, 3), nn.InstanceNorm2d(3)))
    assert "it takes statistics of every sample" in report(untracked).norms[0].reason


def test_an_instance_norm_has_no_channels_in_the_features_of_a_linear_layer() -> None:
    """Of inputs with two axes it takes the first for the channels, of others the second."""
    model = nn.Sequential(nn.Linear(6, 6), nn.InstanceNorm1d(6, track_running_stats=True)).eval()
    model.get_buffer("1.running_mean").normal_()
    for shape in ((6, 6), (2, 6, 6)):
        folded = ns.fold(model, torch.randn(shape), tolerance=0)
        assert "its channels are on axis 1, and the features of the Linear on the last one" in report(folded).norms[0].reason


@pytest.mark.parametrize("after", [True, False])
def test_weights_that_would_overflow_stay_as_they_are(after: bool) -> None:
    norm, layer = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
    model = nn.Sequential(norm, layer) if after else nn.Sequential(layer, norm)
    nn.init.constant_(norm.weight, 1e30)  # finite, as the weights are, and the product in 64 bits
    nn.init.constant_(layer.weight, 1e30)
    folded = ns.fold(model.eval())
    assert "the weights of the Conv2d would not be finite in torch.float32" in report(folded).norms[0].reason
    torch.testing.assert_close(folded.state_dict(), model.state_dict(), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_a_layer_that_cannot_be_copied_is_refused_by_name(name: str) -> None:
    model = nn.Sequential(getattr(nn.utils, name)(nn.Linear(3, 4)), nn.BatchNorm1d(4))
    model(torch.rand(5, 3))
    wanted = rf"fold: 0: a layer with torch\.nn\.utils\.{name} cannot be copied; use torch\.nn\.utils\.parametrizations\.{name}"
    with pytest.raises(ConversionError, match=wanted):
        ns.fold(model)
    getattr(nn.utils, f"remove_{name}")(model[0])
    assert report(ns.fold(model.eval())).count("folded") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, r"fold: model must be a torch\.nn\.Module, got int"),
        ({"batch": "x"}, "fold: batch: must be a tensor, got str"),
        ({"batch": torch.zeros(1, 2), "tolerance": "x"}, "fold: tolerance: must be a finite number ≥ 0, got 'x'"),
        ({"stream": 3}, "fold: stream must be a neurosim.random.Stream, got int"),
        ({"inplace": 3}, "fold: inplace: must be true or false, got 3"),
    ],
)
def test_arguments_of_another_kind_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.fold(**{"model": nn.Linear(2, 2), **arguments})


def test_a_chain_within_a_module_of_ones_own_is_folded() -> None:
    model = settled(Custom(), 5, 2, 3, 3)
    folded = ns.fold(model)
    assert [(one.path, one.status, one.into) for one in report(folded).norms] == [("norm", "left", ""), ("inner.1", "folded", "inner.0")]
    x = uniform(5, 2, 3, 3)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=2e-6)


def test_a_forward_of_ones_own_is_read() -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(Residual(), nn.AvgPool2d(2)), 5, 2, 4, 4)
    folded = ns.fold(model, uniform(5, 2, 4, 4), tolerance=1e-5)
    assert {one.path: one.into for one in report(folded).norms} == {
        **{"0.norm1": "0.conv1", "0.norm2": "0.conv2"},
        **{"0.short.1": "0.short.0"},
    }
    assert not norms_left(folded)
    assert float(report(folded).deviation or 0) > 0
    assert norms_left(model)  # the model itself is left alone


def test_a_norm_behind_weights_that_are_computed_folds_into_what_they_are() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4)).double().eval()
    nn.init.normal_(model.get_parameter("1.weight"))
    x = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(5, 3)
    folded = ns.fold(model)
    assert [(one.path, one.status) for one in report(folded).norms] == [("0", "folded"), ("1", "folded")]
    assert type(folded.get_submodule("0")) is nn.Linear
    torch.testing.assert_close(folded(x), model(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", ["sum", "twice", "norm twice", "weight", "in place", "function between"])
def test_what_a_forward_uses_in_another_way_too_is_left(way: str) -> None:
    model = settled(Uncertain(way), 5, 2, 3, 3)
    folded = ns.fold(model, uniform(5, 2, 3, 3), tolerance=0.0)
    assert [one.status for one in report(folded).norms] == ["left"]


def test_a_forward_with_arguments_that_are_not_there_is_not_read() -> None:
    folded = ns.fold(settled(Optional(""), 5, 2, 3, 3))
    assert report(folded).count("left") == 1


def test_in_a_graph_what_goes_one_way_only_is_a_chain() -> None:
    """The weights of ``b`` feed a norm and the output, so that they must stay; those of ``a`` feed a norm alone."""
    torch.manual_seed(0)
    parts = {"a": nn.Linear(3, 4), "na": BatchNormOverTime(4), "b": nn.Linear(3, 4), "nb": BatchNormOverTime(4), "end": nn.Identity()}
    edges = {"a": ["input"], "na": ["a"], "b": ["input"], "nb": ["b"], "end": ["na", "nb", "b"]}
    model = settled(SpikingGraph(parts, edges, "end"), T, 9, 3)
    folded = ns.fold(model)
    assert [(one.path, one.status) for one in report(folded).norms] == [("na", "folded"), ("nb", "left")]
    x = uniform(T, 9, 3)
    torch.testing.assert_close(folded(x), model(x), rtol=1e-6, atol=2e-6)
    loop = settled(
        SpikingGraph({"a": nn.Linear(3, 3), "na": BatchNormOverTime(3)}, {"a": ["input"], "na": ["a"]}, "na", [("na", "a")]), T, 9, 3
    )
    torch.testing.assert_close(ns.fold(loop)(x), loop(x), rtol=1e-5, atol=1e-5)
    assert report(ns.fold(loop)).count("folded") == 1


def test_a_layer_that_is_used_twice_is_replaced_in_both_places() -> None:
    one = MPBN(lif(), 3)
    folded: Any = ns.fold(nn.Sequential(one, nn.Linear(3, 3), one))
    assert folded[0] is folded[2]
    assert type(folded[0]) is ns.LIF


def test_several_norms_behind_each_other_go_into_one_layer() -> None:
    torch.manual_seed(0)
    model = settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Identity(), nn.BatchNorm1d(4)), 9, 3)
    folded = ns.fold(model)
    assert [one.into for one in report(folded).norms] == ["0", "0"]
    torch.testing.assert_close(folded(uniform(9, 3)), model(uniform(9, 3)), rtol=1e-6, atol=2e-6)


def test_nothing_is_folded_across_the_end_of_a_chain_that_hooks_watch() -> None:
    inner = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
    model = settled(nn.Sequential(inner, nn.BatchNorm1d(3)), 9, 3)
    inner.register_forward_hook(lambda *_: None)
    assert [(one.path, one.status) for one in report(ns.fold(model)).norms] == [("0.1", "folded"), ("1", "left")]


def test_folding_returns_a_copy_that_learns_what_learned_before() -> None:
    model = settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 9, 3)
    model.get_parameter("0.weight").requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    folded = ns.fold(model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert norms_left(model) == ["1"]
    assert not folded.get_parameter("0.weight").requires_grad
    again = pickle.loads(pickle.dumps(folded))
    assert torch.equal(again(uniform(2, 3)), folded(uniform(2, 3)))
    assert again.folding == report(folded)


def test_a_model_can_be_folded_in_place() -> None:
    model = settled(spiking(), 16, 2, 6, 6)
    expected = ns.fold(model)
    assert ns.fold(model, inplace=True) is model
    x = uniform(3, 2, 6, 6)
    assert torch.equal(model(x), expected(x))
    alone = MPBN(lif(), 3)
    assert type(ns.fold(alone)) is ns.LIF
    with pytest.raises(ConfigError, match="itself an MPBN cannot be replaced in place"):
        ns.fold(alone, inplace=True)


def test_a_deviation_above_the_tolerance_leaves_the_model_as_it_was() -> None:
    model = settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 9, 3)
    before = pickle.dumps(model)
    with pytest.raises(ConversionError, match=r"differ by at most 1e-12, got .*; the model is unchanged"):
        ns.fold(model, uniform(64, 3), tolerance=1e-12, inplace=True)
    assert pickle.dumps(model) == before
    with pytest.raises(ConfigError, match="a tolerance needs a batch"):
        ns.fold(model, tolerance=1e-3)


def test_the_report_prints_as_a_table_and_is_plain_data() -> None:
    model = settled(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.LayerNorm(4)), 9, 3)
    found = report(ns.fold(model, uniform(9, 3)))
    assert "1 norms folded, 1 left; outputs differ by at most" in str(found)
    assert len(str(found).splitlines()) == 4
    assert json.loads(json.dumps(found.to_dict()))["norms"][1]["status"] == "left"
    assert str(report(ns.fold(nn.Linear(2, 2)))) == "0 norms folded, 0 left; not checked on a batch"
