"""The edge of chaos of activations that are mostly 0."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import moments_of
from neurosim.initialisers import as_function, sparse_init, variance_map, variance_slope
from neurosim.training import load_weights, save_weights

#: V'(1) at 85 % zeros, to three digits
SLOPES = {
    "crelu": {0.5: 0.302, 0.75: 0.463, 1.0: 0.612, 1.5: 0.834, 2.0: 0.947, 3.0: 0.998},
    "cst": {0.5: 0.377, 0.75: 0.552, 1.0: 0.699, 1.5: 0.892, 2.0: 0.971, 3.0: 0.999},
}


def mean_square(weight: Tensor) -> float:
    """Of all elements."""
    return float(weight.detach().double().square().mean())


@pytest.mark.parametrize("name", SLOPES)
def test_the_slope_of_a_clipped_sparse_activation(name: str) -> None:
    assert {m: round(sparse_init(name, 0.85, m=m).slope, 3) for m in SLOPES[name]} == SLOPES[name]


@pytest.mark.parametrize("name", ["shifted_relu", "soft_threshold", "crelu", "cst"])
@pytest.mark.parametrize("sparsity", [0.5, 0.7, 0.85, 0.9])
@pytest.mark.parametrize("m", [0.5, 2.0])
def test_the_closed_forms_are_the_integrals(name: str, sparsity: float, m: float) -> None:
    clipped = name in SLOPES
    if not clipped and m != 0.5:
        m = math.inf
    found = sparse_init(name, sparsity, m=m if clipped else None)
    f: dict[str, Any] = {"kind": name, "tau": found.tau, **({"m": m} if clipped else {})}
    assert found.weight_variance * moments_of(as_function(f)).slope == pytest.approx(1, rel=2e-3)
    assert variance_map(f, 1.0, weight=found.weight_variance, bias=found.bias_variance) == pytest.approx(1, rel=1e-5)
    assert variance_slope(f, 1.0, weight=found.weight_variance) == pytest.approx(found.slope, abs=3e-3)
    assert (found.slope < 1) if clipped else (found.slope == 1)
    assert moments_of(lambda x: (as_function(f)(x) == 0).double()).mean == pytest.approx(sparsity, abs=1e-3)


@pytest.mark.parametrize("name", ["shifted_relu", "soft_threshold", "crelu", "cst"])
@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.5, 0.7])
def test_what_is_not_refused_is_a_fixed_point_and_what_is_has_none(name: str, sparsity: float) -> None:
    m = 1.0 if name in SLOPES else None
    tau = ns.activations.threshold_of(sparsity, symmetric=name in ("soft_threshold", "cst"))
    found = moments_of(lambda x: _unit(name, x, tau, m))
    if tau < 0:  # a bias of variance below 0, or a threshold that no activation takes
        with pytest.raises(ns.ConfigError):
            sparse_init(name, sparsity, m=m)
    else:
        assert found.second / found.slope < 1 + 1e-3
        made = sparse_init(name, sparsity, m=m)
        assert made.bias_variance == pytest.approx(1 - found.second / found.slope, abs=2e-3)


def _unit(name: str, x: Tensor, tau: float, m: float | None) -> Tensor:
    def tail(y: Tensor) -> Tensor:
        return (y - tau).relu().clamp(max=math.inf if m is None else m)

    return tail(x) - tail(-x) if name in ("soft_threshold", "cst") else tail(x)


def test_a_sparse_network_has_its_thresholds_variances_and_zeros() -> None:
    width = 300
    model: Any = ns.models.mlp(
        [width, width, width, 10], activation={"kind": "crelu", "m": 1.0}, init={"kind": "edge_of_chaos", "sparsity": 0.85}
    )
    ns.initialize(model, "edge_of_chaos", sparsity=0.85, seed=1)
    wanted = sparse_init("crelu", 0.85, m=1.0)
    for name in ("act1", "act2"):
        activation: Any = model.get_submodule(name)
        assert activation.settings()["tau"] == pytest.approx(wanted.tau, rel=1e-12)
    layer: Any = model.get_submodule("fc2")
    n = layer.weight.numel()
    assert mean_square(layer.weight) * width == pytest.approx(wanted.weight_variance, rel=5 * math.sqrt(2 / n) + 2e-3)
    assert mean_square(layer.bias) == pytest.approx(wanted.bias_variance, rel=5 * math.sqrt(2 / width))
    x = torch.randn(200, width, generator=torch.Generator().manual_seed(0))
    hidden = model[:3](x).detach()
    assert float((hidden == 0).float().mean()) == pytest.approx(0.85, abs=0.02)
    first: Any = model.get_submodule("fc1")
    assert not first.bias.any()  # the inputs have second moment 1 as they are


def test_a_learned_threshold_is_set_too() -> None:
    make = ns.activations.activation
    model = nn.Sequential(nn.Linear(4, 4), make({"kind": "cst", "m": 2.0, "learn": True}), nn.Linear(4, 4))
    ns.initialize(model, "edge_of_chaos", sparsity=0.7, seed=0)
    activation: Any = model[1]
    assert activation.settings()["tau"] == pytest.approx(sparse_init("cst", 0.7, m=2.0).tau, rel=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sparse_init("relu", 0.5), "must be one of 'shifted_relu'"),
        (lambda: sparse_init("crelu", 0.5), "m: must be given for crelu and cst and for no other"),
        (lambda: sparse_init("soft_threshold", 0.5, m=1.0), "and for no other, got 1.0"),
        (lambda: sparse_init("cst", 1.0, m=1.0), "sparsity"),
        (lambda: sparse_init("shifted_relu", 0.1), "sparsity: must be at least the share of zeros at threshold 0, got 0.1, with"),
        (lambda: sparse_init("crelu", 0.3, m=0.5), "sparsity: must be at least the share of zeros"),
        (
            lambda: ns.initialisers.check_init({"kind": "edge_of_chaos", "sparsity": 0.3}, {"kind": "crelu", "m": 0.5}),
            "edge_of_chaos: sparsity: must be at least the share of zeros at threshold 0, got 0.3, with threshold -0.5244",
        ),
        (lambda: ns.initialisers.initialiser("edge_of_chaos", sparsity=1.5), "sparsity: must be"),
        (lambda: ns.initialisers.initialiser("edge_of_chaos", sparsity=0.5, activation="crelu"), "activation must be left out"),
        (lambda: ns.initialisers.check_init({"kind": "edge_of_chaos", "sparsity": 0.5}, "relu"), "needs an activation with a threshold"),
        (lambda: ns.initialisers.check_init("edge_of_chaos", {"kind": "gaussian"}), "must sum to at most the variance"),
        (lambda: ns.initialisers.check_init("edge_of_chaos", None), "activation must be given"),
    ],
)
def test_what_does_not_go_together_is_refused(call: Any, said: str) -> None:
    with pytest.raises(ns.ConfigError, match=said):
        call()


# --- thresholds and weights ------------------------------------------------------------------------------------------------------------


def sparse_model(init: Any = None) -> Any:
    settings = {"init": init} if init else {}
    return ns.models.mlp([16, 32, 32, 4], activation={"kind": "crelu", "m": 1.0}, **settings)


def inputs() -> Tensor:
    return torch.randn(64, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("init", [None, {"kind": "edge_of_chaos", "sparsity": 0.7}])
def test_thresholds_go_with_the_weights(tmp_path: Path, init: Any) -> None:
    made, loaded, read = ns.initialize(sparse_model(), "edge_of_chaos", sparsity=0.95, seed=0), sparse_model(init), sparse_model(init)
    loaded.load_state_dict(made.state_dict())
    save_weights(tmp_path / "weights.safetensors", made, {})
    load_weights(read, tmp_path / "weights.safetensors")
    for model in (loaded, read):
        assert model.act1.settings() == made.act1.settings()
        assert torch.equal(model(inputs()), made(inputs()))
        again = sparse_model()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(inputs()), made(inputs()))


def test_weights_of_before_load_and_leave_thresholds_as_they_are() -> None:
    made = ns.initialize(sparse_model(), "edge_of_chaos", sparsity=0.95, seed=0)
    old = {name: value for name, value in made.state_dict().items() if not name.endswith("tau")}
    assert old.keys() == sparse_model().state_dict().keys()
    tau = made.act1.settings()["tau"]
    made.load_state_dict(old)
    assert made.act1.settings()["tau"] == tau
    learned = ns.models.mlp([16, 32, 32, 4], activation={"kind": "crelu", "m": 1.0, "learn": True, "channels": 32})
    with pytest.raises(RuntimeError, match=r"act1\.tau"):  # a threshold for every channel
        made.load_state_dict(learned.state_dict())


def test_a_refused_initialisation_leaves_no_threshold_behind() -> None:
    model = nn.Sequential(
        nn.Linear(4, 4), ns.activations.activation({"kind": "crelu", "m": 1.0}), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)
    )
    with pytest.raises(ns.ConfigError, match="needs an activation with a threshold"):
        ns.initialize(model, "edge_of_chaos", sparsity=0.9, seed=0)
    assert "1.tau" not in model.state_dict()
