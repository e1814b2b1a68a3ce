"""Whether a model is used where the models and the maps of its hardware hold."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from torch import nn

from neurosim.convert.select import analog_layers
from neurosim.errors import ConversionError
from neurosim.hardware.chain import ChainSpec, LayerSpec
from neurosim.hardware.layout import check_fan_in, layout_of
from neurosim.hardware.validity import beyond
from neurosim.nn.chain import AnalogChain
from neurosim.nn.measured import maps_of


def beyond_range(model: nn.Module) -> list[str]:
    """What of a converted model lies outside of the ranges over which the models of its hardware hold, each text once."""
    return _found(layer.chain for layer in analog_layers(model).values())


def warn_beyond(chains: Iterable[AnalogChain], stacklevel: int = 3) -> None:
    """Warn of what lies outside, in one warning."""
    found = _found(chains)
    if found:
        warnings.warn(f"outside of the range of this hardware's models: {'; '.join(found)}", UserWarning, stacklevel)


def check_fits(spec: LayerSpec, chain: AnalogChain, path: str) -> None:
    """Raise unless a layer can have that chain instead of its own.

    Raises:
        ConversionError: It has more inputs than the hardware can sum, or maps that were measured of other cells.
    """
    check_fan_in(spec, chain.shapes, path)
    maps, lies = maps_of(chain), layout_of(spec, chain.shapes)
    cells = [one for name, one in maps.items() if name == "conductance" or (name == "noise" and "weight" not in maps)]
    if cells and (lies is None or tuple(cells[0].shape) != lies.conductances):
        wanted = "no conductances" if lies is None else f"conductances of shape {lies.conductances}"
        raise ConversionError(f"{path or '(model)'}: its measured maps must fit the arrays, which would have {wanted}")


def _found(chains: Iterable[AnalogChain]) -> list[str]:
    specs = ((chain.spec, chain.seconds) for chain in chains)
    lines = (line for spec, now in specs if isinstance(spec, ChainSpec) for line in beyond(spec.valid, spec.array, spec.kelvin, now))
    return list(dict.fromkeys(lines))
