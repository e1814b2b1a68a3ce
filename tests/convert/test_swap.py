"""Norms of a model, swapped by name."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.models import cnn, spiking_mlp
from neurosim.nn import MPBN, SpikingSequential, TimeFold
from neurosim.norms import (
    BatchNorm,
    BatchNormOverTime,
    DynamicTanh,
    FreezingNorm,
    GroupNorm,
    LayerNorm,
    Norm,
    RMSNorm,
    TemporalEffectiveBatchNorm,
)
from tests.norms.contracts import draw, varied

NO_MODEL: Any = 3
IN_MAPS = [name for name in ns.NORMS if ns.NORMS[name].kind == "module" and not getattr(ns.NORMS[name].make, "takes_time", False)]


@pytest.mark.parametrize("name", IN_MAPS)
def test_every_norm_stands_in_for_a_batch_norm_of_torch(name: str) -> None:
    model = cnn([1, 8, 8], [16, 16], [], 4, batch_norm=True)
    before = copy.deepcopy(model.state_dict())
    swapped: Any = ns.swap_norm(model, name)
    assert [type(one) for one in (swapped.norm1, swapped.norm2)] == [ns.NORMS[name].make] * 2
    assert [(one.path, one.before, one.features) for one in swapped.swaps.norms] == [
        ("norm1", "BatchNorm2d", (16,)),
        ("norm2", "BatchNorm2d", (16,)),
    ]
    swapped(torch.rand(3, 1, 8, 8)).sum().backward()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert isinstance(model.norm1, nn.BatchNorm2d)


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind == "module"])
def test_every_norm_stands_in_for_one_over_time(name: str) -> None:
    model: Any = spiking_mlp([6, 16, 16, 3], time_steps=4, norm="bn")
    x = torch.rand(4, 5, 6)
    if getattr(ns.NORMS[name].make, "needs_space", False):  # there is none in this model
        with pytest.raises(ConversionError, match=r"swap_norm: the model is unchanged; body\.norm1: .* cannot run here"):
            ns.swap_norm(model, name)
        return
    settings: dict[str, Any] = {"steps": 4} if name in ("bntt", "tebn") else {}
    swapped: Any = ns.swap_norm(model, name, **settings)
    assert len(swapped.swaps.norms) == sum(isinstance(one, BatchNormOverTime) for one in model.modules()) > 0
    assert not any(type(one) is BatchNormOverTime for one in swapped.modules()) or name == "bn_over_time"
    assert swapped.body(x).shape == model.body(x).shape


def test_a_norm_that_is_swapped_for_itself_computes_the_same() -> None:
    model: Any = nn.Sequential(nn.Linear(6, 16), varied(nn.BatchNorm1d(16)), nn.ReLU())
    for at in range(3):
        model(draw(5, 6) * at)
    swapped: Any = ns.swap_norm(model.eval(), "batch")
    assert swapped.swaps.norms[0].kept == ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    told = json.loads(json.dumps(swapped.swaps.to_dict()))["norms"]
    assert [(one["path"], one["after"], one["kept"]) for one in told] == [(one.path, one.after, [*one.kept]) for one in swapped.swaps.norms]
    assert torch.equal(swapped(draw(7, 6)), model(draw(7, 6)))
    assert not swapped[1].training


def test_a_batch_norm_over_time_keeps_its_statistics_as_one_of_single_steps() -> None:
    model = SpikingSequential(nn.Linear(6, 16), varied(BatchNormOverTime(16)))
    model(draw(4, 5, 6))
    swapped = ns.swap_norm(model.eval(), "batch")
    torch.testing.assert_close(swapped(draw(4, 5, 6)), model(draw(4, 5, 6)))
    back = ns.swap_norm(swapped, "bn_over_time")
    torch.testing.assert_close(back(draw(4, 5, 6)), model(draw(4, 5, 6)))


def test_a_norm_of_single_steps_is_run_on_every_step() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = BatchNormOverTime(16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.norm(x)
            return y

    swapped: Any = ns.swap_norm(Mine(), "layer")
    assert isinstance(swapped.norm, TimeFold)
    x = draw(4, 5, 16).abs()
    torch.testing.assert_close(swapped(x), nn.functional.layer_norm(x, (16,)))


@pytest.mark.parametrize("hardware", [False, True], ids=["digital", "analog"])
def test_a_norm_over_space_is_refused_where_there_is_none_and_taken_where_there_is(hardware: bool) -> None:
    maps = [nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Dropout(), nn.BatchNorm1d(4)]
    units = [nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.BatchNorm1d(4)]
    model: Any = nn.Sequential(*maps, *units).double()
    model = ns.to_analog(model, "ideal", seed=0) if hardware else model
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ConversionError, match=r"model is unchanged; 7: InstanceNorm cannot run here: .* must have axes beside batch"):
        ns.swap_norm(model, "instance", inplace=True)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    swapped: Any = ns.swap_norm(model, "evonorm_b0", layers="3")
    torch.testing.assert_close(dict(swapped[3].named_buffers()), dict(ns.NORMS["evonorm_b0"](4).double().named_buffers()), rtol=0, atol=0)
    assert swapped(draw(5, 2, 5).double()).shape == (5, 4)


def test_a_norm_that_is_to_be_frozen_gives_way_as_a_whole() -> None:
    model: Any = ns.models.mlp([6, 5, 3], norm={"kind": "layer", "freeze": 2})
    frozen = next(one for one in model.modules() if isinstance(one, FreezingNorm))
    varied(frozen.norm)
    swapped: Any = ns.swap_norm(model, "rms", adjust="variance")
    told = swapped.swaps.norms[0]
    assert (told.before, told.after, told.features, told.kept) == ("FreezingNorm", "RMSNorm", (5,), ("weight",))
    assert not any(isinstance(one, FreezingNorm) for one in swapped.modules())
    new = swapped.get_submodule(told.path)
    torch.testing.assert_close(new.weight, frozen.norm.weight * told.factor)
    assert swapped(draw(4, 6)).shape == (4, 3)


def test_the_axis_of_the_channels_follows_from_the_norm_before() -> None:
    model: Any = nn.Sequential(nn.LayerNorm(16), nn.LayerNorm((16, 4)), LayerNorm(16), nn.GroupNorm(2, 16), nn.InstanceNorm1d(16))
    swapped: Any = ns.swap_norm(model, "dyt")
    assert [(one.features, one.channel_dim) for one in swapped] == [((16,), -1), ((16, 4), 1), ((16,), 1), ((16,), 1), ((16,), 1)]
    grouped: Any = ns.swap_norm(nn.Sequential(nn.LayerNorm((16, 4))), "group")
    assert grouped[0].features == (16,)


def test_globs_types_and_settings_say_which_and_how() -> None:
    model = cnn([1, 8, 8], [4, 4], [], 4, batch_norm=True)
    swapped: Any = ns.swap_norm(model, "group", layers="norm2", groups=2, eps=0.1)
    assert isinstance(swapped.norm1, nn.BatchNorm2d)
    assert isinstance(swapped.norm2, GroupNorm)
    assert (swapped.norm2.groups, swapped.norm2.eps) == (2, 0.1)
    of_type: Any = ns.swap_norm(swapped, "rms", layers=GroupNorm, inplace=True)
    assert of_type is swapped
    assert isinstance(swapped.norm2, RMSNorm)


def test_a_norm_that_stands_twice_is_one_afterwards() -> None:
    norm = nn.BatchNorm1d(4)
    swapped: Any = ns.swap_norm(nn.Sequential(norm, nn.ReLU(), norm), "batch")
    assert swapped[0] is swapped[2]


def test_a_norm_with_two_names_stays_one_whichever_of_them_is_chosen() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LayerNorm(4)
            self.body = nn.Sequential(nn.Linear(4, 4), self.first)

    swapped: Any = ns.swap_norm(Mine(), "rms", layers="first")
    assert isinstance(swapped.first, RMSNorm)
    assert swapped.first is swapped.body[1]
    assert [one.path for one in swapped.swaps.norms] == ["first", "body.1"]


def test_a_model_that_is_a_norm_is_swapped_too() -> None:
    with pytest.raises(ConfigError, match="itself a norm cannot be replaced in place; use what is returned"):
        ns.swap_norm(nn.BatchNorm1d(4), "dyt", inplace=True)
    assert isinstance(ns.swap_norm(nn.BatchNorm1d(4), "dyt"), DynamicTanh)


def test_precision_steps_and_mode_are_those_of_the_norm_before() -> None:
    swapped: Any = ns.swap_norm(nn.Sequential(nn.BatchNorm1d(4)).double().eval(), "layer")
    assert (swapped[0].weight.dtype, swapped[0].training) == (torch.float64, False)
    stepped: Any = ns.swap_norm(SpikingSequential(TemporalEffectiveBatchNorm(4, steps=7)), "bntt")
    assert next(one.steps for one in stepped.modules() if isinstance(one, Norm)) == 7


def test_what_a_norm_does_beside_itself_is_not_lost() -> None:
    class Rectified(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).relu()

    class Gated(nn.GroupNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).sigmoid()

    class Squared(RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).square()

    class Synchronous(nn.InstanceNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).tanh()

    class Named(nn.BatchNorm2d):
        """The norm under another name."""

    for norm in (Rectified(4), Gated(2, 4), Squared(4), Synchronous(4)):
        with pytest.raises(ConversionError, match=f"unchanged; 1: a {type(norm).__name__} has a forward of its own"):
            ns.swap_norm(nn.Sequential(nn.Conv2d(1, 4, 3), norm), "layer")
    swapped: Any = ns.swap_norm(nn.Sequential(Named(4), nn.SyncBatchNorm(4)), "batch")
    assert [type(one) for one in swapped] == [BatchNorm] * 2


def test_a_norm_inside_mpbn_is_a_part_of_it() -> None:
    layer = MPBN(ns.LIF(2e-3, 1e-3), 4)
    with pytest.raises(ConfigError, match="the model has no norm"):
        ns.swap_norm(layer, "layer")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: ns.swap_norm(m, "layr"), ConfigError, "swap_norm: no norm is named 'layr'; did you mean 'layer'"),
        (lambda m: ns.swap_norm(m, "mpbn"), ConfigError, "swap_norm: must be a module, and 'mpbn' is a wrapper"),
        (lambda m: ns.swap_norm(m, "layer", layers="nrm*"), ConfigError, "'nrm\\*' names no norm"),
        (lambda m: ns.swap_norm(m, "layer", epz=1.0), ConfigError, r"swap_norm\.epz: layer has no argument 'epz'"),
        (lambda m: ns.swap_norm(m, "layer", eps=-1.0), ConfigError, r"swap_norm\.eps: must be a finite number > 0"),
        (lambda m: ns.swap_norm(m, "bntt"), ConfigError, "bntt must be given steps"),
        (lambda m: ns.swap_norm(m, "tdbn"), ConversionError, "the model is unchanged; norm1: .* needs the time axis"),
        (lambda m: ns.swap_norm(nn.ReLU(), "layer"), ConfigError, "the model has no norm"),
        (lambda m: ns.swap_norm(m, "layer", layers=[]), ConfigError, r"layers must name a norm, got \[\]; there are norm1"),
        (
            lambda m: ns.swap_norm(m, "layer", layers=nn.LayerNorm),
            ConfigError,
            "layers must name a norm, got .*; there are norm1",
        ),
        (lambda m: ns.swap_norm(NO_MODEL, "layer"), ConfigError, "swap_norm: must be given a model, a torch.nn.Module, got an int"),
        (lambda m: ns.swap_norm(m, "DyTT"), ConfigError, "did you mean 'dyt'"),
    ],
)
def test_what_cannot_be_is_refused_and_the_model_stays(call: Any, error: type[Exception], message: str) -> None:
    model = cnn([1, 8, 8], [4], [], 4, batch_norm=True)
    with pytest.raises(error, match=message):
        call(model)
    assert isinstance(model.norm1, nn.BatchNorm2d)
    assert isinstance(ns.swap_norm(model, "batch", inplace=True).norm1, BatchNorm)


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("clamp", ns.nn.ClampNorm(4, low=0.0, high=2.0)),
        ("layer", ns.norms.LayerNorm(4, center=False)),
        ("layer", ns.norms.LayerNorm(4, scale=False)),
        ("power", ns.norms.PowerNorm(4, groups=0)),
        ("batch", nn.BatchNorm1d(4, eps=0.1)),
    ],
)
def test_a_norm_that_is_swapped_for_its_own_kind_is_what_it_was(name: str, norm: nn.Module) -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Identity(), norm).eval()
    torch.testing.assert_close(ns.swap_norm(model, name)(x), model(x), rtol=0, atol=1e-6)
