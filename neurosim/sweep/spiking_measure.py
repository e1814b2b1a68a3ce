"""Look at the neurons of a studied model: without hardware and on the study's first chip, on the study's samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from neurosim.analysis import Activity, LayerActivity, Recording, activity, record
from neurosim.neurons import LI, Neuron
from neurosim.nn import SpikingNetwork
from neurosim.sweep.evaluate import Batch, Measure, as_chip, as_digital, error_text, score
from neurosim.sweep.plan import Task
from neurosim.sweep.spiking import OF_LAYERS, NeuronFiring, NeuronInfo, Spiking
from neurosim.training.metrics import Metric

ASKED: Final = 64  #: at most so many numbers of steps at which the metric is taken
ROWS: Final = 64  #: about so many units in a raster
FEWEST: Final = 4  #: units of every layer in it at least, where it has them
SHOWN_STEPS: Final = 100  #: steps in a raster


class _Seen(NamedTuple):
    """One look at the model."""

    layers: list[NeuronInfo]
    activity: Activity
    raster: Recording
    steps: list[int]
    values: list[float]


def measure_spiking(model: nn.Module, batches: Sequence[Batch], task: Task, metric: str | Metric | Measure) -> Spiking | None:
    """What the neurons of a model do, digital and as the chip of a task; deterministic, and the model is put back.

    The noise is that of the task's own trial, so that what is said here is said of what was evaluated there.

    Args:
        model: The configured model.
        batches: The study's inputs and targets.
        task: The chip and the read.
        metric: What the study measures.

    Returns:
        What was seen; where a side raised, its text in place of numbers. ``None`` for models without neurons that fire.
    """
    if not any(isinstance(module, Neuron) and not isinstance(module, LI) for module in model.modules()):
        return None
    digital, problem = _look(model, batches, metric, lambda: as_digital(model))
    chip, problem_on_chip = _look(model, batches, metric, lambda: as_chip(model, task))
    if digital and chip and (digital.layers, digital.steps) != (chip.layers, chip.steps):
        chip, problem_on_chip = None, "its layers of neurons, or the steps over time, are others than without hardware"
    one = digital or chip
    layers, steps = ([], []) if one is None else (one.layers, one.steps)
    shown = _shown(() if one is None else one.activity.layers)
    return Spiking(
        layers,
        sum(len(targets) for _, targets in batches),
        task.chip,
        np.array(steps, dtype=np.uint32),
        shown,
        _firing(digital, problem, layers, steps, shown),
        _firing(chip, problem_on_chip, layers, steps, shown),
    )


def asked_steps(steps: int) -> list[int]:
    """After which numbers of steps the metric is taken: all of them, or `ASKED` evenly spread from the first to the last.

    >>> asked_steps(4), asked_steps(1000)[:3], asked_steps(1000)[-1]
    ([1, 2, 3, 4], [1, 17, 33], 1000)
    """
    return [int(step) for step in np.linspace(1, steps, min(steps, ASKED)).round()]


def _look(
    model: nn.Module, batches: Sequence[Batch], metric: str | Metric | Measure, within: Callable[[], AbstractContextManager[None]]
) -> tuple[_Seen | None, str]:
    """What is seen, or why nothing is: one chip that breaks must not break the study."""
    try:
        with within(), _answers(model) as (answers, over_time):
            found = activity(model, tqdm(batches, "spiking activity", leave=False, delay=2))
        with within(), record(model, what="spikes", samples=1, along="time") as recording:
            model(batches[0][0].to(next((parameter.device for parameter in model.parameters()), torch.device("cpu"))))
        steps, values = _metric_over_time(answers, over_time, torch.cat([targets for _, targets in batches]), metric)
    except Exception as error:
        return None, error_text(error)
    layers = [_info(layer, model.get_submodule(layer.path)) for layer in found.layers]
    return _Seen(layers, found, recording, steps, values), ""


@contextmanager
def _answers(model: nn.Module) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Two lists that fill as the model runs: what it answers, and what its one network over time gives step by step."""
    answers: list[Tensor] = []
    over_time: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, outputs: Any) -> None:
        answers.append(outputs.cpu())

    handle = model.register_forward_hook(keep)
    try:
        if sum(isinstance(module, SpikingNetwork) for module in model.modules()) != 1:
            yield answers, over_time
            return
        with record(model, SpikingNetwork, "output") as recording:
            yield answers, over_time
        over_time += next(iter(recording.values())).calls.get("output", [])
    finally:
        handle.remove()


