"""Profiles of photonic hardware and of BrainScaleS-2's matrix multipliers: what they hold, and what becomes of a network on them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.rings import Ring
from neurosim.random import stream

PROFILES = ["bss2_perceptron", "mrr_weight_bank", "mzi_mesh_clements", "mzi_mesh_reck", "photonic_pcm_crossbar"]
#: of the gain of hxtorch's software model, and of the largest and smallest number of 8 bits
GAIN, LOW, HIGH = 0.002, -128.0, 127.0


def filled(model: nn.Module) -> nn.Module:
    """A network with weights that do not depend on anything else."""
    for at, parameter in enumerate(model.parameters()):
        parameter.data = stream(0, "weights", str(at)).normal(parameter.shape, like=parameter) * 0.4
    return model


def perceptron() -> nn.Module:
    return filled(nn.Sequential(nn.Linear(20, 18), nn.ReLU(), nn.Linear(18, 5)))


def convolutions() -> nn.Module:
    return filled(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5)))


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {"perceptron": (perceptron, (6, 20)), "convolutions": (convolutions, (3, 2, 4, 4))}


def signals(*shape: int) -> Tensor:
    return stream(0, "signals").normal(shape, like=torch.empty(0))


def error(analog: nn.Module, digital: nn.Module, x: Tensor) -> float:
    """Root mean square of the difference of outputs, in units of that of the outputs."""
    with torch.no_grad():
        y: Tensor = digital(x)
        return float((analog(x) - y).norm() / y.norm())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PROFILES)
def test_a_network_runs_forward_and_backward(name: str, network: str) -> None:
    build, shape = NETWORKS[network]
    model = ns.to_analog(build(), name, seed=3)
    x = signals(*shape).requires_grad_()
    model(x).square().sum().backward()
    for tensor in (x, *model.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PROFILES)
def test_a_chip_is_its_seed(name: str) -> None:
    first, again, other = (ns.to_analog(perceptron(), name, seed=seed) for seed in (3, 3, 4))
    x = signals(6, 20)
    y = first(x)
    assert torch.equal(again(x), y)
    assert not torch.equal(other(x), y)
    assert not torch.equal(first(x), y)  # noise of the detectors is new at every read


@pytest.mark.parametrize("name", PROFILES)
def test_without_noise_all_chips_are_one(name: str) -> None:
    x, outputs = signals(6, 20), []
    for seed in (3, 4):
        model = ns.to_analog(perceptron(), name, seed=seed)
        with ns.noise("off", model):
            outputs += [model(x), model(x)]
    assert all(torch.equal(one, outputs[0]) for one in outputs)


@pytest.mark.parametrize("name", PROFILES)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    model, x = ns.to_analog(perceptron(), name, seed=3).double(), signals(6, 20).double()
    with ns.noise("off", model):
        assert torch.allclose(model(x)[:2], model(x[:2]), rtol=0, atol=1e-9)


# --- photonic --------------------------------------------------------------------------------------------------------------------------

FINE = {"input.dac.levels": (1 << 20) - 1, "output.adc.levels": (1 << 20) - 1}
IDEAL_MESH = {"array.mesh.phase_levels": None, "array.mesh.crosstalk": 0.0, "array.mesh.loss_db": 0.0}


@pytest.mark.parametrize("name", ["mzi_mesh_clements", "mzi_mesh_reck"])
def test_a_mesh_with_ideal_phases_is_the_digital_network(name: str) -> None:
    digital = perceptron().double()
    x = signals(6, 20).double()
    model = ns.to_analog(digital, name, seed=0, overrides={"*": {**IDEAL_MESH, **FINE}})
    with ns.noise("off", model):
        assert error(model, digital, x) < 2e-4  # steps of 8e-6 of full scale
    coarse = ns.to_analog(digital, name, seed=0, overrides={"*": FINE})
    with ns.noise("off", coarse):
        assert error(coarse, digital, x) > 0.01


def test_a_triangle_suffers_more_from_loss_than_a_rectangle() -> None:
    digital, x = perceptron(), signals(6, 20)
    errors = {}
    for name in ("mzi_mesh_clements", "mzi_mesh_reck"):
        for loss in (0.0, 0.2):
            changes = {**IDEAL_MESH, **FINE, "array.mesh.loss_db": loss}
            model = ns.to_analog(digital, name, seed=0, overrides={"*": changes})
            with ns.noise("off", model):
                errors[name, loss] = error(model, digital, x)
    assert errors["mzi_mesh_reck", 0.2] > 2 * errors["mzi_mesh_clements", 0.2]
    assert errors["mzi_mesh_reck", 0.0] == pytest.approx(errors["mzi_mesh_clements", 0.0], abs=1e-4)


def test_rings_that_are_set_as_if_alone_disturb_each_other() -> None:
    digital, x = perceptron(), signals(6, 20)
    together = ns.to_analog(digital, "mrr_weight_bank", seed=0)
    alone = ns.to_analog(digital, "mrr_weight_bank", seed=0, overrides={"*": {"array.mesh.calibrate": False}})
    with ns.noise("off", together), ns.noise("off", alone):
        assert error(together, digital, x) < 0.05
        assert error(alone, digital, x) > 2 * error(together, digital, x)


def test_a_warm_chip_of_rings_is_off() -> None:
    digital, x = perceptron(), signals(6, 20)
    errors = []
    for kelvin in (300.0, 300.5):
        model = ns.to_analog(digital, "mrr_weight_bank", seed=0, overrides={"*": {"kelvin": kelvin}})
        with ns.noise("off", model):
            errors.append(error(model, digital, x))
    assert errors[1] > 5 * errors[0]


def test_rings_have_the_radius_and_the_line_width_of_the_published_preset() -> None:
    # pytorch-onn 42304e8, torchonn/devices/mrr.py, class MRRConfig_5um_HQ: radius in line 34, bandwidth in line 38, in nm
    radius_nm, bandwidth_nm = 5000, 0.2278
    mesh: Any = ns.load_profile("mrr_weight_bank").chain.array.mesh
    assert mesh.radius_m == pytest.approx(radius_nm * 1e-9)
    ring: Ring = mesh.bank.ring
    assert ring.fwhm_m == pytest.approx(bandwidth_nm * 1e-9, rel=0.06)
    assert mesh.channels * mesh.spacing_m < ring.fsr_m
    assert -10 * math.log10(ring.round_trip**2) / (200 * math.pi * ring.radius_m) == pytest.approx(2.8, abs=0.05)  # dB/cm


def test_a_pair_of_cells_has_the_levels_that_its_source_says() -> None:
    quantize: Any = ns.load_profile("photonic_pcm_crossbar").chain.weight.quantize
    bits = 4  # of one cell: W. Zhou et al. 2023
    assert quantize.levels == 2 * 2**bits - 1


# --- BrainScaleS-2 ---------------------------------------------------------------------------------------------------------------------


def software_model(x: Tensor, weight: Tensor) -> Tensor:
    """The arithmetic of hxtorch's ``mac_mock_forward`` without noise: src/hxtorch/perceptron/detail/mac.cpp, lines 28 to 82."""
    inputs, weights = x.round(), weight.round()
    assert 0 <= inputs.min() <= inputs.max() <= 31
    assert -63 <= weights.min() <= weights.max() <= 63
    total = torch.zeros(len(x), weight.shape[1], dtype=x.dtype)
    for rows, columns in zip(inputs.split(128, -1), weights.split(128, 0), strict=True):
        total += (rows @ columns * GAIN).floor().clamp(LOW, HIGH)
    return total.clamp(LOW, HIGH)


