"""Membrane-potential batch norm on simulated chips: the norm is around the neurons that the chip has, and folds into their thresholds."""

from __future__ import annotations

import copy
import math
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import MPBN, HardwareLIF, SpikingSequential
from neurosim.random import stream

C, T = 6, 12
UNITS = (C, 3, 2)
SPREAD = {"kind": "mismatch", "spread": 0.3}
NOISE = {"kind": "noise", "distribution": "gaussian", "scale": 0.1}
FROZEN = NOISE | {"scope": "device"}
ERRORS: dict[str, dict[str, Any]] = {
    "input": NOISE,
    "tau_mem": SPREAD,
    "decay": {"kind": "quantize", "levels": 5, "low": 0.0, "high": 1.0},
    "gain": SPREAD,
    "threshold_dac": {"kind": "quantize", "levels": 9, "low": -1.0, "high": 1.0},
    "threshold": SPREAD,
    "reset": FROZEN,
    "membrane": NOISE,
    "spikes": {"kind": "drop", "probability": 0.2},
}
IDEAL = """\
version: 1
name: ideal
summary: neurons, but nothing that is not ideal
technology: mixed-signal neuromorphic
chain:
  neuron: {}
"""


@pytest.fixture(scope="module")
def ideal(tmp_path_factory: pytest.TempPathFactory) -> ns.Profile:
    path: Path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(IDEAL)
    return ns.load_profile(path)


def drawn(*shape: int, name: str = "x") -> Tensor:
    return stream(4, name).normal(shape, like=torch.empty(0))


X = drawn(T, 5, *UNITS)


def lif(**changes: Any) -> ns.LIF:
    return ns.LIF(2e-3, 1e-3, **{"v_threshold": 0.6, "v_reset": 0.1, **changes})


def normed(neuron: ns.LIF | None = None, **changes: Any) -> SpikingSequential:
    """With scales of both signs, and shifts and statistics of all sorts."""
    mpbn = MPBN(neuron or lif(), (C, 1, 1), **changes)
    with torch.no_grad():
        mpbn.norm.weight.copy_(drawn(C, name="weight"))
        mpbn.norm.bias.copy_(drawn(C, name="bias"))  # type: ignore[union-attr]  # this norm has a shift
        mpbn.norm.running_mean.copy_(drawn(C, name="mean"))
        mpbn.norm.running_var.copy_(0.2 + drawn(C, name="var").square())
    return SpikingSequential(mpbn).eval()


def put(model: nn.Module, profile: str | ns.Profile, errors: dict[str, Any], seed: int = 3) -> Any:
    changes = {f"neuron.{slot}": stage for slot, stage in errors.items()}
    return ns.to_neuromorphic(model, profile, seed=seed, overrides={"*": changes} if changes else None)


EACH = pytest.mark.parametrize("slot", ERRORS)
RESETS = pytest.mark.parametrize("reset", ["soft", "hard", "none"])


@EACH
@pytest.mark.parametrize("training", [False, True])
def test_every_error_of_a_chip_reaches_the_spikes(slot: str, training: bool, ideal: ns.Profile) -> None:
    clean = normed()
    chip = put(clean, ideal, {slot: ERRORS[slot]})
    assert isinstance(chip[0].neuron, HardwareLIF)
    clean.train(training)
    chip.train(training)
    assert 0.01 < (chip(X) != clean(X)).float().mean() < 0.5


@pytest.mark.parametrize("training", [False, True])
def test_a_chip_without_errors_and_ideal_mode_are_the_clean_layer_bit_for_bit(training: bool, ideal: ns.Profile) -> None:
    clean, perfect, chip = normed(), put(normed(), ideal, {}), put(normed(), "bss2_spiking", ERRORS)
    expected = clean.train(training)(X)
    assert torch.equal(perfect.train(training)(X), expected)
    with ns.noise("ideal", chip):
        assert torch.equal(chip.train(training)(X), expected)
    assert type(ns.to_digital(chip)[0].neuron) is ns.LIF  # type: ignore[index]  # a SpikingSequential