def _metric_over_time(
    answers: list[Tensor], over_time: list[Tensor], targets: Tensor, metric: str | Metric | Measure
) -> tuple[list[int], list[float]]:
    """The metric of the running mean; nothing where the model's answer is another than the mean over all steps."""
    lengths = {len(one) for one in over_time}
    if len(over_time) != len(answers) or len(lengths) != 1:
        return [], []
    if not all(_alike(one.mean(0), answer) for one, answer in zip(over_time, answers, strict=True)):
        return [], []
    steps = asked_steps(lengths.pop())
    running = [torch.cat([one[:step].mean(0) for one in over_time]) for step in steps[:-1]]
    found = [score(outputs, targets, metric) for outputs in (*running, torch.cat(answers))]
    return steps, [one.value if one.finite else float("nan") for one in found]


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)


def _info(layer: LayerActivity, module: nn.Module) -> NeuronInfo:
    kind = getattr(type(module), "digital_class", type(module)).__name__
    return NeuronInfo(layer.path, kind, layer.units, float("nan") if layer.dt is None else float(layer.dt))


def _shown(layers: Sequence[LayerActivity]) -> NDArray[np.uint32]:
    """Layer and unit of each row of a raster: of every layer about as many units, evenly spread over those that are not dead."""
    most = max(FEWEST, ROWS // max(len(layers), 1))
    rows: list[tuple[int, int]] = []
    for number, layer in enumerate(layers):
        alive = layer.rates.flatten().nonzero().flatten().tolist() or range(layer.units)
        places = np.linspace(0, len(alive) - 1, min(len(alive), most)).round()
        rows += [(number, alive[int(place)]) for place in places]
    return np.array(rows, dtype=np.uint32).reshape(len(rows), 2)


def _firing(
    seen: _Seen | None, problem: str, layers: Sequence[NeuronInfo], steps: Sequence[int], shown: NDArray[np.uint32]
) -> NeuronFiring:
    if seen is None:
        nothing: dict[str, Any] = dict.fromkeys(OF_LAYERS, np.full(len(layers), np.nan))
        return NeuronFiring(**nothing, values=np.full(len(steps), np.nan), raster=np.zeros((0, len(shown)), dtype=np.uint8), error=problem)
    found = seen.activity.layers
    rows = [[layer.rate.value, layer.rate.low, layer.rate.high, layer.dead, layer.saturated, layer.spikes_per_sample] for layer in found]
    columns = np.array(rows, dtype=np.float64).reshape(len(found), len(OF_LAYERS)).T.copy()
    table: dict[str, Any] = dict(zip(OF_LAYERS, columns, strict=True))
    return NeuronFiring(**table, values=np.array(seen.values, dtype=np.float64), raster=_raster(seen.raster, layers, shown))


def _raster(recording: Recording, layers: Sequence[NeuronInfo], shown: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Where the chosen units fired while the first sample was shown: (time, rows)."""
    spikes = [recording[layer.name].spikes[:SHOWN_STEPS, 0].reshape(-1, layer.units) != 0 for layer in layers]
    raster = np.zeros((max(map(len, spikes)), len(shown)), dtype=np.uint8)
    for row, (layer, unit) in enumerate(shown.tolist()):
        raster[: len(spikes[layer]), row] = spikes[layer][:, unit].numpy()
    return raster