def numbers(*shape: int, low: int, high: int, name: str) -> Tensor:
    """Whole numbers, in every row the largest of them."""
    drawn = low + (stream(0, name).uniform(shape, like=torch.empty(0, dtype=torch.float64)) * (high - low + 1)).floor().clamp(
        max=high - low
    )
    drawn[:, 0] = high
    return drawn


def codes(model: nn.Module, x: Tensor) -> Tensor:
    """What a single layer without bias gives, in steps of its output converter: whole numbers to within rounding."""
    (layer,) = ns.analog_layers(model).values()
    with torch.no_grad():
        step = layer.weight.abs().max() / 63 * x.abs().amax(-1, keepdim=True) / 31 / GAIN  # type: ignore[operator]  # a tensor
        y: Tensor = model(x) / step
    assert (y - y.round()).abs().max() < 1e-3
    return y.round()


UNSIGNED = {"input.dac.levels": 32, "input.dac.low": 0.0, "input.slices.separate_signs": False}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("inputs", "least"), [(20, -63), (128, -63), (129, -43), (300, -63), (300, -3)])
def test_bss2_gives_the_whole_numbers_of_the_software_model(inputs: int, least: int, dtype: torch.dtype) -> None:
    """Any number of inputs; sums that saturate in one array, or only together. A layer whose largest weight is 63 has a scale of 1."""
    weight = numbers(40, inputs, low=least, high=63, name="weight").to(dtype)
    positive = numbers(50, inputs, low=0, high=31, name="inputs").to(dtype)
    layer = nn.Linear(inputs, 40, bias=False, dtype=dtype)
    layer.weight.data = weight
    wanted = software_model(positive, weight.T)
    for overrides in ({}, {"*": UNSIGNED}):
        model = ns.to_analog(nn.Sequential(layer), "bss2_perceptron", seed=0, overrides=overrides)
        with ns.noise("off", model):
            assert torch.equal(codes(model, positive), wanted)
    signed = positive * (1 - 2 * (numbers(50, inputs, low=0, high=1, name="signs").to(dtype)))
    parts = [software_model(part.clamp(min=0), weight.T) for part in (signed, -signed)]
    model = ns.to_analog(nn.Sequential(layer), "bss2_perceptron", seed=0)
    with ns.noise("off", model):
        assert torch.equal(codes(model, signed), parts[0] - parts[1])


