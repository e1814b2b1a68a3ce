"""Spiking models on simulated chips: identity, frozen errors of each neuron, noise with computed bounds, words of an integer machine."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons import ALIF, IF, LI, LIF, CubaLIF, LIFState, Neuron, ParametricLIF
from neurosim.nn import HardwareCubaLIF, HardwareLI, HardwareLIF, HardwareNeuron, NeuronChain, SpikingNetwork, SpikingSequential
from neurosim.random import Stream, stream

DT = 1e-3
CHIPS = ["neuromorphic_digital8", "bss2_spiking"]
IDEAL = """\
version: 1
name: ideal
summary: neurons, but nothing that is not ideal
technology: digital neuromorphic
chain:
  neuron: {}
"""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return stream(seed, "test").uniform(shape, like=torch.empty(0))


def network(**rule: Any) -> SpikingNetwork:
    """Every sort of neuron, with weights that make them fire."""
    body = SpikingSequential(
        nn.Flatten(),
        nn.Linear(16, 12),
        LIF(5e-3, DT, **rule),
        nn.Linear(12, 8),
        CubaLIF(8e-3, 4e-3, DT, **rule),
        nn.Linear(8, 4),
        LI(5e-3, DT),
    )
    for at, layer in enumerate(module for module in body.modules() if isinstance(module, nn.Linear)):
        with torch.no_grad():
            layer.weight.copy_(drawn(*layer.weight.shape, seed=at + 1) * 0.5 - 0.15)
            layer.bias.copy_(drawn(*layer.bias.shape, seed=at + 9) * 0.1)
    return SpikingNetwork(body, time_steps=12)


def ideal(folder: Path) -> ns.Profile:
    (folder / "profile.yaml").write_text(IDEAL)
    return ns.load_profile(folder / "profile.yaml")


def put(model: nn.Module, profile: str | ns.Profile, **given: Any) -> Any:
    """The model on a chip, untyped: tests look into it."""
    return ns.to_neuromorphic(model, profile, **given)


def alone(neuron: nn.Module, folder: Path, **slots: dict[str, Any]) -> Any:
    """One layer of neurons on a chip that has these stages and no others."""
    changes = {f"neuron.{slot}": stage for slot, stage in slots.items()}
    return put(SpikingSequential(neuron), ideal(folder), seed=3, overrides={"*": changes})


X = drawn(3, 1, 4, 4)


# --- identity --------------------------------------------------------------------------------------------------------------------------


def test_a_chip_without_errors_is_the_clean_model_bit_for_bit(tmp_path: Path) -> None:
    clean = network()
    chip = put(clean, ideal(tmp_path), seed=1)
    assert isinstance(chip.body[2], HardwareLIF)
    assert isinstance(chip.body[4], HardwareCubaLIF)
    assert isinstance(chip.body[6], HardwareLI)
    assert torch.equal(chip(X), clean(X))


@pytest.mark.parametrize("name", CHIPS)
def test_ideal_mode_is_the_clean_model_and_silence_keeps_what_is_deterministic(name: str) -> None:
    clean = network()
    chip = put(clean, name, seed=1)
    with ns.noise("ideal", chip):
        assert torch.equal(chip(X), clean(X))
    with ns.noise("off", chip):
        quiet = chip(X)
        assert torch.equal(quiet, chip(X))
    assert not torch.equal(quiet, clean(X))
    assert not torch.equal(chip(X), clean(X))


EVERY: dict[str, Neuron[Any]] = {
    "lif": LIF(5e-3, DT, r=8.0, v_leak=0.1),
    "parametric_lif": ParametricLIF(5e-3, DT, v_leak=0.1),
    "if": IF(DT, v_start=0.5),
    "cuba_lif": CubaLIF(8e-3, 4e-3, DT, v_leak=0.1),
    "li": LI(5e-3, DT, v_leak=0.1),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_neuron_with_fine_words_and_no_spread_is_close_to_the_clean_one(name: str, tmp_path: Path) -> None:
    neuron, x = EVERY[name], 0.37 * drawn(20, 2, 30, seed=8)
    none = {"kind": "mismatch", "spread": 0.0}
    chip = alone(neuron, tmp_path, tau_mem=none, gain=none, threshold=none)
    clean = neuron(x).detach()
    assert torch.equal(chip(x), clean)
    words = alone(neuron, tmp_path, words={"kind": "fixed_point", "bits": 24, "range": 8.0})(x).detach()
    assert not ns.analog_layers(chip)["0"].chain.bypassed
    if name == "li":
        torch.testing.assert_close(words, clean, atol=20 * 2.0**-20, rtol=0)  # 20 steps, each off by a step of a word at most
    else:
        assert float(clean.mean()) > 0.01
        assert float((words != clean).float().mean()) < 0.01  # a potential within 2^-16 of its threshold is that rare


def test_factors_of_one_change_no_bit(tmp_path: Path) -> None:
    clean = network()
    none = {"kind": "mismatch", "spread": 0.0}
    changes: dict[str, Any] = {f"neuron.{slot}": none for slot in ("tau_mem", "tau_syn", "gain", "threshold", "reset")}
    changes["neuron.spikes"] = {"kind": "drop", "probability": 0.0}
    chip = put(clean, ideal(tmp_path), seed=1, overrides={"*": changes})
    assert not next(module for module in chip.modules() if isinstance(module, NeuronChain)).bypassed
    assert torch.equal(chip(X), clean(X))
    ns.override(chip, {"neuron.*.spread": 0.3, "neuron.spikes.probability": 0.3})
    ns.set_noise_strength(chip, 0.0)
    assert torch.equal(chip(X), clean(X))


@pytest.mark.parametrize("name", CHIPS)
def test_weights_and_parameters_load_strictly_both_ways_and_the_way_back_is_clean(name: str) -> None:
    clean = network(learn=("tau_mem", "v_threshold"))
    chip = put(clean, name, seed=1)
    assert list(chip.state_dict()) == list(clean.state_dict())
    chip.load_state_dict(clean.state_dict())
    clean.load_state_dict(chip.state_dict())
    back = ns.to_digital(chip)
    assert [type(module) for module in back.modules()] == [type(module) for module in clean.modules()]
    assert torch.equal(back(X), clean(X))


def test_a_chip_without_neurons_gives_the_clean_ones_back() -> None:
    chip = put(network(), "bss2_spiking", seed=1)
    analog: Any = ns.to_analog(chip, "photonic_avnn", seed=1)
    assert not any(isinstance(module, HardwareNeuron) for module in analog.modules())
    assert {report.path: report.reason for report in analog.conversion.layers}.keys() == {"body.1", "body.3", "body.5"}
    again = put(chip, "neuromorphic_digital8", seed=2)
    direct = put(network(), "neuromorphic_digital8", seed=2)
    assert torch.equal(again(X), direct(X))


# --- frozen errors ---------------------------------------------------------------------------------------------------------------------

N = 20_000


def check_lognormal(factors: Tensor, spread: float) -> None:
    """Mean and deviation of the logarithms, within five standard errors."""
    logs = factors.double().log()
    count = logs.numel()
    assert abs(float(logs.mean())) < 5 * spread / math.sqrt(count)
    assert abs(float(logs.std()) / spread - 1) < 5 / math.sqrt(2 * count)


def test_every_neuron_has_a_time_constant_of_its_own(tmp_path: Path) -> None:
    chip = alone(LI(8e-3, DT), tmp_path, tau_mem={"kind": "mismatch", "spread": 0.2})
    pulse = torch.zeros(2, 1, N)
    pulse[0] = 1.0
    v = chip(pulse)[:, 0].double()
    check_lognormal(-DT / (v[1] / v[0]).log() / 8e-3, 0.2)


def test_every_synapse_has_a_time_constant_of_its_own_independent_of_the_membranes(tmp_path: Path) -> None:
    spread = {"kind": "mismatch", "spread": 0.2}
    chip = alone(CubaLIF(8e-3, 4e-3, DT, v_threshold=1e6), tmp_path, tau_mem=spread, tau_syn=spread)
    pulse = torch.zeros(2, 1, N)
    pulse[0] = 1.0
    neuron = chip[0]
    v = neuron.trace(pulse).v[:, 0].double()  # 1, then a + α
    i = neuron.run(pulse)[1].i[0].double()  # α
    tau_syn, tau_mem = -DT / i.log() / 4e-3, -DT / (v[1] / v[0] - i).log() / 8e-3
    check_lognormal(tau_syn, 0.2)
    check_lognormal(tau_mem[torch.isfinite(tau_mem)], 0.2)
    correlation = float(torch.corrcoef(torch.stack([tau_syn.log(), tau_mem.log()]))[0, 1])
    assert abs(correlation) < 5 / math.sqrt(N)


def test_every_neuron_has_a_threshold_of_its_own_and_subtracts_the_clean_one(tmp_path: Path) -> None:
    chip = alone(LIF(math.inf, DT, v_threshold=2.0), tmp_path, threshold={"kind": "mismatch", "spread": 0.1})
    ramp = torch.full((400, 1, N // 40), 1 / 128)
    run = chip[0].trace(ramp)
    first = run.spikes.argmax(0)[0]
    assert float(run.spikes.sum(0).min()) >= 1
    h = (first + 1).double() / 128
    check_lognormal((h - 1 / 256) / 2, 0.1)  # the ramp tells the threshold to half a step of 1/128: far less than the spread
    after = run.v[:, 0].double().gather(0, first[None])[0]
    torch.testing.assert_close(after, h - 2)


def test_every_neuron_has_a_gain_of_its_own(tmp_path: Path) -> None:
    chip = alone(LI(math.inf, DT), tmp_path, gain={"kind": "mismatch", "spread": 0.3})
    check_lognormal(chip(torch.ones(1, 1, N))[0, 0], 0.3)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_every_neuron_has_a_reset_of_its_own(reset: Any, tmp_path: Path) -> None:
    spread = {"kind": "noise", "distribution": "gaussian", "scale": 0.05, "scope": "device"}
    chip = alone(LIF(math.inf, DT, v_threshold=4.0, v_reset=0.5, reset=reset), tmp_path, reset=spread)
    v = chip[0].trace(torch.full((1, 1, N), 8.0)).v[0, 0].double()
    sigma = 0.05 * 4  # full scale is the threshold, 4
    assert abs(float(v.mean()) - (0.5 if reset == "hard" else 4.0)) < 5 * sigma / math.sqrt(N)
    assert abs(float(v.std()) / sigma - 1) < 5 / math.sqrt(2 * N)


def test_thresholds_have_the_resolution_of_their_converter(tmp_path: Path) -> None:
    dac = {"kind": "quantize", "levels": 5, "low": -1.0, "high": 1.0}
    neuron = LIF(math.inf, DT, v_threshold=torch.tensor([2.9, 3.1, math.inf]), reset="hard")
    chip = alone(neuron, tmp_path, threshold_dac=dac)  # full scale 4: steps of 2
    assert chip[0].chain.full_scale == 4
    rising = torch.full((50, 1, 3), 0.125)
    fired = chip(rising)[:, 0]
    assert fired.argmax(0)[:2].tolist() == [15, 31]  # 2.9 → 2, 3.1 → 4
    assert fired[:, 2].sum() == 0


def test_decays_have_their_resolution(tmp_path: Path) -> None:
    chip = alone(LI(8e-3, DT, r=1.0), tmp_path, decay={"kind": "quantize", "levels": 17, "low": 0.0, "high": 1.0})
    pulse = torch.zeros(2, 1, 1)
    pulse[0] = 1.0
    decay = round(16 * math.exp(-1 / 8)) / 16
    assert chip(pulse).flatten().tolist() == [1 - decay, (1 - decay) * decay]


def test_a_chip_is_its_seed_whatever_the_batch_and_whatever_else_is_in_the_model() -> None:
    def mismatch(seed: int, *more: nn.Module) -> Any:
        chip = put(SpikingSequential(LI(8e-3, DT), *more), "bss2_spiking", seed=seed)
        with ns.noise("ideal", chip, stages="neuron.membrane"):
            return chip[0](torch.ones(4, 3, 7))

    first = mismatch(1)
    assert torch.equal(first, mismatch(1, nn.Linear(7, 2), LIF(5e-3, DT)))
    assert torch.equal(first[:, 0], first[:, 2])
    assert not torch.equal(first, mismatch(2))
    chip = put(SpikingSequential(LI(8e-3, DT), LI(8e-3, DT)), "bss2_spiking", seed=1)
    with ns.noise("ideal", chip, stages="neuron.membrane"):
        assert torch.equal(chip[0](torch.ones(4, 3, 7)), first)
        assert not torch.equal(chip[1](torch.ones(4, 3, 7)), first)
        ns.program(chip, 2)
        assert torch.equal(chip[0](torch.ones(4, 3, 7)), mismatch(2))


# --- noise -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [False, True])
def test_membrane_noise_adds_its_variance_at_every_step(words: bool, tmp_path: Path) -> None:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.05}
    more: dict[str, Any] = {"words": {"kind": "fixed_point", "bits": 20, "range": 8.0}} if words else {}
    chip = alone(LI(math.inf, DT), tmp_path, membrane=noise, **more)
    v = chip(torch.zeros(16, 1, N))[15, 0].double()
    sigma = 0.05 * math.sqrt(16)
    assert abs(float(v.mean())) < 5 * sigma / math.sqrt(N)
    assert abs(float(v.std()) / sigma - 1) < 5 / math.sqrt(2 * N)


def test_membrane_noise_of_firing_neurons_and_input_noise_have_their_strength(tmp_path: Path) -> None:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.05}
    for slot, deviation in (("membrane", 0.05 * 8), ("input", 0.05 * 8 * 0.25)):  # full scale 8, gain 1/4
        neuron = LIF(math.inf, DT, v_threshold=8.0) if slot == "membrane" else LIF(DT / math.log(4 / 3), DT, r=1.0, v_threshold=8.0)
        chip = alone(neuron, tmp_path, **{slot: noise})
        v = chip[0].trace(torch.zeros(1, 1, N)).v[0, 0].double()
        assert abs(float(v.std()) / deviation - 1) < 5 / math.sqrt(2 * N)


def test_the_share_of_lost_spikes_is_the_probability(tmp_path: Path) -> None:
    chip = alone(LIF(math.inf, DT), tmp_path, spikes={"kind": "drop", "probability": 0.1})
    spikes = chip(torch.ones(5, 1, N // 5))
    assert abs(float(spikes.double().mean()) - 0.9) < 5 * math.sqrt(0.1 * 0.9 / N)
    run = chip[0].trace(torch.ones(5, 1, N // 5))
    assert torch.equal(run.v, torch.zeros_like(run.v))  # the neuron itself has fired and reset


def test_noise_is_new_at_every_forward_and_every_use_and_can_be_held(tmp_path: Path) -> None:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.05}
    chip = alone(LI(math.inf, DT), tmp_path, membrane=noise)
    x = torch.zeros(3, 2, 5)
    first, second = chip(x), chip(x)
    assert not torch.equal(first, second)
    with ns.noise("fixed", chip):
        held = chip(x)
        assert torch.equal(held, chip(x))
    ns.set_draw(chip, 0)
    assert torch.equal(chip(x), first)
    once = chip[0](x)
    assert not torch.equal(once, chip[0](x))


def test_strength_scales_noise_and_mismatch(tmp_path: Path) -> None:
    noise = {"kind": "noise", "distribution": "gaussian", "scale": 0.05}
    chip = alone(LI(math.inf, DT), tmp_path, membrane=noise)
    ns.redraw(chip, "manual")
    full = chip(torch.zeros(1, 1, 100))
    ns.set_noise_strength(chip, 0.5)
    torch.testing.assert_close(chip(torch.zeros(1, 1, 100)), full / 2)


# --- words -----------------------------------------------------------------------------------------------------------------------------


def test_a_network_in_words_is_an_integer_machine() -> None:
    """8-bit weights, 16-bit potentials and 12-bit decays, by whole numbers alone; inputs are spikes."""
    body = SpikingSequential(nn.Linear(10, 9, bias=False), LIF(5e-3, DT), nn.Linear(9, 6, bias=False), LIF(9e-3, DT, reset="hard"))
    for at in (0, 2):
        with torch.no_grad():
            body[at].weight.copy_(drawn(*body[at].weight.shape, seed=at) * 1.3 - 0.4)
    chip = put(body, "neuromorphic_digital8", seed=0)
    x = (drawn(30, 4, 10, seed=5) < 0.4).float()
    spikes = x.numpy().astype(np.int64)
    unit = 2.0**-12  # one step of a word: full scale 1, range 8, 16 bit
    for at, tau, hard in ((0, 5e-3, False), (2, 9e-3, True)):
        weight = body[at].weight.detach().numpy().astype(np.float64)
        step = 2.0 ** math.ceil(math.log2(np.abs(weight).max() / 127))
        words = np.rint(weight / step).astype(np.int64) * int(step / unit)
        decay, theta = round(4096 * math.exp(-DT / tau)), 4096
        v = np.zeros((4, len(weight)), dtype=np.int64)
        steps = []
        for one in spikes:
            left = np.sign(v) * (np.abs(v) * decay >> 12)
            v = np.clip(left + one @ words.T, -(1 << 15), (1 << 15) - 1)
            fired = v >= theta
            v = np.where(fired, 0, v) if hard else v - theta * fired
            steps.append(fired.astype(np.int64))
        spikes = np.stack(steps)
    assert 0.02 < spikes.mean() < 0.98
    assert np.array_equal(chip(x).detach().numpy(), spikes)


def test_overflows_are_counted_for_each_forward_and_each_layer() -> None:
    net = SpikingSequential(LIF(math.inf, DT, reset="none"), LI(math.inf, DT))
    chip = put(net, "neuromorphic_digital8", seed=0)
    x = torch.full((4, 2, 3), 3.0)  # 3, 6, then saturated twice
    for _ in range(2):
        chip(x)
        assert ns.overflows(chip) == {"0": 2 * 2 * 3, "1": 0}
    ns.override(chip, {"neuron.words.range": 64.0})
    chip(x)
    assert ns.overflows(chip) == {"0": 0, "1": 0}
    with ns.noise("ideal", chip, layers="0"):
        assert ns.overflows(chip) == {"1": 0}


def test_a_stream_of_chunks_in_words_equals_the_whole() -> None:
    chip = put(network().body, "neuromorphic_digital8", seed=0)
    x = drawn(10, 2, 16, seed=4)
    whole, _ = chip.run(x)
    first, state = chip.run(x[:6])
    assert torch.equal(whole, torch.cat([first, chip.run(x[6:], state)[0]]))


# --- what cannot be done ---------------------------------------------------------------------------------------------------------------


def test_a_layer_with_too_many_inputs_is_an_error_that_names_it() -> None:
    net = network()
    few = {"*": {"fan_in": 10}}
    with pytest.raises(ConversionError, match=r"body\.1: each output must have at most 10 inputs on this hardware, got 16") as caught:
        put(net, "neuromorphic_digital8", seed=0, overrides=few, inplace=True)
    assert "body.3: each output must have at most 10 inputs on this hardware, got 12" in str(caught.value)
    assert ns.analog_layers(net) == {}  # nothing was converted
    chip = put(net, "neuromorphic_digital8", seed=0)
    with pytest.raises(ConversionError, match=r"body\.1"):
        ns.override(chip, {"fan_in": 10, "weight.quantize.bits": 4})
    assert chip.body[3].chain.spec.weight.quantize.bits == 8
    wide = SpikingSequential(nn.Conv2d(8, 4, 3, groups=2), LIF(5e-3, DT))
    put(wide, "bss2_spiking", seed=0, overrides={"0": {"fan_in": 36}})
    with pytest.raises(ConversionError, match="at most 35 inputs on this hardware, got 36"):
        put(wide, "bss2_spiking", seed=0, overrides={"0": {"fan_in": 35}})


def test_a_profile_without_neurons_and_a_model_without_them_are_refused() -> None:
    with pytest.raises(ConfigError, match="photonic_avnn has none; those that have: bss2_spiking, neuromorphic_digital8"):
        put(network(), "photonic_avnn", seed=0)
    for convert in (ns.to_neuromorphic, ns.to_analog):
        with pytest.raises(ConversionError, match="the model must have neurons, it has none"):
            convert(nn.Sequential(nn.Linear(4, 2)), "bss2_spiking", seed=0)


class Stepping(LIF):
    """A neuron with a step of its own."""

    def _leak(self) -> dict[str, Any]:
        return super()._leak()


class Named(LIF):
    """A neuron with nothing of its own but its name."""

    def run(self, x: Tensor, state: LIFState | None = None, *, stream: Stream | None = None) -> tuple[Tensor, LIFState]:
        return super().run(x, state, stream=stream)


class Renamed(LIF):
    """A neuron that computes what its base does."""


@pytest.mark.parametrize(
    ("neuron", "reason"),
    [
        (LIF(5e-3, DT, membrane_noise=0.1), "it has noise of its own"),
        (LIF(5e-3, DT, reset="soft_next"), "reset 'soft_next' has no arithmetic in words; those that have it: none, soft, hard"),
        (Stepping(5e-3, DT), "Stepping defines _leak itself, so its step is not known to be that of LIF"),
        (Named(5e-3, DT), "Named defines run itself"),
        (ALIF(5e-3, 50e-3, DT), "ALIF has no model on hardware yet; those that have one: LIF, ParametricLIF, IF, CubaLIF, LI"),
    ],
)
def test_a_neuron_that_the_chip_does_not_have_stays_clean_and_the_report_says_why(neuron: Neuron[Any], reason: str) -> None:
    chip = put(SpikingSequential(nn.Linear(4, 4), neuron, LI(5e-3, DT)), "neuromorphic_digital8", seed=0)
    report = {layer.path: layer for layer in chip.conversion.layers}
    assert report["1"].status == "refused"
    assert report["1"].reason.startswith(reason)
    assert type(chip[1]) is type(neuron)
    assert isinstance(chip[2], HardwareLI)


def test_a_reset_without_words_is_refused_where_words_come_later() -> None:
    chip = put(SpikingSequential(LIF(5e-3, DT, reset="soft_next")), "bss2_spiking", seed=0)
    assert chip(torch.ones(3, 1, 2)).shape == (3, 1, 2)
    ns.override(chip, {"neuron.words": {"kind": "fixed_point", "bits": 8, "range": 8.0}})
    with pytest.raises(ConfigError, match="reset must be one of none, soft, hard for potentials in words, got 'soft_next'"):
        chip(torch.ones(3, 1, 2))


def test_layers_are_chosen_and_skipped_like_others() -> None:
    chip = put(network(), "bss2_spiking", seed=0, layers=(LIF, nn.Linear), skip="body.3")
    assert {layer.path: layer.status for layer in chip.conversion.layers} == {
        "body.1": "converted",
        "body.2": "converted",
        "body.3": "digital",
        "body.4": "digital",
        "body.5": "converted",
        "body.6": "digital",
    }
    assert str(chip.conversion).startswith("bss2_spiking, chip 0: 3 layers converted, 3 left digital, 0 refused")


def test_overrides_reach_the_layers_that_their_globs_name() -> None:
    changes = {"*": {"neuron.threshold.spread": 0.3, "weight.noise.spread": 0.2}, "body.4": {"neuron.threshold.spread": 0.4}}
    chip = put(network(), "bss2_spiking", seed=0, overrides=changes)
    spreads = {at: chip.body[at].chain.slots["neuron.threshold"].spread for at in (2, 4, 6)}
    assert spreads == {2: 0.3, 4: 0.4, 6: 0.3}
    with pytest.raises(
        ConfigError, match=r"'neuron.treshold.spread' names no parameter of these layers; did you mean 'neuron.threshold.spread'"
    ):
        put(network(), "bss2_spiking", seed=0, overrides={"*": {"neuron.treshold.spread": 0.3}})


# --- training, tools -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHIPS)
def test_gradients_reach_every_clean_parameter(name: str) -> None:
    chip = put(network(learn=("tau_mem", "v_threshold")), name, seed=0)
    chip(X).square().sum().backward()
    for path, parameter in chip.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_survives_copies_pickling_and_16_bits(name: str) -> None:
    chip = put(network(), name, seed=0)
    copies = [copy.deepcopy(chip), pickle.loads(pickle.dumps(chip))]
    expected = chip(X)
    for other in copies:
        assert torch.equal(other(X), expected)
    half = copy.deepcopy(chip).bfloat16()(X.bfloat16())
    assert half.dtype == torch.bfloat16
    assert half.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert chip(X).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by torch, while it compiles
@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_compiles_as_one_graph_and_counts_on(name: str) -> None:
    chip = put(SpikingSequential(nn.Linear(4, 3), CubaLIF(5e-3, 3e-3, DT)), name, seed=0)
    chip[0].weight.data.fill_(4.0)
    compiled: Any = torch.compile(copy.deepcopy(chip), fullgraph=True, backend="aot_eager")
    x = torch.ones(2, 2, 4)  # a drive of 16 on words up to 8: the current is cut at both steps, the potential at the second
    assert torch.equal(compiled(x), chip(x))
    assert ns.overflows(compiled) == ns.overflows(chip) == ({"1": 3 * 2 * 3} if name == "neuromorphic_digital8" else {})


def test_classes_of_a_users_own_stay_theirs_and_survive_pickling() -> None:
    chip = put(SpikingSequential(Renamed(5e-3, DT)), "bss2_spiking", seed=0)
    assert isinstance(chip[0], Renamed)
    assert type(chip[0]).__name__ == "HardwareRenamed"
    again = pickle.loads(pickle.dumps(chip))
    x = torch.ones(5, 1, 3)
    assert torch.equal(again(x), chip(x))


def test_a_checkpointed_block_recomputes_its_noise_and_counts_nothing_twice() -> None:
    from torch.utils.checkpoint import checkpoint

    def grads(checkpointed: bool) -> tuple[list[Tensor], dict[str, int]]:
        chip = put(
            network().body,
            "neuromorphic_digital8",
            seed=0,
            overrides={"*": {"neuron.membrane": {"kind": "noise", "distribution": "gaussian", "scale": 0.1}, "neuron.words.range": 0.5}},
        )
        x = drawn(6, 2, 16, seed=4).requires_grad_()
        for module in chip.modules():
            if isinstance(module, ns.nn.AnalogChain):
                module.restart()
        y = checkpoint(chip.forward, x, use_reentrant=False) if checkpointed else chip.forward(x)
        counted = ns.overflows(chip)
        y.square().sum().backward()
        assert ns.overflows(chip) == counted
        return [parameter.grad for parameter in chip.parameters() if parameter.grad is not None], counted

    (plain, counted), (recomputed, recounted) = grads(False), grads(True)
    assert sum(counted.values()) > 0
    assert counted == recounted
    assert all(torch.equal(one, other) for one, other in zip(plain, recomputed, strict=True))


def test_a_study_varies_neurons_and_weights_together() -> None:
    chip = put(network(), "bss2_spiking", seed=0)
    data = [(drawn(8, 1, 4, 4, seed=7), torch.arange(8) % 4)]
    plan = {
        "axes": {"threshold": {"neuron.threshold.spread": [0.0, 0.1]}, "bits": {"weight.quantize.bits": [3, 7]}},
        "scopes": ["all", "each"],
        "chips": 2,
    }
    report = ns.sensitivity(chip, data, plan)
    assert report.results.axes == {"threshold": [0.1, 0.0, 0.0, 0.1], "bits": [7, 3, 7, 3]}
    assert [(layer.name, layer.type) for layer in report.results.layers][:2] == [("body.1", "Linear"), ("body.2", "LIF")]
    assert torch.equal(chip(X), put(network(), "bss2_spiking", seed=0)(X))  # the study left it as it was


def test_the_report_of_the_way_to_spikes_is_kept_on_the_chip_and_afterwards() -> None:
    digital = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    spiking = ns.to_spiking(digital, time_steps=4, calibration=drawn(32, 4))
    first = spiking.conversion
    chip = put(spiking, "bss2_spiking", seed=0)
    assert (chip.conversion.profile, chip.conversion.before) == ("bss2_spiking", first)
    other = put(chip, "neuromorphic_digital8", seed=0)
    assert (other.conversion.profile, other.conversion.before) == ("neuromorphic_digital8", first)
    assert ns.to_digital(other).conversion == first
    assert ns.to_digital(spiking).conversion == first
    assert json.loads(json.dumps(other.conversion.to_dict()))["before"]["method"] == "rate"
    assert not hasattr(ns.to_digital(put(network(), "bss2_spiking", seed=0)), "conversion")
