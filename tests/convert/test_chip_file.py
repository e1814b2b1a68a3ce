"""A chip in a file: a model becomes it whole, or stays what it was; measured maps take the place of models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import CheckpointError, ConversionError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
from neurosim.hardware.stages.mapping import Mapping, encode

CELLS: dict[str, Any] = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
NOISE = {"kind": "noise", "distribution": "gaussian", "scale": 0.05}
CHAIN: dict[str, Any] = {
    "weight": {"scale": {"kind": "scale", "per": "vector"}, "noise": NOISE | {"scope": "device"}},
    "array": {"mapping": CELLS | {"subtract": "digital"}, "tiles": {"kind": "tiles", "rows": 5}},
}


def profile(chain: dict[str, Any], sha256: str = "ab") -> Profile:
    return Profile("made", "for a test", "any", ChainSpec.model_validate(chain), sha256=sha256)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))


def chip(seed: int, chain: dict[str, Any] | None = None, sha256: str = "ab") -> Any:
    return ns.to_analog(network(), profile(CHAIN if chain is None else chain, sha256), seed=seed)


X = torch.rand(5, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers()}


def test_a_model_becomes_the_chip_of_a_file(tmp_path: Path) -> None:
    first, second = chip(3), chip(4)
    ns.drift_to(first, 25.0)
    wanted = first(X)
    assert not torch.equal(second(X), wanted)
    ns.set_draws(second, dict.fromkeys(ns.get_draws(second), 0))
    ns.load_chip(second, ns.save_chip(first, tmp_path / "deep" / "device.h5"))
    assert torch.equal(second(X), wanted)
    assert [layer.chain.seconds for layer in ns.analog_layers(second).values()] == [25.0, 25.0]


def test_frozen_errors_are_those_of_the_file_and_not_drawn_again(tmp_path: Path) -> None:
    model = chip(3)
    name = next(name for name, _ in model[0].chain.named_buffers() if name.startswith("weight_noise__"))
    getattr(model[0].chain, name).fill_(0.5)
    other = chip(3)
    ns.load_chip(other, ns.save_chip(model, tmp_path / "device.h5"))
    assert bool((getattr(other[0].chain, name) == 0.5).all())


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    path = ns.save_chip(chip(3), tmp_path / "device.h5")
    with h5py.File(path) as file:
        assert {name: file.attrs[name] for name in ("format", "kind", "profile", "profile_sha256")} == {
            **{"format": "neurosim.device", "kind": "simulated"},
            **{"profile": "made", "profile_sha256": "ab"},
        }
        assert list(file["layers"]) == ["0", "3"]
        assert file["layers/3"].attrs["seed"] == 3
        assert file["layers/3/matrix"][()].tolist() == [1, 4, 12]


def test_a_layer_by_hand_and_one_of_neurons_have_chips_too(tmp_path: Path) -> None:
    hand = nn.Sequential(ns.nn.AnalogLinear(3, 2, profile="photonic_avnn", seed=5, path="one"))
    ns.load_chip(hand, ns.save_chip(hand, tmp_path / "hand.h5"))
    torch.manual_seed(0)
    net = ns.nn.SpikingNetwork(ns.nn.SpikingSequential(nn.Linear(3, 4), ns.LIF(tau_mem=5e-3, dt=1e-3)), time_steps=4)
    first, second = (ns.to_analog(net, "bss2_spiking", seed=seed) for seed in (1, 2))
    x = torch.rand(6, 3, generator=torch.Generator().manual_seed(3))
    wanted = first(x)
    ns.load_chip(second, ns.save_chip(first, tmp_path / "device.h5"))
    assert torch.equal(second(x), wanted)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: chip(4, sha256="cd"), "this version of the profile 'made'"),
        (lambda: ns.to_analog(network(), "photonic_avnn", seed=0), "the model's profile 'photonic_avnn', is one of 'made'"),
        (lambda: ns.to_analog(network(), profile(CHAIN), seed=0, skip="0"), "0: the model has no analog layer of that name"),
        (
            lambda: ns.to_analog(nn.Sequential(*network(), nn.Linear(4, 2)), profile(CHAIN), seed=0),
            "4: the file must have this layer of the model, it has not",
        ),
        (
            lambda: ns.to_analog(nn.Sequential(nn.Conv2d(2, 3, 3), *list(network())[1:3], nn.Linear(12, 5)), profile(CHAIN), seed=0),
            r"3: must be a layer with the matrix \(groups, outputs, inputs\) \(1, 5, 12\), is one with \(1, 4, 12\)",
        ),
    ],
)
def test_a_chip_of_something_else_is_refused_and_nothing_changes(change: Callable[[], nn.Module], reason: str, tmp_path: Path) -> None:
    path, other = ns.save_chip(chip(3), tmp_path / "device.h5"), change()
    before, seeds = buffers(other), [layer.chain.seed for layer in ns.analog_layers(other).values()]
    with pytest.raises(ConversionError, match=reason):
        ns.load_chip(other, path)
    assert all(torch.equal(value, before[name]) for name, value in other.named_buffers())
    assert [layer.chain.seed for layer in ns.analog_layers(other).values()] == seeds


def test_other_frozen_errors_are_refused_by_name(tmp_path: Path) -> None:
    path, other = ns.save_chip(chip(3), tmp_path / "device.h5"), chip(3)
    ns.override(other, {"weight.noise": None}, layers="0")
    with pytest.raises(ConversionError, match=r"0: errors/weight\.noise/\w+: the model's chain has no such error"):
        ns.load_chip(other, path)


def _edit(path: Path, change: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file: file.attrs.__setitem__("format", "other"), "/@format: must be 'neurosim.device', got 'other'"),
        (lambda file: file.attrs.__setitem__("schema_version", 2), "/@schema_version: must be 1, got 2"),
        (lambda file: file.attrs.__setitem__("complete", False), "/@complete: must be true"),
        (lambda file: file["layers/3/matrix"].__setitem__(0, 2), "/@checksum: must be that of the content"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(change: Callable[[h5py.File], Any], reason: str, tmp_path: Path) -> None:
    path = _edit(ns.save_chip(chip(3), tmp_path / "device.h5"), change)
    with pytest.raises(CheckpointError, match=reason):
        ns.load_chip(chip(3), path)


def test_a_missing_file_and_one_of_another_kind_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        ns.load_chip(chip(3), tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(CheckpointError, match="must be a readable HDF5 file"):
        ns.load_chip(chip(3), tmp_path / "text.h5")


# --- measured maps ---

LAYOUTS: dict[str, dict[str, Any]] = {
    "elementwise": {"weight": {"noise": NOISE}},
    "pairs on tiles": CHAIN,
    "subtracted as currents": {**CHAIN, "array": CHAIN["array"] | {"mapping": CELLS}},
    "slices": {**CHAIN, "array": {"mapping": CELLS | {"slices": 3, "weight_bits": 13}}},
    "an offset by a column": {**CHAIN, "array": {"mapping": CELLS | {"scheme": "offset", "correction": "column", "levels": 5}}},
    "without a mapping": {"weight": CHAIN["weight"], "array": {"tiles": {"kind": "tiles", "rows": 5}}},
}


def measured_weights(model: nn.Module) -> dict[str, dict[str, Tensor]]:
    source, found = torch.Generator().manual_seed(9), {}
    for name in ("0", "3"):
        weight = model.get_parameter(f"{name}.weight").detach()
        found[name] = {"weight": weight + 0.3 * torch.randn(weight.shape, generator=source)}
    return found


@pytest.mark.parametrize("chain", LAYOUTS.values(), ids=LAYOUTS)
def test_measured_weights_take_the_place_of_everything_that_makes_them(chain: dict[str, Any], tmp_path: Path) -> None:
    model = chip(3, chain)
    maps = measured_weights(model)
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured=maps))
    digital = network()
    for name in maps:
        digital.get_parameter(f"{name}.weight").data = maps[name]["weight"]
    torch.testing.assert_close(model(X), digital(X), atol=2e-5, rtol=1e-4)


def test_measured_conductances_take_the_place_of_programming(tmp_path: Path) -> None:
    model = chip(3)
    cells, w = Mapping(**CELLS), torch.rand(1, 4, 12, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured={"3": {"conductance": encode(w, cells)}}))
    layer = model[3]
    omega = layer.weight.abs().amax(1)
    x = torch.rand(7, 12)
    torch.testing.assert_close(layer(x), x @ (w[0] * omega[:, None]).T + layer.bias, atol=1e-5, rtol=1e-4)


def test_a_derivative_passes_a_map_as_if_it_were_the_clean_weight(tmp_path: Path) -> None:
    model = chip(3)
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured=measured_weights(model)))
    x = torch.rand(7, 12)
    model[3](x).sum().backward()
    grad = model[3].weight.grad
    # rows of the largest weight differ: their scale depends on it
    expected = x.sum(0).expand(4, 12)
    largest = model[3].weight.abs().argmax(1)
    same = torch.ones(4, 12, dtype=torch.bool).scatter(1, largest[:, None], False)
    torch.testing.assert_close(grad[same], expected[same], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["weight", "conductance", "noise alone"])
def test_noise_of_reads_has_its_measured_deviation(kind: str, tmp_path: Path) -> None:
    model = chip(3)
    layer = model[3]
    value = {"weight": layer.weight.detach().clone(), "conductance": torch.full((2, 1, 4, 12), 5e-6)}.get(kind)
    deviation = torch.full((4, 12), 0.2) if kind == "weight" else torch.full((2, 1, 4, 12), 1e-6)
    maps = {"noise": deviation, **({} if value is None else {kind: value})}
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured={"3": maps}))
    one_each = torch.eye(12)
    n, found = 400, []
    for draw in range(n):
        ns.set_draw(model, draw)
        found.append(layer(one_each).detach())
    sd = torch.stack(found).std(0)
    omega = layer.weight.detach().abs().amax(1)
    expected = torch.full((12, 4), 0.2) if kind == "weight" else (2**0.5 * 1e-6 / 24e-6 * omega).expand(12, 4)
    # 48 independent values of n draws: the pooled variance has a relative error of sqrt(2 / (48 (n - 1))); five of them
    pooled = float((sd / expected).square().mean())
    assert abs(pooled - 1) < 5 * (2 / (48 * (n - 1))) ** 0.5
    ns.set_draw(model, 0)
    assert torch.equal(layer(one_each).detach(), found[0])
    with ns.keep_weights(model), torch.no_grad():
        first = model(X)
        assert not torch.equal(model(X), first)


def test_noise_modes_switch_maps_off(tmp_path: Path) -> None:
    model = chip(3)
    clean = network()(X)
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured=measured_weights(model)))
    with ns.noise("off", model):
        torch.testing.assert_close(model(X), clean, atol=1e-5, rtol=1e-4)
    with ns.noise("ideal", model):
        assert torch.equal(model(X), clean)


def test_maps_survive_a_copy_a_file_and_an_override_and_go_with_the_chip(tmp_path: Path) -> None:
    model = chip(3)
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured=measured_weights(model)))
    wanted = model(X)
    assert torch.equal(copy.deepcopy(model)(X), wanted)
    again = chip(4)
    ns.load_chip(again, ns.save_chip(model, tmp_path / "again.h5"))
    assert torch.equal(again(X), wanted)
    ns.override(model, {"array.tiles.rows": 7})
    torch.testing.assert_close(model(X), wanted, atol=1e-5, rtol=1e-4)
    assert set(model.state_dict()) == set(network().state_dict())
    ns.program(model, 3)
    torch.testing.assert_close(model(X), chip(3)(X))
    assert not torch.allclose(model(X), wanted, atol=1e-2)


def test_conductances_of_other_arrays_are_refused_by_an_override(tmp_path: Path) -> None:
    model = chip(3)
    ns.load_chip(model, ns.save_chip(model, tmp_path / "device.h5", measured={"3": {"conductance": torch.full((2, 1, 4, 12), 5e-6)}}))
    wanted = model(X)
    with pytest.raises(ConversionError, match=r"3: its measured maps must fit .* would have conductances of shape \(1, 1, 4, 12\)"):
        ns.override(model, {"array.mapping.scheme": "offset", "array.mapping.subtract": "analog"})
    assert torch.equal(model(X), wanted)


def test_a_measured_chip_may_be_written_by_another_program(tmp_path: Path) -> None:
    model, maps = chip(3), measured_weights(chip(3))
    with h5py.File(tmp_path / "device.h5", "w") as file:
        file.attrs.update({"format": "neurosim.device", "schema_version": 1, "complete": True})
        file["layers/any/measured/weight"] = maps["3"]["weight"].double().numpy().astype(">f8")
        file["layers/any/measured/weight"].attrs["unit"] = "1"
        file["layers/any"].attrs["name"] = "3"
    ns.load_chip(model, tmp_path / "device.h5")
    x = torch.rand(7, 12)
    torch.testing.assert_close(model[3](x), x @ maps["3"]["weight"].T + model[3].bias, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        ({"weigth": torch.zeros(4, 12)}, "no map is named 'weigth'; did you mean 'weight'"),
        ({"weight": torch.zeros(12, 4)}, r"measured/weight: must have the shape \(4, 12\), got \(12, 4\)"),
        ({"weight": torch.full((4, 12), torch.nan)}, "measured/weight: must be finite"),
        ({"conductance": torch.full((2, 1, 4, 12), -1e-6)}, "measured/conductance: must be finite and >= 0"),
        ({"weight": torch.zeros(4, 12), "conductance": torch.zeros(2, 1, 4, 12)}, "weight or of conductance, got both"),
        ({"noise": torch.zeros(4, 12)}, r"measured/noise: must have the shape \(2, 1, 4, 12\), got \(4, 12\)"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(maps: dict[str, Tensor], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=reason):
        ns.save_chip(chip(3), tmp_path / "device.h5", measured={"3": maps})
    assert not (tmp_path / "device.h5").exists()


def test_a_map_needs_cells_and_a_stage(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="its chain must have a mapping to conductances, it has none"):
        ns.save_chip(chip(3, LAYOUTS["elementwise"]), tmp_path / "device.h5", measured={"3": {"conductance": torch.zeros(2, 1, 4, 12)}})
    with pytest.raises(ConversionError, match="at least one stage"):
        ns.save_chip(chip(3, {}), tmp_path / "device.h5", measured={"3": {"weight": torch.zeros(4, 12)}})


def test_a_unit_that_is_another_one_is_refused(tmp_path: Path) -> None:
    path = ns.save_chip(chip(3), tmp_path / "device.h5", measured={"3": {"weight": torch.zeros(4, 12)}})
    _edit(path, lambda file: file["layers/3/measured/weight"].attrs.__setitem__("unit", "S"))
    with pytest.raises(CheckpointError, match="/layers/3/measured/weight@unit: must be '1', got 'S'"):
        ns.load_chip(chip(3), path)
