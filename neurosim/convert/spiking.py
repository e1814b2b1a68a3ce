"""From a digital network to a spiking one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor, nn

from neurosim.activations.qcfs import QCFS
from neurosim.checks import one_of, whole
from neurosim.convert.calibration import Calibration, Samples
from neurosim.convert.spiking_pool import MaxPool, average_pool, pool_first, spiking_max_pool
from neurosim.convert.spiking_report import SpikingConversion, SpikingLayer, compare
from neurosim.convert.spiking_scale import Scaling, learned_scale, observe, rescale, scale
from neurosim.convert.spiking_start import Start, calibrated_starts
from neurosim.convert.spiking_trace import RECTIFIERS, Layer, Traced, fold_batch_norms, trace
from neurosim.errors import ConfigError, ConversionError
from neurosim.neurons import IF, Neuron
from neurosim.nn.graph import INPUT, SpikingGraph
from neurosim.nn.spiking import SpikingNetwork
from neurosim.nn.time import SpikingModule, SpikingSequential, takes_time

Method = Literal["rate", "qcfs", "direct"]


def to_spiking(
    model: nn.Module,
    *,
    time_steps: int,
    method: Method = "rate",
    calibration: Calibration | None = None,
    neuron: Neuron[Any] | Literal["if"] = "if",
    reset: Literal["soft", "hard"] = "soft",
    scaling: Scaling = "mse",
    by_channel: bool = True,
    v_init: Start | None = None,
    max_pool: MaxPool = "gate",
    dt: float = 1e-3,
) -> SpikingNetwork:
    r"""Turn a digital network into a spiking one.

    Three methods:

    - ``rate``: integrate-and-fire neurons whose firing rates follow the activations of the trained network. Batch norms are folded first,
      then weights and biases are scaled by what the activations are on the calibration data, so that every threshold is 1.
    - ``qcfs``: the same for a network trained with :class:`~neurosim.nn.QCFS` activations (:func:`to_qcfs` puts them in), whose learned
      limits are the scales. Rectifiers that are not QCFS are calibrated as in ``rate``.
    - ``direct``: neurons stand where activations stood, nothing else is changed; train on with surrogate gradients. No data are needed.

    Args:
        model: A digital network that ``torch.fx`` can trace; left as it is. Linear and convolution layers, batch norms, average and
            maximum pooling, flattening, dropout, sums of branches, ReLU-like activations; for ``direct`` any activation of torch.
        time_steps: How long an input is shown, > 0.
        method: See above.
        calibration: Inputs like those of the training, without augmentation: a tensor, or batches, of which the first item is the input
            and the second, if any, the labels. It is read several times. ``rate`` needs it.
        neuron: What activations become: ``"if"``, integrate-and-fire with threshold 1; for ``direct``, a neuron of yours, to be copied.
        reset: What a spike does: ``soft`` keeps the surplus, which rates need to be exact; ``hard`` loses it.
        scaling: What firing at every step stands for: ``"mse"``, the value with the least squared error at that number of steps;
            ``"max"``, the largest activation; or a percentile of the activations, such as 99.9.
        by_channel: One scale for every channel, or one a layer. Branches that are summed share theirs.
        v_init: Where membranes start, in thresholds. 1/2 makes the error of a constant drive zero on average: rounding, not flooring.
            ``"calibrated"`` corrects it by channel, in 0 … 1, layer after layer, until mean rates are mean activations on the first
            256 of the calibration inputs in ``time_steps`` steps. None is ``"calibrated"`` for ``rate`` with soft resets, else 1/2.
        max_pool: What becomes of maximum pooling: ``gate`` passes on the place with the most spikes so far; ``before`` pools currents
            before the neuron (exact where they are constant, as in the first layer); ``spikes`` takes the maximum at each step, which adds
            rates up; ``average`` averages. ``direct`` pools the spikes of each step unless it is told to average.
        dt: Step of the neurons, seconds; it changes nothing for integrate-and-fire.

    Returns:
        A network that takes the digital batch ``(batch, *)`` and gives mean logits; ``run(x, state)`` takes ``(time, batch, *)``.
        ``network.conversion`` says what happened to every layer, and how well the result does on the calibration data.

    Raises:
        ConfigError: An argument is out of its domain, or calibration data are missing or can be read only once.
        ConversionError: The model cannot be traced, or holds something without a counterpart.

    Source:
        P. U. Diehl et al., IJCNN 2015 (weight normalisation); B. Rueckauer et al., Frontiers in Neuroscience 11:682 (2017); T. Bu et al.,
        ICLR 2022 (QCFS, membranes that start at half their threshold); Y. Li et al., ICML 2021, arXiv:2106.06984 (calibrated
        membranes).

    >>> digital = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    >>> network = to_spiking(digital, time_steps=16, calibration=torch.rand(64, 4))
    >>> network(torch.rand(2, 4)).shape
    torch.Size([2, 3])
    """
    _check(model, method, max_pool, reset, scaling, neuron, v_init)
    if v_init is None:
        v_init = "calibrated" if method == "rate" and reset == "soft" else 0.5
    time_steps = whole("to_spiking: time_steps", time_steps, 1)
    data = Samples("to_spiking", calibration, _device(model), optional=True)
    traced = trace(model)
    if method == "direct":
        single = IF(dt, v_start=cast(float, v_init), reset=reset) if neuron == "if" else neuron
        layers, output, reports = _direct(traced, single, max_pool)
    else:
        settings = _Settings(method, scaling, by_channel, max_pool, time_steps, reset, v_init, dt)
        layers, output, reports = _rates(traced, data, settings)
    network = SpikingNetwork(_assemble(layers, output), time_steps).train(model.training)
    for layer in layers:  # a part of the model may be in another mode than the whole
        if layer.path in dict(model.named_modules()):
            layer.module.train(model.get_submodule(layer.path).training)
    report = SpikingConversion(method, time_steps, tuple(reports))
    if data:
        report = compare(report, model, network, data)
    network.conversion = report
    return network


def to_qcfs(model: nn.Module, levels: int = 8, *, calibration: Calibration | None = None) -> nn.Module:
    """A copy of a digital network with :class:`~neurosim.nn.QCFS` in the place of every ``nn.ReLU``, to be trained on.

    Args:
        model: Left as it is.
        levels: Of every activation; the number of time steps that the spiking network is meant for.
        calibration: As in :func:`to_spiking`: limits then start where the squared error is least, else at 8.

    Raises:
        ConfigError: An argument is out of its domain.
        ConversionError: There is no ``nn.ReLU``; rectifiers called as functions are not found, for they are not modules.
    """
    twin = copy.deepcopy(model)
    sites = {path: module for path, module in twin.named_modules() if isinstance(module, nn.ReLU)}
    if not sites:
        raise ConversionError("to_qcfs: the model must have nn.ReLU modules to be replaced, got none")
    limits: dict[str, float] = {}
    if data := Samples("to_qcfs", calibration, _device(model), optional=True):
        traced = trace(model)
        seen = observe(traced, data.inputs(), data.inputs())
        for layer in traced.layers:
            if layer.path in sites:
                found = float(scale(seen[layer.name], "mse", levels, by_channel=False))
                limits[layer.path] = max(found, limits.get(layer.path, 0.0))
    for path in sites:
        parent, _, name = path.rpartition(".")
        setattr(twin.get_submodule(parent), name, QCFS(levels, limits.get(path, 8.0)).to(_device(model)))
    return twin


class _Settings(NamedTuple):
    """How rates are to follow activations; see :func:`to_spiking`."""

    method: Method
    scaling: Scaling
    by_channel: bool
    max_pool: MaxPool
    time_steps: int
    reset: Literal["soft", "hard"]
    v_init: Start
    dt: float


Made = tuple[list[Layer], str, list[SpikingLayer]]


def _direct(traced: Traced, neuron: Neuron[Any], max_pool: MaxPool) -> Made:
    layers, reports = [], []
    for layer in traced.layers:
        was, module, text = type(layer.module).__name__, layer.module, ""
        if layer.kind == "activation":
            module, text = copy.deepcopy(neuron), "train on: its threshold knows nothing of what the activation did"
        elif layer.kind == "max_pool" and max_pool == "average":
            module = average_pool(layer.module)
        elif layer.kind == "max_pool":
            text = "a place of the window fires when any of it does"
        layers.append(replace(layer, module=module))
        reports.append(SpikingLayer(layer.path, was, type(module).__name__, text, layer.kind == "activation"))
    return layers, traced.output, reports


def _rates(traced: Traced, data: Samples, settings: _Settings) -> Made:
    refused = [layer for layer in traced.layers if layer.kind == "activation" and not isinstance(layer.module, RECTIFIERS)]
    if refused:
        names = ", ".join(f"{layer.path} ({type(layer.module).__name__})" for layer in refused)
        raise ConversionError(
            f"to_spiking: firing rates follow activations that are 0 below 0 and grow above, got {names}; replace them by nn.ReLU and "
            "train on, or use method='direct' and train on"
        )
    types = {layer.path: type(layer.module).__name__ for layer in traced.layers}
    order = [(layer.name, layer.path) for layer in traced.layers]  # a module that is called twice is two layers of one path
    traced, folded = fold_batch_norms(traced)
    traced, dropped = _without(traced)
    texts = {path: ("folded", "into the layer before") for path in folded} | {path: ("left out", text) for path, text in dropped.items()}
    reports = {name: SpikingLayer(path, types[path], *texts[path]) for name, path in order if path in texts}
    sites = [layer for layer in traced.layers if layer.kind == "activation"]
    known = {layer.name: learned_scale(layer.module) for layer in sites if settings.method == "qcfs" and isinstance(layer.module, QCFS)}
    if not data and (len(known) < len(sites) or settings.v_init == "calibrated"):
        why = "scales come from what activations are" if len(known) < len(sites) else "v_init='calibrated' compares rates with activations"
        raise ConfigError(
            f"to_spiking: method={settings.method!r} needs calibration data, for {why}, got None; give inputs like those of the training, "
            "or use method='direct' and train on"
        )
    if len(known) < len(sites):
        for name, histogram in observe(traced, data.inputs(), data.inputs()).items():
            known.setdefault(name, scale(histogram, settings.scaling, settings.time_steps, settings.by_channel))
    digital = copy.deepcopy(traced)
    traced, scales = rescale(traced, known)
    layers = []
    for layer in traced.layers:
        module, text = layer.module, ""
        if layer.kind == "activation":
            module = IF(settings.dt, v_start=0.5 if settings.v_init == "calibrated" else settings.v_init, reset=settings.reset)
            text = f"a spike a step is {_range(scales[layer.name])}"
        elif layer.kind == "max_pool":
            module, text = spiking_max_pool(layer.module, settings.max_pool)
        elif layer.kind == "product":
            text = "weights scaled"
        layers.append(replace(layer, module=module))
        reports[layer.name] = SpikingLayer(layer.path, types[layer.path], type(module).__name__, text, layer.kind == "activation")
    if settings.max_pool == "before":
        scales |= {layer.name: scales[layer.sources[0]] for layer in layers if layer.kind == "max_pool" and layer.sources[0] in scales}
        layers = pool_first(layers)
    if settings.v_init == "calibrated":
        starts = calibrated_starts(layers, digital, scales, data.inputs(), settings.time_steps)
        for at, layer in enumerate(layers):
            if layer.name in starts:
                layers[at] = replace(layer, module=IF(settings.dt, v_start=starts[layer.name], reset=settings.reset))
                said = reports[layer.name]
                reports[layer.name] = replace(said, text=f"{said.text}; membranes start at {_range(starts[layer.name])}")
    return layers, traced.output, [reports[name] for name, _ in order]


def _without(traced: Traced) -> tuple[Traced, dict[str, str]]:
    """The network without what spikes have no use for, and why: dropout, identities, and activations after the last product."""
    gone: dict[str, tuple[str, ...]] = {}
    why: dict[str, str] = {}
    last = traced.output
    layers = {layer.name: layer for layer in traced.layers}
    while layers[last].kind == "activation" and len(layers[last].sources) == 1 and layers[last].sources[0] != INPUT:
        gone[last] = layers[last].sources
        why[layers[last].path] = "outputs are mean currents; the largest is the same unless all are negative"
        last = layers[last].sources[0]
    for layer in traced.layers:
        idle = isinstance(layer.module, nn.Identity) or "Dropout" in type(layer.module).__name__
        if idle and layer.name != last:
            gone[layer.name] = layer.sources
            why[layer.path] = "does nothing in a trained network"

    def real(sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for source in sources for name in (real(gone[source]) if source in gone else (source,)))

    kept = tuple(replace(layer, sources=real(layer.sources)) for layer in traced.layers if layer.name not in gone)
    return Traced(kept, last), why


def _range(values: Tensor) -> str:
    low, high = values.min().item(), values.max().item()
    return f"{low:.3g}" if low == high else f"{low:.3g} … {high:.3g} by channel"


def _device(model: nn.Module) -> torch.device:
    return next((value.device for value in model.parameters()), torch.device("cpu"))


def _assemble(layers: list[Layer], output: str) -> SpikingModule:
    """The layers as a chain where they are one, else as a graph."""
    chain = all(layer.sources == (before,) for layer, before in zip(layers, [INPUT, *(one.name for one in layers)], strict=False))
    modules = OrderedDict((layer.name, layer.module) for layer in layers)
    if chain and output == layers[-1].name:
        return SpikingSequential(modules)
    return SpikingGraph(modules, {layer.name: layer.sources for layer in layers}, output)


def _check(model: object, method: str, max_pool: str, reset: str, scaling: object, neuron: object, v_init: object) -> None:
    if not isinstance(model, nn.Module):
        raise ConfigError(f"to_spiking: model must be a torch.nn.Module, got {type(model).__name__}")
    timed = next((f"{path or 'the model'} is {type(part).__name__}" for path, part in model.named_modules() if takes_time(part)), None)
    if timed is not None:
        raise ConversionError(f"to_spiking: model must be digital, without layers that take a time axis, but {timed}")
    one_of("to_spiking: method", method, get_args(Method))
    one_of("to_spiking: max_pool", max_pool, get_args(MaxPool))
    one_of("to_spiking: reset", reset, ("soft", "hard"))
    percentile = isinstance(scaling, int | float) and not isinstance(scaling, bool) and 0 < scaling <= 100
    if not percentile and scaling not in ("max", "mse"):
        raise ConfigError(f"to_spiking: scaling must be 'mse', 'max' or a percentile in (0, 100], got {scaling!r}")
    if neuron != "if" and not isinstance(neuron, Neuron):
        raise ConfigError(f"to_spiking: neuron must be 'if' or a neuron, such as neurosim.LIF(tau_mem=2e-3, dt=1e-3), got {neuron!r:.60}")
    if neuron != "if" and method != "direct":
        raise ConfigError(f"to_spiking: method={method!r} needs integrate-and-fire neurons; neuron is for method='direct'")
    if isinstance(v_init, str) and v_init != "calibrated":
        raise ConfigError(f"to_spiking: v_init must be a number of thresholds or 'calibrated', got {v_init!r}")
    if v_init == "calibrated" and (method == "direct" or reset == "hard"):
        wrong = "method='direct'" if method == "direct" else "reset='hard'"
        raise ConfigError(f"to_spiking: v_init='calibrated' needs rates that follow activations and soft resets, got {wrong}")
