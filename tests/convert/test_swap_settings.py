"""What a norm that is swapped is told by its place: settings of one of its kind, thresholds of the neurons that it feeds."""

from __future__ import annotations

import math
from typing import Any

import pytest
from torch import nn

import neurosim as ns
from neurosim.errors import ConversionError
from neurosim.nn import SpikingSequential
from neurosim.norms import BatchNormOverTime, ThresholdDependentBatchNorm


@pytest.mark.parametrize(
    ("old", "name", "kept"),
    [
        (nn.BatchNorm2d(16, eps=1e-3, momentum=0.01), "batch", {"eps": 1e-3, "momentum": 0.01}),
        (nn.GroupNorm(8, 16, eps=1e-2), "group", {"groups": 8, "eps": 1e-2}),
        (nn.LayerNorm(16, eps=1e-2), "layer", {"eps": 1e-2}),
        (nn.RMSNorm(16), "rms", {"eps": 1e-5}),  # torch's has none of its own there
        (nn.BatchNorm2d(16, momentum=None), "batch", {"momentum": 0.1}),  # nor a moving average
        (BatchNormOverTime(16, "per_step", eps=1e-3), "bn_over_time", {"statistics": "per_step", "eps": 1e-3}),
        (nn.BatchNorm2d(16, eps=1e-3), "group", {"eps": 1e-5}),
    ],
)
def test_a_norm_of_the_same_kind_keeps_its_settings(old: nn.Module, name: str, kept: dict[str, Any]) -> None:
    swapped: Any = ns.swap_norm(SpikingSequential(old), name)
    assert {key: getattr(swapped[0], key) for key in kept} == kept
    told: Any = ns.swap_norm(SpikingSequential(old), name, eps=0.5)
    assert told[0].eps == 0.5


@pytest.mark.parametrize("name", [name for name in ns.NORMS if ns.NORMS[name].kind == "module"])
def test_every_norm_gives_way_to_one_with_its_settings(name: str) -> None:
    old = ns.NORMS[name].example()
    settings: dict[str, Any] = {"depth": 4} if name == "layer_scaling" else {}  # its place counts, not the norm before
    swapped: Any = ns.swap_norm(SpikingSequential(old), name, **settings)
    assert repr(swapped[0]) == repr(old)


@pytest.mark.parametrize("residual", ["sew", "ms"])
def test_a_norm_to_the_scale_of_a_threshold_is_the_one_that_the_model_is_built_with(residual: Any) -> None:
    neuron = {"kind": "lif", "tau_mem": 2e-3, "dt": 1e-3, "v_threshold": 0.5}
    built, plain = (
        ns.models.spiking_resnet(18, [1, 8, 8], 3, residual=residual, norm=norm, neuron=neuron, width=0.03) for norm in ("tdbn", "bn")
    )
    swapped = ns.swap_norm(plain, "tdbn")
    wanted, found = (
        {path: (one.v_threshold, one.alpha) for path, one in model.named_modules() if isinstance(one, ThresholdDependentBatchNorm)}
        for model in (built, swapped)
    )
    assert found == wanted
    assert set(found.values()) == ({(0.5, 1.0)} if residual == "sew" else {(0.5, 1.0), (0.5, 1 / math.sqrt(2))})


def test_a_threshold_that_is_not_known_is_asked_for() -> None:
    def model() -> SpikingSequential:
        low, high = (ns.LIF(2e-3, 1e-3, v_threshold=threshold) for threshold in (0.25, 0.5))
        return SpikingSequential(
            nn.Linear(3, 4), BatchNormOverTime(4), low, nn.Linear(4, 4), BatchNormOverTime(4), high, nn.Linear(4, 4), BatchNormOverTime(4)
        )

    swapped: Any = ns.swap_norm(model(), "tdbn", layers=["1", "4"])
    assert [swapped[at].v_threshold for at in (1, 4)] == [0.25, 0.5]
    with pytest.raises(ConversionError, match=r"unchanged; 7: v_threshold must be given: .* thresholds are 0\.25, 0\.5"):
        ns.swap_norm(model(), "tdbn")
    given: Any = ns.swap_norm(model(), "tdbn", v_threshold=2.0)
    assert [given[at].v_threshold for at in (1, 4, 7)] == [2.0] * 3