@RESETS
def test_with_a_norm_that_changes_nothing_it_is_the_neuron_of_the_chip(reset: Any, ideal: ns.Profile) -> None:
    neuron = lif(reset=reset, reset_by=0.6, v_leak=-0.2, r=1.5)  # a reset by the threshold itself has the threshold's resolution
    mpbn = MPBN(copy.deepcopy(neuron), (C, 1, 1), eps=2.0**-10).eval()
    mpbn.norm.running_var.fill_(1 - 2.0**-10)
    found, expected = (put(SpikingSequential(one), ideal, ERRORS)[0].trace(X) for one in (mpbn, neuron))
    assert 0.05 < expected.spikes.mean() < 0.95
    assert torch.equal(found.spikes, expected.spikes)
    assert torch.equal(found.v, expected.v)
    assert torch.equal(found.state.v, expected.state.v)


@RESETS
@pytest.mark.parametrize("slots", [list(ERRORS), ["tau_mem", "gain"], ["threshold"]], ids=["all", "membranes", "thresholds"])
def test_folding_a_chip_and_a_chip_of_what_was_folded_give_its_spikes(reset: Any, slots: list[str], ideal: ns.Profile) -> None:
    for model in (normed(lif(reset=reset)), normed(lif(reset=reset, strict=True, sign=-1))):
        with torch.no_grad():
            model[0].norm.weight[1] = 0
        errors = {slot: ERRORS[slot] for slot in slots}
        chip, later = put(model, ideal, errors), put(ns.fold(model), ideal, errors)
        folded: Any = ns.fold(chip)
        assert isinstance(folded[0], HardwareLIF)
        spikes, state = chip.run(X)
        assert 0.02 < spikes.mean() < 0.98
        for one in (folded, later):
            got, after = one.run(X)
            assert torch.equal(got, spikes)
            assert torch.equal(after[0].v, state[0].v)


def test_folding_changes_no_spike_where_normalised_potentials_are_too_coarse_to_tell(ideal: ns.Profile) -> None:
    """A scale of 1e-4 beside a shift of 0.6: potentials that differ by less than 6e-4 have the same normalised one."""
    mpbn = MPBN(lif(), 1).eval()
    with torch.no_grad():
        mpbn.norm.weight.fill_(1e-4)
        mpbn.norm.bias.fill_(0.6)  # type: ignore[union-attr]  # this norm has a shift
        mpbn.norm.running_mean.fill_(1.0)
    chip = put(SpikingSequential(mpbn), ideal, {"threshold": SPREAD})
    threshold = float(chip[0].neuron.chain.vary("threshold", 1.0, torch.zeros(1, 1, 1), 0))
    x = threshold + 0.01 * drawn(1, 10_000, 1)
    folded: Any = ns.fold(chip)
    assert torch.equal(chip(x), folded(x))
    assert torch.equal(chip(x), (x >= folded[0].chain.vary("threshold", folded[0].v_threshold, x, 0)).float())


def test_one_seed_is_one_chip_whether_the_norm_is_folded_before_or_after() -> None:
    model = ns.models.spiking_mlp([64, 20, 10], norm="mpbn")
    x = drawn(64, 1, 8, 8).abs()
    for _ in range(20):
        model(x)
    model.eval()
    chip: Any = ns.to_neuromorphic(model, "bss2_spiking", seed=5)
    expected = chip(x)
    assert not torch.equal(expected, model(x))
    assert torch.equal(ns.fold(ns.to_neuromorphic(model, "bss2_spiking", seed=5))(x), expected)
    assert torch.equal(ns.to_neuromorphic(ns.fold(model), "bss2_spiking", seed=5)(x), expected)
    assert chip.body.fire1.neuron.chain.full_scale == 2.0 ** math.ceil(math.log2(chip.body.fire1.v_threshold.abs().max()))
    report = next(layer for layer in chip.conversion.layers if layer.path == "body.fire1.neuron")
    assert (report.status, report.reason) == ("converted", f"full scale {chip.body.fire1.neuron.chain.full_scale:g}")


