"""Rasters, traces and histograms draw the numbers they are given."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim import plot

Draw = Callable[..., tuple[Any, Any]]  # matplotlib types its artists more widely than they are
raster: Draw = plot.raster
membrane_traces: Draw = plot.membrane_traces
rate_histogram: Draw = plot.rate_histogram


def spikes(steps: int = 30, batch: int = 3, units: int = 8, share: float = 0.3) -> Tensor:
    return (ns.random.stream(1, "spikes").uniform((steps, batch, units), like=torch.empty(0)) < share).float()


@pytest.fixture(scope="module")
def recording() -> ns.Recording:
    """Two spiking layers, of 8 and of 4 units, and a read-out."""
    net = ns.nn.SpikingSequential(
        ns.LIF(5e-3, 1e-3, v_threshold=torch.linspace(0.5, 4, 8)), nn.Linear(8, 4, bias=False), ns.LIF(5e-3, 1e-3), ns.LI(5e-3, 1e-3)
    )
    nn.init.constant_(net[1].weight, 0.3)
    with ns.record(net) as found:
        net(spikes())
    assert all(found[path].spikes.any() for path in "02")
    return found


SIZES = {"one unit": (30, 1, 1), "one step": (1, 2, 8), "many units": (40, 1, 1000), "no step": (0, 1, 4), "feature maps": (5, 2, 2, 3, 3)}


@pytest.mark.parametrize(("size", "share"), [*((size, 0.3) for size in SIZES), ("one step", 0.0), ("feature maps", 0.0), ("one step", 1.1)])
@pytest.mark.parametrize("draw", ["raster", "rate_histogram", "membrane_traces"])
def test_every_size_is_drawn_without_a_warning(draw: str, size: str, share: float) -> None:
    x = (ns.random.stream(1, "x").uniform(SIZES[size], like=torch.empty(0)) < share).float()
    fig, _ = membrane_traces(0.5 * x, spikes=x, v_threshold=1.0) if draw == "membrane_traces" else getattr(plot, draw)(x)
    target = io.BytesIO()
    fig.savefig(target, format="png", dpi=40)
    assert target.getvalue().startswith(b"\x89PNG")


def test_a_layer_without_units_has_no_spikes() -> None:
    _, ax = raster(torch.zeros(5, 1, 0))
    assert [text.get_text() for text in ax.texts] == ["no spikes"]


def test_steps_are_whole_numbers() -> None:
    fig, ax = raster(torch.ones(1, 1, 3))
    fig.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in ax.get_xticks())


def test_a_raster_has_a_mark_where_a_unit_fires() -> None:
    x = spikes()
    _, ax = raster(x, sample=2, dt=1e-3)
    (line,) = ax.lines
    time, unit = x[:, 2].nonzero(as_tuple=True)
    np.testing.assert_allclose(line.get_xdata(), time.numpy())  # 1 ms a step
    np.testing.assert_allclose(line.get_ydata(), unit.numpy())
    assert ax.get_xlabel() == "time (ms)"
    bottom, top = ax.get_ylim()
    assert bottom > top  # unit 0 is at the top


def test_an_array_of_time_and_units_is_one_sample() -> None:
    x = spikes()[:, 0]
    _, ax = raster(x.numpy())
    assert len(ax.lines[0].get_xdata()) == int(x.sum())
    assert ax.get_xlabel() == "step"


def test_no_spikes_are_said_to_be_none() -> None:
    _, ax = raster(torch.zeros(10, 1, 4))
    assert [text.get_text() for text in ax.texts] == ["no spikes"]
    _, ax = raster(spikes())
    assert not ax.texts


def test_layers_stand_in_bands_under_their_names(recording: ns.Recording) -> None:
    _, ax = raster(recording)
    first, _, second = ax.lines
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "2"]
    assert len(first.get_xdata()) == int(recording["0"].spikes[:, 0].sum())
    assert len(second.get_xdata()) == int(recording["2"].spikes[:, 0].sum())
    assert max(first.get_ydata()) < 7.5 < min(second.get_ydata())


def test_a_small_layer_beside_a_large_one_can_be_seen() -> None:
    layers = {str(n): ns.analysis.LayerRecording(str(n), "LIF", calls={"spikes": [torch.ones(2, 1, n)]}) for n in (1000, 2)}
    _, ax = raster(ns.Recording(layers))
    heights = np.ptp(ax.lines[2].get_ydata()) * 2 / np.ptp(ax.get_ylim())
    assert heights > 0.1


def test_rows_are_named_after_the_units_that_were_kept() -> None:
    neuron = ns.LIF(5e-3, 1e-3)
    with ns.record(neuron, units=[5, 2]) as recording:
        neuron(spikes())
    _, ax = raster(recording)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["5", "2"]
    _, axes = membrane_traces(recording)
    assert [ax.get_ylabel() for ax in axes] == ["unit 5", "unit 2"]


def test_a_trace_is_the_potential_with_its_threshold_and_its_spikes(recording: ns.Recording) -> None:
    layer = recording["0"]
    fig, axes = membrane_traces(layer, sample=1, units=[0, 2])
    assert len(axes) == 2
    for ax, unit in zip(axes, (0, 2), strict=True):
        np.testing.assert_allclose(ax.lines[0].get_ydata(), layer.membrane[:, 1, unit].numpy())
        assert list(ax.lines[1].get_ydata()) == pytest.approx([0.5 + 0.5 * unit] * 2)
        marks = [segment[0, 0] for segment in ax.collections[0].get_segments()]
        np.testing.assert_allclose(marks, layer.spikes[:, 1, unit].nonzero().flatten().numpy(), atol=1e-9)
        assert min(segment[:, 1].min() for segment in ax.collections[0].get_segments()) > max(ax.lines[0].get_ydata())
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["membrane", "threshold", "spike"]


def test_a_readout_has_neither_threshold_nor_spikes(recording: ns.Recording) -> None:
    fig, _ = membrane_traces(recording["3"])
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["membrane"]


def test_an_infinite_threshold_is_not_drawn() -> None:
    v = torch.zeros(5, 1, 2)
    _, axes = membrane_traces(v, v_threshold=torch.tensor([float("inf"), 1.0]))
    assert [len(ax.lines) for ax in axes] == [1, 2]


def test_a_histogram_counts_units(recording: ns.Recording) -> None:
    x = torch.zeros(10, 2, 4)
    x[:, :, 1] = 1
    x[:5, :, 2] = 1
    fig, ax = rate_histogram(x, dt=1e-3, bins=2)  # rates 0, 1000, 500, 0 Hz
    values, edges, _ = ax.patches[-1].get_data()
    assert list(edges) == [0, 500, 1000]
    assert list(values) == [50, 50]
    assert ax.get_xlabel() == "firing rate (Hz)"
    assert fig.legends[0].get_texts()[0].get_text() == "50 % never fire"


def test_a_histogram_of_an_activity_is_that_of_the_recording(recording: ns.Recording) -> None:
    net = ns.nn.SpikingSequential(ns.LIF(5e-3, 1e-3), nn.Linear(8, 4), ns.LIF(5e-3, 1e-3))
    with ns.record(net) as found:
        net(spikes())
    drawn = [rate_histogram(source)[1].patches for source in (found, ns.activity(net, spikes()))]
    for one, other in zip(*drawn, strict=True):
        np.testing.assert_allclose(one.get_data()[0], other.get_data()[0])


def test_layers_of_different_steps_are_compared_in_steps() -> None:
    layers = {str(dt): ns.analysis.LayerRecording(str(dt), "LIF", dt, calls={"spikes": [spikes()]}) for dt in (1e-3, 2e-3)}
    _, ax = rate_histogram(ns.Recording(layers))
    assert ax.get_xlabel() == "firing rate (spikes per step)"
    _, ax = raster(ns.Recording(layers))
    assert ax.get_xlabel() == "step"


def test_gradients_and_sixteen_bits_are_no_obstacle() -> None:
    raster(spikes().requires_grad_())
    raster(spikes().bfloat16())


def test_messages_say_what_is_wrong(recording: ns.Recording) -> None:
    for call, message in [
        (lambda: raster(spikes(), sample=3), r"raster: sample must be below 3, got 3"),
        (lambda: raster(torch.zeros(3)), r"raster: must be \(time, batch, \*units\) or \(time, units\), got shape \(3,\)"),
        (lambda: raster(recording["3"]), r"3 \(LI\) has no spikes; what there is: membrane"),
        (lambda: raster(ns.Recording({"3": recording["3"]})), r"must hold a layer with spikes, holds none"),
        (lambda: raster(spikes(), dt=0.0), r"dt must be more than 0 seconds"),
        (lambda: membrane_traces(recording), r"must be given one layer, as in recording\['0'\], got '0', '2', '3'"),
        (lambda: membrane_traces(recording["0"], units=[8]), r"units must be some of 0 to 7, got \[8\]"),
        (lambda: membrane_traces(recording["0"], units=0), r"units must be some of 0 to 7, got 0"),
        (lambda: membrane_traces(spikes(), spikes=spikes(units=7)), r"spikes must have \(30, 8\) steps and units, got \(30, 7\)"),
        (lambda: membrane_traces(spikes(), v_threshold=torch.ones(7)), r"must broadcast to the units \(8,\), got shape \(7,\)"),
        (lambda: rate_histogram(spikes(), bins=0), r"bins must be at least 1, got 0"),
    ]:
        with pytest.raises(ns.ConfigError, match=message):
            call()
