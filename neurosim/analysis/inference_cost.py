"""Energy, time, area and conversions of one inference: counts of the layers times the constants of their profile."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from neurosim.analysis.cost_report import PARTS, Cost, LayerCost
from neurosim.analysis.observe import watching
from neurosim.convert import Conversion, analog_layers, noise
from neurosim.convert.parts import parts_in
from neurosim.convert.select import noise_counters
from neurosim.errors import ConfigError, ConversionError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import ConverterCost, Costs
from neurosim.hardware.energy import read_energy, wall_plug_power
from neurosim.hardware.layout import layout
from neurosim.hardware.operations import Operations, input_bits, operations, output_bits
from neurosim.hardware.profile import Profile, load_profile
from neurosim.nn.analog import HardwareLayer
from neurosim.nn.array import conductances
from neurosim.nn.chain import AnalogChain
from neurosim.nn.matmul import AnalogMatmul
from neurosim.nn.modes import evaluation_mode
from neurosim.nn.rewritten import RewrittenChain


def cost(model: nn.Module, example_input: Any, profile: str | Profile | None = None) -> Cost:
    r"""What an inference takes on the model's hardware: conversions, arrays, energy, time and area, by layer and in total.

    .. math::
        E = \sum_\text{layers} \big( n_\mathrm{DAC} E_\mathrm{DAC} + n_\mathrm{ADC} E_\mathrm{ADC} + n_\mathrm{reads} E_\mathrm{cell}
        + n_\mathrm{arrays}\, P_\mathrm{laser}\, t_\mathrm{layer} / \eta + n_\mathrm{cells}\, P_\mathrm{tuning}\, t \big)
        + P_\mathrm{static}\, t

    Counts come from the layout of each matrix and from one forward of the example, which leaves nothing behind. Arrays of a layer work at
    the same time, its passes and the layers one after the other: :math:`t` is the time of all passes. Constants are those below ``cost`` in
    the profile; parts without are named and left out, and unverified ones make the result indicative. Sending a saturating vector again is
    not counted, nor is anything digital.

    Args:
        model: A converted model; its overrides count.
        example_input: What the model is called with, a tuple for several arguments: one sample, for the cost of one inference.
        profile: Whose constants; None for those of the profile that the model was converted with.

    Returns:
        The report: ``print`` it, ``to_dict``, ``energy_j``, ``latency_s``, ``area_m2``, ``layers``.

    Raises:
        ConfigError: The model cannot be called with the example.
        ConversionError: The model has no layer on hardware that computes products.

    >>> import neurosim as ns
    >>> model = ns.to_analog(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), "photonic_avnn", seed=0)
    >>> print(ns.cost(model, torch.zeros(1, 8)))
    photonic_avnn: 40 multiplications on 2 arrays
      layer  type    MACs  passes  DAC  ADC  arrays  used  time  area
      0      Linear  32    1       8    4    1
      2      Linear  8     1       4    2    1
    without constants, not counted: dac, cells, adc, laser, tuning, static
    """
    layers = {path: layer for path, layer in analog_layers(model).items() if isinstance(layer.chain.spec, ChainSpec)}
    if not layers:
        raise ConversionError(
            "cost: the model must have layers with products on hardware, it has none; convert it first: "
            "neurosim.to_analog(model, 'photonic_avnn', seed=0)"
        )
    name, costs = _constants(model, profile)
    used = _count(model, example_input, layers.values())
    held = _mean_conductances(model, layers, costs)
    done = {
        path: _operations(layer.chain, used.products[layer], used.written.get(layer, 0))
        for path, layer in layers.items()
        if used.products[layer]
    }
    seconds = None if costs.symbol_s is None else costs.symbol_s * sum(one.passes for one in done.values())
    found = []
    for path, one in done.items():
        spec = layers[path].chain.spec
        energy = _energy(costs, one, spec, held.get(path), seconds)
        latency = None if costs.symbol_s is None else one.passes * costs.symbol_s
        counts = (one.macs, used.products[layers[path]], one.passes, one.dac, one.adc, one.arrays, one.utilisation)
        found.append(LayerCost(path, layers[path].digital_class.__name__, *counts, energy, latency, _area(costs, one), one.writes))
    static = None if costs.static_w is None or seconds is None else costs.static_w * seconds
    known = {part for layer in found for part in layer.energy_j} | ({"static"} if static is not None else set())
    idle = {part for part in ("dac", "adc") if not any(getattr(layer, part) for layer in found)}  # nothing is converted: nothing is missing
    missing = tuple(part for part in PARTS if part not in known | idle)
    unread = costs.cell is not None and costs.cell.read_v is not None  # cells whose conductances are those of one input only
    missing += tuple(what for what, left_out in (("reads of written cells", unread), ("writes", True)) if used.written and left_out)
    return Cost(name, tuple(found), used.digital, static, missing, costs.unverified)


class _Counter:
    """Counts products of hardware layers, and multiplications of digital ones, while a model runs."""

    def __init__(self) -> None:
        self.products: dict[nn.Module, int] = {}
        self.written: dict[nn.Module, int] = {}  #: how often the matrix of a product of two signals was
        self.digital = 0

    def wants_membrane(self, module: nn.Module) -> bool:
        """Never."""
        return False

    def enter(self, module: nn.Module, x: Any) -> None:
        """Count what a layer is given."""
        if not isinstance(x, Tensor) or isinstance(module, AnalogMatmul):
            return
        if isinstance(module, HardwareLayer):
            vectors: Any = module
            self.products[module] = self.products.get(module, 0) + int(vectors.vectors(torch.empty_like(x, device="meta")).shape[0])
        elif isinstance(module, _ConvTransposeNd):
            self.digital += x.numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            self.digital += x.numel() * module.out_features

    def leave(self, module: nn.Module, result: Any, membrane: Tensor | None) -> None:
        """Count what a product of two signals or a digital convolution gave."""
        if isinstance(module, AnalogMatmul) and isinstance(result, Tensor) and result.numel():
            self.products[module] += module.chain.samples * result.shape[-2]
            self.written[module] = self.written.get(module, 0) + module.chain.samples
        if isinstance(module, _ConvNd) and not isinstance(module, _ConvTransposeNd | HardwareLayer) and isinstance(result, Tensor):
            self.digital += result.numel() * module.weight[0].numel()


def _count(model: nn.Module, example: Any, layers: Any) -> _Counter:
    counter = _Counter()
    counter.products = dict.fromkeys(layers, 0)
    place = next((value.device for value in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    given = tuple(one.to(place) if isinstance(one, Tensor) else one for one in (example if isinstance(example, tuple) else (example,)))
    watched = [module for module in model.modules() if module in counter.products or isinstance(module, nn.Linear | _ConvNd)]
    # not "ideal": layers with several products would compute them in one fused call
    with noise("off", model), evaluation_mode(model), torch.no_grad(), standing(model), watching(watched, counter):
        try:
            model(*given)
        except Exception as error:
            raise ConfigError(f"cost: the model must take the example, got {type(error).__name__}: {error}") from error
    return counter


@contextmanager
def standing(model: nn.Module) -> Iterator[None]:
    """The noise counters stand afterwards where they stood."""
    draws = [(counter, counter.draw.clone()) for counter in noise_counters(model).values()]
    calls = [(layer.chain, layer.chain.calls) for layer in analog_layers(model).values()]
    try:
        yield
    finally:
        for counter, draw in draws:
            counter.draw.copy_(draw)
        for chain, uses in calls:
            chain.calls = uses


def _constants(model: nn.Module, profile: str | Profile | None) -> tuple[str, Costs]:
    if profile is not None:
        found = load_profile(profile)
        return found.name, found.costs
    reports = (getattr(module, "conversion", None) for module in model.modules())
    conversion = next((one for one in reports if isinstance(one, Conversion)), None)
    return ("layers placed by hand", Costs()) if conversion is None else (conversion.profile, conversion.costs)


def _operations(chain: AnalogChain, products: int, written: int) -> Operations:
    spec, shapes = chain.spec, chain.shapes
    if not isinstance(spec, ChainSpec):
        raise TypeError(f"{chain.path}: must be the chain of a product, got {type(spec).__name__}")
    if isinstance(chain, RewrittenChain):
        return operations(spec, layout(spec, (chain.arrays, *shapes["array"][1:])), products, written)
    return operations(spec, layout(spec, shapes["array"], shapes["output"][0], *shapes.get("quadratures", ())), products)


def _mean_conductances(model: nn.Module, layers: dict[str, HardwareLayer], costs: Costs) -> dict[str, float]:
    """Mean conductance of the cells of each layer, S, where the energy of a read depends on it."""
    if costs.cell is None or costs.cell.read_v is None:
        return {}
    with noise("off", model), torch.no_grad():
        weights = {path: part.weight for path, part in parts_in(model).items()}
        parts: dict[str, tuple[Any, Tensor]] = {path: (layer, weights[path]) for path, layer in layers.items() if path in weights}
        held = {path: conductances(layer, weight) for path, (layer, weight) in parts.items()}
    return {path: float(one.mean()) for path, one in held.items() if one is not None}


def _energy(costs: Costs, one: Operations, spec: Any, siemens: float | None, seconds: float | None) -> dict[str, float]:
    found: dict[str, float | None] = {
        "dac": _conversions(costs.dac, one.dac, input_bits(spec)),
        "cells": _reads(costs, one, siemens),
        "adc": _conversions(costs.adc, one.adc, output_bits(spec)),
    }
    if costs.symbol_s is not None and costs.laser is not None:
        light = wall_plug_power(costs.laser.power_w, costs.laser.efficiency)
        found["laser"] = one.arrays * light * one.passes * costs.symbol_s
    if seconds is not None and costs.tuning is not None:
        found["tuning"] = one.cells * costs.tuning.power_w * seconds
    return {part: joules for part, joules in found.items() if joules is not None}


def _conversions(cost: ConverterCost | None, count: int, bits: float | None) -> float | None:
    joules = cost.joules(bits) if cost is not None and count else None
    return None if joules is None else count * joules


def _reads(costs: Costs, one: Operations, siemens: float | None) -> float | None:
    cell = costs.cell
    if cell is not None and cell.energy_j is not None:
        return one.reads * cell.energy_j
    if cell is None or cell.read_v is None or costs.symbol_s is None or siemens is None:
        return None
    return one.reads * read_energy(cell.read_v, siemens, costs.symbol_s)


def _area(costs: Costs, one: Operations) -> float | None:
    """Area of the cells of whole arrays, and of the converters of a layer, m²."""
    parts = []
    if costs.cell is not None and costs.cell.area_m2 is not None:
        parts.append((one.cells if one.capacity is None else one.capacity) * costs.cell.area_m2)
    for converter, lines, conversions in ((costs.dac, one.dac_lines, one.dac), (costs.adc, one.adc_lines, one.adc)):
        if converter is not None and converter.area_m2 is not None and conversions:
            parts.append(math.ceil(lines / (converter.lines or 1)) * converter.area_m2)
    return sum(parts) if parts else None