def test_the_cases_of_the_software_model_saturate_and_round() -> None:
    weight, x = numbers(40, 300, low=-3, high=63, name="weight"), numbers(50, 300, low=0, high=31, name="inputs")
    total = software_model(x, weight.T)
    assert total.max() == HIGH
    assert (x[:, :128] @ weight.T[:128] * GAIN).floor().max() > HIGH  # a single array


def test_bss2_scales_any_signal_to_its_codes() -> None:
    digital, x = perceptron(), signals(6, 20)
    model = ns.to_analog(digital, "bss2_perceptron", seed=0)
    layer: Any = model[0]  # type: ignore[index]  # a Sequential
    with ns.noise("off", model), torch.no_grad():
        y, wanted = layer(x), digital[0](x)  # type: ignore[index]  # a Sequential
        assert torch.allclose(layer(4 * x), layer.bias + 4 * (y - layer.bias), atol=1e-4)
    alpha, omega = x.abs().amax(-1, keepdim=True) / 31, layer.weight.abs().max() / 63
    inputs, weights = (alpha / 2 * layer.weight.abs().sum(-1)), omega / 2 * x.abs().sum(-1, keepdim=True)  # half a step each
    assert ((y - wanted).abs() < alpha * omega * (1 / GAIN + 20 / 4) + inputs + weights).all()  # and one of the output's


@pytest.mark.parametrize(("inputs", "outputs", "arrays"), [(128, 256, 1), (129, 256, 2), (300, 257, 6)])
def test_bss2_takes_as_many_arrays_as_the_software_model(inputs: int, outputs: int, arrays: int) -> None:
    layer = ns.nn.AnalogLinear(inputs, outputs, profile="bss2_perceptron", seed=0, path="layer")
    assert layer.chain.layout is not None
    assert layer.chain.layout.arrays == arrays
    assert layer.chain.layout.rows == min(inputs, 128)


def test_bss2_has_the_noise_of_the_software_model() -> None:
    model = ns.to_analog(nn.Sequential(nn.Linear(20, 100, bias=False)), "bss2_perceptron", seed=0, overrides={"*": UNSIGNED})
    x = torch.full((200, 20), 31.0)
    noisy = codes(model, x) - codes(model, x)
    sigma = math.sqrt(2 * (2.0**2 + 1 / 12))  # two conversions, each with noise of 2 steps and a rounding that this noise makes uniform
    low, high = (math.sqrt(float(stats.chi2.ppf(at, noisy.numel() - 1)) / (noisy.numel() - 1)) * sigma for at in (1e-4, 1 - 1e-4))
    assert low < noisy.std().item() < high


# --- accuracy --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Tensor, Tensor]:
    """A digital perceptron, 64-64-10, trained on the digits, and what it is tested on."""
    data = ns.load_dataset("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    filled(model)
    with torch.no_grad():
        for weight in (one for one in model.parameters() if one.dim() > 1):
            weight.div_(4)
    x, y = data.train.images / 255, data.train.labels
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimizer.step()
    return model.eval(), data.test.images / 255, data.test.labels


#: points of accuracy that the datasheets allow, mean of three chips; and what they say for hardware that does not keep it
LOST = {"mrr_weight_bank": 2.0, "mzi_mesh_clements": 3.0, "photonic_pcm_crossbar": 2.0}
NOT_KEPT = {"bss2_perceptron": 5.0}


def accuracies(model: nn.Module, name: str, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Digital, and the mean of three chips, in percent."""
    with torch.no_grad():
        digital = (model(x).argmax(1) == y).double().mean().item()
        chips = [(ns.to_analog(model, name, seed=seed)(x).argmax(1) == y).double().mean().item() for seed in range(3)]
    return 100 * digital, 100 * sum(chips) / 3


@pytest.mark.parametrize("name", LOST)
def test_a_trained_perceptron_keeps_its_accuracy(name: str, trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    digital, analog = accuracies(trained[0], name, *trained[1:])
    assert digital > 95
    assert analog > digital - LOST[name]


@pytest.mark.parametrize("name", NOT_KEPT)
def test_hardware_that_needs_training_for_it_loses_accuracy(name: str, trained: tuple[nn.Module, Tensor, Tensor]) -> None:
    digital, analog = accuracies(trained[0], name, *trained[1:])
    assert digital - 30 < analog < digital - NOT_KEPT[name]
