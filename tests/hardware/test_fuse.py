"""Stages as passes: alone, together, and packed beforehand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.fuse import Piece, prepared, run
from neurosim.nn.analog import AnalogLayer
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits
from neurosim.random import stream

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]

SOURCES = [stream(0, "fuse", str(at)) for at in range(3)]
X = stream(0, "signal").normal((50,), like=torch.empty(0))
PIECES: list[Piece] = [
    Limits(-1.0, 1.0),
    Error("gaussian", "additive", 0.1, SOURCES[0]),
    Error("laplacian", "additive", 0.1, SOURCES[1]),
    Levels(4.0, rounding="stochastic", stream=SOURCES[2]),
    Limits(-0.5, 0.5),
]


def test_passes_do_the_pieces_in_their_order() -> None:
    y = X
    for piece in PIECES:
        y = run(y, [piece])
    assert torch.equal(run(X, PIECES), y)
    assert run(X, []) is X


def test_packed_passes_are_the_passes() -> None:
    passes = prepared(PIECES)
    assert passes is not None
    assert [source for _, streams in passes for source in streams] == SOURCES
    y = X
    for one, streams in passes:
        y = one(y, streams)
    assert torch.equal(y, run(X, PIECES))
    assert len(passes) == 3  # limits and an error; an error and levels; limits


def test_pieces_with_tensors_are_not_packed() -> None:
    assert prepared([Limits(torch.zeros(1), 1.0)]) is None
    assert prepared([LearnedLevels(4, torch.zeros(1), torch.ones(1))]) is None
    assert prepared([Error("gaussian", "additive", 0.1, torch.zeros(50))]) is None


def build(**overrides: Any) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    for at, parameter in enumerate(model.parameters()):
        parameter.data = stream(0, "weights", str(at)).normal(parameter.shape, like=parameter) * 0.4
    converted = ns.to_analog(model, "photonic_avnn", seed=1, overrides={"*": overrides} if overrides else None)
    assert isinstance(converted, nn.Sequential)
    return converted


def both(model: nn.Sequential, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """What a forward gives with packed passes, and the same forward stage by stage."""
    draw = ns.get_draws(model)
    packed = model(x)
    ns.set_draws(model, draw)
    with monkeypatch.context() as patch:
        for layer in model:
            if isinstance(layer, AnalogLayer):
                patch.setattr(layer.chain, "packed", lambda path, call: None)
        single = model(x)
    return packed, single


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"weight.noise.scope": "device"},
        {"weight.noise.scope": "hold", "output.noise.scope": "batch"},
        {"input.dac.rounding": "stochastic", "output.adc": None},
        {"*.noise.grad": "ste"},
    ],
)
def test_a_layer_gives_the_same_packed_and_stage_by_stage_whatever_changes_between_uses(
    overrides: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(**overrides)
    x = stream(0, "inputs").normal((8, 6), like=torch.empty(0)) * 0.5
    seen = []

    def check() -> None:
        packed, single = both(model, x, monkeypatch)
        assert torch.equal(packed, single)
        seen.append(packed)

    check()
    check()
    ns.set_noise_strength(model, 0.3)
    check()
    ns.set_noise_strength(model, 1.0)
    for mode in ("off", "fixed", "ideal"):
        with ns.noise(mode, model):
            check()
    with ns.noise("off", model, stages="weight.*"):
        check()
    ns.override(model, {"input.dac.levels": 5})
    check()
    ns.program(model, seed=9)
    check()
    assert len({tuple(y.flatten().tolist()) for y in seen}) == len(seen)
    if not overrides:
        layers = [layer for layer in model if isinstance(layer, AnalogLayer)]
        assert [ready.passes is not None for layer in layers for ready in layer.chain.ready.values()] == [True] * 8


def test_a_layer_with_trained_stages_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(**{"input.normalize.learned": True})
    packed, single = both(model, torch.ones(2, 6), monkeypatch)
    assert torch.equal(packed, single)
    layer = model[0]
    assert isinstance(layer, AnalogLayer)
    assert layer.chain.ready["input"].passes is None
    assert layer.chain.ready["weight"].passes is not None