@pytest.mark.parametrize("statistics", ["per_step", "merged"])
def test_in_training_thresholds_are_off_by_what_the_chip_is_off_at_the_statistics_of_the_moment(statistics: Any, ideal: ns.Profile) -> None:
    model = normed(statistics=statistics, eps=1e-12)
    chip = put(model, ideal, {"threshold": SPREAD})
    factor = chip[0].neuron.chain.vary("threshold", 1.0, X, 0).double()
    x = X[:1].double()
    var, mean = torch.var_mean(x, (0, 1, 3, 4), correction=0, keepdim=True)
    gamma, beta = (value.detach().double().reshape(C, 1, 1) for value in (model[0].norm.weight, model[0].norm.bias))
    threshold = (0.6 - beta) * var.sqrt() / gamma + mean  # of the potential, which is the first input
    beyond = gamma.sign() * (x - threshold * factor)
    spikes = chip.train()(X[:1])
    sure = beyond.abs() > 1e-5
    assert sure.float().mean() > 0.99
    assert torch.equal(spikes[sure], (beyond > 0).float()[sure])
    assert (spikes != model.train()(X[:1])).float().mean() > 0.01


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("statistics", ["per_step", "merged"])
def test_gradients_are_those_of_the_normalised_potential(training: bool, statistics: Any, ideal: ns.Profile) -> None:
    """On a chip that is off by nothing, where thresholds go through it all the same."""
    model = normed(lif(learn=("tau_mem", "v_threshold")), statistics=statistics).double()
    chip = put(model, ideal, {"threshold": SPREAD | {"spread": 0.0}})
    grads = []
    for one in (model, chip):
        x = X.double().requires_grad_()
        y = one.train(training)(x)
        grads.append([y, *torch.autograd.grad((y * drawn(*y.shape, name="cotangent")).sum(), [x, *one.parameters()])])
    assert all(grad.abs().sum() > 0 for grad in grads[0])
    for found, expected in zip(*grads, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("training", [False, True])
def test_gradients_reach_every_parameter_where_scales_are_0_and_thresholds_infinite(training: bool, ideal: ns.Profile) -> None:
    threshold = torch.full((C, 1, 1), 0.6)
    threshold[2] = math.inf
    chip = put(normed(lif(v_threshold=threshold, reset="hard")), ideal, ERRORS).train(training)
    with torch.no_grad():
        chip[0].norm.weight[1] = 0
    y = chip(X)
    y.sum().backward()
    assert y[:, :, 2].sum() == 0
    for path, parameter in chip.named_parameters():
        assert parameter.grad.isfinite().all(), path
        assert parameter.grad.abs().sum() > 0, path


def test_a_sequence_can_be_cut_in_evaluation_without_change(ideal: ns.Profile) -> None:
    chip = put(normed(), ideal, {slot: ERRORS[slot] for slot in ("tau_mem", "gain", "threshold", "reset")})
    whole, end = chip.run(X)
    first, state = chip.run(X[:5])
    second, after = chip.run(X[5:], state)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(after[0].v, end[0].v)
    assert chip.run(X[:0])[0].shape == (0, *X.shape[1:])


def test_it_survives_copies_pickles_and_16_bits(ideal: ns.Profile) -> None:
    chip = put(normed(), ideal, ERRORS)
    copies = [copy.deepcopy(chip), pickle.loads(pickle.dumps(chip))]
    expected = chip(X)
    for other in copies:
        assert torch.equal(other(X), expected)
    assert list(chip.state_dict()) == list(normed().state_dict())
    assert chip.bfloat16()(X.bfloat16()).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
@pytest.mark.parametrize("training", [False, True])
def test_it_compiles_whole(training: bool, ideal: ns.Profile) -> None:
    chip = put(normed(), ideal, {slot: ERRORS[slot] for slot in ("tau_mem", "threshold")}).train(training)
    compiled = torch.compile(copy.deepcopy(chip), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(X[:3]), chip(X[:3]))


def test_what_no_chip_does_is_refused_and_the_report_says_what_to_do(ideal: ns.Profile) -> None:
    cases: list[tuple[SpikingSequential, str | ns.Profile, str]] = [
        (normed(), "neuromorphic_digital8", r"potentials in words have no norm on them; fold it into thresholds first, with neurosim.fold"),
        (normed(carry="normalized"), ideal, r"it goes on from a normalised potential, carry='normalized', .*; train with 'raw'"),
    ]
    for model, profile, reason in cases:
        both = SpikingSequential(model[0], ns.LI(5e-3, 1e-3))
        chip = put(both, profile, {})
        report = {layer.path: layer for layer in chip.conversion.layers}
        assert report["0.neuron"].status == "refused"
        assert re.search(reason, report["0.neuron"].reason)
        assert type(chip[0].neuron) is ns.LIF
    words = put(ns.fold(normed()), "neuromorphic_digital8", {})
    assert isinstance(words[0], HardwareLIF)
    chip = put(normed(), ideal, {"gain": SPREAD})
    ns.override(chip, {"neuron.words": {"kind": "fixed_point", "bits": 8, "range": 8.0}})
    with pytest.raises(ConfigError, match=r"0: potentials in words have no norm on them; fold it"):
        chip(X)
    assert ns.fold(chip)(X).shape == X.shape
