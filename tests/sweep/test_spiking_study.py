"""What a study measures of neurons: the numbers of the model itself, of the chip that was evaluated, and stored to the last bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.convert import redraw, set_draw
from neurosim.errors import CheckpointError
from neurosim.neurons import LIF
from neurosim.nn import HardwareLayer, SpikingNetwork, SpikingSequential
from neurosim.sweep.archive import load_results, write_results
from neurosim.sweep.report import Report
from neurosim.sweep.results import FAILED, Results
from neurosim.sweep.spiking import Spiking
from neurosim.sweep.spiking_measure import ASKED, ROWS, SHOWN_STEPS, asked_steps
from tests.sweep import tiny
from tests.sweep.spiking_studies import STEPS, UNITS, chip, data, network, parts, study


@pytest.fixture(scope="module")
def results() -> Results:
    return study().results


def of(results: Results) -> Spiking:
    assert results.spiking is not None
    return results.spiking


def spikes_of(net: SpikingNetwork, x: Tensor) -> Tensor:
    """What the neurons send, without any recorder: (time, batch, units)."""
    first, neurons, _ = parts(net)
    with torch.no_grad():
        return neurons.run(first(x).expand(net.time_steps, len(x), -1))[0]


def test_the_digital_side_is_what_the_network_does_without_hardware(results: Results) -> None:
    spikes = spikes_of(network(), torch.cat([x for x, _ in data()]))
    digital = of(results).digital
    rates = spikes.double().mean((0, 1))
    assert digital.rate.item() == pytest.approx(float(rates.mean()), rel=1e-12)
    assert digital.dead.item() == float((rates == 0).double().mean()) >= 1 / UNITS
    assert digital.saturated.item() == float((rates == 1).double().mean()) >= 1 / UNITS
    assert digital.spikes_per_sample.item() == pytest.approx(float(spikes.sum((0, 2)).double().mean()), rel=1e-12)
    assert of(results).shown.tolist() == [[0, unit] for unit in rates.nonzero().flatten().tolist()]
    np.testing.assert_array_equal(digital.raster, spikes[:, 0, rates != 0].numpy().astype(np.uint8))
    of_samples = spikes.double().mean((0, 2))
    half = float(of_samples.std()) / len(of_samples) ** 0.5 * 2.0227  # Student's t, 39 degrees of freedom, 97.5 %
    assert digital.rate_high.item() - digital.rate.item() == pytest.approx(half, rel=1e-4)


def test_the_layer_is_named_as_in_the_model(results: Results) -> None:
    assert [layer[:3] for layer in of(results).layers] == [("body.1", "LIF", UNITS)]
    assert of(results).layers[0].dt == 1e-3
    assert (of(results).samples, of(results).chip) == (40, 5)


def test_the_chip_is_that_of_the_first_trial_with_its_noise(results: Results) -> None:
    model = chip()
    redraw(model, "forward")
    set_draw(model, 0)
    (layer,) = ns.activity(model, data()).layers
    hardware = of(results).hardware
    assert hardware.rate.item() == layer.rate.value != of(results).digital.rate.item()
    assert (hardware.dead.item(), hardware.saturated.item()) == (layer.dead, layer.saturated)
    first = results.trials
    assert (first["point"][0], first["scope"][0], first["chip"][0], first["read"][0]) == (0, "all", 5, 0)
    assert hardware.values[-1] == first["value"][0]


def test_after_all_steps_the_digital_metric_is_the_baseline(results: Results) -> None:
    assert of(results).steps.tolist() == list(range(1, STEPS + 1))
    assert of(results).digital.values[-1] == results.baseline.value


def test_the_metric_after_fewer_steps_is_the_accuracy_over_time(results: Results) -> None:
    expected = ns.accuracy_over_time(network(), data())
    assert of(results).digital.values.tolist() == pytest.approx(list(expected.values()), abs=1e-12)
    assert len(set(of(results).digital.values.tolist())) > 2


def test_on_a_chip_without_noise_fewer_steps_are_a_shorter_network() -> None:
    whole = of(study(chip("neuromorphic_digital8"), plan={"axes": {}}).results)
    for steps in (1, 3):
        short = study(chip("neuromorphic_digital8", time_steps=steps), plan={"axes": {}}).results
        assert whole.hardware.values[steps - 1] == short.trials["value"][0]
    expected = ns.accuracy_over_time(chip("neuromorphic_digital8"), data())
    assert whole.hardware.values.tolist() == pytest.approx(list(expected.values()), abs=1e-12)


def test_a_loss_is_taken_step_by_step_too() -> None:
    found = study(metric="loss").results
    x, y = (torch.cat(parts) for parts in zip(*data(), strict=True))
    with torch.no_grad():
        first = nn.functional.cross_entropy(network(time_steps=1)(x), y)
    assert of(found).digital.values[0] == pytest.approx(float(first), rel=1e-5)
    assert of(found).digital.values[-1] == found.baseline.value


def test_a_model_without_neurons_has_nothing_to_tell() -> None:
    assert ns.sensitivity(tiny.model(), tiny.data(), tiny.plan(chips=1)).results.spiking is None


def test_a_network_within_a_model_is_followed_over_time() -> None:
    within = ns.to_neuromorphic(nn.Sequential(nn.Flatten(), network()), "bss2_spiking", seed=5)
    found = of(study(within).results)
    assert [layer.name for layer in found.layers] == ["1.body.1"]
    assert found.digital.values.tolist() == of(study().results).digital.values.tolist()


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(network(), nn.Softmax(-1)),
        nn.Sequential(SpikingNetwork(SpikingSequential(nn.Linear(6, 6), LIF(5e-3, 1e-3)), 4), network()),
    ],
    ids=["an answer that is another", "two networks"],
)
def test_where_the_answer_is_no_mean_over_time_there_are_rates_and_no_curve(model: nn.Module) -> None:
    found = of(study(ns.to_neuromorphic(model, "bss2_spiking", seed=5)).results)
    assert len(found.steps) == len(found.digital.values) == 0
    assert np.isfinite(found.hardware.rate).all()


class Fragile(nn.Sequential):
    """Breaks on hardware."""

    def forward(self, x: Tensor) -> Tensor:
        if any(isinstance(module, HardwareLayer) and not module.chain.bypassed for module in self.modules()):
            raise RuntimeError("<b>melted</b>")
        answer: Tensor = super().forward(x)
        return answer


def test_a_chip_that_breaks_does_not_break_the_study() -> None:
    found = study(ns.to_neuromorphic(Fragile(network()), "bss2_spiking", seed=5)).results
    assert set(found.trials["status"].tolist()) == {FAILED}
    assert of(found).hardware.error == "RuntimeError: <b>melted</b>"
    assert np.isnan(of(found).hardware.rate).all()
    assert len(of(found).hardware.raster) == 0
    assert of(found).digital.error == ""
    assert np.isfinite(of(found).digital.rate).all()


class Shortcut(nn.Sequential):
    """Leaves its first neurons out on hardware."""

    def forward(self, x: Tensor) -> Tensor:
        for part in list(self)[1 if any(isinstance(m, HardwareLayer) and not m.chain.bypassed for m in self.modules()) else 0 :]:
            x = part(x)
        return x


def test_a_chip_that_runs_other_layers_is_not_compared_with_the_digital_model() -> None:
    first = SpikingNetwork(SpikingSequential(nn.Linear(6, 6), LIF(5e-3, 1e-3)), 4)
    found = of(study(ns.to_neuromorphic(Shortcut(first, network()), "bss2_spiking", seed=5)).results)
    assert "others than without hardware" in found.hardware.error
    assert np.isfinite(found.digital.rate).all()


def test_the_model_is_left_as_it_was() -> None:
    model = chip()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    study(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    assert len(model._forward_hooks) == 0


def test_a_study_that_goes_on_stores_the_same_bits(tmp_path: Path, results: Results) -> None:
    first = study(out=tmp_path / "a").results
    again = study(out=tmp_path / "a").results
    assert first.same(results, timing=False)
    assert again.same(results, timing=False)
    assert load_results(tmp_path / "a").same(again)


def test_every_number_counts_when_studies_are_compared(results: Results) -> None:
    spiking = of(results)
    raster = spiking.hardware.raster.copy()
    raster[0, 0] ^= 1
    others = [
        dataclasses.replace(spiking, hardware=spiking.hardware._replace(raster=raster)),
        dataclasses.replace(spiking, digital=spiking.digital._replace(dead=spiking.digital.dead + 1e-16)),
        dataclasses.replace(spiking, digital=spiking.digital._replace(error="x")),
        dataclasses.replace(spiking, steps=spiking.steps[:-1]),
        dataclasses.replace(spiking, chip=6),
        None,
    ]
    assert not any(dataclasses.replace(results, spiking=other).same(results) for other in others)
    assert dataclasses.replace(results, spiking=dataclasses.replace(spiking)).same(results)


def test_results_of_before_are_still_read(tmp_path: Path, results: Results) -> None:
    path = write_results(tmp_path / "results.h5", results)
    with h5py.File(path, "r+") as file:
        del file["spiking"]
    old = load_results(path)
    assert old.spiking is None
    assert dataclasses.replace(results, spiking=None).same(old)
    assert Report(old).summary()["spiking"] is None


@pytest.mark.parametrize("place", ["layers/dt", "steps", "shown", "digital/rate", "hardware/raster", "hardware/values"])
def test_what_is_missing_or_of_another_size_is_named(place: str, tmp_path: Path, results: Results) -> None:
    path = write_results(tmp_path / "results.h5", results)
    with h5py.File(path, "r+") as file:
        kept = file["spiking"][place][()]
        del file["spiking"][place]
    with pytest.raises(CheckpointError, match=f"/spiking/{place}: must be there"):
        load_results(path)
    with h5py.File(path, "r+") as file:
        file["spiking"][place] = np.concatenate([kept, kept], axis=-1)
    with pytest.raises(CheckpointError, match="/spiking/"):
        load_results(path)


def test_a_missing_attribute_is_named(tmp_path: Path, results: Results) -> None:
    path = write_results(tmp_path / "results.h5", results)
    with h5py.File(path, "r+") as file:
        del file["spiking"].attrs["chip"]
    with pytest.raises(CheckpointError, match="'chip'"):
        load_results(path)


def test_rasters_and_curves_stay_small_for_large_models_and_long_inputs() -> None:
    spikes = spikes_of(network(units=120, time_steps=SHOWN_STEPS + 20), data(8)[0][0])
    alive = spikes.any(0).any(0).nonzero().flatten().tolist()
    found = of(study(chip(units=120, time_steps=SHOWN_STEPS + 20), plan={"chips": 1, "axes": {}}, data=data(8)).results)
    assert found.hardware.raster.shape == found.digital.raster.shape == (SHOWN_STEPS, ROWS)
    assert (found.shown[0, 1], found.shown[-1, 1]) == (alive[0], alive[-1])
    assert set(found.shown[:, 1].tolist()) < set(alive)
    assert len(found.steps) == ASKED
    np.testing.assert_array_equal(found.digital.raster, spikes[:SHOWN_STEPS, 0, found.shown[:, 1].tolist()].numpy())


@pytest.mark.parametrize("steps", [1, 2, ASKED, ASKED + 1, 5000])
def test_the_steps_asked_for_rise_from_the_first_to_the_last(steps: int) -> None:
    found = asked_steps(steps)
    assert (found[0], found[-1], len(found)) == (1, steps, min(steps, ASKED))
    assert found == sorted(set(found))


def test_a_study_over_time_steps_gives_what_chips_give_that_show_inputs_for_so_long() -> None:
    model = chip()
    report = study(model, plan={"axes": {"T": {"time_steps": [1, 3, 12]}}, "chips": 2}, data=data(batch=40))
    assert isinstance(model, SpikingNetwork)
    assert model.time_steps == STEPS
    trials, steps = report.results.trials, report.results.axes["T"]
    assert steps == [STEPS, 1, 3, 12]
    ((samples, targets),) = data(batch=40)
    for point, seed, value in zip(trials["point"], trials["chip"], trials["value"], strict=True):
        other = ns.to_neuromorphic(network(time_steps=int(steps[point])), "bss2_spiking", seed=int(seed))
        redraw(other, "forward")
        set_draw(other, 0)
        with torch.no_grad():
            assert value == float((other(samples).argmax(1) == targets).double().mean())
    assert len(set(trials["value"])) > 1


def test_a_model_whose_encoder_says_how_long_has_no_axis_of_time_steps() -> None:
    net = network()
    net.encoder = ns.ENCODERS["latency"](STEPS)
    fixed = ns.to_neuromorphic(net, "bss2_spiking", seed=5)
    with pytest.raises(ns.ConfigError, match="'time_steps' needs a model with one SpikingNetwork, whose encoder has no number of steps"):
        study(fixed, plan={"axes": {"T": {"time_steps": [1, 2]}}})
