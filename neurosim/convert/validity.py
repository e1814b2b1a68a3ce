"""Whether a model is used where the models and the maps of its hardware hold."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, cast

import torch
from torch import nn

from neurosim.convert.parts import parts_in
from neurosim.convert.select import analog_layers
from neurosim.errors import ConversionError
from neurosim.hardware.chain import ChainSpec, LayerSpec
from neurosim.hardware.layout import check_fan_in, layout_of
from neurosim.hardware.parasitics import LOAD_LIMIT
from neurosim.hardware.stages.wires import Wires, wire_loads
from neurosim.hardware.validity import beyond
from neurosim.nn.array import conductances
from neurosim.nn.chain import AnalogChain
from neurosim.nn.measured import maps_of
from neurosim.nn.rewritten import check_scales
from neurosim.nn.wrappers import unwrapped


def beyond_range(model: nn.Module) -> list[str]:
    """What of a converted model lies outside of the ranges over which the models of its hardware hold, each text once.

    Wires that are computed by the fast formula are part of it, where their load is above what it is good for.
    """
    return [*_found(layer.chain for layer in analog_layers(model).values()), *_loaded(model)]


def warn_beyond(chains: Iterable[AnalogChain], stacklevel: int = 3) -> None:
    """Warn of what lies outside, in one warning."""
    found = _found(chains)
    if found:
        warnings.warn(f"outside of the range of this hardware's models: {'; '.join(found)}", UserWarning, stacklevel)


def check_fits(spec: LayerSpec, chain: AnalogChain, path: str) -> None:
    """Raise unless a layer can have that chain instead of its own.

    Raises:
        ConversionError: It has more inputs than the hardware can sum, maps that were measured of other cells, or scales to learn of what is
            no parameter.
    """
    check_fan_in(spec, chain.shapes, path)
    if chain.rewritten:
        check_scales(spec, path)
    maps, lies = maps_of(chain), layout_of(spec, chain.shapes)
    cells = [one for name, one in maps.items() if name == "conductance" or (name == "noise" and "weight" not in maps)]
    if cells and (lies is None or tuple(cells[0].shape) != lies.conductances):
        wanted = "no conductances" if lies is None else f"conductances of shape {lies.conductances}"
        raise ConversionError(f"{path or '(model)'}: its measured maps must fit the arrays, which would have {wanted}")
    if "gain" in maps and (lies is None or tuple(maps["gain"].shape) != lies.readouts):
        wanted = "no arrays" if lies is None else f"gains of shape {lies.readouts}"
        raise ConversionError(f"{path or '(model)'}: its measured maps must fit the arrays, which would have {wanted}")


def _loaded(model: nn.Module) -> Iterator[str]:
    parts = parts_in(unwrapped(model))
    for path, layer in analog_layers(model).items():
        chain: Any = layer.chain
        wires = chain.spec.array.parasitics if isinstance(chain.spec, ChainSpec) else None
        if path not in parts or not isinstance(wires, Wires) or wires.method != "fast" or chain.modes["array.parasitics"] == "ideal":
            continue
        modes = chain.modes
        chain.modes = modes | {"array.parasitics": "ideal"}  # what the cells hold, without the wires
        try:
            with torch.no_grad():
                cells = conductances(cast(Any, layer), parts[path].weight)
        finally:
            chain.modes = modes
        load = 0.0 if cells is None else float(wire_loads(cells, wires).max())
        if load > LOAD_LIMIT:
            good = f"their fast formula is good to 1 % of full scale up to {LOAD_LIMIT:g}"
            yield f"{path or '(model)'}: wires with a load of {load:.2g}: {good}"


def _found(chains: Iterable[AnalogChain]) -> list[str]:
    specs = ((chain.spec, chain.seconds) for chain in chains)
    lines = (line for spec, now in specs if isinstance(spec, ChainSpec) for line in beyond(spec.valid, spec.array, spec.kelvin, now))
    return list(dict.fromkeys(lines))
